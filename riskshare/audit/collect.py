"""Collecting: an auditor's own copy of other members' logs, with what their entries stand for, in one folder each.

The order of durability, for each member
    1. The request is signed, and durable in the auditor's own store with its pending entry: it cannot deny it.
    2. It is sent; the member answers when it is durable there.
    3. The range comes; then the log up to its checkpoint: bundles and tiles; the policy, of the auditor's own registry;
       the checkpoint.
    4. The pages of statements; the range last. What no longer belongs to the folder is removed.

What is there and right is not fetched again, so that a collection that was interrupted goes on where it was. Right is a
bundle that its tile has the hashes of, and a page whose rows are the entries of the bundles. Nothing is *judged* here:
what a member shows that is wrong is kept as it came, and `replay` says what it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final, Protocol, final
from uuid import UUID

from riskshare.audit.access import KIND, VALID, AccessRequest, Action
from riskshare.audit.kept import AuditRow
from riskshare.audit.page import RANGE_FILE, AuditRange, StatementPage, page_at, read_statements, stale_pages
from riskshare.errors import (
    EncodingError,
    LedgerError,
    PeerError,
    PeerGarbage,
    PeerLate,
    PeerRefused,
    RiskshareError,
    TrustError,
)
from riskshare.ledger import note
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.checkpoint import SignedCheckpoint, origin_of, parse_signed
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.tile import Bundle, Tile, bundles_between, parse_path, stands_in, tiles_between
from riskshare.registry import Registry
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, sign

CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy"
TOGETHER: Final = 16
"""Bundles or tiles that are fetched together."""

TRIES: Final = 5
PAUSE: Final = 0.25
"""Seconds before the second try; each later one waits twice as long, or as long as the member says."""

LONGEST_PAUSE: Final = 30.0
_TIMES_OUT: Final = frozenset({"clock_off", "access_expired"})
"""Refusals of a request that was made before, and did not get there in time: it is made anew."""

Progress = Callable[[str, int, int], None]
"""Told now and then: whose log, how much of it is there, how much there is."""


class Members(Protocol):
    """The other members' peers. Every method raises PeerError."""

    async def request(self, member: str, wire: bytes) -> bytes:
        """Send a signed request; the answer comes when it is durable there."""

    async def range(self, member: str, digest: bytes) -> bytes:
        """The range that is shown under it."""

    async def statements(self, member: str, digest: bytes, first: int, size: int) -> bytes:
        """The page that begins at an index."""


class Logs(Protocol):
    """Their logs. Raises PeerError."""

    async def tile(self, member: str, place: Tile | Bundle) -> bytes:
        """A tile or a bundle, as long as it says."""


class Requests(Protocol):
    """The auditor's own store. Every method raises StoreError."""

    async def keep(self, row: AuditRow) -> bool:
        """Keep a request, with its pending entry."""

    async def made_since(self, since: datetime, auditor: str, member: str, action: Action) -> Sequence[AuditRow]:
        """Own requests to a member, newest first."""


class Folder(Protocol):
    """A member's folder. Every method raises DiskError."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""

    def parts(self) -> Iterator[str]:
        """Paths of all files below `tile/`."""

    def pages(self) -> Iterator[str]:
        """Paths of all files below `statements/`."""

    def write(self, path: str, data: bytes) -> bool:
        """Write a file, unless it has these very bytes."""

    def remove(self, path: str) -> None:
        """Remove a file."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an auditor wants to see of each member, and why."""

    opened: datetime
    closed: datetime
    reason: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Collected:
    """A member's folder that is whole: where its part begins and ends, the request, and what had to be fetched."""

    member: str
    request: bytes
    start: int
    size: int
    fetched: int
    pages: int


@dataclass(frozen=True, slots=True)
class Missed:
    """A member whose log could not be collected, and why."""

    member: str
    error: RiskshareError


@dataclass(slots=True)
class _Work:
    """One member's folder, being filled."""

    member: str
    folder: Folder
    progress: Progress | None
    size: int = 0
    fetched: int = 0

    def told(self, done: int) -> None:
        if self.progress is not None:
            self.progress(self.member, done, self.size)


