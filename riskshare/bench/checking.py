"""The speed of a check: one owner against its bare parts, four owners against one, coalescing on against off."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import asyncpg

from riskshare.bench.measure import Figure, median_of
from riskshare.bench.network import CATEGORIES, Measured
from riskshare.dialled import dial
from riskshare.generate import stream
from riskshare.membership import oprf
from riskshare.membership.identifier import Identifier
from riskshare.peer.parts import asker_of, checker_of
from riskshare.query.ask import Asker
from riskshare.query.check import Checker
from riskshare.query.verdict import Question
from riskshare.signature import SigningKey, verify
from riskshare.tls import peer_client_context

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

ROUNDS: Final = 400
WARM: Final = 50
ASK_BYTES: Final = 900
ANSWER_BYTES: Final = 420
RECEIPT_BYTES: Final = 1000
RECORD_BYTES: Final = 800
CONCURRENT: Final = 32
SECONDS: Final = 3.0
TURNS: Final = 3


async def checking_one(measured: Measured) -> list[Figure]:
    """A check of one owner, in a network of these two: others would share the cores, and it would not be idle."""
    async with _Bare.opened(measured) as bare:
        return [await _one_owner(measured, bare, _fresh())]


async def checking_four(measured: Measured) -> list[Figure]:
    """The figures of checks of four owners."""
    fresh = _fresh()
    return [await _four_owners(measured, fresh), await _coalescing(measured, fresh)]


def _fresh() -> Iterator[Identifier]:
    """Identifiers that are on no list, each other than those before."""
    return stream(77, ("bank_card", "cn_id", "iban"))


def _question(fresh: Iterator[Identifier], *categories: str) -> Question:
    return Question((next(fresh),), "payment", categories=frozenset(categories), deadline=10.0)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _check(checker: Checker, question: Question) -> None:
    verdict = await checker.check(question)
    if verdict.word != "clear":
        raise AssertionError(f"a check of an unlisted identifier gave {verdict.word}")


async def _timed_check(checker: Checker, question: Question) -> float:
    """From `check()` to its verdict. The question is there before: to generate an identifier takes some 50 µs."""
    return await _timed(lambda: _check(checker, question))


async def _one_owner(measured: Measured, bare: _Bare, fresh: Iterator[Identifier]) -> Figure:
    """A check of one owner, interleaved with the parts that it cannot do without."""
    checker = measured.querier.querier.checker
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "group operations": bare.group_operations,
        "signatures": bare.signatures,
        "bare POST": bare.post,
        "two commits": bare.commits,
    }
    times: dict[str, list[float]] = {"check": [], **{name: [] for name in works}}
    for _ in range(WARM + ROUNDS):
        times["check"].append(await _timed_check(checker, _question(fresh, CATEGORIES[0])))
        for name, work in works.items():
            times[name].append(await _timed(work))
    medians = {name: median_of(found[WARM:]) * 1e6 for name, found in times.items()}
    check = medians.pop("check")
    total = sum(medians.values())
    parts = ", ".join(f"{name} {value:.0f} µs ({value / check:.0%})" for name, value in medians.items())
    return Figure(
        "one check of one owner, idle, against the sum of its bare parts",
        check / total,
        "ratio",
        1.6,
        "at most",
        detail=f"{check:.0f} µs against {total:.0f} µs: {parts}",
        parts={"check": check, **medians},
    )


async def _four_owners(measured: Measured, fresh: Iterator[Identifier]) -> Figure:
    checker = measured.querier.querier.checker
    one: list[float] = []
    four: list[float] = []
    for turn in range(WARM + ROUNDS):
        a = await _timed_check(checker, _question(fresh, CATEGORIES[0]))
        b = await _timed_check(checker, _question(fresh))
        if turn >= WARM:
            one.append(a)
            four.append(b)
    return Figure(
        "the same with four owners, against one",
        median_of(four) / median_of(one),
        "ratio",
        2.5,
        "at most",
        detail=f"{median_of(four) * 1e6:.0f} µs against {median_of(one) * 1e6:.0f} µs",
    )


async def _coalescing(measured: Measured, fresh: Iterator[Identifier]) -> Figure:
    """Checks a second of 32 concurrent checkers, with and without coalescing, in turns."""
    together = measured.querier.querier.checker
    asker, alone = _without_coalescing(measured)
    rates: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(TURNS):
        rates["with"].append(await _rate(together, fresh))
        rates["without"].append(await _rate(alone, fresh))
    await asker.close()
    on, off = median_of(rates["with"]), median_of(rates["without"])
    return Figure(
        f"{CONCURRENT} concurrent checks of four owners: coalescing against none",
        on / off,
        "ratio",
        2.0,
        detail=f"{on:,.0f} checks/s against {off:,.0f}",
    )


async def _rate(checker: Checker, fresh: Iterator[Identifier]) -> float:
    until = time.perf_counter() + SECONDS

    async def repeat() -> int:
        done = 0
        while time.perf_counter() < until:
            await _check(checker, _question(fresh))
            done += 1
        return done

    began = time.perf_counter()
    counts = await asyncio.gather(*(repeat() for _ in range(CONCURRENT)))
    return sum(counts) / (time.perf_counter() - began)


def _without_coalescing(measured: Measured) -> tuple[Asker, Checker]:
    """The querier's parts once more, but with an asker that sends each element alone."""
    shared, half = measured.querier.shared, measured.querier.querier
    asker = asker_of(shared, half.commits, coalesce=False)
    return asker, checker_of(shared, half.holdings, asker, half.commits, half.cache)


