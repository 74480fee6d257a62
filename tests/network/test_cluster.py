"""Computing a list on a real cluster of Dask over TLS: the same rows as here, whoever is killed; no key in any log."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import trustme

from riskshare.client import cluster as clusters
from riskshare.client.cluster import Cluster
from riskshare.errors import ConfigError, OpenError, RiskshareError
from riskshare.membership import oprf
from riskshare.membership.record import Record, label, open_record, record_key
from riskshare.sharing.build import Part, compute_part
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.entry import DataKey
from tests.simulator.cluster import RunningCluster

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DATA = DataKey(bytes(range(32)))
KEY = oprf.SecretKey.from_random(bytes(range(64)))
LIST = "jd/fraud"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    made = RunningCluster(tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    made.stop()


def value(number):
    return b"phone:+8613%09d" % number


def row(number, *, key=DATA):
    place = uuid4()
    sealed = key.seal_identifier(value(number), os.urandom(12), row=place, list_name=LIST, state="active")
    record = Record("telecom_fraud", "reported", "high", "", NOW, NOW + timedelta(days=1), case=str(number))
    return place.bytes, sealed, "active", record.to_bytes()


def chunks(count, size):
    return [[row(at + n) for n in range(size)] for at in range(0, count * size, size)]


async def built(builders, given, step=lambda _: None):
    async def stream():
        for chunk in given:
            yield chunk

    found = []
    async with builders(KEY) as build:
        async for rows in build(LIST, stream()):
            found.append(rows)
            step(len(found))
    return found


def opened(rows, total):
    """What the rows say, by label; each must open."""
    sealed = dict(rows)
    found = {}
    for number in range(total):
        token = oprf.token(KEY, value(number))
        name = label(token, LIST)
        found[name] = open_record(sealed[name], record_key(token, LIST), LIST, name).case
    return found


async def test_a_cluster_computes_what_this_machine_computes(running):
    given = chunks(5, 40)
    there = await built(ProcessBuilders(DATA, small=1, engine=running.member().start), given)
    here = await built(ProcessBuilders(DATA, small=10**9), given)
    assert [[name for name, _ in rows] for rows in there] == [[name for name, _ in rows] for rows in here]
    flat = [pair for rows in there for pair in rows]
    assert opened(flat, 200) == opened([pair for rows in here for pair in rows], 200)
    assert sorted(opened(flat, 200).values()) == sorted(map(str, range(200)))


async def test_a_worker_that_is_killed_loses_no_row_and_doubles_none(running):
    """And one that comes in mid-job takes part."""
    given = chunks(60, 50)

    def kill(done):
        if done == 10:
            running.kill_worker(0)
            running.add_worker()

    rows = [
        pair
        for part in await built(ProcessBuilders(DATA, small=1, engine=running.member().start), given, kill)
        for pair in part
    ]
    assert len(rows) == 3000
    assert len(opened(rows, 3000)) == 3000


async def test_no_key_and_no_identifier_is_in_any_log_of_the_cluster(running):
    await built(ProcessBuilders(DATA, small=1, engine=running.member().start), chunks(3, 20))
    broken = [[(*row(1)[:3], None)]]  # no record: what the worker cannot pad
    with pytest.raises(RiskshareError):
        await built(ProcessBuilders(DATA, small=1, engine=running.member().start), [*broken * 3])
    logs = running.logs()
    assert "Compute Failed" in logs, "the failure is logged, with what it was given"
    assert "compute_part" in logs
    for secret in (KEY.export(), DATA.export()):
        assert secret.hex() not in logs
        assert repr(secret)[2:-1] not in logs
    assert "+8613" not in logs


def test_a_part_shows_nothing_and_travels():
    part = Part(LIST, KEY, [(value(1), b"record")])
    assert repr(part) == str(part) == "Part(1 rows)"
    [(name, _)] = compute_part(pickle.loads(pickle.dumps(part)))
    assert name == label(oprf.token(KEY, value(1)), LIST)


async def test_an_entry_that_does_not_open_is_told_here(running):
    with pytest.raises(OpenError):
        await built(ProcessBuilders(DATA, small=1, engine=running.member().start), [[row(1, key=DataKey(bytes(32)))]])


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:8786", "127.0.0.1:8786", "", "http://x", "TLS://x:1"])
def test_a_scheduler_without_tls_is_refused(running, url):
    files = running.member()
    with pytest.raises(ConfigError) as refused:
        Cluster(url, files.ca, files.certificate, files.key)
    assert refused.value.code == "scheduler_not_tls"
    assert "tls://" in refused.value.message


def test_a_scheduler_that_is_not_there_is_told(running, monkeypatch):
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1.0)
    with pytest.raises(RiskshareError) as lost:
        running.member("tls://127.0.0.1:9").start(DATA, KEY)
    assert lost.value.code == "engine_unreachable"


def test_a_scheduler_of_another_authority_gets_nothing(running, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 2.0)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    mine = running.member()
    with pytest.raises(RiskshareError) as lost:
        Cluster(mine.scheduler, tmp_path / "other.pem", mine.certificate, mine.key).start(DATA, KEY)
    assert lost.value.code == "engine_unreachable"


def test_a_certificate_that_is_not_there_is_told(running, tmp_path):
    mine = running.member()
    with pytest.raises(ConfigError, match="There is no"):
        Cluster(mine.scheduler, mine.ca, tmp_path / "none.pem", mine.key).start(DATA, KEY)


def test_a_cluster_without_workers_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "WORKERS_SECONDS", 1.0)
    empty = RunningCluster(tmp_path)
    try:
        empty.start(workers=0)
        with pytest.raises(RiskshareError, match="no workers") as lost:
            empty.member().start(DATA, KEY)
    finally:
        empty.stop()
    assert lost.value.code == "engine_unreachable"


async def test_a_cluster_that_is_lost_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "RESULT_SECONDS", 2.0)
    made = RunningCluster(tmp_path)

    def end(done):
        if done == 2:
            made.kill_worker(0)

    try:
        made.start(workers=1)
        with pytest.raises(RiskshareError) as lost:
            await built(ProcessBuilders(DATA, small=1, engine=made.member().start), chunks(20, 50), end)
    finally:
        made.stop()
    assert lost.value.code == "engine_lost"
