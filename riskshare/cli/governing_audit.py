"""The work of `network audit`."""

from __future__ import annotations

from dataclasses import dataclass
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
    back = "" if rights.read_days is None else f"; logs of the last {rights.read_days:,} days"
    return f"{who}; {rights.open_per_day:,} checks a day may be opened at each{back}"


@dataclass(frozen=True, slots=True)
class AuditWish:
    """What is to be changed, None for what stays: `members` are names with commas between them."""

    members: str | None
    everybody: bool
    open_per_day: int | None
    read_days: int | None


def change_audit_rights(directory: Path, name: str, wish: AuditWish, *, json: bool) -> None:
    """Sign the next version with other rights of an auditor.

    Raises:
        InputError: nothing is to be changed, or both `members` and `everybody` are given.
        ConfigError, RegistryError, DiskError: as `oversight.set_audit_rights`.

    """
    screen = Screen(as_json=json)
    if wish.everybody and wish.members is not None:
        raise InputError("Give either --members or --all.")
    if not wish.everybody and all(part is None for part in (wish.members, wish.open_per_day, wish.read_days)):
        raise InputError("Say what changes: --members NAMES or --all, --open-per-day N, or --read-days N.")
    named = None if wish.members is None else [part.strip() for part in wish.members.split(",") if part.strip()]
    registry = set_audit_rights(
        directory,
        name,
        now=now(),
        everybody=wish.everybody,
        members=named,
        open_per_day=wish.open_per_day,
        read_days=wish.read_days,
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
