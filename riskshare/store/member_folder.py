"""A member's folder as an auditor has it: its log, and the pages of statements beside it.

Somebody else has written it. So it is looked through before anything is read: nothing but files and folders may be in
it, for a link could lead anywhere, and a pipe would never end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import final

from riskshare.audit.page import FOLDER, first_of
from riskshare.encoding import canonical_json, sha256
from riskshare.errors import DiskError, InputError
from riskshare.store.log_folder import LogFolder


@final
class MemberFolder:
    """One member's folder; it can be pickled, and is read in several processes. Methods raise DiskError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = LogFolder(folder)

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""
        return self._log.read(path, limit)

    async def fetch(self, path: str, limit: int) -> bytes | None:
        """As `read`."""
        return self._log.read(path, limit)

    def parts(self) -> Iterator[str]:
        """Paths of all files below `tile/`."""
        return self._log.parts()

    def firsts(self) -> list[int]:
        """The first indices of all pages of statements, in order; other files there are passed over."""
        try:
            names = [entry.name for entry in os.scandir(self._folder / FOLDER)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unusable(self._folder / FOLDER, error) from error
        return sorted(first for name in names if (first := first_of(f"{FOLDER}/{name}")) is not None)

    def look_through(self) -> bytes:
        """A digest of what is there: of each file its path, length and time of change, 32 bytes.

        Raises:
            InputError: there is something that is neither a file nor a folder, or there is no such folder.

        """
        if not self._folder.is_dir():
            raise InputError(f"There is no folder {self._folder}. Name one that `ledger export --statements` wrote.")
        digest = sha256(str(self._folder.absolute()).encode("utf-8", "surrogateescape"))
        for folder, names, files in os.walk(self._folder, onerror=_raise):
            names.sort()
            for name in sorted([*names, *files]):
                digest = sha256(digest + self._seen(Path(folder) / name))
        return digest

    def _seen(self, path: Path) -> bytes:
        try:
            found = path.lstat()
        except OSError as error:
            raise _unusable(path, error) from error
        place = path.relative_to(self._folder)
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InputError(
                f"{place} in {self._folder} is neither a file nor a folder. Copy the member's files themselves: a link"
                " is not followed."
            )
        if path.is_dir():
            return b""
        return canonical_json([os.fsencode(place).hex(), found.st_size, str(found.st_mtime_ns)])


def _raise(error: OSError) -> None:
    raise _unusable(Path(str(error.filename)), error) from error


def _unusable(path: Path, error: OSError) -> DiskError:
    return DiskError(f"{path} cannot be used: {error.strerror or 'input/output error'}. Check the disk and its rights.")


def take_in(source: Path, target: Path) -> None:
    """Make `target` a copy of a member's folder, with the times of its files; what is there already is not copied.

    Raises:
        InputError: there is something that is neither a file nor a folder, or no such folder.
        DiskError: a file cannot be read or written.

    """
    MemberFolder(source).look_through()
    if source.resolve() == target.resolve():
        return
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in target.rglob("*"):
            if not path.is_dir() and path.relative_to(target) not in wanted:
                path.unlink()
        for place in sorted(wanted):
            _copy(source / place, target / place)
    except OSError as error:
        raise _unusable(Path(str(error.filename or target)), error) from error


def _copy(source: Path, target: Path) -> None:
    found = source.stat()
    if target.is_file() and not target.is_symlink():
        there = target.stat()
        if (there.st_size, there.st_mtime_ns) == (found.st_size, found.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".new")
    shutil.copy2(source, beside)
    beside.replace(target)
