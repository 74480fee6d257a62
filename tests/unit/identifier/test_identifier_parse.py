"""Reading `type:value`: the parts common to all types."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import MAX_BYTES, TYPES, Identifier, make, mask, parse, stored

INVISIBLE = [
    *"\x00\x1b\x1f\x7f\x85\t\n",
    *"\xad\u061c\u180e\u200b\u200d\u200e\u202e\u2028\u2060\u2066\ufeff",
    *"\u034f\u115f\u2800\u3164\ufe0f\uffa0\U000e0001\U000e0100",
    *"\ue000\ufffe\ud800\udfff\U000f0000\U0010ffff",
]
CANARY = "00112233445566778899aabbccddeeff"


def reason_of(text, **options):
    with pytest.raises(IdentifierError) as caught:
        parse(text, **options)
    return caught.value.type, caught.value.reason


def test_types_are_those_of_the_protocol():
    expected = "phone cn_id uscc bank_card account iban email domain ip device wallet merchant canary"
    assert expected.split() == list(TYPES)


def test_canonical_text_and_oprf_input():
    identifier = parse("email:用户@Example.com")
    assert identifier.canonical == "email:用户@example.com"
    assert identifier.oprf_input == "email:用户@example.com".encode()


def test_type_may_be_full_width_and_have_blanks_before_it():
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in "phone:+86")
    assert parse(f" {wide} 138 0013 8000 ") == parse("phone:+8613800138000")


def test_blanks_around_the_value_are_trimmed():
    assert parse("ip: 192.0.2.1\n").value == "192.0.2.1"


def test_value_keeps_its_own_colons():
    assert parse("device:a:b:c:d:e").value == "a:b:c:d:e"
    assert parse("ip:2001:db8::1").value == "2001:db8::1"


@pytest.mark.parametrize("text", ["+8613800138000", "phone", "4111111111111111", "a b"])
def test_no_type(text):
    assert reason_of(text) == ("", "no_type")


@pytest.mark.parametrize("text", ["PHONE:+8613800138000", "phone :+8613800138000", "msisdn:1", ":1", "名:1"])
def test_unknown_type(text):
    assert reason_of(text) == ("", "unknown_type")


def test_unknown_type_of_make():
    with pytest.raises(IdentifierError) as caught:
        make("msisdn", "1", position=3)
    assert (caught.value.reason, caught.value.position) == ("unknown_type", 3)


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\u3000"])
def test_empty_text(text):
    assert reason_of(text) == ("", "empty")


@pytest.mark.parametrize("type_", [type_ for type_ in TYPES if type_ != "canary"])
def test_empty_value_of_each_type(type_):
    assert reason_of(f"{type_}:") == (type_, "empty")
    assert reason_of(f"{type_}: \u00a0\t") == (type_, "empty")


@pytest.mark.parametrize(
    "text", ["\u200bphone:+8613800138000", "pho\x00ne:1", "\ufeffip:192.0.2.1", "\ud800", "\x1cip:1"]
)
def test_invisible_before_the_type(text):
    assert reason_of(text) == ("", "invisible")


@pytest.mark.parametrize("character", INVISIBLE)
@pytest.mark.parametrize("type_", TYPES)
def test_invisible_in_the_value(type_, character):
    assert reason_of(f"{type_}:ab{character}cdefgh", allow_canary=True) == (type_, "invisible")


def test_limit_counts_the_type_and_the_colon():
    domain = ".".join(["a" * 60] * 4)
    fits = domain + "." + "b" * (MAX_BYTES - len("domain:") - len(domain) - 1)
    assert len(parse(f"domain:{fits}").oprf_input) == MAX_BYTES
    assert reason_of(f"domain:{fits}b") == ("domain", "too_long")
    with pytest.raises(IdentifierError) as caught:
        make("domain", fits + "b")
    assert caught.value.reason == "too_long"


def test_limit_counts_bytes_not_characters():
    assert reason_of("email:" + "é" * 200 + "@example.com") == ("email", "too_long")


def test_limit_holds_before_anything_is_computed():
    assert reason_of("phone:" + "9" * 10_000_000) == ("phone", "too_long")
    assert reason_of("\ufdfa" * 1_000_000) == ("", "too_long")


def test_limit_holds_after_compatibility_characters_grew():
    assert reason_of("email:" + "\ufdfa" * 20 + "@example.com") == ("email", "too_long")


@pytest.mark.parametrize("type_", [t for t in TYPES if t not in ("email", "domain", "canary")])
@pytest.mark.parametrize("letter", ["ß", "\u0131", "é", "Ж", "٣", "\u0301", "漢", "😀"])
def test_letters_beyond_ascii_are_never_changed_into_ascii(type_, letter):
    assert reason_of(f"{type_}:{letter}12345678") == (type_, "characters")


def test_canary_only_for_the_network_itself():
    assert reason_of(f"canary:{CANARY}") == ("canary", "reserved")
    assert parse(f"canary:{CANARY}", allow_canary=True).value == CANARY
    assert make("canary", CANARY, allow_canary=True).canonical == f"canary:{CANARY}"


@pytest.mark.parametrize("value", [CANARY.upper(), CANARY[1:], CANARY + "0", "g" * 32, "0x" + CANARY[2:]])
def test_malformed_canary(value):
    assert reason_of(f"canary:{value}", allow_canary=True) == ("canary", "form")


def test_position_is_carried_and_can_be_moved():
    with pytest.raises(IdentifierError) as caught:
        parse("ip:no", position=0)
    assert caught.value.position == 0
    assert caught.value.at(12).position == 12
    with pytest.raises(IdentifierError) as caught:
        parse("ip:no")
    assert caught.value.position is None


def test_value_is_in_no_repr_or_str():
    identifier = parse("phone:+12025550123")
    for shown in (repr(identifier), str(identifier), f"{identifier}", repr([identifier]), f"{identifier!r}"):
        assert "2025" not in shown
        assert "phone" in shown


def test_identifier_is_a_frozen_value():
    identifier = parse("ip:192.0.2.1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        identifier.value = "192.0.2.2"
    assert identifier == Identifier("ip", "192.0.2.1")
    assert len({identifier, parse("ip:::ffff:192.0.2.1")}) == 1
    assert pickle.loads(pickle.dumps(identifier)) == copy.copy(identifier) == identifier


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("phone:+14155550112", "phone:+1415•••••12"),
        ("phone:+8613800138000", "phone:+8613•••••••00"),
        ("bank_card:4111111111111111", "bank_card:411111••••••1111"),
        ("bank_card:500000000009", "bank_card:••••••••"),
        ("cn_id:11010519491231002X", "cn_id:110105••••••••2X"),
        ("uscc:91110000600037341L", "uscc:91110000••••••••1L"),
        ("iban:DE89370400440532013000", "iban:DE89••••••••000"),
        ("account:DEUTDEFF/0123456789", "account:DEUTDEFF/01••••••89"),
        ("account:DEUTDEFF/1234", "account:DEUTDEFF/••••"),
        ("email:anna.smith@example.com", "email:a••••••••@example.com"),
        ("email:a@example.com", "email:•@example.com"),
        ("domain:example.com", "domain:ex••••e.com"),
        ("domain:a.bc", "domain:•.bc"),
        ("ip:192.0.2.1", "ip:192.0.•••"),
        ("ip:2001:db8::1", "ip:2001:db8:•••"),
        ("ip:::1", "ip:::•••"),
        ("device:imei:490154203237518", "device:ime••••••••18"),
        ("wallet:eth/0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "wallet:eth/0x5a••••••••aed"),
        ("merchant:alipay/2088101117955611", "merchant:alipay/20••••••••11"),
        ("merchant:visa/1", "merchant:visa/•"),
    ],
)
def test_mask(text, masked):
    assert mask(parse(text)) == masked


@pytest.mark.parametrize("text", ["phone:+8613800138000", "email:a@bücher.example", "wallet:eth/0x" + "0" * 40])
def test_what_was_stored_is_the_same_identifier(text):
    identifier = Identifier(*text.split(":", 1))
    assert stored(identifier.oprf_input) == identifier


def test_what_was_stored_is_not_judged_again():
    """A numbering plan may lose a range in a later version of the library; what is listed stays listed."""
    with pytest.raises(IdentifierError):
        parse("phone:+8619999")
    assert stored(b"phone:+8619999") == Identifier("phone", "+8619999")


def test_mask_of_a_canary_hides_nothing():
    assert mask(parse(f"canary:{CANARY}", allow_canary=True)) == f"canary:{CANARY}"
