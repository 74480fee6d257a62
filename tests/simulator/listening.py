"""Peers on loopback with real TLS: a scripted owner behind the real application, and a server that says anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from riskshare.client import LedgerClient, PeerClient
from riskshare.client.accounting import AccountingClient
from riskshare.client.audits import AuditClient
from riskshare.client.settlements import SettlementClient
from riskshare.errors import AuditRefused
from riskshare.ledger.receipt import KeptReceipt
from riskshare.metrics import Metrics
from riskshare.registry import Registry
from riskshare.server.gate import PeersTls
from riskshare.server.ledger import Witnessing
from riskshare.server.listen import Listening, Strangers, listen
from riskshare.server.peers import Answering, peers_application
from riskshare.tls import peer_server_context
from tests.simulator.network import SimulatedMember, SimulatedNetwork, make_network
from tests.simulator.witnessing import Desk, Memory, Shown, witness_of

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def now() -> datetime:
    return datetime.now(UTC)


class View:
    """One peer's view of the registry: it moves when a test says so."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self._network = network
        self._registry = network.registry

    def current(self) -> Registry:
        return self._registry

    async def version(self, number: int) -> bytes | None:
        return next((old.to_file() for old in self._network.history if old.version == number), None)

    def update(self) -> None:
        self._registry = self._network.registry


class Echo:
    """Answers an ask with its own body, when `go` is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, str]] = []
        self.finished = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.began = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, body: bytes, asker: str) -> tuple[bytes, int]:
        self.asked.append((body, asker))
        self.began.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.finished.set()
        return body, 1


@dataclass
class Shelf:
    """What an owner publishes; `readers` are those who may have it."""

    readers: set[str] = field(default_factory=lambda: {"icbc"})
    snapshots: list[tuple[bytes, bytes]] = field(default_factory=list)
    files: dict[bytes, Path] = field(default_factory=dict)
    receipts: list[tuple[int, KeptReceipt]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    polled: asyncio.Event = field(default_factory=asyncio.Event)
    held: list[bytes] = field(default_factory=list)
    queries: list[tuple[str, datetime, int, int]] = field(default_factory=list)

    async def catalogue(self, reader: str) -> bytes | None:
        return b"catalogue for " + reader.encode() if reader in self.readers else None

    async def epoch(self, digest: bytes, reader: str) -> bytes | None:
        return b"epoch " + digest if reader in self.readers and digest == b"e" * 32 else None

    async def snapshot(
        self, list_name: str, epoch: bytes, reader: str, held: bytes = b""
    ) -> tuple[bytes, bytes] | None:
        self.held.append(held)
        if reader not in self.readers or list_name != "jd/high-risk" or epoch != b"e" * 32:
            return None
        return self.snapshots[-1] if self.snapshots else None

    async def wait(self, *asked: object) -> None:
        seconds = asked[3]
        assert isinstance(seconds, int | float)
        self.polled.set()
        try:
            async with asyncio.timeout(seconds):
                await self.news.wait()
        except TimeoutError:
            return

    async def snapshot_version(self, list_name: str, epoch: bytes, version: int, reader: str) -> bytes | None:
        found = await self.snapshot(list_name, epoch, reader)
        return self.snapshots[version - 1][1] if found and version <= len(self.snapshots) else None

    async def snapshot_named(self, list_name: str, digest: bytes, reader: str) -> bytes | None:
        found = await self.snapshot(list_name, b"e" * 32, reader)
        return dict(self.snapshots).get(digest) if found else None

    async def segment(self, digest: bytes, reader: str) -> Path | None:
        return self.files.get(digest) if reader in self.readers else None

    async def page(self, querier: str, since: datetime, after: int, limit: int) -> Sequence[tuple[int, KeptReceipt]]:
        self.queries.append((querier, since, after, limit))
        return [item for item in self.receipts if item[0] > after][:limit]


class Accounts:
    """What an owner shows of its log and of what it holds: to icbc everything, to others little."""

    async def entries(self, reader: str, after: int, size: int) -> bytes | None:
        return f"entries of {reader} from {after}, {size} known".encode() if reader == "icbc" else None

    async def entry(self, reader: str, source: bytes, size: int) -> bytes | None:
        return f"entry of {reader}, {size} known".encode() if source == b"e" * 32 else None

    async def held(self, after: int) -> bytes:
        return b"held after %d" % after

    async def held_statement(self, digest: bytes) -> bytes | None:
        return b"statement" if digest == b"e" * 32 else None


class Audits:
    """What an owner shows to auditors: to icbc what it asked for, to others nothing."""

    def __init__(self) -> None:
        self.held_up: asyncio.Event | None = None

    async def admit(self, wire: bytes, reader: str) -> bytes:
        if reader != "icbc":
            raise AuditRefused("no_audit_right", "No right.")
        if wire.startswith(b"too many"):
            raise AuditRefused("audit_quota", "Too many.", retry_after=60.0)
        return b"admitted " + wire

    async def range(self, digest: bytes, reader: str) -> bytes:
        return b"range for " + self._known(digest, reader)

    async def statements(self, digest: bytes, reader: str, first: int, size: int) -> bytes:
        if self.held_up is not None and reader == "icbc":
            await self.held_up.wait()
        return f"page from {first} of {size} for ".encode() + self._known(digest, reader)

    @staticmethod
    def _known(digest: bytes, reader: str) -> bytes:
        if reader != "icbc" or digest != b"e" * 32:
            raise AuditRefused("unknown_access", "Not known.")
        return reader.encode()


class Settling:
    """The other side of a settlement: says what it was asked, or raises what a test wants."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.held_up: asyncio.Event | None = None

    async def answer(self, body: bytes, proposer: str) -> bytes:
        if self.held_up is not None and proposer == "icbc":
            await self.held_up.wait()
        if self.error is not None:
            raise self.error
        return f"{len(body)} bytes of {proposer}".encode()

    async def page(self, reader: str, owner: str, opened: datetime, closed: datetime, after: bytes) -> bytes:
        return f"{owner} for {reader}, {opened:%d.%m.} to {closed:%d.%m.}, after {after.hex()[:4]}".encode()


