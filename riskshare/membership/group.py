"""The group ristretto255 (RFC 9496): which encodings are good, and hashing to it (RFC 9380).

Everything that comes from elsewhere as an element, a public key or a scalar passes here
before libsodium sees it: version 1.0.18 ignores bit 255 of an encoding, so that two
encodings would stand for one element; RFC 9496 4.3.1 refuses that one.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import final

from riskshare import sodium
from riskshare.errors import GroupError

ELEMENT_BYTES = 32
SCALAR_BYTES = 32
IDENTITY = bytes(32)
"""Encoding of the neutral element: never accepted, because a product with it says nothing."""

GENERATOR = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")
"""RFC 9496 4.1 and A.1."""

_P = 2**255 - 19
_BLOCK = bytes(128)  # one input block of SHA-512, all zero: Z_pad of RFC 9380 5.3.1


def check_element(encoding: bytes) -> None:
    """Refuse what cannot be the encoding of a usable element (RFC 9496 4.3.1, step 1).

    Whether the encoding lies on the curve is not decided here: the multiplication that
    follows finds that at no price. `is_element` decides it.

    Raises:
        GroupError: not 32 bytes; the identity; bit 255 set or another value of at
            least p = 2^255 - 19; or negative (odd).

    """
    if len(encoding) != ELEMENT_BYTES:
        raise GroupError(f"An element is not {ELEMENT_BYTES} bytes. Send each element in the encoding of RFC 9496.")
    if (fault := _fault(encoding)) is not None:
        raise GroupError(f"An element is {fault}. Send elements in the encoding of RFC 9496, never the identity.")


def check_elements(encodings: bytes) -> int:
    """Check elements given behind one another, as `check_element` does, and count them.

    Raises:
        GroupError: the length is no multiple of 32; or an element is refused: the first
            such is named by its index, from 0.

    """
    count, rest = divmod(len(encodings), ELEMENT_BYTES)
    if rest:
        raise GroupError(f"The elements are not a whole number of encodings of {ELEMENT_BYTES} bytes. Send them whole.")
    # Two bytes tell almost always: the low one is odd for a negative; the high one is zero
    # for the identity, and at least 0x7f for a value of at least p.
    for index, (low, high) in enumerate(zip(encodings[::32], encodings[31::32], strict=True)):
        if low & 1 or not 0 < high < 0x7F:
            fault = _fault(encodings[32 * index : 32 * index + 32])
            if fault is not None:
                raise GroupError(
                    f"Element {index} of {count} is {fault}. "
                    "Send elements in the encoding of RFC 9496, never the identity."
                )
    return count


def _fault(encoding: bytes) -> str | None:
    value = int.from_bytes(encoding, "little")
    if value >= _P:
        return "not a canonical encoding"
    if value & 1:
        return "a negative encoding"
    return None if value else "the identity"


def is_element(encoding: bytes) -> bool:
    """Tell whether `encoding` decodes to an element other than the identity (RFC 9496 4.3.1)."""
    return len(encoding) == ELEMENT_BYTES and _fault(encoding) is None and sodium.point_is_valid(encoding)


def check_scalar(encoding: bytes) -> None:
    """Refuse what is not a scalar between 1 and L - 1 (RFC 9497 4.1, DeserializeScalar).

    The comparison takes the same time for every value.

    Raises:
        GroupError: not 32 bytes, zero, or not below L.

    """
    if len(encoding) != SCALAR_BYTES:
        raise GroupError(f"A scalar is not {SCALAR_BYTES} bytes.")
    reduced = sodium.scalar_reduce(encoding + bytes(32))
    if not hmac.compare_digest(reduced, encoding):
        raise GroupError("A scalar is not below the order of the group.")
    if hmac.compare_digest(encoding, bytes(32)):
        raise GroupError("A scalar is zero.")


def multiply(scalar: bytes, element: bytes) -> bytes:
    """Return scalar · element for a checked scalar and a foreign element.

    Raises:
        GroupError: as `check_element`; or the encoding lies not on the curve; or the
            product is the identity.

    """
    check_element(element)
    product = sodium.scalar_multiply(scalar, element)
    if product is None:
        raise GroupError("An element is not a point of the group. Send elements in the encoding of RFC 9496.")
    return product


@final
class Expander:
    """`expand_message_xmd` with SHA-512 to 64 bytes (RFC 9380 5.3.1) for one separation tag.

    64 bytes are one block of the hash, so b_0 and b_1 suffice. The state after the zero
    block and the fixed ends of both inputs are computed once.
    """

    __slots__ = ("_end", "_first_end", "_start")

    def __init__(self, tag: bytes) -> None:
        """Prepare for a tag of 1 to 255 bytes. Raises ValueError for another length."""
        if not 1 <= len(tag) <= 255:
            raise ValueError("a domain separation tag is 1 to 255 bytes")
        tag_prime = tag + bytes([len(tag)])
        self._start = hashlib.sha512(_BLOCK)
        self._first_end = (64).to_bytes(2, "big") + b"\x00" + tag_prime
        self._end = b"\x01" + tag_prime

    def expand(self, message: bytes) -> bytes:
        """Return 64 uniform bytes for a message of any length."""
        first = self._start.copy()
        first.update(message + self._first_end)
        return hashlib.sha512(first.digest() + self._end).digest()

    def to_element(self, message: bytes) -> bytes:
        """Hash to the group (RFC 9497 4.1: expansion, then the map of RFC 9496 4.3.4).

        Raises:
            GroupError: the result is the identity; no message is known for which it is.

        """
        element = sodium.point_from_hash(self.expand(message))
        if element == IDENTITY:
            raise GroupError("The input hashes to the identity and cannot be used.", code="invalid_input")
        return element

    def to_scalar(self, message: bytes) -> bytes:
        """Hash to a scalar (RFC 9497 4.1: expansion, little-endian, modulo L); zero is possible."""
        return sodium.scalar_reduce(self.expand(message))
