"""Buildings: what of a list is computed under a new epoch, on the disk until the list is published.

    FOLDER/EPOCH/LIST/lock         held by the process that is at it; the lock ends with the process
    FOLDER/EPOCH/LIST/marks.json   how far it has come, replaced as a whole
    FOLDER/EPOCH/LIST/NUMBER.run   sorted labels and sealed records: what will be published anyway

A run is durable before the marks that name it; a run that no marks name is removed by whoever goes on.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, final

from riskshare.errors import EncodingError, SegmentError
from riskshare.sharing.marks import Marks, Run
from riskshare.store.files import flush_folder, guarded

R = TypeVar("R")

_EPOCH: Final = re.compile(r"[0-9a-f]{64}")
_LOCK: Final = "lock"
_MARKS: Final = "marks.json"


@final
class Buildings:
    """The buildings of one member on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, epoch: bytes, list_name: str) -> Held | None:
        """Take the building of a list (local name) under an epoch (its digest), begun or not.

        None: another process is at it. Raises DiskError.
        """
        folder = self._folder / epoch.hex() / list_name
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _locked(folder)
        return None if lock is None else Held(folder, lock)

    def present(self) -> Collection[tuple[bytes, str]]:
        """The buildings that are here: epoch and local name. Raises DiskError."""
        with guarded(self._folder):
            found = [(path.parent.name, path.name) for path in self._folder.glob("*/*")]
        return [(bytes.fromhex(epoch), name) for epoch, name in found if _EPOCH.fullmatch(epoch)]

    def remove(self, epoch: bytes, list_name: str) -> None:
        """Remove a building that nobody needs, unless a process is at it. Raises DiskError."""
        held = self.hold(epoch, list_name)
        if held is not None:
            held.drop()


def _locked(folder: Path) -> int | None:
    """The lock of a building; None if somebody else has it, or has just removed it."""
    try:
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


@final
class RunFolder:
    """The runs of one building, for any process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> BinaryIO:
        """Open a run. Raises DiskError; SegmentError `segment_missing`: it is not here."""
        with guarded(self._folder):
            try:
                return (self._folder / name).open("rb")
            except FileNotFoundError as error:
                raise SegmentError(
                    "A file of a building is not here; the list is computed anew.", code="segment_missing"
                ) from error


@final
class Held:
    """One building, which this process alone is at until `close` or `drop`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self.runs = RunFolder(folder)

    def marks(self) -> Marks | None:
        """How far it has come; None if it begins, or if what is there cannot be read. Other runs are removed.

        Raises:
            DiskError: the folder cannot be used.

        """
        found = None
        with guarded(self._folder):
            with suppress(FileNotFoundError, EncodingError):
                found = Marks.from_bytes((self._folder / _MARKS).read_bytes())
            kept = {_LOCK, _MARKS, *(run.name for run in found.runs)} if found else {_LOCK}
            for path in self._folder.iterdir():
                if path.name not in kept:
                    path.unlink()
        return found

    def keep(self, marks: Marks) -> None:
        """Replace the marks, durably. Raises DiskError."""
        self._write(_MARKS, lambda out: out.write(marks.to_bytes()))

    def write(self, number: int, fill: Callable[[BinaryIO], tuple[int, bytes]]) -> Run:
        """Write a run, durably. `fill` gives its number of rows and its digest. Raises DiskError."""
        name = f"{number:06}.run"
        rows, digest = self._write(name, fill)
        return Run(name, rows, digest)

    def _write(self, name: str, fill: Callable[[BinaryIO], R]) -> R:
        fresh = self._folder / f"{name}.part"
        with guarded(self._folder), _removed_in_trouble(fresh):
            with fresh.open("wb") as file:
                result = fill(file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._folder / name)
            flush_folder(self._folder)
        return result

    def clear(self) -> None:
        """Forget all that is computed; the building begins anew. Raises DiskError."""
        with guarded(self._folder):
            (self._folder / _MARKS).unlink(missing_ok=True)
        self.marks()

    def drop(self) -> None:
        """Remove the building: it is published, or nobody needs it. Raises DiskError."""
        with guarded(self._folder):
            (self._folder / _MARKS).unlink(missing_ok=True)  # first: a crash leaves nothing that looks whole
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):
                self._folder.parent.rmdir()  # which refuses while another list lies there
        self.close()

    def close(self) -> None:
        """Let another process go on."""
        lock, self._lock = self._lock, -1  # first: whoever is cancelled may close it while a thread does
        if lock >= 0:
            os.close(lock)


@contextmanager
def _removed_in_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
