"""What evidence against a settlement shows, by the registry alone (pure).

The first entry is the settlement in the log of the accused, the second one of that log that says how far it is: behind
the settlement, the receipts of the file are all that the log has; before it, they are older by the grace, and stand
before the settlement in both logs. Which receipts stand where has to be replayed: `Contradiction.replay` says what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from riskshare.audit import rules
from riskshare.audit.contradicted import Share, Sums, contradicts, sums_of
from riskshare.audit.evidence import Seen
from riskshare.audit.fact import Exchange, milliseconds, moment_of
from riskshare.audit.judging import no_proof, own_time, signer_of
from riskshare.audit.settlement import KIND, Direction, Settlement
from riskshare.audit.versions import Versions
from riskshare.encoding import sha256
from riskshare.signature import SIGNATURE_BYTES
from riskshare.statement import signed_bytes


class Contradiction(NamedTuple):
    """What is shown, and what has to be replayed to see that it is so."""

    sentence: str
    replay: str


def contradiction(
    settled: Seen, later: Seen, receipts: Iterable[Exchange], grace: int, versions: Versions
) -> Contradiction:
    """What receipts (each once) show of a settlement that the member in whose log it stands signed.

    Raises:
        EncodingError, LedgerError: they show nothing; code `no_proof`.

    """
    settlement = _signed(settled, versions)
    if later.log.checkpoint != settled.log.checkpoint:
        raise no_proof("The two entries of the evidence are not of one log.")
    found = sorted(receipts)
    share: Share = "whole" if later.entry.index > settled.entry.index else "before"
    at = own_time(later.entry.kind, later.entry.statement)
    newest = milliseconds(settlement.closed) if share == "whole" else max((one.answered_at for one in found), default=0)
    if at < newest + grace:
        raise no_proof("The log of the accused is not shown to be beyond the receipts by the grace.")
    sums = sums_of((one.id, one.count) for one in found)
    for direction in settlement.directions:
        if all(_counts(one, direction, settlement) for one in found) and contradicts(direction, sums, share):
            return Contradiction(_sentence(settled, direction, sums), _replay(settled, direction, share, grace))
    raise no_proof("The receipts do not contradict the settlement.")


def _signed(settled: Seen, versions: Versions) -> Settlement:
    entry, accused = settled.entry, settled.entry.member
    if entry.kind != KIND:
        raise no_proof("The evidence shows no settlement in the log of the accused.")
    settlement = Settlement.from_json(entry.statement)
    if accused not in settlement.members or len(entry.signature) != 2 * SIGNATURE_BYTES:
        raise no_proof("The settlement is not one that the accused and another member signed.")
    place = settlement.members.index(accused) * SIGNATURE_BYTES
    message = signed_bytes(KIND, versions.network, entry.statement)
    signer = signer_of(versions.newest.member(accused), message, entry.signature[place : place + SIGNATURE_BYTES])
    if signer is None or signer.is_void(moment_of(settled.by)):
        raise no_proof("The accused did not sign the settlement.")
    return settlement


def _counts(one: Exchange, direction: Direction, settlement: Settlement) -> bool:
    """Whether a receipt is one of a direction and of the period, and holds."""
    within = milliseconds(settlement.opened) <= one.answered_at < milliseconds(settlement.closed)
    return rules.proves(one) and within and (one.owner, one.querier) == (direction.owner, direction.querier)


def _sentence(settled: Seen, direction: Direction, sums: Sums) -> str:
    return (
        f"{settled.entry.member} signed the settlement {sha256(settled.entry.statement).hex()}, which counts"
        f" {direction.receipts:,} exchanges {_pair(direction)}, of {direction.evaluations:,} elements. Its log has"
        f" {sums.receipts:,} that are not those, of {sums.evaluations:,} elements."
    )


def _pair(direction: Direction) -> str:
    return f"of {direction.querier} with {direction.owner}"


def _replay(settled: Seen, direction: Direction, share: Share, grace: int) -> str:
    checkpoint, hours = settled.log.checkpoint, f"{grace / rules.HOUR:g} hours"
    log = f"the log of {settled.entry.member} up to {checkpoint.size:,} entries, root {checkpoint.root.hex()}"
    if share == "whole":
        return (
            f"Replay {log}: of the period it has no other exchanges {_pair(direction)}, though it reaches {hours}"
            " beyond."
        )
    return (
        f"Replay {log}, and that of the other member: these exchanges stand before the settlement (here entry"
        f" {settled.entry.index:,}) in both, and are {hours} older."
    )
