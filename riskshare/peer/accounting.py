"""Both sides know: what this peer shows the other members of its log, and what it learns from theirs.

The process that leads follows the other members' logs and compares what they hold; every process serves, and reads
from the database which members are not answered because their logs have stalled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Final, final

from riskshare.api_models import LogModel
from riskshare.client import LedgerClient
from riskshare.client.accounting import AccountingClient
from riskshare.errors import LedgerError, PeerError, PeerGarbage, PeerRefused, SnapshotError
from riskshare.ledger.account import GRACE, Accountant, Followed, Place
from riskshare.ledger.checkpoint import SignedCheckpoint, origin_of, parse_signed
from riskshare.ledger.entry_page import MAX_ROWS, Entry, make_page, page_tiles
from riskshare.ledger.growth import Growth
from riskshare.ledger.histories import bare
from riskshare.ledger.kept import AccountRow, AwaitedRow, EntryRow, FollowedRow, Head
from riskshare.ledger.policy import Policy, log_keys, network_policy
from riskshare.ledger.tile import Tile, TileReader
from riskshare.logs import get_log
from riskshare.peer.chores import Chore, Chores
from riskshare.peer.opening import now
from riskshare.peer.parts import OwnerHalf, QuerierHalf, Shared
from riskshare.sharing.compare import Comparer
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.evidence import every_log_key
from riskshare.sharing.held_page import HeldStatement, held_statement, make_held, read_row
from riskshare.sharing.kept import FraudProofRow
from riskshare.sharing.signed import Signed
from riskshare.store.store import Store

ACCOUNT_SECONDS: Final = 5.0
COMPARE_SECONDS: Final = 15.0
HELD_SECONDS: Final = 2.0
"""How long a page of what is held is served again: all members ask for the same one."""

MOST_SETTLED: Final = 20
"""Calls of `settle` in one round: some 20,000 receipts a second are kept up with."""

MOST_TOLD: Final = 4096
"""Snapshots on one page of what is held."""

LOOKED_AT: Final = 4096
"""Entries of this log that one page looks through."""


@final
class Shown:
    """`server.accounting.Accounting`: what other members may see."""

    def __init__(self, shared: Shared, owner: OwnerHalf, holding: Holding) -> None:
        self._store = shared.store
        self._published = owner.published
        self._holding = holding
        self._pages: dict[int, tuple[float, bytes]] = {}

    async def entries(self, reader: str, after: int, size: int) -> bytes | None:
        """A page of the reader's entries."""
        final = await self._store.ledger.final()
        if final is None:
            return None
        rows, upto = await self._store.ledger.entries_for(reader, after - 1, final.size, LOOKED_AT)
        following = final.size if upto == after - 1 else min(upto + 1, final.size)
        readable = [row for row in rows if self._readable(row, reader)]
        if len(readable) > MAX_ROWS:
            readable = readable[:MAX_ROWS]
            following = readable[-1].index + 1
        return await self._make(final, size, readable, following)

    async def entry(self, reader: str, source: bytes, size: int) -> bytes | None:
        """The page of one entry, or of none."""
        final = await self._store.ledger.final()
        if final is None:
            return None
        row = await self._store.accounts.entry_for(reader, source)
        rows = [row] if row is not None and row.index < final.size and self._readable(row, reader) else []
        return await self._make(final, size, rows, final.size)

    async def _make(self, final: Head, known: int, rows: Sequence[EntryRow], following: int) -> bytes:
        entries = [Entry(row.index, row.kind, row.source, row.salt) for row in rows]
        tiles = await self._store.ledger.tiles(page_tiles(final.size, known, entries))
        signed = parse_signed(final.note)
        read = TileReader(tiles).read
        # In a thread: a page may take a tenth of a second, and payments do not wait for it.
        page = await asyncio.to_thread(make_page, signed, known, entries, following, read)
        return page.to_bytes()

    def _readable(self, row: EntryRow, reader: str) -> bool:
        return row.kind == "receipt" or self._published.tells(row.kind, row.about, reader)

    async def held(self, after: int) -> bytes:
        """A page of what is held of others."""
        current = time.monotonic()
        self._pages = {place: made for place, made in self._pages.items() if current - made[0] <= HELD_SECONDS}
        if after not in self._pages:
            checkpoints, epochs = await self._holding.others(), self._holding.epochs()
            in_use = [value.digest for value, _ in epochs if now() < value.until]
            told, following = await self._store.trust.held_after(after, in_use, MOST_TOLD)
            told += [(one.key, one.digest) for one in (held_statement(*epoch) for epoch in epochs)]
            self._pages[after] = current, make_held(told, checkpoints, following).to_bytes()
        return self._pages[after][1]

    async def held_statement(self, digest: bytes) -> bytes | None:
        """One statement."""
        epochs = (held_statement(*epoch) for epoch in self._holding.epochs())
        found = next((one.signed.statement.wire() for one in epochs if one.digest == digest), None)
        return await self._store.trust.held(digest) if found is None else found


