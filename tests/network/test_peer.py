"""A peer in this process: what its chores do that no request shows; and networks whose members do not start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.bench import network as bench_network
from riskshare.demo.commands import command
from riskshare.demo.play import _kept
from riskshare.errors import DiskError, RiskshareError
from riskshare.loopback import Spec
from riskshare.peer.chores import PERSISTENT, Chore
from riskshare.peer.health import Health
from riskshare.peer.peer import IDEMPOTENCY_TERM, Peer, now
from riskshare.sharing.segment_ref import SegmentRef
from tests.database.conftest import Made
from tests.network.conftest import MakeNetwork
from tests.simulator.running import TELECOM, Running

STOPS = Spec("stops", "Stops", "bank")


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    return make_network(TELECOM, STOPS)


@pytest.fixture
async def peer(network: Running) -> AsyncIterator[Peer]:
    """A peer whose chores do nothing by themselves."""
    found = Peer(network.members["telecom"].config)
    await found.start()
    await found._chores.stop()
    yield found
    # The epochs of these tests are no real ones: the next peer could not open their keys.
    await found.shared.store.pool.execute("truncate lists, epochs cascade")
    await found.stop()


async def published(peer: Peer, age: timedelta, versions: int) -> tuple[str, list[SegmentRef]]:
    """A list whose versions, a segment each, were issued one day after the other up to `age` ago; name and segments."""
    made, store = Made(), peer.shared.store
    made._random.seed(now().isoformat())
    name = f"list-{made.bytes(8).hex()}"
    of = await store.lists.create_list(name, "telecom_fraud", f"keyset-{name}")
    epoch = replace(made.epoch(keyset=f"keyset-{name}"), not_before=now(), not_after=now() + timedelta(days=1))
    assert await store.publications.add_epoch(epoch)
    refs = []
    for version in range(1, versions + 1):
        at = now() - age - (versions - version) * timedelta(days=1)
        segment = made.segment(of.id, epoch.digest, created_at=at)
        snapshot = made.snapshot(of.id, epoch.digest, version, [segment], issued_at=at)
        await store.publications.publish(snapshot, [segment], version - 1)
        peer.owner.files.path(segment.ref.file_digest).write_bytes(b"a segment")
        refs.append(segment.ref)
    return name, refs


async def left(peer: Peer, refs: list[SegmentRef]) -> list[tuple[bool, bool]]:
    """Of each segment, whether its row and its file are there."""
    rows = {row.ref for row in await peer.shared.store.publications.segments([ref.file_digest for ref in refs])}
    return [(ref in rows, peer.owner.files.path(ref.file_digest).exists()) for ref in refs]


async def test_what_has_had_its_time_is_forgotten_rows_and_files(peer: Peer) -> None:
    window = timedelta(days=peer.config.audit.window_days)
    _, old = await published(peer, window + timedelta(days=2), 3)
    _, fresh = await published(peer, timedelta(0), 3)
    await peer._tidy()
    assert await left(peer, old) == [(False, False), (False, False), (True, True)]  # the newest stays
    assert await left(peer, fresh) == [(True, True)] * 3
    await peer._tidy()
    assert await left(peer, old) == [(False, False), (False, False), (True, True)]


async def test_what_an_audit_may_still_need_is_kept(peer: Peer) -> None:
    window = timedelta(days=peer.config.audit.window_days)
    _, refs = await published(peer, window - timedelta(days=3), 3)
    await peer._tidy()
    assert await left(peer, refs) == [(True, True)] * 3


async def test_a_crash_between_row_and_file_leaves_a_file_that_nobody_names(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, refs = await published(peer, timedelta(days=peer.config.audit.window_days + 2), 2)

    def crash(_digest: bytes) -> None:
        raise DiskError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(peer.owner.files, "delete", crash)
        with pytest.raises(DiskError):
            await peer._tidy()
    assert await left(peer, refs) == [(False, True), (True, True)]
    await peer._tidy()
    assert (await left(peer, refs))[1] == (True, True)


async def test_replies_are_kept_for_a_day(peer: Peer) -> None:
    store = peer.shared.store
    for number in range(2):
        assert await store.idempotency.begin("key", bytes([number]) * 32, b"r" * 32) is None
    await store.pool.execute(
        "update idempotency set started_at = clock_timestamp() - $1::interval - interval '1 minute'"
        " where key_digest = $2",
        IDEMPOTENCY_TERM,
        bytes(32),
    )
    await peer._tidy()
    rows = await store.pool.fetch("select key_digest from idempotency")
    assert [row["key_digest"] for row in rows] == [b"\x01" * 32]


async def test_work_that_keeps_failing_makes_the_peer_unhealthy(peer: Peer) -> None:
    async def step() -> None:
        return None

    chore = Chore("publish", step, 1.0, failures=PERSISTENT - 1, trouble="The disk is full.")
    peer._chores.watch(chore)
    work = Health(peer.shared, peer.owner, peer.querier, peer._ledger, peer._chores).alive()["work"]
    await work()
    chore.failures = PERSISTENT
    with pytest.raises(RiskshareError) as caught:
        await work()
    assert caught.value.code == "work_failing"
    assert "publish: The disk is full." in caught.value.message


# -- members that do not start --------------------------------------------------------------------------------------


def test_a_member_that_ends_at_its_start_is_told_with_its_last_words(network: Running) -> None:
    with pytest.raises(RiskshareError) as caught:
        network.start("stops", program=["-c", "print('the last words', flush=True); raise SystemExit(3)"])
    assert caught.value.code == "not_started"
    assert "ended with code 3" in caught.value.message
    assert "the last words" in caught.value.message


def test_a_member_that_is_not_ready_in_time_is_told(network: Running) -> None:
    for wait in (
        lambda: network.wait("stops", "readyz", seconds=-1),
        lambda: network.wait_for_lists("stops", {"stops/nothing"}, seconds=-1),
    ):
        with pytest.raises(RiskshareError) as caught:
            wait()
        assert caught.value.code == "not_started"


def test_a_step_of_the_demo_that_fails_is_told(network: Running) -> None:
    member = network.members["stops"]
    with pytest.raises(RiskshareError) as caught:
        command(member, "list", "import", "no-such-list", "no-such-file")
    assert caught.value.code == "demo_failed"
    assert "riskshare list import ended with 2 in place of 0" in caught.value.message
    with pytest.raises(RiskshareError) as caught:
        asyncio.run(_kept(member, bytes(32)))
    assert caught.value.code == "demo_failed"


def test_a_list_that_the_bench_cannot_make_is_told(network: Running) -> None:
    with pytest.raises(RiskshareError) as caught:
        bench_network.fill(network.members["stops"], "no such category", 0)
    assert caught.value.code == "bench_failed"
