"""The report of opened checks (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from riskshare.audit.basis import Fault
from riskshare.audit.finding import Evidence, Finding, Observation
from riskshare.audit.opened import check_path, proof_path
from riskshare.audit.outcome import Opened, OpenedCheck
from riskshare.audit.report import Figure, Outcome, Report, Step, Table
from riskshare.audit.sample import SURE, Drawn, chances, percent, sentences
from riskshare.encoding import format_time

STEPS: Final = (
    ("1", "The checks named stand in the member's log"),
    ("2", "Each record shown is the one that its check statement commits to"),
    ("3", "Each blinded element is that of the identifier in the record"),
    ("4", "Elements and results are those of both signed halves, and the receipt stands in the member's log"),
    ("5", "Each owner proves that it evaluated with the key on its ledger"),
    ("6", "The snapshots named are signed by their owners, and their segments are whole"),
    ("7", "Every identifier was looked for on every list, at the snapshot of that time"),
    ("8", "Hits and verdict follow from that"),
)
"""The numbered steps, as `open` has them."""

LIMITS: Final = (
    "A member that records an owner as late, stale or down is not contradicted; such a check is never clear.",
    "A member that says it did not hold a list is not contradicted; if its ask named the list, the check is not whole.",
    "The member's own lists are not looked into: it needs no exchange for them.",
    "A check that a member never logged, and whose verdict it gave all the same, is in no sample.",
)

Digest = Callable[[str], bytes | None]
"""The SHA-256 of a file of the report's folder, if it is there."""


@dataclass(frozen=True, slots=True)
class About:
    """What a report is about: by whom, when, which checks were chosen; `seed` is b"" where they were named."""

    network: str
    made_by: str
    made_at: datetime
    opened: datetime | None
    closed: datetime | None
    drawn: Drawn
    seed: bytes
    unknown: tuple[str, ...]
    """Checks that were named and do not stand in the member's log."""

    again: tuple[str, ...]


def open_report(
    found: Opened, about: About, digest: Digest, proofs: Mapping[tuple[UUID, str], Evidence] | None = None
) -> Report:
    """The report of all that was opened. `proofs` is evidence that a stranger can verify, by check and kind."""
    proofs = proofs or {}
    whole = sum(one.whole for one in found.checks)
    observations = [Observation("unopened", found.member, len(found.checks) - whole, len(found.checks))]
    sample = about.drawn
    return Report(
        command="open",
        title=f"Checks of {found.member}, opened",
        network=about.network,
        made_by=about.made_by,
        made_at=about.made_at,
        opened=about.opened,
        closed=about.closed,
        members=(found.member,),
        figures=tuple(_figures(found, about)),
        steps=_steps(found, about),
        findings=tuple(_findings(found, digest, proofs)),
        observations=tuple(one for one in observations if one.count),
        tables=(*_chances(about, _sound(found)), _table(found)),
        limits=(*LIMITS, *(sentences(sample.population, len(sample.checks), _sound(found)) if about.seed else ())),
        again=(
            *about.again,
            *(f"riskshare audit evidence {one.path} --network registry" for one in list(proofs.values())[:20]),
        ),
    )


def _sound(found: Opened) -> int:
    """How many checks would have shown that they are wrong: all but those of which something could not be verified.

    A gap of no step is one of the member's own lists, of which the limits speak.
    """
    return sum(one.found is not None and not any(step for step, _ in one.gaps) for one in found.checks)


def _figures(found: Opened, about: About) -> Iterator[Figure]:
    recomputed = [one.found for one in found.checks if one.found is not None]
    yield Figure("Checks opened", f"{len(found.checks):,}")
    yield Figure("Recomputed as a whole", f"{sum(one.whole for one in found.checks):,}")
    yield Figure("Elements verified", f"{sum(one.elements for one in recomputed):,}")
    yield Figure("Exchanges proved", f"{found.proofs:,} of {found.exchanges:,}")
    if about.seed:
        yield Figure("Drawn from", f"{about.drawn.population:,} checks")
        yield Figure("Seed", about.seed.hex())


