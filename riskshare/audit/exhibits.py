"""The evidence for what replay found wrong in a member's log, made from the member's own folder (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from riskshare.audit.evidence import Entry, EvidenceFile
from riskshare.audit.fact import Flaw
from riskshare.audit.files import MemberFiles, page_with, read_tile, row_at
from riskshare.audit.log_part import CHECKPOINT, histories
from riskshare.audit.page import RANGE_FILE, AuditRange
from riskshare.audit.replayed import AuditedBefore
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger import note
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.proof import inclusion_nodes, prove_inclusion
from riskshare.ledger.tile import TileReader, tiles_of

_MAX_RANGE: Final = 2 * note.MAX_BYTES + 1024


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A file that shows something: its name, its bytes, and what it shows."""

    name: str
    data: bytes = field(repr=False)
    shows: str


def make_exhibits(
    network: str, files: MemberFiles, flaw: Flaw, before: Iterable[AuditedBefore] = ()
) -> Sequence[Exhibit]:
    """What shows a flaw, as far as anything can.

    Of a log with two histories both checkpoints convict it; of a statement, its entry and the proof that it stands in
    the log. A row that is not what stands in the log is shown by the page that came with it, and something that is
    not shown by nothing but the log.
    """
    name = f"{flaw.member}-{flaw.kind}"
    data = files.read(CHECKPOINT, note.MAX_BYTES) or b""
    if flaw.step == "1":
        return [Exhibit(f"{name}-checkpoint", data, "the checkpoint of the log that does not hold")]
    try:
        if flaw.step == "2":
            return _former(name, files, data, [audited.note for audited in before])
        if flaw.step == "3" and flaw.kind == "broken_log":
            shown = AuditRange.from_bytes(files.read(RANGE_FILE, _MAX_RANGE) or b"")
            return _former(name, files, data, [shown.before])
        if flaw.step == "4":
            return _page(name, files, flaw)
        return _entry(name, network, files, flaw, data)
    except (EncodingError, LedgerError):
        return ()  # the folder is too broken for more than the finding


def _former(name: str, files: MemberFiles, data: bytes, former: Iterable[bytes]) -> Sequence[Exhibit]:
    """Both checkpoints; with the proof of it, if the log shows that it has two histories."""
    made: list[Exhibit] = []
    now = parse_signed(data)
    for earlier in former:
        size = parse_signed(earlier).checkpoint.size
        if size > now.checkpoint.size:
            made += [
                Exhibit(f"{name}-{size}-checkpoint", earlier, f"the log had {size:,} entries"),
                Exhibit(f"{name}-checkpoint", data, "it has fewer now"),
            ]
        elif (found := histories(files, earlier, now)) is not None:
            made.append(Exhibit(f"{name}-{size}.cbor", found.to_bytes(), "the log has two histories"))
    return made


def _page(name: str, files: MemberFiles, flaw: Flaw) -> Sequence[Exhibit]:
    page = page_with(files, flaw.idx) if flaw.kind == "wrong_statement" else None
    return [] if page is None else [Exhibit(f"{name}-{flaw.idx}.cbor", page, "the page that the member showed")]


def _entry(name: str, network: str, files: MemberFiles, flaw: Flaw, data: bytes) -> Sequence[Exhibit]:
    row = row_at(files, flaw.idx)
    if row is None:
        return ()
    size = parse_signed(data).checkpoint.size
    tiles = {place: read_tile(files, place) for place in tiles_of(inclusion_nodes(row.index, size), size)}
    proof = prove_inclusion(row.index, size, TileReader(tiles).read)
    entry = Entry(flaw.member, row.index, row.kind, row.salt, row.statement, row.signature, proof)
    file = EvidenceFile(flaw.kind, flaw.member, network, checkpoints=(data,), entries=(entry,))
    return [Exhibit(f"{name}-{flaw.idx}.json", file.to_bytes(), "the entry, and that it stands in the log")]
