"""Members that show their logs to an auditor, in memory: the real verbs on both sides, and whatever lie a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from riskshare.audit.access import AccessRequest, Action
from riskshare.audit.collect import Collector
from riskshare.audit.kept import AuditRow, Kept
from riskshare.audit.page import STANDING, StatementRow
from riskshare.audit.show import Showing
from riskshare.errors import AskRefused, AuditRefused, InputError, PeerError, PeerRefused
from riskshare.ledger.kept import Head
from riskshare.ledger.policy import network_policy
from riskshare.ledger.tile import Bundle, Tile
from riskshare.registry import Registry
from riskshare.server.problems import status_of
from tests.simulator.log import SimulatedLog
from tests.simulator.network import SimulatedNetwork, make_network, seed

NAMES = ("auditor", "bank", "shop", "telecom", "wallet")
KINDS = ("receipt", "check", "unanswered", "snapshot", "registry", "epoch")


def statement_row(member: str, index: int) -> StatementRow:
    kind = KINDS[index % len(KINDS)] if index % 7 == 0 else "receipt"
    return StatementRow(index, kind, seed(member, "salt", index)[:16], b"%s %d" % (member.encode(), index), b"s", "")


class MemoryRequests:
    """`show.Requests` and `collect.Requests`: what is kept, in the order of keeping."""

    def __init__(self) -> None:
        self.rows: dict[bytes, AuditRow] = {}

    async def find(self, digest: bytes) -> AuditRow | None:
        return self.rows.get(digest)

    async def keep(self, row: AuditRow) -> bool:
        return self.rows.setdefault(row.digest, row) is row

    async def keep_within(self, row: AuditRow, since: datetime, most: int) -> Kept:
        same = [each for each in self.rows.values() if each.action == row.action and each.kept_at >= since]
        opened = sum(each.checks for each in same)
        if row.digest not in self.rows and opened + row.checks > most:
            return "beyond"
        return "new" if await self.keep(row) else "known"

    async def made_since(self, since: datetime, auditor: str, member: str, action: Action) -> Sequence[AuditRow]:
        wanted = (auditor, member, action)
        rows = [row for row in self.rows.values() if (row.auditor, row.member, row.action) == wanted]
        return [row for row in reversed(rows) if row.kept_at >= since]


class Auditee:
    """A member with its log: `show.Log` and `show.Statements`, and a `Showing` over them.

    Each growth is a checkpoint that is final `cosigned_after` its signing.
    """

    def __init__(self, network: SimulatedNetwork, name: str, clock: Clock) -> None:
        self.name = name
        self.network = network
        self.clock = clock
        self.rows: list[StatementRow] = []
        self.log = SimulatedLog(network, name, [], [other for other in NAMES if other != name])
        self.heads: list[Head] = []
        self.requests = MemoryRequests()
        self.told: list[AccessRequest] = []
        self.fetched: list[int] = []
        self.showing = Showing(
            member=name,
            network=network.name,
            registries=self,
            log=self,
            statements=self,
            requests=self.requests,
            watch=self,
            now=clock,
            random=lambda size: seed(name, "audit", len(self.requests.rows))[:size],
        )

    def grow(self, count: int, *, cosigned_after: timedelta = timedelta(seconds=2)) -> Head:
        added = [statement_row(self.name, len(self.rows) + number) for number in range(count)]
        self.rows += added
        self.log.append(row.entry for row in added)
        signed = self.log.signed()
        now = self.clock()
        head = Head(self.log.size, signed.checkpoint.root, signed.note.to_bytes(), now, now + cosigned_after)
        self.heads.append(head)
        return head

    def current(self) -> Registry:
        return self.network.registry

    async def fetch(self, version: int) -> None:
        self.fetched.append(version)

    def accessed(self, request: AccessRequest) -> None:
        self.told.append(request)

    def _final(self) -> list[Head]:
        return [head for head in self.heads if head.final_at is not None and head.final_at <= self.clock()]

    async def final(self) -> Head | None:
        return max(self._final(), key=lambda head: head.size, default=None)

    async def final_before(self, moment: datetime) -> Head | None:
        found = [head for head in self._final() if head.final_at is not None and head.final_at <= moment]
        return max(found, key=lambda head: (head.final_at, head.size), default=None)

    async def final_after(self, moment: datetime) -> Head | None:
        return min(
            (head for head in self._final() if head.signed_at >= moment), key=lambda head: head.size, default=None
        )

    async def shown(self, first: int, below: int, start: int) -> tuple[list[StatementRow], int]:
        following = min(first + 256, below)
        rows = self.rows[first:following]
        return [row for row in rows if row.index >= start or row.kind in STANDING], following


@dataclass
class Clock:
    """A clock that a test moves."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Wires:
    """`collect.Members` and `collect.Logs`: straight into the members; errors become what a client makes of them.

    `damage` may change what comes, by the name of the call; `fail` may raise in its place.
    """

    members: dict[str, Auditee]
    auditor: str
    calls: list[tuple[str, ...]] = field(default_factory=list)
    damage: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    fail: Callable[[str, str], PeerError | None] = lambda _name, _member: None

    async def _ask(self, name: str, member: str, *about: object, answer: Callable[[Auditee], object]) -> bytes:
        self.calls.append((name, member, *map(str, about)))
        if (error := self.fail(name, member)) is not None:
            raise error
        try:
            data = await answer(self.members[member])  # type: ignore[misc]
        except (AuditRefused, AskRefused, InputError) as error:
            raise PeerRefused(member, error.message, remote_code=error.code, status=status_of(error)) from error
        return self.damage.get(name, bytes)(data)

    async def request(self, member: str, wire: bytes) -> bytes:
        return await self._ask("request", member, answer=lambda one: one.showing.admit(wire, self.auditor))

    async def range(self, member: str, digest: bytes) -> bytes:
        return await self._ask("range", member, answer=lambda one: one.showing.range(digest, self.auditor))

    async def statements(self, member: str, digest: bytes, first: int, size: int) -> bytes:
        return await self._ask(
            "statements",
            member,
            first,
            answer=lambda one: one.showing.statements(digest, self.auditor, first, size),
        )

    async def tile(self, member: str, place: Tile | Bundle) -> bytes:
        async def found(one: Auditee) -> bytes:
            tiles = one.log.tiles([place]) if isinstance(place, Tile) else one.log.bundles([place])  # type: ignore[list-item]
            return (await tiles)[place]  # type: ignore[index]

        return await self._ask("tile", member, place.path, answer=found)


@dataclass
class Case:
    """An auditor, the members that it audits, and what passes between them."""

    network: SimulatedNetwork
    clock: Clock
    members: dict[str, Auditee]
    wires: Wires
    requests: MemoryRequests
    collector: Collector


def make_case(now: datetime) -> Case:
    network = make_network(NAMES, roles=dict.fromkeys(NAMES[1:], ("owner", "querier")), now=now - timedelta(days=2))
    clock = Clock(now)
    members = {name: Auditee(network, name, clock) for name in NAMES[1:]}
    wires, requests = Wires(members, "auditor"), MemoryRequests()
    collector = Collector(
        auditor="auditor",
        identity=network.members["auditor"].identity,
        registry=network.registry,
        policy=lambda member: network_policy(network.registry, member, now).to_bytes(),
        members=wires,
        logs=wires,
        requests=requests,
        now=clock,
        new_id=lambda: UUID(int=len(requests.rows) | 7 << 76 | 2 << 62),
        random=lambda size: seed("auditor", "salt", len(requests.rows))[:size],
    )
    return Case(network, clock, members, wires, requests, collector)
