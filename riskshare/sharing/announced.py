"""What one owner has announced to this reader: its catalogue and its epochs (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from riskshare.encoding import format_time
from riskshare.errors import SnapshotError
from riskshare.names import check_member_name
from riskshare.sharing import catalogue as catalogues
from riskshare.sharing import epoch as epochs
from riskshare.sharing.catalogue import CatalogueStatement
from riskshare.sharing.chain import Link, read_links, thin, without_void
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.fields import Fields
from riskshare.sharing.history import Convict
from riskshare.sharing.signed import Keys, Signed, is_void, read_signed, require_standing, stands

CLOCK_SKEW = timedelta(seconds=60)
"""How far an honest member's clock may be ahead of ours."""

_KEYS = frozenset({"owner", "catalogue", "links", "polled_at", "epochs"})
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


@dataclass(slots=True)
class Announced:
    """The newest catalogue of `owner`, when it was last confirmed, and its epochs by name (digest).

    `believed` is False while the registry does not name the key under the catalogue.
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
    believed: bool = True

    def accept_catalogue(self, data: bytes, keys: Keys, now: datetime) -> CatalogueStatement:
        """Take a catalogue in its wire form.

        1. Signed by a key of the owner, for this network; strictly parsed.
        2. Made by this owner, for this reader.
        3. The key was in its term, and is not compromised.
        4. No other statement is known for its version; the version does not go down.
        5. Not from the future, not expired.

        Raises:
            SnapshotError: `foreign_key`, `malformed_statement`, `wrong_list`, `wrong_reader`,
                `fork`, `rollback`, `not_yet_valid`, `expired`.

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
        if not again:
            self.links = thin([*self.links, Link(offered.version, signed.digest, signed.signer, signed.received)])
        if not again or self.catalogue is None:
            self.catalogue, self.signed, self.believed = offered, signed, True
        self.poll(now)
        return self.catalogue

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

        Raises:
            SnapshotError: `foreign_key`, `malformed_statement`, `wrong_list`, `fork`.

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
        if held is None or (offered.ended is not None and offered.until < held.epoch.until):
            self.epochs[name] = HeldEpoch(offered, signed)
        return self.epochs[name].epoch

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
        }

    @classmethod
    def from_json(cls, network: str, reader: str, value: object, convict: Convict) -> Announced:
        """Read what `to_json` wrote; signatures are verified again.

        Raises:
            SnapshotError: codes `malformed_statement`, `foreign_key`.

        """
        fields = Fields(value, _KEYS, "kept announcements")
        found = cls(fields.named("owner", check_member_name), reader, network, convict)
        found.links = read_links(fields.items("links", _MAX_KEPT))
        found.polled_at = None if fields.value("polled_at") is None else fields.time("polled_at")
        if fields.value("catalogue") is not None:
            signed = Signed.from_json(catalogues.KIND, network, fields.value("catalogue"), catalogues.MAX_BYTES)
            found.signed, found.catalogue = signed, CatalogueStatement.from_statement(signed.statement)
        for held in _read_epochs(network, fields.items("epochs", _MAX_KEPT)):
            found.epochs[held.epoch.digest] = held
        return found


def _read_epochs(network: str, values: list[Any]) -> Iterator[HeldEpoch]:
    for value in values:
        signed = Signed.from_json(epochs.KIND, network, value, epochs.MAX_BYTES)
        yield HeldEpoch(EpochStatement.from_statement(signed.statement), signed)
