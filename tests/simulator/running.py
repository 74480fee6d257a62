"""Real peers, as processes on loopback, and what a test wants to know of them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from riskshare.config import Config
from riskshare.governance import read_registry
from riskshare.ledger import merkle
from riskshare.loopback import LoopbackNetwork, Spec, get_json, post_json
from riskshare.membership import oprf
from riskshare.membership.identifier import Identifier
from riskshare.peer.intake import importer_of
from riskshare.peer.opening import Member, new_id, now, opened_store, read_member
from riskshare.query.message import EVALUATE, Ask, AskMessage
from riskshare.registry import Quota
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.importing import Order
from riskshare.sharing.publish import Publisher, Terms
from riskshare.sharing.rows import Defaults
from riskshare.statement import sign
from riskshare.store.buildings import Buildings
from riskshare.store.embedded import EmbeddedServer
from riskshare.store.files import SegmentFiles
from riskshare.store.store import Store
from riskshare.tls import peer_client_context

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which something that must happen within a few is given up: the machine may be busy."""

BANK = Spec("bank", "Bank", "bank", ("querier",))
SHOP = Spec("shop", "Shop", "payment")
TELECOM = Spec("telecom", "Telecom", "telecom")

HURRIED = """
from dataclasses import replace
from datetime import timedelta
import riskshare.ledger.account
import riskshare.peer.accounting
import riskshare.peer.parts
import riskshare.peer.peer
import riskshare.sharing.subscribe
from riskshare.cli import main

riskshare.ledger.account.LOOKUP_EVERY = timedelta(seconds=1)
riskshare.peer.accounting.ACCOUNT_SECONDS = 0.5
riskshare.peer.accounting.COMPARE_SECONDS = 1.0
riskshare.peer.accounting.GRACE = timedelta(seconds=3)
rules_of = riskshare.peer.parts.rules_of
riskshare.peer.parts.rules_of = lambda config: replace(rules_of(config), catalogue_seconds=0.5)
riskshare.peer.peer.GAUGES_SECONDS = 0.5
riskshare.peer.peer.PUBLISH_SECONDS = 1.0
riskshare.peer.peer.REGISTRY_SECONDS = 1.0
riskshare.sharing.subscribe.LONGEST_PAUSE = 1.0
if __name__ == "__main__":
    main()
"""
"""A riskshare that does about every second what it else does every 5 to 60 seconds."""

DEADLINE_MS = 5000
"""For checks whose speed is not the matter."""


