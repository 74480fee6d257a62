"""What opening checks needs of a case: the database that replay made, and the registry's versions beside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, final
from uuid import UUID

from riskshare.audit.basis import Stated
from riskshare.audit.fact import milliseconds, moment_of
from riskshare.errors import DiskError, InputError, RegistryError
from riskshare.registry import Registry
from riskshare.registry.network import MAX_FILE
from riskshare.store.case import Case

REGISTRY: Final = "registry"
"""The folder of the registry's versions, one file each."""

SEQUENCED: Final = timedelta(hours=24)
"""What was kept so long before the last checkpoint was cosigned is surely below it. A log that has stood still takes in
what waits in any order: so a check may stand in it before the exchanges that it rests on. As `reconcile`'s grace."""


@final
class OpenCase:
    """`open.Case` over one replayed case. Every method raises DiskError if it cannot be read."""

    def __init__(self, case: Case, folder: Path) -> None:
        """`folder` is the auditor's, in which `registry/<version>.json` lie."""
        self._case = case
        self._folder = folder / REGISTRY
        self._versions: dict[int, Registry | None] = {}

    def checks(self, member: str, opened: datetime | None, closed: datetime | None) -> Iterator[UUID]:
        """The ids of a member's checks, answered from `opened` on and before `closed` where these are given."""
        found = self._case.select(
            "select id from check_ where member = ? and answered_at >= ? and answered_at < ? order by idx",
            member,
            0 if opened is None else milliseconds(opened),
            2**62 if closed is None else milliseconds(closed),
        )
        return (UUID(bytes=id_) for (id_,) in found if len(id_) == 16)

    def stated(self, member: str, checks: frozenset[UUID]) -> dict[UUID, Stated]:
        """Those of the checks that stand in the member's log, as they are stated there."""
        found = self._case.select("select id, answered_at, record from check_ where member = ? order by idx", member)
        chosen: dict[UUID, Stated] = {}
        for id_, answered_at, record in found:
            check = UUID(bytes=id_) if len(id_) == 16 else None
            if check is not None and check in checks and check not in chosen:
                chosen[check] = Stated(check, moment_of(answered_at), record)
        return chosen

    def place(self, member: str, check: UUID) -> int | None:
        """The index of a check in the member's log; None if it is not there."""
        found = self._case.select("select min(idx) from check_ where member = ? and id = ?", member, check.bytes)
        return next((index for (index,) in found), None)

    def part(self, member: str) -> tuple[int, int] | None:
        """The period for which the member's log was replayed (milliseconds since 1970); None if it was not."""
        found = self._case.select("select opened, closed from log where member = ?", member)
        return next(((opened, closed) for opened, closed in found), None)

    def network(self) -> str:
        """The network, by the registry beside the case. Raises InputError: there is none."""
        for version in self._known():
            return version.network
        raise InputError(f"{self._folder} has no version of the registry. Replay the members' logs first.")

    def stands(self, member: str, receipt: bytes) -> bool:
        """Whether a receipt stands in a member's log."""
        sql = "select 1 from receipt where id = ? and member = ? limit 1"
        return any(True for _ in self._case.select(sql, receipt, member))

    def shows(self, member: str, at: datetime) -> bool:
        """Whether the part of the log that was replayed surely has what was kept at that time."""
        found = list(self._case.select("select opened, last_cosigned from log where member = ?", member))
        if not found or found[0][1] is None:
            return False
        opened, last = found[0]
        return bool(opened <= milliseconds(at) <= last - SEQUENCED // timedelta(milliseconds=1))

    def epoch_key(self, owner: str, epoch: bytes) -> bytes | None:
        """The public key of an epoch by the statement in its owner's own log."""
        sql = "select public_key from epoch where member = ? and owner = ? and digest = ? limit 1"
        return next((bytes(key) for (key,) in self._case.select(sql, owner, owner, epoch)), None)

    def owners(self, registry: int) -> frozenset[str]:
        """The owners in good standing in a version of the registry; nobody for one that is not here."""
        found = self._registry(registry)
        if found is None:
            return frozenset()
        return frozenset(member.name for member in found.with_role("owner") if member.in_good_standing)

    def identity_keys(self, member: str) -> tuple[bytes, ...]:
        """All identity keys that the newest version of the registry names for a member, old ones too."""
        for version in self._known():
            found = version.member(member)
            if found is not None:
                return tuple(term.public for term in found.identity)
        return ()

    def _known(self) -> Iterator[Registry]:
        """The versions that are here, newest first."""
        for path in sorted(self._folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem), reverse=True):
            found = self._registry(int(path.stem)) if path.stem.isdecimal() else None
            if found is not None:
                yield found

    def _registry(self, version: int) -> Registry | None:
        if version not in self._versions:
            self._versions[version] = self._read(self._folder / f"{version}.json")
        return self._versions[version]

    def _read(self, path: Path) -> Registry | None:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(f"{path} cannot be read: {error.strerror}. Check its owner and rights.") from error
        try:
            return Registry.from_file(data)
        except RegistryError:
            return None
