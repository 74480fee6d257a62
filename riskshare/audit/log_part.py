"""Which part of a member's log is shown, and whether the log holds as a whole: steps 1 to 3 of a replay (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, final

from riskshare.audit.fact import CheckpointRow, Flaw, LogRow, milliseconds, moment_of
from riskshare.audit.files import Files, MemberFiles, read_tile
from riskshare.audit.finality import Cosigned, read_cosigned
from riskshare.audit.page import RANGE_FILE, AuditRange
from riskshare.audit.replayed import SKIPPED, AuditedBefore
from riskshare.audit.versions import CLOCKS, Versions
from riskshare.encoding import format_time
from riskshare.errors import EncodingError, InputError, LedgerError
from riskshare.ledger import note
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_signed
from riskshare.ledger.histories import TwoHistories, find_histories, history_tiles
from riskshare.ledger.tile import TileReader

CHECKPOINT: Final = "checkpoint"

_MAX_RANGE: Final = 2 * note.MAX_BYTES + 1024


Derive = Callable[[MemberFiles, Checkpoint], tuple[int, int]]
"""Derives the log of a final checkpoint anew from a member's files; gives how many bundles and tiles were compared.

Raises LedgerError."""


@dataclass(slots=True)
class LogPart:
    """What steps 1 to 3 gave: `log` is None if the log does not hold, `shown` whether there are rows to replay."""

    member: str
    log: LogRow | None = None
    shown: bool = False
    checkpoints: list[CheckpointRow] = field(default_factory=list)
    tallies: dict[str, int] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    def flaw(self, step: str, kind: str, sentence: str) -> None:
        """Something does not hold of the log as a whole."""
        self.flaws.append(Flaw(self.member, step, kind, -1, sentence))

    def skip(self, sentence: str, steps: str) -> None:
        """These steps (a digit each) cannot be verified."""
        for step in steps:
            self.flaw(step, SKIPPED, sentence)


@final
class PartOfLog:
    """Steps 1 to 3 for one member's log: `before` are its checkpoints audited before, `period` what is audited."""

    def __init__(
        self,
        member: str,
        files: MemberFiles,
        *,
        versions: Versions,
        before: Iterable[AuditedBefore],
        period: tuple[datetime, datetime],
    ) -> None:
        self._part = LogPart(member)
        self._files = files
        self._versions = versions
        self._before = before
        self._period = period

    def verify(self, derive: Derive) -> LogPart:
        """Verify the steps, once.

        Raises:
            InputError: the folder has no checkpoint, or that of another member's log.
            DiskError: it cannot be read.

        """
        part, files = self._part, self._files
        data = files.read(CHECKPOINT, note.MAX_BYTES)
        if data is None:
            raise InputError(f"The folder of {part.member} has no checkpoint: it is no log, or not a whole one.")
        # 1.
        try:
            found = read_cosigned(data, self._versions)
            if found.member != part.member:
                raise InputError(f"The folder of {part.member} holds the log of {found.member}.")
            part.tallies["bundles"], part.tallies["tiles"] = derive(files, found.checkpoint)
        except (EncodingError, LedgerError) as error:
            part.flaw("1", "broken_log", _clause(error))
            part.skip("The log does not hold", "23456789")
            return part
        signed = parse_signed(data)
        # 2.
        for audited in self._before:
            self._continues(audited, found, signed)
        # 3.
        start, first = self._begin(found, signed)
        part.shown = start is not None
        known = [one for one in (first, found) if one is not None]
        part.checkpoints = [CheckpointRow(part.member, one.checkpoint.size, one.at) for one in known]
        size, root = found.checkpoint.size, found.checkpoint.root
        opened, closed = map(milliseconds, self._period)
        begun = None if first is None else first.at
        part.log = LogRow(part.member, size, root, size if start is None else start, opened, closed, begun, found.at)
        return part

    def _continues(self, audited: AuditedBefore, found: Cosigned, signed: SignedCheckpoint) -> None:
        """Step 2, for one checkpoint audited before. A log of an older period is smaller, and cosigned earlier."""
        former = read_cosigned(audited.note, self._versions)
        size = former.checkpoint.size
        if size > found.checkpoint.size:
            if found.at > former.at + CLOCKS:
                sentence = f"it had {size:,} entries when it was audited, and has fewer since"
                self._part.flaw("2", "discontinued_log", sentence)
            return
        if histories(self._files, audited.note, signed) is not None:
            self._part.flaw("2", "discontinued_log", f"its first {size:,} entries are not those that were audited")
            return
        self._part.tallies["audited"] = self._part.tallies.get("audited", 0) + 1

    def _begin(self, found: Cosigned, signed: SignedCheckpoint) -> tuple[int | None, Cosigned | None]:
        """Step 3: where the part that is shown begins (None: nothing is shown), and the checkpoint there."""
        part = self._part
        data = self._files.read(RANGE_FILE, _MAX_RANGE)
        if data is None:
            part.skip("The folder shows no statements: only the log itself was verified", "3456789")
            return None, None
        try:
            shown = AuditRange.from_bytes(data)
            ended = parse_signed(shown.checkpoint).checkpoint
            first = read_cosigned(shown.before, self._versions) if shown.start else None
        except (EncodingError, LedgerError) as error:
            return self._unknown(f"{RANGE_FILE} does not say what is shown: {_clause(error)}")
        if ended != found.checkpoint or (first and (first.member, first.checkpoint.size) != (part.member, shown.start)):
            return self._unknown(f"{RANGE_FILE} is not of the log that lies beside it")
        if first is not None and histories(self._files, shown.before, signed) is not None:
            part.flaw("3", "broken_log", f"it has another final checkpoint of its first {shown.start:,} entries")
        opened, closed = self._period
        since = shown.opened if first is None else max(shown.opened, moment_of(first.at))
        if since > opened or shown.closed < closed:
            part.skip(
                f"It is shown from {format_time(since)} to {format_time(shown.closed)}, not the whole period", "3"
            )
        return shown.start, first

    def _unknown(self, sentence: str) -> tuple[None, None]:
        self._part.flaw("3", "withheld", sentence)
        self._part.skip("It is not known which part of the log is shown", "456789")
        return None, None


def histories(files: Files, former: bytes, now: SignedCheckpoint) -> TwoHistories | None:
    """What convicts a log of not extending a former checkpoint of it, not larger; None if it does.

    The tiles of `now` were held against the entries before.

    Raises:
        LedgerError: a tile is not whole.

    """
    first = parse_signed(former)
    tiles = {place: read_tile(files, place) for place in history_tiles(first, now)}
    return find_histories(first, now, TileReader(tiles).read)


def _clause(error: EncodingError | LedgerError) -> str:
    """The sentence of an error, within one of ours."""
    return error.message.rstrip(".")
