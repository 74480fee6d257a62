"""Which requests of an auditor a member admits. Rules only; `show` looks up what they need.

1. The request is one (400 `malformed`), of this network (400 `wrong_network`), about this member (400 `wrong_owner`).
2. The member of the TLS connection is the auditor that it names (403 `wrong_member`).
3. The registry in force here is not older than the request's, and has not expired (412 `registry_mismatch`).
4. By it, the auditor is in good standing (403 `wrong_member`), and has the role and the right (403 `no_audit_right`),
   to read also the right to so old a period.
5. The signature is by an identity key of the auditor in force now (401 `bad_signature`).
6. It is not older than 24 hours (403 `access_expired`); when it first comes, its time is within 60 s (412 `clock_off`).
7. A request to open checks, or to prove exchanges, does not exceed the day's number (429 `audit_quota`).

Steps 4 and 6 are looked at again whenever something is read under a request that was admitted: a right that the
governors took away, or 24 hours that are over, end it.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Final

from riskshare.audit.access import KIND, MAX_BYTES, VALID, AccessRequest, Action
from riskshare.errors import AuditRefused, TrustError
from riskshare.query.message import CLOCK_TOLERANCE_SECONDS
from riskshare.registry import AuditRights, Member, Registry
from riskshare.statement import Statement, read

CLOCK: Final = timedelta(seconds=CLOCK_TOLERANCE_SECONDS)

PROVE_FOR_EACH: Final = 16
"""Exchanges that an owner proves to an auditor a day, for each check that the registry lets it have opened a day: the
checks that it opens at several members rest on exchanges with one owner."""


def check_form(request: AccessRequest, *, network: str, member: str, reader: str) -> None:
    """Steps 1 and 2. `member` is who is asked, `reader` whom the TLS connection authenticated.

    Raises:
        AuditRefused: `wrong_network`, `wrong_owner`, `wrong_member`.

    """
    if request.network != network:
        raise AuditRefused(
            "wrong_network", "The request names another network. Check the registry that the peer is set up with."
        )
    if request.member != member:
        raise AuditRefused("wrong_owner", "The request is about another member. Check that member's URL.")
    if request.auditor != reader:
        raise AuditRefused("wrong_member", "The request names another auditor than the TLS certificate belongs to.")


def check_registry(request: AccessRequest, registry: Registry, now: datetime) -> None:
    """Step 3. Raises AuditRefused `registry_mismatch`."""
    if request.registry > registry.version:
        raise AuditRefused(
            "registry_mismatch", "The request names a registry that this member cannot get. Ask again later."
        )
    if registry.expired(now):
        raise AuditRefused(
            "registry_mismatch", "This member's registry has expired. The governors must issue a new version."
        )


def rights_to(request: AccessRequest, registry: Registry) -> AuditRights:
    """Step 4, for a request: what its auditor may see of its member.

    Raises:
        AuditRefused: `wrong_member`, `no_audit_right`.

    """
    rights = rights_of(request.auditor, request.member, registry)
    if request.start is None or rights.read_days is None:
        return rights
    if request.requested_at - request.start > timedelta(days=min(rights.read_days, timedelta.max.days)):
        raise AuditRefused(
            "no_audit_right",
            f"The registry lets this auditor read periods that begin at most {rights.read_days:,} days before its"
            " request. Begin later, or ask the governors: riskshare network audit --read-days.",
        )
    return rights


def rights_of(auditor: str, member: str, registry: Registry) -> AuditRights:
    """What an auditor may see of a member.

    Raises:
        AuditRefused: `wrong_member`, `no_audit_right`.

    """
    found = registry.member(auditor)
    if found is None or not found.in_good_standing:
        raise AuditRefused("wrong_member", "The auditor is not a member in good standing by this member's registry.")
    if not found.has_role("auditor") or found.audit is None or not found.audit.over(member):
        raise AuditRefused(
            "no_audit_right",
            "The registry gives this auditor no right to audit this member. The governors give it: riskshare network"
            " audit.",
        )
    return found.audit


def check_signature(json: bytes, signature: bytes, auditor: Member, network: str, now: datetime) -> Statement:
    """Step 5: the request as a statement. Raises AuditRefused `bad_signature`."""
    keys = [term.public for term in auditor.identity_in_force(now)]
    try:
        return read(KIND, network, json, signature, keys, limit=MAX_BYTES)
    except TrustError as error:
        raise AuditRefused(
            "bad_signature", "The request is not signed by an identity key of the auditor that is in force."
        ) from error


def check_valid(request: AccessRequest, now: datetime) -> None:
    """Step 6, whenever the request is used. Raises AuditRefused `access_expired`."""
    if now >= request.requested_at + VALID:
        raise AuditRefused("access_expired", "The request is older than 24 hours. Make a new one.")


def check_clock(request: AccessRequest, now: datetime) -> None:
    """Step 6, when the request first comes. Raises AuditRefused `clock_off`."""
    if abs(now - request.requested_at) > CLOCK:
        raise AuditRefused(
            "clock_off",
            f"The request's time is over {CLOCK_TOLERANCE_SECONDS} s from this member's clock. Check both clocks (NTP),"
            " or make the request anew.",
        )


def most_a_day(action: Action, rights: AuditRights) -> int | None:
    """Step 7: how many checks, or exchanges, an auditor may name a day (UTC) at one member. None: it names none."""
    return {"open": rights.open_per_day, "prove": PROVE_FOR_EACH * rights.open_per_day}.get(action)


def over_quota(now: datetime) -> AuditRefused:
    """Step 7: the refusal, with the seconds until the day ends. Code `audit_quota`."""
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    return AuditRefused(
        "audit_quota",
        "As many checks as the registry allows were opened for this auditor today, or as many exchanges proved. Ask for"
        " fewer, or go on tomorrow.",
        retry_after=(midnight - now).total_seconds(),
    )
