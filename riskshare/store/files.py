"""Segment files: named by the SHA-256 of their content, written whole or not at all.

A file is written under a temporary name in the same folder, flushed to disk, and only then renamed to
its digest; then the folder is flushed. A crash or a full disk leaves a temporary file at most, which the next
start removes: its writer holds a lock on it, which ends with the process. Files are read through `mmap` and never
changed.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, final

from riskshare.errors import DiskError, SegmentError
from riskshare.sharing.segment_ref import SegmentRef

_TEMPORARY: Final = ".part"
_NAME: Final = re.compile(r"[0-9a-f]{64}")
SPARE: Final = 64 * 2**20
"""Free bytes that no download takes: the database may lie on the same disk."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@final
class SegmentFiles:
    """The segment files of one folder, which is made if it is not there. Raises DiskError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with self._guarded():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in folder.glob(f"*{_TEMPORARY}"):
                _remove_abandoned(left)

    def _guarded(self) -> AbstractContextManager[None]:
        return guarded(self._folder)

    def path(self, digest: bytes) -> Path:
        """Where the file with that SHA-256 lies, if it is here."""
        return self._folder / digest.hex()

    def has(self, ref: SegmentRef) -> bool:
        """Tell whether the file is here in its full length."""
        try:
            return self.path(ref.file_digest).stat().st_size == ref.file_length
        except OSError:
            return False

    def write(self, fill: Callable[[BinaryIO], SegmentRef]) -> SegmentRef:
        """Let `fill` write a new file, make it durable and give it its name.

        Raises:
            DiskError: the disk is full, or the folder may not be written; nothing is left behind.

        """
        with self._temporary() as (file, path):
            ref = fill(file)
            self._finish(file, path, ref)
        return ref

    async def fetch(self, fill: Callable[[BinaryIO], Awaitable[SegmentRef]]) -> SegmentRef:
        """As `write`, for a file that comes over the network. The caller verifies whether it is what its name says.

        Raises:
            DiskError: as `write`. `fill` raises no OSError of the network.

        """
        with self._temporary() as (file, path):
            ref = await fill(file)
            await asyncio.to_thread(self._finish, file, path, ref)
        return ref

    @contextmanager
    def _temporary(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A new file that is gone afterwards, unless `_finish` gave it its name. Raises DiskError."""
        with self._guarded():
            descriptor, name = tempfile.mkstemp(suffix=_TEMPORARY, dir=self._folder)
            try:
                with os.fdopen(descriptor, "w+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    yield file, Path(name)
            finally:
                with suppress(OSError):
                    Path(name).unlink()

    def _finish(self, file: BinaryIO, path: Path, ref: SegmentRef) -> None:
        """Make a file durable, then visible under its digest."""
        file.flush()
        os.fsync(file.fileno())
        path.replace(self.path(ref.file_digest))
        flush_folder(self._folder)

    def map(self, ref: SegmentRef) -> memoryview:
        """Map the file of `ref` for reading.

        Raises:
            SegmentError: `segment_missing`, or `segment_truncated` if it has another length.
            DiskError: it may not be read.

        """
        with self._guarded():
            try:
                with self.path(ref.file_digest).open("rb") as file:
                    if os.fstat(file.fileno()).st_size != ref.file_length:
                        raise SegmentError(
                            "A segment file has another length than its owner signed.", code="segment_truncated"
                        )
                    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except FileNotFoundError as error:
                raise SegmentError(
                    "A segment file is not here; it will be fetched again.", code="segment_missing"
                ) from error

    def delete(self, digest: bytes) -> None:
        """Remove a file, if it is here; a map of it that is still open stays good. Raises DiskError."""
        with self._guarded():
            self.path(digest).unlink(missing_ok=True)

    def require_room(self, size: int) -> None:
        """Refuse to begin what needs `size` bytes and would not leave `SPARE` of the disk. Raises DiskError."""
        with self._guarded():
            free = shutil.disk_usage(self._folder).free
        if size and size + SPARE > free:
            raise DiskError(
                f"The disk of {self._folder} has {free:,} bytes free, and {size:,} are to be fetched. Make room;"
                " nothing was changed, and it is tried again."
            )

    def older(self, than: datetime) -> Iterable[bytes]:
        """The digests of files that were last written before that time; what a dead writer left is removed.

        Raises:
            DiskError: the folder cannot be read.

        """
        found = []
        with self._guarded():
            for path in self._folder.iterdir():
                if path.suffix == _TEMPORARY:
                    _remove_abandoned(path)
                elif _NAME.fullmatch(path.name) and path.stat().st_mtime < than.timestamp():
                    found.append(bytes.fromhex(path.name))
        return found

    def digests(self) -> Iterable[bytes]:
        """The digests of all files that are here. Raises DiskError."""
        with self._guarded():
            names = [path.name for path in self._folder.iterdir()]
        return [bytes.fromhex(name) for name in names if _NAME.fullmatch(name)]


def _remove_abandoned(path: Path) -> None:
    """Remove a temporary file, unless a living process is writing it."""
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turn what the operating system says of a folder into DiskError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskError(
                f"The disk of {folder} is full. Make room; nothing was changed, and it is tried again."
            ) from error
        raise DiskError(
            f"{folder} cannot be used: {error.strerror or 'input/output error'}. Check its owner and rights."
        ) from error


def flush_folder(folder: Path) -> None:
    """Make a rename durable: the folder is a file of its own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
