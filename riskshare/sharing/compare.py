"""Comparing what members hold of one another: two versions of one statement, two histories of one log.

A member that shows different things to different members is found when those compare. Each tells the others the
digests of the statements and the checkpoints that it holds (`held_page`), each digest once, page by page; where one
differs from ours, the statement itself is fetched, and both together are a fraud proof. Of two members that hold
different statements, the one that reads the other's digest later finds it. Who forked a list contradicts himself in
each version from there on: one proof, of the earliest that is found, is enough.

Two checkpoints of one log agree if the log's own tiles lead from the smaller to the larger; where they lead elsewhere,
they are the proof (`ledger.histories`). A log that gives no tiles for what it signed, time after time, is suspect, and
both checkpoints are kept.

What another member claims convicts nobody: only what the accused signed does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from riskshare.errors import EncodingError, LedgerError, PeerError, SnapshotError
from riskshare.ledger.checkpoint import SignedCheckpoint, member_of
from riskshare.ledger.histories import TwoHistories, bare, find_histories, history_tiles
from riskshare.ledger.note import VerifierKey
from riskshare.ledger.tile import Tile, TileReader
from riskshare.sharing import epoch as epochs
from riskshare.sharing import snapshot as snapshots
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.fraud import FraudProof, read_value
from riskshare.sharing.held_page import HeldPage, HeldStatement, read_held
from riskshare.sharing.kept import FraudProofRow
from riskshare.sharing.signed import Keys, read_signed

MOST_DIFFERENCES: Final = 16
"""Statements that are fetched from one member in one round, at most."""

MOST_OPEN: Final = 1024
"""Differences with one member that wait to be looked into; while there are so many, its next page is not read."""

MOST_PROOFS: Final = 256
"""Pairs of checkpoints that are held against each other in one round, at most: each costs a few tiles."""

MOST_REMEMBERED: Final = 4096
"""Pairs of checkpoints of which it is remembered that they agree, or how often a log failed to show it; and as many
differences of which it is remembered that they came to nothing, and lists that are convicted."""

PATIENCE: Final = 3
"""So many rounds a log may fail to give the tiles between two of its checkpoints, before it is suspect; and so many a
member may fail to show a statement that it says it holds."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

AT_ONCE: Final = 8
"""Members that are asked at once what they hold: of two that are slow, none waits for the other."""


@dataclass(slots=True)
class Difference:
    """A statement of ours, the digest that another member holds in its place, and how often that was not shown."""

    mine: HeldStatement
    digest: bytes
    failures: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """Which to look into first."""
        return self.failures, self.mine.version


