"""A network of list owners that sign for real, and misbehave on command.

In the manner of python-tuf's repository simulator: everything is in memory, the clock
stands still until a test moves it, and every statement carries a true Ed25519 signature.

    network = Network()
    owner = network.add("jd")
    owner.open_epoch()
    name = owner.create_list("high-risk")
    owner.publish(name)
    wire = owner.catalogue("icbc")

`publish(name, **changes)` signs any lie: `publish(name, version=1)`, `publish(name, count=5)`.
`Follower` is the other side: it drives a `TrustedSnapshots` as `subscribe` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from riskshare import sodium
from riskshare.encoding import sha256
from riskshare.keyterm import KeyTerm
from riskshare.sharing.catalogue import CatalogueEntry, CatalogueStatement
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.fraud import Value
from riskshare.sharing.history import Accepted, Gap, Outcome, Unchanged
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.standing import SegmentFacts
from riskshare.sharing.trusted import TrustedSnapshots
from riskshare.signature import SigningKey
from riskshare.statement import sign

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = {EpochStatement: "epoch", CatalogueStatement: "catalogue", SnapshotStatement: "snapshot"}


class Network:
    """The members, their keys as the registry names them, and the one clock."""

    def __init__(self, name: str = "testnet") -> None:
        self.name = name
        self.now = START
        self.owners: dict[str, Owner] = {}

    def add(self, name: str) -> Owner:
        self.owners[name] = Owner(self, name)
        return self.owners[name]

    def remove(self, name: str) -> None:
        del self.owners[name]

    def keys(self, member: str) -> tuple[KeyTerm, ...]:
        """What `TrustedSnapshots` wants of a registry; always that of now."""
        return tuple(self.owners[member].terms.values()) if member in self.owners else ()

    def wait(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now


class Owner:
    """One owner with its keys, epochs, lists and everything that it ever signed."""

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.terms: dict[bytes, KeyTerm] = {}
        self.epochs: dict[str, list[EpochStatement]] = {}
        self.lists: dict[str, CatalogueEntry] = {}
        self.chains: dict[tuple[str, bytes], list[SnapshotStatement]] = {}
        self.catalogues: dict[str, int] = {}
        self.wires: dict[bytes, bytes] = {}
        self._count = 0
        self.key = self.new_key()

    def fresh(self) -> bytes:
        """32 bytes that this owner has not used before; the same in every run."""
        self._count += 1
        return sha256(f"{self.name} {self._count}".encode())

    # -- keys ------------------------------------------------------------------------

    def new_key(self, **term: Any) -> SigningKey:
        """A further identity key; it does not sign yet."""
        key = SigningKey(self.fresh())
        self.terms[key.public] = KeyTerm(key.public, **{"valid_from": self.network.now - DAY, **term})
        return key

    def rotate(self) -> SigningKey:
        """Ordinary rotation: the term of the old key ends, a new one signs. Returns the old one."""
        old = self.key
        self.terms[old.public] = replace(self.terms[old.public], valid_until=self.network.now)
        self.key = self.new_key()
        return old

    def mark_compromised(self, key: SigningKey, since: datetime) -> None:
        """What the governors do; the owner signs with a new key from now on."""
        self.terms[key.public] = replace(self.terms[key.public], compromised_from=since)
        if key is self.key:
            self.key = self.new_key()

    # -- statements ------------------------------------------------------------------

    def wire(
        self, value: Value, *, key: SigningKey | None = None, network: str | None = None, salt: bytes = b""
    ) -> bytes:
        """Sign anything and give its wire form."""
        statement = sign(KINDS[type(value)], network or self.network.name, value.body(), key or self.key, salt=salt)
        self.wires.setdefault(statement.digest, statement.wire())
        return statement.wire()

    def open_epoch(self, keyset: str = "default", *, days: float = 30, **changes: Any) -> EpochStatement:
        """Begin the next epoch of a keyset, now."""
        numbers = self.epochs.setdefault(keyset, [])
        public = sodium.scalar_multiply_base(sodium.scalar_reduce(self.fresh() * 2))
        assert public is not None
        now = self.network.now
        epoch = EpochStatement(self.name, keyset, len(numbers) + 1, public, now, now + days * DAY)
        epoch = replace(epoch, **changes)
        numbers.append(epoch)
        for name, entry in self.lists.items():
            if entry.keyset == keyset:
                self.lists[name] = replace(entry, epoch=epoch.digest)
        return epoch

    def create_list(self, local: str, category: str = "telecom_fraud", keyset: str = "default") -> str:
        """A list in a keyset that has an epoch; returns its full name."""
        name = f"{self.name}/{local}"
        self.lists[name] = CatalogueEntry(name, category, keyset, self.epochs[keyset][-1].digest)
        return name

    def segment(self) -> SegmentRef:
        return SegmentRef(self.fresh(), 100, self.fresh(), 1000)

    def chain(self, name: str, epoch: bytes | None = None) -> list[SnapshotStatement]:
        return self.chains.setdefault((name, epoch or self.lists[name].epoch), [])

    def draft(
        self, name: str, *, epoch: bytes | None = None, changed: bool = True, **changes: Any
    ) -> SnapshotStatement:
        """The next snapshot of a list, not published; `changes` sets any field."""
        entry = self.lists[name]
        epoch = epoch or entry.epoch
        chain = self.chain(name, epoch)
        old = chain[-1] if chain else None
        segments = old.segments if old is not None and not changed else (*(old.segments if old else ()), self.segment())
        now = self.network.now
        snapshot = SnapshotStatement(
            list_name=name,
            category=entry.category,
            normalisation=1,
            epoch=epoch,
            version=len(chain) + 1,
            previous=self._before(name, epoch),
            issued_at=now,
            expires_at=now + DAY,
            segments=segments[-8:],
            count=10 * len(segments),
            canaries=(f"canary:{sha256(name.encode()).hex()[:32]}",),
            labels=self.fresh() if changed or old is None else old.labels,
        )
        return replace(snapshot, **changes)

    def _before(self, name: str, epoch: bytes) -> bytes | None:
        if self.chain(name, epoch):
            return self.chain(name, epoch)[-1].digest
        digests = [one.digest for one in self.epochs[self.lists[name].keyset]]
        older = [self.chains[name, one] for one in digests[: digests.index(epoch)] if self.chains.get((name, one))]
        return older[-1][-1].digest if older else None

    def publish(self, name: str, **changes: Any) -> SnapshotStatement:
        """Sign and publish the next snapshot of a list; its wire form is `latest`."""
        snapshot = self.draft(name, **changes)
        self.chain(name, snapshot.epoch).append(snapshot)
        self.wire(snapshot)
        return snapshot

    def latest(self, name: str, epoch: bytes | None = None) -> bytes:
        return self.wires[self.chain(name, epoch)[-1].digest]

    def at(self, name: str, version: int, epoch: bytes | None = None) -> bytes:
        return self.wires[self.chain(name, epoch)[version - 1].digest]

    def catalogue(self, reader: str, *, lists: Iterable[CatalogueEntry] | None = None, **changes: Any) -> bytes:
        """Sign the next catalogue for a reader."""
        version = self.catalogues[reader] = self.catalogues.get(reader, 0) + 1
        entries = self.lists.values() if lists is None else lists
        now = self.network.now
        ordered = tuple(sorted(entries, key=lambda entry: entry.list_name))
        return self.wire(replace(CatalogueStatement(self.name, reader, version, now, now + DAY, ordered), **changes))


class Follower:
    """A subscriber without network or disk: polls owners and feeds its `TrustedSnapshots`."""

    def __init__(self, network: Network, reader: str = "icbc", **options: Any) -> None:
        self.network = network
        self.reader = reader
        self.trusted = TrustedSnapshots(network.name, reader, network.keys, **options)

    def learn(self, owner: Owner) -> None:
        """Catalogue and all epoch statements."""
        self.trusted.accept_catalogue(owner.name, owner.catalogue(self.reader), self.network.now)
        for epochs in owner.epochs.values():
            for epoch in epochs:
                self.trusted.accept_epoch(owner.name, owner.wire(epoch), self.network.now)

    def offer(self, owner: Owner, wire: bytes) -> Outcome:
        return self.trusted.accept_snapshot(owner.name, wire, self.network.now)

    def poll(
        self, owner: Owner, name: str, epoch: bytes | None = None, *, oldest_first: bool = False
    ) -> Accepted | Unchanged:
        """Fetch the newest snapshot, what is missing before it, and its segments."""
        outcome = self.offer(owner, owner.latest(name, epoch))
        while isinstance(outcome, Gap):
            from_below = oldest_first and outcome.either_way
            from_below = from_below and len(owner.chain(name, outcome.epoch)) >= outcome.first_missing
            wire = owner.at(name, outcome.first_missing, outcome.epoch) if from_below else owner.wires[outcome.wanted]
            outcome = self.trusted.accept_missing(owner.name, wire, self.network.now)
        self.fetch(outcome)
        return outcome

    def fetch(self, outcome: Accepted | Unchanged) -> None:
        """Offer true segments for all that are missing."""
        held = outcome.held
        for index in outcome.missing:
            self.trusted.accept_segment(held.snapshot.list_name, held.digest, index, facts(held.snapshot, index))


def facts(snapshot: SnapshotStatement, index: int, **changes: Any) -> SegmentFacts:
    """What the reader of an honest segment file finds."""
    ref = snapshot.segments[index]
    true = SegmentFacts(
        ref.header_digest,
        ref.header_length,
        ref.file_digest,
        ref.file_length,
        snapshot.list_name,
        snapshot.epoch,
        "delta" if index else "base",
    )
    return replace(true, **changes)
