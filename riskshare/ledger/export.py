"""Writing a log as plain files, as it is on the wire, for whoever wants to verify or keep it.

Order: tiles and bundles, policy, checkpoint, and only then what no longer belongs to the log is removed. So a folder
that was whole stays so until its new checkpoint stands; an export that was interrupted is finished by the next one.
What has the right bytes already is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, Protocol

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger import note
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_signed
from riskshare.ledger.tile import Bundle, Tile, bundles_between, parse_path, stands_in, tiles_between

CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy"
TOGETHER: Final = 64
"""Tiles or bundles that are read together: about half a megabyte."""

Progress = Callable[[int, int], None]
"""Told now and then: tiles and bundles looked at, and how many there are."""


class Log(Protocol):
    """The member's own log. Every method raises StoreError."""

    async def tiles(self, places: Iterable[Tile]) -> Mapping[Tile, bytes]:
        """The bytes of tiles, as wide as asked; what is not there is left out."""

    async def bundles(self, places: Iterable[Bundle]) -> Mapping[Bundle, bytes]:
        """The bytes of bundles, as wide as asked; what is not there is left out."""


class Folder(Protocol):
    """Where the files go. Every method raises DiskError."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""

    def parts(self) -> Iterator[str]:
        """Paths of all files below `tile/`."""

    def write(self, path: str, data: bytes) -> bool:
        """Write a file, unless it has these very bytes. Tells whether it was written."""

    def remove(self, path: str) -> None:
        """Remove a file."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: files in the folder, those of them that were written now, and those that were removed."""

    files: int
    written: int
    removed: int


async def export(
    log: Log, signed: SignedCheckpoint, policy: bytes, folder: Folder, progress: Progress | None = None
) -> Exported:
    """Write the log of a checkpoint into a folder, as far as it is not there yet.

    Raises:
        LedgerError: code `another_export`, the folder holds another log, or more of this one; code `missing_part`,
            the member's own log is not whole.
        DiskError, StoreError: reading or writing failed; run it again.

    """
    size = signed.checkpoint.size
    _check_former(folder.read(CHECKPOINT, note.MAX_BYTES), signed)
    places: Iterator[Tile | Bundle] = chain(bundles_between(0, size), tiles_between(0, size))
    count = sum(1 for _ in chain(bundles_between(0, size), tiles_between(0, size)))
    files = written = 0
    while batch := tuple(islice(places, TOGETHER)):
        tiles = await log.tiles([place for place in batch if isinstance(place, Tile)])
        bundles = await log.bundles([place for place in batch if isinstance(place, Bundle)])
        for place in batch:
            data = tiles.get(place) if isinstance(place, Tile) else bundles.get(place)
            if data is None:
                raise LedgerError(
                    f"{place.path} is missing in the database, and a log of {size:,} entries has it. Restore the"
                    " database, or this log cannot be verified by anybody.",
                    code="missing_part",
                )
            written += folder.write(place.path, data)
        files += len(batch)
        if progress:
            progress(files, count)
    written += folder.write(POLICY, policy)
    written += folder.write(CHECKPOINT, signed.note.to_bytes())
    return Exported(files + 2, written, _remove_former(folder, size))


def _check_former(data: bytes | None, signed: SignedCheckpoint) -> None:
    """Refuse to write over a log that this one does not continue: it may be all that is left of it."""
    if data is None:
        return
    try:
        former = parse_signed(data).checkpoint
    except EncodingError:
        former = None
    if former is None or former.origin != signed.checkpoint.origin or former.size > signed.checkpoint.size:
        raise LedgerError(
            "The folder holds another log, or more entries of this log than are final here. Choose another folder, and"
            " keep that one: if this log was larger once, it shows what is lost.",
            code="another_export",
        )


def _remove_former(folder: Folder, size: int) -> int:
    """Remove partial tiles and bundles of earlier exports; what is no part of any log is left for `verify` to name."""
    removed = 0
    for path in folder.parts():
        try:
            place = parse_path(path.removesuffix(".new"))
        except EncodingError:
            continue
        if path.endswith(".new") or not stands_in(place, size):
            folder.remove(path)
            removed += 1
    return removed
