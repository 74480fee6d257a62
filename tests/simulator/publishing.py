"""An owner that publishes for real, files and signatures included, over a store in memory.

    desk = Desk(tmp_path)
    of = desk.create_list("fraud")
    desk.put(of, "phone:+8613800138000")
    await desk.publisher().refresh()
    published = await desk.published()

`StubbornSource` serves a `Published` to a subscriber without any network, counts every byte, and does harm on command.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from uuid import uuid4

from riskshare.errors import PeerDown, PeerGarbage, PeerRefused
from riskshare.keyterm import KeyTerm
from riskshare.membership import oprf
from riskshare.membership.group import is_element
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record, label, open_record, record_key
from riskshare.sharing.build import stored_row
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.composing import Composer
from riskshare.sharing.copies import Rules
from riskshare.sharing.entry import NONCE_BYTES, DataKey, reseal
from riskshare.sharing.grants import Grant
from riskshare.sharing.kept import (
    EpochRow,
    FraudProofRow,
    HeldRow,
    IssuedCatalogueRow,
    ListRow,
    SegmentRow,
    SnapshotRow,
    State,
    StoredEntry,
    TrustedRow,
)
from riskshare.sharing.mirror import Mirror
from riskshare.sharing.publish import Publisher, Terms
from riskshare.sharing.published import Published
from riskshare.sharing.rotate import Rotation
from riskshare.sharing.rotating import Epochs
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.subscribe import Subscriber
from riskshare.sharing.trusted import TrustedSnapshots
from riskshare.signature import SigningKey
from riskshare.statement import sign
from riskshare.store.buildings import Buildings
from riskshare.store.files import SegmentFiles

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
NETWORK = "simnet"


class Clock:
    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now

    def wait(self, **span):
        self.now += timedelta(**span)


@dataclass
class View:
    upto: int
    entries: list[list[StoredEntry]]

    async def __aiter__(self):
        for batch in self.entries:
            yield batch

    async def batches(self):
        for batch in self.entries:
            yield batch[-1].handle, [stored_row(entry) for entry in batch]


@dataclass
class MemoryStore:
    """The publisher's `Lists` and `Shelf`. `fault`, if set, is called with the name of each step."""

    rows: dict[int, ListRow] = field(default_factory=dict)
    entries: dict[int, dict[bytes, StoredEntry]] = field(default_factory=dict)
    all_epochs: list[EpochRow] = field(default_factory=list)
    all_canaries: dict[int, list[str]] = field(default_factory=dict)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    all_segments: dict[bytes, SegmentRow] = field(default_factory=dict)
    catalogues: dict[str, IssuedCatalogueRow] = field(default_factory=dict)
    all_grants: dict[tuple[int, str], Grant] = field(default_factory=dict)
    fault: Callable[[str], None] = lambda _: None
    batch: int = 100

    async def lists(self):
        return list(self.rows.values())

    async def tell(self, list_id):
        """Nobody listens here: a test publishes by itself."""

    async def newest(self):
        return list(self.all_grants.values())

    @asynccontextmanager
    async def changes(self, list_id, after):
        yield self._view(list_id, self._changed_after(list_id, after))

    @asynccontextmanager
    async def withdrawals(self, list_id, after):
        changed = self._changed_after(list_id, after)
        yield self._view(list_id, [one for one in changed if one.reason not in (None, "replaced", "expired")])

    def _changed_after(self, list_id, after):
        chosen = [entry for entry in self.entries[list_id].values() if entry.changed > after]
        return sorted(chosen, key=lambda entry: entry.changed)

    @asynccontextmanager
    async def sealed(self, list_id, after):
        entries = self.entries[list_id].values()
        chosen = [entry for entry in entries if entry.handle > after and entry.state != "withdrawn"]
        yield self._view(list_id, sorted(chosen, key=lambda entry: entry.handle))

    def _view(self, list_id, chosen):
        batches = (
            [list(part) for part in itertools.batched(chosen, self.batch)]
            if hasattr(itertools, "batched")
            else [chosen[at : at + self.batch] for at in range(0, len(chosen), self.batch)]
        )
        return View(self.rows[list_id].changed, batches)

    async def expire_due(self, now, reseal):
        done = 0
        for list_id, entries in self.entries.items():
            due = [entry for entry in entries.values() if entry.state != "withdrawn" and entry.valid_until <= now]
            for entry in due:
                self.change(list_id, entry.handle, "withdrawn", "expired", reseal)
                done += 1
        return done

    def change(self, list_id, handle, state: State, reason, reseal):
        row = self.rows[list_id] = replace(self.rows[list_id], changed=self.rows[list_id].changed + 1)
        entry = self.entries[list_id][handle]
        new = reseal(row, entry, state)
        self.entries[list_id][handle] = replace(
            entry, sealed=new.sealed, record=new.record, state=state, reason=reason, changed=row.changed
        )

    async def epochs(self, keyset=None):
        return [row for row in self.all_epochs if keyset in (None, row.keyset)]

    async def add_epoch(self, epoch):
        if any((row.keyset, row.number) == (epoch.keyset, epoch.number) for row in self.all_epochs):
            return False
        self.all_epochs.append(epoch)
        return True

    async def canaries(self, list_id):
        return sorted(self.all_canaries.get(list_id, []))

    async def add_canaries(self, list_id, values):
        self.all_canaries.setdefault(list_id, []).extend(values)

    async def latest_snapshot(self, list_id, epoch):
        found = [row for row in self.snapshots if (row.list_id, row.epoch) == (list_id, epoch)]
        return max(found, key=lambda row: row.version, default=None)

    async def snapshot(self, list_id, epoch, version):
        found = [row for row in self.snapshots if (row.list_id, row.epoch, row.version) == (list_id, epoch, version)]
        return found[0] if found else None

    async def snapshot_named(self, list_id, digest):
        return next((row for row in self.snapshots if (row.list_id, row.digest) == (list_id, digest)), None)

    async def segments(self, file_digests):
        return [self.all_segments[digest] for digest in file_digests if digest in self.all_segments]

    async def publish(self, snapshot, segments, expected_previous_version):
        self.fault("publish")
        last = await self.latest_snapshot(snapshot.list_id, snapshot.epoch)
        if (last.version if last else 0) != expected_previous_version:
            return False
        if last and last.withdrawn > snapshot.withdrawn:
            return False
        self.all_segments.update((row.ref.file_digest, row) for row in segments)
        assert all(digest in self.all_segments for digest in snapshot.segments)
        self.snapshots.append(snapshot)
        self.fault("published")
        return True

    async def note_withdrawn(self, snapshot, upto):
        place = self.snapshots.index(snapshot)
        self.snapshots[place] = replace(snapshot, withdrawn=max(snapshot.withdrawn, upto))

    async def end_epoch(self, epoch):
        for place, row in enumerate(self.all_epochs):
            if row.digest == epoch.digest and (row.ended_at is None or row.ended_at > epoch.ended_at):
                self.all_epochs[place] = epoch
                return True
        return False

    async def epoch(self, digest):
        return next((row for row in self.all_epochs if row.digest == digest), None)

    async def issued_catalogue(self, reader):
        return self.catalogues.get(reader)

    async def issue_catalogue(self, row):
        newest = self.catalogues.get(row.reader)
        if row.version != (newest.version if newest else 0) + 1:
            return False
        self.catalogues[row.reader] = row
        return True


