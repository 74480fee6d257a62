"""The hour key in use: made when an hour begins, sealed to the member's own key, kept with the first record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.hpke import MLKEM768X25519PublicKey

from riskshare.ledger.sealed import KEY_BYTES, HourKey, seal_hour_key
from riskshare.query.message import new_batch

SealedHourKey = tuple[UUID, datetime, bytes]
"""Id, start of the hour, the HPKE ciphertext."""


class HourKeys:
    """Gives the key for the records of the present hour.

    The private sealing key is not here: a running peer can seal records, and cannot open those of earlier hours.
    """

    def __init__(self, member: str, recipient: MLKEM768X25519PublicKey, random: Callable[[int], bytes]) -> None:
        self._member = member
        self._recipient = recipient
        self._random = random
        self._key: HourKey | None = None
        self._unkept: SealedHourKey | None = None

    def current(self, now: datetime) -> tuple[HourKey, SealedHourKey | None]:
        """The key of the hour of `now`, and its sealed form as long as `kept` has not been called for it."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self._key is None or self._key.hour != hour:
            key = HourKey(new_batch(int(now.timestamp() * 1000), self._random(10)), hour, self._random(KEY_BYTES))
            self._unkept = (key.id, hour, seal_hour_key(key, self._recipient, member=self._member))
            self._key = key
        return self._key, self._unkept

    def kept(self, key: UUID) -> None:
        """Take note that the sealed form of `key` is durable."""
        if self._unkept is not None and self._unkept[0] == key:
            self._unkept = None
