"""The owner's lists and entries. `changed` numbers say what a snapshot has not shown yet."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar, final

from riskshare.errors import InputError
from riskshare.sharing.kept import PEER, Change, ChangeCounts, EntryRow, ListCounts, ListRow, State, StoredEntry
from riskshare.sharing.states import Effect, Refusal, Settled
from riskshare.store.connection import KEYSET_LOCK, LOCK_CLASS, Target, affected
from riskshare.store.deciding import Decision, Refuse, batches, decide, reason_of
from riskshare.store.entries import (
    SQL,
    Reseal,
    adding,
    change_states,
    conclude,
    entry,
    locked,
    refuse_newer_rules,
    stream,
)
from riskshare.store.failures import guarded
from riskshare.store.upserts import KeptReply, effects_of, keep_reply, write_rows

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Connection, Pool

STREAM_IDLE_SECONDS: Final = 600
"""A reader that is silent this long in the middle of a stream is cut off."""
LONG_SECONDS: Final = 600.0
"""Bound of a statement that reads a whole list."""

_EXPIRY: Final = Change(PEER, "expire", "expired")


async def _all(entries: AsyncIterator[list[StoredEntry]]) -> list[StoredEntry]:
    return [one async for batch in entries for one in batch]


def _parts(handles: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Handles in as many parts as there are changes of `CHANGED_ROWS`."""
    return [handles[at : at + CHANGED_ROWS] for at in range(0, len(handles), CHANGED_ROWS)]


class Changes:
    """A consistent view of a list's entries. Iterate once, for batches in the order that was asked for.

    `upto` is the number of the list's last change in this view: all changes up to it are shown, and none behind it.
    """

    def __init__(self, connection: Connection, upto: int, query: str, *arguments: object) -> None:
        self._connection = connection
        self._query = query
        self._arguments = arguments
        self.upto = upto

    async def __aiter__(self) -> AsyncIterator[list[StoredEntry]]:
        with guarded():
            async for batch in stream(self._connection, SQL[self._query], *self._arguments, self.upto):
                yield batch


class SealedRows(Changes):
    """As `Changes`: of each batch the last handle, and what a computing needs of its entries.

    That is the id (16 bytes), the sealed identifier, the state and the record.
    """

    async def batches(self) -> AsyncIterator[tuple[bytes, list[tuple[bytes, bytes, State, bytes]]]]:
        """The batches, once."""
        with guarded():
            cursor = await self._connection.cursor(SQL[self._query], *self._arguments, self.upto)
            while rows := await cursor.fetch(SEALED_ROWS):
                yield rows[-1]["handle"], [row[1:] for row in rows]


CHANGED_ROWS: Final = 2000
"""Most entries that expire, or that a case or a rule changes, at once: the list's lock is held a third of a second.

More of them are several changes, between which others have their turn."""

SEALED_ROWS: Final = 1000
"""Entries that go to a worker at a time: a tenth of a second of its work."""

_View = TypeVar("_View", bound=Changes)


