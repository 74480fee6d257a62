"""The verbs of governance: create a network, make a member, admit requests to join.

A governor's folder:

    governor.key            its Ed25519 key
    registry/<version>.json every version, from the first on; a version is written once
    network.json            the newest one: what members get

A member's folder: `riskshare.toml`, `keys/`, `api-key`, `join.json` (the request for the governors).

Order of durability of a new version: first `registry/<version>.json`, made in one step that fails if there is
one, then `network.json` by renaming. A crash between the two leaves a signed version that may have been seen; the next
command finds it and finishes with it, instead of signing another one of the same number, which would be a fork.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from riskshare import registry as rules
from riskshare.config import FILE_NAME, Config, overlaid
from riskshare.config_sections import is_loopback
from riskshare.config_text import render
from riskshare.encoding import format_time
from riskshare.errors import ConfigError, InputError, RegistryError
from riskshare.keys import (
    SECRET_BYTES,
    ApiKey,
    create_member_keys,
    disk_errors,
    make_private_directory,
    new_api_key,
    read_signing_key,
    write_key,
    write_new,
)
from riskshare.names import check_member_name
from riskshare.registry import Governors, Member, Quota, Registry
from riskshare.registry.joining import MAX_FILE as MAX_REQUEST
from riskshare.registry.member import Standing
from riskshare.registry.network import MAX_FILE as MAX_REGISTRY
from riskshare.registry.network import TERM
from riskshare.signature import SigningKey

NETWORK = "riskshare"
"""Name of a network that was given none."""

NETWORK_FILE = "network.json"
HISTORY = "registry"
GOVERNOR_KEY = "governor.key"
REQUEST_FILE = "join.json"
API_KEY_FILE = "api-key"
API_KEY_TERM = timedelta(days=365)
API_KEY_SCOPES = ("check", "publish")

_CLIENTS_ABOVE = 1_000
_OPERATIONS_ABOVE = 2_000


@dataclass(frozen=True, slots=True)
class CreatedMember:
    """Where a new member's files lie, and the configuration as `Config.load` will read it."""

    config: Config
    config_file: Path
    request_file: Path
    api_key_file: Path


def create_network(
    directory: Path,
    name: str = NETWORK,
    *,
    now: datetime,
    term: timedelta = TERM,
    threshold: int = 1,
    governor_keys: Sequence[Path] = (),
    currency: str = "CNY",
) -> Registry:
    """Make a governor's key and version 1 of a registry without members.

    `governor_keys` are files of further governors' keys (`create_governor_key`); `threshold` of all
    governors sign each later version. `currency` is that of the prices (ISO 4217).

    Raises:
        ConfigError: the folder holds a network already, or a key file is not usable.
        RegistryError: code `registry_malformed`, a value is not usable.
        DiskError: a file cannot be written.

    """
    directory = directory.absolute()
    for existing in (directory / GOVERNOR_KEY, directory / NETWORK_FILE, directory / HISTORY):
        _check_absent(existing)
    seed = secrets.token_bytes(SECRET_BYTES)
    keys = [SigningKey(seed), *(read_signing_key(path, "governor") for path in governor_keys)]
    governors = Governors(threshold, tuple(sorted({key.public for key in keys})))
    data = rules.sign_registry(rules.first_body(name, governors, now=now, term=term, currency=currency), keys)
    make_private_directory(directory)
    with _all_or_nothing() as register:
        write_key(register(directory / GOVERNOR_KEY), "governor", seed)
        register(directory / HISTORY)
        _write_version(register(directory / NETWORK_FILE).parent, 1, data)
    return Registry.from_file(data)


def create_governor_key(path: Path) -> bytes:
    """Make the key file of a further governor; returns the public key (32 bytes).

    Raises:
        ConfigError: the file exists. DiskError.

    """
    make_private_directory(path.absolute().parent)
    seed = secrets.token_bytes(SECRET_BYTES)
    write_key(path, "governor", seed)
    return SigningKey(seed).public


