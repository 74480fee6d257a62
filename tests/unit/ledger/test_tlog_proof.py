"""Proof files: made, read back, verified offline; every malformed and every false one by name."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_signed
from riskshare.ledger.edge import Edge
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.note import COSIGNATURE, ED25519, Note, VerifierKey, cosign, sign
from riskshare.ledger.policy import Policy, PolicyLog, PolicyWitness
from riskshare.ledger.proof import MAX_SIZE, prove_inclusion
from riskshare.ledger.tile import TileReader, edge_tiles
from riskshare.ledger.tlog_proof import TlogProof, make_proof, parse_proof, verify_entry, verify_proof
from riskshare.signature import SigningKey

LOG, WITNESS = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
ORIGIN = "riskshare/simnet/icbc"
POLICY = Policy(
    (PolicyLog(VerifierKey(ORIGIN, ED25519, LOG.public)),),
    (PolicyWitness("w", VerifierKey("witness", COSIGNATURE, WITNESS.public)),),
    (),
    "w",
)
LEAVES = [Leaf("receipt", number.to_bytes(16, "big"), b"receipt %d" % number) for number in range(13)]
EDGE = Edge().append([leaf.hash for leaf in LEAVES]).edge
READ = TileReader(dict(zip(edge_tiles(EDGE.size), EDGE.partial, strict=True))).read


def signed(size: int, root: bytes, *, final: bool = True) -> SignedCheckpoint:
    text = Checkpoint(ORIGIN, size, root).text
    signatures = (sign(text, ORIGIN, LOG), *([cosign(text, "witness", WITNESS, 1_800_000_000)] if final else ()))
    return parse_signed(Note(text, signatures).to_bytes())


SIGNED = signed(13, EDGE.root())


def proof_of(index: int) -> TlogProof:
    return make_proof(LEAVES[index], index, prove_inclusion(index, 13, READ), SIGNED)


def refused(code: str):
    return pytest.raises(LedgerError, check=lambda error: error.code == code)


# --- What is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(13))
def test_every_entry_is_proven_offline(index):
    data = proof_of(index).to_bytes()
    proven = verify_proof(data, POLICY)
    assert proven.leaf == LEAVES[index]
    assert proven.index == index
    assert proven.final.checkpoint == SIGNED.checkpoint
    assert proven.final.witnesses == ("w",)
    assert parse_proof(data).to_bytes() == data


def test_the_file_by_hand():
    leaf = Leaf("check", bytes(16), b"{}")
    text = Checkpoint(ORIGIN, 1, leaf.hash).text
    made = Note(text, (sign(text, ORIGIN, LOG),))
    extra = base64.b64encode(b"\x83\x50" + bytes(16) + b"\x65check\x42{}").decode()
    assert make_proof(leaf, 0, (), parse_signed(made.to_bytes())).to_bytes().decode() == (
        f"c2sp.org/tlog-proof@v1\nextra {extra}\nindex 0\n\n{text}\n{made.signatures[0].line}"
    )


def test_the_lines_of_the_specifications_example():
    """Its base64 of signatures is elided there, and its extra line is cut: ours take their places."""
    hashes = """\
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=
"""
    checkpoint = "example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n"
    line = sign(checkpoint, "example.com/fancylog", LOG).line
    for extra in ("", "extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6\n"):
        text = f"c2sp.org/tlog-proof@v1\n{extra}index 73894\n{hashes}\n{checkpoint}\n{line}"
        proof = parse_proof(text.encode())
        assert (proof.index, len(proof.hashes), proof.signed.checkpoint.size) == (73_894, 5, 109_482)
        assert proof.extra == (b"age-v1.2.1-darwin-arm64.tar.gz" if extra else None)
        assert proof.to_bytes().decode() == text


@given(
    st.integers(0, MAX_SIZE),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.none() | st.binary(max_size=100),
)
def test_every_proof_reads_back(index, hashes, extra):
    proof = TlogProof(index, tuple(hashes), SIGNED, extra)
    assert parse_proof(proof.to_bytes()) == proof


def test_a_proof_without_extra_proves_an_entry_that_is_known():
    proof = replace(proof_of(3), extra=None)
    assert verify_entry(parse_proof(proof.to_bytes()), LEAVES[3].entry, POLICY).checkpoint == SIGNED.checkpoint
    with refused("wrong_inclusion"):
        verify_entry(proof, LEAVES[4].entry, POLICY)
    with refused("wrong_entry"):
        verify_proof(proof.to_bytes(), POLICY)


def test_the_repr_tells_neither_salt_nor_statement():
    assert "receipt 3" not in repr(proof_of(3))
    assert repr(LEAVES[3].salt)[2:-1] not in repr(verify_proof(proof_of(3).to_bytes(), POLICY))


# --- What is false --------------------------------------------------------------------------------

PROOF = proof_of(5)


def with_leaf(leaf: Leaf) -> TlogProof:
    return replace(PROOF, extra=leaf.to_bytes())


FALSE = {
    "another leaf": ("wrong_inclusion", with_leaf(LEAVES[6])),
    "another kind": ("wrong_inclusion", with_leaf(replace(LEAVES[5], kind="check"))),
    "another salt": ("wrong_inclusion", with_leaf(replace(LEAVES[5], salt=bytes(16)))),
    "another statement": ("wrong_inclusion", with_leaf(replace(LEAVES[5], statement=b"receipt 6"))),
    "another index": ("wrong_inclusion", replace(PROOF, index=4)),
    "an index beyond the tree": ("wrong_inclusion", replace(PROOF, index=13)),
    "an index far beyond": ("wrong_inclusion", replace(PROOF, index=MAX_SIZE)),
    "another leaf's proof": ("wrong_inclusion", replace(PROOF, hashes=proof_of(6).hashes)),
    "a hash too few": ("wrong_inclusion", replace(PROOF, hashes=PROOF.hashes[:-1])),
    "a hash too many": ("wrong_inclusion", replace(PROOF, hashes=(*PROOF.hashes, bytes(32)))),
    "hashes in another order": ("wrong_inclusion", replace(PROOF, hashes=PROOF.hashes[::-1])),
    "no hashes": ("wrong_inclusion", replace(PROOF, hashes=())),
    "another root": ("wrong_inclusion", replace(PROOF, signed=signed(13, bytes(32)))),
    "no leaves": ("wrong_inclusion", replace(PROOF, signed=signed(0, EDGE.root()))),
    "no cosignature": ("not_final", replace(PROOF, signed=signed(13, EDGE.root(), final=False))),
    "another log": ("unknown_log", replace(PROOF, signed=parse_signed(Note("x\n13\n" + SIGNED.note.text.split("\n")[2] + "\n", SIGNED.note.signatures).to_bytes()))),
    "signatures of another checkpoint": ("bad_signature", replace(PROOF, signed=parse_signed(Note(SIGNED.note.text, signed(12, bytes(32)).note.signatures).to_bytes()))),
    "no extra": ("wrong_entry", replace(PROOF, extra=None)),
}  # fmt: skip


@pytest.mark.parametrize("what", FALSE)
def test_a_false_proof_is_refused(what):
    code, proof = FALSE[what]
    with refused(code):
        verify_proof(proof.to_bytes(), POLICY)


def test_an_extra_line_that_is_no_leaf_is_refused():
    with pytest.raises(EncodingError):
        verify_proof(replace(PROOF, extra=b"no leaf").to_bytes(), POLICY)


@given(st.data())
def test_no_altered_file_proves_anything_else(data):
    whole = bytearray(PROOF.to_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((EncodingError, LedgerError)):
        verify_proof(bytes(whole), POLICY)


TEXT = PROOF.to_bytes().decode()
EXTRA = TEXT.split("\n")[1] + "\n"
NO_EXTRA = TEXT.replace(EXTRA, "")
MALFORMED = {
    "empty": "",
    "first line only": "c2sp.org/tlog-proof@v1\n",
    "checkpoint only": TEXT.split("\n\n", 1)[1],
    "another version": TEXT.replace("@v1", "@v2", 1),
    "no version": TEXT.replace("@v1", "", 1),
    "space in front": " " + TEXT,
    "space behind the first line": TEXT.replace("@v1\n", "@v1 \n", 1),
    "byte order mark": "\ufeff" + TEXT,
    "no first line": TEXT.partition("\n")[2],
    "carriage returns": TEXT.replace("\n", "\r\n"),
    "no index": NO_EXTRA.replace("index 5\n", ""),
    "index twice": NO_EXTRA.replace("index 5\n", "index 5\nindex 5\n"),
    "index in capitals": NO_EXTRA.replace("index", "Index"),
    "index without a number": NO_EXTRA.replace("index 5", "index "),
    "index with a leading zero": NO_EXTRA.replace("index 5", "index 05"),
    "negative index": NO_EXTRA.replace("index 5", "index -1"),
    "index beyond the range": NO_EXTRA.replace("index 5", f"index {MAX_SIZE + 1}"),
    "index with a space": NO_EXTRA.replace("index 5", "index 5 "),
    "index with two spaces": NO_EXTRA.replace("index 5", "index  5"),
    "extra behind the index": NO_EXTRA.replace("index 5\n", "index 5\n" + EXTRA),
    "extra twice": TEXT.replace(EXTRA, EXTRA * 2),
    "extra without a space": TEXT.replace("extra ", "extra"),
    "extra that is no base64": TEXT.replace("extra ", "extra ?"),
    "extra without padding": NO_EXTRA.replace("index", "extra AA\nindex"),
    "extra with stray bits": NO_EXTRA.replace("index", "extra AB==\nindex"),
    "hash of 31 bytes": NO_EXTRA.replace("index 5\n", f"index 5\n{base64.b64encode(bytes(31)).decode()}\n"),
    "hash that is no base64": NO_EXTRA.replace("index 5\n", "index 5\n!\n"),
    "64 hashes": f"c2sp.org/tlog-proof@v1\nindex 5\n{(base64.b64encode(bytes(32)).decode() + chr(10)) * 64}\n{TEXT.split(chr(10) * 2, 1)[1]}",
    "no empty line": TEXT.replace("\n\n", "\n", 1),
    "two empty lines": TEXT.replace("\n\n", "\n\n\n", 1),
    "empty line before the index": NO_EXTRA.replace("index", "\nindex"),
    "no checkpoint": TEXT.split("\n\n", 1)[0] + "\n\n",
    "unsigned checkpoint": TEXT.rpartition("\n\n")[0] + "\n",
    "line behind": TEXT + "behind\n",
    "no last newline": TEXT[:-1],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_proof_is_refused(what):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        parse_proof(MALFORMED[what].encode())


def test_a_leaf_as_long_as_a_registry_is_read():
    leaf = Leaf("registry", bytes(16), bytes(1024 * 1024))
    made = signed(1, leaf.hash)
    assert verify_proof(make_proof(leaf, 0, (), made).to_bytes(), POLICY).leaf == leaf
