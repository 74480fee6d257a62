"""The epochs of one member's keysets: how they begin, how long they serve, how they end.

An epoch begins when a keyset has none, a change-over before the newest one ends, or because somebody rotates. It is
used as soon as all lists of its keyset are published under it. Then the epochs before it have the change-over left: one
that would go on for longer is ended by a signed statement that names that moment, so that readers know of it in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol, final

from riskshare.membership.oprf import SecretKey
from riskshare.sharing.ending import end_epoch
from riskshare.sharing.entry import NONCE_BYTES, DataKey
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.kept import EpochRow, ListRow, SnapshotRow
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, sign

ROTATED: Final = "rotated"
"""The reason for which an epoch is ended whose successor is published."""


class EpochShelf(Protocol):
    """The store of epochs, and of what was published under them."""

    async def epochs(self, keyset: str | None = None) -> Sequence[EpochRow]:
        """All epochs whose keys are kept."""

    async def add_epoch(self, epoch: EpochRow) -> bool:
        """Store a new epoch; False if another process was first with that number."""

    async def end_epoch(self, epoch: EpochRow) -> bool:
        """Store an end; False if there is an earlier one."""

    async def latest_snapshot(self, list_id: int, epoch: bytes) -> SnapshotRow | None:
        """The newest snapshot of a list under an epoch."""


@final
class Epochs:
    """Begins and ends epochs. `term` is how long one lasts, `changeover` how long two overlap."""

    def __init__(
        self,
        *,
        member: str,
        network: str,
        identity: SigningKey,
        data_key: DataKey,
        shelf: EpochShelf,
        term: timedelta,
        changeover: timedelta,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
    ) -> None:
        self._member = member
        self._network = network
        self._identity = identity
        self._data_key = data_key
        self._shelf = shelf
        self._term = term
        self._changeover = changeover
        self._now = now
        self._random = random

    def key(self, epoch: EpochRow) -> SecretKey:
        """The secret key of an epoch. Raises OpenError."""
        return self._data_key.open_epoch(epoch.secret_sealed, epoch.digest)

    async def in_service(self, keysets: Iterable[str]) -> Sequence[EpochRow]:
        """The epochs that lists are published under now; missing ones are begun."""
        now = self._now()
        known = list(await self._shelf.epochs())
        for keyset in sorted(keysets):
            newest = newest_of(known, keyset)
            if newest is None or newest.until - now <= self._changeover:
                row = self.new(keyset, newest.number + 1 if newest else 1)
                if await self._shelf.add_epoch(row):
                    known.append(row)
                else:
                    known = list(await self._shelf.epochs())
        now = self._now()  # one that has just begun is in service
        return [row for row in known if row.in_service(now)]

    def new(self, keyset: str, number: int) -> EpochRow:
        """An epoch that begins now, with a fresh key; nobody knows of it before it is stored."""
        key, now = SecretKey.from_random(self._random(64)), self._now()
        epoch = EpochStatement(
            owner=self._member,
            keyset=keyset,
            number=number,
            public_key=key.public,
            not_before=now,
            not_after=now + self._term,
        )
        signed = sign("epoch", self._network, epoch.body(), self._identity, salt=self._random(SALT_BYTES))
        return EpochRow(
            digest=epoch.digest,
            keyset=keyset,
            number=number,
            statement=signed.json,
            signature=signed.signature,
            salt=signed.salt,
            secret_sealed=self._data_key.seal_epoch(key, self._random(NONCE_BYTES), epoch.digest),
            not_before=epoch.not_before,
            not_after=epoch.not_after,
        )

    async def missing(self, epoch: EpochRow, lists: Iterable[ListRow]) -> Sequence[ListRow]:
        """The lists of the epoch's keyset that are not published under it."""
        mine = [row for row in lists if row.keyset == epoch.keyset]
        return [row for row in mine if await self._shelf.latest_snapshot(row.id, epoch.digest) is None]

    async def end_of_former_chain(self, list_id: int, epoch: EpochRow) -> bytes | None:
        """The last digest of a list under the epoch before, which a new chain names as its previous."""
        former = [row for row in await self._shelf.epochs(epoch.keyset) if row.number < epoch.number]
        for row in sorted(former, key=lambda row: row.number, reverse=True):
            last = await self._shelf.latest_snapshot(list_id, row.digest)
            if last is not None:
                return last.digest
        return None

    async def retire(self, epochs: Sequence[EpochRow], lists: Sequence[ListRow]) -> None:
        """Give epochs whose successor is published in all lists no more than the change-over."""
        for keyset in sorted({row.keyset for row in epochs}):
            newest = newest_of(epochs, keyset)
            latest = self._now() + self._changeover
            former = [row for row in epochs if row.keyset == keyset and row is not newest and row.until > latest]
            if newest is None or not former or await self.missing(newest, lists):
                continue
            for row in former:
                salt = self._random(SALT_BYTES)
                over = end_epoch(self._network, row, self._identity, at=latest, reason=ROTATED, salt=salt)
                await self._shelf.end_epoch(over)


def newest_of(epochs: Iterable[EpochRow], keyset: str) -> EpochRow | None:
    """The epoch of a keyset with the highest number."""
    return max((row for row in epochs if row.keyset == keyset), key=lambda row: row.number, default=None)
