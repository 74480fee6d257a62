"""The work of `audit open`: choose checks of a replayed log, have them opened, recompute them, report."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from riskshare.audit.access import Sample
from riskshare.audit.basis import Stated
from riskshare.audit.fact import moment_of
from riskshare.audit.open import Opener, Peers
from riskshare.audit.open import Progress as Told
from riskshare.audit.open_report import About, open_report
from riskshare.audit.report import Report
from riskshare.audit.sample import SEED_BYTES, Drawn, draw
from riskshare.audit.sources import Owners, Sources
from riskshare.audit.visit import Visits
from riskshare.cli.acting import opened
from riskshare.cli.auditing_collect import OneRegistry
from riskshare.cli.auditing_contradictions import write_contradictions
from riskshare.cli.auditing_screen import show, show_written
from riskshare.cli.own_ledger import registry_in_force
from riskshare.cli.periods import read_period
from riskshare.cli.screen import Screen
from riskshare.client import PeerClient
from riskshare.client.audits import AuditClient
from riskshare.encoding import parse_hex
from riskshare.errors import EncodingError, InputError
from riskshare.logs import configure
from riskshare.metrics import Metrics
from riskshare.peer.opening import new_id, now
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.files import SegmentFiles
from riskshare.store.open_case import OpenCase
from riskshare.store.open_folder import OpenFolder
from riskshare.store.reports import write_report

SEGMENTS: Final = "segments"
"""The folder of segment files, in that of the audit."""

_PHASES: Final = {"records": "Opening", "proofs": "Proving", "checks": "Recomputing"}


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of the command, as they were given."""

    out: Path
    member: str
    checks: tuple[str, ...]
    sample: int
    seed: str = field(repr=False)
    since: str
    until: str
    reason: str
    config: Path
    offline: bool


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The checks to be opened, in their order; `seed` is b"" where they were named."""

    drawn: Drawn
    seed: bytes
    period: tuple[datetime, datetime]
    stated: Mapping[UUID, Stated]

    @property
    def known(self) -> list[Stated]:
        return [self.stated[check] for check in self.drawn.checks if check in self.stated]

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(str(check) for check in self.drawn.checks if check not in self.stated)

    @property
    def sample(self) -> Sample | None:
        return Sample(self.seed, len(self.drawn.checks), self.drawn.population) if self.seed else None


def open_checks(wish: Wish, *, json: bool) -> int:
    """Open checks, write the report, show it; the exit code.

    Raises:
        InputError: the options do not go together, or the folder holds no replayed log of the member.
        ConfigError, RegistryError, StoreError: the auditor's own things.
        DiskError: the folder cannot be used.

    """
    screen = Screen(as_json=json)
    configure("warning", "console")
    path = wish.out / FILE_NAME
    if not path.is_file():
        raise InputError(f"{wish.out} holds no audit. Make it: riskshare audit replay --out {wish.out}.")
    with Case.open(path) as case:
        facts = OpenCase(case, wish.out)
        chosen = _choose(wish, facts)
        work = _Work(wish, facts, chosen, screen)
        report = asyncio.run(work.open("", None, None) if wish.offline else work.open_online())
    written = write_report(wish.out, report)
    show(report, screen)
    show_written(written, screen)
    return report.exit_code


# -- which checks ------------------------------------------------------------------------------------


def _choose(wish: Wish, facts: OpenCase) -> _Chosen:
    """The checks that are named, or drawn. Raises InputError."""
    part = facts.part(wish.member)
    if part is None:
        raise InputError(
            f"The log of {wish.member[:63]} was not replayed here. Replay it first.", code="unknown_member"
        )
    if bool(wish.checks) == bool(wish.sample):
        raise InputError("Name checks with --check, or have some drawn with --sample: one of the two.")
    if wish.checks and (wish.seed or wish.since or wish.until):
        raise InputError("A seed and a period belong to a sample, not to checks that are named.")
    period = _period(wish, part)
    seed = b""
    if wish.checks:
        named = tuple(dict.fromkeys(map(_check_id, wish.checks)))
        drawn = Drawn(named, len(named))
    else:
        seed = _seed(wish.seed)
        drawn = draw(facts.checks(wish.member, *period), seed, wish.sample)
        if not drawn.population:
            raise InputError(f"The log of {wish.member} has no check in that period.", code="not_found")
    return _Chosen(drawn, seed, period, facts.stated(wish.member, frozenset(drawn.checks)))


def _period(wish: Wish, part: tuple[int, int]) -> tuple[datetime, datetime]:
    """The period that is drawn from: the one given, or that of the replay. Raises InputError."""
    if bool(wish.since) != bool(wish.until):
        raise InputError("A period has a beginning and an end: give both --from and --to.")
    if wish.since:
        return read_period(wish.since, wish.until)
    return moment_of(part[0]), moment_of(part[1])


def _check_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError(
            "This is no id of a check. It is a UUID, and stands in the answer of riskshare check."
        ) from None


def _seed(text: str) -> bytes:
    if not text:
        return secrets.token_bytes(SEED_BYTES)
    try:
        return parse_hex(text.lower(), SEED_BYTES)
    except EncodingError as error:
        raise InputError("A seed is 32 bytes in hex: 64 digits. Draw it after the period.") from error


# -- opening them ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """One run of the command."""

    wish: Wish
    facts: OpenCase
    chosen: _Chosen
    screen: Screen

    async def open_online(self) -> Report:
        """Open the checks by requests in the auditor's name."""
        async with AsyncExitStack() as stack:
            own = await stack.enter_async_context(opened(self.wish.config, self.screen))
            registry = await registry_in_force(own)
            held, keys = OneRegistry(registry), own.member.keys
            crt, key = keys.tls_certificate_file, keys.tls_key_file
            members = AuditClient(registries=held, certificate=crt, key=key, now=now)
            owners = PeerClient(registries=held, certificate=crt, key=key, now=now, metrics=Metrics())
            visits = Visits(
                auditor=own.member.name,
                identity=keys.identity,
                registry=registry,
                members=await stack.enter_async_context(members),
                requests=own.store.audits,
                reason=self.wish.reason,
                sample=self.chosen.sample,
                now=now,
                new_id=new_id,
                random=secrets.token_bytes,
            )
            return await self.open(own.member.name, visits, await stack.enter_async_context(owners))

    async def open(self, made_by: str, peers: Peers | None, owners: Owners | None) -> Report:
        """Open the checks; of the folder alone, where there is nobody to ask."""
        chosen, facts = self.chosen, self.facts
        shelf = OpenFolder(self.wish.out)
        network = facts.network()
        lists = Sources(
            network=network,
            keys=facts.identity_keys,
            shelf=shelf,
            files=SegmentFiles(self.wish.out / SEGMENTS),
            owners=owners,
            now=now,
        )
        opener = Opener(self.wish.member, case=facts, shelf=shelf, lists=lists, peers=peers)
        with _bar(self.screen) as progress:
            found = await opener.open(chosen.known, progress)
        about = About(
            network=network,
            made_by=made_by,
            made_at=now(),
            opened=chosen.period[0],
            closed=chosen.period[1],
            drawn=chosen.drawn,
            seed=chosen.seed,
            unknown=chosen.unknown,
            again=(_again(self.wish, chosen),),
        )
        proofs = write_contradictions(found, self.wish.out, facts)
        return open_report(found, about, shelf.digest, proofs)


def _again(wish: Wish, chosen: _Chosen) -> str:
    """The command that verifies the folder again, from inside of it."""
    which = [f"--check {check}" for check in chosen.drawn.checks]
    if chosen.seed:
        which = [f"--sample {wish.sample} --seed {chosen.seed.hex()}"]
        if wish.since:
            which.append(f"--from {wish.since} --to {wish.until}")
    return " ".join(["riskshare audit open --out . --offline --member", wish.member, *which])


@contextmanager
def _bar(screen: Screen) -> Iterator[Told]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        tasks = {phase: bar.add_task(words, total=None) for phase, words in _PHASES.items()}
        yield lambda phase, done, of: bar.update(tasks[phase], completed=done, total=of)
