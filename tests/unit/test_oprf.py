from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voprf import ristretto

from riskshare import sodium
from riskshare.errors import GroupError, ProofError
from riskshare.membership import group, oprf
from riskshare.membership.oprf import Mode, SecretKey

RFC9497 = json.loads((Path(__file__).parents[1] / "vectors/rfc9497_ristretto255.json").read_text(encoding="utf-8"))
RFC9496 = json.loads((Path(__file__).parents[1] / "vectors/rfc9496.json").read_text(encoding="utf-8"))
SUITES = [pytest.param(suite, id=Mode(suite["mode"]).name) for suite in RFC9497["suites"]]
CASES = [
    pytest.param(suite, vector, id=f"{Mode(suite['mode']).name}-{place}")
    for suite in RFC9497["suites"]
    for place, vector in enumerate(suite["vectors"])
]
INVALID = [bytes.fromhex(text) for texts in RFC9496["invalid_encodings"].values() for text in texts]
ORDER = 2**252 + 27742317777372353535851937790883648493
ONE = (1).to_bytes(32, "little")

modes = st.sampled_from(Mode)
inputs = st.binary(max_size=300)
scalars = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "little"))
keys = scalars.map(SecretKey)


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def split(joined: bytes) -> list[bytes]:
    return [joined[start : start + 32] for start in range(0, len(joined), 32)]


def with_bit_255(encoding: bytes) -> bytes:
    return encoding[:31] + bytes([encoding[31] | 0x80])


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "little") ^ 1 << bit).to_bytes(len(value), "little")


# --- the vectors of RFC 9497, A.1 -----------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_vector_keys(suite):
    key = SecretKey.derive(bytes.fromhex(suite["seed"]), bytes.fromhex(suite["key_info"]), Mode(suite["mode"]))
    assert key.export().hex() == suite["secret_key"]
    assert SecretKey(key.export()).public == key.public
    if "public_key" in suite:
        assert key.public.hex() == suite["public_key"]


@pytest.mark.parametrize(("suite", "vector"), CASES)
def test_vector_elements_and_outputs(suite, vector):
    mode, key = Mode(suite["mode"]), SecretKey(bytes.fromhex(suite["secret_key"]))
    values, blinds = unhex(vector["input"]), unhex(vector["blind"])
    blinded = [oprf.blind(value, blind, mode) for value, blind in zip(values, blinds, strict=True)]
    assert blinded == unhex(vector["blinded_element"])
    evaluated = [oprf.evaluate(key, element) for element in blinded]
    assert evaluated == unhex(vector["evaluation_element"])
    assert split(oprf.evaluate_many(key, b"".join(blinded))) == evaluated
    outputs = unhex(vector["output"])
    for value, blind, element, output in zip(values, blinds, evaluated, outputs, strict=True):
        assert oprf.finalize(value, oprf.invert(blind), element) == output
        assert oprf.token(key, value, mode) == output
    assert oprf.tokens(key, values, mode) == outputs


@pytest.mark.parametrize(("suite", "vector"), [case for case in CASES if "proof" in case.values[1]])
def test_vector_proofs(suite, vector):
    mode, key = Mode(suite["mode"]), SecretKey(bytes.fromhex(suite["secret_key"]))
    blinded, evaluated = unhex(vector["blinded_element"]), unhex(vector["evaluation_element"])
    proof = bytes.fromhex(vector["proof"])
    assert oprf.prove(key, blinded, evaluated, bytes.fromhex(vector["proof_random_scalar"]), mode) == proof
    oprf.verify_proof(key.public, blinded, evaluated, proof, mode)


# --- an independent implementation, in VOPRF mode --------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50))
def test_the_other_implementation_derives_the_same_key(seed, info):
    assert ristretto.Evaluator.from_seed(seed, info).public_key.serialize() == SecretKey.derive(seed, info).public


