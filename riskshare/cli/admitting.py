"""The work of `network admit` and `renew`: what a governor signs is told member by member."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riskshare.cli.governing import registry_summary
from riskshare.cli.governing_audit import audit_rights_text
from riskshare.cli.screen import Screen, counted, day
from riskshare.governance import NETWORK_FILE, admit, current_registry, proposed_members
from riskshare.peer.opening import now
from riskshare.registry import Member, Registry


def renew_registry(directory: Path, *, json: bool) -> None:
    """Sign the same registry anew, with a new term. Raises as `governance.admit`."""
    screen = Screen(as_json=json)
    before = current_registry(directory)
    _tell_signed(before, admit(directory, [], now=now()), directory, screen)


def admit_members(directory: Path, requests: Sequence[Path], *, dry_run: bool, json: bool) -> None:
    """Tell what the requests bring, and sign the next version with it unless all of it stands there already.

    Raises:
        ConfigError, RegistryError, DiskError: as `governance.admit`.

    """
    screen = Screen(as_json=json)
    moment = now()
    before = current_registry(directory)
    asked = list(proposed_members(before, requests, now=moment).values())
    if all(before.members.get(one.name) == one for one in asked):
        _tell_unchanged(before, directory, screen)
    elif dry_run:
        screen.result({**registry_summary(before), "signed": False, **_asked_json(before, asked)})
        screen.say("Nothing is signed. These requests would bring:", "bold")
        _tell_members(before, asked, screen)
    else:
        _tell_signed(before, admit(directory, requests, now=moment), directory, screen)


def _tell_unchanged(registry: Registry, directory: Path, screen: Screen) -> None:
    where = {"network_file": str(directory / NETWORK_FILE), "signed": False}
    screen.result({**registry_summary(registry), **where, **_asked_json(registry, [])})
    screen.say(
        f"Nothing is signed: what the requests bring stands in version {registry.version} already."
        " To give that a new term: riskshare network renew"
    )


def _tell_signed(before: Registry, after: Registry, directory: Path, screen: Screen) -> None:
    """Tell what stands in `after`, whatever the files of the requests hold by now."""
    asked = [one for name, one in after.members.items() if before.members.get(name) != one]
    where = {"network_file": str(directory / NETWORK_FILE), "signed": True}
    screen.result({**registry_summary(after), **where, **_asked_json(before, asked)})
    screen.say(
        f"Registry version {after.version} is signed: {counted(len(after.members), 'member')},"
        f" valid until {day(after.expires_at)}.",
        "green",
    )
    _tell_members(before, asked, screen)
    screen.pairs([("registry", str(directory / NETWORK_FILE)), ("digest", after.digest.hex())])
    screen.steps(
        "Next:",
        [
            f"Members that have {directory / NETWORK_FILE} in their configuration already find the new version there.",
            "To the others give it, with the folder registry/ beside it; tell each new one the digest by another way,",
            "and it runs: riskshare network pin --config FILE network.json --pin DIGEST",
        ],
    )


# --- What a request brings -----------------------------------------------------------------------------


def _asked_json(before: Registry, asked: Sequence[Member]) -> dict[str, Any]:
    """`admitted` and `changed` are names; `brought` has what each asks for, `was` what differed before."""
    old = before.members
    return {
        "admitted": [one.name for one in asked if one.name not in old],
        "changed": [one.name for one in asked if one.name in old and old[one.name] != one],
        "brought": [{"member": one.name, **_shown(one), "was": _was(old.get(one.name), one)} for one in asked],
    }


def _was(old: Member | None, member: Member) -> dict[str, Any] | None:
    if old is None:
        return None
    after = _shown(member)
    return {name: value for name, value in _shown(old).items() if value != after[name]}


def _shown(member: Member) -> dict[str, Any]:
    """What a request decides about a member, for a program. Keys are the newest of each kind."""
    return {
        "title": member.title,
        "kind": member.kind,
        "roles": sorted(member.roles),
        "audit": None if member.audit is None else member.audit.body(),
        "url": member.url,
        "price": member.price,
        "identity": member.identity[-1].public.hex(),
        "ledger": member.ledger[-1].public.hex(),
        "witness": member.witness[-1].public.hex(),
        "tls": member.tls[-1].term.public.hex(),
    }


def _tell_members(before: Registry, asked: Sequence[Member], screen: Screen) -> None:
    for one in asked:
        old = before.members.get(one.name)
        texts = _texts(one, before.currency)
        if old is None:
            screen.say(f"  {one.name} is new", "bold")
            screen.pairs((f"  {name}", text) for name, text in texts.items())
            continue
        were = _texts(old, before.currency)
        rows = [(name, were[name], text) for name, text in texts.items() if were[name] != text]
        screen.say(f"  {one.name} {'changes' if rows else 'asks anew for what it has'}", "bold")
        screen.pairs((f"  {name}", f"{was} → {text}") for name, was, text in rows)


def _texts(member: Member, currency: str) -> dict[str, str]:
    """What a request decides about a member, for a person; of keys as much as tells one from another."""
    return {
        "title": member.title,
        "kind": member.kind,
        "roles": ", ".join(sorted(member.roles)),
        "may audit": audit_rights_text(member.audit),
        "address": member.url,
        "price": f"{member.price} {currency} an evaluation",
        "identity key": member.identity[-1].public.hex()[:16],
        "ledger key": member.ledger[-1].public.hex()[:16],
        "witness key": member.witness[-1].public.hex()[:16],
        "TLS key": member.tls[-1].term.public.hex()[:16],
    }
