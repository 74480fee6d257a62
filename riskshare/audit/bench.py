"""What the rules of reconciliation read, and what they give (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from riskshare.audit.fact import LogRow
from riskshare.audit.settled import Standing
from riskshare.audit.versions import Versions
from riskshare.sharing.snapshot import SnapshotStatement


class Facts(Protocol):
    """The case database. Every method raises DiskError."""

    def prepare(self) -> None:
        """Make ready for reading; called once, before everything else."""

    def finish(self) -> None:
        """Leave the database as it was; called once, after everything else."""

    def logs(self) -> list[LogRow]:
        """The audited part of each log."""

    def rows(self, name: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query of `store/sql/crosscheck.sql`."""

    def minutes(self, member: str) -> Iterator[int]:
        """The minutes, rising, from which there is something in a member's log."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What an evidence file is made of.

    `places` are entries as (member, index), `exchanges` receipts by id, each where it stands in the log of whoever has
    it; in this order: `exchanges` first, then `places`. `loose` are receipts by id that their signatures prove.
    `held` are digests of statements that stand on no ledger, with their kind. `absent` is a member and the digest of
    what is not in its log. `early` are places, the last of all, of which it matters that they stood in the log at the
    beginning of the period. `fraud` is the kind of statement of which `places` or `held` are two that contradict.
    """

    exchanges: tuple[bytes, ...] = ()
    places: tuple[tuple[str, int], ...] = ()
    loose: tuple[bytes, ...] = ()
    held: tuple[tuple[str, bytes], ...] = ()
    absent: tuple[str, bytes] | None = None
    early: tuple[tuple[str, int], ...] = ()
    fraud: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """A party, what it is charged with, in dealing with whom (charges alike are one finding), when, and the proof."""

    kind: str
    accused: str
    towards: str
    at: int
    draft: Draft


@dataclass(frozen=True, slots=True)
class Tally:
    """So many more of a kind of observation at a member."""

    kind: str
    member: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Unheld:
    """One exchange that cannot be held against this member's log: it is not in the case, or not shown as a whole."""

    member: str


Outcome = Charge | Tally | Unheld


@dataclass(frozen=True)
class Bench:
    """What the rules judge by: the facts, the registry, how far each log can be held against its member, the grace.

    `show` gives a snapshot that stands on no ledger and that somebody can show, by its digest; None: nobody can.
    `statement` gives what an entry of a member's log stands for; None: it is not shown.
    """

    facts: Facts
    versions: Versions
    standings: Mapping[str, Standing]
    grace: int
    show: Callable[[bytes], SnapshotStatement | None]
    statement: Callable[[str, int], bytes | None]

    def settled(self, member: str, at: int) -> bool:
        """Whether what is absent in a member's log should be there."""
        standing = self.standings.get(member)
        return standing is not None and standing.is_settled(at, self.grace)

    def reaching(self, member: str) -> tuple[tuple[str, int], ...]:
        """The place of an entry that shows how far a member's log reaches."""
        return ((member, self.standings[member].anchor),)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is verified, in words, and how what does not hold is found."""

    title: str
    find: Callable[[Bench], Iterator[Outcome]]