def _steps(found: Opened, about: About) -> tuple[Step, ...]:
    faults = [fault.step for one in found.checks for fault in one.faults]
    faults += [fault.step for fault in found.owner_faults]
    gaps = [gap for one in found.checks for gap in one.gaps] + found.gaps
    recomputed = [one.found for one in found.checks if one.found is not None]
    counts = {
        "1": len(found.checks),
        "2": len(recomputed),
        "3": sum(one.elements for one in recomputed),
        "4": found.exchanges,
        "5": found.proofs,
        "6": sum(one.lists for one in recomputed),
        "7": sum(one.lists for one in recomputed),
        "8": sum(one.whole for one in found.checks),
    }
    steps = []
    for number, name in STEPS:
        why = list(dict.fromkeys(sentence for step, sentence in gaps if step == number))
        if number == "1" and about.unknown:
            why.append(f"Not in the part of the log that was replayed: {', '.join(about.unknown)}.")
        if number != "1" and not found.checks:
            why.append("No check was opened.")
        outcome: Outcome = "fails" if number in faults else "skipped" if why else "holds"
        steps.append(Step(number, name, outcome, counts[number], _sentence(why)))
    return tuple(steps)


def _sentence(why: Sequence[str]) -> str:
    """The first reasons."""
    return "; ".join(one.removesuffix(".") for one in why[:5]) + (
        f"; and {len(why) - 5:,} more" if len(why) > 5 else ""
    )


def _findings(found: Opened, digest: Digest, proofs: Mapping[tuple[UUID, str], Evidence]) -> Iterator[Finding]:
    for one in found.checks:
        for fault in dict.fromkeys(one.faults):
            check = one.stated.check
            proof = proofs.get((check, fault.kind))
            yield _finding(fault, digest, check_path(found.member, check), one, proof)
    for fault in found.owner_faults:
        yield _finding(fault, digest, proof_path(fault.accused, fault.receipt), None, None)


def _finding(fault: Fault, digest: Digest, path: str, check: OpenedCheck | None, proof: Evidence | None) -> Finding:
    about = {"step": fault.step}
    if check is not None:
        about["check"] = str(check.stated.check)
    if fault.receipt:
        about["receipt"] = fault.receipt.hex()
    evidence = [] if proof is None else [proof]
    known = digest(path)
    if known is not None:
        evidence.append(Evidence(path, known, "what the accused showed; it holds identifiers, keep it closed"))
    at = None if check is None else check.stated.answered_at
    return Finding(fault.kind, fault.accused, fault.sentence, at, about, tuple(evidence))


def _chances(about: About, sound: int) -> tuple[Table, ...]:
    if not about.seed:
        return ()
    drawn = about.drawn
    rows = tuple(
        (words, f"{bad:,}", percent(probability), f"{least:,}")
        for words, bad, probability, least in chances(drawn.population, sound)
    )
    columns = ("If recorded wrongly", "Checks", "This sample finds one", f"Needed for {percent(float(SURE))}")
    return (Table("What this sample would have found", columns, rows),)


def _table(found: Opened) -> Table:
    columns = ("Check", "Answered at", "Purpose", "Identifiers", "Recorded", "Recomputed", "Remarks")
    return Table("Checks", columns, tuple(map(_row, found.checks)))


def _row(one: OpenedCheck) -> tuple[str, ...]:
    remarks = [*(fault.sentence for fault in one.faults), *(sentence for _, sentence in one.gaps)]
    recorded, recomputed = ("", "") if one.found is None else (one.found.recorded, one.found.recomputed or "not known")
    return (
        str(one.stated.check),
        format_time(one.stated.answered_at),
        one.purpose,
        ", ".join(one.identifiers),
        recorded,
        recomputed,
        _sentence(list(dict.fromkeys(remarks))),
    )