class _Bare:
    """What a check of one owner cannot do without, each alone."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, context: Any, connections: tuple[Connection, Connection]
    ) -> None:
        self._session = session
        self._url = url
        self._context = context
        self._connections = connections
        self._key = oprf.SecretKey.from_random(secrets.token_bytes(64))
        self._identity = SigningKey(secrets.token_bytes(32))
        self._ask = secrets.token_bytes(ASK_BYTES)

    @classmethod
    @asynccontextmanager
    async def opened(cls, measured: Measured) -> AsyncIterator[_Bare]:
        """Start the bare other side, and connect to the same PostgreSQL."""
        owner, member = measured.owners[0], measured.querier.shared.member
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "riskshare.bench.echo", str(owner.config_file), str(ANSWER_BYTES),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        registered = measured.querier.shared.directory.current().member(owner.name)
        assert registered is not None
        context = peer_client_context(
            member.keys.tls_certificate_file,
            member.keys.tls_key_file,
            registered.certificates(measured.querier.now()),
        )
        dsn = measured.querier.shared.store.target.dsn
        one, two = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
        for name, connection in (("bench_one", one), ("bench_two", two)):
            await connection.execute(f"create table {name} (id bytea primary key, body bytea)")
            await connection.execute(f"alter table {name} alter column body set storage external")
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=dial)) as session:
                yield cls(session, f"https://127.0.0.1:{port}/", context, (one, two))
        finally:
            for name, connection in (("bench_one", one), ("bench_two", two)):
                await connection.execute(f"drop table {name}")
                await connection.close()
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def group_operations(self) -> None:
        """Blind, evaluate, invert, finalize."""
        value = b"phone:+8613800138000"
        scalar = oprf.scalar_from_random(secrets.token_bytes(64))
        evaluated = oprf.evaluate(self._key, oprf.blind(value, scalar))
        oprf.finalize(value, oprf.invert(scalar), evaluated)

    async def signatures(self) -> None:
        """Sign ask, answer and check; verify ask and answer."""
        signature = b""
        for _ in range(3):
            signature = self._identity.sign(self._ask)
        for _ in range(2):
            if not verify(self._identity.public, self._ask, signature):
                raise AssertionError("a signature does not hold")

    async def post(self) -> None:
        """One POST of an ask's size, and an answer's back."""
        async with self._session.post(self._url, data=self._ask, ssl=self._context) as response:
            await response.read()

    async def commits(self) -> None:
        """One commit of a receipt's size at the owner, one of receipt and record at the querier."""
        sizes = (RECEIPT_BYTES, RECEIPT_BYTES + RECORD_BYTES)
        for name, connection, size in zip(("bench_one", "bench_two"), self._connections, sizes, strict=True):
            await connection.execute(
                f"insert into {name} values ($1, $2)",  # noqa: S608 - our own name
                secrets.token_bytes(16),
                secrets.token_bytes(size),
            )
