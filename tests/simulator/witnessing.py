"""What a witness knows, in memory: with races and failures where a test wants them; and logs that it witnesses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from riskshare.errors import StoreError
from riskshare.ledger.addition import AddCheckpoint, Known
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, origin_of, sign_checkpoint
from riskshare.ledger.cosign import Registries, Witness
from riskshare.ledger.histories import TwoHistories
from riskshare.ledger.kept import Witnessed
from riskshare.ledger.proof import prove_consistency
from riskshare.ledger.tile import Bundle, Tile, prefix
from riskshare.signature import SigningKey
from tests.simulator.network import NETWORK, SimulatedNetwork
from tests.simulator.tree import DefinedTree

Step = Callable[[], Awaitable[None]]


@dataclass
class Log:
    """A member's log; give `key` for one that signs with another key than its own."""

    network: SimulatedNetwork
    member: str
    tree: DefinedTree
    key: SigningKey | None = None

    def offer(self, old: int, new: int) -> AddCheckpoint:
        """The request by which it goes from `old` to `new`."""
        checkpoint = Checkpoint(origin_of(NETWORK, self.member), new, self.tree.root(new))
        note = sign_checkpoint(checkpoint, self.key or self.network.members[self.member].ledger)
        proof = prove_consistency(old, new, self.tree.read) if old <= new else ()
        return AddCheckpoint(old, proof, SignedCheckpoint(checkpoint, note))

    def body(self, old: int, new: int) -> bytes:
        """Its bytes."""
        return self.offer(old, new).to_bytes()


@dataclass
class Memory:
    """`cosign.Memory`. `before` runs between each look and what is decided upon it, once."""

    rows: dict[str, Witnessed] = field(default_factory=dict)
    before: Step | None = None
    failing: str = ""
    halt: tuple[str, str] | None = None
    looks: int = 0
    writes: list[tuple[str, Known, Known, datetime]] = field(default_factory=list)

    async def witnessed(self, origin: str) -> Witnessed:
        self.looks += 1
        await asyncio.sleep(0)  # let others in between
        found = self.rows.get(origin, Witnessed())
        step, self.before = self.before, None
        if step is not None:
            await step()
        return found

    async def witness(self, origin: str, old: Known, new: Known, note: bytes, at: datetime) -> bool:
        await asyncio.sleep(0)
        if self.failing == "failed":
            raise StoreError("PostgreSQL is away.")
        if self.rows.get(origin, Witnessed()).known != old:
            return False
        self.rows[origin] = Witnessed(new, note, at)
        self.writes.append((origin, old, new, at))
        if self.failing == "persisted":
            raise StoreError("PostgreSQL is away.")
        return True

    async def halted(self) -> tuple[str, str] | None:
        return self.halt


@dataclass
class Desk:
    """`cosign.Evidence` and `cosign.Watch`."""

    kept: list[tuple[str, TwoHistories, datetime]] = field(default_factory=list)
    counted: list[tuple[str, str]] = field(default_factory=list)
    failing: bool = False

    async def keep_histories(self, accused: str, found: TwoHistories, at: datetime) -> None:
        if self.failing:
            raise StoreError("PostgreSQL is away.")
        self.kept.append((accused, found, at))

    def witnessing(self, log: str, code: str) -> None:
        self.counted.append((log, code))


def witness_of(network: SimulatedNetwork, member: str, registries: Registries, memory: Memory, desk: Desk) -> Witness:
    """A member as witness."""
    key = network.members[member].witness
    return Witness(member=member, key=key, registries=registries, memory=memory, evidence=desk, watch=desk)


@dataclass(frozen=True)
class Note:
    """A checkpoint that is shown."""

    note: bytes


@dataclass
class Shown:
    """`server.ledger.Log`: what a test has put there, the widest of each tile and bundle."""

    newest: Note | None = None
    newest_final: Note | None = None
    widest_tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    widest_bundles: dict[int, bytes] = field(default_factory=dict)
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    waiting: int = 0
    crowd: int = 0
    crowded: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def final(self) -> Note | None:
        return self.newest_final

    async def head(self) -> Note | None:
        self.waiting += 1
        if self.waiting == self.crowd:
            self.crowded.release()
        async with self.reading:
            return self.newest

    async def tiles(self, places: Iterable[Tile]) -> dict[Tile, bytes]:
        found = {place: self.widest_tiles.get((place.level, place.index), b"") for place in places}
        return {place: prefix(place, data) for place, data in found.items() if len(data) >= place.length}

    async def bundles(self, places: Iterable[Bundle]) -> dict[Bundle, bytes]:
        found = {place: self.widest_bundles.get(place.index, b"") for place in places}
        return {place: prefix(place, data) for place, data in found.items() if len(data) >= place.length}