@settings(max_examples=25)
@given(st.binary(min_size=32, max_size=32), st.lists(st.tuples(inputs, scalars), min_size=1, max_size=5))
def test_we_ask_and_the_other_implementation_answers(seed, asked):
    owner = ristretto.Evaluator(seed)
    blinded = [oprf.blind(value, blind) for value, blind in asked]
    answer = owner.evaluate_batch([ristretto.BlindedInput.deserialize(element) for element in blinded]).serialize()
    proof, evaluated = answer[:64], split(answer[64:])
    oprf.verify_proof(owner.public_key.serialize(), blinded, evaluated, proof)
    for (value, blind), element in zip(asked, evaluated, strict=True):
        found = oprf.finalize(value, oprf.invert(blind), element)
        assert found == owner.evaluate_known_input(value)


@settings(max_examples=25)
@given(
    st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=1, max_size=99), min_size=1, max_size=5), scalars
)
def test_the_other_implementation_asks_and_we_answer(seed, values, random_scalar):
    key = SecretKey.derive(seed, b"")
    clients = [ristretto.Client.blind(value) for value in values]
    blinded = [element.serialize() for _, element in clients]
    evaluated = split(oprf.evaluate_many(key, b"".join(blinded)))
    proof = oprf.prove(key, blinded, evaluated, random_scalar)
    answer = ristretto.VerifiableBatchOutput.deserialize(proof + b"".join(evaluated))
    public = ristretto.PublicKey.deserialize(key.public)
    found = ristretto.Client.finalize_batch([client for client, _ in clients], answer, public)
    assert found == oprf.tokens(key, values) == [oprf.token(key, value) for value in values]


def test_the_other_implementation_refuses_our_proof_under_another_key():
    key = SecretKey.derive(bytes(32), b"")
    client, blinded = ristretto.Client.blind(b"x")
    element = blinded.serialize()
    evaluated = oprf.evaluate(key, element)
    answer = ristretto.VerifiableOutput.deserialize(oprf.prove(key, [element], [evaluated], ONE) + evaluated)
    other = ristretto.PublicKey.deserialize(SecretKey.derive(bytes(32), b"other").public)
    with pytest.raises(Exception, match=r"(?i)proof"):
        client.finalize(answer, other)


# --- properties ------------------------------------------------------------------------------


@given(inputs, scalars, keys, modes)
def test_the_blind_falls_out(value, blind, key, mode):
    evaluated = oprf.evaluate(key, oprf.blind(value, blind, mode))
    assert oprf.finalize(value, oprf.invert(blind), evaluated) == oprf.token(key, value, mode)


@given(inputs, scalars, scalars, keys)
def test_blinded_elements_of_one_input_differ_and_tokens_agree(value, one, other, key):
    first, second = oprf.blind(value, one), oprf.blind(value, other)
    assert (first == second) == (one == other)
    assert first != oprf.hash_to_group(value) or one == ONE
    assert oprf.finalize(value, oprf.invert(one), oprf.evaluate(key, first)) == oprf.finalize(
        value, oprf.invert(other), oprf.evaluate(key, second)
    )


@given(keys, st.lists(inputs, max_size=9), modes)
def test_bulk_functions_agree_with_single_ones(key, values, mode):
    elements = [oprf.hash_to_group(value, mode) for value in values]
    assert split(oprf.evaluate_many(key, b"".join(elements))) == [oprf.evaluate(key, one) for one in elements]
    assert oprf.tokens(key, values, mode) == [oprf.token(key, value, mode) for value in values]


@given(inputs, inputs, keys, keys)
def test_tokens_depend_on_input_key_and_mode(one, other, key, second):
    assert (oprf.token(key, one) == oprf.token(key, other)) == (one == other)
    assert (oprf.token(key, one) == oprf.token(second, one)) == (key.export() == second.export())
    assert oprf.token(key, one) != oprf.token(key, one, Mode.OPRF)