@final
class Lists:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, target: Target, pool: Pool) -> None:
        self._target = target
        self._patient = replace(target, statement_seconds=LONG_SECONDS)
        self._pool = pool

    async def create_list(self, name: str, category: str, keyset: str, *, granted: bool = False) -> ListRow:
        """Create a list; `name` is its local name. One that is under grants is alone in its keyset.

        Raises:
            InputError: `list_exists`, `keyset_taken`.

        """
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(SQL["lock_keysets"], LOCK_CLASS, KEYSET_LOCK)
                if await connection.fetchval(SQL["keyset_taken"], keyset, name, granted):
                    raise InputError(
                        "Another list has that keyset, and a list under grants shares its keyset with none: choose"
                        " another name.",
                        code="keyset_taken",
                    )
                made = await connection.execute(SQL["create_list"], name, category, keyset, granted)
                row = await connection.fetchrow(SQL["list_named"], name)
        if row is None or not affected(made):
            raise InputError("There is a list of this name already: choose another name.", code="list_exists")
        return ListRow(**row)

    async def list_named(self, name: str) -> ListRow | None:
        """The list of this local name."""
        with guarded():
            row = await self._pool.fetchrow(SQL["list_named"], name)
        return None if row is None else ListRow(**row)

    async def lists(self) -> list[ListRow]:
        """All lists of this member, by name."""
        with guarded():
            return [ListRow(**row) for row in await self._pool.fetch(SQL["lists"])]

    async def tell(self, list_id: int) -> None:
        """Let the listeners look at a list again, as if it had changed."""
        with guarded():
            for row in await self._pool.fetch(SQL["list_with_id"], list_id):
                await self._pool.execute(SQL["tell"], row["name"])

    async def counts(self, list_id: int) -> ListCounts:
        """Entries by state, and changes that no snapshot holds yet. Reads the whole list."""
        [row] = await self._read_long("counts", list_id)
        return ListCounts(**row)

    async def _read_long(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What a query gives that may have to read a whole list."""
        connection = await self._patient.connect()
        try:
            with guarded():
                return await connection.fetch(SQL[query], *arguments)
        finally:
            connection.terminate()

    async def entries_of(self, handles: Sequence[bytes]) -> list[tuple[int, StoredEntry]]:
        """Entries of this member's own lists by handle, withdrawn and expired ones too: (list id, entry)."""
        with guarded():
            rows = await self._pool.fetch(SQL["entries_of"], handles)
        return [(row["list_id"], entry(row)) for row in rows]

    async def change_state(
        self, list_id: int, handles: Sequence[bytes], state: State, change: Change, reseal: Reseal
    ) -> int:
        """Withdraw, dispute or restore entries whatever their terms; give the number that changed.

        Entries that are in that state already stay as they are, and a withdrawn one is not disputed.

        Raises:
            InputError: `unknown_list`.
            ValueError: what is withdrawn has no reason of the segment's table.

        """

        def refuse(_of: ListRow, one: StoredEntry, wanted: State) -> Refusal | None:
            stays = one.state == wanted or (one.state == "withdrawn" and wanted == "disputed")
            return "unchanged" if stays else None

        settled = await self.settle(
            list_id, handles, None, state, change, refuse=refuse, reseal=reseal, never_upto=None, atomic=False
        )
        return sum(one.code is None for one in settled)

    async def settle(
        self,
        list_id: int,
        handles: Sequence[bytes],
        case_handle: bytes | None,
        state: State,
        change: Change,
        *,
        refuse: Refuse,
        reseal: Reseal,
        never_upto: int | None,
        atomic: bool,
        reply: Callable[[Sequence[Settled]], KeptReply] | None = None,
    ) -> list[Settled]:
        """Give entries a state: those of the handles, or those of a case (see `Decider`), in one change.

        A case of more than `CHANGED_ROWS` entries is decided in several changes, unless it is `atomic`; what `reply`
        makes is kept with the last of them.

        Raises:
            InputError: `unknown_list`, `never_changed`.
            ValueError: what is withdrawn has no reason of the segment's table.

        """
        decision = Decision(state, change, refuse, reseal, never_upto, atomic)
        long = [] if case_handle is None or atomic else await self._long_case(list_id, case_handle)
        settled: list[Settled] = []
        for number, part in enumerate(long or [handles], start=1):
            async with self._writing() as connection:
                found, stands = await decide(connection, list_id, part, None if long else case_handle, decision)
                settled += found
                if stands and number >= len(long) and (settled or case_handle is None):
                    await keep_reply(connection, reply, settled)
        return settled

    async def _long_case(self, list_id: int, case_handle: bytes) -> list[Sequence[bytes]]:
        """The handles of a case with more entries than are changed at once, in parts; else nothing."""
        with guarded():
            few = await self._pool.fetch(SQL["handles_of_case"], list_id, case_handle, CHANGED_ROWS + 1)
        if len(few) <= CHANGED_ROWS:
            return []
        return _parts([row["handle"] for row in await self._read_long("handles_of_case", list_id, case_handle, None)])

    async def upsert(
        self,
        list_id: int,
        rows: Sequence[EntryRow],
        change: Change,
        *,
        never_upto: int,
        atomic: bool,
        reply: Callable[[Mapping[bytes, Effect]], KeptReply] | None = None,
    ) -> dict[bytes, Effect]:
        """Write rows of different handles in one transaction; what becomes of each, by handle (see `Upserter`).

        Raises:
            InputError: `unknown_list`, `never_changed`.

        """
        async with self._writing() as connection:
            await adding(connection, list_id)
            of = await locked(connection, list_id)
            await refuse_newer_rules(connection, never_upto)
            effects = await effects_of(connection, of, rows)
            if not (atomic and {"disputed", "barred"} & set(effects.values())):
                await write_rows(connection, of, rows, effects, change)
                await keep_reply(connection, reply, effects)
        return effects

    async def live_handles(self, list_id: int, handles: Sequence[bytes]) -> list[bytes]:
        """Those handles whose entries are on the list, not withdrawn."""
        with guarded():
            return [row["handle"] for row in await self._pool.fetch(SQL["live_handles"], list_id, handles)]

    async def withdraw_matching(
        self,
        list_id: int,
        handles: Sequence[bytes],
        change: Change,
        *,
        after: int,
        matches: Callable[[ListRow, StoredEntry], bool],
        reseal: Reseal,
    ) -> int:
        """Withdraw entries of these handles, and of those changed after a number the ones that match; give the number.

        In changes of about `CHANGED_ROWS` entries: one that fails leaves those before it. `matches` is called inside
        the last transaction for each entry changed since, and must not block.

        Raises:
            InputError: `unknown_list`.
            ValueError: the change has no reason of the segment's table.

        """
        reason = reason_of("withdrawn", change)
        done = 0
        parts = deque(_parts(handles) or [handles])
        while parts:
            part = parts.popleft()
            async with self._writing() as connection:
                of = await locked(connection, list_id)
                named = {one.id: one for one in await _all(stream(connection, SQL["live_of_handles"], list_id, part))}
                if not parts:
                    async for batch in stream(connection, SQL["live_since"], list_id, after):
                        named |= {one.id: one for one in batch if matches(of, one)}
                        if len(named) >= CHANGED_ROWS:
                            parts.append(())  # to look on, from where all of these are withdrawn
                            break
                chosen = batches(list(named.values()))
                await change_states(connection, of, chosen, state="withdrawn", reason=reason, reseal=reseal)
                if named:
                    await conclude(connection, of, change, ChangeCounts(withdrawn=len(named)))
            done += len(named)
        return done

    async def expire_due(self, now: datetime, reseal: Reseal) -> int:
        """Withdraw every entry whose validity has ended, with reason `expired`; give their number.

        All rows of a file may be due at one moment: `CHANGED_ROWS` at a time, so that nobody waits long for the list.
        """
        with guarded():
            due = [row["id"] for row in await self._pool.fetch(SQL["lists_with_due"], now)]
        done = 0
        for list_id in due:
            ended = CHANGED_ROWS
            while ended == CHANGED_ROWS:
                ended = await self._expire(list_id, "due", (list_id, now, CHANGED_ROWS), reseal)
                done += ended
        return done

    async def next_overlong(self, list_id: int, longest: timedelta) -> datetime | None:
        """When the next entry whose term is longer than that has stood so long; None if there is none.

        Reads the whole list.
        """
        [row] = await self._read_long("next_overlong", list_id, longest)
        due: datetime | None = row[0]
        return due

    async def expire_overlong(self, list_id: int, longest: timedelta, now: datetime, reseal: Reseal) -> int:
        """Withdraw entries that have a longer term than that and have stood so long already; give their number.

        The whole list is read for them without its lock; then `CHANGED_ROWS` at a time are looked at again and changed.
        """
        found = [row["handle"] for row in await self._read_long("overlong_handles", list_id, longest, now)]
        return sum(
            [await self._expire(list_id, "overlong", (list_id, longest, now, part), reseal) for part in _parts(found)]
        )

    async def _expire(self, list_id: int, query: str, arguments: tuple[object, ...], reseal: Reseal) -> int:
        async with self._writing() as connection:
            of = await locked(connection, list_id)
            ended = stream(connection, SQL[query], *arguments)
            done = await change_states(connection, of, ended, state="withdrawn", reason=_EXPIRY.reason, reseal=reseal)
            if done:
                await conclude(connection, of, _EXPIRY, ChangeCounts(withdrawn=done))
        return done

    def changes(self, list_id: int, after: int) -> AbstractAsyncContextManager[Changes]:
        """Entries changed after that number, withdrawn ones too, in the order of change.

        Streamed from one consistent view on a connection of its own.

        Raises:
            InputError: `unknown_list`.

        """
        return self._seen(Changes, list_id, "changes", list_id, after)

    def withdrawals(self, list_id: int, after: int) -> AbstractAsyncContextManager[Changes]:
        """As `changes`, of those that are withdrawn, but not as `replaced` or `expired`."""
        return self._seen(Changes, list_id, "withdrawals", list_id, after)

    def listed(self, list_id: int, after: bytes) -> AbstractAsyncContextManager[Changes]:
        """Entries that are not withdrawn and have a handle above `after`, in the order of their handles.

        As `changes`. An entry keeps its handle, so a reader can go on from the last one in another view.
        """
        return self._seen(Changes, list_id, "listed", list_id, after)

    def sealed(self, list_id: int, after: bytes) -> AbstractAsyncContextManager[SealedRows]:
        """As `listed`, without what no computing needs."""
        return self._seen(SealedRows, list_id, "sealed", list_id, after)

    @asynccontextmanager
    async def _seen(self, kind: type[_View], list_id: int, query: str, *arguments: object) -> AsyncIterator[_View]:
        connection = await self._target.connect(
            idle_in_transaction_session_timeout=str(STREAM_IDLE_SECONDS * 1000),
            enable_sort="off",  # there are indexes in these orders; to sort some million rows first takes too long
        )
        try:
            with guarded():
                await connection.transaction(isolation="repeatable_read", readonly=True).start()
                row = await connection.fetchrow(SQL["list_with_id"], list_id)
            if row is None:
                raise InputError("There is no such list any more.", code="unknown_list")
            yield kind(connection, row["changed"], query, *arguments)
        finally:
            connection.terminate()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Connection]:
        connection = await self._target.connect()
        try:
            with guarded():
                transaction = connection.transaction()
                await transaction.start()
                yield connection
                await transaction.commit()
        finally:
            connection.terminate()
