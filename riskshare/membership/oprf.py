"""The oblivious pseudorandom function of RFC 9497, suite ristretto255-SHA512.

Modes OPRF and VOPRF; the network uses VOPRF, whose outputs can be proved. The names are
those of the RFC, 3.3, where `evaluate` is BlindEvaluate and `token` is Evaluate:

    querier                                  owner, with its SecretKey
    blinded = blind(input, r)       -------> evaluated = evaluate(key, blinded)
                                    <------- proof = prove(key, ...), where one is asked for
    token = finalize(input, invert(r), evaluated)

All functions are pure: randomness comes as an argument. Secret scalars are handled by
libsodium only, in constant time; Python cannot promise that their memory is wiped.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from enum import IntEnum
from typing import final

from riskshare import sodium
from riskshare.errors import GroupError, ProofError
from riskshare.membership import group

SEED_BYTES = 32
TOKEN_BYTES = 64
PROOF_BYTES = 64
MAX_INPUT_BYTES = 2**16 - 1
"""RFC 9497 1.2: a PrivateInput has at most 2^16 - 1 bytes."""

MAX_BATCH = 2**16
"""Most elements under one proof: their index is written in two bytes (RFC 9497 2.2.1)."""


class Mode(IntEnum):
    """RFC 9497 3.1, Table 1; the third mode, POPRF, is not used here."""

    OPRF = 0
    VOPRF = 1


@final
class _Tags:
    """What depends on the mode: the domain separation tags of RFC 9497 2.2, 3.2.1 and 4.1."""

    __slots__ = ("derive_key_pair", "hash_to_group", "hash_to_scalar", "seed")

    def __init__(self, mode: Mode) -> None:
        context = b"OPRFV1-" + bytes([mode]) + b"-ristretto255-SHA512"
        self.hash_to_group = group.Expander(b"HashToGroup-" + context)
        self.hash_to_scalar = group.Expander(b"HashToScalar-" + context)
        self.derive_key_pair = group.Expander(b"DeriveKeyPair" + context)
        self.seed = _prefixed(b"Seed-" + context)


def _prefixed(part: bytes) -> bytes:
    """I2OSP(len(part), 2) || part."""
    return len(part).to_bytes(2, "big") + part


def _times_generator(scalar: bytes) -> bytes:
    """A checked scalar times the generator: three times as fast as another element."""
    product = sodium.scalar_multiply_base(scalar)
    assert product is not None, "only zero times the generator is the identity"
    return product


_TAGS = {mode: _Tags(mode) for mode in Mode}
_ELEMENT_LENGTH = (32).to_bytes(2, "big")
_FINALIZE = b"Finalize"


@final
class SecretKey:
    """An owner's key: a scalar between 1 and L - 1, in no `repr` and never pickled.

    `public` is the element `scalar · generator`, 32 bytes.
    """

    __slots__ = ("_scalar", "public")

    def __init__(self, scalar: bytes) -> None:
        """Take over a scalar of 32 bytes, as `export` gives it.

        Raises:
            GroupError: wrong length, zero, or not below L.

        """
        group.check_scalar(scalar)
        self._scalar = scalar
        self.public = _times_generator(scalar)

    @classmethod
    def derive(cls, seed: bytes, info: bytes, mode: Mode = Mode.VOPRF) -> SecretKey:
        """Derive the key from a 32-byte seed and a public text (RFC 9497 3.2.1, DeriveKeyPair).

        Raises:
            ValueError: the seed is not 32 bytes or the text longer than 65,535.

        """
        if len(seed) != SEED_BYTES or len(info) > MAX_INPUT_BYTES:
            raise ValueError("a seed is 32 bytes, its information at most 65,535")
        expander = _TAGS[mode].derive_key_pair
        for counter in range(256):
            scalar = expander.to_scalar(seed + _prefixed(info) + bytes([counter]))
            if not hmac.compare_digest(scalar, bytes(32)):
                return cls(scalar)
        raise GroupError("No key can be derived from this seed. Take another.")

    @classmethod
    def from_random(cls, uniform: bytes) -> SecretKey:
        """Make the key from 64 random bytes (RFC 9497 3.2)."""
        return cls(scalar_from_random(uniform))

    def export(self) -> bytes:
        """The secret scalar, 32 bytes: to be sealed at rest, or handed to a worker process."""
        return self._scalar

    def __repr__(self) -> str:
        return f"SecretKey(public={self.public.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled; hand over what export() gives")


def scalar_from_random(uniform: bytes) -> bytes:
    """Make a scalar between 1 and L - 1 from 64 random bytes (RFC 9497 2.1, RandomScalar).

    Reduced modulo L the bias is below 2^-256.

    Raises:
        GroupError: the bytes reduce to zero, which says that they were not random.

    """
    scalar = sodium.scalar_reduce(uniform)
    if hmac.compare_digest(scalar, bytes(32)):
        raise GroupError("The random bytes give the scalar zero. Check the source of randomness.")
    return scalar


def invert(scalar: bytes) -> bytes:
    """Return 1 / scalar modulo L.

    Raises:
        GroupError: wrong length, zero, or not below L.

    """
    group.check_scalar(scalar)
    return sodium.scalar_invert(scalar)


def invert_many(scalars: Sequence[bytes]) -> list[bytes]:
    """Return 1 / scalar modulo L for each, at the price of one inversion and three products a scalar.

    Montgomery's trick: the product of all is inverted, then each factor is divided out again. All
    steps are libsodium's, in constant time.

    Raises:
        GroupError: as `invert`, for any of them.

    """
    if not scalars:
        return []
    for scalar in scalars:
        group.check_scalar(scalar)
    products = [scalars[0]]
    for scalar in scalars[1:]:
        products.append(sodium.scalar_mul(products[-1], scalar))
    rest = sodium.scalar_invert(products[-1])
    inverses = [b""] * len(scalars)
    for place in range(len(scalars) - 1, 0, -1):
        inverses[place] = sodium.scalar_mul(rest, products[place - 1])
        rest = sodium.scalar_mul(rest, scalars[place])
    inverses[0] = rest
    return inverses


def _check_input(value: bytes) -> None:
    if len(value) > MAX_INPUT_BYTES:
        raise GroupError(f"An input is longer than {MAX_INPUT_BYTES} bytes. Shorten it.", code="invalid_input")


def hash_to_group(value: bytes, mode: Mode = Mode.VOPRF) -> bytes:
    """Hash an input to an element, 32 bytes (RFC 9497 4.1).

    Raises:
        GroupError: longer than 65,535 bytes.

    """
    _check_input(value)
    return _TAGS[mode].hash_to_group.to_element(value)


def blind(value: bytes, blind_scalar: bytes, mode: Mode = Mode.VOPRF) -> bytes:
    """Blind an input: `blind_scalar · H(value)`, 32 bytes (RFC 9497 3.3.1, Blind).

    Args:
        value: the input, at most 65,535 bytes.
        blind_scalar: from `scalar_from_random`, fresh for every input.
        mode: the mode of the exchange.

    Raises:
        GroupError: the input is too long, or the scalar is refused as by `invert`.

    """
    group.check_scalar(blind_scalar)
    return group.multiply(blind_scalar, hash_to_group(value, mode))


def evaluate(key: SecretKey, blinded: bytes) -> bytes:
    """Evaluate one blinded element: `key · blinded` (RFC 9497 3.3.1, BlindEvaluate).

    Raises:
        GroupError: not the encoding of an element, or the identity.

    """
    return group.multiply(key._scalar, blinded)  # noqa: SLF001 - a secret has no public name


def evaluate_many(key: SecretKey, elements: bytes) -> bytes:
    """Evaluate blinded elements given behind one another; the results stand so, too.

    Encodings are checked, all of them, before the first multiplication.

    Raises:
        GroupError: an element is refused; the first such is named by its index, from 0.

    """
    return evaluate_exported(key._scalar, elements)  # noqa: SLF001 - a secret has no public name


def evaluate_exported(scalar: bytes, elements: bytes) -> bytes:
    """Evaluate as `evaluate_many`, with what `SecretKey.export` gives: for a process that gets the key with each part.

    Raises:
        GroupError: an element is refused; the first such is named by its index, from 0.

    """
    count = group.check_elements(elements)
    products, failed = sodium.scalar_multiply_many(scalar, elements)
    if failed >= 0:
        raise GroupError(f"Element {failed} of {count} is not a point of the group. Send only blinded elements.")
    return products


def _hash_output(value: bytes, element: bytes) -> bytes:
    """The last step of Finalize and Evaluate (RFC 9497 3.3.1)."""
    return hashlib.sha512(len(value).to_bytes(2, "big") + value + _ELEMENT_LENGTH + element + _FINALIZE).digest()


def finalize(value: bytes, inverse_blind: bytes, evaluated: bytes) -> bytes:
    """Take the blind off and return the token, 64 bytes (RFC 9497 3.3.1, Finalize).

    Args:
        value: the input, as it was blinded.
        inverse_blind: what `invert` gives for the blind; computed while the answer is awaited.
        evaluated: the owner's element.

    Raises:
        GroupError: the input is too long; the scalar is refused; or the element is.

    """
    _check_input(value)
    group.check_scalar(inverse_blind)
    return _hash_output(value, group.multiply(inverse_blind, evaluated))


def token(key: SecretKey, value: bytes, mode: Mode = Mode.VOPRF) -> bytes:
    """The owner's own way to the token of an input, 64 bytes (RFC 9497 3.3.1, Evaluate).

    Raises:
        GroupError: the input is longer than 65,535 bytes.

    """
    product = sodium.scalar_multiply(key._scalar, hash_to_group(value, mode))  # noqa: SLF001
    assert product is not None, "a secret key is not zero, and a hash is an element"
    return _hash_output(value, product)


def tokens(key: SecretKey, values: Sequence[bytes], mode: Mode = Mode.VOPRF) -> list[bytes]:
    """The tokens of many inputs, as `token` gives them, in order; for building lists.

    Raises:
        GroupError: an input is longer than 65,535 bytes.

    """
    for value in values:
        _check_input(value)
    uniform = b"".join(map(_TAGS[mode].hash_to_group.expand, values))
    products, failed = sodium.hash_multiply_many(key._scalar, uniform)  # noqa: SLF001
    if failed >= 0:
        raise GroupError(f"Input {failed} hashes to the identity and cannot be used.", code="invalid_input")
    return [_hash_output(value, products[32 * place : 32 * place + 32]) for place, value in enumerate(values)]


# --- Proofs (RFC 9497 2.2): one for a whole batch -------------------------------------------


def _composite_scalars(public: bytes, blinded: Sequence[bytes], evaluated: Sequence[bytes], mode: Mode) -> list[bytes]:
    """The factors d_i that bind a batch into two elements (RFC 9497 2.2.1, ComputeComposites)."""
    tags = _TAGS[mode]
    seed = _prefixed(hashlib.sha512(_ELEMENT_LENGTH + public + tags.seed).digest())
    return [
        tags.hash_to_scalar.to_scalar(
            seed + place.to_bytes(2, "big") + _ELEMENT_LENGTH + one + _ELEMENT_LENGTH + other + b"Composite"
        )
        for place, (one, other) in enumerate(zip(blinded, evaluated, strict=True))
    ]


def _combine(scalars: Sequence[bytes], elements: Sequence[bytes]) -> bytes:
    """The sum of scalar · element over a batch."""
    total = group.IDENTITY
    for scalar, element in zip(scalars, elements, strict=True):
        total = sodium.point_add(total, group.multiply(scalar, element))
    return total


def _challenge(public: bytes, composites: Sequence[bytes], commitments: Sequence[bytes], mode: Mode) -> bytes:
    parts = (public, *composites, *commitments)
    transcript = b"".join(_ELEMENT_LENGTH + part for part in parts) + b"Challenge"
    return _TAGS[mode].hash_to_scalar.to_scalar(transcript)


def _check_batch(blinded: Sequence[bytes], evaluated: Sequence[bytes]) -> None:
    if not 0 < len(blinded) <= MAX_BATCH or len(blinded) != len(evaluated):
        raise ProofError("A proof is about 1 to 65,536 elements and as many results.")
    for element in (*blinded, *evaluated):
        group.check_element(element)


def prove(
    key: SecretKey,
    blinded: Sequence[bytes],
    evaluated: Sequence[bytes],
    random_scalar: bytes,
    mode: Mode = Mode.VOPRF,
) -> bytes:
    """Prove that every `evaluated[i]` is `key · blinded[i]` (RFC 9497 2.2.1, GenerateProof).

    Args:
        key: the owner's key.
        blinded: elements of 32 bytes, at least one.
        evaluated: what `evaluate` gave for them, in the same order.
        random_scalar: from `scalar_from_random`, fresh for every proof: used twice, it
            gives the key away.
        mode: the mode of the exchange.

    Returns:
        The proof, 64 bytes: challenge and response.

    Raises:
        ProofError: no elements, too many, or not as many results.
        GroupError: an element or the scalar is refused.

    """
    _check_batch(blinded, evaluated)
    group.check_scalar(random_scalar)
    scalar = key._scalar  # noqa: SLF001
    first = _combine(_composite_scalars(key.public, blinded, evaluated, mode), blinded)
    second = group.multiply(scalar, first)
    commitments = (_times_generator(random_scalar), group.multiply(random_scalar, first))
    challenge = _challenge(key.public, (first, second), commitments, mode)
    return challenge + sodium.scalar_sub(random_scalar, sodium.scalar_mul(challenge, scalar))


def verify_proof(
    public: bytes,
    blinded: Sequence[bytes],
    evaluated: Sequence[bytes],
    proof: bytes,
    mode: Mode = Mode.VOPRF,
) -> None:
    """Check a proof of `prove` under the owner's public key (RFC 9497 2.2.2, VerifyProof).

    Two multiplications for every element: a large batch belongs into a thread.

    Raises:
        ProofError: the proof does not hold, or anything in it is no element or scalar.

    """
    if len(proof) != PROOF_BYTES:
        raise ProofError(f"The proof is not {PROOF_BYTES} bytes.")
    challenge, response = proof[:32], proof[32:]
    try:
        group.check_element(public)
        group.check_scalar(challenge)
        group.check_scalar(response)
        _check_batch(blinded, evaluated)
        scalars = _composite_scalars(public, blinded, evaluated, mode)
        first, second = _combine(scalars, blinded), _combine(scalars, evaluated)
        commitments = (
            sodium.point_add(_times_generator(response), group.multiply(challenge, public)),
            sodium.point_add(group.multiply(response, first), group.multiply(challenge, second)),
        )
    except GroupError as error:
        raise ProofError("The proof, a key or an element is not well formed. Do not use the results.") from error
    if not hmac.compare_digest(_challenge(public, (first, second), commitments, mode), challenge):
        raise ProofError("The proof does not hold. Do not use the results, and keep the receipt.")
