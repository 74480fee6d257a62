"""A witness's rule and a log's understanding of it, by the clauses of tlog-witness v1.0.0."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.addition import (
    MAX_BYTES,
    SIZE_TYPE,
    TEXT_TYPE,
    AddCheckpoint,
    Cosigned,
    Disputes,
    Known,
    Knows,
    Refuses,
    decide,
    malformed,
    parse_addition,
    read_answer,
)
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.ledger.note import (
    COSIGNATURE,
    ED25519,
    Note,
    Signature,
    VerifierKey,
    cosign,
    parse_note,
    sign,
    signature_lines,
    verify,
)
from riskshare.ledger.proof import MAX_SIZE, prove_consistency
from riskshare.signature import SigningKey
from tests.simulator.tree import DefinedTree

# The example of tlog-witness, add-checkpoint.
EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""
# Requests of a real log, from the tests of the witness of filippo.io/torchwood.
SIGSUM = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
SIGSUM_KEY = VerifierKey(SIGSUM, ED25519, bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f"))  # fmt: skip
SIGSUM_REQUESTS = {
    1: f"""\
old 0

{SIGSUM}
1
KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

— {SIGSUM} UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=
""",
    3: f"""\
old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{SIGSUM}
3
RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=

— {SIGSUM} UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=
""",
    5: f"""\
old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=
KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{SIGSUM}
5
QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=

