"""Both sides know: that each counterparty has accounted for what concerns us, in its own log, for good.

Of every other member's log, this one reads the entries that concern it, page by page (`entry_page`): each comes with
its proof in a final checkpoint, and is held against our own copy of the statement. What holds is kept; what does not is
named and counted, and stands in nobody's way. What we hold and the counterparty has not accounted for within
`GRACE` is missing, and asked for by its source until it is there.

Order of durability: the rows of a page are kept -> the mark moves behind them. A crash in between reads the page again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.errors import EncodingError, LedgerError, PeerError, RegistryError
from riskshare.ledger.addition import Known
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_signed
from riskshare.ledger.entry_page import MAX_ROWS, EntryPage, Row, read_entries, verify_page, verify_row
from riskshare.ledger.growth import Growth
from riskshare.ledger.kept import AccountRow
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.ledger.note import VerifierKey, verify
from riskshare.ledger.policy import Policy

GRACE: Final = timedelta(seconds=60)
"""How long a counterparty may take before its entry is missing: some times what finality takes."""

MOST_PAGES: Final = 32
"""Pages of one member that are read in one round; the rest comes in the next."""

MOST_LOOKUPS: Final = 16
"""Missing entries of one member that are asked for in one round."""

ROUND_SECONDS: Final = 30.0
"""Most time for one member in one round."""

LOOKUP_EVERY: Final = timedelta(seconds=20)

Place = tuple[str, bytes]
"""Kind and source of an entry."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What this member knows of another's log.

    Entries before `next_index` were read; `size`, `root` and `note` are of the newest final checkpoint that was
    verified (before the first: 0, the root of no leaves, b"").
    """

    member: str
    next_index: int
    size: int
    root: bytes
    note: bytes
    growth: Growth

    @property
    def known(self) -> Known:
        """Size and root."""
        return Known(self.size, self.root)


class Logs(Protocol):
    """The other members' peers. Raises PeerError."""

    async def latest(self, member: str) -> bytes:
        """The newest checkpoint that its log signed, final or not."""

    async def entries(self, member: str, after: int, size: int) -> bytes:
        """The page of entries that concern us from `after` on, for a reader that knows `size` entries."""

    async def entry(self, member: str, source: bytes, size: int) -> bytes:
        """The page with the one entry of a source, or with none."""


class Kept(Protocol):
    """What this member keeps. Raises StoreError."""

    async def followed(self, member: str) -> Followed | None:
        """What is known of a member's log."""

    async def follow(self, followed: Followed) -> None:
        """Keep it; what is known never goes back."""

    async def account(self, member: str, rows: Sequence[AccountRow]) -> None:
        """Keep verified entries of a member's log; those that are kept stay as they are."""

    async def statements(self, member: str, places: Iterable[Place]) -> Mapping[Place, bytes]:
        """Our own copies of the statements at these places, as far as they concern that member and we hold them."""

    async def missing(self, member: str, limit: int) -> Sequence[Place]:
        """Some of what the member has not accounted for in time; others the next time."""

    async def last_receipt(self, member: str) -> datetime | None:
        """When this member last answered that one."""

    async def witnessed(self, member: str) -> int:
        """Size of the largest checkpoint of the member's log that was offered to us as a witness; 0 for none."""


class Watch(Protocol):
    """Who is told."""

    def doubted(self, member: str, code: str, sentence: str) -> None:
        """Something of the member's log, or of its pages, does not hold."""

    def stalled(self, member: str, since: datetime | None) -> None:
        """The member's log has stalled since then, or goes on (None)."""


