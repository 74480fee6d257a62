"""What is withdrawn or disputed reaches everybody who follows; who was away says so until it has caught up."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg
import pytest
from typer.testing import CliRunner

from riskshare.cli.application import app
from riskshare.generate import generate
from riskshare.membership.identifier import Identifier
from riskshare.peer.opening import Member, opened_store
from riskshare.sharing.entry import NONCE_BYTES, reseal
from riskshare.sharing.kept import ListRow, Resealed, State, StoredEntry
from riskshare.store import applying, imports
from riskshare.store.connection import LEADER_LOCK, LOCK_CLASS
from riskshare.store.store import Store
from tests.network.conftest import MakeNetwork
from tests.simulator.changing import DISPUTE, RESTORE, withdrawal
from tests.simulator.running import BANK, SHOP, Running, publisher_of, status_of, until

T = TypeVar("T")

LISTED = generate(501, 40, ("phone", "iban"))
UNLISTED = generate(502, 20, ("phone",), exclude=set(LISTED))
MANY = generate(503, 20, ("phone",), exclude={*LISTED, *UNLISTED})
HASTY = replace(BANK, name="hasty", settings={"subscribe": {"stale_after_s": 3, "poll_hold_s": 1}})
"""A bank for which a list is stale after three seconds without a word of its owner."""


@pytest.fixture(scope="module")
def running(make_network: MakeNetwork) -> Running:
    made = make_network(BANK, HASTY, SHOP)
    made.publish("shop", "fraud", LISTED)
    made.start()
    return made


@pytest.fixture
def network(running: Running) -> Running:
    """All peers run, and hold the list."""
    running.ready("bank", "hasty")
    return running


def withdraw(network: Running, *identifiers: Identifier) -> None:
    """By the command, which waits until a running peer has published it."""
    config = str(network.members["shop"].config_file)
    names = [each.canonical for each in identifiers]
    words = ["list", "withdraw", "fraud", *names, "--reason", "appeal_upheld", "--json", "--config", config]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["withdrawn"] == len(identifiers)


def change_state(network: Running, identifier: Identifier, state: State) -> None:
    """Dispute an entry, or end that."""
    member = network.member("shop")
    change = DISPUTE if state == "disputed" else RESTORE

    def sealed(of: ListRow, entry: StoredEntry, new: State) -> Resealed:
        return reseal(member.data_key, f"shop/{of.name}", entry, new, secrets.token_bytes(NONCE_BYTES))

    async def write() -> int:
        async with opened_store(member.config) as store:
            of = await store.lists.list_named("fraud")
            assert of is not None
            handle = member.data_key.handle(identifier.oprf_input, "shop/fraud")
            return await store.lists.change_state(of.id, [handle], state, change, sealed)

    assert asyncio.run(write()) == 1


def shown(network: Running, name: str) -> tuple[str, int]:
    """Status and version of the list at a bank."""
    [found] = network.get(name, "/v1/lists")["lists"]
    return found["status"], found["version"]


def disputed(answer: dict[str, Any]) -> list[bool]:
    return [hit["disputed"] for hit in answer["hits"]]


def until_clear(network: Running, name: str, *identifiers: Identifier) -> list[dict[str, Any]]:
    """Ask until the verdict is clear; the answers before that."""
    answers: list[dict[str, Any]] = []

    def is_clear() -> bool:
        answers.append(network.check(name, *identifiers))
        return bool(answers[-1]["verdict"] == "clear")

    until(is_clear, f"{name} has caught up")
    return answers[:-1]


def test_what_is_withdrawn_is_a_hit_nowhere_although_its_token_is_cached(network: Running) -> None:
    banks = ("bank", "hasty")
    for name in banks:
        assert network.check(name, LISTED[0])["verdict"] == "hit"
        assert network.statuses(name, LISTED[0]) == {"shop": "cached"}
    withdraw(network, LISTED[0])
    for name in banks:
        until(lambda name=name: network.check(name, LISTED[0])["verdict"] == "clear", f"clear at {name}", seconds=12)
        assert network.check(name, LISTED[1])["verdict"] == "hit"


def test_a_dispute_and_its_end_reach_everybody(network: Running) -> None:
    for state, mark in (("disputed", True), ("active", False)):
        change_state(network, LISTED[2], state)  # type: ignore[arg-type]
        for name in ("bank", "hasty"):
            until(lambda name=name, mark=mark: disputed(network.check(name, LISTED[2])) == [mark], state, seconds=12)


def test_a_subscriber_that_was_stopped_is_stale_until_it_has_asked(network: Running) -> None:
    """While it was away an entry was withdrawn, and when it returns the owner is away."""
    assert network.check("bank", LISTED[3])["verdict"] == "hit"
    _, version = shown(network, "bank")
    network.stop("bank")
    withdraw(network, LISTED[3])
    network.stop("shop")
    network.start("bank")
    assert shown(network, "bank") == ("stale", version)
    answer = network.check("bank", UNLISTED[0])
    assert (answer["verdict"], answer["complete"]) == ("incomplete", False)
    network.start("shop")
    before = until_clear(network, "bank", LISTED[3])
    assert not any(answer["complete"] for answer in before)
    assert shown(network, "bank") == ("current", version + 1)
    assert network.check("bank", LISTED[4])["verdict"] == "hit"


def test_a_subscriber_that_is_cut_off_gives_no_clear_and_catches_up_before_it_does(network: Running) -> None:
    for each in (LISTED[6], UNLISTED[1]):
        network.check("hasty", each)  # its token is cached: no owner needs to be asked again
    assert network.statuses("hasty", UNLISTED[1]) == {"shop": "cached"}
    network.stop("shop")
    withdraw(network, LISTED[6])
    until(lambda: shown(network, "hasty")[0] == "stale", "the list is stale")
    answer = network.check("hasty", UNLISTED[1])
    assert (answer["verdict"], answer["complete"]) == ("incomplete", False)
    assert status_of(answer)["shop"] in {"stale", "down"}
    old = network.check("hasty", LISTED[6])
    assert (old["verdict"], old["complete"]) == ("hit", False)  # as of when it last heard, and it says so
    network.start("shop")
    until_clear(network, "hasty", LISTED[6], UNLISTED[1])
    assert network.check("hasty", LISTED[7])["verdict"] == "hit"


# --- beside large changes


async def halted(begun: asyncio.Event, go_on: asyncio.Event, work: Awaitable[T]) -> T:
    """Say that something has begun; do it when told to."""
    begun.set()
    await go_on.wait()
    return await work


def test_a_withdrawal_is_seen_while_a_large_import_is_being_committed(
    network: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "FEW_ROWS", 0)
    true = applying.locked

    async def both() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(applying, "locked", lambda *args: halted(begun, go_on, true(*args)))
        importing = asyncio.create_task(network._publish("shop", "fraud", lines(MANY[:10])))
        await begun.wait()
        await asyncio.to_thread(withdraw, network, LISTED[8])
        for name in ("bank", "hasty"):
            await asyncio.to_thread(until_clear, network, name, LISTED[8])
        assert network.check("bank", MANY[0])["verdict"] == "clear"
        go_on.set()
        await importing

    asyncio.run(both())
    for name in ("bank", "hasty"):
        until(lambda name=name: network.check(name, MANY[0])["verdict"] == "hit", f"all of it at {name}", seconds=12)
        assert network.check(name, MANY[9])["verdict"] == "hit"
        before = {(answer["verdict"], status_of(answer)["shop"]) for answer in until_clear(network, name, LISTED[8])}
        assert before <= ({("incomplete", "stale")} if name == "hasty" else set())  # on a busy machine


def test_a_withdrawal_is_seen_while_a_large_change_is_being_computed(network: Running) -> None:
    """In place of the owner's leader the test publishes; more than three entries are many for it."""
    member = network.member("shop")

    async def computed() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        async with leading(network, "shop"), opened_store(member.config) as store:
            publisher = publisher_of(member, store)
            publisher._composer._few_changes = 3
            true = publisher._composer.delta
            publisher._composer.delta = lambda *args: halted(begun, go_on, true(*args))  # type: ignore[method-assign]
            await network._publish("shop", "fraud", lines([*MANY[10:], LISTED[10]]))
            passing = asyncio.create_task(publisher.refresh())
            await begun.wait()
            await settled(store, member, LISTED[9])
            publisher.stir()
            for name in ("bank", "hasty"):
                await asyncio.to_thread(until_clear, network, name, LISTED[9])
                answer = await asyncio.to_thread(network.check, name, MANY[10])
                assert (answer["verdict"], answer["complete"]) == ("clear", True)
            go_on.set()
            await passing

    asyncio.run(computed())
    for name in ("bank", "hasty"):
        until(lambda name=name: network.check(name, MANY[10])["verdict"] == "hit", f"all of it at {name}", seconds=12)
        assert network.check(name, MANY[19])["verdict"] == "hit"
        before = {(answer["verdict"], status_of(answer)["shop"]) for answer in until_clear(network, name, LISTED[9])}
        assert before <= ({("incomplete", "stale")} if name == "hasty" else set())  # on a busy machine


