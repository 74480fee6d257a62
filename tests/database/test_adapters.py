"""What stands between the verbs and the outside: names and shapes, over a real PostgreSQL and real TLS."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from riskshare.errors import PeerDown, PeerGarbage, SegmentError
from riskshare.metrics import Metrics
from riskshare.peer.adapters import MirrorSource, PeerPublications, ReceiptPages, Registries, TrustState, Watch
from riskshare.sharing.kept import FraudProofRow, RegistryRow, TrustedRow
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.store.exchange import OwnerCommits
from tests.simulator.listening import peer_pair

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
EPOCH = b"e" * 32
LIST = "jd/high-risk"


def row(revision, state=b"{}", *, owner="jd", name="jd/fraud"):
    return TrustedRow(owner, name, revision, state, NOW)


# --- trust -----------------------------------------------------------------------------------------------


async def test_states_are_swapped_one_revision_after_the_other(store):
    trust = TrustState(store.trust, lambda: NOW)
    assert await trust.trusted() == []
    for revision in (1, 2, 3):
        assert await trust.save_trusted(row(revision, b"state %d" % revision))
    assert [(each.revision, each.state) for each in await trust.trusted()] == [(3, b"state 3")]


@pytest.mark.parametrize("revision", [0, 1, 2, 4, 100])
async def test_a_revision_that_is_not_the_next_one_is_not_written(store, revision):
    trust = TrustState(store.trust, lambda: NOW)
    for number in (1, 2):
        assert await trust.save_trusted(row(number))
    assert not await trust.save_trusted(row(revision, b"wrong"))
    assert [(each.revision, each.state) for each in await trust.trusted()] == [(2, b"{}")]


async def test_what_another_process_wrote_meanwhile_is_not_overwritten_unseen(store):
    mine, theirs = TrustState(store.trust, lambda: NOW), TrustState(store.trust, lambda: NOW)
    assert await mine.save_trusted(row(1, b"mine"))
    assert not await theirs.save_trusted(row(1, b"theirs"))
    await theirs.trusted()
    assert await theirs.save_trusted(row(2, b"theirs"))
    assert not await mine.save_trusted(row(2, b"mine again"))
    await mine.trusted()
    assert await mine.save_trusted(row(3, b"mine again"))
    assert [each.state for each in await theirs.trusted()] == [b"mine again"]


async def test_owners_and_lists_have_rows_of_their_own(store):
    trust = TrustState(store.trust, lambda: NOW)
    places = [("jd", ""), ("jd", "jd/fraud"), ("unionpay", ""), ("unionpay", "unionpay/fraud")]
    for owner, name in places:
        assert await trust.save_trusted(row(1, owner=owner, name=name))
    assert {(each.owner, each.list_name) for each in await TrustState(store.trust, lambda: NOW).trusted()} == set(
        places
    )


async def test_evidence_is_kept_once(store):
    trust = TrustState(store.trust, lambda: NOW)
    proof = FraudProofRow("snapshot", "jd", b"a" * 32, b"evidence", NOW)
    assert await trust.add_fraud_proof(proof)
    assert not await trust.add_fraud_proof(proof)
    assert await store.trust.fraud_proofs() == [proof]


# --- receipts and registries -----------------------------------------------------------------------------------


async def test_a_querier_sees_its_own_receipts_since_a_time_and_behind_a_number(store, made):
    commits = OwnerCommits(store)
    kept = [made.receipt(counterparty=name) for name in ("icbc", "icbc", "unionpay", "icbc")]
    for receipt in kept:
        await commits.keep(receipt)
    await commits.close()
    pages = ReceiptPages(store.records)
    page = await pages.page("icbc", NOW - timedelta(days=9999), 0, 2)
    assert [receipt for _, receipt in page] == kept[:2]
    assert [receipt for _, receipt in await pages.page("icbc", NOW - timedelta(days=9999), page[-1][0], 2)] == kept[3:]
    assert await pages.page("icbc", datetime(2999, 1, 1, tzinfo=UTC), 0, 2) == []
    assert await pages.page("nobody", NOW - timedelta(days=9999), 0, 2) == []


async def test_versions_of_the_registry_come_from_the_store_and_the_newest_from_memory(store):
    current = object()
    registries = Registries(SimpleNamespace(current=lambda: current), store.trust)
    assert registries.current() is current
    assert await registries.version(1) is None
    assert await store.trust.keep_registry(RegistryRow(1, b"d" * 32, b"the file", NOW))
    assert await registries.version(1) == b"the file"
    assert await registries.version(2) is None


# --- what is published, and what is fetched --------------------------------------------------------------------


async def test_each_question_goes_to_what_is_published_with_its_reader():
    asked = []

    class Published:
        def __getattr__(self, name):
            def answer(*arguments):
                asked.append((name, arguments))
                return name

            async def later(*arguments):
                return answer(*arguments)

            return later if name in {"catalogue", "wait", "snapshot_version", "snapshot_named"} else answer

    found = PeerPublications(Published())
    assert await found.catalogue("icbc") == "catalogue"
    assert await found.epoch(EPOCH, "icbc") == "epoch"
    assert await found.snapshot(LIST, EPOCH, "icbc") == "snapshot"
    assert await found.wait(LIST, EPOCH, b"d" * 32, 1.5, "icbc") is None
    assert await found.snapshot_version(LIST, EPOCH, 7, "icbc") == "snapshot_version"
    assert await found.snapshot_named(LIST, b"d" * 32, "icbc") == "snapshot_named"
    assert await found.segment(b"s" * 32, "icbc") == "segment"
    assert asked == [
        ("catalogue", ("icbc",)),
        ("epoch", (EPOCH, "icbc")),
        ("snapshot", (LIST, EPOCH, "icbc")),
        ("wait", (LIST, EPOCH, b"d" * 32, 1.5, "icbc")),
        ("snapshot_version", (LIST, EPOCH, 7, "icbc")),
        ("snapshot_named", (LIST, b"d" * 32, "icbc")),
        ("segment", (b"s" * 32, "icbc")),
    ]


@pytest.fixture
async def source(tmp_path):
    async with peer_pair(tmp_path) as pair:
        pair.shelf.snapshots += [(b"1" * 32, b"one"), (b"2" * 32, b"two")]
        file = tmp_path / "segment"
        file.write_bytes(bytes(range(100)))
        pair.shelf.files[b"s" * 32] = file
        yield MirrorSource(pair.client)


REF = SegmentRef(b"h" * 32, 10, b"s" * 32, 100)


async def test_statements_are_fetched_as_they_are(source):
    assert await source.catalogue("jd") == b"catalogue for icbc"
    assert await source.epoch("jd", EPOCH) == b"epoch " + EPOCH
    assert await source.snapshot_version("jd", LIST, EPOCH, 1) == b"one"
    assert await source.snapshot_named("jd", LIST, b"1" * 32) == b"one"


async def test_a_snapshot_that_is_known_is_none_and_waited_for(source):
    assert await source.snapshot("jd", LIST, EPOCH, None, 20) == b"two"
    assert await source.snapshot("jd", LIST, EPOCH, b"1" * 32, 20) == b"two"
    assert await source.snapshot("jd", LIST, EPOCH, b"2" * 32, 0) is None


@pytest.mark.parametrize(("offset", "length"), [(0, 100), (0, 99), (0, 1), (1, 99), (99, 1), (40, 20)])
async def test_a_segment_comes_whole_or_in_exactly_the_part_asked_for(source, offset, length):
    out = io.BytesIO()
    await source.segment("jd", REF, out, offset=offset, length=length)
    assert out.getvalue() == bytes(range(100))[offset : offset + length]
    assert await source.bucket("jd", REF.file_digest, offset, length, 100) == out.getvalue()


async def test_a_segment_of_another_length_is_garbage(source):
    longer = SegmentRef(REF.header_digest, 10, REF.file_digest, 101)
    with pytest.raises(PeerGarbage):
        await source.segment("jd", longer, io.BytesIO(), offset=0, length=101)
    with pytest.raises(PeerGarbage):
        await source.bucket("jd", REF.file_digest, 0, 10, 101)


# --- watching ---------------------------------------------------------------------------------------------------


def sample(metrics, text):
    return [line for line in metrics.render().decode().splitlines() if line.startswith(f"riskshare_{text}")]


def test_a_version_that_serves_is_counted_and_logged():
    metrics = Metrics()
    with capture_logs() as logs:
        Watch(metrics).followed("jd/fraud", 7, 1000)
    assert logs == [{"event": "list_followed", "list": "jd/fraud", "version": 7, "entries": 1000, "log_level": "info"}]
    assert sample(metrics, 'list_version{list="jd/fraud"}') == ['riskshare_list_version{list="jd/fraud"} 7.0']
    assert sample(metrics, 'list_entries{list="jd/fraud"}') == ['riskshare_list_entries{list="jd/fraud"} 1000.0']


def test_the_same_trouble_is_counted_each_time_and_logged_once_until_it_is_over():
    watch = Watch(Metrics())
    down, broken = PeerDown("jd", "no connection"), SegmentError("altered", code="segment_altered")
    with capture_logs() as logs:
        for error in (down, down, broken, broken, down):
            watch.failed("jd", "jd/fraud", error)
        watch.failed("jd", "jd/other", down)
        watch.followed("jd/fraud", 8, 1)
        watch.failed("jd", "jd/fraud", down)
    told = [(line["list"], line["code"]) for line in logs if line["event"] == "list_not_followed"]
    assert told == [
        ("jd/fraud", "peer_down"),
        ("jd/fraud", "segment_altered"),
        ("jd/fraud", "peer_down"),
        ("jd/other", "peer_down"),
        ("jd/fraud", "peer_down"),
    ]


def test_fraud_is_an_error_that_names_the_member():
    with capture_logs() as logs:
        Watch(Metrics()).fraud("jd", "snapshot")
    assert logs == [{"event": "fraud_found", "member": "jd", "kind": "snapshot", "log_level": "error"}]