@settings(max_examples=50)
@given(keys, st.lists(inputs, min_size=1, max_size=4), scalars, modes, st.data())
def test_a_proof_holds_and_a_changed_bit_anywhere_fails_it(key, values, random_scalar, mode, data):
    blinded = [oprf.hash_to_group(value, mode) for value in values]
    evaluated = split(oprf.evaluate_many(key, b"".join(blinded)))
    proof = oprf.prove(key, blinded, evaluated, random_scalar, mode)
    oprf.verify_proof(key.public, blinded, evaluated, proof, mode)
    whole = key.public + proof + b"".join(blinded) + b"".join(evaluated)
    changed = flipped(whole, data.draw(st.integers(0, 8 * len(whole) - 1)))
    middle = 96 + 32 * len(values)
    with pytest.raises(ProofError):
        oprf.verify_proof(changed[:32], split(changed[96:middle]), split(changed[middle:]), changed[32:96], mode)
    with pytest.raises(ProofError) as caught:
        oprf.verify_proof(key.public, blinded, evaluated, proof, Mode(1 - mode))
    assert caught.value.code == "bad_proof"


# --- proofs that must fail -------------------------------------------------------------------

KEY = SecretKey.derive(bytes(range(32)), b"tests")
BLINDED = [oprf.hash_to_group(bytes([place])) for place in range(3)]
EVALUATED = [oprf.evaluate(KEY, element) for element in BLINDED]
RANDOM = oprf.scalar_from_random(bytes(range(64)))
PROOF = oprf.prove(KEY, BLINDED, EVALUATED, RANDOM)


@pytest.mark.parametrize("bit", range(512))
def test_every_bit_of_a_proof_counts(bit):
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, BLINDED[:1], EVALUATED[:1], flipped(SINGLE_PROOF, bit))


SINGLE_PROOF = oprf.prove(KEY, BLINDED[:1], EVALUATED[:1], RANDOM)


@pytest.mark.parametrize("size", [*range(64), 65, 96, 128])
def test_proofs_of_other_lengths_are_refused(size):
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, BLINDED, EVALUATED, (PROOF * 2)[:size])


@pytest.mark.parametrize(
    ("blinded", "evaluated"),
    [
        pytest.param([], [], id="none"),
        pytest.param(BLINDED[:2], EVALUATED, id="one-question-less"),
        pytest.param(BLINDED, EVALUATED[:2], id="one-answer-less"),
        pytest.param(BLINDED[:2], EVALUATED[:2], id="shorter"),
        pytest.param([*BLINDED, BLINDED[0]], [*EVALUATED, EVALUATED[0]], id="longer"),
        pytest.param(BLINDED[::-1], EVALUATED[::-1], id="other-order"),
        pytest.param(BLINDED, EVALUATED[::-1], id="answers-in-other-order"),
        pytest.param(EVALUATED, BLINDED, id="exchanged"),
        pytest.param(BLINDED, BLINDED, id="not-evaluated"),
    ],
)
def test_a_proof_is_about_its_batch_only(blinded, evaluated):
    oprf.verify_proof(KEY.public, BLINDED, EVALUATED, PROOF)
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, blinded, evaluated, PROOF)


def test_errors_of_two_answers_do_not_cancel():
    difference = oprf.hash_to_group(b"difference")
    shifted = [sodium.point_add(EVALUATED[0], difference), sodium.point_sub(EVALUATED[1], difference), EVALUATED[2]]
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, BLINDED, shifted, PROOF)
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, BLINDED, shifted, oprf.prove(KEY, BLINDED, shifted, RANDOM))


def test_a_proof_under_another_key_fails():
    other = SecretKey.from_random(bytes(range(64)))
    with pytest.raises(ProofError):
        oprf.verify_proof(other.public, BLINDED, EVALUATED, PROOF)
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, BLINDED, EVALUATED, oprf.prove(other, BLINDED, EVALUATED, RANDOM))


@pytest.mark.parametrize("bad", [*INVALID, group.IDENTITY, b"", bytes(31), bytes(33), BLINDED[0] + b"\x00"])
def test_what_is_no_element_fails_a_proof_wherever_it_stands(bad):
    for public, blinded, evaluated in (
        (bad, BLINDED, EVALUATED),
        (KEY.public, [*BLINDED[:2], bad], EVALUATED),
        (KEY.public, BLINDED, [bad, *EVALUATED[1:]]),
    ):
        with pytest.raises(ProofError):
            oprf.verify_proof(public, blinded, evaluated, PROOF)


