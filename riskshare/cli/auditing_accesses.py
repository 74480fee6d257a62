"""The work of `audit accesses`: who saw what of this member's records."""

from __future__ import annotations

import asyncio
from pathlib import Path

from riskshare.api_models import AuditModel
from riskshare.cli.acting import opened
from riskshare.cli.screen import Screen, counted, exact, minute
from riskshare.peer.auditing import MOST, audit_model


def show_accesses(config_file: Path, *, json: bool) -> None:
    """Show the last requests of auditors, newest first. Raises ConfigError, RegistryError, StoreError."""
    screen = Screen(as_json=json)
    found = asyncio.run(_accesses(config_file, screen))
    screen.result({"audits": [each.model_dump(mode="json") for each in found]})
    if not found:
        screen.say("Nobody has asked to see records of this member, and it asked nobody.")
        return
    columns = ("when", "auditor", "of", "action", "what", "why")
    screen.table(columns, [_row(each) for each in found])
    if len(found) == MOST:
        screen.say(f"These are the last {MOST:,}.")


async def _accesses(config_file: Path, screen: Screen) -> list[AuditModel]:
    async with opened(config_file, screen) as own:
        return [audit_model(row) for row in await own.store.audits.newest(MOST)]


def _row(each: AuditModel) -> tuple[str, ...]:
    return (minute(each.kept_at), each.auditor, each.member, each.action, _what(each), each.reason)


def _what(each: AuditModel) -> str:
    if each.opened is not None and each.closed is not None:
        return f"{exact(each.opened)} to {exact(each.closed)}"
    if each.receipts:
        return counted(each.receipts, "receipt")
    if each.checks:
        drawn = "" if each.sampled_of is None else f", drawn from {each.sampled_of:,}"
        return counted(each.checks, "check") + drawn
    return "its own records"
