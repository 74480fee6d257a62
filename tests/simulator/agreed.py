"""Settlements that two members sign, of receipts at hand, honestly or not."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from riskshare.audit.fact import read_receipt
from riskshare.audit.proposal import Proposal
from riskshare.audit.settlement import Settlement, Tally, version_of
from riskshare.encoding import format_time, parse_canonical_json
from riskshare.ledger.receipt import Receipt
from tests.simulator.casefolder import CaseNetwork


def settle(
    case: CaseNetwork, pair: Iterable[str], opened: datetime, closed: datetime, receipts: Iterable[Receipt]
) -> Proposal:
    """What both sign if these are their receipts of the period; others among them are left out."""
    first, second = sorted(pair)
    history = case.network.history
    newest = [version for version in history if version.issued_at < closed][-1]
    rows = sorted((read_receipt(receipt.to_bytes()).exchange, receipt) for receipt in set(receipts))

    def direction(owner: str, querier: str):
        found = (version_of(version, owner, querier) for version in history)
        tally = Tally(owner, querier, [version for version in found if version is not None])
        for row, receipt in rows:
            at = parse_canonical_json(receipt.answer, limit=1 << 16)["answered_at"]
            if (row.owner, row.querier) == (owner, querier) and format_time(opened) <= at < format_time(closed):
                tally.add(row.id, row.count, row.registry, at)
        return tally.direction()

    directions = direction(first, second), direction(second, first)
    made = Settlement(case.network.name, opened, closed, newest.version, newest.currency, directions)
    proposal = Proposal.of(made)
    for name in (first, second):
        proposal = proposal.signed(name, case.key(name))
    return proposal


def log_settlement(case: CaseNetwork, proposal: Proposal, *members: str) -> None:
    """Put it into the logs of both, or of those named."""
    for name in members or proposal.settlement.members:
        case.logs[name].add("settlement", proposal.json, case.now, signature=proposal.first + proposal.second)


def receipts_of(case: CaseNetwork, member: str) -> list[Receipt]:
    """All receipts in a member's log."""
    return [Receipt.from_bytes(row.statement) for row in case.logs[member].of("receipt")]