class Desk:
    """One owner: its keys, store, files and clock."""

    def __init__(self, folder, name="jd", clock=None):
        self.name = name
        self.clock = clock or Clock()
        self.identity = SigningKey(hashlib.sha256(name.encode()).digest())
        self.data_key = DataKey(hashlib.sha256(b"data" + name.encode()).digest())
        self.store = MemoryStore()
        self.folder = folder / name
        self.files = SegmentFiles(self.folder)
        self.buildings = Buildings(folder / f"{name}-building")
        self.terms = KeyTerm(self.identity.public, START - timedelta(days=1))

    # -- entries ---------------------------------------------------------------------

    def create_list(self, name="fraud", category="telecom_fraud", keyset="default", *, granted=False):
        row = ListRow(len(self.store.rows) + 1, name, category, name if granted else keyset, self.clock(), 0, granted)
        self.store.rows[row.id] = row
        self.store.entries[row.id] = {}
        return row

    def grant(self, of, member, *purposes, until=None):
        self.store.all_grants[of.id, member] = Grant(
            of.id, member, frozenset(purposes), until, self.clock(), "somebody"
        )

    def revoke(self, of, member):
        former = self.store.all_grants[of.id, member]
        if former.revoked_at is None:
            self.store.all_grants[of.id, member] = replace(former, revoked_at=self.clock(), revoked_by="somebody")

    def full(self, of):
        return f"{self.name}/{of.name}"

    def put(self, of, *identifiers, level="high", days=90):
        now = self.clock()
        row = self.store.rows[of.id] = replace(self.store.rows[of.id], changed=self.store.rows[of.id].changed + 1)
        record = Record(of.category, "reported", level, "", now, now + timedelta(days=days)).to_bytes()
        for text in identifiers:
            value, place = parse(text).oprf_input, uuid4()
            handle = self.data_key.handle(value, self.full(of))
            sealed = self.data_key.seal_identifier(
                value, os.urandom(NONCE_BYTES), row=place, list_name=self.full(of), state="active"
            )
            self.store.entries[of.id][handle] = StoredEntry(
                place, handle, sealed, record, "active", None, now, now + timedelta(days=days), row.changed
            )

    def change(self, of, identifier, state="withdrawn", reason="corrected"):
        handle = self.data_key.handle(parse(identifier).oprf_input, self.full(of))
        self.store.change(of.id, handle, state, reason if state == "withdrawn" else None, self.reseal)

    def reseal(self, of, entry, state):
        return reseal(self.data_key, self.full(of), entry, state, os.urandom(NONCE_BYTES))

    # -- verbs -----------------------------------------------------------------------

    def publisher(self, *, store=None, small=10**9, **terms):
        store = store or self.store
        return Publisher(
            member=self.name,
            network=NETWORK,
            identity=self.identity,
            data_key=self.data_key,
            lists=getattr(store, "lists_part", store),
            shelf=getattr(store, "shelf_part", store),
            files=self.files,
            buildings=self.buildings,
            builders=ProcessBuilders(self.data_key, small=small),
            terms=Terms(**terms),
            now=self.clock,
            random=os.urandom,
        )

    def rotation(self, **terms):
        """What `list rotate` runs beside the peer."""
        terms, builders = Terms(**terms), ProcessBuilders(self.data_key, small=10**9)
        epochs = Epochs(
            member=self.name,
            network=NETWORK,
            identity=self.identity,
            data_key=self.data_key,
            shelf=self.store,
            term=terms.epoch,
            changeover=terms.changeover,
            now=self.clock,
            random=os.urandom,
        )
        composer = Composer(
            entries=self.store,
            files=self.files,
            buildings=self.buildings,
            builders=builders,
            data_key=self.data_key,
            filter_rate=terms.filter_rate,
            now=self.clock,
            random=os.urandom,
        )
        return Rotation(
            member=self.name,
            epochs=epochs,
            composer=composer,
            builders=builders,
            lists=self.store,
            shelf=self.store,
            now=self.clock,
        )

    def new_published(self):
        return Published(
            member=self.name,
            network=NETWORK,
            identity=self.identity,
            data_key=self.data_key,
            lists=self.store,
            grants=self.store,
            shelf=self.store,
            files=self.files,
            now=self.clock,
        )

    async def published(self):
        found = self.new_published()
        await found.load()
        return found


