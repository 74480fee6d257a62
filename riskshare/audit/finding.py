"""What an audit finds (pure).

A **finding** names the party that the evidence convicts, and carries the evidence. An **observation** is what crashes,
partitions, retries and clocks explain: it is counted, and blames nobody. What is in doubt is an observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from riskshare.audit.form import read_count, read_fields, read_list, read_text
from riskshare.encoding import format_time, parse_hex, parse_time
from riskshare.errors import EncodingError

FINDINGS: Final[Mapping[str, str]] = {
    "broken_log": "the member's log does not hold together, or is not signed and cosigned as it must be",
    "discontinued_log": "the log does not continue the one that was audited last",
    "wrong_statement": "an entry of the log is not what the member says that it stands for",
    "unsigned": "the member logged an exchange or a statement that a party to it did not sign",
    "missing": "the other side logged the exchange, this member did not",
    "altered": "the member signed two different answers to one ask, or two different asks under one batch",
    "double": "the member logged one exchange twice",
    "backdated": "the member signed a time that its counterparty's signature, or the log, excludes",
    "wrong_purpose": "the member asked, or answered, for a purpose to which the querier has no right",
    "over_quota": "the member answered more elements than the querier's quota allows",
    "unknown_epoch": "the member answered under an epoch that does not stand on its ledger",
    "doubled_epoch": "the member signed two statements for one epoch",
    "doubled_snapshot": "the member signed two statements for one snapshot version",
    "hidden_snapshot": "the member gave out a snapshot that does not stand on its ledger",
    "answered_suspended": "the member answered one that was suspended, and knew it",
    "withheld": "the member does not show what it must: a statement, a record, or a proof",
    "rewritten_check": "the record that the member shows is not the one that its check statement commits to",
    "other_identifier": "the member asked about another identifier than its record says",
    "wrong_key": "the member evaluated with another key than the one of its epoch statement",
    "wrong_verdict": "the verdict that the member recorded does not follow from the answers and lists that it rests on",
    "wrong_settlement": "the member signed a settlement that its own receipts contradict",
}
"""Every kind of finding, and what it says of the accused."""

OBSERVATIONS: Final[Mapping[str, str]] = {
    "late": "exchanges that stand in one log and not yet in the other; the next audit looks again",
    "unanswered": "asks that got no answer",
    "adopted": "receipts that a querier learned of after a crash; they cannot be opened",
    "answered_late": "answers dated long after their asks, as by a machine that stood still",
    "sequenced_late": "entries that came into the log long after what they stand for was made",
    "not_shown": "parts of a log that the member's folder does not show",
    "unknown_snapshot": "snapshots named in asks that nobody has shown",
    "unopened": "checks that could not be recomputed as a whole",
    "undisclosed": "settlements that one side has not signed",
}
"""Every kind of observation."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that convinces a third party: its path in the report's folder, its SHA-256 (32 bytes), what it shows."""

    path: str
    digest: bytes = field(repr=False)
    shows: str

    def body(self) -> dict[str, Any]:
        """The JSON object of a report."""
        return {"path": self.path, "sha256": self.digest.hex(), "shows": self.shows}

    @classmethod
    def from_body(cls, value: object) -> Evidence:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("path", "sha256", "shows"))
        return cls(read_text(body["path"]), parse_hex(body["sha256"], 32), read_text(body["shows"]))


@dataclass(frozen=True, slots=True)
class Finding:
    """Who is convicted of what. `about` names the receipt, check, batch or list in words and hex, and no identifier."""

    kind: str
    accused: str
    sentence: str
    at: datetime | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a kind that the documentation does not have: a mistake in our own code."""
        if self.kind not in FINDINGS:
            raise ValueError("there is no such kind of finding")

    def body(self) -> dict[str, Any]:
        """The JSON object of a report."""
        return {
            "about": dict(self.about),
            "accused": self.accused,
            "at": None if self.at is None else format_time(self.at),
            "evidence": [one.body() for one in self.evidence],
            "kind": self.kind,
            "sentence": self.sentence,
        }

    @classmethod
    def from_body(cls, value: object) -> Finding:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("about", "accused", "at", "evidence", "kind", "sentence"))
        about = read_fields(body["about"], body["about"] if type(body["about"]) is dict else ())
        return cls(
            kind=_known(body["kind"], FINDINGS),
            accused=read_text(body["accused"]),
            sentence=read_text(body["sentence"]),
            at=None if body["at"] is None else parse_time(body["at"]),
            about={name: read_text(text) for name, text in about.items()},
            evidence=tuple(map(Evidence.from_body, read_list(body["evidence"]))),
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """How often something happened at a member, of how many; `unusual` says in words how it compares, or is empty."""

    kind: str
    member: str
    count: int
    of: int
    unusual: str = ""

    def __post_init__(self) -> None:
        """Refuse a kind that the documentation does not have: a mistake in our own code."""
        if self.kind not in OBSERVATIONS:
            raise ValueError("there is no such kind of observation")

    def body(self) -> dict[str, Any]:
        """The JSON object of a report."""
        return {
            "count": self.count,
            "kind": self.kind,
            "member": self.member,
            "of": self.of,
            "unusual": self.unusual,
        }

    @classmethod
    def from_body(cls, value: object) -> Observation:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("count", "kind", "member", "of", "unusual"))
        return cls(
            kind=_known(body["kind"], OBSERVATIONS),
            member=read_text(body["member"]),
            count=read_count(body["count"]),
            of=read_count(body["of"]),
            unusual=read_text(body["unusual"]),
        )


def _known(kind: object, kinds: Mapping[str, str]) -> str:
    if type(kind) is not str or kind not in kinds:
        raise EncodingError("The report names a kind of finding or observation that this version does not know.")
    return kind
