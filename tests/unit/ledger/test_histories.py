"""Evidence of two histories: what it convicts, what it does not, and its bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_encode
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, log_key, origin_of, sign_checkpoint
from riskshare.ledger.histories import MAX_BYTES, TwoHistories, parse_histories
from riskshare.ledger.proof import MAX_SIZE
from riskshare.signature import SigningKey

LOG, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
KEY = log_key("simnet", "jd", LOG.public)


def signed(size: int, root: bytes, *, member: str = "jd", key: SigningKey = LOG) -> SignedCheckpoint:
    checkpoint = Checkpoint(origin_of("simnet", member), size, root)
    return SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, key))


A, B = signed(7, b"a" * 32), signed(7, b"b" * 32)


def test_two_roots_of_one_size_convict():
    TwoHistories(A, B).verify([KEY])
    TwoHistories(B, A).verify([log_key("simnet", "jd", OTHER.public), KEY])
    assert (TwoHistories(A, B).origin, TwoHistories(A, B).size) == ("riskshare/simnet/jd", 7)


NO_PROOF = {
    "one and the same": (A, A),
    "other sizes": (A, signed(8, b"b" * 32)),
    "other logs": (A, signed(7, b"b" * 32, member="icbc")),
}


@pytest.mark.parametrize("what", NO_PROOF)
def test_what_does_not_contradict_convicts_nobody(what):
    with pytest.raises(LedgerError, check=lambda error: error.code == "no_proof"):
        TwoHistories(*NO_PROOF[what]).verify([KEY])


def test_what_the_log_did_not_sign_convicts_nobody():
    forged = signed(7, b"b" * 32, key=OTHER)
    for pair, keys in (
        ((A, forged), [KEY]),
        ((forged, A), [KEY]),
        ((A, B), []),
        ((A, B), [log_key("simnet", "icbc", LOG.public)]),
    ):
        with pytest.raises(LedgerError, check=lambda error: error.code == "bad_signature"):
            TwoHistories(*pair).verify(keys)


def test_a_note_that_is_signed_twice_convicts_nobody():
    twice = replace(B, note=replace(B.note, signatures=B.note.signatures * 2))
    with pytest.raises(LedgerError, check=lambda error: error.code == "duplicate_signature"):
        TwoHistories(A, twice).verify([KEY])


@given(st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_evidence_reads_back(size, first, second):
    found = TwoHistories(signed(size, first), signed(size, second))
    again = parse_histories(found.to_bytes())
    assert again == found
    assert again.about == found.about


NOTE = A.note.to_bytes()
MALFORMED = {
    "empty": b"",
    "no array": cbor_encode({"first": NOTE, "second": NOTE}),
    "one note": cbor_encode([NOTE]),
    "three notes": cbor_encode([NOTE] * 3),
    "text": cbor_encode([NOTE.decode(), NOTE.decode()]),
    "no checkpoint": cbor_encode([NOTE, b"note\n\n" + NOTE.partition(b"\n\n")[2]]),
    "something behind": cbor_encode([NOTE, NOTE]) + b"\x00",
    "too long": b"\x00" * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_evidence_is_refused(what):
    with pytest.raises(EncodingError):
        parse_histories(MALFORMED[what])
