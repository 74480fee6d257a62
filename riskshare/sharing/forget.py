"""Forgetting what was published: snapshots and segments that neither a reader nor an audit needs.

A snapshot is kept until it has been expired for the audit window, and longer if it is the newest of its list under an
epoch that may still be used, or of the list at all: the next one names it as the one before. A segment goes when no
snapshot that is kept names it. Its row goes before its file, so a crash in between leaves a file that nobody names;
such files, and those of a publication that a crash stopped, are removed when they are a day old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.sharing.kept import SegmentRow

ORPHAN_TERM: Final = timedelta(days=1)
"""Older than any publication that is under way."""


class Shelf(Protocol):
    """The store of what is published."""

    async def forget_snapshots(self, before: datetime) -> int:
        """Delete snapshots that expired before that time, but for those that are needed still."""

    async def unreferenced_segments(self, before: datetime) -> Sequence[SegmentRow]:
        """Segments made before that time that no kept snapshot names."""

    async def forget_segments(self, file_digests: Sequence[bytes]) -> int:
        """Delete the rows of such segments."""

    async def segments(self, file_digests: Sequence[bytes]) -> Sequence[SegmentRow]:
        """The rows of these segments; unknown ones are left out."""


class Files(Protocol):
    """The segment files."""

    def older(self, than: datetime) -> Iterable[bytes]:
        """The digests of files that were last written before that time. Raises DiskError."""

    def delete(self, digest: bytes) -> None:
        """Remove a file. Raises DiskError."""


async def forget(shelf: Shelf, files: Files, now: datetime, window: timedelta) -> None:
    """Delete what has had its time; `window` is that of audits. Raises StoreError, DiskError."""
    await shelf.forget_snapshots(now - window)
    gone = [row.ref.file_digest for row in await shelf.unreferenced_segments(now - window)]
    await shelf.forget_segments(gone)
    old = list(await asyncio.to_thread(files.older, now - ORPHAN_TERM))
    kept = {row.ref.file_digest for row in await shelf.segments(old)}
    for digest in {*gone, *old} - kept:
        await asyncio.to_thread(files.delete, digest)
