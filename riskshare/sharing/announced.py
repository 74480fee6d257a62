"""What one owner has announced to this reader: its catalogue and its epochs (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from riskshare.encoding import format_time
from riskshare.errors import SnapshotError
from riskshare.names import check_member_name
from riskshare.sharing import catalogue as catalogues
from riskshare.sharing import epoch as epochs
from riskshare.sharing.catalogue import CatalogueEntry, CatalogueStatement
from riskshare.sharing.chain import MOST_EPOCHS, Link, read_links, thin, without_void
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.fields import Fields
from riskshare.sharing.history import Convict
from riskshare.sharing.signed import Keys, Signed, is_void, read_signed, require_standing, stands

CLOCK_SKEW = timedelta(seconds=60)
"""How far an honest member's clock may be ahead of ours."""

MOST_LISTS = 256
"""Default of the most lists of one owner that are followed: each costs a connection to it in each epoch."""

MOST_EPOCHS_KEPT = 4096
"""Most epochs of one owner that are remembered once they are over."""

_KEYS = frozenset({"owner", "catalogue", "links", "polled_at", "epochs", "gone"})
_GONE_KEYS = frozenset({"list", "until"})
_MAX_KEPT = 100_000


def refuse_time(issued_at: datetime, expires_at: datetime, now: datetime, what: str) -> None:
    """Refuse a statement from the future, or one that has expired.

    Raises:
        SnapshotError: codes `not_yet_valid`, `expired`.

    """
    if issued_at > now + CLOCK_SKEW:
        raise SnapshotError(f"The {what} is issued in the future; compare the clocks.", code="not_yet_valid")
    if now >= expires_at:
        raise SnapshotError(f"The {what} has expired; its owner must issue a new one.", code="expired")


@dataclass(frozen=True, slots=True)
class HeldEpoch:
    """An epoch, and the statement that opened it, or has ended it since."""

    epoch: EpochStatement
    signed: Signed


@dataclass(frozen=True, slots=True)
class Gone:
    """A list that the owner's catalogue names no more, without having said that it ended.

    Its reader cannot tell an owner that hides a list from one that ended its grant. So checks miss the list as
    long as what was held of it would have been in force: until its last snapshot expires (or its epoch), and not
    before the last catalogue that named it. An owner that ends a list, or a grant, tells by naming the list as
    `ended` in the catalogue of that reader until then; it is out of use at once, and nobody's checks suffer.
    """

    entry: CatalogueEntry
    until: datetime

    def to_json(self) -> dict[str, Any]:
        """The JSON object in which it is kept."""
        return {"list": self.entry.to_json(), "until": format_time(self.until)}

    @classmethod
    def from_json(cls, value: object) -> Gone:
        """Read what `to_json` wrote. Raises SnapshotError `malformed_statement`."""
        fields = Fields(value, _GONE_KEYS, "list that is gone")
        return cls(CatalogueEntry.from_json(fields.value("list")), fields.time("until"))


InForce = Callable[[str], datetime | None]
"""Until when what is held of a list (full name) is in force; None if nothing is."""


