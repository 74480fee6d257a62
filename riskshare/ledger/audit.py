"""Verifying a whole log from outside: everything is derived anew from its entries, and nothing is believed before.

Who runs it needs the log, as files or at a URL, and a policy that says whose signatures count: no account, no key, no
other software of ours. The memory that it takes does not grow with the log.

What may differ without being wrong: a cosignature line of a key that the policy does not name (signed-note has it
ignored), as long as the others are a quorum. So a line whose *name or key ID* was altered is a witness missing, which
`Audited.final` shows; any other byte that was altered is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Protocol, TypeVar, final

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger import note
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_signed
from riskshare.ledger.derivation import Derivation, DerivedTiles
from riskshare.ledger.merkle import HASH_BYTES
from riskshare.ledger.policy import Final as FinalCheckpoint
from riskshare.ledger.policy import Policy
from riskshare.ledger.proof import inclusion_nodes, prove_inclusion, verify_inclusion
from riskshare.ledger.tile import (
    WIDTH,
    Bundle,
    Tile,
    TileReader,
    bundles_between,
    check_tile,
    parse_path,
    prefix,
    stands_in,
    tiles_of,
)

CHECKPOINT: Final = "checkpoint"
AHEAD: Final = 64
"""Bundles that are fetched together, each with its tile: about a megabyte."""

AT_ONCE: Final = 16
"""Most requests to a source at one time."""

Progress = Callable[[int, int], None]
"""Told now and then: entries derived, entries in all."""

_T = TypeVar("_T")


class Source(Protocol):
    """A log as it is served: at a URL, or in a folder."""

    async def fetch(self, path: str, limit: int) -> bytes | None:
        """The bytes at a path below the log's prefix, or None if there is nothing.

        Of what is longer than `limit` bytes, `limit` + 1 bytes are enough. Raises PeerError, DiskError: it cannot be
        read.
        """

    def parts(self) -> Iterable[str]:
        """Paths of all tiles and bundles that are there, where that can be known; else none. Raises DiskError."""


@dataclass(frozen=True, slots=True)
class Audited:
    """A log that holds: its final checkpoint, and how many bundles and tiles were compared."""

    final: FinalCheckpoint
    bundles: int
    tiles: int

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint."""
        return self.final.checkpoint


async def audit(source: Source, policy: Policy, progress: Progress | None = None) -> Audited:
    """Verify a log, from its entries up.

    1. The checkpoint is well-formed.
    2. Its log signed it, and a quorum of the policy's witnesses cosigned it.
    3. Every bundle has as many entries as the checkpoint says, each of 32 bytes.
    4. Every tile is, byte for byte, the one that the entries give.
    5. The root that they give is the one of the checkpoint.
    6. There is nothing beside: no tile or bundle that a log of this size does not have.

    The first thing that is wrong ends it.

    Raises:
        LedgerError: codes of `Policy.check`; `missing_part`, `wrong_bundle`, `wrong_tile`, `wrong_tree`,
            `unexpected_part`, `malformed_checkpoint`. The sentence names the path, and the entry where it can.
        PeerError, DiskError: the source cannot be read.

    """
    # 1.
    signed = await read_checkpoint(source)
    # 2.
    final_checkpoint = policy.check(signed)
    # 3 to 6.
    return await derive(source, final_checkpoint, progress)


async def derive(source: Source, final_checkpoint: FinalCheckpoint, progress: Progress | None = None) -> Audited:
    """Steps 3 to 6 of `audit`, for a checkpoint that is known to be final.

    Raises:
        LedgerError, PeerError, DiskError: as `audit`.

    """
    return await _Audit(source, final_checkpoint, progress).run()


async def read_checkpoint(source: Source) -> SignedCheckpoint:
    """The newest checkpoint that a log serves; no signature is verified.

    Raises:
        LedgerError: code `missing_part`, there is none; code `malformed_checkpoint`.
        PeerError, DiskError: the source cannot be read.

    """
    data = await source.fetch(CHECKPOINT, note.MAX_BYTES)
    if data is None:
        raise LedgerError(
            "There is no checkpoint here: it is no log, or nothing in it is final yet.", code="missing_part"
        )
    try:
        return parse_signed(data)
    except EncodingError as error:
        raise LedgerError(f"The checkpoint cannot be read: {error.message}", code="malformed_checkpoint") from error


