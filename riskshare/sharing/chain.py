"""One chain of versions: what a subscriber remembers of a list under one epoch (pure values)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from riskshare.encoding import format_time, parse_hex, parse_time
from riskshare.keyterm import KeyTerm
from riskshare.sharing import snapshot as snapshots
from riskshare.sharing.fields import DIGEST_BYTES, Fields, malformed, reading
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.signed import Signed, is_void
from riskshare.sharing.snapshot import SnapshotStatement

MOST_EPOCHS = 8
"""Most epochs of one keyset that are not over; an honest owner has two, while one changes over to the next, or a third
if it rotates once more meanwhile."""

RECENT_LINKS = 32
"""The newest links are all kept."""

WINDOW = timedelta(hours=6)
"""Of the older links, the newest of each such window of receipt is kept."""

_EPOCH_0 = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_LINKS = 100_000
_KEYS = frozenset({"epoch", "number", "begins", "links", "tip", "intermediate", "served", "confirmed_at"})


@dataclass(frozen=True, slots=True)
class Link:
    """That a version had this digest, was signed by this key, and was first received then."""

    version: int
    digest: bytes
    signer: bytes
    received: datetime

    def to_json(self) -> list[Any]:
        """The JSON array in which it is kept."""
        return [self.version, self.digest.hex(), self.signer.hex(), format_time(self.received)]

    @classmethod
    def from_json(cls, value: object) -> Link:
        """Read what `to_json` wrote. Raises SnapshotError `malformed_statement`."""
        if type(value) is not list or len(value) != 4 or type(value[0]) is not int or value[0] < 1:
            raise malformed("A kept link is not of the form that this version writes.")
        with reading("kept link"):
            return cls(value[0], parse_hex(value[1], DIGEST_BYTES), parse_hex(value[2], 32), parse_time(value[3]))


def read_links(values: list[Any]) -> list[Link]:
    """Read kept links, whose versions must grow. Raises SnapshotError `malformed_statement`."""
    links = [Link.from_json(value) for value in values]
    if any(later.version <= earlier.version for earlier, later in pairwise(links)):
        raise malformed("Kept links do not grow in version.")
    return links


def thin(links: list[Link]) -> list[Link]:
    """Forget links that recovery does not need, in the order given.

    Kept are the first, the newest 32, and of the rest the last one received in each window
    of six hours. So a month costs some 150 links, and whoever floods a chain with a stolen
    key does not wash away what was received before the theft. A chain that goes on from
    an older link than the very last is walked a little further, never wrongly accepted.
    """
    if len(links) <= RECENT_LINKS + 1:
        return links
    old, recent = links[1:-RECENT_LINKS], links[-RECENT_LINKS:]
    windows = {(link.received - _EPOCH_0) // WINDOW: link for link in old}
    return [links[0], *sorted(windows.values(), key=lambda link: link.version), *recent]


def without_void(links: list[Link], terms: Iterable[KeyTerm]) -> list[Link]:
    """The links that no compromise has voided."""
    marked = [term for term in terms if term.compromised_from is not None]
    if not marked:
        return links
    return [link for link in links if not is_void(marked, link.signer, link.received)]


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot with the statement that carries it.

    `intermediate` is one that only connects: verified as part of the chain, not fit for use.
    """

    snapshot: SnapshotStatement
    signed: Signed
    intermediate: bool = False

    @property
    def digest(self) -> bytes:
        """The statement's name, 32 bytes."""
        return self.signed.digest

    @property
    def version(self) -> int:
        """The snapshot's version."""
        return self.snapshot.version


@dataclass(slots=True)
class Walk:
    """A newest statement that is not yet connected, and the lowest one that is known to lead up to it."""

    candidate: Held
    lowest: Held