def look_up(view, key, list_name, identifier):
    """What a querier finds in a view with the token of an identifier: its record, or None."""
    token = oprf.token(key, parse(identifier, allow_canary=True).oprf_input)
    name = label(token, list_name)
    sealed = view.find(name)
    return None if sealed is None else open_record(sealed, record_key(token, list_name), list_name, name)


class StubbornSource:
    """`mirror.Source` over the `Published` of owners. `fetched` tells (digest, offset, length) of all that was read.

    Harm on command: `down` (owners), `alter` (bytes of segments), `snapshots`, `catalogues` and `epochs` (wire
    forms to give in place of the true ones; no epoch for None), `deaf` (does not hold polls).
    """

    def __init__(self, reader="icbc"):
        self.reader = reader
        self.owners: dict[str, Published] = {}
        self.down: set[str] = set()
        self.fetched: list[tuple[bytes, int, int]] = []
        self.calls: list[str] = []
        self.alter: Callable[[bytes, int], bytes] = lambda data, _at: data
        self.snapshots: dict[str, bytes] = {}
        self.catalogues: dict[str, bytes] = {}
        self.epochs: dict[bytes, bytes | None] = {}

    def _owner(self, owner, call):
        self.calls.append(call)
        if owner in self.down:
            raise PeerDown(owner, "There is no connection.")
        return self.owners[owner]

    def _found(self, owner, found):
        if found is None:
            raise PeerRefused(owner, "Not here.", remote_code="not_found", status=404)
        return found

    async def catalogue(self, owner):
        published = self._owner(owner, "catalogue")
        return self.catalogues.get(owner) or await published.catalogue(self.reader)

    async def epoch(self, owner, digest):
        published = self._owner(owner, "epoch")
        found = self.epochs[digest] if digest in self.epochs else published.epoch(digest, self.reader)
        return self._found(owner, found)

    async def snapshot(self, owner, list_name, epoch, known, wait):
        published = self._owner(owner, "snapshot")
        if list_name in self.snapshots:
            return self.snapshots[list_name]
        if known is not None:
            await published.wait(list_name, epoch, known, wait, self.reader)
        digest, wire = self._found(owner, self._owner(owner, "snapshot").snapshot(list_name, epoch, self.reader))
        return None if digest == known else wire

    async def snapshot_version(self, owner, list_name, epoch, version):
        published = self._owner(owner, f"version {version}")
        return self._found(owner, await published.snapshot_version(list_name, epoch, version, self.reader))

    async def snapshot_named(self, owner, list_name, digest):
        published = self._owner(owner, "named")
        return self._found(owner, await published.snapshot_named(list_name, digest, self.reader))

    async def segment(self, owner, ref: SegmentRef, out: BinaryIO, *, offset, length):
        path = self._found(owner, self._owner(owner, "segment").segment(ref.file_digest, self.reader))
        data = self.alter(path.read_bytes()[offset : offset + length], offset)
        self.fetched.append((ref.file_digest, offset, len(data)))
        if len(data) > length:
            raise PeerGarbage(owner, "Too long.")
        out.write(data)