@dataclass
class Pair:
    """The querier icbc and the owner jd, each with its own view of one network."""

    network: SimulatedNetwork
    directory: Path
    client: PeerClient
    view: View
    owner_view: View
    metrics: Metrics
    owner_metrics: Metrics
    answering: Answering
    shelf: Shelf
    log: Shown = field(default_factory=Shown)
    memory: Memory = field(default_factory=Memory)
    desk: Desk = field(default_factory=Desk)
    witness: Witnessing | None = None
    settling: Settling = field(default_factory=Settling)
    auditing: Audits = field(default_factory=Audits)
    listening: Listening | None = None

    @property
    def owner(self) -> SimulatedMember:
        return self.network.members["jd"]

    def move_to(self, port: int) -> None:
        """Sign a registry in which jd listens on that port, and let both see it."""
        member = self.network.registry.members["jd"]
        self.network.issue([replace(member, url=f"https://127.0.0.1:{port}")])
        self.update()

    def update(self) -> None:
        self.view.update()
        self.owner_view.update()

    def as_member(self, member: SimulatedMember, view: View) -> PeerClient:
        """The client of somebody else."""
        certificate, key = member.write_tls(self.directory)
        return PeerClient(registries=view, certificate=certificate, key=key, now=now, metrics=Metrics())

    def accounting_client(self, name: str = "icbc") -> AccountingClient:
        """What a member reads jd's accounts with."""
        certificate, key = self.network.members[name].write_tls(self.directory)
        return AccountingClient(registries=self.view, certificate=certificate, key=key, now=now)

    def settlement_client(self, name: str = "icbc") -> SettlementClient:
        """What a member settles with jd with."""
        certificate, key = self.network.members[name].write_tls(self.directory)
        return SettlementClient(registries=self.view, certificate=certificate, key=key, now=now)

    def audit_client(self, name: str = "icbc") -> AuditClient:
        """What a member asks jd as an auditor with."""
        certificate, key = self.network.members[name].write_tls(self.directory)
        return AuditClient(registries=self.view, certificate=certificate, key=key, now=now)

    def ledger_client(self, name: str = "icbc") -> LedgerClient:
        """What a member asks jd's log and witness with."""
        certificate, key = self.network.members[name].write_tls(self.directory)
        return LedgerClient(registries=self.view, certificate=certificate, key=key, now=now)


@asynccontextmanager
async def peer_pair(directory: Path, answering: Answering | None = None, *, serve: bool = True) -> AsyncIterator[Pair]:
    """The owner's application is served unless a test serves something else in its place."""
    network = make_network(("icbc", "jd", "unionpay"))
    view, owner_view = View(network), View(network)
    certificate, key = network.members["icbc"].write_tls(directory)
    metrics = Metrics()
    client = PeerClient(registries=view, certificate=certificate, key=key, now=now, metrics=metrics)
    pair = Pair(network, directory, client, view, owner_view, metrics, Metrics(), answering or Echo(), Shelf())
    if serve:
        pair.listening = await serve_owner(pair)
        pair.move_to(pair.listening.port)
    try:
        yield pair
    finally:
        await client.close()
        if pair.listening is not None:
            await pair.listening.close()


async def serve_owner(
    pair: Pair,
    *,
    member: SimulatedMember | None = None,
    port: int = 0,
    strangers: Strangers | None = None,
    open_log: bool = True,
) -> Listening:
    """Serve the owner's application with the TLS files of `member` (jd)."""
    certificate, key = (member or pair.owner).write_tls(pair.directory)
    app = peers_application(
        member="jd",
        registries=pair.owner_view,
        answering=pair.answering,
        publications=pair.shelf,
        receipts=pair.shelf,
        log=pair.log,
        witness=pair.witness or witness_of(pair.network, "jd", pair.owner_view, pair.memory, pair.desk),
        accounting=Accounts(),
        auditing=pair.auditing,
        settling=pair.settling,
        metrics=pair.owner_metrics,
        now=now,
        open_log=open_log,
    )
    tls = PeersTls(pair.owner_view, certificate, key, now)
    return await listen(app, "127.0.0.1", port, name="peers", tls=tls.context, strangers=strangers)


@asynccontextmanager
async def scripted(pair: Pair, script: Script, *, member: SimulatedMember | None = None) -> AsyncIterator[list[int]]:
    """Serve `script` in jd's place, over TLS with jd's certificate; yields the list of connections made."""
    certificate, key = (member or pair.owner).write_tls(pair.directory)
    context = peer_server_context(certificate, key, [pair.network.members["icbc"].certificate.der])
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    pair.move_to(server.sockets[0].getsockname()[1])
    try:
        yield connections
    finally:
        server.close()
        await pair.client.close()
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one HTTP request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return head, await reader.readexactly(length)


def says(data: bytes, *, keep_open: bool = False) -> Script:
    """A script that reads a request and sends these bytes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(data)
            await writer.drain()
            if not keep_open:
                return

    return script


def response(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP response; `Content_Type="…"` for headers."""
    lines = [f"HTTP/1.1 {status}"]
    values = {"Content_Length": str(len(body)), "Content_Type": "application/cbor", **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in values.items() if value]
    return "\r\n".join([*lines, "", ""]).encode() + body
