"""Checkpoints: the examples read and print back; the names of logs; every malformed one by name."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, InputError
from riskshare.ledger.checkpoint import (
    Checkpoint,
    log_key,
    member_of,
    origin_of,
    parse_checkpoint,
    parse_hash,
    parse_signed,
    parse_size,
    sign_checkpoint,
    witness_key,
    witness_name,
)
from riskshare.ledger.note import COSIGNATURE, ED25519, verify
from riskshare.ledger.proof import MAX_SIZE
from riskshare.signature import SigningKey

# The example of tlog-checkpoint, with the cosignature of tlog-cosignature.
EXAMPLE = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""
KEY = SigningKey(bytes(range(32)))
ROOT = bytes(range(32, 64))
ENCODED = base64.b64encode(ROOT).decode()
lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
checkpoints = st.builds(
    Checkpoint, lines, st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(lines, max_size=3).map(tuple)
)  # fmt: skip


def test_the_example_reads_and_prints_back():
    signed = parse_signed(EXAMPLE.encode())
    assert signed.checkpoint.origin == "example.com/behind-the-sofa"
    assert signed.checkpoint.size == 20_852_163
    assert signed.checkpoint.root.hex().startswith("0ac5186a91863e8e")
    assert signed.checkpoint.extensions == ()
    assert signed.note.to_bytes().decode() == EXAMPLE
    assert signed.checkpoint.text == signed.note.text
    assert int.from_bytes(signed.note.signatures[1].value[:8], "big") == 1_679_315_147


@given(checkpoints)
def test_every_checkpoint_reads_back_and_is_signed_by_its_origin(checkpoint):
    assert parse_checkpoint(checkpoint.text) == checkpoint


@given(st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_what_a_log_signs_verifies_under_its_key(size, root):
    checkpoint = Checkpoint(origin_of("simnet", "icbc"), size, root)
    signed = parse_signed(sign_checkpoint(checkpoint, KEY).to_bytes())
    assert signed.checkpoint == checkpoint
    assert [one.key for one in verify(signed.note, [log_key("simnet", "icbc", KEY.public)])]


def test_names_of_keys_follow_from_network_and_member():
    assert origin_of("pay.example-1", "icbc") == "riskshare/pay.example-1/icbc"
    assert witness_name("pay", "icbc") == "riskshare/pay/icbc/witness"
    assert log_key("pay", "icbc", KEY.public).type == ED25519
    assert witness_key("pay", "icbc", KEY.public).type == COSIGNATURE
    assert witness_key("pay", "icbc", KEY.public).name == witness_name("pay", "icbc")


def test_the_member_of_an_origin():
    assert member_of("riskshare/pay/icbc", "pay") == "icbc"
    for other in (
        "riskshare/pay/icbc/witness",
        "riskshare/other/icbc",
        "riskshare/pay/",
        "icbc",
        "",
        "riskshare/pay/ICBC",
    ):
        assert member_of(other, "pay") is None


@pytest.mark.parametrize(
    ("network", "member"),
    [("", "icbc"), ("pay/x", "icbc"), ("Pay", "icbc"), ("pay", ""), ("pay", "a/b"), ("pay", "a b"), ("pay", "a+b")],
)
def test_other_names_have_no_log(network, member):
    with pytest.raises(InputError):
        origin_of(network, member)


GOOD = f"log\n5\n{ENCODED}\n"
MALFORMED = {
    "empty": "",
    "newline": "\n",
    "two lines": "log\n5\n",
    "no last newline": GOOD[:-1],
    "empty last line": GOOD + "\n",
    "empty origin": f"\n5\n{ENCODED}\n",
    "empty size": f"log\n\n{ENCODED}\n",
    "empty root": "log\n5\n\n",
    "empty extension": f"{GOOD}\nmore\n",
    "leading zero": GOOD.replace("5", "05"),
    "two zeros": GOOD.replace("5", "00"),
    "plus": GOOD.replace("5", "+5"),
    "minus": GOOD.replace("5", "-5"),
    "space in front": GOOD.replace("5", " 5", 1),
    "space behind": GOOD.replace("5\n", "5 \n", 1),
    "underscore": GOOD.replace("5", "1_0", 1),
    "hexadecimal": GOOD.replace("5", "0x5", 1),
    "arabic digit": GOOD.replace("5", "\u0665", 1),
    "fraction": GOOD.replace("5", "5.0", 1),
    "beyond 2^63 - 1": GOOD.replace("5", str(MAX_SIZE + 1), 1),
    "twenty digits": GOOD.replace("5", "1" * 20, 1),
    "root of 31 bytes": f"log\n5\n{base64.b64encode(bytes(31)).decode()}\n",
    "root of 33 bytes": f"log\n5\n{base64.b64encode(bytes(33)).decode()}\n",
    "root in hex": f"log\n5\n{ROOT.hex()}\n",
    "root without padding": f"log\n5\n{ENCODED.rstrip('=')}\n",
    "root with stray bits": f"log\n5\n{'A' * 42}B=\n",
    "root with a space": f"log\n5\n{ENCODED} \n",
    "lines in another order": f"5\nlog\n{ENCODED}\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_checkpoint_is_refused(what):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        parse_checkpoint(MALFORMED[what])


def test_a_signed_note_of_something_else_is_no_checkpoint():
    with pytest.raises(EncodingError):
        parse_signed(EXAMPLE.replace("20852163\n", "").encode())
    with pytest.raises(EncodingError):
        parse_signed(EXAMPLE.encode(), limit=100)


def test_sizes_and_hashes_alone():
    assert [parse_size(text) for text in ("0", "7", "10", str(MAX_SIZE))] == [0, 7, 10, MAX_SIZE]
    assert parse_hash(ENCODED) == ROOT
    for wrong in ("", "-0", "00", "5\n", str(MAX_SIZE + 1)):
        with pytest.raises(EncodingError):
            parse_size(wrong)
    for wrong in ("", "AAAA", ENCODED + "\n"):
        with pytest.raises(EncodingError):
            parse_hash(wrong)
