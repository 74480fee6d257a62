"""Ed25519 (RFC 8032), by libsodium: it signs and verifies about twice as fast as OpenSSL."""

from __future__ import annotations

from typing import final

from riskshare import sodium

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64


@final
class SigningKey:
    """An Ed25519 private key; its bytes are in no `repr` and cannot be pickled.

    `public` is the 32-byte public key.
    """

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        """Expand a 32-byte seed (RFC 8032 5.1.5). Raises ValueError for another length."""
        if len(seed) != SEED_BYTES:
            raise ValueError("an Ed25519 seed is 32 bytes")
        self.public, self._secret = sodium.ed25519_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return sodium.ed25519_sign(message, self._secret)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is one of `message` under the 32-byte key `public`.

    Non-canonical and small-order keys and points are refused (libsodium's rules).
    """
    return (
        len(public) == PUBLIC_BYTES
        and len(signature) == SIGNATURE_BYTES
        and sodium.ed25519_verify(signature, message, public)
    )
