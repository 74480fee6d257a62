"""The work of `init` and `network pin`: becoming a member, and saying which registry is believed."""

from __future__ import annotations

import hmac
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from riskshare.certificate import Certificate
from riskshare.cli.acting import load_config
from riskshare.cli.config_edit import write_pin
from riskshare.cli.screen import Screen, counted, day
from riskshare.errors import ConfigError, InputError, RegistryError
from riskshare.governance import NETWORK_FILE, create_member, read_registry
from riskshare.keys import TLS_CERTIFICATE, read_tls_certificate
from riskshare.peer.opening import now
from riskshare.registry import Registry

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new member wants to be; `network` is a registry file and `pin` its digest in hex, or "" for none."""

    name: str
    url: str
    network: Path | None
    pin: str
    network_name: str
    title: str
    kind: str
    roles: tuple[str, ...]


def make_member(directory: Path, wish: Wish, *, json: bool) -> None:
    """Make a member's folder. Raises ConfigError, InputError, RegistryError, DiskError."""
    screen = Screen(as_json=json)
    registry = None
    if wish.network is not None:
        registry = read_registry(wish.network)
        _compare(registry, wish.pin)
    elif wish.pin:
        raise InputError("--pin is the digest of a registry file: give that with --network.")
    try:
        made = create_member(
            directory,
            wish.name,
            wish.url,
            now=now(),
            network=wish.network_name,
            network_file=wish.network,
            title=wish.title,
            kind=wish.kind,
            roles=wish.roles,
        )
    except RegistryError as error:
        # The file was read before: it is a value given here that does not fit into a request.
        raise InputError(error.message, code=error.code) from error
    result: dict[str, Any] = {
        "member": wish.name,
        "network": registry.network if registry else wish.network_name,
        "config": str(directory / made.config_file.name),
        "request": str(directory / made.request_file.name),
        "api_key_file": str(directory / made.api_key_file.name),
        "pinned": made.config.member.network_sha256 or None,
        "listen": {name: getattr(made.config.listen, name).port for name in ("peers", "clients", "operations")},
    }
    screen.result(result)
    listen = result["listen"]
    screen.say(f"Member {wish.name} is made, for the network {result['network']}.", "green")
    screen.pairs(
        [
            ("configuration", f"{result['config']}   every key is in it, with its meaning"),
            ("keys", f"{made.config.paths.keys_dir}   back them up: whoever has them is {wish.name}"),
            ("API key", f"{result['api_key_file']}   for your payment systems, scopes check and publish"),
            ("request", f"{result['request']}   for the governors"),
            (
                "ports",
                f"{listen['peers']} other members, {listen['clients']} clients, {listen['operations']} operations",
            ),
            ("registry pinned", made.config.member.network_sha256 or "none yet"),
        ]
    )
    if registry is not None and not wish.pin:
        screen.note("Compare that digest with a governor, by another way than the file came: all trust rests on it.")
    _say_next(screen, result)


def _say_next(screen: Screen, made: dict[str, Any]) -> None:
    steps = [f"1. Send {made['request']} to a governor, who runs: riskshare network admit --dir DIR {made['request']}"]
    if made["pinned"]:
        steps.append("2. Get the new network.json in the old one's place, with the folder registry/ beside it.")
    else:
        steps.append("2. Get network.json from the governor, and its digest by another way; then")
        steps.append(f"   riskshare network pin --config {made['config']} network.json --pin DIGEST")
    steps.append(f"3. riskshare serve --config {made['config']}")
    screen.steps("Next:", steps)


def pin_network(place: Path, config_file: Path, *, expected: str, yes: bool, json: bool) -> None:
    """Write the registry file and its digest into a configuration.

    Raises:
        RegistryError: code `registry_pin`, not the digest expected.
        ConfigError, InputError, DiskError: the configuration or the file is not usable; or nobody said yes.

    """
    screen = Screen(as_json=json)
    config = load_config(config_file)
    file = place / NETWORK_FILE if place.is_dir() else place
    registry = read_registry(file)
    digest = registry.digest.hex()
    _compare(registry, expected)
    if not expected and not yes:
        _ask(screen, registry)
    shown = os.path.relpath(file.absolute(), config_file.absolute().parent)
    write_pin(config_file, Path(shown).as_posix(), digest)
    own = registry.members.get(config.member.name)
    screen.result(
        {
            "config": str(config_file),
            "network": registry.network,
            "version": registry.version,
            "digest": digest,
            "member": own is not None,
        }
    )
    screen.say(f"{config_file} now believes version {registry.version} of the network {registry.network}.", "green")
    screen.pairs([("network_file", shown), ("network_sha256", digest)])
    if own is None:
        screen.note(f"{config.member.name} is no member of it yet: a governor admits its join.json first.")
    elif not _is_ours(own.tls[-1].certificate, config.paths.keys_dir):
        screen.note(
            f"The registry has other keys for {config.member.name} than {config.paths.keys_dir}: ask a governor."
        )


def _ask(screen: Screen, registry: Registry) -> None:
    screen.note(
        f"Network {registry.network}, version {registry.version}, {counted(len(registry.members), 'member')},"
        f" valid until {day(registry.expires_at)}",
        "",
    )
    screen.note(f"  digest  {registry.digest.hex()}", "bold")
    screen.note(
        "Compare it with a governor, by another way than the file came: everything else is trusted because of it."
    )
    if not sys.stdin.isatty():
        raise InputError("Nobody is there to compare the digest. Give it with --pin, or say --yes.")
    if not typer.confirm("Is it the same?", err=True):
        raise RegistryError("Nothing is written: the digest is not that of the governors.", code="registry_pin")


def _compare(registry: Registry, expected: str) -> None:
    digits = expected.strip().lower()
    if not digits:
        return
    if _DIGEST.fullmatch(digits) is None:
        raise InputError("A digest is 64 hex digits.")
    if not hmac.compare_digest(digits, registry.digest.hex()):
        raise RegistryError(
            f"The file is not the registry with that digest: it is version {registry.version} with"
            f" {registry.digest.hex()}. Ask the governor which version was meant.",
            code="registry_pin",
        )


def _is_ours(registered: Certificate, keys: Path) -> bool:
    try:
        return read_tls_certificate(keys / TLS_CERTIFICATE).spki == registered.spki
    except ConfigError:
        return False