def create_member(
    directory: Path,
    name: str,
    url: str,
    *,
    now: datetime,
    network: str = NETWORK,
    network_file: Path | None = None,
    title: str = "",
    kind: str = "bank",
    roles: Iterable[str] = ("owner", "querier"),
    price: str = "0",
    settings: dict[str, Any] | None = None,
) -> CreatedMember:
    """Make a member's keys, configuration, API key and request to join, in a folder that has none of them.

    `url` is where other members reach its peer. With `network_file` the configuration names that registry
    and pins its digest, and the network's name is taken from it: do so if the file comes from somebody
    you trust. `settings` are values for the configuration, by section, over those chosen here.

    Raises:
        ConfigError: a file exists already; a name, URL or setting is not usable.
        DiskError: a file cannot be written; then nothing of this is left.

    """
    directory = directory.absolute()
    address = _check_member(name, url)
    known = None if network_file is None else read_registry(network_file)
    api_key = new_api_key()
    values = _settings(directory, name, address, known, network_file)
    values["api_keys"] = [_api_key_settings(api_key, now)]
    config = Config.from_values(overlaid(values, settings or {}), directory)
    made = CreatedMember(config, directory / FILE_NAME, directory / REQUEST_FILE, directory / API_KEY_FILE)
    for path in (made.config_file, made.request_file, made.api_key_file, config.paths.keys_dir):
        _check_absent(path)
    make_private_directory(directory)
    with _all_or_nothing() as register:
        keys = create_member_keys(register(config.paths.keys_dir), name, address[0], now=now)
        request = rules.sign_request(
            network if known is None else known.network,
            name,
            url=url,
            identity=keys.identity,
            ledger=keys.ledger,
            witness=keys.witness,
            certificate=keys.tls.der,
            now=now,
            title=title,
            kind=kind,
            roles=roles,
            price=price,
        )
        write_new(register(made.api_key_file), f"{api_key.secret}\n".encode("ascii"), mode=0o600)
        write_new(register(made.request_file), request)
        write_new(register(made.config_file), render(config, directory).encode(), mode=0o600)
    return made


def _api_key_settings(key: ApiKey, now: datetime) -> dict[str, Any]:
    # To the second: what a person would write.
    expires = (now + API_KEY_TERM).replace(microsecond=0)
    return {"id": key.id, "sha256": key.sha256, "scopes": API_KEY_SCOPES, "expires": expires}


def _check_member(name: str, url: str) -> tuple[str, int]:
    try:
        check_member_name(name)
        return rules.parse_peer_url(url)
    except InputError as error:
        raise ConfigError(error.message) from error


def _settings(
    directory: Path, name: str, address: tuple[str, int], known: Registry | None, network_file: Path | None
) -> dict[str, Any]:
    """The settings that follow from name, URL and registry."""
    host, port = address
    member: dict[str, Any] = {"name": name}
    if known is not None and network_file is not None:
        member |= {
            "network_file": Path(os.path.relpath(network_file.absolute(), directory)),
            "network_sha256": known.digest.hex(),
        }
    # A peer on a loopback address is reached from this machine only; it need not listen to others.
    peers = {"host": host if is_loopback(host) else "0.0.0.0", "port": port}  # noqa: S104 - the listener for other members
    step = 1 if port + _OPERATIONS_ABOVE <= 65_535 else -1
    return {
        "member": member,
        "listen": {
            "peers": peers,
            "clients": {"port": port + step * _CLIENTS_ABOVE},
            "operations": {"port": port + step * _OPERATIONS_ABOVE},
        },
    }


def admit(
    directory: Path,
    requests: Sequence[Path],
    *,
    now: datetime,
    term: timedelta = TERM,
    quota: Quota | None = None,
    governor_keys: Sequence[Path] = (),
) -> Registry:
    """Issue the next registry version with the members that `requests` (files) ask for.

    Without a request the same registry is issued anew, with a new term. `governor_keys` are
    files of further governors' keys, where the threshold needs them.

    Raises:
        ConfigError: no network in the folder, a file missing, too few governors' keys, a clock before the last version.
        RegistryError: codes `join_refused`, `bad_signature`: a request is not admitted, and no version is issued.
        DiskError: a file cannot be written.

    """
    old = current_registry(directory)
    members = proposed_members(old, requests, now=now, quota=quota)
    return issue(directory, old, members.values(), now=now, term=term, governor_keys=governor_keys)


def proposed_members(
    old: Registry, requests: Sequence[Path], *, now: datetime, quota: Quota | None = None
) -> dict[str, Member]:
    """What requests (files) would make of members, new or changed, by name. Raises ConfigError, RegistryError."""
    read = [rules.read_request(_read_file(path, MAX_REQUEST)) for path in requests]
    return rules.admit_members(old, read, now=now, quota=quota)


def set_standing(
    directory: Path,
    name: str,
    standing: Standing,
    *,
    now: datetime,
    term: timedelta = TERM,
    governor_keys: Sequence[Path] = (),
) -> Registry:
    """Issue the next registry version with a member suspended, or in good standing again.

    Raises:
        ConfigError: no such member; else as `admit`.

    """
    old = current_registry(directory)
    member = old.member(name)
    if member is None:
        raise ConfigError(f"The registry has no member of that name. It has: {', '.join(old.members) or 'none'}.")
    changed = replace(member, standing=standing)
    return issue(directory, old, [changed], now=now, term=term, governor_keys=governor_keys)


