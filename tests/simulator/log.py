"""A member's log with real signatures, in memory: what `riskshare ledger export` reads and `verify` is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from riskshare.ledger.bundle import grow_bundles
from riskshare.ledger.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    origin_of,
    sign_checkpoint,
    witness_name,
)
from riskshare.ledger.edge import Edge
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.note import cosign
from riskshare.ledger.policy import Policy, network_policy
from riskshare.ledger.tile import Bundle, Tile, prefix
from riskshare.signature import SigningKey
from tests.simulator.network import SimulatedNetwork, make_network
from tests.simulator.tree import entry


@dataclass
class SimulatedLog:
    """The log of `member`; `entries` are 32 bytes each, `cosigners` all who cosign its checkpoints."""

    network: SimulatedNetwork
    member: str
    entries: list[bytes]
    cosigners: Sequence[str]
    _tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _bundles: dict[int, bytes] = field(default_factory=dict)
    _edge: Edge = field(default_factory=Edge)

    def __post_init__(self) -> None:
        self._write(self.entries)

    def append(self, entries: Iterable[bytes]) -> None:
        added = list(entries)
        self.entries += added
        self._write(added)

    def _write(self, added: Sequence[bytes]) -> None:
        partial = self._bundles.get(self._edge.size // 256, b"")
        for bundle, data in grow_bundles(self._edge.size, partial, added):
            self._bundles[bundle.index] = data
        growth = self._edge.append([leaf_hash(one) for one in added])
        self._edge = growth.edge
        for tile, data in growth.tiles:
            self._tiles[tile.level, tile.index] = data

    @property
    def size(self) -> int:
        return self._edge.size

    @property
    def policy(self) -> Policy:
        return network_policy(self.network.registry, self.member, self.network.issued_at)

    def signed(self, *, root: bytes | None = None, cosigners: Sequence[str] | None = None) -> SignedCheckpoint:
        """The checkpoint of now, cosigned."""
        origin = origin_of(self.network.name, self.member)
        checkpoint = Checkpoint(origin, self.size, root or self._edge.root())
        note = sign_checkpoint(checkpoint, self.network.members[self.member].ledger)
        return SignedCheckpoint(checkpoint, note.with_signatures(self._cosign(note.text, cosigners)))

    def _cosign(self, text: str, cosigners: Sequence[str] | None):
        time = int(self.network.issued_at.timestamp())
        for name in self.cosigners if cosigners is None else cosigners:
            key: SigningKey = self.network.members[name].witness
            yield cosign(text, witness_name(self.network.name, name), key, time)

    async def tiles(self, places: Iterable[Tile]) -> dict[Tile, bytes]:
        return {place: prefix(place, self._tiles[place.level, place.index]) for place in places}

    async def bundles(self, places: Iterable[Bundle]) -> dict[Bundle, bytes]:
        return {place: prefix(place, self._bundles[place.index]) for place in places}


def make_log(size: int, *, members: Sequence[str] = ("a", "b", "c", "d", "e")) -> SimulatedLog:
    """A log of the first of five members, which all others cosign; three of four are a quorum."""
    network = make_network(members)
    return SimulatedLog(network, members[0], [entry(index) for index in range(size)], members[1:])
