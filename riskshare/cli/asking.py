"""The work of `check`: asks the running peer over its client API.

Exit codes: 0 clear, 1 hit, 3 incomplete, 4 no verdict, 2 bad input. Of many checks: 4 if one has no verdict,
else 1 if there is a hit, else 3 if one is incomplete.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from riskshare.api_client import Client, question
from riskshare.api_models import CheckResponse
from riskshare.cli.acting import load_config
from riskshare.cli.identifier_lines import Line, bad_line, no_identifier, opened_lines, parse_words
from riskshare.cli.screen import Screen
from riskshare.cli.verdict_text import tell_line, tell_problem, tell_verdict
from riskshare.config import Config
from riskshare.errors import ConfigError, IdentifierError, PeerDown
from riskshare.governance import API_KEY_FILE
from riskshare.keys import read_secret
from riskshare.membership.identifier import Identifier

EXIT: Final = {"clear": 0, "hit": 1, "incomplete": 3}
NO_VERDICT: Final = 4
AT_ONCE: Final = 100
"""Checks of a file that travel in one request."""
TIMEOUT: Final = 30.0
"""Seconds to wait for the peer, on top of the deadlines."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked: identifiers in one check, or those of a file in a check each."""

    identifiers: tuple[str, ...]
    file: Path | None
    purpose: str
    categories: tuple[str, ...]
    deadline_ms: int | None
    reference: str
    api_key_file: Path | None


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the member's own peer takes questions, and the key for it."""

    url: str
    tls: ssl.SSLContext | None
    api_key: str

    def client(self) -> Client:
        """Connect. In a running event loop."""
        return Client(self.url, self.api_key, timeout=TIMEOUT, tls=self.tls)


def ask(config_file: Path, wish: Wish, *, json: bool) -> int:
    """Ask, show the answer, and return the exit code.

    Raises:
        InputError, ConfigError: what was given is not usable.
        AccessError, StoreError, PeerError: as `riskshare.Client`; there is no verdict.

    """
    screen = Screen(as_json=json)
    identifiers = parse_words(wish.identifiers, as_json=json)
    config = load_config(config_file)
    peer = own_peer(config, wish.api_key_file or config_file.absolute().parent / API_KEY_FILE)
    try:
        if wish.file is None:
            return asyncio.run(_one(peer, wish, identifiers, screen))
        with opened_lines(wish.file) as lines:
            return asyncio.run(_many(peer, wish, lines, screen))
    except PeerDown as error:
        raise PeerDown(
            config.member.name, f"No peer answers at {peer.url}. Start it: riskshare serve --config {config_file}"
        ) from error


async def _one(peer: Peer, wish: Wish, identifiers: Sequence[Identifier], screen: Screen) -> int:
    async with peer.client() as client:
        verdict = await client.check(
            [one.canonical for one in identifiers],
            purpose=wish.purpose,
            reference=wish.reference,
            categories=wish.categories,
            deadline_ms=wish.deadline_ms,
        )
    screen.result(verdict.model_dump(mode="json"))
    tell_verdict(screen, identifiers, verdict)
    return EXIT[verdict.verdict]


async def _many(peer: Peer, wish: Wish, lines: Iterator[Line], screen: Screen) -> int:
    codes: set[int] = set()
    async with peer.client() as client:
        while batch := list(islice(lines, AT_ONCE)):
            await _batch(client, wish, batch, screen, codes)
    if not codes:
        raise no_identifier()
    return next((code for code in (NO_VERDICT, EXIT["hit"], EXIT["incomplete"]) if code in codes), 0)


async def _batch(client: Client, wish: Wish, batch: Sequence[Line], screen: Screen, codes: set[int]) -> None:
    questions = [
        question(
            [line.content.canonical],
            purpose=wish.purpose,
            reference=wish.reference,
            categories=wish.categories,
            deadline_ms=wish.deadline_ms,
        )
        for line in batch
        if isinstance(line.content, Identifier)
    ]
    results = iter(await client.checks(questions) if questions else ())
    for line in batch:
        if isinstance(line.content, IdentifierError):
            error = line.content
            codes.add(NO_VERDICT)
            screen.result(bad_line(line.number, error))
            tell_problem(screen, line.number, error.message)
            continue
        result = next(results)
        if isinstance(result, CheckResponse):
            codes.add(EXIT[result.verdict])
            screen.result({"line": line.number, **result.model_dump(mode="json")})
            tell_line(screen, line.number, line.content, result)
        else:
            codes.add(NO_VERDICT)
            screen.result({"line": line.number, "error": {"code": result.code, "message": result.sentence}})
            tell_problem(screen, line.number, result.sentence)


def own_peer(config: Config, key_file: Path) -> Peer:
    """The member's own peer, as its configuration places it. Raises ConfigError."""
    listener = config.listen.clients
    if not listener.port:
        raise ConfigError("listen.clients.port is 0: nobody knows where the peer takes checks. Set it.")
    key = read_secret(key_file).decode("ascii", "replace").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{key_file} does not hold an API key.")
    host = _reachable(listener.host)
    tls = None
    if listener.tls_certificate is not None:
        tls = _trusting(listener.tls_certificate)
    return Peer(f"{'http' if tls is None else 'https'}://{host}:{listener.port}", tls, key)


def _reachable(host: str) -> str:
    """The address to call somebody at who listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def _trusting(certificate: Path) -> ssl.SSLContext:
    """Trust in the very certificate of the configuration, whoever signed it and whatever name it has."""
    try:
        first, end, _ = certificate.read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=first + end)
    except (OSError, UnicodeDecodeError, ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{certificate} is not a readable certificate in PEM.") from error
    return context