class MemoryState:
    """`mirror.State`, shared by the processes of a member."""

    def __init__(self):
        self.rows: dict[tuple[str, str], TrustedRow] = {}
        self.proofs: list[FraudProofRow] = []
        self.held: dict[bytes, HeldRow] = {}
        self.writes = 0
        self.fault: Callable[[], None] = lambda: None

    async def trusted(self) -> Sequence[TrustedRow]:
        return list(self.rows.values())

    async def save_trusted(self, row):
        self.fault()
        place = (row.owner, row.list_name)
        stands = self.rows[place].revision if place in self.rows else 0
        if stands != row.revision - 1:
            return False
        self.rows[place] = row
        self.writes += 1
        return True

    async def keep_held(self, rows):
        self.fault()
        differing = await self.differing_held({row.key: row.digest for row in rows})
        for row in rows:
            if row.key not in self.held or self.held[row.key].digest != row.digest:
                self.held[row.key] = row
        return differing

    async def differing_held(self, theirs):
        self.fault()
        return [row for key, row in self.held.items() if theirs.get(key, row.digest) != row.digest]

    async def add_fraud_proof(self, row):
        self.fault()
        if row.about in {proof.about for proof in self.proofs}:
            return False
        self.proofs.append(row)
        return True


class Witness:
    """`mirror.Observer`: notes what it is told."""

    def __init__(self):
        self.told: list[tuple] = []

    def followed(self, list_name, version, count):
        self.told.append(("followed", list_name, version, count))

    def failed(self, owner, list_name, error):
        self.told.append(("failed", owner, list_name, error.code))

    def fraud(self, accused, kind):
        self.told.append(("fraud", accused, kind))

    def codes(self):
        return [told[3] for told in self.told if told[0] == "failed"]


class Reader:
    """One process of a subscribing member: `mirror` and `subscriber` over a source."""

    def __init__(self, folder, source, desks: Sequence[Desk], *, clock, state=None, rules=None):
        self.source = source
        self.state = state or MemoryState()
        self.witness = Witness()
        self.files = SegmentFiles(folder)
        self.clock = clock
        rules = rules or Rules(catalogue_seconds=0.02, hold_seconds=0.2)
        terms = {desk.name: (desk.terms,) for desk in desks}
        self.mirror = Mirror(
            trusted=TrustedSnapshots(NETWORK, source.reader, lambda owner: terms.get(owner, ()), is_element=is_element),
            source=source,
            files=self.files,
            state=self.state,
            rules=rules,
            observer=self.witness,
            now=clock,
        )
        self.names = [desk.name for desk in desks]
        self.subscriber = Subscriber(
            mirror=self.mirror,
            owners=lambda: self.names,
            source=source,
            rules=rules,
            observer=self.witness,
            now=clock,
            jitter=lambda: 0.0,
        )


def forge(desk: Desk, statement, kind, *, key=None, network=NETWORK):
    """Sign anything in the owner's name (or by another key) and give its wire form."""
    return sign(kind, network, statement.body(), key or desk.identity).wire()
