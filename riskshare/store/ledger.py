"""This member's log, what it saw of the others' as their witness, and what they account for.

`ledger_pending` is filled by the very statements that keep a receipt, a check, a snapshot and so on; `grow` takes rows
out of it and makes them entries of the log, in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, final
from uuid import UUID

from riskshare.errors import LedgerError, StoreError
from riskshare.ledger.addition import Known
from riskshare.ledger.kept import AccountRow, EntryRow, FollowedRow, Grown, Head, Held, Make, Witnessed, Written
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.note import Signature, parse_note
from riskshare.ledger.receipt import Receipt
from riskshare.ledger.tile import Bundle, Tile, edge_bundle, edge_tiles
from riskshare.store.connection import LEDGER_LOCK, LOCK_CLASS, affected, columns
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Pool, Session
    from riskshare.store.group_commit import Fault

_SQL: Final = load("ledger.sql")
_LOOKED_AT: Final = 4096
"""Entries that one call of `entries_for` looks at: some 50 milliseconds."""


@final
class Ledger:
    """Every method raises `StoreError` if PostgreSQL is away.

    `fault` is for tests: it is called with "before <write>" and "after <write>" of `grow`, and may raise.
    """

    def __init__(self, pool: Pool, *, fault: Fault | None = None) -> None:
        self._pool = pool
        self._fault = fault

    # -- this member's log -----------------------------------------------------------

    async def head(self) -> Head | None:
        """The newest checkpoint that this log signed."""
        with guarded():
            return _head(await self._pool.fetchrow(_SQL["head"]))

    async def final(self) -> Head | None:
        """The newest checkpoint that a quorum has cosigned."""
        with guarded():
            return _head(await self._pool.fetchrow(_SQL["final"]))

    async def pending(self) -> int:
        """How many entries are kept and not yet in the log."""
        with guarded():
            return int(await self._pool.fetchval(_SQL["count_pending"]))

    async def tiles(self, places: Iterable[Tile]) -> dict[Tile, bytes]:
        """Tiles as wide as asked for; those that are not there, or not so wide yet, are left out."""
        with guarded():
            return await _tiles(self._pool, tuple(places))

    async def bundles(self, places: Iterable[Bundle]) -> dict[Bundle, bytes]:
        """Bundles as wide as asked for; those that are not there, or not so wide yet, are left out."""
        with guarded():
            return await _bundles(self._pool, tuple(places))

    async def grow(self, most: int, make: Make) -> Grown | None:
        """Make at most `most` pending rows entries of the log, and sign a new head, in one transaction.

        `make` gets the head with its edge, and the entries; what it gives is written. None: it gave None, and
        everything is as before. An entry is in the log or pending, never both, whenever this process may end.

        Raises:
            LedgerError: this log is halted (its code and sentence), or what `make` raises.
            StoreError: `store_busy`, somebody else grew the log meanwhile.

        """
        with guarded():
            async with self._pool.acquire() as connection:
                transaction = connection.transaction()
                await transaction.start()
                try:
                    grown = await self._grow(connection, most, make)
                    await self._at("before commit")
                except BaseException:
                    await transaction.rollback()
                    raise
                await (transaction.commit() if grown else transaction.rollback())
                await self._at("after commit")
        return grown

    async def _grow(self, connection: Session, most: int, make: Make) -> Grown | None:
        await connection.execute(_SQL["lock"], LOCK_CLASS, LEDGER_LOCK)
        halted = await connection.fetchrow(_SQL["halted"])
        if halted is not None:
            raise LedgerError(halted["halted_why"], code=halted["halted_code"])
        held = await _held(connection)
        await self._at("before take")
        rows = await connection.fetch(_SQL["take_pending"], most)
        await self._at("after take")
        written = make(held, [row["entry"] for row in rows])
        if written is None:
            return None
        await self._write(connection, held, written, rows)
        return Grown(written.head, len(rows))

    async def _write(self, connection: Session, held: Held, written: Written, rows: Sequence[asyncpg.Record]) -> None:
        tiles = [(tile.level, tile.index, tile.width, hashes) for tile, hashes in written.tiles]
        await self._at("before tiles")
        await connection.execute(_SQL["write_tiles"], *columns(tiles, 4))
        await self._at("after tiles")
        bundles = [(bundle.index, bundle.width, entries) for bundle, entries in written.bundles]
        await self._at("before bundles")
        await connection.execute(_SQL["write_bundles"], *columns(bundles, 3))
        await self._at("after bundles")
        first = held.head.size if held.head else 0
        await self._at("before entries")
        await connection.execute(
            _SQL["write_entries"], first, [row["kind"] for row in rows], [row["source"] for row in rows]
        )
        await self._at("after entries")
        head, old = written.head, (held.head.size, held.head.root) if held.head else (None, None)
        await self._at("before checkpoint")
        status = await connection.execute(
            _SQL["write_checkpoint"], head.size, head.root, head.note, head.signed_at, *old
        )
        await self._at("after checkpoint")
        if not affected(status):
            raise StoreError("Another process has grown the log meanwhile; this one looks again.", code="store_busy")

    async def _at(self, step: str) -> None:
        if self._fault is not None:
            await self._fault(step)

    async def cosign(self, size: int, signatures: Iterable[Signature], *, final: datetime | None = None) -> Head | None:
        """Keep cosignatures of the checkpoint of that size; `final` is when they became a quorum.

        Gives the checkpoint with all its cosignatures, or None if it is not kept: a greater one is final.
        """
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(_SQL["checkpoint"], size)
                if row is None:
                    return None
                note = parse_note(row["note"]).with_signatures(signatures).to_bytes()
                await connection.execute(_SQL["write_note"], size, note, final)
                if final is not None:
                    await connection.execute(_SQL["forget_checkpoints"], size)
        return Head(size, row["root"], note, row["signed_at"], row["final_at"] or final)

    async def halt(self, code: str, why: str) -> None:
        """Sign nothing more, for good: over restarts, by no process. The first reason stands."""
        with guarded():
            await self._pool.execute(_SQL["halt"], code, why)

    async def halted(self) -> tuple[str, str] | None:
        """Code and sentence of why this log signs nothing more, if that is so."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["halted"])
        return None if row is None else (row["halted_code"], row["halted_why"])

    async def resume(self) -> None:
        """Lift a halt: only an operator decides that, after settling its cause."""
        with guarded():
            await self._pool.execute(_SQL["resume"])

    async def index_of(self, kind: str, source: bytes) -> int | None:
        """Where the entry of something kept stands in the log; None while it is pending or unknown."""
        with guarded():
            index: int | None = await self._pool.fetchval(_SQL["index_of"], kind, source)
        return index

    async def leaf_of(self, kind: str, source: bytes) -> Leaf | None:
        """Salt and statement of something kept that has an entry; None if there is no such thing."""
        by_uuid = kind in ("check", "unanswered")
        if f"{kind}_leaf" not in _SQL or (by_uuid and len(source) != 16):
            return None
        with guarded():
            row = await self._pool.fetchrow(_SQL[f"{kind}_leaf"], UUID(bytes=source) if by_uuid else source)
        if row is None:
            return None
        statement = row["statement"]
        return Leaf(kind, row["salt"], Receipt.from_bytes(row["receipt"]).ask if statement is None else statement)

    # -- as a witness ----------------------------------------------------------------

    async def witnessed(self, origin: str) -> Witnessed:
        """The latest checkpoint of a log that this member cosigned."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["witnessed"], origin)
        return Witnessed() if row is None else Witnessed(Known(row["size"], row["root"]), row["note"], row["at"])

    async def all_witnessed(self) -> Mapping[str, Witnessed]:
        """The same of every log, by origin."""
        with guarded():
            rows = await self._pool.fetch(_SQL["all_witnessed"])
        return {row["origin"]: Witnessed(Known(row["size"], row["root"]), row["note"], row["at"]) for row in rows}

    async def witness(self, origin: str, old: Known, new: Known, note: bytes, at: datetime) -> bool:
        """Keep what is about to be cosigned, in place of `old`. False: that is no longer what is known; decide anew."""
        with guarded():
            if old == Known() and affected(
                await self._pool.execute(_SQL["begin_witness"], origin, new.size, new.root, note, at)
            ):
                return True
            status = await self._pool.execute(
                _SQL["swap_witness"], origin, new.size, new.root, note, at, old.size, old.root
            )
        return affected(status) == 1

    # -- both sides know -------------------------------------------------------------

    async def entries_for(self, member: str, after: int, below: int, limit: int) -> tuple[list[EntryRow], int]:
        """Entries that may concern `member`, with `after` < index < `below`, in order; -1 is before the first.

        Receipts of exchanges with it; and *all* snapshots and epochs: the caller knows what it may read. Looks at no
        more than `limit` entries, and 4,096; the second part is where to go on: the `after` of the next call. It is
        `after` itself if nothing is left.
        """
        with guarded():
            upto = await self._pool.fetchval(_SQL["entries_upto"], after, below, min(limit, _LOOKED_AT))
            if upto is None:
                return [], after
            rows = await self._pool.fetch(_SQL["entries_for"], member, after, upto)
        return [EntryRow(**row) for row in rows], upto

    async def account(self, member: str, rows: Sequence[AccountRow]) -> int:
        """Keep a counterparty's own entries, verified; what is kept already stays. Gives how many were new."""
        values = [(row.kind, row.source, row.index, row.salt, row.proof, row.size, row.received_at) for row in rows]
        with guarded():
            return affected(await self._pool.execute(_SQL["account"], member, *columns(values, 7)))

    async def accounted(self, member: str, kind: str, source: bytes) -> AccountRow | None:
        """A counterparty's own entry for something of ours."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["accounted"], member, kind, source)
        return None if row is None else AccountRow(**row)

    async def followed(self, member: str) -> FollowedRow | None:
        """What this member knows of another's log."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["followed"], member)
        return None if row is None else FollowedRow(**row)

    async def all_followed(self) -> list[FollowedRow]:
        """The same of every log, by member."""
        with guarded():
            return [FollowedRow(**row) for row in await self._pool.fetch(_SQL["all_followed"])]

    async def follow(self, row: FollowedRow) -> bool:
        """Keep it. False, and nothing is changed, if less is known by it than what is kept."""
        with guarded():
            status = await self._pool.execute(
                _SQL["follow"],
                row.member,
                row.next_index,
                row.size,
                row.root,
                row.note,
                row.latest_size,
                row.grown_at,
                row.waiting_since,
                row.stalled_since,
            )
        return affected(status) == 1


