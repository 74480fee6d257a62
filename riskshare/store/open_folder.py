"""The folder of what an auditor had opened: checks, proofs, snapshots.

It holds identifiers. So its folders are closed to others on the machine, and so is each file from its first byte on. A
file is written under another name first and then renamed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, final
from uuid import UUID

from riskshare.audit.opened import (
    MAX_CHECK,
    MAX_PROOF,
    ShownCheck,
    ShownProof,
    check_path,
    proof_path,
    read_check,
    read_proof,
    snapshot_path,
)
from riskshare.encoding import sha256
from riskshare.errors import DiskError, EncodingError
from riskshare.sharing.snapshot import MAX_BYTES

_NEW: Final = ".new"
_MAX_WIRE: Final = MAX_BYTES + 1024


@final
class OpenFolder:
    """`open.Shelf` and `sources.Shelf`. Every method raises DiskError if the disk or its rights do not allow it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, member: str, check: UUID) -> ShownCheck | None:
        """A check as the member showed it; None if there is none that can be read."""
        data = self._read(check_path(member, check), MAX_CHECK)
        try:
            shown = None if data is None else read_check(data)
        except EncodingError:
            return None
        return shown if shown is not None and shown.check == check else None

    def keep_check(self, member: str, shown: ShownCheck) -> None:
        """Keep a check, in place of what was there."""
        self._write(check_path(member, shown.check), shown.to_bytes())

    def proof(self, owner: str, receipt: bytes) -> ShownProof | None:
        """A proof as the owner showed it; None if there is none that can be read."""
        data = self._read(proof_path(owner, receipt), MAX_PROOF)
        try:
            shown = None if data is None else read_proof(data)
        except EncodingError:
            return None
        return shown if shown is not None and shown.receipt == receipt else None

    def keep_proof(self, owner: str, shown: ShownProof) -> None:
        """Keep a proof, in place of what was there."""
        self._write(proof_path(owner, shown.receipt), shown.to_bytes())

    def snapshot(self, digest: bytes) -> bytes | None:
        """The wire form of a snapshot statement."""
        return self._read(snapshot_path(digest), _MAX_WIRE)

    def keep_snapshot(self, digest: bytes, wire: bytes) -> None:
        """Keep a snapshot statement."""
        self._write(snapshot_path(digest), wire)

    def digest(self, path: str) -> bytes | None:
        """The SHA-256 of a file, 32 bytes; None if there is none."""
        data = self._read(path, MAX_CHECK)
        return None if data is None else sha256(data)

    def write(self, path: str, data: bytes) -> None:
        """Write a file, such as a report."""
        self._write(path, data)

    def _read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file; None if there is no such file, or a longer one."""
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error(path, error) from error
        return data if len(data) <= limit else None

    def _write(self, path: str, data: bytes) -> None:
        target = self._folder / path
        beside = target.with_name(target.name + _NEW)
        try:
            self._make(target.parent)
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            beside.replace(target)
        except OSError as error:
            raise self._error(path, error) from error

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it up to the root of this one, each closed to others."""
        if folder != self._folder and self._folder in folder.parents:
            self._make(folder.parent)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)

    def _error(self, path: str, error: OSError) -> DiskError:
        return DiskError(
            f"{self._folder / path} cannot be used: {error.strerror or 'input/output error'}. Check the disk, the owner"
            " and the rights."
        )
