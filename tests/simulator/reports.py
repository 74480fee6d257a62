"""Reports of audits as the commands make them: clean, with many findings, incomplete, long, empty."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from riskshare.audit.finding import FINDINGS, OBSERVATIONS, Evidence, Finding, Observation
from riskshare.audit.report import Figure, Report, Series, Step, Table

OPENED = datetime(2026, 11, 1, tzinfo=UTC)
CLOSED = datetime(2026, 11, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
MEMBERS = ("bank-a", "ewallet-b", "cards-c", "telco-d", "regulator")


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def rates(seed: str, count: int, level: float) -> tuple[float, ...]:
    """Counts per hour with a rhythm of days and weeks."""
    draw = random.Random(seed)
    return tuple(
        float(max(0, round(level * (1.1 + math.sin(hour * math.tau / 24 - 2)) * draw.uniform(0.8, 1.2))))
        for hour in range(count)
    )


def hourly(title: str, unit: str, names: tuple[str, ...], hours: int, start: datetime = OPENED) -> Series:
    return Series(
        title=title,
        unit=unit,
        times=tuple(start + hour * HOUR for hour in range(hours)),
        values=tuple((name, rates(name + title, hours, 40 * (place + 1))) for place, name in enumerate(names)),
    )


STEPS = (
    Step("1", "Every folder is whole, its checkpoint signed by the log and final by the network's policy", "holds", 5),
    Step("2", "Every log continues what was audited last", "holds", 5),
    Step("3", "Every range begins where it says", "holds", 5),
    Step("4", "Every row hashes to the entry at its index; no entry is without its row", "holds", 1_204_331),
    Step("5", "Registry versions form the chain from the pinned digest", "holds", 7),
    Step("6", "Statements are well-formed and signed by keys in force", "holds", 4_112),
    Step("7", "Both halves of every receipt are signed, and belong together", "holds", 598_112),
    Step("8", "Epochs, snapshots, registry versions and purposes named in each ask are in force", "holds", 598_112),
    Step("9", "Counts and times", "holds", 5),
)


def parts(members: tuple[str, ...]) -> tuple[Step, ...]:
    """What each step verified of each member."""
    return tuple(
        replace(step, number=f"{step.number}.{member}", count=step.count // len(members))
        for member in members
        for step in STEPS[:8]
    )


def clean(members: tuple[str, ...] = MEMBERS, hours: int = 168, start: datetime = OPENED) -> Report:
    return Report(
        command="reconcile",
        title="Both sides of every exchange",
        network="payments",
        made_by="regulator",
        made_at=CLOSED + timedelta(hours=30, minutes=12, milliseconds=250),
        opened=start,
        closed=start + hours * HOUR,
        members=members,
        figures=(
            Figure("Exchanges reconciled", "598,112"),
            Figure("Entries of logs", "1,204,331"),
            Figure("Elements answered", "2,311,905"),
            Figure("Checks", "301,554"),
        ),
        steps=STEPS,
        observations=(
            Observation("late", members[0], 3, 120_331),
            Observation("unanswered", members[1], 41, 98_204, "6 times the rate of the others (Poisson tail 1e-12)"),
            Observation("adopted", members[0], 1, 120_331),
        ),
        series=(
            hourly("Exchanges that each member logged", "per hour", members, hours, start),
            hourly("Elements", "per hour", ("asked", "answered"), hours, start),
        ),
        tables=(
            Table(
                "Exchanges by pair of members",
                ("querier", "owner", "exchanges", "elements"),
                ((members[0], members[3], "80,112", "310,224"), (members[1], members[2], "18,000", "72,114")),
            ),
        ),
        again=(
            "riskshare audit replay --offline case/members/bank-a --out again --from 2026-11-01 --to 2026-11-08",
            "riskshare audit reconcile --out again",
        ),
        checkpoints=tuple((member, 240_866 + place, digest(member)) for place, member in enumerate(members)),
    )


def convicting() -> Report:
    """Every kind of finding, one of them many times, against three members."""
    found = []
    for place, (kind, meaning) in enumerate(FINDINGS.items()):
        accused = MEMBERS[place % 3]
        for number in range(130 if kind == "missing" else 1 + place % 3):
            name = f"{kind}-{number}"
            about = {"receipt": digest(name).hex(), "batch": digest(name + "b").hex()[:32]}
            files = (
                Evidence(f"evidence/{name}.json", digest(name), "the receipt with the proof of its entry"),
                Evidence(f"evidence/{name}-2.json", digest(name + "2"), "the checkpoint of the log where it is not"),
            )
            sentence = f"In this exchange {accused} is convicted: {meaning}."
            found.append(
                Finding(kind, accused, sentence, OPENED + (place * 7 + number) * HOUR, about, files[: 1 + place % 2])
            )
    failing = replace(STEPS[6], outcome="fails", sentence="2 halves are not signed.")
    steps = (*STEPS[:6], failing, *STEPS[7:], *parts(MEMBERS), replace(failing, number="7.cards-c", count=2))
    seen = tuple(Observation(kind, "bank-a", 3, 120_331) for kind in OBSERVATIONS)
    return replace(clean(), findings=tuple(found), steps=steps, observations=seen)


def incomplete() -> Report:
    steps = (
        *STEPS[:3],
        *(
            replace(step, outcome="skipped", count=0, sentence="The folder of telco-d has no statements.")
            for step in STEPS[3:8]
        ),
        STEPS[8],
    )
    return replace(
        clean(),
        command="replay",
        title="Logs replayed",
        steps=steps,
        observations=(Observation("not_shown", "telco-d", 240_869, 240_869, "all of it"),),
        limits=("The statements of telco-d were not shown: what its entries stand for is not verified.",),
    )


def bare() -> Report:
    """Nothing but what a report must have."""
    return Report("settle", "Settlements", "payments", "regulator", CLOSED, None, None, ())


def without_values() -> Report:
    """Series without times, with one, and with nothing but zeros."""
    empty = Series("Checks", "per hour", (), (("bank-a", ()),))
    nobody = Series("Nobody", "per hour", (OPENED,), ())
    one = Series("Elements", "per hour", (OPENED,), (("bank-a", (7.0,)),))
    zero = Series("Asks without an answer", "per day", (OPENED, OPENED + 24 * HOUR), (("bank-a", (0.0, 0.0)),))
    return replace(clean(), series=(empty, nobody, one, zero), observations=(), figures=(), tables=())


def fifty_members() -> Report:
    members = tuple(f"member-{number:02d}" for number in range(50))
    report = clean(members, hours=24 * 31)
    return replace(report, steps=(*report.steps, *parts(members)))


def a_year() -> Report:
    return clean(hours=24 * 365, start=datetime(2025, 11, 1, tzinfo=UTC))


ALL = {
    "clean": clean,
    "convicting": convicting,
    "incomplete": incomplete,
    "bare": bare,
    "without_values": without_values,
    "fifty_members": fifty_members,
    "a_year": a_year,
}
