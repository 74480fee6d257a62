"""Two checkpoints of two sizes: what the log's own tiles convict it of, and what they do not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_encode
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, log_key, origin_of, sign_checkpoint
from riskshare.ledger.edge import Edge
from riskshare.ledger.histories import KIND, SUSPECT, TwoHistories, bare, find_histories, history_tiles, parse_histories
from riskshare.ledger.note import Note, cosign
from riskshare.ledger.tile import TileReader
from riskshare.signature import SigningKey

LOG, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
KEY = log_key("simnet", "jd", LOG.public)


def leaves(size: int, forged: int | None = None) -> list[bytes]:
    found = [hashlib.sha256(b"%d" % index).digest() for index in range(size)]
    if forged is not None:
        found[forged] = bytes(32)
    return found


def signed(hashes: list[bytes], *, root: bytes | None = None, key: SigningKey = LOG) -> SignedCheckpoint:
    tree = Edge().append(hashes).edge
    checkpoint = Checkpoint(origin_of("simnet", "jd"), tree.size, root or tree.root())
    return SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, key))


def held(first: SignedCheckpoint, second: SignedCheckpoint, hashes: list[bytes]) -> TwoHistories | None:
    tiles = dict(Edge().append(hashes).tiles)
    wanted = history_tiles(first, second)
    return find_histories(first, second, TileReader({tile: tiles[tile] for tile in wanted}).read)


def refused(code: str):
    return pytest.raises(LedgerError, check=lambda error: error.code == code)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_log_that_only_grew_is_convicted_of_nothing(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert held(signed(leaves(small)), signed(leaves(large)), leaves(large)) is None


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_a_log_that_changed_an_entry_is_convicted_by_its_tiles(one: int, other: int, data: st.DataObject) -> None:
    small, large = sorted((one, other))
    forged = data.draw(st.integers(0, small - 1))
    found = held(signed(leaves(small, forged)), signed(leaves(large)), leaves(large))
    assert found is not None
    assert found.kind == KIND
    found.verify([KEY])
    again = parse_histories(found.to_bytes())
    assert again == found
    again.verify([KEY])


FOUND = held(signed(leaves(7, 2)), signed(leaves(20)), leaves(20))
assert FOUND is not None

FALSE = {
    "no prefix": replace(FOUND, prefix=b"", proof=()),
    "the first root as prefix": replace(FOUND, prefix=FOUND.first.checkpoint.root),
    "another prefix": replace(FOUND, prefix=bytes(32)),
    "no proof": replace(FOUND, proof=()),
    "another proof": replace(FOUND, proof=FOUND.proof[::-1]),
    "the larger first": replace(FOUND, first=FOUND.second, second=FOUND.first),
    "another log": replace(
        FOUND, first=SignedCheckpoint(replace(FOUND.first.checkpoint, origin="riskshare/simnet/icbc"), FOUND.first.note)
    ),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_false_proof_convicts_nobody(what: str) -> None:
    with refused("no_proof"):
        FALSE[what].verify([KEY])


def test_what_the_log_did_not_sign_convicts_nobody() -> None:
    forged = signed(leaves(7, 2), key=OTHER)
    for wrong, keys in (
        (replace(FOUND, first=forged), [KEY]),
        (FOUND, []),
        (FOUND, [log_key("simnet", "jd", OTHER.public)]),
    ):
        with refused("bad_signature"):
            wrong.verify(keys)


def test_tiles_that_are_not_of_the_second_tree_prove_nothing() -> None:
    with refused("wrong_consistency"):
        held(signed(leaves(7)), signed(leaves(20, 15)), leaves(20))


def test_a_tree_of_no_leaves_with_another_root_convicts() -> None:
    found = held(signed([], root=bytes(32)), signed(leaves(20)), leaves(20))
    assert found is not None
    found.verify([KEY])


def test_a_suspect_log_is_kept_once_and_convicted_of_nothing() -> None:
    suspect = TwoHistories(signed(leaves(7)), signed(leaves(20)))
    assert suspect.kind == SUSPECT
    assert parse_histories(suspect.to_bytes()) == suspect
    assert suspect.about == TwoHistories(signed(leaves(8)), signed(leaves(21))).about != FOUND.about


NOTES = [FOUND.first.note.to_bytes(), FOUND.second.note.to_bytes()]
MALFORMED = {
    "three parts": [*NOTES, bytes(32)],
    "a short prefix": [*NOTES, bytes(31), b""],
    "a half hash": [*NOTES, bytes(32), bytes(33)],
    "too long a proof": [*NOTES, bytes(32), bytes(64 * 32)],
    "a text": [*NOTES, bytes(32), ""],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_evidence_is_refused(what: str) -> None:
    with pytest.raises(EncodingError):
        parse_histories(cbor_encode(MALFORMED[what]))


def test_a_bare_checkpoint_has_its_log_s_signature_alone() -> None:
    found = FOUND.first
    cosigned = Note(found.note.text, (*found.note.signatures, cosign(found.note.text, "w", OTHER, 1)))
    assert bare(SignedCheckpoint(found.checkpoint, cosigned), [KEY]) == found
    with refused("bad_signature"):
        bare(found, [log_key("simnet", "icbc", LOG.public)])