@final
class _Audit:
    """Steps 3 to 6, for one checkpoint."""

    def __init__(self, source: Source, final_checkpoint: FinalCheckpoint, progress: Progress | None) -> None:
        self._source = source
        self._final = final_checkpoint
        self._size = final_checkpoint.checkpoint.size
        self._progress = progress
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._bundles = 0
        self._tiles = 0

    async def run(self) -> Audited:
        derivation = Derivation(self._size)
        # 3 and 4.
        for places in _batches(bundles_between(0, self._size)):
            derived: list[tuple[Tile, bytes]] = []
            for data in await _in_order(self._fetch(bundle) for bundle in places):
                derived += derivation.feed(data)
            await self._compare(tuple(derived))
            self._bundles += len(places)
            if self._progress:
                self._progress(derivation.done, self._size)
        await self._compare(derivation.rest())
        # 5.
        derivation.check_root(self._final.checkpoint.root)
        # 6.
        for path in self._source.parts():
            self._expect(path)
        return Audited(self._final, self._bundles, self._tiles)

    async def _compare(self, derived: DerivedTiles) -> None:
        """Hold tiles against those served, in their order."""
        for part in _batches(iter(derived)):
            served = await _in_order(self._fetch(tile) for tile, _ in part)
            for (tile, mine), theirs in zip(part, served, strict=True):
                try:
                    check_tile(tile, mine, theirs)
                except LedgerError as error:
                    await self._blame(tile, mine, theirs)
                    raise error from None
            self._tiles += len(part)

    async def _blame(self, tile: Tile, derived: bytes, served: bytes) -> None:
        """Raise if it is the entry that is wrong, and the tile right: its hash leads to the root of the checkpoint."""
        if tile.level or len(derived) != len(served):
            return
        first = next(place for place in range(tile.length) if derived[place] != served[place]) // HASH_BYTES
        index = tile.index * WIDTH + first
        places = tiles_of(inclusion_nodes(index, self._size), self._size)
        try:
            around = await _in_order(self._fetch(place) for place in places)
            read = TileReader(dict(zip(places, around, strict=True))).read
            proof = prove_inclusion(index, self._size, read)
            leaf = served[first * HASH_BYTES : (first + 1) * HASH_BYTES]
            verify_inclusion(leaf, index, self._size, proof, self._final.checkpoint.root)
        except LedgerError:
            return
        path = Bundle(tile.index, tile.width).path
        raise LedgerError(
            f"Entry {index} in {path} is not the one that stands in the log: {tile.path} has its hash, and leads to"
            " the root of the checkpoint.",
            code="wrong_bundle",
        )

    async def _fetch(self, place: Tile | Bundle) -> bytes:
        """The bytes of a tile or bundle. A partial one may be deleted once the full one is there (tlog-tiles)."""
        full = replace(place, width=WIDTH)
        async with self._turns:
            found = await self._source.fetch(place.path, place.length)
            if found is None and not place.is_full:
                wider = await self._source.fetch(full.path, full.length)
                found = None if wider is None else prefix(place, wider)
        if found is None:
            raise LedgerError(
                f"{place.path} is missing, and a log of {self._size:,} entries has it.", code="missing_part"
            )
        if len(found) != place.length:
            code = "wrong_bundle" if isinstance(place, Bundle) else "wrong_tile"
            length = f"{len(found)}" if len(found) < place.length else f"more than {place.length}"
            raise LedgerError(f"{place.path} has {length} bytes and should have {place.length}.", code=code)
        return found

    def _expect(self, path: str) -> None:
        try:
            if stands_in(parse_path(path), self._size):
                return
        except EncodingError:
            pass
        raise LedgerError(
            f"{path} is no part of a log of {self._size:,} entries. Either the checkpoint is older than the rest, or"
            " somebody has put it there.",
            code="unexpected_part",
        )


def _batches(places: Iterator[_T]) -> Iterator[tuple[_T, ...]]:
    while batch := tuple(islice(places, AHEAD)):
        yield batch


async def _in_order(work: Iterable[Awaitable[bytes]]) -> Sequence[bytes]:
    """Do all of it at once; of several failures, raise that of the first in order, so that it is always the same."""
    found = await asyncio.gather(*work, return_exceptions=True)
    results: list[bytes] = []
    for one in found:
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return results
