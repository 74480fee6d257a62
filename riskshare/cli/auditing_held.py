"""Gathering the snapshots that asks name and no owner's log has, at the end of `audit replay`.

They lie in OUT/held. Offline they come from the folders `held` beside the members' logs: `ledger export` writes those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from riskshare.audit.collect import patiently
from riskshare.audit.gather import Gathered, Gatherer, Holders, Unlogged
from riskshare.audit.report import Figure, Report
from riskshare.audit.versions import Versions
from riskshare.cli.acting import Own, opened
from riskshare.cli.auditing_collect import OneRegistry, member_folder
from riskshare.cli.screen import Screen
from riskshare.client.accounting import AccountingClient
from riskshare.errors import PeerRefused
from riskshare.peer.opening import now
from riskshare.registry import Registry
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.case_folders import CaseFolders, read_held
from riskshare.store.crosscheck import CrossCheck


@final
class _Peers:
    """`gather.Holders`: the other members' peers, and the auditor's own database."""

    def __init__(self, own: Own, client: AccountingClient) -> None:
        self._own = own
        self._client = client

    async def held(self, member: str, digest: bytes) -> bytes | None:
        if member == self._own.member.name:
            return await self._own.store.trust.held(digest)
        try:
            return await patiently(lambda: self._client.held_statement(member, digest))
        except PeerRefused as error:
            if error.status == 404:
                return None
            raise


@final
class _Folders:
    """`gather.Holders`: what lies in the members' folders of a case."""

    def __init__(self, out: Path) -> None:
        self._out = out

    async def held(self, member: str, digest: bytes) -> bytes | None:
        return read_held(member_folder(self._out, member), digest)


def gather_online(out: Path, chain: Sequence[Registry], config: Path, screen: Screen) -> Gathered | None:
    """Ask the members for the snapshots that the replayed case wants; None if it wants none.

    Raises:
        ConfigError, RegistryError: the auditor's own keys or registry cannot be used.
        DiskError, StoreError: its own disk or database.

    """
    return asyncio.run(_online(out, chain, config, screen)) if _wants(out) else None


async def _online(out: Path, chain: Sequence[Registry], config: Path, screen: Screen) -> Gathered:
    async with opened(config, screen) as own:
        files = own.member.keys.tls_certificate_file, own.member.keys.tls_key_file
        async with AccountingClient(
            registries=OneRegistry(chain[-1]), certificate=files[0], key=files[1], now=now
        ) as client:
            return await _gather(out, chain, _Peers(own, client))


def gather_offline(out: Path, chain: Sequence[Registry]) -> Gathered | None:
    """As `gather_online`, from the members' folders in the case."""
    return asyncio.run(_gather(out, chain, _Folders(out))) if _wants(out) else None


async def _gather(out: Path, chain: Sequence[Registry], holders: Holders) -> Gathered:
    gatherer = Gatherer(holders, CaseFolders(out), Versions(tuple(chain)), tuple(chain[-1].members))
    with Case.open(out / FILE_NAME) as case:
        return await gatherer.gather(_unlogged(case))


def _wants(out: Path) -> bool:
    with Case.open(out / FILE_NAME) as case:
        return any(True for _ in _unlogged(case))


def _unlogged(case: Case) -> Iterator[Unlogged]:
    for owner, digest, queriers in CrossCheck(case).rows("unlogged_snapshots"):
        yield Unlogged(owner, digest, tuple(sorted(queriers.split(","))))


def with_gathered(report: Report, found: Gathered | None) -> Report:
    """Say in a replay's report what was gathered. What nobody shows is no fault: `reconcile` counts it."""
    if found is None:
        return report
    figure = Figure("Snapshots on no owner's log, shown by members", f"{found.shown:,} of {found.named:,}")
    limits = list(report.limits)
    if found.left:
        limits.append(
            f"Of the snapshots that asks name and no owner's log has, {found.left:,} were not asked for: they are too"
            " many for one run. Audit a shorter period."
        )
    if found.silent:
        limits.append(
            f"Asked for snapshots that no owner's log has, these could not be reached: {', '.join(found.silent)}. Run"
            " it again when they can."
        )
    return replace(report, figures=(*report.figures, figure), limits=tuple(limits))