@dataclass(slots=True)
class Announced:
    """The newest catalogue of `owner`, when it was last confirmed, and its epochs by name (digest).

    `believed` is False while the registry does not name the key under the catalogue. `gone` are lists by full name.
    """

    owner: str
    reader: str
    network: str
    convict: Convict = field(repr=False)
    catalogue: CatalogueStatement | None = None
    signed: Signed | None = None
    links: list[Link] = field(default_factory=list)
    polled_at: datetime | None = None
    epochs: dict[bytes, HeldEpoch] = field(default_factory=dict)
    gone: dict[str, Gone] = field(default_factory=dict)
    believed: bool = True
    most_lists: int = MOST_LISTS

    def accept_catalogue(self, data: bytes, keys: Keys, now: datetime, in_force: InForce) -> CatalogueStatement:
        """Take a catalogue in its wire form.

        1. Signed by a key of the owner, for this network; strictly parsed.
        2. Made by this owner, for this reader.
        3. The key was in its term, and is not compromised.
        4. No other statement is known for its version; the version does not go down.
        5. Not from the future, not expired.
        6. It names no more lists than allowed, those included that are gone (`Gone`).

        Raises:
            SnapshotError: `foreign_key`, `malformed_statement`, `wrong_list`, `wrong_reader`,
                `fork`, `rollback`, `not_yet_valid`, `expired`, `too_many_lists`.

        """
        terms = keys(self.owner)
        publics = [term.public for term in terms]
        signed = read_signed(catalogues.KIND, self.network, data, publics, received=now, limit=catalogues.MAX_BYTES)
        offered = CatalogueStatement.from_statement(signed.statement)
        if offered.owner != self.owner:
            raise SnapshotError("The catalogue is signed by one member and names another.", code="wrong_list")
        if offered.reader != self.reader:
            raise SnapshotError("The catalogue is made for another reader.", code="wrong_reader")
        link = next((link for link in self.links if link.version == offered.version), None)
        again = link is not None and link.digest == signed.digest
        if link is not None and again and link.signer == signed.signer:
            signed = replace(signed, received=link.received)
        require_standing(terms, signed, offered.made_at(signed.received))
        if link is not None and not again:
            if self.signed is not None:
                self.convict(self.signed, signed)
            raise SnapshotError("The owner shows two catalogues of one version.", code="fork")
        if self.links and offered.version < self.links[-1].version:
            raise SnapshotError("The owner offers an older catalogue than before.", code="rollback")
        refuse_time(offered.issued_at, offered.expires_at, now, "catalogue")
        gone = self._gone(offered, now, in_force)
        if len(gone) + sum(not entry.ended for entry in offered) > self.most_lists:
            raise SnapshotError(
                "The owner has more lists than subscribe.owner_lists allows; raise it, or talk to the owner.",
                code="too_many_lists",
            )
        self.gone = gone
        if not again:
            self.links = thin([*self.links, Link(offered.version, signed.digest, signed.signer, signed.received)])
        if not again or self.catalogue is None:
            self.catalogue, self.signed, self.believed = offered, signed, True
        self.poll(now)
        return self.catalogue

    def _gone(self, offered: CatalogueStatement, now: datetime, in_force: InForce) -> dict[str, Gone]:
        """The lists that were named once, have not ended, and are not in `offered`."""
        named = {entry.list_name for entry in offered}
        gone = dict(self.gone)
        for entry in self.catalogue or ():
            if not entry.ended and self.catalogue is not None:
                held_until = in_force(entry.list_name)
                until = self.catalogue.expires_at if held_until is None else max(held_until, self.catalogue.expires_at)
                gone[entry.list_name] = Gone(entry, until)
        return {name: each for name, each in gone.items() if name not in named and now < each.until}

    def poll(self, when: datetime) -> None:
        """Note that at `when` the owner had no newer catalogue."""
        if self.catalogue is not None:
            self.polled_at = when if self.polled_at is None else max(when, self.polled_at)

    def accept_epoch(
        self, data: bytes, keys: Keys, now: datetime, is_element: Callable[[bytes], bool] | None
    ) -> EpochStatement:
        """Take an epoch statement in its wire form; return the epoch as it is known now.

        1. Signed by a key of the owner, for this network; strictly parsed.
        2. Made by this owner; its public key is an element of the group.
        3. The key was in its term, and is not compromised.
        4. No other epoch is known for its keyset and number.
        5. The emergency end of an epoch stays, whatever is offered later.
        6. There are not more that are not over than allowed, of the keyset and in all.

        Raises:
            SnapshotError: `foreign_key`, `malformed_statement`, `wrong_list`, `fork`, `too_many_epochs`.

        """
        terms = keys(self.owner)
        publics = [term.public for term in terms]
        signed = read_signed(epochs.KIND, self.network, data, publics, received=now, limit=epochs.MAX_BYTES)
        offered = EpochStatement.from_statement(signed.statement)
        if offered.owner != self.owner:
            raise SnapshotError("The epoch is signed by one member and names another.", code="wrong_list")
        if is_element is not None and not is_element(offered.public_key):
            raise SnapshotError("The epoch's public key is not an element of the group.", code="malformed_statement")
        name = offered.digest
        held = self.epochs.get(name)
        if held is not None and (held.signed.digest, held.signed.signer) == (signed.digest, signed.signer):
            signed = held.signed
        require_standing(terms, signed, offered.made_at(signed.received))
        for rival in self.epochs.values():
            same = (rival.epoch.keyset, rival.epoch.number) == (offered.keyset, offered.number)
            if same and rival.epoch.digest != name:
                self.convict(rival.signed, signed)
                raise SnapshotError("The owner shows two epochs of one number.", code="fork")
        if held is None:
            self._refuse_more(offered, now)
        if held is None or (offered.ended is not None and offered.until < held.epoch.until):
            self.epochs[name] = HeldEpoch(offered, signed)
            self._forget_old(now)
        return self.epochs[name].epoch

    def _refuse_more(self, offered: EpochStatement, now: datetime) -> None:
        going = [held.epoch.keyset for held in self.epochs.values() if now < held.epoch.until]
        full = going.count(offered.keyset) >= MOST_EPOCHS or len(going) >= MOST_EPOCHS * self.most_lists
        if full and now < offered.until:
            raise SnapshotError("The owner has too many epochs at once; tell it.", code="too_many_epochs")

    def _forget_old(self, now: datetime) -> None:
        """Of the epochs that are over, remember the last ones only."""
        over = sorted((held.epoch.until, name) for name, held in self.epochs.items() if held.epoch.until <= now)
        for _, name in over[:-MOST_EPOCHS_KEPT]:
            del self.epochs[name]

    def answered(self, keyset: str, now: datetime) -> list[EpochStatement]:
        """The epochs of a keyset whose keys may be used at `now`, newest first."""
        found = [held.epoch for held in self.epochs.values() if held.epoch.keyset == keyset]
        return sorted((one for one in found if one.in_term(now)), key=lambda one: one.number, reverse=True)

    def judge(self, keys: Keys) -> None:
        """Judge anew what is held, under another registry: forget what is void."""
        terms = keys(self.owner)
        self.links = without_void(self.links, terms)
        self.epochs = {
            name: held
            for name, held in self.epochs.items()
            if not is_void(terms, held.signed.signer, held.signed.received)
        }
        if self.signed is None or self.catalogue is None:
            return
        if is_void(terms, self.signed.signer, self.signed.received):
            self.catalogue = self.signed = self.polled_at = None
        else:
            self.believed = stands(terms, self.signed.signer, [self.catalogue.issued_at], self.signed.received)

    def to_json(self) -> dict[str, Any]:
        """The JSON object in which all this is kept."""
        return {
            "owner": self.owner,
            "catalogue": None if self.signed is None else self.signed.to_json(),
            "links": [link.to_json() for link in self.links],
            "polled_at": None if self.polled_at is None else format_time(self.polled_at),
            "epochs": [self.epochs[name].signed.to_json() for name in sorted(self.epochs)],
            "gone": [self.gone[name].to_json() for name in sorted(self.gone)],
        }

    @classmethod
    def from_json(cls, network: str, reader: str, value: object, convict: Convict) -> Announced:
        """Read what `to_json` wrote; signatures are verified again.

        Raises:
            SnapshotError: codes `malformed_statement`, `foreign_key`.

        """
        if isinstance(value, Mapping):
            value = {"gone": [], **value}  # which was not kept before
        fields = Fields(value, _KEYS, "kept announcements")
        found = cls(fields.named("owner", check_member_name), reader, network, convict)
        found.links = read_links(fields.items("links", _MAX_KEPT))
        found.polled_at = None if fields.value("polled_at") is None else fields.time("polled_at")
        if fields.value("catalogue") is not None:
            signed = Signed.from_json(catalogues.KIND, network, fields.value("catalogue"), catalogues.MAX_BYTES)
            found.signed, found.catalogue = signed, CatalogueStatement.from_statement(signed.statement)
        for held in _read_epochs(network, fields.items("epochs", _MAX_KEPT)):
            found.epochs[held.epoch.digest] = held
        gone = [Gone.from_json(item) for item in fields.items("gone", _MAX_KEPT)]
        found.gone = {each.entry.list_name: each for each in gone}
        return found


def _read_epochs(network: str, values: list[Any]) -> Iterator[HeldEpoch]:
    for value in values:
        signed = Signed.from_json(epochs.KIND, network, value, epochs.MAX_BYTES)
        yield HeldEpoch(EpochStatement.from_statement(signed.statement), signed)
