"""Filling an auditor's case: a folder of each member's log, and the registry's versions.

OUT/members/<member>/        the member's log with its statements (`audit.page`)
OUT/registry/<version>.json  every version of the registry that the auditor has
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import final

from riskshare.audit.collect import Collected, Collector, Missed, Progress, Wanted
from riskshare.audit.show import export_statements, part_of
from riskshare.cli.acting import Own
from riskshare.cli.exporting import write_log
from riskshare.cli.own_ledger import registry_in_force
from riskshare.client import LedgerClient
from riskshare.client.audits import AuditClient
from riskshare.errors import InputError, LedgerError
from riskshare.keys import make_private_directory
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.policy import network_policy
from riskshare.peer.opening import new_id, now
from riskshare.registry import Registry
from riskshare.store.log_folder import LogFolder


def member_folder(out: Path, member: str) -> Path:
    """Where a member's folder lies in a case."""
    return out / "members" / member


def registry_folder(out: Path) -> Path:
    """Where the versions of the registry lie in a case."""
    return out / "registry"


def members_to_audit(registry: Registry, auditor: str, chosen: Iterable[str]) -> list[str]:
    """The members named, each once; or, if none is, all that the auditor may audit by the registry, and itself.

    Raises:
        InputError: the auditor has no rights, or one is named that is no member.

    """
    own = registry.member(auditor)
    names = sorted(set(chosen))
    if unknown := [name for name in names if registry.member(name) is None]:
        raise InputError(
            f"The registry has no member {unknown[0][:63]!r}. It has: {', '.join(registry.members)}.",
            code="unknown_member",
        )
    rights = None if own is None else own.audit
    if rights is None:
        raise InputError(
            f"The registry gives {auditor} no right to audit. The governors give it: riskshare network audit.",
            code="no_audit_right",
        )
    return names or [name for name in registry.members if rights.over(name) or name == auditor]


async def collect_members(
    own: Own, out: Path, members: Sequence[str], wanted: Wanted, progress: Progress | None = None
) -> list[Collected | Missed]:
    """Collect from members into a case, one after another; who is down or refuses is missed, and no more.

    The auditor's own log comes from its own database. It is run again to go on where it was interrupted.

    Raises:
        ConfigError, RegistryError: the auditor's own keys or registry cannot be used.
        DiskError, StoreError: its own disk or database.

    """
    make_private_directory(out)
    registry = await registry_in_force(own)
    await _write_registries(own, out)
    found: list[Collected | Missed] = []
    async with AsyncExitStack() as stack:
        collector = await _collector(own, registry, stack)
        for member in members:
            folder = LogFolder(member_folder(out, member), private=True)
            if member == own.member.name:
                found.append(await _collect_own(own, wanted, folder))
            else:
                found += await collector.collect_all(wanted, [(member, folder)], progress)
    return found


async def _write_registries(own: Own, out: Path) -> None:
    folder = LogFolder(registry_folder(out), private=True)
    for row in await own.store.trust.registries():
        folder.write(f"{row.version}.json", row.file)


async def _collect_own(own: Own, wanted: Wanted, folder: LogFolder) -> Collected | Missed:
    name = own.member.name
    part = await part_of(own.store.ledger, own.store.audits, wanted.opened, wanted.closed)
    if part is None:
        return Missed(name, LedgerError("Nothing of this member's own log is final yet.", code="not_final"))
    try:
        await write_log(own, parse_signed(part.end.note), folder, None)
    except LedgerError as error:
        return Missed(name, error)
    pages, written = await export_statements(own.store.audits, part, folder)
    return Collected(name, b"", part.range.start, part.size, written, pages)


@final
class OneRegistry:
    """`client.remote.Registries`: one version, for as long as a command runs."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def current(self) -> Registry:
        """It."""
        return self._registry


@final
class _Logs:
    """`collect.Logs` over the client."""

    def __init__(self, client: LedgerClient) -> None:
        self.tile = client.tile


async def _collector(own: Own, registry: Registry, stack: AsyncExitStack) -> Collector:
    keys, registries = own.member.keys, OneRegistry(registry)
    files = keys.tls_certificate_file, keys.tls_key_file
    members = await stack.enter_async_context(
        AuditClient(registries=registries, certificate=files[0], key=files[1], now=now)
    )
    logs = await stack.enter_async_context(
        LedgerClient(registries=registries, certificate=files[0], key=files[1], now=now)
    )
    return Collector(
        auditor=own.member.name,
        identity=keys.identity,
        registry=registry,
        policy=lambda member: network_policy(registry, member, now()).to_bytes(),
        members=members,
        logs=_Logs(logs),
        requests=own.store.audits,
        now=now,
        new_id=new_id,
        random=secrets.token_bytes,
    )
