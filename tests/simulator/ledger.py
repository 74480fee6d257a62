"""Logs in memory and witnesses that sign for real, and misbehave on command.

`MemoryLog` is the store of one log with PostgreSQL's promises: what `grow` writes stands whole or not at all, and
`backup`/`restore` bring an older state back. `Witness` keeps the rule of tlog-witness by the pure `decide`; its
`answers` is a queue of misbehaviour, one for each request: bytes to answer, an error to raise, an event to wait for.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from riskshare.errors import LedgerError, PeerDown
from riskshare.ledger.addition import Known, decide, parse_addition
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.checkpoint import log_key, origin_of, parse_checkpoint, witness_key, witness_name
from riskshare.ledger.derivation import Derivation
from riskshare.ledger.finalize import Finalizer, Quorum
from riskshare.ledger.kept import Grown, Head, Held
from riskshare.ledger.merkle import root
from riskshare.ledger.note import cosign, parse_note, signature_lines, verify
from riskshare.ledger.sequence import Sequencer
from riskshare.ledger.tile import bundles_between, check_tile, edge_bundle, edge_tiles
from riskshare.signature import SigningKey

START = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
NETWORK = "test"


def key_of(name, use):
    return SigningKey(hashlib.sha256(f"{use} {name}".encode()).digest())


def entry(number):
    return hashlib.sha256(f"entry {number}".encode()).digest()


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def step(self, seconds=1.0):
        self.now += timedelta(seconds=seconds)


class Crash(Exception):  # noqa: N818 - what happens, not what is wrong
    """What a fault hook raises: the process is gone."""


@dataclass
class State:
    pending: list[bytes] = field(default_factory=list)
    checkpoints: dict[int, Head] = field(default_factory=dict)
    tiles: dict = field(default_factory=dict)
    bundles: dict = field(default_factory=dict)
    halted: tuple[str, str] | None = None

    @property
    def head(self):
        return self.checkpoints[max(self.checkpoints)] if self.checkpoints else None


class MemoryLog:
    """The store of one log. `fail` is "before" or "after": the next `grow` crashes there, around its commit."""

    def __init__(self):
        self.state = State()
        self.fail = ""

    def keep(self, *entries):
        self.state.pending += entries

    def backup(self):
        return copy.deepcopy(self.state)

    def restore(self, state):
        self.state = copy.deepcopy(state)

    async def head(self):
        return self.state.head

    async def halted(self):
        return self.state.halted

    async def halt(self, code, why):
        self.state.halted = self.state.halted or (code, why)

    async def tiles(self, places):
        widest = {place: self.state.tiles.get((place.level, place.index), b"") for place in places}
        return {place: data[: place.length] for place, data in widest.items() if len(data) >= place.length}

    def entries(self, size):
        """The entries of the log, in order, out of its bundles."""
        found = []
        for bundle in bundles_between(0, size):
            found += decode_entries(bundle, self.state.bundles[bundle.index][: bundle.length])
        return found

    async def grow(self, most, make):
        if self.state.halted:
            raise LedgerError(self.state.halted[1], code=self.state.halted[0])
        await asyncio.sleep(0)
        state = self.backup()
        taken, state.pending = state.pending[:most], state.pending[most:]
        written = make(await self._held(), taken)
        fail, self.fail = self.fail, ""
        if fail == "before":
            raise Crash
        if written is None:
            return None
        state.tiles |= {(tile.level, tile.index): hashes for tile, hashes in written.tiles}
        state.bundles |= {bundle.index: entries for bundle, entries in written.bundles}
        state.checkpoints[written.head.size] = written.head
        self.state = state
        if fail == "after":
            raise Crash
        return Grown(written.head, len(taken))

    async def _held(self):
        head = self.state.head
        if head is None:
            return Held(None)
        partial = edge_bundle(head.size)
        bundle = self.state.bundles.get(partial.index, b"")[: partial.length] if partial else b""
        return Held(head, await self.tiles(edge_tiles(head.size)), bundle)

    async def cosign(self, size, signatures, *, final=None):
        head = self.state.checkpoints.get(size)
        if head is None:
            return None
        note = parse_note(head.note).with_signatures(signatures).to_bytes()
        self.state.checkpoints[size] = replace(head, note=note, final_at=head.final_at or final)
        if final is not None:
            kept = self.state.checkpoints.items()
            self.state.checkpoints = {at: row for at, row in kept if at >= size or row.final_at is not None}
        return self.state.checkpoints[size]

    def finals(self):
        return [head for head in self.state.checkpoints.values() if head.final_at is not None]

    def verify(self):
        """Derive the whole log from its bundles and hold tiles and every checkpoint against it."""
        head = self.state.head
        derivation = Derivation(head.size)
        derived = []
        while bundle := derivation.wanted:
            derived += derivation.feed(self.state.bundles[bundle.index][: bundle.length])
        for tile, hashes in (*derived, *derivation.rest()):
            check_tile(tile, hashes, self.state.tiles[tile.level, tile.index][: tile.length])
        derivation.check_root(head.root)
        entries = self.entries(head.size)
        for size, checkpoint in self.state.checkpoints.items():
            assert checkpoint.root == root(entries[:size])


class Witness:
    """One witness of one log, after the rule of tlog-witness; `up` says whether it answers at all."""

    def __init__(self, name, log_public, clock, member="me"):
        self.name = name
        self.key = key_of(name, "witness")
        self.clock = clock
        self.known = Known()
        self.up = True
        self.answers = deque()
        self.seen = []
        self._log = (log_key(NETWORK, member, log_public),)

    async def submit(self, body):
        self.seen.append(body)
        lie = self.answers.popleft() if self.answers else None
        if isinstance(lie, BaseException):
            raise lie
        if isinstance(lie, asyncio.Event):
            await lie.wait()
        elif lie is not None:
            return lie
        if not self.up:
            raise PeerDown(self.name, "no connection")
        addition = parse_addition(body)
        verdict = decide(addition, self._log, self.known)
        if verdict.status != 200:
            return verdict.status, verdict.body
        self.known = verdict.known
        time = int(self.clock().timestamp())
        made = cosign(addition.signed.note.text, witness_name(NETWORK, self.name), self.key, time)
        return 200, signature_lines([made]).encode()

    @property
    def verifier(self):
        return witness_key(NETWORK, self.name, self.key.public)


class Seen:
    """The watch of a finalizer: all that it was told."""

    def __init__(self):
        self.offers = []

    def offered(self, witness, code):
        self.offers.append((witness, code))

    def codes(self, witness):
        return [code for name, code in self.offers if name == witness]


class Logger:
    """A member with its log and witnesses; `start` is a process of it that begins, by the code that always runs."""

    def __init__(self, witnesses=4, most=1024):
        self.clock = Clock()
        self.key = key_of("me", "log")
        self.origin = origin_of(NETWORK, "me")
        self.log = MemoryLog()
        self.most = most
        self.witnesses = {f"w{n}": Witness(f"w{n}", self.key.public, self.clock) for n in range(witnesses)}
        self.watch = Seen()
        self.numbers = 0
        self.start()

    def start(self):
        self.sequencer = Sequencer(origin=self.origin, key=self.key, log=self.log, now=self.clock, most=self.most)
        self.finalizer = Finalizer(log=self.log, witnesses=self, quorum=self.quorum, watch=self.watch, now=self.clock)

    def quorum(self):
        members = len(self.witnesses)
        keys = {name: (witness.verifier,) for name, witness in self.witnesses.items()}
        return Quorum(keys, 1 + 2 * members // 3, members)

    async def submit(self, member, body):
        return await self.witnesses[member].submit(body)

    def keep(self, count=1):
        made = [entry(self.numbers + number) for number in range(count)]
        self.numbers += count
        self.log.keep(*made)
        return made

    async def begin(self):
        await self.sequencer.open()
        return await self.finalizer.begin()

    async def grow(self, count=1):
        """Keep, sequence and finalize."""
        self.keep(count)
        await self.sequencer.step()
        await self.finalizer.round()
        return self.log.state.head

    def check_final(self, head):
        """Hold a final checkpoint against the keys of log and witnesses; gives the names of the cosigners."""
        note = parse_note(head.note)
        assert parse_checkpoint(note.text).size == head.size
        verify(note, [log_key(NETWORK, "me", self.key.public)])
        cosigners = self.quorum().cosigners(note)
        assert len(cosigners) >= self.quorum().needed
        return cosigners

    async def stop(self):
        await self.finalizer.close()
