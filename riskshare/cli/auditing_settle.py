"""The work of `audit settle`: settle a period with other members, and write what was agreed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

from riskshare.audit.payment import Account, Party, payment_order, read_account
from riskshare.audit.proposal import Disputed, Proposal
from riskshare.audit.report import Figure, Report, Step, Table
from riskshare.audit.settle import Dispute, Settler
from riskshare.audit.settlement import Settlement, plain
from riskshare.audit.settlement_csv import settlement_csv
from riskshare.cli.acting import Own, opened
from riskshare.cli.auditing_screen import show, show_written
from riskshare.cli.periods import read_period
from riskshare.cli.screen import Screen
from riskshare.client.settlements import SettlementClient
from riskshare.encoding import canonical_json
from riskshare.errors import ConfigError, DiskError, InputError, PeerError, PeerRefused, RegistryError
from riskshare.names import check_member_name
from riskshare.peer.directory import Directory, directory_of
from riskshare.peer.opening import now
from riskshare.peer.settling import Versions, settler
from riskshare.registry import Registry
from riskshare.store.reports import write_report

LIMITS: Final = (
    "A settlement counts the exchanges that both members keep; one that both leave out is in no settlement.",
    "A signature under a settlement says that both sides count the same, not that the evaluations were worth it.",
)
_LASTING: Final = frozenset({"settlement_overlap", "settlement_period"})
"""Refusals of a period as it is."""

_COLUMNS: Final = ("owner", "querier", "batch", "ours", "our count", "theirs", "their count", "answered at")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: a period as typed, with whom (empty: all with whom there were exchanges), what to write."""

    since: str
    until: str
    members: tuple[str, ...]
    out: Path | None
    accounts: tuple[str, ...]