def _head(row: asyncpg.Record | None) -> Head | None:
    return None if row is None else Head(**row)


async def _held(connection: Session) -> Held:
    head = _head(await connection.fetchrow(_SQL["head"]))
    if head is None:
        return Held(None)
    partial = edge_bundle(head.size)
    bundles = await _bundles(connection, (partial,) if partial else ())
    return Held(head, await _tiles(connection, edge_tiles(head.size)), b"".join(bundles.values()))


async def _tiles(session: Session | Pool, places: Sequence[Tile]) -> dict[Tile, bytes]:
    wanted = [[place.level for place in places], [place.index for place in places]]
    rows = await session.fetch(_SQL["tiles"], *wanted)
    widest = {(row["level"], row["index"]): row["hashes"] for row in rows}
    found = {place: widest.get((place.level, place.index), b"") for place in places}
    return {place: data[: place.length] for place, data in found.items() if len(data) >= place.length}


async def _bundles(session: Session | Pool, places: Sequence[Bundle]) -> dict[Bundle, bytes]:
    rows = await session.fetch(_SQL["bundles"], [place.index for place in places])
    widest = {row["index"]: row["entries"] for row in rows}
    found = {place: widest.get(place.index, b"") for place in places}
    return {place: data[: place.length] for place, data in found.items() if len(data) >= place.length}