class Others(Protocol):
    """The other members' peers. Raises PeerError."""

    async def held(self, member: str, after: int) -> bytes:
        """What the member holds of others: a `HeldPage`, the first or the one after another."""

    async def held_statement(self, member: str, digest: bytes) -> bytes:
        """A statement that it holds, in its wire form."""

    async def tiles(self, member: str, places: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """Tiles of the log of a member, this one included. Raises LedgerError: they are not to be had whole."""


class Own(Protocol):
    """What this member holds."""

    async def differing(self, theirs: Mapping[bytes, bytes]) -> Sequence[HeldStatement]:
        """Statements of other owners, of open lists, held under these keys with other digests. Raises StoreError."""

    async def checkpoints(self) -> Sequence[SignedCheckpoint]:
        """Verified checkpoints of other members' logs, and the head of our own, bare. Raises StoreError."""


class Evidence(Protocol):
    """Where proofs are kept. Raises StoreError."""

    async def add_fraud_proof(self, row: FraudProofRow) -> bool:
        """Keep a proof; False if it is kept already."""


class Watch(Protocol):
    """Who is told."""

    def convicted(self, row: FraudProofRow) -> None:
        """New evidence is kept."""

    def doubted(self, member: str, code: str, sentence: str) -> None:
        """Something does not hold, and convicts nobody; `member` is who said or served it."""


class Comparer:
    """Compares on behalf of one member of `network`; `log_keys` gives all keys of a member's log that are believed."""

    def __init__(
        self,
        *,
        network: str,
        keys: Keys,
        log_keys: Callable[[str], Sequence[VerifierKey]],
        others: Others,
        own: Own,
        evidence: Evidence,
        watch: Watch,
        now: Callable[[], datetime],
    ) -> None:
        self._network = network
        self._keys = keys
        self._log_keys = log_keys
        self._others = others
        self._own = own
        self._evidence = evidence
        self._watch = watch
        self._now = now
        self._failures: dict[tuple[str, str], int] = {}
        """Of pairs of checkpoints, how often their log failed to show that they agree; 0: they agree."""
        self._left = MOST_PROOFS
        self._after: dict[str, int] = {}
        """By member, where to read on."""
        self._open: dict[str, dict[bytes, Difference]] = {}
        """By member, differences to look into, by key."""
        self._settled: dict[tuple[str, bytes, bytes], None] = {}
        """Differences that came to nothing: member, key, digest."""
        self._convicted: dict[tuple[str, bytes], None] = {}
        """Chains of whose fork we hold a proof."""

    async def compare(self, members: Iterable[str]) -> None:
        """Compare with each of the members; one that cannot be reached, or talks nonsense, stops nothing.

        Raises:
            StoreError: evidence could not be read or kept.

        """
        self._left = MOST_PROOFS
        for some in _parts(list(members)):
            pages = await asyncio.gather(*map(self._page, some))
            for member, page in zip(some, pages, strict=True):
                if page is not None:
                    await self._differences(member, page)
                    await self._look_into(member)
                    for signed in page.checkpoints:
                        await self.hold(member, signed)

    async def _page(self, member: str) -> HeldPage | None:
        """What a member holds and did not tell before; None, if that is not to be had."""
        try:
            return read_held(await self._others.held(member, self._after.get(member, 0)))
        except PeerError:
            return None
        except EncodingError as error:
            self._watch.doubted(member, "peer_garbage", error.message)
            return None

    # -- statements ------------------------------------------------------------------

    async def _differences(self, member: str, page: HeldPage) -> None:
        """Note where a page differs from what we hold; go on behind it when all of them are noted."""
        found = self._open.setdefault(member, {})
        for mine in await self._own.differing(page.statements):
            digest = page.statements[mine.key]
            if mine.chain in self._convicted or (member, mine.key, digest) in self._settled:
                continue
            if len(found) >= MOST_OPEN:
                return
            found.setdefault(mine.key, Difference(mine, digest))
        self._after[member] = page.next

    async def _look_into(self, member: str) -> None:
        found = self._open[member]
        for each in sorted(found.values(), key=lambda each: each.order)[:MOST_DIFFERENCES]:
            if each.mine.chain in self._convicted or await self._is_settled(member, each):
                del found[each.mine.key]

    async def _is_settled(self, member: str, each: Difference) -> bool:
        """Look into one difference; False: it was not shown, and will be asked for again."""
        try:
            wire = await self._others.held_statement(member, each.digest)
            await self._keep(self._fraud(each.mine, wire, each.digest))
        except PeerError as error:
            told = f"It holds another statement, and does not show it: {error.message}"
            self._watch.doubted(member, error.code, told)
            each.failures += 1
            if each.failures < PATIENCE:
                return False
        except SnapshotError as error:
            self._watch.doubted(member, error.code, error.message)
        else:
            _bounded(self._convicted, each.mine.chain, None)
            return True
        _bounded(self._settled, (member, each.mine.key, each.digest), None)
        return True

    def _fraud(self, mine: HeldStatement, wire: bytes, digest: bytes) -> FraudProofRow:
        """The proof that both statements make. Raises SnapshotError if they make none."""
        kind = mine.signed.statement.kind
        limit = epochs.MAX_BYTES if kind == epochs.KIND else snapshots.MAX_BYTES
        terms = self._keys(mine.owner)
        received = self._now()
        signed = read_signed(kind, self._network, wire, [term.public for term in terms], received=received, limit=limit)
        value = read_value(signed.statement)
        if (value.digest if isinstance(value, EpochStatement) else signed.digest) != digest:
            raise SnapshotError("The statement shown is not the one whose digest was told.", code="no_proof")
        proof = FraudProof(kind, mine.owner, mine.signed, signed)
        proof.verify(self._keys)
        return FraudProofRow(kind, mine.owner, proof.about, proof.evidence(), received)

    # -- checkpoints -----------------------------------------------------------------

    async def hold(self, told_by: str, theirs: SignedCheckpoint) -> None:
        """Hold a checkpoint, told by a member, against those that we hold of that log.

        Raises:
            StoreError: ours could not be read, or evidence not kept.

        """
        name = member_of(theirs.checkpoint.origin, self._network)
        keys = () if name is None else self._log_keys(name)
        if name is None or not keys:
            return  # one that we do not know, or not any more
        try:
            theirs = bare(theirs, keys)
        except LedgerError as error:
            self._watch.doubted(told_by, error.code, f"It tells a checkpoint of {name} that does not hold.")
            return
        for ours in await self._own.checkpoints():
            if ours.checkpoint.origin == theirs.checkpoint.origin:
                await self._hold_pair(name, ours, theirs)

    async def _hold_pair(self, name: str, ours: SignedCheckpoint, theirs: SignedCheckpoint) -> None:
        first, second = sorted((ours, theirs), key=lambda signed: signed.checkpoint.size)
        pair = (first.note.text, second.note.text)
        if pair[0] == pair[1] or self._failures.get(pair) == 0:
            return
        try:
            found = await self._histories(name, first, second)
        except PeerError:
            return  # the log cannot be asked now
        except LedgerError as error:
            self._watch.doubted(name, error.code, f"Its log does not show that it only grew: {error.message}")
            failures = self._remember(pair, self._failures.get(pair, 0) + 1)
            found = TwoHistories(first, second)
            if failures < PATIENCE:
                return
        if found is None:
            self._remember(pair, 0)
            return
        await self._keep(FraudProofRow(found.kind, name, found.about, found.to_bytes(), self._now()))

    async def _histories(self, name: str, first: SignedCheckpoint, second: SignedCheckpoint) -> TwoHistories | None:
        """Two histories of a log, or None. Raises PeerError, LedgerError: it does not show which."""
        tiles: Mapping[Tile, bytes] = {}
        if first.checkpoint.size != second.checkpoint.size:
            if self._left == 0:
                raise PeerError(name, "Enough has been compared in this round.")
            self._left -= 1
            tiles = await self._others.tiles(name, history_tiles(first, second))
        return find_histories(first, second, TileReader(tiles).read)

    def _remember(self, pair: tuple[str, str], failures: int) -> int:
        _bounded(self._failures, pair, failures)
        return failures

    async def _keep(self, row: FraudProofRow) -> None:
        if await self._evidence.add_fraud_proof(row):
            self._watch.convicted(row)


def _bounded(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Put something into what is remembered; the oldest goes where that is too much."""
    known[key] = value
    while len(known) > MOST_REMEMBERED:
        del known[next(iter(known))]


def _parts(members: Sequence[str]) -> Iterable[Sequence[str]]:
    return (members[start : start + AT_ONCE] for start in range(0, len(members), AT_ONCE))
