"""The sealed record of a check: what the querier asked, and what it concluded.

It is sealed to the member's own key only. An *hour key* (32 random bytes) is sealed with HPKE
(RFC 9180) in the suite MLKEM768-X25519 (KEM 0x647A: a hybrid, closed also to whoever records it
today and owns a quantum computer later), HKDF-SHA256, AES-256-GCM. Each record is AES-256-GCM
under HKDF-SHA256(hour key, check id); the random nonce stands before the ciphertext.

AES-GCM does not commit to a key, so the signed `check` statement commits to the record by the SHA-256 of its
*plaintext*, which holds 32 fresh random bytes and therefore tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from riskshare.encoding import format_time, length_prefixed
from riskshare.errors import OpenError

KEY_BYTES = 32
NONCE_BYTES = 12

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@final
class HourKey:
    """The key that seals the records of one hour; its bytes are in no `repr`.

    `id` names it, `hour` is the start of the hour (UTC).
    """

    __slots__ = ("_secret", "hour", "id")

    def __init__(self, id: UUID, hour: datetime, secret: bytes) -> None:  # noqa: A002 - the field's own word
        if len(secret) != KEY_BYTES:
            raise ValueError("an hour key is 32 bytes")
        self.id = id
        self.hour = hour
        self._secret = secret

    def record_key(self, check: UUID) -> bytes:
        """HKDF-SHA256 of the hour key for one check (RFC 5869), 32 bytes."""
        derivation = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"riskshare/v1/check-record/" + check.bytes)
        return derivation.derive(self._secret)

    def export(self) -> bytes:
        """The 32 secret bytes, to be sealed under the member's own key."""
        return self._secret

    def __repr__(self) -> str:
        return f"HourKey(id={self.id}, hour={self.hour:%Y-%m-%dT%HZ})"

    def __reduce__(self) -> str:
        raise TypeError("an hour key is not pickled")


@dataclass(frozen=True, slots=True)
class SealedCheck:
    """A check as it stands in the store.

    `record` is nonce ‖ AES-256-GCM ciphertext; `statement` the canonical JSON of the signed `check`
    statement; `salt` the 16 bytes that blind its ledger leaf.
    """

    id: UUID
    answered_at: datetime
    hour_key: UUID
    record: bytes = field(repr=False)
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    salt: bytes = field(repr=False)


def additional_data(member: str, check: UUID) -> bytes:
    """What AES-GCM authenticates beside a record: whose it is, and of which check."""
    return length_prefixed(b"riskshare/v1/check-record", member.encode(), check.bytes)


@final
class RecordSeal:
    """Seals the record of one check, once: its nonce serves no second record.

    To make it is most of the work of sealing, and needs nothing of the record; so it is made while owners are at work.
    """

    __slots__ = ("_cipher", "_data", "_nonce")

    def __init__(self, key: HourKey, nonce: bytes, *, member: str, check: UUID) -> None:
        """Derive the record's key; `nonce` is 12 fresh random bytes.

        Raises:
            ValueError: the nonce is not 12 bytes; AES-GCM would take it, and `open_record` not find its end.

        """
        if len(nonce) != NONCE_BYTES:
            raise ValueError("a nonce is 12 bytes")
        self._nonce = nonce
        self._cipher = AESGCM(key.record_key(check))
        self._data = additional_data(member, check)

    def __call__(self, plaintext: bytes) -> bytes:
        """Nonce ‖ ciphertext ‖ tag. Raises ValueError the second time."""
        nonce, self._nonce = self._nonce, b""
        return nonce + self._cipher.encrypt(nonce, plaintext, self._data)


def seal_record(plaintext: bytes, key: HourKey, nonce: bytes, *, member: str, check: UUID) -> bytes:
    """Seal the record of a check, as `RecordSeal` does. Raises ValueError."""
    return RecordSeal(key, nonce, member=member, check=check)(plaintext)


def open_record(sealed: bytes, key: HourKey, *, member: str, check: UUID) -> bytes:
    """Open what `seal_record` sealed.

    Raises:
        OpenError: another key, member or check, or altered bytes.

    """
    try:
        return AESGCM(key.record_key(check)).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], additional_data(member, check)
        )
    except (InvalidTag, ValueError) as error:
        raise OpenError("The check's record does not open: another key, or altered bytes.") from error


def seal_hour_key(key: HourKey, recipient: MLKEM768X25519PublicKey, *, member: str) -> bytes:
    """Seal an hour key to the member's own sealing key (HPKE base mode, RFC 9180 5.1.1): 1,168 bytes."""
    return _SUITE.encrypt(key.export(), recipient, info=_hour_info(member, key.id, key.hour))


def open_hour_key(
    sealed: bytes,
    recipient: MLKEM768X25519PrivateKey,
    *,
    member: str,
    id: UUID,  # noqa: A002 - the field's own word
    hour: datetime,
) -> HourKey:
    """Open what `seal_hour_key` sealed.

    Raises:
        OpenError: sealed to another key, for another member or hour, or altered.

    """
    try:
        return HourKey(id, hour, _SUITE.decrypt(sealed, recipient, info=_hour_info(member, id, hour)))
    except (InvalidTag, ValueError) as error:
        raise OpenError("The hour key does not open: another sealing key, or altered bytes.") from error


def _hour_info(member: str, id: UUID, hour: datetime) -> bytes:  # noqa: A002 - the field's own word
    return length_prefixed(b"riskshare/v1/hour-key", member.encode(), id.bytes, format_time(hour).encode())
