"""What an auditor has audited before: of each member the checkpoints up to which its log was found to hold.

One JSON file in a folder of the auditor's own, replaced in one step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from riskshare.audit.replayed import AuditedBefore
from riskshare.encoding import base64_text, canonical_json, format_time, parse_base64, parse_canonical_json, parse_time
from riskshare.errors import DiskError, InputError
from riskshare.ledger.note import MAX_BYTES as MAX_NOTE
from riskshare.names import check_member_name

FILE_NAME: Final = "audited.json"
KEPT: Final = 100
"""Most checkpoints that are kept of one member: the newest."""

_MAX: Final = 1 << 30
_KEYS: Final = frozenset({"audited_at", "note"})


@final
class AuditedLogs:
    """The checkpoints audited before, in `folder`/audited.json. Methods raise DiskError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def before(self, member: str) -> list[AuditedBefore]:
        """The checkpoints of a member's log that were audited, oldest audit first.

        Raises:
            InputError: the file is damaged: an audit must not begin as if it were the first.

        """
        return self._read().get(member, [])

    def keep(self, member: str, audited: AuditedBefore) -> None:
        """Add one, unless its note is kept already. Raises InputError, as `before`."""
        known = self._read()
        kept = known.setdefault(member, [])
        if any(one.note == audited.note for one in kept):
            return
        kept.append(audited)
        del kept[:-KEPT]
        self._write(known)

    def _read(self) -> dict[str, list[AuditedBefore]]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        try:
            body = parse_canonical_json(data, limit=_MAX)
            return {check_member_name(member): [_audited(one) for one in notes] for member, notes in body.items()}
        except (InputError, TypeError) as error:
            raise InputError(
                f"{self._path} is damaged: it says what was audited before. Restore it from a backup, or remove it if"
                " this audit may begin anew.",
                code="audited_damaged",
            ) from error

    def _write(self, known: Mapping[str, list[AuditedBefore]]) -> None:
        body = {
            member: [{"audited_at": format_time(one.audited_at), "note": base64_text(one.note)} for one in notes]
            for member, notes in known.items()
        }
        beside = self._path.with_name(FILE_NAME + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with beside.open("wb") as file:
                file.write(canonical_json(body))
                file.flush()
                os.fsync(file.fileno())
            beside.chmod(0o600)
            beside.replace(self._path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> DiskError:
        return DiskError(f"{self._path} cannot be used: {error.strerror or 'input/output error'}.")


def _audited(value: Any) -> AuditedBefore:
    if type(value) is not dict or value.keys() != _KEYS:
        raise InputError("An audited checkpoint has not exactly the fields of one.")
    return AuditedBefore(parse_base64(value["note"], limit=MAX_NOTE), parse_time(value["audited_at"]))