— {SIGSUM} UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=
""",
}

ORIGIN = "riskshare/simnet/icbc"
LOG, WITNESS, STRANGER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
LOG_KEY = VerifierKey(ORIGIN, ED25519, LOG.public)
WITNESS_KEY = VerifierKey("witness", COSIGNATURE, WITNESS.public)
TREE, FORK = DefinedTree(40), DefinedTree(40)
FORK.leaves[0] = bytes(32)


def offer(old: int, new: int, *, tree: DefinedTree = TREE, **changes) -> AddCheckpoint:
    """The request by which a log goes from `old` to `new`."""
    checkpoint = Checkpoint(ORIGIN, new, tree.root(new))
    signed = SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, LOG))
    proof = prove_consistency(old, new, tree.read) if old <= new else ()
    return replace(AddCheckpoint(old, proof, signed), **changes)


def known(size: int, tree: DefinedTree = TREE) -> Known:
    return Known(size, tree.root(size))


def resigned(addition: AddCheckpoint, *signatures: Signature) -> AddCheckpoint:
    note = Note(addition.signed.note.text, signatures)
    return replace(addition, signed=SignedCheckpoint(addition.checkpoint, note))


# --- The request ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [EXAMPLE, *SIGSUM_REQUESTS.values()], ids=["example", "1", "3", "5"])
def test_requests_of_others_read_and_print_back(text):
    addition = parse_addition(text.encode())
    assert addition.to_bytes().decode() == text


def test_the_example_in_parts():
    addition = parse_addition(EXAMPLE.encode())
    assert addition.old == 20_852_014
    assert len(addition.proof) == 4
    assert addition.proof[0].hex().startswith("3e544d0abc07a6a8")
    assert addition.checkpoint.size == 20_852_163
    assert len(addition.signed.note.signatures) == 2


@given(st.integers(0, 40), st.integers(0, 40))
def test_every_request_reads_back(old, new):
    addition = offer(old, new)
    assert parse_addition(addition.to_bytes()) == addition


GOOD = offer(3, 7).to_bytes().decode()
HEAD, TAIL = GOOD.split("\n\n", 1)
HASH = base64.b64encode(bytes(32)).decode()
MALFORMED = {
    "empty": "",
    "checkpoint only": TAIL,
    "no old size": GOOD.removeprefix("old 3\n"),
    "no empty line": HEAD + "\n" + TAIL,
    "two empty lines": HEAD + "\n\n\n" + TAIL,
    "empty line in front": "\n" + GOOD,
    "no checkpoint": HEAD + "\n\n",
    "no signature": HEAD + "\n\n" + TAIL.partition("\n\n")[0] + "\n",
    "old in capitals": GOOD.replace("old", "Old", 1),
    "no space": GOOD.replace("old ", "old", 1),
    "two spaces": GOOD.replace("old ", "old  ", 1),
    "tab": GOOD.replace("old ", "old\t", 1),
    "no size": GOOD.replace("old 3", "old ", 1),
    "leading zero": GOOD.replace("old 3", "old 03", 1),
    "two zeros": GOOD.replace("old 3", "old 00", 1),
    "negative": GOOD.replace("old 3", "old -3", 1),
    "space behind": GOOD.replace("old 3", "old 3 ", 1),
    "carriage return": GOOD.replace("old 3\n", "old 3\r\n", 1),
    "beyond 2^63 - 1": GOOD.replace("old 3", f"old {MAX_SIZE + 1}", 1),
    "arabic digit": GOOD.replace("old 3", "old \u0663", 1),
    "two old lines": "old 3\n" + GOOD,
    "proof of 31 bytes": GOOD.replace("old 3\n", f"old 3\n{base64.b64encode(bytes(31)).decode()}\n", 1),
    "proof in hex": GOOD.replace("old 3\n", f"old 3\n{bytes(32).hex()}\n", 1),
    "proof with a space": GOOD.replace("old 3\n", f"old 3\n{HASH} \n", 1),
    "proof with stray bits": GOOD.replace("old 3\n", f"old 3\n{HASH[:-2]}B=\n", 1),
    "64 proof lines": f"old 3\n{(HASH + chr(10)) * 64}\n{TAIL}",
    "a checkpoint of two lines": GOOD.replace("\n7\n", "\n", 1),
    "a line behind": GOOD + "behind\n",
    "too long": f"old 3\n\n{ORIGIN}\n7\n{HASH}\n{'x' * MAX_BYTES}\n\n{TAIL.partition(chr(10) * 2)[2]}",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_a_400(what):
    with pytest.raises(EncodingError) as caught:
        parse_addition(MALFORMED[what].encode())
    verdict = malformed(caught.value)
    assert (verdict.status, verdict.code, verdict.known) == (400, "malformed", None)
    assert verdict.body.decode() == caught.value.message + "\n"


def test_63_proof_lines_are_read():
    addition = parse_addition(f"old 3\n{(HASH + chr(10)) * 63}\n{TAIL}".encode())
    assert len(addition.proof) == 63


def test_a_request_that_is_not_text_is_refused():
    with pytest.raises(EncodingError):
        parse_addition(b"old 3\xff\n\n" + TAIL.encode())


# --- The rule -------------------------------------------------------------------------------------


def test_a_real_log_is_cosigned_from_its_beginning():
    state = Known()
    for size in (1, 5):
        verdict = decide(parse_addition(SIGSUM_REQUESTS[size].encode()), [SIGSUM_KEY], state)
        assert (verdict.status, verdict.code) == (200, "accepted")
        state = verdict.known
        assert state.size == size
    late = decide(parse_addition(SIGSUM_REQUESTS[3].encode()), [SIGSUM_KEY], state)
    assert (late.status, late.body, late.content_type) == (409, b"5\n", SIZE_TYPE)


def test_every_step_from_every_size_to_every_other():
    for old in range(20):
        for new in range(20):
            for held in {0, old, new, 13}:
                verdict = decide(offer(old, new), [LOG_KEY], known(held))
                expected = 400 if old > new else 409 if old != held else 200
                assert verdict.status == expected, (old, new, held)
                assert verdict.known == (known(new) if expected == 200 else None)
                assert not verdict.two_histories
                if expected == 409:
                    assert verdict.body == f"{held}\n".encode()
                    assert verdict.content_type == SIZE_TYPE


HEADERS = {
    "unknown origin": (offer(3, 7), [], known(3), 404, "unknown_log"),
    "unknown origin before all else": (offer(9, 7), [], known(3), 404, "unknown_log"),
    "unsigned": (resigned(offer(3, 7), Signature("x", b"1234", b"?")), [LOG_KEY], known(3), 403, "bad_signature"),
    "signed by a stranger under another name": (resigned(offer(3, 7), sign(offer(3, 7).checkpoint.text, "x", STRANGER)), [LOG_KEY], known(3), 403, "bad_signature"),
    "signed by a stranger under the log's name": (resigned(offer(3, 7), sign(offer(3, 7).checkpoint.text, ORIGIN, STRANGER)), [LOG_KEY], known(3), 403, "bad_signature"),
    "signed over another text": (resigned(offer(3, 7), sign("other\n", ORIGIN, LOG)), [LOG_KEY], known(3), 403, "bad_signature"),
    "signed twice": (resigned(offer(3, 7), *offer(3, 7).signed.note.signatures * 2), [LOG_KEY], known(3), 403, "duplicate_signature"),
    "signature before sizes": (resigned(offer(9, 7), Signature("x", b"1234", b"?")), [LOG_KEY], known(3), 403, "bad_signature"),
    "old above new": (offer(9, 7), [LOG_KEY], known(3), 400, "size_shrinks"),
    "old above new, old known": (offer(9, 7), [LOG_KEY], known(9), 400, "size_shrinks"),
    "old below known": (offer(2, 7), [LOG_KEY], known(3), 409, "size_conflict"),
    "old above known": (offer(5, 7), [LOG_KEY], known(3), 409, "size_conflict"),
    "old 0, something known": (offer(0, 7), [LOG_KEY], known(3), 409, "size_conflict"),
    "old 5, nothing known": (offer(5, 7), [LOG_KEY], Known(), 409, "size_conflict"),
    "a smaller tree than known": (offer(3, 7), [LOG_KEY], known(9), 409, "size_conflict"),
    "no proof": (offer(3, 7, proof=()), [LOG_KEY], known(3), 422, "wrong_consistency"),
    "proof of another step": (offer(3, 7, proof=offer(4, 7).proof), [LOG_KEY], known(3), 422, "wrong_consistency"),
    "a hash too many": (offer(3, 7, proof=(*offer(3, 7).proof, bytes(32))), [LOG_KEY], known(3), 422, "wrong_consistency"),
    "a hash too few": (offer(3, 7, proof=offer(3, 7).proof[:-1]), [LOG_KEY], known(3), 422, "wrong_consistency"),
    "a forked tree": (offer(3, 7, tree=FORK), [LOG_KEY], known(3), 422, "wrong_consistency"),
    "proof from size 0": (offer(0, 7, proof=(bytes(32),)), [LOG_KEY], Known(), 422, "wrong_consistency"),
    "proof between equal sizes": (offer(7, 7, proof=(bytes(32),)), [LOG_KEY], known(7), 422, "wrong_consistency"),
    "proof for no leaves": (offer(0, 0, proof=(bytes(32),)), [LOG_KEY], Known(), 422, "wrong_consistency"),
}  # fmt: skip


@pytest.mark.parametrize("what", HEADERS)
def test_a_refusal_has_the_status_of_the_specification(what):
    addition, keys, state, status, code = HEADERS[what]
    verdict = decide(addition, keys, state)
    assert (verdict.status, verdict.code) == (status, code)
    assert verdict.known is None
    assert not verdict.two_histories
    if status == 409:
        assert (verdict.body, verdict.content_type) == (f"{state.size}\n".encode(), SIZE_TYPE)
    else:
        assert verdict.content_type == TEXT_TYPE
        assert verdict.body.endswith(b".\n")


def empty_with_root() -> AddCheckpoint:
    checkpoint = Checkpoint(ORIGIN, 0, bytes(32))
    return AddCheckpoint(0, (), SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, LOG)))


TWO_HISTORIES = {
    "offered from there": (offer(7, 7, tree=FORK), 409, "two_histories"),
    "offered from the beginning": (offer(0, 7, tree=FORK), 409, "size_conflict"),
    "offered with a proof": (offer(3, 7, tree=FORK), 409, "size_conflict"),
    "offered from beyond": (offer(9, 7, tree=FORK), 400, "size_shrinks"),
}


@pytest.mark.parametrize("what", TWO_HISTORIES)
def test_two_roots_for_one_size_are_seen_however_they_are_offered(what):
    addition, status, code = TWO_HISTORIES[what]
    verdict = decide(addition, [LOG_KEY], known(7))
    assert (verdict.status, verdict.code, verdict.known) == (status, code, None)
    assert verdict.two_histories


def test_a_root_of_no_leaves_that_is_another_is_a_history_too():
    verdict = decide(empty_with_root(), [LOG_KEY], Known())
    assert (verdict.status, verdict.code, verdict.two_histories) == (409, "two_histories", True)


def test_two_histories_count_only_if_the_log_signed_them():
    forged = resigned(offer(7, 7, tree=FORK), sign(offer(7, 7, tree=FORK).checkpoint.text, ORIGIN, STRANGER))
    assert not decide(forged, [LOG_KEY], known(7)).two_histories


def test_a_witness_begins_with_no_leaves():
    assert Known() == Known(0, EMPTY_ROOT)
    assert decide(offer(0, 0), [LOG_KEY], Known()).known == Known()


def test_signatures_of_others_do_not_matter():
    more = (cosign(offer(3, 7).checkpoint.text, "w", WITNESS, 5), Signature(ORIGIN, b"1234", b"?"))
    addition = offer(3, 7)
    assert decide(resigned(addition, *more, *addition.signed.note.signatures), [LOG_KEY], known(3)).status == 200
    newer = VerifierKey(ORIGIN, ED25519, STRANGER.public)
    assert decide(addition, [newer, LOG_KEY], known(3)).status == 200


# --- The answer -----------------------------------------------------------------------------------


def cosigned(addition: AddCheckpoint, *, key: SigningKey = WITNESS, name: str = "witness", time: int = 1_800_000_000) -> bytes:  # fmt: skip
    return cosign(addition.checkpoint.text, name, key, time).line.encode()


def garbage():
    return pytest.raises(LedgerError, check=lambda error: error.code == "witness_garbage")


def test_cosignatures_go_into_the_checkpoint():
    addition = offer(3, 7)
    answer = read_answer(200, cosigned(addition), addition, [WITNESS_KEY])
    assert isinstance(answer, Cosigned)
    note = addition.signed.note.with_signatures(answer.signatures)
    found = verify(parse_note(note.to_bytes()), [LOG_KEY, WITNESS_KEY])
    assert [(one.key, one.time) for one in found] == [(LOG_KEY, None), (WITNESS_KEY, 1_800_000_000)]


def test_of_several_cosignatures_those_of_unknown_keys_are_ignored():
    addition = offer(3, 7)
    body = cosigned(addition, key=STRANGER, name="stranger") + cosigned(addition)
    answer = read_answer(200, body, addition, [WITNESS_KEY])
    assert answer == Cosigned(read_answer(200, cosigned(addition), addition, [WITNESS_KEY]).signatures)
    assert signature_lines(answer.signatures).encode() == cosigned(addition)


SAME = offer(7, 7)


@pytest.mark.parametrize(
    ("status", "body", "addition", "expected"),
    [
        (409, b"12\n", offer(3, 7), Knows(12)),
        (409, b"0\n", offer(3, 7), Knows(0)),
        (409, b"12\n", SAME, Knows(12)),
        (409, b"3\n", offer(3, 7), Refuses(409)),
        (409, b"7\n", SAME, Disputes()),
        (409, b"", SAME, Disputes()),
        (409, b"other root\n", SAME, Disputes()),
        (422, b"", SAME, Disputes()),
        (422, b"", offer(3, 7), Refuses(422)),
        (400, b"", offer(3, 7), Refuses(400)),
        (403, b"", offer(3, 7), Refuses(403)),
        (404, b"", SAME, Refuses(404)),
        (500, b"\xff", SAME, Refuses(500)),
        (302, b"", SAME, Refuses(302)),
    ],
)
def test_what_a_log_learns_from_a_refusal(status, body, addition, expected):
    assert read_answer(status, body, addition, [WITNESS_KEY]) == expected


ASKED = offer(3, 7)
GARBAGE = {
    "nothing": b"",
    "text": b"thanks\n",
    "no newline": cosigned(ASKED)[:-1],
    "empty line behind": cosigned(ASKED) + b"\n",
    "a whole note": ASKED.signed.note.to_bytes(),
    "of another checkpoint": cosigned(offer(3, 8)),
    "of a stranger": cosigned(ASKED, key=STRANGER, name="stranger"),
    "of a stranger under its name": cosigned(ASKED, key=STRANGER),
    "of another name": cosigned(ASKED, name="witness2"),
    "twice": cosigned(ASKED) * 2,
    "twice, two times": cosigned(ASKED) + cosigned(ASKED, time=5),
    "a log's signature": sign(ASKED.checkpoint.text, "witness", WITNESS).line.encode(),
    "one good, one bad": cosigned(ASKED) + Signature("witness", WITNESS_KEY.id, bytes(72)).line.encode(),
    "not UTF-8": b"\xff" + cosigned(ASKED),
    "too long": cosigned(ASKED, key=STRANGER, name="stranger") * 200,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_200_that_is_no_cosignature_is_garbage(what):
    with garbage():
        read_answer(200, GARBAGE[what], ASKED, [WITNESS_KEY])


@pytest.mark.parametrize("body", [b"", b"\n", b"12", b"012\n", b"-1\n", b" 12\n", b"12\n\n", b"12\r\n", b"twelve\n", b"\xff\n", b"9" * 20_000 + b"\n"])  # fmt: skip
def test_a_409_without_a_size_is_garbage(body):
    with garbage():
        read_answer(409, body, ASKED, [WITNESS_KEY])


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_a_log_understands_every_verdict(old, new, held):
    addition = offer(old, new)
    verdict = decide(parse_addition(addition.to_bytes()), [LOG_KEY], known(held))
    body = cosigned(addition) if verdict.status == 200 else verdict.body
    answer = read_answer(verdict.status, body, addition, [WITNESS_KEY])
    if old > new:
        assert answer == Refuses(400)
    else:
        assert isinstance(answer, Cosigned) if old == held else answer == Knows(held)
