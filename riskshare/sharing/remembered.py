"""A part of the mirror: it remembers the snapshots of open lists that it has taken, for members to compare.

What contradicts the statement that was kept for the same version convicts the owner: it tells another history of an
older version than the newest, or it told two processes of this member two, or the state of `TrustedSnapshots` was lost
in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from riskshare.errors import SnapshotError, StoreError
from riskshare.sharing.epoch import OPEN
from riskshare.sharing.held_page import held_row, read_row
from riskshare.sharing.kept import HeldRow
from riskshare.sharing.signed import Signed
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.trusted import TrustedSnapshots


class HeldState(Protocol):
    """Where they are kept."""

    async def keep_held(self, rows: Sequence[HeldRow]) -> Sequence[HeldRow]:
        """Keep snapshots, each key once; gives those that stood there and say something else. Raises StoreError."""

    async def differing_held(self, theirs: Mapping[bytes, bytes]) -> Sequence[HeldRow]:
        """The snapshots held under these keys that have another digest. Raises StoreError."""


class Remembered:
    """What was taken and is not kept yet, by key."""

    def __init__(self, trusted: TrustedSnapshots, state: HeldState) -> None:
        self._trusted = trusted
        self._state = state
        self._rows: dict[bytes, HeldRow] = {}

    def add(self, taken: Iterable[tuple[SnapshotStatement, Signed]]) -> None:
        """Take snapshots that are believed; those of lists under grants are nobody else's matter."""
        for snapshot, signed in taken:
            epoch = self._trusted.epoch(snapshot.epoch)
            if epoch is not None and epoch.keyset == OPEN:
                row = held_row(snapshot, signed)
                self._rows[row.key] = row

    async def keep(self) -> None:
        """Keep what was added. If the store is away, the next call does."""
        rows = self._rows
        if not rows:
            return
        with suppress(StoreError):
            for former in await self._state.keep_held(list(rows.values())):
                self._contradicted(former, rows[former.key])
            self._rows = {key: row for key, row in self._rows.items() if rows.get(key) is not row}

    async def confront(self, snapshot: SnapshotStatement, signed: Signed) -> None:
        """Hold a refused snapshot, signed by its owner, against the one that was taken for the same version."""
        row = held_row(snapshot, signed)
        with suppress(StoreError):  # it will be offered again
            for former in await self._state.differing_held({row.key: row.digest}):
                self._contradicted(former, row)

    def _contradicted(self, former: HeldRow, row: HeldRow) -> None:
        with suppress(SnapshotError):  # it convicts nobody
            first, second = (read_row(self._trusted.network, each) for each in (former, row))
            self._trusted.contradicted(first.signed, second.signed)
