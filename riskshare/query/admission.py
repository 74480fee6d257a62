"""Admission: which asks an owner answers. Rules only; the order is that of the protocol.

1. A batch known from this querier with the same digest gets the stored answer again, whatever
   the clock says; with another digest it is refused (409). Looking that up is the verb's part (`answer`).
2. Network, owner, count and Merkle root are right (400); the TLS identity is the querier (403). The root of an ask that
   step 8 or 9 refuses in any case is not looked at: nobody has elements hashed that he may not have evaluated.
3. The owner's registry is in force and as new as the ask's (412); by it, the querier is in good standing (403). The
   querier goes on publishing its log (403 `log_stalled`, see `ledger.growth`): who does not account is not answered.
4. The signature holds (401).
5. The clock is within 60 seconds (412).
6. The epoch is served (404; unknown and ungranted look alike).
7. The purpose is allowed, by the registry and by the owner's grant (403).
8. The count is within the limit (413).
9. The elements can be elements (400), and the quota is not spent (429).

What an ask costs that is refused, or that was answered before, is bounded too: the elements that were hashed for it are
taken from the second's quota, and looking for its batch in the store from `LOOKUPS` (429 `too_often`). Such a
refusal says nothing of the batch: the same bytes may be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from riskshare.errors import AskRefused, GroupError
from riskshare.ledger import merkle
from riskshare.membership.group import check_elements
from riskshare.query.message import CLOCK_TOLERANCE_SECONDS, ELEMENT_BYTES, MAX_ELEMENTS, Ask, AskMessage
from riskshare.query.quota import Limits, Quotas
from riskshare.signature import verify
from riskshare.statement import signed_bytes


@dataclass(frozen=True, slots=True)
class Asker:
    """What the owner's current registry says of the member at the other end of the TLS connection.

    `keys` are the 32-byte identity keys that may sign now; `purposes` those it may name. `log_stalled` says that its
    log has not grown for too long since it was answered: this the owner sees for itself.
    """

    name: str
    good_standing: bool
    keys: Sequence[bytes]
    purposes: frozenset[str]
    log_stalled: bool = False


def check_form(ask: Ask, message: AskMessage, *, network: str, owner: str, asker: str) -> None:
    """Step 2: the ask is meant for this owner and has as many elements as it says. `check_root` completes the step.

    `asker` is the member that the TLS connection authenticated.

    Raises:
        AskRefused: `wrong_network`, `wrong_owner`, `wrong_member`, `wrong_count`.

    """
    if ask.network != network:
        raise AskRefused(
            "wrong_network", "The ask names another network. Check the registry that the peer is set up with."
        )
    if ask.owner != owner:
        raise AskRefused("wrong_owner", "The ask names another owner. Check the member's URL in the registry.")
    if ask.querier != asker:
        raise AskRefused("wrong_member", "The ask names another querier than the TLS certificate belongs to.")
    if len(message.elements) != ask.count * ELEMENT_BYTES:
        raise AskRefused("wrong_count", "The elements are not count times 32 bytes.")


def check_root(ask: Ask, message: AskMessage) -> None:
    """Step 2: the elements are those that the ask commits to; hashes them all. Raises AskRefused `wrong_root`."""
    if merkle.root_of(message.elements) != ask.elements:
        raise AskRefused("wrong_root", "The elements do not have the Merkle root that the ask names.")


def check_registry(ask: Ask, version: int, *, expired: bool) -> None:
    """Step 3: the owner's registry has not expired, and is not older than the querier's.

    Raises:
        AskRefused: `registry_mismatch`.

    """
    if ask.registry > version:
        raise AskRefused("registry_mismatch", "The ask names a registry that this owner cannot get. Ask again later.")
    if expired:
        raise AskRefused(
            "registry_mismatch", "This owner's registry has expired. The governors must issue a new version."
        )


def check_member(asker: Asker | None) -> Asker:
    """Step 3: good standing, and a log that grows. Raises AskRefused `wrong_member`, `log_stalled`."""
    if asker is None or not asker.good_standing:
        raise AskRefused("wrong_member", "The querier is not a member in good standing by this owner's registry.")
    if asker.log_stalled:
        raise AskRefused(
            "log_stalled",
            "The querier's log has not grown since it was answered. Publish it again; answers follow at once.",
        )
    return asker


def check_signature(message: AskMessage, network: str, asker: Asker) -> None:
    """Step 4. Raises AskRefused `bad_signature`."""
    signed = signed_bytes("ask", network, message.ask)
    if not any(verify(key, signed, message.signature) for key in asker.keys):
        raise AskRefused("bad_signature", "The ask is not signed by an identity key of the querier that is in force.")


def check_clock(ask: Ask, now: datetime) -> None:
    """Step 5. Raises AskRefused `clock_off`."""
    off = abs((now - ask.asked_at).total_seconds())
    if off > CLOCK_TOLERANCE_SECONDS:
        raise AskRefused(
            "clock_off",
            f"The ask's time is over {CLOCK_TOLERANCE_SECONDS} s from this owner's clock. Check both clocks (NTP).",
        )


def unknown_epoch() -> AskRefused:
    """Step 6: the one refusal for an epoch that does not exist, has ended, or is not granted."""
    return AskRefused("unknown_epoch", "This owner does not answer for that epoch. Fetch its catalogue again.")


def check_purpose(ask: Ask, asker: Asker, *, granted: bool) -> None:
    """Step 7; `granted`: the owner's grant, of which the querier knows, is for that purpose.

    Raises:
        AskRefused: `purpose_not_allowed`.

    """
    if ask.purpose not in asker.purposes:
        raise AskRefused("purpose_not_allowed", "The registry does not allow this member to ask for that purpose.")
    if not granted:
        raise AskRefused(
            "purpose_not_allowed", "The owner has not granted this list for that purpose. Ask for one that it granted."
        )


def check_count(count: int) -> None:
    """Step 8. Raises AskRefused `too_many_elements`."""
    if count > MAX_ELEMENTS:
        raise AskRefused("too_many_elements", f"An ask carries at most {MAX_ELEMENTS} elements. Split it.")


def beyond(ask: Ask, quotas: Quotas, limits: Limits, *, now: datetime, monotonic: float) -> AskRefused | None:
    """Steps 8 and 9, as far as they can be told before any element is hashed: the refusal to come, or None.

    Codes `too_many_elements`, `quota_exhausted`. Nothing is spent.
    """
    try:
        check_count(ask.count)
        quotas.check(ask.querier, ask.epoch, ask.count, limits, now=monotonic, day=now.date())
    except AskRefused as refusal:
        return refusal
    return None


def check_elements_of(message: AskMessage, count: int) -> None:
    """Steps 8 and 9: size and encodings, before any evaluation.

    Raises:
        AskRefused: `too_many_elements`, `bad_element`.

    """
    check_count(count)
    try:
        check_elements(message.elements)
    except GroupError as error:
        raise bad_element(error.message) from error


def bad_element(fault: str = "it is no point of the group.") -> AskRefused:
    """The refusal for an encoding that is no usable element of the group."""
    return AskRefused("bad_element", f"An element is no usable group element (RFC 9496 4.3.1): {fault}")