@final
class Holding:
    """`compare.Own`: what this member holds of others, and its own head."""

    def __init__(self, shared: Shared, querier: QuerierHalf) -> None:
        self._shared = shared
        self._trusted = querier.mirror.trusted

    def statements(self) -> Iterable[HeldStatement]:
        """Statements of other owners: of each list the newest, and the one that serves."""
        return [held_statement(value, signed) for value, signed in self._trusted.open_statements()]

    def epochs(self) -> Sequence[tuple[EpochStatement, Signed]]:
        """Epochs of other owners."""
        found = self._trusted.open_statements()
        return [(value, signed) for value, signed in found if isinstance(value, EpochStatement)]

    async def differing(self, theirs: Mapping[bytes, bytes]) -> Sequence[HeldStatement]:
        """Statements held under these keys that have another digest."""
        epochs = (held_statement(*epoch) for epoch in self.epochs())
        found = [one for one in epochs if theirs.get(one.key, one.digest) != one.digest]
        for row in await self._shared.store.trust.differing_held(theirs):
            with suppress(SnapshotError):  # a row that nobody can use any more
                found.append(read_row(self._shared.directory.network, row))
        return found

    async def checkpoints(self) -> Sequence[SignedCheckpoint]:
        """Those of others, and our own head."""
        head = await self._shared.store.ledger.head()
        own = [] if head is None else self._bare(self._shared.member.name, head.note)
        return [*await self.others(), *own]

    async def others(self) -> Sequence[SignedCheckpoint]:
        """The newest final checkpoint followed of each log, and the newest that was cosigned."""
        ledger, network = self._shared.store.ledger, self._shared.directory.network
        found: list[SignedCheckpoint] = []
        for row in await ledger.all_followed():
            found += self._bare(row.member, row.note)
        witnessed = await ledger.all_witnessed()
        for member in self._shared.directory.others():
            if (seen := witnessed.get(origin_of(network, member))) is not None:
                found += self._bare(member, seen.note)
        return list({signed.note.text: signed for signed in found}.values())

    def _bare(self, member: str, note: bytes) -> list[SignedCheckpoint]:
        """The checkpoint of a note that was verified before, unless its key is void by now."""
        if not note:
            return []
        try:
            return [bare(parse_signed(note), every_log_key(self._shared.directory.current(), member, now()))]
        except LedgerError:
            return []