@dataclass
class Answered:
    """Status, headers and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Running(LoopbackNetwork):
    """A network of real peers whose databases lie in a server that the test holds."""

    server: EmbeddedServer
    published: set[str]

    @classmethod
    def make(
        cls, directory: Path, server: EmbeddedServer, specs: Sequence[Spec], *, quota: Quota | None = None
    ) -> Running:
        """Make it; databases get names of their own, for many networks share one server."""
        tag = secrets.token_hex(4)
        placed = [
            replace(
                spec,
                settings={
                    "store": {"server_dir": server.directory, "database": f"t{tag}_{spec.name}"},
                    **spec.settings,
                },
            )
            for spec in specs
        ]
        made = cls.create(directory, placed, quota=quota)
        running = cls(made.directory, list(made.members.values()))
        running.server = server
        running.published = set()
        return running

    def hurried(self) -> list[str]:
        """A program for `start`: what waits for the next round of a peer's regular work need not wait for long."""
        file = self.directory / "hurried.py"
        file.write_text(HURRIED)
        return [str(file)]

    # -- lists -----------------------------------------------------------------------

    def publish(self, owner: str, name: str, identifiers: Iterable[Identifier]) -> None:
        """Bring identifiers into a list of a member, which is made if need be."""
        asyncio.run(self._publish(owner, name, "\n".join(each.canonical for each in identifiers).encode()))

        self.published.add(f"{owner}/{name}")

    async def _publish(self, owner: str, name: str, data: bytes) -> None:
        member = self.member(owner)
        async with opened_store(member.config) as store:
            row = await store.lists.list_named(name)
            row = row or await store.lists.create_list(name, "telecom_fraud", "default")
            report = await importer_of(member, store).run(
                row, io.BytesIO(data), Defaults("telecom_fraud"), Order("test")
            )
        assert report.committed, report.bad

    def member(self, name: str) -> Member:
        """A member with its keys."""
        return read_member(self.members[name].config)

    # -- asking ----------------------------------------------------------------------

    def post(self, name: str, body: dict[str, Any], path: str = "/v1/check") -> tuple[int, Any]:
        """POST to a member's client API."""
        member = self.members[name]
        return post_json(member.urls["clients"] + path, body, member.api_key, timeout=PATIENCE)

    def check(self, name: str, *identifiers: Identifier, deadline_ms: int = DEADLINE_MS) -> dict[str, Any]:
        """A check that gets a verdict."""
        body = {"identifiers": [each.canonical for each in identifiers], "purpose": "payment"}
        status, answer = self.post(name, {**body, "deadline_ms": deadline_ms})
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    def statuses(self, name: str, *identifiers: Identifier, deadline_ms: int = DEADLINE_MS) -> dict[str, str]:
        """How each owner took part in a check."""
        return status_of(self.check(name, *identifiers, deadline_ms=deadline_ms))

    def get(self, name: str, path: str) -> Any:
        """GET from a member's client API."""
        member = self.members[name]
        status, answer = get_json(member.urls["clients"] + path, member.api_key, timeout=PATIENCE)
        assert status == 200, answer
        return answer

    def ready(self, *names: str) -> None:
        """Wait until members hold all lists that `publish` has made."""
        for name in names or tuple(self.members):
            self.wait_for_lists(name, self.published)
            self.wait(name, "readyz")

    def health(self, name: str, path: str = "healthz") -> dict[str, Any]:
        """What an operations listener says; empty if nobody answers."""
        _, text = self.probe(name, path)
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def metric(self, name: str, sample: str, **labels: str) -> float | None:
        """One sample of a member's metrics."""
        status, text = self.probe(name, "metrics")
        assert status == 200
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                if each.name == f"riskshare_{sample}" and each.labels == labels:
                    return float(each.value)
        return None

    def log(self, name: str, event: str) -> list[dict[str, Any]]:
        """The lines of a member's log with that event."""
        lines = self.log_file(name).read_text().splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in parsed if line.get("event") == event]

    # -- between peers ---------------------------------------------------------------

    def exchange(
        self,
        owner: str,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        tls: ssl.SSLContext,
        port: int | None = None,
    ) -> Answered:
        """One request to a member's peers' listener over a connection of its own."""
        config = self.members[owner].config
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port or config.listen.peers.port, context=tls, timeout=PATIENCE
        )
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/cbor"} if body else {})
            response = connection.getresponse()
            return Answered(response.status, dict(response.getheaders()), response.read())

    def tls(self, name: str, owner: str) -> ssl.SSLContext:
        """TLS as a member speaks it to an owner."""
        keys = self.member(name).keys
        anchors = [self.member(owner).keys.tls.der]
        return peer_client_context(keys.tls_certificate_file, keys.tls_key_file, anchors)

    def ask(self, querier: str, owner: str, count: int = 1, *, epoch: bytes | None = None) -> AskMessage:
        """A signed ask for points that stand for nothing, in the epoch that the owner publishes under now."""
        member = self.member(querier)
        registry = read_registry(self.directory / "network.json")
        elements = [oprf.blind(secrets.token_bytes(8), oprf.scalar_from_random(secrets.token_bytes(64)))]
        elements *= count
        [newest] = self.rows(owner, "select digest from epochs order by number desc limit 1")
        ask = Ask(
            batch=new_id(),
            network=registry.network,
            registry=registry.version,
            querier=querier,
            owner=owner,
            epoch=epoch or newest["digest"],
            purpose="payment",
            count=count,
            elements=merkle.root(elements),
            snapshots={},
            asked_at=now(),
        )
        signed = sign("ask", ask.network, ask.body(), member.keys.identity)
        return AskMessage(signed.json, signed.signature, b"".join(elements))

    def evaluate(self, querier: str, owner: str, count: int = 1, *, port: int | None = None) -> Answered:
        """Send such an ask."""
        body = self.ask(querier, owner, count).to_bytes()
        return self.exchange(owner, EVALUATE, method="POST", body=body, tls=self.tls(querier, owner), port=port)

    # -- databases -------------------------------------------------------------------

    def dsn(self, name: str) -> str:
        """The DSN of a member's database."""
        return dsn_of(self.server, self.members[name].config)

    def rows(self, name: str, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Look into a member's database, behind its back."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.dsn(name))
            try:
                return await connection.fetch(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    async def checkpoint(self) -> None:
        """Let the server write all that it holds in memory to its files."""
        connection = await asyncpg.connect(self.server.dsn())
        try:
            await connection.execute("checkpoint")
        finally:
            await connection.close()

    def receipts(self, name: str) -> dict[str, bytes]:
        """All receipts of a member by their ids in hex."""
        return {row["id"].hex(): row["receipt"] for row in self.rows(name, "select id, receipt from receipts")}


def publisher_of(member: Member, store: Store) -> Publisher:
    """What publishes a member's lists, without its peer."""
    return Publisher(
        member=member.name,
        network=member.registry.network,
        identity=member.keys.identity,
        data_key=member.data_key,
        lists=store.lists,
        shelf=store.publications,
        files=SegmentFiles(member.segments),
        buildings=Buildings(member.building),
        builders=ProcessBuilders(member.data_key),
        terms=Terms(),
        now=now,
        random=secrets.token_bytes,
    )


def dsn_of(server: EmbeddedServer, config: Config) -> str:
    return config.store.dsn.get_secret_value() or server.dsn(config.database)


def status_of(answer: dict[str, Any]) -> dict[str, str]:
    """Status by owner."""
    return {owner["owner"]: owner["status"] for owner in answer["owners"]}


def until(condition: Callable[[], T], what: str, *, seconds: float = PATIENCE) -> T:
    """Wait until a condition holds; give what it gave."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(pause)
        pause = min(0.25, 1.2 * pause)  # to ask keeps those busy that are waited for
    return found