@pytest.mark.parametrize("place", range(7))
def test_bit_255_fails_a_proof_wherever_it_stands(place):
    everything = [KEY.public, *BLINDED, *EVALUATED]
    everything[place] = with_bit_255(everything[place])
    with pytest.raises(ProofError):
        oprf.verify_proof(everything[0], everything[1:4], everything[4:], PROOF)


@pytest.mark.parametrize("half", [0, 32])
@pytest.mark.parametrize("value", ["zero", "order", "plus-order"])
def test_scalars_out_of_range_fail_a_proof(half, value):
    number = {"zero": 0, "order": ORDER, "plus-order": int.from_bytes(PROOF[half : half + 32], "little") + ORDER}[value]
    changed = PROOF[:half] + number.to_bytes(32, "little") + PROOF[half + 32 :]
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, BLINDED, EVALUATED, changed)


def test_nothing_is_proved_about_a_malformed_batch():
    for blinded, evaluated in (([], []), (BLINDED, EVALUATED[:2]), (BLINDED[:1] * 65537, EVALUATED[:1] * 65537)):
        with pytest.raises(ProofError):
            oprf.prove(KEY, blinded, evaluated, RANDOM)
    with pytest.raises(GroupError):
        oprf.prove(KEY, [group.IDENTITY], EVALUATED[:1], RANDOM)
    with pytest.raises(GroupError):
        oprf.prove(KEY, BLINDED, EVALUATED, bytes(32))


def test_a_proof_over_many():
    blinded = split(oprf.evaluate_many(KEY, b"".join(BLINDED * 100)))
    evaluated = split(oprf.evaluate_many(KEY, b"".join(blinded)))
    proof = oprf.prove(KEY, blinded, evaluated, RANDOM)
    oprf.verify_proof(KEY.public, blinded, evaluated, proof)
    with pytest.raises(ProofError):
        oprf.verify_proof(KEY.public, blinded, [*evaluated[:-1], evaluated[0]], proof)


# --- inputs, elements, scalars, keys that are refused ----------------------------------------


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 65_535])
def test_inputs_of_any_allowed_length(size):
    value, blind = bytes(size), RANDOM
    evaluated = oprf.evaluate(KEY, oprf.blind(value, blind))
    assert oprf.finalize(value, oprf.invert(blind), evaluated) == oprf.token(KEY, value) == oprf.tokens(KEY, [value])[0]


def test_inputs_that_are_too_long_are_refused():
    value = bytes(65_536)
    for call in (
        lambda: oprf.hash_to_group(value),
        lambda: oprf.blind(value, RANDOM),
        lambda: oprf.token(KEY, value),
        lambda: oprf.tokens(KEY, [b"", value]),
        lambda: oprf.finalize(value, RANDOM, BLINDED[0]),
    ):
        with pytest.raises(GroupError) as caught:
            call()
        assert caught.value.code == "invalid_input"


@pytest.mark.parametrize(
    "element",
    [
        *INVALID,
        group.IDENTITY,
        with_bit_255(BLINDED[0]),
        *(BLINDED[0][:size] for size in range(32)),
        BLINDED[0] + b"\x00",
    ],
)
def test_what_is_no_element_is_neither_evaluated_nor_finalised(element):
    with pytest.raises(GroupError):
        oprf.evaluate(KEY, element)
    with pytest.raises(GroupError):
        oprf.finalize(b"x", RANDOM, element)
    if element:
        with pytest.raises(GroupError):
            oprf.evaluate_many(KEY, BLINDED[0] + element)


def test_nothing_is_evaluated_to_nothing():
    assert oprf.evaluate_many(KEY, b"") == b""
    assert oprf.tokens(KEY, []) == []


@pytest.mark.parametrize("bad", [INVALID[-1], group.IDENTITY, with_bit_255(BLINDED[0])])
@pytest.mark.parametrize("place", [0, 1, 4])
def test_the_element_that_is_refused_is_named(bad, place):
    elements = [BLINDED[0]] * 5
    elements[place] = bad
    with pytest.raises(GroupError, match=f"^Element {place} of 5 "):
        oprf.evaluate_many(KEY, b"".join(elements))