@dataclass(slots=True)
class Chain:
    """The versions of a list under the epoch named `epoch`, which has `number` and begins at `begins`.

    `links` are what is remembered of accepted versions, oldest first. `tip` is the statement
    of the last link, if it is held. `served` is the newest snapshot whose segments have all
    been accepted; it serves while newer ones fail. `verified` are the indices of the tip's
    segments that were. `confirmed_at` is when the owner last said that `served` is its
    newest. `believed` is False while the registry does not name the key under `served`.
    """

    epoch: bytes
    number: int
    begins: datetime
    links: list[Link] = field(default_factory=list)
    tip: Held | None = None
    served: Held | None = None
    verified: set[int] = field(default_factory=set)
    confirmed_at: datetime | None = None
    believed: bool = True
    walk: Walk | None = None

    @property
    def last(self) -> Link:
        """The newest link; the chain must have one."""
        return self.links[-1]

    def link_at(self, version: int) -> Link | None:
        """The link of a version, if it is remembered."""
        return next((link for link in reversed(self.links) if link.version == version), None)

    def knows(self, digest: bytes | None) -> bool:
        """Tell whether a link has this digest."""
        return any(link.digest == digest for link in self.links)

    def add(self, held: Held) -> None:
        """Make `held` the tip and remember it, unless it is the last link already."""
        if not self.links or self.last.version != held.version:
            link = Link(held.version, held.digest, held.signed.signer, held.signed.received)
            self.links = thin([*self.links, link])
        known = self._verified_refs()
        self.tip = held
        self.verified = {index for index, ref in enumerate(held.snapshot.segments) if ref in known}
        self.promote()

    def _verified_refs(self) -> set[SegmentRef]:
        known = set(self.served.snapshot.segments) if self.served is not None else set()
        if self.tip is not None:
            known |= {self.tip.snapshot.segments[index] for index in self.verified}
        return known

    def missing(self) -> tuple[int, ...]:
        """The indices of the tip's segments that have not been accepted."""
        count = 0 if self.tip is None else len(self.tip.snapshot.segments)
        return tuple(index for index in range(count) if index not in self.verified)

    def promote(self) -> None:
        """Let the tip serve if it is fit for use and nothing of it is missing."""
        if self.tip is None or self.tip.intermediate or self.missing() or self.served is self.tip:
            return
        self.served = self.tip
        self.believed = True
        self.confirm(self.tip.signed.received)

    def confirm(self, when: datetime) -> None:
        """Note that at `when` the owner had nothing newer than the tip."""
        if self.served is not None and self.served is self.tip:
            self.confirmed_at = when if self.confirmed_at is None else max(when, self.confirmed_at)

    def drop_void(self, terms: Iterable[KeyTerm]) -> None:
        """Forget what a compromised key signed since; go on from the last link before that."""
        terms = tuple(terms)
        self.walk = None
        self.links = without_void(self.links, terms)
        if self.served is not None and is_void(terms, self.served.signed.signer, self.served.signed.received):
            self.served = None
        last = self.links[-1].digest if self.links else None
        if self.tip is not None and self.tip.digest != last:
            self.tip = self.served if self.served is not None and self.served.digest == last else None
            self.verified = set(range(0 if self.tip is None else len(self.tip.snapshot.segments)))

    def to_json(self) -> dict[str, Any]:
        """The JSON object in which the chain is kept; a walk under way is not."""
        served: Any = None
        if self.served is not None:
            served = "tip" if self.served is self.tip else self.served.signed.to_json()
        return {
            "epoch": self.epoch.hex(),
            "number": self.number,
            "begins": format_time(self.begins),
            "links": [link.to_json() for link in self.links],
            "tip": None if self.tip is None else self.tip.signed.to_json(),
            "intermediate": self.tip is not None and self.tip.intermediate,
            "served": served,
            "confirmed_at": None if self.confirmed_at is None else format_time(self.confirmed_at),
        }

    @classmethod
    def from_json(cls, network: str, value: object) -> Chain:
        """Read what `to_json` wrote; signatures are verified again.

        Raises:
            SnapshotError: codes `malformed_statement`, `foreign_key`.

        """
        fields = Fields(value, _KEYS, "kept chain")
        chain = cls(fields.digest("epoch"), fields.integer("number", 1), fields.time("begins"))
        chain.links = read_links(fields.items("links", _MAX_LINKS))
        chain.tip = _read_held(network, fields.value("tip"), intermediate=fields.boolean("intermediate"))
        served = fields.value("served")
        chain.served = chain.tip if served == "tip" else _read_held(network, served)
        if chain.tip is not None and (not chain.links or chain.last.digest != chain.tip.digest):
            raise malformed("A kept chain does not end with the statement kept with it.")
        if chain.tip is not None:
            known = chain._verified_refs()
            segments = chain.tip.snapshot.segments
            chain.verified = {index for index, ref in enumerate(segments) if ref in known}
        chain.confirmed_at = None if fields.value("confirmed_at") is None else fields.time("confirmed_at")
        return chain


def _read_held(network: str, value: object, *, intermediate: bool = False) -> Held | None:
    if value is None:
        return None
    signed = Signed.from_json(snapshots.KIND, network, value, snapshots.MAX_BYTES)
    return Held(SnapshotStatement.from_statement(signed.statement), signed, intermediate)
