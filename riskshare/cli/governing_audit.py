"""The work of `network audit`."""

from __future__ import annotations

from pathlib import Path

from riskshare.cli.screen import Screen, day
from riskshare.errors import InputError
from riskshare.governance import NETWORK_FILE
from riskshare.oversight import set_audit_rights
from riskshare.peer.opening import now
from riskshare.registry import AuditRights, Registry


def audit_rights_text(rights: AuditRights | None) -> str:
    """An auditor's rights, for a person."""
    if rights is None or rights.members == ():
        return "nobody"
    who = "all members" if rights.members is None else ", ".join(rights.members)
    return f"{who}; {rights.open_per_day:,} checks a day may be opened at each"


def change_audit_rights(
    directory: Path, name: str, *, members: str | None, everybody: bool, open_per_day: int | None, json: bool
) -> None:
    """Sign the next version with other rights of an auditor. `members` are names with commas between them.

    Raises:
        InputError: nothing is to be changed, or both `members` and `everybody` are given.
        ConfigError, RegistryError, DiskError: as `oversight.set_audit_rights`.

    """
    screen = Screen(as_json=json)
    if everybody and members is not None:
        raise InputError("Give either --members or --all.")
    if not everybody and members is None and open_per_day is None:
        raise InputError("Say what changes: --members NAMES or --all, or --open-per-day N.")
    named = None if members is None else [part.strip() for part in members.split(",") if part.strip()]
    registry = set_audit_rights(
        directory, name, now=now(), everybody=everybody, members=named, open_per_day=open_per_day
    )
    _tell(registry, name, directory, screen)


def _tell(registry: Registry, name: str, directory: Path, screen: Screen) -> None:
    rights = registry.members[name].audit
    screen.result(
        {
            "version": registry.version,
            "digest": registry.digest.hex(),
            "network_file": str(directory / NETWORK_FILE),
            "member": name,
            "audit": None if rights is None else rights.body(),
        }
    )
    screen.say(f"Registry version {registry.version} is signed, valid until {day(registry.expires_at)}.", "green")
    screen.pairs(
        [
            ("auditor", name),
            ("may audit", audit_rights_text(rights)),
            ("registry", str(directory / NETWORK_FILE)),
            ("digest", registry.digest.hex()),
        ]
    )
