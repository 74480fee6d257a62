"""The versions of one list over all its epochs, and how they must grow (pure).

Version chains run per epoch. Within one, each version names the digest of the one before.
The first of a new epoch names one of the old chain. So every statement leads back to
every earlier one, and a subscriber that holds any of them notices another history.

What skips versions is not believed at once: the answer is a `Gap`. The caller fetches
what is missing and offers it:

* newest first, each statement is vouched for by the digest in the one above it;
* oldest first, each is vouched for by its own signature and continues the chain here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from riskshare.errors import SnapshotError
from riskshare.keyterm import KeyTerm
from riskshare.sharing.chain import MOST_EPOCHS, Chain, Held, Walk
from riskshare.sharing.signed import Signed, stands

Convict = Callable[[Signed, Signed], None]
"""Takes two statements that contradict each other."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The snapshot is the newest now.

    It serves once all its segments are accepted; `missing` are the indices of those that
    are not yet. Until then the last good one goes on serving.
    """

    held: Held
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The snapshot offered is the one that is newest already; `missing` as in `Accepted`."""

    held: Held
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Statements of `list_name` are missing before the one offered can be believed.

    They are the versions `first_missing` to `last_missing` under the epoch named `epoch`.
    `wanted` is the digest of the newest of them, which may be fetched by it; its version
    is not known if `last_missing` is None: it is the last of an older epoch, then; either
    fetch it by digest, or go on from `first_missing` upwards.
    They may always be offered newest first; oldest first only if `either_way`, as a new
    epoch's first statement is believed only together with what leads up to it.
    """

    list_name: str
    epoch: bytes
    first_missing: int
    last_missing: int | None
    wanted: bytes
    either_way: bool = False


Outcome = Accepted | Unchanged | Gap


@dataclass(slots=True)
class History:
    """The chains of one list, by epoch digest."""

    list_name: str
    convict: Convict = field(repr=False)
    chains: dict[bytes, Chain] = field(default_factory=dict)

    def as_first_received(self, held: Held) -> Held:
        """The same with the time of its first receipt here: a replay is not a new receipt."""
        chain = self.chains.get(held.snapshot.epoch)
        link = None if chain is None else chain.link_at(held.version)
        if link is None or link.digest != held.digest or link.signer != held.signed.signer:
            return held
        return replace(held, signed=replace(held.signed, received=link.received))

    def refuse_known(self, held: Held) -> None:
        """Refuse what contradicts or undoes a version that is remembered.

        Raises:
            SnapshotError: code `fork`, another statement for a version that is remembered
                or waits to be connected; `rollback`, a version older than the newest.

        """
        chain = self.chains.get(held.snapshot.epoch)
        if chain is None:
            return
        rivals = [] if chain.walk is None else [chain.walk.candidate, chain.walk.lowest]
        rivals += [rival for rival in (chain.tip, chain.served) if rival is not None]
        for rival in rivals:
            same = (rival.snapshot.epoch, rival.version) == (held.snapshot.epoch, held.version)
            if same and rival.digest != held.digest:
                self._fork(rival, held)
        link = chain.link_at(held.version)
        if link is not None and link.digest != held.digest:
            self._fork(None, held)
        if chain.links and held.version < chain.last.version:
            raise SnapshotError("The owner offers an older version than it did before.", code="rollback")

    def extend(self, held: Held, number: int, begins: datetime) -> Outcome:
        """Take a verified statement, newest of its chain, whose epoch has `number` and begins at `begins`.

        Raises:
            SnapshotError: codes `fork`, `broken_chain`.

        """
        epoch = held.snapshot.epoch
        chain = self.chains.get(epoch)
        if chain is None:
            chain = self.chains[epoch] = Chain(epoch, number, begins)
        if chain.links and held.version == chain.last.version:
            if chain.tip is not None and not chain.tip.intermediate:
                return Unchanged(chain.tip, chain.missing())
            chain.add(held)
            return Accepted(held, chain.missing())
        chain.walk = Walk(held, held)
        return self._settle(chain)

    def connect(self, held: Held, *, believed: bool) -> Accepted | Gap:
        """Take a statement that was missing; `believed` tells whether its own signature stands.

        Raises:
            SnapshotError: code `fork`, the history told is not the one that is remembered;
                `broken_chain`, the statement does not belong between the two.

        """
        walking = [chain for chain in self.chains.values() if chain.walk is not None]
        for chain in walking:
            if chain.walk is not None and chain.walk.lowest.snapshot.previous == held.digest:
                return self._step_down(chain, held)
        own = self.chains.get(held.snapshot.epoch)
        if walking and believed and own is not None and own.links and held.version == own.last.version + 1:
            if held.snapshot.previous != own.last.digest:
                self._fork(own.tip, held)
            own.add(Held(held.snapshot, held.signed, intermediate=True))
            return self._settle(own if own.walk is not None else walking[0])
        for chain in walking:
            walk = chain.walk
            assert walk is not None
            below = walk.lowest.version - 1
            if believed and (held.snapshot.epoch, held.version) == (walk.lowest.snapshot.epoch, below):
                chain.walk = None
                self._fork(walk.lowest, held)
        raise SnapshotError("The statement is none of those that are missing.", code="broken_chain")

    def judge(self, terms: Sequence[KeyTerm]) -> None:
        """Judge anew what is held, under another registry: forget what is void."""
        for chain in self.chains.values():
            chain.drop_void(terms)
            held = chain.served
            if held is not None:
                chain.believed = stands(terms, held.signed.signer, [held.snapshot.issued_at], held.signed.received)

    def _drop_old(self) -> None:
        """Of the chains that serve, as many are enough as may be in service at once: the newest ones."""
        serving = sorted(chain.number for chain in self.chains.values() if chain.served is not None)
        if len(serving) > MOST_EPOCHS:
            oldest = serving[-MOST_EPOCHS]
            self.chains = {name: chain for name, chain in self.chains.items() if chain.number >= oldest}

    def _step_down(self, chain: Chain, held: Held) -> Accepted | Gap:
        walk = chain.walk
        assert walk is not None
        low = walk.lowest.snapshot
        same_epoch = held.snapshot.epoch == low.epoch
        if held.version != low.version - 1 if same_epoch else low.version != 1:
            chain.walk = None
            raise SnapshotError("The owner's history does not count its versions one by one.", code="broken_chain")
        known = self.chains.get(held.snapshot.epoch)
        link = None if known is None else known.link_at(held.version)
        if known is not None and link is not None and link.digest != held.digest:
            chain.walk = None
            self._fork(known.tip, held)
        walk.lowest = held
        return self._settle(chain)

    def _settle(self, chain: Chain) -> Accepted | Gap:
        """Say whether the walk has reached what is remembered, or what to fetch next."""
        walk = chain.walk
        assert walk is not None
        try:
            gap = self._gap(chain, walk.lowest)
        except SnapshotError:
            chain.walk = None
            raise
        if gap is not None:
            return gap
        chain.walk = None
        chain.add(walk.candidate)
        self._drop_old()
        return Accepted(walk.candidate, chain.missing())

    def _gap(self, chain: Chain, lowest: Held) -> Gap | None:
        low = lowest.snapshot
        if chain.links:
            return self._gap_above(chain, lowest, chain.last.version)
        base = self._base(chain)
        if base is None:
            return None  # the first contact: there is nothing to compare with
        if low.epoch != base.epoch and low.version > 1:
            assert low.previous is not None
            return Gap(self.list_name, low.epoch, 1, low.version - 1, low.previous)
        if low.previous is None:
            if low.epoch == base.epoch and low.version < base.links[0].version:
                return None
            raise SnapshotError("The list begins anew, and does not name what went before.", code="broken_chain")
        if any(older.knows(low.previous) for older in self._older(chain)):
            return None
        if low.epoch != base.epoch:
            return Gap(self.list_name, base.epoch, base.last.version + 1, None, low.previous, either_way=True)
        if low.version <= base.links[0].version:
            return None  # the old chain was left before it was first seen here
        below = max((link.version for link in base.links if link.version < low.version), default=0)
        return self._gap_above(base, lowest, below)

    def _gap_above(self, chain: Chain, lowest: Held, below: int) -> Gap | None:
        """What is missing between version `below` of `chain`, which is remembered, and `lowest`."""
        low = lowest.snapshot
        link = chain.link_at(below)
        assert link is not None
        assert low.previous is not None
        if low.version > below + 1:
            return Gap(
                self.list_name, chain.epoch, below + 1, low.version - 1, low.previous, below == chain.last.version
            )
        if low.version <= below:
            raise SnapshotError("The statements that should meet have passed each other.", code="broken_chain")
        if low.previous != link.digest:
            self._fork(chain.tip, lowest)
        return None

    def _older(self, chain: Chain) -> Iterator[Chain]:
        return (other for other in self.chains.values() if other.links and other.number < chain.number)

    def _base(self, chain: Chain) -> Chain | None:
        """The newest older chain that was followed before the new epoch began: it must lead on into `chain`.

        Whoever came later may know less of the old chain than the new one grew from.
        """
        followed = [older for older in self._older(chain) if older.links[0].received < chain.begins]
        return max(followed, key=lambda older: older.number, default=None)

    def _fork(self, rival: Held | None, held: Held) -> None:
        """Refuse another history; with both statements at hand, convict the owner of it."""
        if rival is not None:
            self.convict(rival.signed, held.signed)
        raise SnapshotError("The owner tells another history of this list than it did before.", code="fork")