@pytest.mark.parametrize(
    "scalar",
    [
        *(bytes([1]) * size for size in (*range(32), *range(33, 65))),
        bytes(32),
        ORDER.to_bytes(32, "little"),
        b"\xff" * 32,
    ],
)
def test_scalars_out_of_range_are_refused(scalar):
    for call in (
        lambda: SecretKey(scalar),
        lambda: oprf.invert(scalar),
        lambda: oprf.blind(b"x", scalar),
        lambda: oprf.finalize(b"x", scalar, BLINDED[0]),
        lambda: oprf.prove(KEY, BLINDED, EVALUATED, scalar),
    ):
        with pytest.raises(GroupError):
            call()


@given(scalars)
def test_inverting_twice_changes_nothing(scalar):
    assert oprf.invert(oprf.invert(scalar)) == scalar
    assert sodium.scalar_mul(scalar, oprf.invert(scalar)) == ONE


@given(st.lists(scalars, max_size=12))
def test_inverting_many_is_inverting_each(some):
    assert oprf.invert_many(some) == [oprf.invert(scalar) for scalar in some]


@pytest.mark.parametrize("bad", [bytes(32), ORDER.to_bytes(32, "little"), bytes(31)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_inverting_many_refuses_what_inverting_one_does(bad, place):
    some = [ONE, ONE]
    some.insert(place, bad)
    with pytest.raises(GroupError):
        oprf.invert_many(some)


@given(st.binary(min_size=64, max_size=64))
def test_scalars_from_random_bytes(uniform):
    number = int.from_bytes(uniform, "little") % ORDER
    if number:
        assert int.from_bytes(oprf.scalar_from_random(uniform), "little") == number
        assert SecretKey.from_random(uniform).export() == number.to_bytes(32, "little")


@pytest.mark.parametrize("uniform", [bytes(64), ORDER.to_bytes(64, "little"), (ORDER << 259).to_bytes(64, "little")])
def test_random_bytes_that_give_zero_are_refused(uniform):
    for make in (oprf.scalar_from_random, SecretKey.from_random):
        with pytest.raises(GroupError):
            make(uniform)


@pytest.mark.parametrize("size", [0, 31, 32, 33, 63, 65, 128])
def test_random_bytes_of_other_lengths_are_refused(size):
    with pytest.raises(ValueError):
        oprf.scalar_from_random(b"\x01" * size)


@pytest.mark.parametrize("size", [*range(32), *range(33, 65)])
def test_seeds_of_other_lengths_are_refused(size):
    with pytest.raises(ValueError):
        SecretKey.derive(bytes(size), b"")


def test_the_derivation_depends_on_seed_information_and_mode():
    seed = bytes(32)
    found = {
        SecretKey.derive(*arguments).public
        for arguments in ((seed, b""), (seed, b"a"), (b"\x01" * 32, b""), (seed, b"", Mode.OPRF), (seed, b"\x00"))
    }
    assert len(found) == 5
    SecretKey.derive(seed, bytes(65_535))
    with pytest.raises(ValueError):
        SecretKey.derive(seed, bytes(65_536))


def test_a_key_is_neither_shown_nor_pickled_nor_copied():
    key = SecretKey(b"\x0b" * 32)
    assert "0b0b" not in repr(key)
    assert "0b0b" not in f"{key!s}"
    assert key.public.hex() in repr(key)
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            give_away(key)
    with pytest.raises(AttributeError):
        key.note = "slots"  # type: ignore[attr-defined]


def test_no_refusal_shows_a_secret():
    secret = os.urandom(32)[:31] + b"\xff"
    for call in (lambda: SecretKey(secret), lambda: oprf.blind(b"phone:+14155550123", secret)):
        with pytest.raises(GroupError) as caught:
            call()
        assert secret.hex() not in str(caught.value)
        assert "4155550123" not in str(caught.value)