@final
class Collector:
    """Collects for one auditor. `policy` gives the policy file of a member's log, by the auditor's own registry.

    `new_id` gives a fresh UUIDv7, `random` so many random bytes.
    """

    def __init__(
        self,
        *,
        auditor: str,
        identity: SigningKey,
        registry: Registry,
        policy: Callable[[str], bytes],
        members: Members,
        logs: Logs,
        requests: Requests,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random: Callable[[int], bytes],
    ) -> None:
        self._auditor = auditor
        self._identity = identity
        self._registry = registry
        self._policy = policy
        self._members = members
        self._logs = logs
        self._requests = requests
        self._now = now
        self._new_id = new_id
        self._random = random

    async def collect_all(
        self, wanted: Wanted, folders: Iterable[tuple[str, Folder]], progress: Progress | None = None
    ) -> list[Collected | Missed]:
        """Collect from members (name and folder), one after another. Who is down or refuses is missed, and no more.

        Raises:
            DiskError, StoreError: the auditor's own disk or database; run it again.

        """
        found: list[Collected | Missed] = []
        for member, folder in folders:
            try:
                found.append(await self.collect(member, wanted, folder, progress))
            except (PeerError, TrustError) as error:
                found.append(Missed(member, error))
        return found

    async def collect(self, member: str, wanted: Wanted, folder: Folder, progress: Progress | None = None) -> Collected:
        """Collect one member's log into its folder.

        Raises:
            PeerError: it is down, refuses, or sends what is no log.
            LedgerError: code `another_export`, the folder holds another log, or more of this one.
            DiskError, StoreError: as `collect_all`.

        """
        digest = await self._ask(member, wanted)
        found, signed = await self._range(member, digest, wanted)
        _check_former(folder.read(CHECKPOINT, note.MAX_BYTES), signed)
        work = _Work(member, folder, progress, signed.checkpoint.size)
        await self._fetch_log(work)
        folder.write(POLICY, self._policy(member))
        folder.write(CHECKPOINT, signed.note.to_bytes())
        firsts = await self._fetch_pages(work, digest, found.start)
        folder.write(RANGE_FILE, found.to_bytes())
        _remove_former(folder, work.size, firsts)
        return Collected(member, digest, found.start, work.size, work.fetched, len(firsts))

    # -- the request -----------------------------------------------------------------

    async def _ask(self, member: str, wanted: Wanted) -> bytes:
        """Send a request that gives access: the last one for the same, if it still does; give its digest."""
        since = self._now() - VALID
        for row in await self._requests.made_since(since, self._auditor, member, "read"):
            former = row.request
            if (former.start, former.end, former.reason) == (wanted.opened, wanted.closed, wanted.reason):
                try:
                    return await self._send(member, row)
                except PeerRefused as error:
                    if error.remote_code not in _TIMES_OUT:
                        raise
                break
        return await self._send(member, await self._new(member, wanted))

    async def _new(self, member: str, wanted: Wanted) -> AuditRow:
        now = self._now()
        request = AccessRequest(
            access=self._new_id(),
            action="read",
            auditor=self._auditor,
            member=member,
            network=self._registry.network,
            registry=self._registry.version,
            reason=wanted.reason,
            requested_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            start=wanted.opened,
            end=wanted.closed,
        )
        signed = sign(KIND, request.network, request.body(), self._identity)
        row = AuditRow.of(signed, request, self._random(SALT_BYTES), now)
        await self._requests.keep(row)
        return row

    async def _send(self, member: str, row: AuditRow) -> bytes:
        await patiently(lambda: self._members.request(member, row.wire()))
        return row.digest

    async def _range(self, member: str, digest: bytes, wanted: Wanted) -> tuple[AuditRange, SignedCheckpoint]:
        data = await patiently(lambda: self._members.range(member, digest))
        try:
            found = AuditRange.from_bytes(data)
            signed = parse_signed(found.checkpoint)
        except EncodingError as error:
            raise PeerGarbage(member, f"The range that {member} shows is malformed: {error.message}") from error
        checkpoint = signed.checkpoint
        if (found.opened, found.closed) != (wanted.opened, wanted.closed) or found.start > checkpoint.size:
            raise PeerGarbage(member, f"{member} shows another range than the one that was asked for.")
        if checkpoint.origin != origin_of(self._registry.network, member):
            raise PeerGarbage(member, f"{member} shows the checkpoint of another log than its own.")
        return found, signed

    # -- the log ---------------------------------------------------------------------

    async def _fetch_log(self, work: _Work) -> None:
        """Bundles, each with the tile of its hashes; then the few tiles above them."""
        tiles = tiles_between(0, work.size)
        bundles = bundles_between(0, work.size)
        done = 0
        while batch := tuple(islice(bundles, TOGETHER)):
            await asyncio.gather(*(self._fetch_bundle(work, bundle) for bundle in batch))
            done += sum(bundle.width for bundle in batch)
            work.told(done // 2)
        for tile in tiles:
            if tile.level:
                work.folder.write(tile.path, await self._place(work, tile))

    async def _fetch_bundle(self, work: _Work, bundle: Bundle) -> None:
        tile = Tile(0, bundle.index, bundle.width)
        entries = work.folder.read(bundle.path, bundle.length)
        hashes = work.folder.read(tile.path, tile.length)
        if entries is not None and hashes is not None and _belong(bundle, entries, hashes):
            return
        work.folder.write(bundle.path, await self._place(work, bundle))
        work.folder.write(tile.path, await self._place(work, tile))

    async def _place(self, work: _Work, place: Tile | Bundle) -> bytes:
        work.fetched += 1
        return await patiently(lambda: self._logs.tile(work.member, place))

    # -- the statements --------------------------------------------------------------

    async def _fetch_pages(self, work: _Work, digest: bytes, start: int) -> set[int]:
        firsts: set[int] = set()
        at = 0
        while at < work.size:
            # In a thread: a page has some thousand hashes.
            page = await asyncio.to_thread(page_at, work.folder.read, at, start, work.size)
            if page is None:
                page = await self._page(work, digest, at)
            firsts.add(at)
            at = page.next
            work.told((work.size + at) // 2)
        return firsts

    async def _page(self, work: _Work, digest: bytes, first: int) -> StatementPage:
        data = await patiently(lambda: self._members.statements(work.member, digest, first, work.size))
        try:
            page = read_statements(data)
        except EncodingError as error:
            raise PeerGarbage(
                work.member, f"A page of statements of {work.member} is malformed: {error.message}"
            ) from error
        if page.first != first or page.next > work.size:
            raise PeerGarbage(work.member, f"{work.member} sent another page than the one that was asked for.")
        work.fetched += 1
        work.folder.write(page.path, data)
        return page


async def patiently(ask: Callable[[], Awaitable[bytes]]) -> bytes:
    """Ask again what failed without being an answer, and what came too often for the member. Raises PeerError."""
    pause = PAUSE
    for _ in range(TRIES - 1):
        try:
            return await ask()
        except PeerRefused as error:
            if error.status not in (429, 503) or error.remote_code == "audit_quota":
                raise
            await asyncio.sleep(min(LONGEST_PAUSE, max(pause, error.retry_after or 0.0)))
        except (PeerLate, PeerGarbage) as error:
            if isinstance(error, PeerGarbage) and error.code != "peer_disconnected":
                raise
            await asyncio.sleep(pause)
        pause *= 2
    return await ask()


def _belong(bundle: Bundle, entries: bytes, hashes: bytes) -> bool:
    """Whether a bundle and its tile have the right lengths, and the tile the hashes of the entries."""
    try:
        return b"".join(leaf_hash(entry) for entry in decode_entries(bundle, entries)) == hashes
    except LedgerError:
        return False


def _check_former(data: bytes | None, signed: SignedCheckpoint) -> None:
    """Refuse to write over a log that this one does not continue: it may be evidence."""
    if data is None:
        return
    try:
        former = parse_signed(data).checkpoint
    except EncodingError:
        former = None
    if former is None or former.origin != signed.checkpoint.origin or former.size > signed.checkpoint.size:
        raise LedgerError(
            "The folder holds another log, or more entries of this one than are shown for the period. Collect into"
            " another folder, and keep that one.",
            code="another_export",
        )


def _remove_former(folder: Folder, size: int, firsts: set[int]) -> None:
    for path in list(folder.parts()):
        try:
            place = parse_path(path.removesuffix(".new"))
        except EncodingError:
            continue
        if path.endswith(".new") or not stands_in(place, size):
            folder.remove(path)
    for path in stale_pages(folder.pages(), firsts):
        folder.remove(path)
