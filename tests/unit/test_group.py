from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare import sodium
from riskshare.errors import GroupError
from riskshare.membership import group

RFC9496 = json.loads((Path(__file__).parents[1] / "vectors/rfc9496.json").read_text(encoding="utf-8"))
MULTIPLES = [bytes.fromhex(text) for text in RFC9496["multiples_of_generator"]]
INVALID = [
    pytest.param(kind, bytes.fromhex(text), id=f"{kind}-{place}")
    for kind, texts in RFC9496["invalid_encodings"].items()
    for place, text in enumerate(texts)
]
BY_BYTES = {"non_canonical", "negative"}  # what shows without arithmetic
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493

elements = st.binary(min_size=64, max_size=64).map(sodium.point_from_hash).filter(lambda point: point != group.IDENTITY)


def with_bit_255(encoding: bytes) -> bytes:
    return encoding[:31] + bytes([encoding[31] | 0x80])


@pytest.mark.parametrize("encoding", MULTIPLES[1:])
def test_vector_multiples_are_elements(encoding):
    group.check_element(encoding)
    assert group.check_elements(encoding * 3) == 3
    assert group.is_element(encoding)


@pytest.mark.parametrize(("kind", "encoding"), INVALID)
def test_vector_invalid_encodings_are_refused(kind, encoding):
    assert not group.is_element(encoding)
    with pytest.raises(GroupError):
        group.multiply(bytes([1]) + bytes(31), encoding)
    if kind in BY_BYTES:
        with pytest.raises(GroupError):
            group.check_element(encoding)
        with pytest.raises(GroupError):
            group.check_elements(encoding)


@pytest.mark.parametrize("encoding", MULTIPLES)
def test_vector_bit_255_is_refused_whatever_the_library_does(encoding):
    encoding = with_bit_255(encoding)
    assert not group.is_element(encoding)
    for refuse in (group.check_element, group.check_elements, lambda point: group.multiply(MULTIPLES[1], point)):
        with pytest.raises(GroupError, match="canonical"):
            refuse(encoding)


@pytest.mark.parametrize("vector", RFC9496["element_derivation"], ids=lambda vector: vector["input"][:8])
def test_vector_derived_elements_are_elements(vector):
    derived = sodium.point_from_hash(bytes.fromhex(vector["input"]))
    assert derived.hex() == vector["element"]
    assert group.is_element(derived)


def test_the_identity_is_refused():
    assert not group.is_element(group.IDENTITY)
    for refuse in (group.check_element, group.check_elements):
        with pytest.raises(GroupError, match="identity"):
            refuse(group.IDENTITY)


def test_the_generator_is_that_of_the_rfc():
    assert MULTIPLES[1] == group.GENERATOR


@pytest.mark.parametrize("size", [size for size in range(66) if size != 32])
def test_wrong_lengths_are_refused(size):
    assert not group.is_element(bytes([2]) * size)
    with pytest.raises(GroupError):
        group.check_element(bytes([2]) * size)
    with pytest.raises(GroupError):
        group.check_scalar(bytes([2]) * size)
    if size % 32:
        with pytest.raises(GroupError):
            group.check_elements(bytes([2]) * size)


def test_no_elements_are_no_error():
    assert group.check_elements(b"") == 0


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_first_bad_element_is_named(count):
    for bad in range(count):
        encodings = [group.GENERATOR] * count
        encodings[bad:] = [with_bit_255(group.GENERATOR)] * (count - bad)
        with pytest.raises(GroupError, match=f"^Element {bad} of {count} "):
            group.check_elements(b"".join(encodings))


@pytest.mark.parametrize(
    "value", [0, 1, 3, P - 1, P - 2, P, P + 1, 2**255 - 1, 2**255, 2**255 + 2, 2**256 - 1, 2**248, 2]
)
def test_edges_of_the_encoding(value):
    encoding = value.to_bytes(32, "little")
    good = 0 < value < P and value % 2 == 0
    for check in (group.check_element, group.check_elements):
        if good:
            check(encoding)
        else:
            with pytest.raises(GroupError):
                check(encoding)


edges = st.one_of(
    st.binary(min_size=32, max_size=32), st.integers(P - 40, 2**255 + 40).map(lambda v: v.to_bytes(32, "little"))
)


@given(edges)
def test_single_and_bulk_check_agree_and_let_every_element_through(encoding):
    value = int.from_bytes(encoding, "little")
    good = 0 < value < P and value % 2 == 0
    for check in (group.check_element, group.check_elements):
        try:
            check(encoding)
        except GroupError:
            assert not good
        else:
            assert good
    if group.is_element(encoding):
        assert good


@given(elements)
def test_what_the_library_makes_is_an_element(element):
    group.check_element(element)
    assert group.is_element(element)


@given(elements, st.integers(1, ORDER - 1))
def test_multiply_undoes_with_the_inverse(element, number):
    scalar = number.to_bytes(32, "little")
    group.check_scalar(scalar)
    assert group.multiply(sodium.scalar_invert(scalar), group.multiply(scalar, element)) == element


@pytest.mark.parametrize("value", [0, ORDER, ORDER + 1, 2 * ORDER, 2**252 * 2, 2**255, 2**256 - 1])
def test_scalars_out_of_range_are_refused(value):
    with pytest.raises(GroupError):
        group.check_scalar(value.to_bytes(32, "little"))


@pytest.mark.parametrize("value", [1, 2, ORDER - 1, 2**252])
def test_scalars_in_range_pass(value):
    group.check_scalar(value.to_bytes(32, "little"))


def test_no_refusal_shows_what_was_sent():
    for encoding in (b"\x5a" * 31, with_bit_255(b"\x5a" * 32), b"\x5b" * 32):
        with pytest.raises(GroupError) as caught:
            group.check_element(encoding)
        assert "5a5a" not in str(caught.value)
        assert "ZZ" not in str(caught.value)
        assert caught.value.code == "bad_element"


# --- expansion: RFC 9380 5.3.1 written down once more, with nothing computed beforehand ------


def expand_message_xmd(message: bytes, tag: bytes, size: int) -> bytes:
    tag_prime = tag + bytes([len(tag)])
    b_0 = hashlib.sha512(bytes(128) + message + size.to_bytes(2, "big") + b"\x00" + tag_prime).digest()
    blocks = [hashlib.sha512(b_0 + b"\x01" + tag_prime).digest()]
    while 64 * len(blocks) < size:
        mixed = bytes(a ^ b for a, b in zip(b_0, blocks[-1], strict=True))
        blocks.append(hashlib.sha512(mixed + bytes([len(blocks) + 1]) + tag_prime).digest())
    return b"".join(blocks)[:size]


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=255))
def test_expansion_follows_the_definition(message, tag):
    expander = group.Expander(tag)
    uniform = expand_message_xmd(message, tag, 64)
    assert expander.expand(message) == uniform
    assert expander.expand(message) == uniform, "the state prepared once is not used up"
    assert expander.to_element(message) == sodium.point_from_hash(uniform)
    assert expander.to_scalar(message) == (int.from_bytes(uniform, "little") % ORDER).to_bytes(32, "little")


@pytest.mark.parametrize("size", [0, 256, 1000])
def test_tags_of_other_lengths_are_refused(size):
    with pytest.raises(ValueError):
        group.Expander(bytes(size))