class Accountant:
    """Follows the other members' logs on behalf of one member.

    `log_keys` gives the keys with which a member may sign checkpoints now, `policy` what makes one final. `doubt` is
    given checkpoints that do not fit what was known before: whether they convict the log is found out there.
    """

    def __init__(
        self,
        *,
        logs: Logs,
        kept: Kept,
        log_keys: Callable[[str], Sequence[VerifierKey]],
        policy: Callable[[str], Policy],
        doubt: Callable[[str, SignedCheckpoint], Awaitable[None]],
        watch: Watch,
        now: Callable[[], datetime],
    ) -> None:
        self._logs = logs
        self._kept = kept
        self._log_keys = log_keys
        self._policy = policy
        self._doubt = doubt
        self._watch = watch
        self._now = now
        self._looked_up: dict[str, datetime] = {}

    async def account(self, members: Iterable[str]) -> None:
        """One round over all members at once; one that cannot be reached keeps nobody waiting.

        Raises:
            StoreError: what is known could not be read or kept.

        """
        outcomes = await asyncio.gather(*map(self._account_within, members), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _account_within(self, member: str) -> None:
        with suppress(TimeoutError):  # the next round goes on where this one ended
            async with asyncio.timeout(ROUND_SECONDS):
                await self._account(member)

    async def _account(self, member: str) -> None:
        followed = await self._kept.followed(member)
        if followed is None:
            followed = Followed(member, 0, 0, EMPTY_ROOT, b"", Growth(0, self._now()))
        followed = await self._look(followed)
        try:
            followed = await self._read(followed)
            await self._look_up(followed)
        except PeerError:
            return  # it is told as not growing, or as missing entries, soon enough
        except (EncodingError, LedgerError, RegistryError) as error:
            self._watch.doubted(member, error.code, error.message)

    # -- whether the log grows -------------------------------------------------------

    async def _look(self, followed: Followed) -> Followed:
        member, before = followed.member, followed.growth
        offered = await self._kept.witnessed(member)
        sizes = [size for size in (offered, await self._latest(member)) if size]
        last_receipt = await self._kept.last_receipt(member)
        growth = before.looked(max(sizes, default=None), last_receipt, self._now())
        if growth != before or not followed.note:
            followed = replace(followed, growth=growth)
            await self._kept.follow(followed)
        if growth.has_stalled != before.has_stalled:
            self._watch.stalled(member, growth.stalled_since)
        return followed

    async def _latest(self, member: str) -> int | None:
        """Size of the newest checkpoint that the log signed, or None if there is none to be had."""
        try:
            signed = parse_signed(await self._logs.latest(member))
            keys = self._log_keys(member)
            verify(signed.note, keys)
        except PeerError:
            return None
        except (EncodingError, LedgerError) as error:
            self._watch.doubted(member, error.code, error.message)
            return None
        if signed.checkpoint.origin not in {key.name for key in keys}:
            self._watch.doubted(member, "unknown_log", "It serves a checkpoint of another log.")
            return None
        return signed.checkpoint.size

    # -- its entries -----------------------------------------------------------------

    async def _read(self, followed: Followed) -> Followed:
        for _ in range(MOST_PAGES):
            page = read_entries(await self._logs.entries(followed.member, followed.next_index, followed.size))
            checkpoint = await self._take(followed, page, followed.next_index)
            after = self._moved(followed, page, checkpoint, max(page.next, followed.next_index))
            if after != followed:
                await self._kept.follow(after)
            ended = page.next >= checkpoint.size or page.next <= followed.next_index
            followed = after
            if ended:
                break
        return followed

    async def _look_up(self, followed: Followed) -> None:
        """Ask for what is missing by its source: a page passed over it, or we hold it only now."""
        now = self._now()
        if now < self._looked_up.get(followed.member, now) <= now + LOOKUP_EVERY:  # not so after a clock went back
            return
        self._looked_up[followed.member] = now + LOOKUP_EVERY
        for kind, source in await self._kept.missing(followed.member, MOST_LOOKUPS):
            page = read_entries(await self._logs.entry(followed.member, source, followed.size))
            if [(row.entry.kind, row.entry.source) for row in page.rows] not in ([], [(kind, source)]):
                raise LedgerError("The page holds another entry than the one asked for.", code="wrong_entry")
            checkpoint = await self._take(followed, page, 0)
            followed = self._moved(followed, page, checkpoint, followed.next_index)

    async def _take(self, followed: Followed, page: EntryPage, after: int) -> Checkpoint:
        """Verify a page and keep what holds of it; gives its checkpoint."""
        member = followed.member
        try:
            checkpoint = verify_page(page, self._policy(member), followed.known, after)
        except LedgerError as error:
            if error.code in {"rollback", "two_histories", "wrong_consistency"}:
                await self._doubt(member, page.signed)
            raise
        rows = page.rows[:MAX_ROWS]
        ours = await self._kept.statements(member, [(row.entry.kind, row.entry.source) for row in rows]) if rows else {}
        held: list[AccountRow] = []
        false: list[Row] = []
        for row in rows:
            # Without a copy of ours there is nothing to hold it against: it is asked for when we have one.
            statement = ours.get((row.entry.kind, row.entry.source))
            if statement is not None:
                try:
                    verify_row(row, statement, checkpoint)
                    held.append(self._account_row(row, checkpoint))
                except LedgerError:
                    false.append(row)
        if held:
            await self._kept.account(member, held)
        if false:
            self._watch.doubted(member, "wrong_inclusion", _named(false))
        return checkpoint

    def _account_row(self, row: Row, checkpoint: Checkpoint) -> AccountRow:
        entry = row.entry
        proof = b"".join(row.hashes)
        return AccountRow(entry.kind, entry.source, entry.index, entry.salt, proof, checkpoint.size, self._now())

    @staticmethod
    def _moved(followed: Followed, page: EntryPage, checkpoint: Checkpoint, next_index: int) -> Followed:
        note = page.signed.note.to_bytes()
        if checkpoint.size == followed.size:
            note = followed.note or note
        return replace(followed, next_index=next_index, size=checkpoint.size, root=checkpoint.root, note=note)


def _named(false: Sequence[Row]) -> str:
    """What is said of the rows of a page that do not hold: the first by name, so that a liar fills no log."""
    first = false[0].entry
    more = f", nor are {len(false) - 1} more of that page" if len(false) > 1 else ""
    return f"Entry {first.index} of its log is not that of the {first.kind} that it names{more}."