@final
class Kept:
    """`account.Kept` over the store."""

    def __init__(self, store: Store, holding: Holding, network: str) -> None:
        self._store = store
        self._holding = holding
        self._network = network

    async def followed(self, member: str) -> Followed | None:
        """What is known of a log."""
        row = await self._store.ledger.followed(member)
        if row is None:
            return None
        growth = Growth(row.latest_size, row.grown_at, row.waiting_since, row.stalled_since)
        return Followed(row.member, row.next_index, row.size, row.root, row.note, growth)

    async def follow(self, followed: Followed) -> None:
        """Keep it."""
        growth = followed.growth
        await self._store.ledger.follow(
            FollowedRow(
                member=followed.member,
                next_index=followed.next_index,
                size=followed.size,
                root=followed.root,
                note=followed.note,
                latest_size=growth.size,
                grown_at=growth.grown_at,
                waiting_since=growth.waiting_since,
                stalled_since=growth.stalled_since,
            )
        )

    async def account(self, member: str, rows: Sequence[AccountRow]) -> None:
        """Keep verified entries."""
        await self._store.ledger.account(member, rows)

    async def statements(self, member: str, places: Iterable[Place]) -> Mapping[Place, bytes]:
        """Our own copies: receipts from the database, statements from what is followed."""
        wanted = set(places)
        found: dict[Place, bytes] = {}
        for one in self._holding.statements():
            statement = one.signed.statement
            if one.owner == member and (statement.kind, statement.digest) in wanted:
                found[statement.kind, statement.digest] = statement.json
        ids = [source for kind, source in wanted if kind == "receipt"]
        if ids:
            receipts = await self._store.accounts.receipts_of(member, ids)
            found.update({("receipt", source): data for source, data in receipts.items()})
        return found

    async def missing(self, member: str, limit: int) -> Sequence[Place]:
        """Some of what is missing."""
        return await self._store.accounts.take_missing(member, limit)

    async def last_receipt(self, member: str) -> datetime | None:
        """When the member was last answered."""
        return await self._store.accounts.last_answered(member)

    async def witnessed(self, member: str) -> int:
        """What we cosigned of its log."""
        return (await self._store.ledger.witnessed(origin_of(self._network, member))).known.size


