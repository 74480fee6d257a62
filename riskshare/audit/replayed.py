"""What replay verified of each member's log, told as numbered steps and findings (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from riskshare.audit.fact import Flaw, LogRow, moment_of
from riskshare.audit.finding import FINDINGS, Evidence, Finding, Observation
from riskshare.audit.report import Outcome, Step
from riskshare.encoding import format_time

STEPS: Final[Mapping[str, str]] = {
    "1": "The log is derived anew from its entries, and its checkpoint is signed and final",
    "2": "It continues what was audited last",
    "3": "The part that is shown begins where it says",
    "4": "Every entry of the period is shown, and is what stands in the log",
    "5": "The versions of the registry are those of the chain",
    "6": "Epochs, snapshots, checks, audits and settlements are signed by their authors",
    "7": "Both halves of every receipt are signed, and belong together",
    "8": "Epochs, snapshots and registry versions named in the asks are known",
    "9": "Counts and times",
}
"""The numbered steps of a replay."""

KINDS: Final = ("receipt", "check", "unanswered", "snapshot", "epoch", "registry", "settlement", "audit")
"""Kinds of entries, in the order in which they are counted."""

SKIPPED: Final = "skipped"
"""Kind of a flaw that blames nobody: the step could not be verified."""

FAILED: Final = "failed"
"""Kind of a flaw that blames no member: the governors contradict themselves."""

MOST: Final = 100
"""Most findings of one kind in one step of one member; how many more there are is said in one more."""


@dataclass(frozen=True, slots=True)
class AuditedBefore:
    """A checkpoint of a member's log up to which it was found to hold, as its signed note."""

    note: bytes = field(repr=False)
    audited_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """All that is known of the replay of one member's log."""

    name: str
    log: LogRow | None
    tallies: Mapping[str, int]
    flaws: Sequence[Flaw]
    counts: Mapping[tuple[str, str], int]
    """Flaws by step and kind, those that are not among `flaws` too."""
    named: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def step(self, number: str) -> Step:
        """How a step came out for this member."""
        kinds = {kind for step, kind in self.counts if step == number}
        outcome: Outcome = "fails" if kinds - {SKIPPED} else "skipped" if kinds else "holds"
        sentences = [flaw.sentence for flaw in self.flaws if flaw.step == number]
        if outcome == "holds":
            sentence = self._sentence(number)
        else:
            more = sum(count for (step, _), count in self.counts.items() if step == number) - 1
            sentence = _capital(sentences[0]) + (f", and {more:,} more" if more else "") + "."
        return Step(f"{number}.{self.name}", STEPS[number], outcome, self._count(number), sentence)

    def _count(self, number: str) -> int:
        tallies = self.tallies
        match number:
            case "1":
                return 0 if self.log is None else self.log.size
            case "2":
                return tallies.get("audited", 0)
            case "3":
                return 0 if self.log is None else self.log.start
            case "4" | "9":
                return sum(tallies.get(kind, 0) for kind in KINDS)
            case "5":
                return tallies.get("registry", 0)
            case "6":
                return sum(tallies.get(kind, 0) for kind in KINDS if kind not in ("receipt", "registry"))
            case "7":
                return tallies.get("receipt", 0)
            case _:
                return sum(self.named[name][0] for name in ("epochs", "snapshots") if self.named.get(name))

    def _sentence(self, number: str) -> str:
        tallies, log = self.tallies, self.log
        if log is None:
            return ""
        match number:
            case "1":
                parts = f"{tallies.get('bundles', 0):,} bundles and {tallies.get('tiles', 0):,} tiles, byte for byte"
                return f"{log.size:,} entries; {parts}; root {log.root.hex()}."
            case "2":
                count = tallies.get("audited", 0)
                return f"It extends {count:,} checkpoints audited before." if count else "No audit was before this one."
            case "3":
                since = "with the log" if log.first_cosigned is None else f"behind {log.start:,} entries that"
                cosigned = "" if log.first_cosigned is None else f" a quorum had seen by {_time(log.first_cosigned)}"
                until = (
                    ""
                    if log.last_cosigned is None
                    else f" It ends with what a quorum had seen by {_time(log.last_cosigned)}."
                )
                return f"It begins {since}{cosigned}.{until}"
            case "7":
                waiting = tallies.get("waiting", 0)
                return f"{waiting:,} of them were verified in their owners' logs." if waiting else ""
            case "8":
                epochs, snapshots = self.named.get("epochs", (0, 0)), self.named.get("snapshots", (0, 0))
                unseen = f", {snapshots[1]:,} of them logged before the part that is shown" if snapshots[1] else ""
                return f"{epochs[0]:,} epochs and {snapshots[0]:,} snapshots of this owner{unseen}."
            case "9":
                return ", ".join(f"{tallies[kind]:,} {kind}" for kind in KINDS if tallies.get(kind)) + "."
            case _:
                return ""

    @property
    def convicting(self) -> list[Flaw]:
        """The flaws that convict the member."""
        return [flaw for flaw in self.flaws if flaw.kind in FINDINGS]

    def not_shown(self) -> Observation | None:
        """What a log does not show of itself for the period."""
        if self.log is None or not any(step in "34" and kind == SKIPPED for step, kind in self.counts):
            return None
        shown = sum(self.tallies.get(kind, 0) for kind in KINDS)
        return Observation("not_shown", self.name, max(self.log.size - shown, 0), self.log.size)

    def findings(self, evidence: Mapping[Flaw, tuple[Evidence, ...]]) -> list[Finding]:
        """What convicts the member."""
        found = []
        for flaw in self.flaws:
            if flaw.kind in FINDINGS:
                about = {"step": flaw.step}
                if flaw.idx >= 0:
                    about["entry"] = str(flaw.idx)
                where = (
                    f"Entry {flaw.idx:,} of the log of {self.name}: " if flaw.idx >= 0 else f"The log of {self.name}: "
                )
                files = evidence.get(flaw, ())
                found.append(Finding(flaw.kind, self.name, f"{where}{flaw.sentence}.", about=about, evidence=files))
        for (step, kind), count in self.counts.items():
            if kind in FINDINGS and count > MOST:
                sentence = (
                    f"The log of {self.name}: {count - MOST:,} more entries are as wrong as those named in step {step}."
                )
                found.append(Finding(kind, self.name, sentence, about={"step": step}))
        return found


def all_steps(members: Iterable[Member]) -> list[Step]:
    """The numbered steps, each with those of its members behind it."""
    listed = list(members)
    steps: list[Step] = []
    for number, name in STEPS.items():
        own = [member.step(number) for member in listed]
        outcomes = {step.outcome for step in own}
        outcome: Outcome = "fails" if "fails" in outcomes else "skipped" if "skipped" in outcomes else "holds"
        steps += [Step(number, name, outcome, sum(step.count for step in own)), *own]
    return steps


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _time(value: int) -> str:
    return format_time(moment_of(value))
