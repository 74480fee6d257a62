"""Issuing catalogues, one for each reader, the same from every process of this member.

The newest catalogue of each reader stands in the store. A process that would say the same serves that one; else it
issues the next version, by compare-and-swap. What a process would say must not be older than what it replaces: when
they differ, it first reads anew what is published. So versions grow whichever process a reader comes to, and no
version takes back what another process has told already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.encoding import canonical_json, sha256
from riskshare.sharing.announced import CLOCK_SKEW
from riskshare.sharing.catalogue import KIND, CatalogueEntry, CatalogueStatement
from riskshare.sharing.kept import IssuedCatalogueRow
from riskshare.signature import SigningKey
from riskshare.statement import Statement, sign

CATALOGUE_TERM: Final = timedelta(hours=24)
CATALOGUE_REISSUE: Final = timedelta(hours=1)


class Shelf(Protocol):
    """The store of issued catalogues."""

    async def issued_catalogue(self, reader: str) -> IssuedCatalogueRow | None:
        """The newest catalogue issued for a reader."""

    async def issue_catalogue(self, row: IssuedCatalogueRow) -> bool:
        """Keep a catalogue, if the newest version is the one before it; else False, and nothing is changed."""


class Cataloguer:
    """Issues the catalogues of one member.

    `entries` gives what a reader may know now, `reload` reads anew from the store what it is made of.
    """

    def __init__(
        self,
        *,
        member: str,
        network: str,
        identity: SigningKey,
        shelf: Shelf,
        entries: Callable[[str], Sequence[CatalogueEntry]],
        reload: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self._member = member
        self._network = network
        self._identity = identity
        self._shelf = shelf
        self._entries = entries
        self._reload = reload
        self._now = now

    async def catalogue(self, reader: str) -> bytes:
        """The signed catalogue for a reader, in its wire form. Raises StoreError, and what `reload` raises."""
        while True:  # each round but the last, another process was first with a version
            newest = await self._shelf.issued_catalogue(reader)
            entries = self._entries(reader)
            if newest is not None and newest.content != self._content(entries):
                await self._reload()
                entries = self._entries(reader)
            if newest is not None and newest.content == self._content(entries) and self._is_young(newest):
                return self._wire(newest)
            made = self._next(reader, newest, tuple(entries))
            if await self._shelf.issue_catalogue(made):
                return self._wire(made)

    def _content(self, entries: Sequence[CatalogueEntry]) -> bytes:
        """A digest of all that makes a difference: the lists, and the key that signs."""
        lists = [entry.to_json() for entry in entries]
        return sha256(canonical_json({"identity": self._identity.public.hex(), "lists": lists}))

    def _is_young(self, row: IssuedCatalogueRow) -> bool:
        """Not to be issued again yet. The clock of whoever issued it may be a little ahead of this one."""
        return -CLOCK_SKEW <= self._now() - row.issued_at < CATALOGUE_REISSUE

    def _next(
        self, reader: str, newest: IssuedCatalogueRow | None, entries: tuple[CatalogueEntry, ...]
    ) -> IssuedCatalogueRow:
        now = self._now()
        statement = CatalogueStatement(
            owner=self._member,
            reader=reader,
            version=newest.version + 1 if newest else 1,
            issued_at=now,
            expires_at=now + CATALOGUE_TERM,
            lists=entries,
        )
        signed = sign(KIND, self._network, statement.body(), self._identity)
        return IssuedCatalogueRow(
            reader, statement.version, self._content(entries), statement.issued_at, signed.json, signed.signature
        )

    def _wire(self, row: IssuedCatalogueRow) -> bytes:
        return Statement(KIND, self._network, row.statement, row.signature, {}).wire()