def lines(identifiers: Sequence[Identifier]) -> bytes:
    return "\n".join(each.canonical for each in identifiers).encode()


async def settled(store: Store, member: Member, identifier: Identifier) -> None:
    """Withdraw an entry."""

    def sealed(of: ListRow, entry: StoredEntry, new: State) -> Resealed:
        return reseal(member.data_key, f"shop/{of.name}", entry, new, secrets.token_bytes(NONCE_BYTES))

    of = await store.lists.list_named("fraud")
    assert of is not None
    handle = member.data_key.handle(identifier.oprf_input, "shop/fraud")
    change = withdrawal("appeal_upheld")
    assert await store.lists.change_state(of.id, [handle], "withdrawn", change, sealed) == 1


@asynccontextmanager
async def leading(network: Running, name: str) -> AsyncIterator[None]:
    """Take the leader's lock of a member: its peer serves, and publishes nothing."""
    mine, other = [await asyncpg.connect(network.dsn(name)) for _ in range(2)]
    try:
        taken = asyncio.ensure_future(mine.execute("select pg_advisory_lock($1, $2)", LOCK_CLASS, LEADER_LOCK))
        waits = "select exists (select from pg_locks where locktype = 'advisory' and objid = $1 and not granted)"
        while not await other.fetchval(waits, LEADER_LOCK):  # noqa: ASYNC110 - what is waited for happens in PostgreSQL
            await asyncio.sleep(0.01)
        await other.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid = $1"
            " and classid = $2 and database = (select oid from pg_database where datname = current_database())",
            *(LEADER_LOCK, LOCK_CLASS),
        )
        await taken
        yield
    finally:
        await mine.close()
        await other.close()