@final
class Others:
    """`account.Logs` and `compare.Others` over the clients; our own log is read from the database."""

    def __init__(self, shared: Shared, ledger: LedgerClient, accounting: AccountingClient) -> None:
        self._member = shared.member.name
        self._own = shared.store.ledger
        self._ledger = ledger
        self.entries = accounting.entries
        self.entry = accounting.entry
        self.held = accounting.held
        self.held_statement = accounting.held_statement

    async def latest(self, member: str) -> bytes:
        """Its newest checkpoint."""
        note = await self._ledger.latest(member)
        if note is None:
            raise PeerGarbage(member, "The member's log has no checkpoint yet.")
        return note

    async def tiles(self, member: str, places: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """Tiles of a log. Raises LedgerError: it says that it has none there, or sends something else."""
        if member == self._member:
            return await self._own.tiles(places)
        try:
            found = await asyncio.gather(*(self._ledger.tile(member, place) for place in places))
        except PeerRefused as error:
            if error.status != 404:  # too many readers, or the like: it may have them
                raise
            raise _no_tile(error) from error
        except PeerGarbage as error:
            if error.code != "peer_garbage":  # somebody else answered
                raise
            raise _no_tile(error) from error
        return dict(zip(places, found, strict=True))


def _no_tile(error: PeerError) -> LedgerError:
    return LedgerError(f"A tile of its log is not to be had: {error.message}", code="wrong_tile")


@final
class Desk:
    """`account.Watch`, `compare.Watch` and `compare.Evidence`: metrics, log and database."""

    def __init__(self, shared: Shared) -> None:
        self._metrics = shared.metrics
        self._trust = shared.store.trust
        self._told: dict[tuple[str, str], str] = {}

    async def add_fraud_proof(self, row: FraudProofRow) -> bool:
        """Keep a proof."""
        return await self._trust.keep_fraud_proof(row)

    def convicted(self, row: FraudProofRow) -> None:
        """Tell of new evidence."""
        self._metrics.fraud_proofs.labels(row.accused, row.kind).inc()
        get_log().error("fraud_found", member=row.accused, kind=row.kind)

    def doubted(self, member: str, code: str, sentence: str) -> None:
        """Count, and tell once as long as it stays the same."""
        self._metrics.ledger_doubts.labels(member, code).inc()
        if self._told.get((member, code)) != sentence:
            self._told[member, code] = sentence
            get_log().warning("ledger_doubt", member=member, code=code, detail=sentence)

    def stalled(self, member: str, since: datetime | None) -> None:
        """Tell that a member's log has stalled, or goes on."""
        if since is None:
            get_log().info("log_goes_on", member=member)
        else:
            get_log().error("log_stalled", member=member)


@final
class Accounting:
    """All of it, put together."""

    def __init__(
        self, shared: Shared, owner: OwnerHalf, querier: QuerierHalf, ledger: LedgerClient, chores: Chores
    ) -> None:
        self._shared = shared
        self._work = (
            Chore("account", self.account, ACCOUNT_SECONDS),
            Chore("compare", self.compare, COMPARE_SECONDS),
        )
        for chore in self._work:
            chores.watch(chore)
        files = shared.member.keys
        self.client = AccountingClient(
            registries=shared.directory, certificate=files.tls_certificate_file, key=files.tls_key_file, now=now
        )
        self._holding = Holding(shared, querier)
        self.shown = Shown(shared, owner, self._holding)
        self._desk = Desk(shared)
        directory, others = shared.directory, Others(shared, ledger, self.client)
        self._comparer = Comparer(
            network=directory.network,
            keys=directory.key_terms,
            log_keys=lambda member: every_log_key(directory.current(), member, now()),
            others=others,
            own=self._holding,
            evidence=self._desk,
            watch=self._desk,
            now=now,
        )
        self._accountant = Accountant(
            logs=others,
            kept=Kept(shared.store, self._holding, directory.network),
            log_keys=lambda member: log_keys(directory.current(), member, now()),
            policy=self._policy,
            doubt=self._comparer.hold,
            watch=self._desk,
            now=now,
        )

    def _policy(self, member: str) -> Policy:
        return network_policy(self._shared.directory.current(), member, now())

    async def lead(self) -> None:
        """Follow and compare, until cancelled: for the process that leads."""
        try:
            async with asyncio.TaskGroup() as group:
                for chore in self._work:
                    group.create_task(chore.run())
        finally:
            for chore in self._work:
                chore.failures = 0

    async def account(self) -> None:
        """A round over the others' logs. Raises StoreError."""
        await self._accountant.account(self._shared.directory.others())
        before = now() - GRACE
        held = [
            AwaitedRow(one.owner, one.signed.statement.kind, one.signed.digest, one.signed.received)
            for one in self._holding.statements()
            if one.signed.received < before
        ]
        for _ in range(MOST_SETTLED):
            if not await self._shared.store.accounts.settle(before, held, oldest=self._oldest()):
                break
        await self.judge()

    def _oldest(self) -> datetime:
        """What is kept since then is within the audit window."""
        return now() - timedelta(days=self._shared.member.config.audit.window_days)

    async def compare(self) -> None:
        """A round of comparing. Raises StoreError."""
        members = list(self._shared.directory.others())
        SystemRandom().shuffle(members)  # what a round has no room for is another's in the next
        await self._comparer.compare(members)

    async def judge(self) -> None:
        """Take the members whose logs have stalled. Raises StoreError."""
        self._shared.directory.judge_logs(await self._shared.store.accounts.stalled())

    async def gauges(self) -> None:
        """What is missing, who has stalled and who is convicted, for the metrics. Raises StoreError."""
        metrics = self._shared.metrics
        for (accused, kind), count in (await self._shared.store.trust.count_fraud_proofs()).items():
            metrics.fraud_proofs.labels(accused, kind).set(count)
        logs = await self.logs()
        for member in self._shared.directory.others():
            found = logs.get(member, LogModel())
            metrics.ledger_missing.labels(member).set(found.missing)
            metrics.ledger_stalled.labels(member).set(found.stalled)

    async def logs(self) -> Mapping[str, LogModel]:
        """What is known of the other members' logs, by member. Raises StoreError."""
        store = self._shared.store
        missing = await store.accounts.missing(now() - GRACE, self._oldest())
        rows = {row.member: row for row in await store.ledger.all_followed()}
        return {
            member: LogModel(
                final_size=row.size if row is not None else 0,
                size=row.latest_size if row is not None else 0,
                grown_at=row.grown_at if row is not None and row.latest_size else None,
                stalled=row is not None and row.stalled_since is not None,
                missing=missing.get(member, 0),
            )
            for member in {*missing, *rows}
            for row in [rows.get(member)]
        }
