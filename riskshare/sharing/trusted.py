"""What a subscriber believes: one pure state machine over all owners (`TrustedSnapshots`).

The rules are those of The Update Framework (TUF 1.0.33, section 5), carried over to risk
lists: its root is our registry, its timestamp and targets our snapshots, its list of
delegations our catalogues. Bytes and times come in; what is believed, or a refusal, goes
out. It neither fetches nor stores: `subscribe` does, between two calls.

What it refuses, and with which code:

| attack | code |
|---|---|
| an older version than before | `rollback` |
| two statements for one version, another history | `fork`; both are kept as a `FraudProof` |
| a segment of another list, epoch, snapshot or kind | `mixed_segments` |
| an expired statement, or of an epoch that is over | `expired` |
| one from the future (more than 60 s) | `not_yet_valid` |
| signed by another member, a key out of term, a compromised key, or for another network | `foreign_key` |
| a list of another owner, another category | `wrong_list` |
| a catalogue made for another reader | `wrong_reader` |
| an epoch that nobody announced; one of another keyset | `unknown_epoch`, `wrong_epoch` |
| normalisation rules that this version does not know | `unknown_normalisation` |
| skipped versions that do not lead back to what is held | `broken_chain` |
| anything that is not of its exact form | `malformed_statement` |
| more lists, more epochs at once than a reader follows | `too_many_lists`, `too_many_epochs` |

A refusal changes nothing: the last good snapshot serves until it expires, visibly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from riskshare.errors import SnapshotError
from riskshare.names import check_list_name, list_owner
from riskshare.sharing import snapshot as snapshots
from riskshare.sharing.announced import MOST_LISTS, Announced, refuse_time
from riskshare.sharing.catalogue import CatalogueEntry, CatalogueStatement
from riskshare.sharing.chain import Chain, Held
from riskshare.sharing.epoch import OPEN, EpochStatement
from riskshare.sharing.fields import Fields, malformed
from riskshare.sharing.fraud import FraudProof, read_value
from riskshare.sharing.history import Accepted, Gap, History, Outcome
from riskshare.sharing.signed import Keys, Signed, read_signed, require_standing, stands
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.standing import ListStanding, OwnerStanding, SegmentFacts, Status, match_segment, status_at

STALE_AFTER = timedelta(seconds=60)
"""Default bound on the age of the last successful poll."""

_STATE_KEYS = frozenset({"network", "reader", "owners", "lists"})
_LIST_KEYS = frozenset({"list", "chains"})
_MAX_KEPT = 100_000
_Taken = TypeVar("_Taken")

Here = Callable[[str, bytes], bool]
"""Whether a list (full name) can be looked into in an epoch (digest)."""


class TrustedSnapshots:
    """The state of one subscriber, `reader`, in `network`.

    `keys` gives the identity keys that the registry names for an owner, with their terms
    (none for who is not an owner in good standing). `is_element` tells whether 32 bytes
    are a group element. `stale_after` bounds the age of the last poll; `bounds` sets other
    bounds per full list name. `most_lists` bounds the lists of one owner. `proofs` are the
    frauds found, each once.

    All times are aware; `now` is the subscriber's clock.
    """

    def __init__(
        self,
        network: str,
        reader: str,
        keys: Keys,
        *,
        is_element: Callable[[bytes], bool] | None = None,
        normalisations: frozenset[int] = frozenset({1}),
        stale_after: timedelta = STALE_AFTER,
        bounds: Mapping[str, timedelta] | None = None,
        most_lists: int = MOST_LISTS,
    ) -> None:
        self.network = network
        self.reader = reader
        self.proofs: list[FraudProof] = []
        self._keys = keys
        self._is_element = is_element
        self._normalisations = normalisations
        self._stale_after = stale_after
        self._bounds = dict(bounds or {})
        self._most_lists = most_lists
        self._owners: dict[str, Announced] = {}
        self._lists: dict[str, History] = {}

    # -- what comes in ---------------------------------------------------------------

    def update_keys(self, keys: Keys) -> None:
        """Take the keys of a new registry version and judge anew what is held.

        What was first received after its key's `compromised_from` is void: it is forgotten,
        and each chain goes on from the last link before. That is the recovery from a
        fast-forward attack (TUF 5.3.11). Other changes of keys forget nothing.
        """
        self._keys = keys
        self.proofs = [proof for proof in self.proofs if self._convicts(proof)]
        for announced in self._owners.values():
            announced.judge(keys)
        for history in self._lists.values():
            history.judge(keys(list_owner(history.list_name)))

    def accept_catalogue(self, owner: str, data: bytes, now: datetime) -> CatalogueStatement:
        """Take `owner`'s catalogue in its wire form; also counts as a poll. Errors: `Announced.accept_catalogue`."""
        return self._kept(owner, lambda announced: announced.accept_catalogue(data, self._keys, now, self._in_force))

    def accept_epoch(self, owner: str, data: bytes, now: datetime) -> EpochStatement:
        """Take an epoch statement of `owner` in its wire form. Errors: `Announced.accept_epoch`."""
        return self._kept(owner, lambda announced: announced.accept_epoch(data, self._keys, now, self._is_element))

    def accept_snapshot(self, owner: str, data: bytes, now: datetime) -> Outcome:
        """Take what `owner` offers as the newest snapshot of a list, in its wire form.

        1. Signed by a key of the owner, for this network; strictly parsed; a list of the owner.
        2. The key was in its term at issue, and not compromised before the first receipt.
        3. No other statement is known for its version; the version does not go down.
        4. Its normalisation rules are known.
        5. Its epoch is one that the owner announced, of the list's keyset; its category is the list's.
        6. Not from the future, not expired, within the epoch's term.
        7. It names the version before as its previous; if versions are missing: a `Gap`.

        Raises:
            SnapshotError: see the module.

        """
        held = self.read_snapshot(owner, data, now)
        history = self._lists.get(held.snapshot.list_name) or History(held.snapshot.list_name, self.contradicted)
        held = history.as_first_received(held)
        require_standing(self._keys(owner), held.signed, [held.snapshot.issued_at])
        history.refuse_known(held)
        epoch = self._check(held.snapshot, now)
        self._lists[history.list_name] = history
        outcome = history.extend(held, epoch.number, epoch.not_before)
        if not isinstance(outcome, Gap):
            self.polled(history.list_name, epoch.digest, now)
        return outcome

    def accept_missing(self, owner: str, data: bytes, now: datetime) -> Accepted | Gap:
        """Take a statement that a `Gap` asked for, in its wire form, newest or oldest first.

        It may have expired, and a statement above it may vouch for it where its own key
        does not any more.

        Raises:
            SnapshotError: `fork`, `broken_chain`, `foreign_key`, `wrong_list`, `malformed_statement`.

        """
        held = self.read_snapshot(owner, data, now)
        history = self._lists.get(held.snapshot.list_name)
        if history is None:
            raise SnapshotError("No statement of this list is missing.", code="broken_chain")
        held = history.as_first_received(held)
        signed = held.signed
        believed = stands(self._keys(owner), signed.signer, [held.snapshot.issued_at], signed.received)
        return history.connect(held, believed=believed)

    def accept_segment(self, list_name: str, snapshot: bytes, index: int, facts: SegmentFacts) -> bool:
        """Take segment `index` of the newest snapshot, named by its digest; True if that is complete and serves now.

        The caller has verified the file against itself; here it is held against what the
        owner signed.

        Raises:
            SnapshotError: code `mixed_segments`.

        """
        history = self._lists.get(list_name)
        for chain in () if history is None else history.chains.values():
            tip = chain.tip
            if tip is not None and tip.digest == snapshot and not tip.intermediate:
                match_segment(tip.snapshot, index, facts)
                chain.verified.add(index)
                chain.promote()
                return chain.served is tip
        raise SnapshotError("The segment belongs to a snapshot that is not the newest.", code="mixed_segments")

    def polled(self, list_name: str, epoch: bytes, when: datetime) -> None:
        """Note that at `when` the owner had nothing newer of this list and epoch (a 304 counts)."""
        history = self._lists.get(list_name)
        if history is not None and epoch in history.chains:
            history.chains[epoch].confirm(when)

    def was_away(self) -> None:
        """Note that nobody was here to be told: nothing is confirmed until the owners have been asked again."""
        for announced in self._owners.values():
            announced.polled_at = None
        for chain in [chain for history in self._lists.values() for chain in history.chains.values()]:
            chain.confirmed_at = None

    # -- what is believed ------------------------------------------------------------

    def catalogue(self, owner: str) -> CatalogueStatement | None:
        """The newest catalogue of an owner that is believed, expired or not."""
        announced = self._owners.get(owner)
        if announced is None or not announced.believed or not self._keys(owner):
            return None
        return announced.catalogue

    def catalogue_status(self, owner: str, now: datetime) -> Status:
        """Whether the owner's catalogue tells all its lists at `now`."""
        catalogue = self.catalogue(owner)
        if catalogue is None:
            return Status.MISSING
        return status_at(catalogue.expires_at, self._owners[owner].polled_at, self._stale_after, now)

    def gone(self, owner: str, now: datetime) -> dict[str, CatalogueEntry]:
        """The lists by name that checks miss although no catalogue names them any more: see `announced.Gone`."""
        announced = self._owners.get(owner)
        found = {} if announced is None else announced.gone
        return {name: each.entry for name, each in found.items() if now < each.until}

    def epoch(self, digest: bytes) -> EpochStatement | None:
        """The epoch of this name."""
        found = (announced.epochs.get(digest) for announced in self._owners.values())
        return next((held.epoch for held in found if held is not None), None)

    def epochs(self, owner: str) -> list[EpochStatement]:
        """All epochs of an owner that are known, over or not."""
        announced = self._owners.get(owner)
        return [] if announced is None else [held.epoch for held in announced.epochs.values()]

    def answered_epochs(self, owner: str, keyset: str, now: datetime) -> list[EpochStatement]:
        """The epochs of a keyset that the owner answers for at `now`, newest first: those to subscribe to."""
        announced = self._owners.get(owner)
        return [] if announced is None else announced.answered(keyset, now)

    def epoch_in_use(self, owner: str, keyset: str, now: datetime, here: Here | None = None) -> EpochStatement | None:
        """The epoch in which to ask about all lists of a keyset, which move together.

        It is the newest that is answered for and in which every catalogued list is current.
        If there is none: the newest in which every list is usable; else that in which most are. What is not `here` is
        missing.
        """
        catalogue = self.catalogue(owner)
        lists = () if catalogue is None else catalogue.keyset(keyset)

        def worth(epoch: EpochStatement) -> tuple[bool, bool, int, int]:
            found = [self._status_in(entry.list_name, epoch, now, here) for entry in lists]
            usable = sum(status.usable for status in found)
            return all(status is Status.CURRENT for status in found), usable == len(found), usable, epoch.number

        return max(self.answered_epochs(owner, keyset, now), key=worth, default=None)

    def status(self, list_name: str, now: datetime, *, epoch: bytes | None = None) -> Status:
        """How far a list may be relied on, in the epoch in use or in the one named by `epoch`."""
        owner = list_owner(list_name)
        catalogue = self.catalogue(owner)
        entry = None if catalogue is None else catalogue.get(list_name)
        if entry is None or entry.ended:
            return Status.MISSING if list_name in self.gone(owner, now) else Status.UNLISTED
        found = self.epoch_in_use(owner, entry.keyset, now) if epoch is None else self.epoch(epoch)
        return Status.MISSING if found is None else self._status_in(list_name, found, now)

    def open_statements(self) -> Iterator[tuple[EpochStatement | SnapshotStatement, Signed]]:
        """Epoch and snapshot statements held of lists that are open to all: what members tell one another."""
        for announced in self._owners.values():
            yield from ((held.epoch, held.signed) for held in announced.epochs.values() if held.epoch.keyset == OPEN)
        for chain in [chain for history in self._lists.values() for chain in history.chains.values()]:
            epoch = self.epoch(chain.epoch)
            if epoch is not None and epoch.keyset == OPEN:
                statements = {held.digest: held for held in (chain.tip, chain.served) if held is not None}
                yield from ((held.snapshot, held.signed) for held in statements.values())

    def serving(self, list_name: str, epoch: bytes) -> Held | None:
        """The snapshot to look things up in: the newest whose segments have all been accepted."""
        chain = self._chain(list_name, epoch)
        return chain.served if chain is not None and chain.believed else None

    def newest(self, list_name: str, epoch: bytes) -> Held | None:
        """The newest snapshot that is verified, its segments there or not."""
        chain = self._chain(list_name, epoch)
        return None if chain is None or chain.tip is None or chain.tip.intermediate else chain.tip

    def wanted(self, now: datetime) -> Iterator[SnapshotStatement]:
        """The snapshots whose files are of use: of each list that is catalogued, in each epoch that is answered for."""
        for owner in self._owners:
            for entry in self.catalogue(owner) or ():
                for epoch in self.answered_epochs(owner, entry.keyset, now) if not entry.ended else ():
                    chain = self._chain(entry.list_name, epoch.digest)
                    held = () if chain is None else (chain.tip, chain.served)
                    yield from (each.snapshot for each in held if each is not None)

    def confirmed_at(self, list_name: str, epoch: bytes) -> datetime | None:
        """When the owner last said that what serves is its newest."""
        chain = self._chain(list_name, epoch)
        return None if chain is None else chain.confirmed_at

    def standing(self, owner: str, now: datetime, here: Here | None = None) -> OwnerStanding:
        """All that a check needs to know of an owner: its catalogue's status, and each list's, those gone included."""
        catalogue = self.catalogue(owner)
        entries = [entry for entry in catalogue or () if not entry.ended]
        used = {keyset: self.epoch_in_use(owner, keyset, now, here) for keyset in {entry.keyset for entry in entries}}
        lists = []
        for entry in entries:
            epoch = used[entry.keyset]
            status = Status.MISSING if epoch is None else self._status_in(entry.list_name, epoch, now, here)
            held = self.serving(entry.list_name, epoch.digest) if epoch is not None and status.usable else None
            lists.append(ListStanding(entry, status, held))
        lists += [ListStanding(entry, Status.MISSING, None) for entry in self.gone(owner, now).values()]
        return OwnerStanding(owner, self.catalogue_status(owner, now), tuple(lists))

    # -- what is kept ----------------------------------------------------------------

    def owner_state(self, owner: str) -> dict[str, Any]:
        """Catalogue and epochs of an owner, as JSON; an owner of whom nothing is held has none (KeyError)."""
        return self._owners[owner].to_json()

    def chain_state(self, list_name: str) -> dict[str, Any]:
        """The chains of a list, as JSON; a list of which nothing is held has none (KeyError)."""
        chains = self._lists[list_name].chains
        return {"list": list_name, "chains": [chains[epoch].to_json() for epoch in sorted(chains)]}

    def restore_owner(self, value: object) -> None:
        """Take what `owner_state` gave, in place of what is held. Raises SnapshotError."""
        announced = Announced.from_json(self.network, self.reader, value, self.contradicted)
        announced.most_lists = self._most_lists
        announced.judge(self._keys)
        self._owners[announced.owner] = announced

    def restore_chain(self, value: object) -> None:
        """Take what `chain_state` gave, in place of what is held. Raises SnapshotError."""
        fields = Fields(value, _LIST_KEYS, "kept list")
        history = History(fields.named("list", check_list_name), self.contradicted)
        chains = [Chain.from_json(self.network, item) for item in fields.items("chains", _MAX_KEPT)]
        history.chains = {chain.epoch: chain for chain in chains}
        history.judge(self._keys(list_owner(history.list_name)))
        self._lists[history.list_name] = history

    def state(self) -> dict[str, Any]:
        """Everything, as JSON; fraud proofs are kept by their own `evidence`."""
        return {
            "network": self.network,
            "reader": self.reader,
            "owners": [self.owner_state(owner) for owner in sorted(self._owners)],
            "lists": [self.chain_state(name) for name in sorted(self._lists)],
        }

    def restore(self, value: object) -> None:
        """Take what `state` gave, in place of everything. Raises SnapshotError, with nothing half taken."""
        fields = Fields(value, _STATE_KEYS, "kept state")
        if fields.value("network") != self.network or fields.value("reader") != self.reader:
            raise malformed("The state kept is that of another network or member.")
        fresh = TrustedSnapshots(self.network, self.reader, self._keys)
        for owner in fields.items("owners", _MAX_KEPT):
            fresh.restore_owner(owner)
        for kept in fields.items("lists", _MAX_KEPT):
            fresh.restore_chain(kept)
        self._owners, self._lists = fresh._owners, fresh._lists
        for announced in self._owners.values():
            announced.convict = self.contradicted
        for history in self._lists.values():
            history.convict = self.contradicted

    def forget(self, list_name: str) -> None:
        """Forget a list, so that its next snapshot is a first contact: an operator's decision, never a peer's."""
        self._lists.pop(list_name, None)

    # -- within ----------------------------------------------------------------------

    def _kept(self, owner: str, take: Callable[[Announced], _Taken]) -> _Taken:
        announced = self._owners.get(owner)
        if announced is None:
            announced = Announced(owner, self.reader, self.network, self.contradicted, most_lists=self._most_lists)
        taken = take(announced)
        self._owners[owner] = announced
        return taken

    def read_snapshot(self, owner: str, data: bytes, now: datetime) -> Held:
        """Step 1 of `accept_snapshot` alone; nothing is believed by it. Raises SnapshotError."""
        publics = [term.public for term in self._keys(owner)]
        signed = read_signed(snapshots.KIND, self.network, data, publics, received=now, limit=snapshots.MAX_BYTES)
        snapshot = SnapshotStatement.from_statement(signed.statement)
        if snapshot.owner != owner:
            raise SnapshotError("The snapshot is of a list of another member.", code="wrong_list")
        return Held(snapshot, signed)

    def _check(self, snapshot: SnapshotStatement, now: datetime) -> EpochStatement:
        """Steps 4 to 6 of `accept_snapshot`."""
        if snapshot.normalisation not in self._normalisations:
            raise SnapshotError(
                "The list is normalised by rules that this version does not know; update riskshare.",
                code="unknown_normalisation",
            )
        announced = self._owners.get(snapshot.owner)
        held = None if announced is None else announced.epochs.get(snapshot.epoch)
        if held is None:
            raise SnapshotError("The snapshot is of an epoch that its owner has not announced.", code="unknown_epoch")
        catalogue = self.catalogue(snapshot.owner)
        entry = None if catalogue is None else catalogue.get(snapshot.list_name)
        if entry is not None and entry.keyset != held.epoch.keyset:
            raise SnapshotError("The snapshot is of an epoch of another keyset.", code="wrong_epoch")
        if entry is not None and entry.category != snapshot.category:
            raise SnapshotError("The snapshot names another category than the catalogue.", code="wrong_list")
        refuse_time(snapshot.issued_at, min(snapshot.expires_at, held.epoch.until), now, "snapshot")
        if not held.epoch.in_term(snapshot.issued_at):
            raise SnapshotError("The snapshot was issued outside of its epoch's term.", code="expired")
        return held.epoch

    def _chain(self, list_name: str, epoch: bytes) -> Chain | None:
        history = self._lists.get(list_name)
        return None if history is None else history.chains.get(epoch)

    def _in_force(self, list_name: str) -> datetime | None:
        """Until when the newest snapshot of a list is in force, whether its files are here or not."""
        history = self._lists.get(list_name)
        ends = []
        for chain in () if history is None else history.chains.values():
            epoch = self.epoch(chain.epoch)
            for held in (chain.tip, chain.served):
                if held is not None:
                    expires_at = held.snapshot.expires_at
                    ends.append(expires_at if epoch is None else min(expires_at, epoch.until))
        return max(ends, default=None)

    def _status_in(self, list_name: str, epoch: EpochStatement, now: datetime, here: Here | None = None) -> Status:
        chain = self._chain(list_name, epoch.digest)
        if chain is None or chain.served is None or not chain.believed or (here and not here(list_name, epoch.digest)):
            return Status.MISSING
        expires_at = min(chain.served.snapshot.expires_at, epoch.until)
        return status_at(expires_at, chain.confirmed_at, self._bounds.get(list_name, self._stale_after), now)

    def contradicted(self, first: Signed, second: Signed) -> None:
        """Keep two contradicting statements, if they do convict their owner."""
        accused = read_value(first.statement).owner
        proof = FraudProof(first.statement.kind, accused, first, second)
        if proof.about not in {known.about for known in self.proofs} and self._convicts(proof):
            self.proofs.append(proof)

    def _convicts(self, proof: FraudProof) -> bool:
        try:
            proof.verify(self._keys)
        except SnapshotError:
            return False
        return True