Found = Proposal | Dispute | PeerError | RegistryError | InputError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of settling with one member: agreed, in dispute, or not possible now."""

    member: str
    found: Found


def settle(config_file: Path, wish: Wish, *, json: bool) -> int:
    """Settle with each member, show and write the outcome, and give the exit code: 1 dispute, 3 not reachable.

    Raises:
        InputError: the period, a member or an account is not usable; a part of the period is settled already.
        ConfigError: accounts are given and no folder, or an account is missing for a payment that is ours to make.
        RegistryError, StoreError, DiskError: as `audit.settle`.

    """
    period = read_period(wish.since, wish.until)
    accounts = {account.member: account for account in map(read_account, wish.accounts)}
    if accounts and wish.out is None:
        raise ConfigError("A payment order is written into a folder: give --out too.")
    members = [check_member_name(member) for member in dict.fromkeys(wish.members)]
    return asyncio.run(_settle(config_file, period, members, wish.out, accounts, Screen(as_json=json)))


async def _settle(  # noqa: PLR0917 - what the command line says, in its order
    config_file: Path,
    period: tuple[datetime, datetime],
    members: Sequence[str],
    out: Path | None,
    accounts: dict[str, Account],
    screen: Screen,
) -> int:
    async with opened(config_file, screen) as own:
        directory = await directory_of(own.member, own.store)
        if not members:
            members = await own.store.settlements.counterparties(period[0])
        with screen.err.status("Counting receipts …") as status:
            counted = 0

            def progress(count: int) -> None:
                nonlocal counted
                counted += count
                status.update(f"Counting receipts … {counted:,}")

            ours = settler(own.member, own.store, Versions(directory, own.store.trust), progress)
            outcomes = await _with_each(own, ours, directory, period, members)
        registry = directory.current()
    report = _report(own.member.name, registry, period, outcomes)
    show(report, screen)
    if out is not None:
        _write(out, outcomes)
        show_written(write_report(out, report), screen)
    if out is not None and accounts:
        _write_payments(out, own.member.name, registry, outcomes, accounts)
    return report.exit_code


async def _with_each(
    own: Own, ours: Settler, directory: Directory, period: tuple[datetime, datetime], members: Sequence[str]
) -> list[Outcome]:
    keys = own.member.keys
    client = SettlementClient(
        registries=directory, certificate=keys.tls_certificate_file, key=keys.tls_key_file, now=now
    )
    async with client:
        outcomes = []
        for member in members:
            found: Found
            try:
                found = await ours.settle(member, *period, client)
            except (PeerError, RegistryError) as error:
                found = error
            except InputError as error:
                if error.code != "settlement_overlap":
                    raise
                found = error
            outcomes.append(Outcome(member, found))
        return outcomes


# --- the report ---------------------------------------------------------------------------------------


def _report(member: str, registry: Registry, period: tuple[datetime, datetime], outcomes: Sequence[Outcome]) -> Report:
    agreed = [one.found for one in outcomes if isinstance(one.found, Proposal)]
    disputes = [one.found for one in outcomes if isinstance(one.found, Dispute)]
    tables = [_amounts(agreed)] if agreed else []
    tables += [table for dispute in disputes for table in _dispute_tables(dispute, member)]
    return Report(
        command="settle",
        title=f"Settlement of {member}",
        network=registry.network,
        made_by=member,
        made_at=now(),
        opened=period[0],
        closed=period[1],
        members=tuple(one.member for one in outcomes),
        figures=(
            Figure("Settled", f"{len(agreed):,}"),
            Figure("In dispute", f"{len(disputes):,}"),
            Figure("Evaluations settled", f"{sum(_evaluations(one.settlement) for one in agreed):,}"),
        ),
        steps=tuple(_step(number, one) for number, one in enumerate(outcomes, 1)),
        tables=tuple(tables),
        limits=LIMITS,
    )


def _evaluations(settlement: Settlement) -> int:
    return sum(direction.evaluations for direction in settlement.directions)


def _step(number: int, outcome: Outcome) -> Step:
    place, found = f"{number}.{outcome.member}", outcome.found
    if isinstance(found, Proposal):
        payer, payee, amount = found.settlement.net
        paid = f"{payer} pays {payee} {amount:f} {found.settlement.currency}" if payer else "nobody owes anything"
        return Step(
            place,
            f"both members have signed what {outcome.member} and we owe",
            "holds",
            sum(direction.receipts for direction in found.settlement.directions),
            f"{paid}; settlement {found.settlement.digest.hex()}.",
        )
    if isinstance(found, Dispute):
        return Step(
            place,
            f"both members count the same with {outcome.member}",
            "fails",
            sum(direction.receipts for direction in found.ours.directions),
            f"{found.only_ours:,} receipts only we keep, {found.only_theirs:,} only {outcome.member} keeps: they are"
            " named below. Nothing was signed by both.",
        )
    refused = found.remote_code if isinstance(found, PeerRefused) else ""
    code = f" ({refused})" if refused else ""
    again = "" if _LASTING & {found.code, refused} else " Settle again later."
    return Step(place, f"settle with {outcome.member}", "skipped", 0, f"{found.message}{code}{again}")


def _amounts(agreed: Sequence[Proposal]) -> Table:
    rows = []
    for settlement in (one.settlement for one in agreed):
        for one in settlement.directions:
            rows += [
                (
                    one.querier,
                    one.owner,
                    str(line.registry),
                    f"{line.receipts:,}",
                    f"{line.evaluations:,}",
                    line.price,
                    plain(line.amount),
                    settlement.currency,
                )
                for line in one.lines
            ]
            if one.busiest is not None:
                used = f"of {one.busiest.per_day:,} on {one.busiest.day}"
                rows.append((one.querier, one.owner, "quota", "", f"{one.busiest.evaluations:,}", "", used, ""))
        payer, payee, amount = settlement.net
        rows.append((payer or "-", payee or "-", "net", "", "", "", f"{amount:f}", settlement.currency))
    columns = ("pays", "is paid", "registry", "receipts", "evaluations", "price", "amount", "currency")
    return Table("What is owed", columns, tuple(rows))


def _dispute_tables(dispute: Dispute, member: str) -> list[Table]:
    other = dispute.ours.with_other(member)
    sides = []
    for who, settlement in ((member, dispute.ours), (other, dispute.theirs)):
        sides += [
            (who, one.querier, one.owner, f"{one.receipts:,}", f"{one.evaluations:,}", plain(one.owed))
            for one in settlement.directions
        ]
    columns = ("says", "querier", "owner", "receipts", "evaluations", "owed")
    named = tuple(map(_disputed_row, dispute.receipts))
    return [
        Table(f"What {member} and {other} count", columns, tuple(sides)),
        Table(f"Receipts in which {member} (ours) and {other} (theirs) differ", _COLUMNS, named),
    ]


def _disputed_row(one: Disputed) -> tuple[str, ...]:
    ours, theirs = one.ours, one.theirs
    known = ours or theirs
    return (
        one.owner,
        one.querier,
        str(one.batch),
        ours.id.hex() if ours else "-",
        str(ours.count) if ours else "-",
        theirs.id.hex() if theirs else "-",
        str(theirs.count) if theirs else "-",
        known.answered_at if known else "-",
    )


# --- files ----------------------------------------------------------------------------------------------


def _write(out: Path, outcomes: Sequence[Outcome]) -> None:
    """The agreed settlements, signed and as CSV."""
    for one in outcomes:
        if isinstance(one.found, Proposal):
            _save(out / f"{one.member}.settlement.json", _signed_json(one.found))
            _save(out / f"{one.member}.csv", settlement_csv(one.found.settlement).encode())


def _write_payments(
    out: Path, member: str, registry: Registry, outcomes: Sequence[Outcome], accounts: dict[str, Account]
) -> None:
    """A payment order for each agreed settlement that is ours to pay."""
    for one in outcomes:
        if isinstance(one.found, Proposal) and one.found.settlement.net[0] == member:
            _save(out / f"{one.member}.pain.001.xml", _payment(one.found.settlement, registry, accounts))


def _signed_json(agreed: Proposal) -> bytes:
    """The statement with both signatures, by member."""
    one, other = agreed.settlement.members
    return canonical_json(
        {
            "signatures": {one: agreed.first.hex(), other: agreed.second.hex()},
            "statement": agreed.settlement.body(),
        }
    )


def _payment(settlement: Settlement, registry: Registry, accounts: dict[str, Account]) -> bytes:
    payer, payee, _ = settlement.net
    parties = []
    for name in (payer or "", payee or ""):
        found = registry.member(name)
        if name not in accounts or found is None:
            raise ConfigError(
                f"The payment order needs an account of {name}: give --account {name}=ACCOUNT@BANK. The settlement is"
                " signed and kept; run the command again."
            )
        parties.append(Party(found.title, accounts[name]))
    moment = now()
    pay_on: date = moment.date()
    return payment_order(settlement, *parties, made_at=moment.replace(microsecond=0), pay_on=pay_on)


def _save(file: Path, data: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_bytes(data)
    except OSError as error:
        raise DiskError(f"{file} cannot be written: {error.strerror}.") from error