def issue(
    directory: Path,
    old: Registry,
    members: Iterable[Member],
    *,
    now: datetime,
    term: timedelta,
    governor_keys: Sequence[Path],
    **changes: Any,
) -> Registry:
    """Sign the version after `old`, with `members` or other keys changed, and write it out. Raises as `admit`."""
    if now < old.issued_at:
        raise ConfigError(f"The clock is behind the last version, of {format_time(old.issued_at)}. Set it.")
    keys = [read_signing_key(path, "governor") for path in (directory / GOVERNOR_KEY, *governor_keys)]
    counted = len({key.public for key in keys} & set(old.governors.keys))
    if counted < old.governors.threshold:
        raise ConfigError(
            f"{old.governors.threshold} of the network's {len(old.governors.keys)} governors must sign, and only"
            f" {counted} of the keys given are theirs. Give the key files of further governors."
        )
    data = rules.sign_registry(rules.next_body(old, now=now, term=term, members=members, **changes), keys)
    # What members will verify is verified before it leaves.
    new = rules.verify_next(old, data)
    _write_version(directory, new.version, data)
    return new


def current_registry(directory: Path) -> Registry:
    """The newest version in a governor's folder; a version that a crash left half written out is finished.

    Raises:
        ConfigError: no network there. RegistryError: a file was altered. DiskError.

    """
    registry = read_registry(directory / NETWORK_FILE)
    ahead = _version_file(directory, registry.version + 1)
    if not ahead.exists():
        return registry
    data = _read_file(ahead, MAX_REGISTRY)
    newer = rules.verify_next(registry, data)
    _replace(directory / NETWORK_FILE, data)
    return newer


def read_registry(path: Path) -> Registry:
    """Read a registry file that signs itself. It is believed because of where it lies, not of what it says.

    Raises:
        ConfigError: not readable. RegistryError: malformed, or altered.

    """
    return Registry.from_file(_read_file(path, MAX_REGISTRY))


def load_registry(path: Path, pinned: bytes) -> Registry:
    """Read a member's `network.json` and verify that it follows from the pinned digest.

    Either its own digest is the pinned one, or the folder `registry/` beside it holds the
    versions from the pinned one on, each leading to the next.

    Raises:
        ConfigError: no digest is pinned, or a file is not readable.
        RegistryError: as `verify_chain`; code `registry_pin`, the pinned version is neither here nor there.

    """
    if not pinned:
        raise ConfigError(
            "No registry digest is pinned. Ask the governors for the digest of their registry, by another way than the"
            " file came, and write it to network_sha256 in the section member."
        )
    data = _read_file(path, MAX_REGISTRY)
    newest = rules.parse_registry(data)
    if newest.digest == pinned:
        return rules.verify_first(data, pinned)
    # Backwards to the pinned one, then forwards with all checks.
    walked = [data]
    for version in range(newest.version - 1, 0, -1):
        file = path.parent / HISTORY / f"{version}.json"
        if not file.exists():
            break
        walked.append(_read_file(file, MAX_REGISTRY))
        if rules.parse_registry(walked[-1]).digest == pinned:
            return rules.verify_chain(reversed(walked), pinned)
    raise RegistryError(
        f"Version {newest.version} of the registry is not the pinned one, and the folder {HISTORY} beside it does not"
        " lead to it. Fetch that folder from the governors, or pin the version that you have, its digest compared.",
        code="registry_pin",
    )


def _version_file(directory: Path, version: int) -> Path:
    return directory / HISTORY / f"{version}.json"


def _write_version(directory: Path, version: int, data: bytes) -> None:
    target = _version_file(directory, version)
    with disk_errors(target):
        target.parent.mkdir(exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        write_new(beside, data)
        _link_new(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    _sync_directory(target.parent)
    _replace(directory / NETWORK_FILE, data)


def _link_new(source: Path, target: Path) -> None:
    """Give a finished file its name: whole at once, and only if there is none."""
    with disk_errors(target):
        try:
            os.link(source, target)
        except FileExistsError as error:
            raise ConfigError(f"{target} exists: another command issued that version. Run this one again.") from error


def _replace(path: Path, data: bytes) -> None:
    """Write a file anew: whole, or the old one stays."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_new(beside, data)
        with disk_errors(path):
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise ConfigError(f"{path} is longer than {limit} bytes.")
    return data


def _check_absent(path: Path) -> None:
    if path.exists():
        raise ConfigError(f"{path} exists already and is not overwritten. Use another folder.")


@contextmanager
def _all_or_nothing() -> Iterator[Callable[[Path], Path]]:
    """Delete the files and folders registered, if the block fails: a second run could not complete half of them."""

    def remove(path: Path) -> None:
        for part in path.iterdir() if path.is_dir() else ():
            part.unlink(missing_ok=True)
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)

    def register(path: Path) -> Path:
        stack.callback(remove, path)
        return path

    with ExitStack() as stack:
        yield register
        stack.pop_all()
