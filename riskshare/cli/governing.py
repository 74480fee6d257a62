"""The work of `network init` and `show`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from riskshare.cli.acting import load_config
from riskshare.cli.screen import Screen, counted, day
from riskshare.encoding import format_time
from riskshare.errors import InputError, RegistryError
from riskshare.governance import (
    GOVERNOR_KEY,
    NETWORK_FILE,
    create_network,
    load_registry,
    read_registry,
)
from riskshare.peer.opening import now
from riskshare.registry import Registry
from riskshare.registry.network import WARN_BEFORE


def start_network(directory: Path, name: str, *, json: bool) -> None:
    """Make a governor's folder. Raises ConfigError, InputError, DiskError."""
    screen = Screen(as_json=json)
    try:
        registry = create_network(directory, name, now=now())
    except RegistryError as error:
        raise InputError(error.message, code=error.code) from error
    file, digest = directory / NETWORK_FILE, registry.digest.hex()
    screen.result(
        {**registry_summary(registry), "network_file": str(file), "governor_key": str(directory / GOVERNOR_KEY)}
    )
    screen.say(f"Network {name} is made: a signed registry, version 1, without members yet.", "green")
    screen.pairs(
        [
            ("governor's key", f"{directory / GOVERNOR_KEY}   whoever has it decides who is a member: keep it safe"),
            ("registry", f"{file}   what members get"),
            ("digest", f"{digest}   what members compare and pin"),
        ]
    )
    screen.steps(
        "Next, each member makes itself, and sends you its join.json:",
        [
            f"riskshare init --dir DIR --name NAME --url https://HOST:PORT --network {file} --pin {digest}",
            f"riskshare network admit --dir {directory} DIR/join.json",
        ],
    )


def show_network(place: Path | None, config_file: Path, *, json: bool) -> None:
    """Show a registry file; that of the member's configuration is also verified against its pin.

    Raises:
        ConfigError, RegistryError: not readable, altered, or not what was pinned.

    """
    screen = Screen(as_json=json)
    if place is None:
        config = load_config(config_file)
        registry = load_registry(config.member.network_file, config.registry_digest)
    else:
        registry = read_registry(place / NETWORK_FILE if place.is_dir() else place)
    screen.result({**registry_summary(registry), "members": [_member(registry, name) for name in registry.members]})
    screen.say(f"Network {registry.network}, registry version {registry.version}", "bold")
    screen.pairs(
        [
            ("digest", registry.digest.hex()),
            ("issued", day(registry.issued_at)),
            ("expires", day(registry.expires_at)),
            ("governors", f"{registry.governors.threshold} of {len(registry.governors.keys)} sign"),
            ("categories", ", ".join(_category(registry, name) for name in registry.categories)),
            ("purposes", ", ".join(registry.purposes)),
            ("currency", registry.currency),
        ]
    )
    rows = [
        (
            name,
            one.title,
            one.kind,
            " ".join(sorted(one.roles)),
            one.url,
            one.standing,
            one.identity[-1].public.hex()[:16],
        )
        for name, one in registry.members.items()
    ]
    if rows:
        screen.table(("member", "title", "kind", "roles", "url", "standing", "identity key"), rows)
    else:
        screen.say("No members yet. Admit some: riskshare network admit --dir DIR REQUEST…")
    if registry.expires_at - now() < WARN_BEFORE:
        screen.note(f"{_term(registry)}. The governors renew it: riskshare network renew --dir DIR")


def registry_summary(registry: Registry) -> dict[str, Any]:
    """What a registry is, for a program."""
    return {
        "network": registry.network,
        "version": registry.version,
        "digest": registry.digest.hex(),
        "issued_at": format_time(registry.issued_at),
        "expires_at": format_time(registry.expires_at),
        "terms": dict(registry.terms),
        "members": list(registry.members),
    }


def _category(registry: Registry, name: str) -> str:
    return f"{name} (at most {counted(registry.terms[name], 'day')})" if name in registry.terms else name


def _term(registry: Registry) -> str:
    left = registry.expires_at - now()
    if left <= timedelta(0):
        return "This registry has expired: peers refuse each other"
    return f"This registry expires in {counted(left.days, 'day')}"


def _member(registry: Registry, name: str) -> dict[str, Any]:
    member = registry.members[name]
    return {
        "member": name,
        "title": member.title,
        "kind": member.kind,
        "roles": sorted(member.roles),
        "url": member.url,
        "standing": member.standing,
        "identity": member.identity[-1].public.hex(),
        "quota": member.quota.body(),
        "audit": None if member.audit is None else member.audit.body(),
        "price": member.price,
        "joined_at": format_time(member.joined_at),
    }
