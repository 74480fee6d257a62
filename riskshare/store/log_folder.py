"""A log as plain files, laid out as on the wire: `checkpoint`, `tile/…`, `tile/entries/…`, and `policy` beside them.

What its entries stand for may lie below `statements/` (`audit.page`).

A file is written under another name first and then renamed: whoever reads it sees the old one or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from riskshare.errors import DiskError

TILES: Final = "tile"
STATEMENTS: Final = "statements"
_NEW: Final = ".new"


@final
class LogFolder:
    """The folder of one exported log. Every method raises DiskError if the disk or its rights do not allow it."""

    def __init__(self, folder: Path, *, private: bool = False) -> None:
        """`private` keeps others on this machine out of it, as soon as something is written."""
        self._folder = folder
        self._private = private

    async def fetch(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""
        return self.read(path, limit)

    def read(self, path: str, limit: int) -> bytes | None:
        """As `fetch`."""
        with self._guarded(path):
            try:
                with (self._folder / path).open("rb") as file:
                    # No more than there is: room for `limit` bytes would be made first.
                    return file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def parts(self) -> Iterator[str]:
        """Paths of all files below `tile/`, also of those that do not belong there; in no order."""
        return self._below(TILES)

    def pages(self) -> Iterator[str]:
        """Paths of all files below `statements/`, in no order."""
        return self._below(STATEMENTS)

    def _below(self, name: str) -> Iterator[str]:
        with self._guarded(name):
            for folder, _, names in os.walk(self._folder / name, onerror=_raise):
                place = Path(folder).relative_to(self._folder)
                yield from ((place / name).as_posix() for name in names)

    def write(self, path: str, data: bytes) -> bool:
        """Write a file, unless it has these very bytes. Tells whether it was written."""
        if self.read(path, len(data)) == data:
            return False
        target = self._folder / path
        with self._guarded(path):
            if self._private:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._folder.chmod(0o700)
                self._private = False
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(target.name + _NEW)
            beside.write_bytes(data)
            beside.replace(target)
        return True

    def remove(self, path: str) -> None:
        """Remove a file, and the folders that are empty then."""
        target = self._folder / path
        with self._guarded(path):
            target.unlink(missing_ok=True)
            while target.parent != self._folder and not any(target.parent.iterdir()):
                target = target.parent
                target.rmdir()

    @contextmanager
    def _guarded(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"{self._folder / path} cannot be used: {error.strerror or 'input/output error'}. Check the disk, the"
                " owner and the rights."
            ) from error


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
