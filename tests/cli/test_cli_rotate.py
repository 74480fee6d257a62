"""`list rotate`: on a real PostgreSQL, with no peer running but the publisher where one is needed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from riskshare.config import Config
from riskshare.generate import generate
from riskshare.peer.opening import now, opened_store, read_member
from riskshare.sharing import builders
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.kept import EpochRow
from riskshare.sharing.published import Published
from riskshare.statement import read_wire
from riskshare.store.buildings import Buildings
from riskshare.store.files import SegmentFiles
from tests.simulator.cluster import RunningCluster
from tests.simulator.intake import intake_of
from tests.simulator.publishing import look_up
from tests.simulator.running import publisher_of

LISTED = generate(501, 30, ("phone",))


@pytest.fixture
def imported(run, member, tmp_path):
    """A member with two lists of one keyset, the second empty."""
    file = tmp_path / "numbers.csv"
    file.write_text("\n".join(each.canonical for each in LISTED))
    for name in ("high-risk", "more"):
        run("list", "create", name, "--category", "telecom_fraud", "--config", member)
    result = run("list", "import", "high-risk", file, "--config", member)
    assert result.exit_code == 0, result.stdout
    return member


@pytest.fixture
def published(imported):
    publish(imported)
    return imported


def with_store(config_file, work):
    async def run():
        own = read_member(Config.load(config_file))
        async with opened_store(own.config) as store:
            return await work(own, store)

    return asyncio.run(run())


def publish(config_file):
    return with_store(config_file, lambda own, store: publisher_of(own, store).refresh())


def epochs(config_file) -> list[EpochRow]:
    return with_store(config_file, lambda _, store: store.publications.epochs())


def listed(config_file, number):
    """Which of the identifiers are found under an epoch."""

    async def look(own, store):
        published = Published(
            member=own.name,
            network=own.registry.network,
            identity=own.keys.identity,
            data_key=own.data_key,
            lists=store.lists,
            grants=store.grants,
            shelf=store.publications,
            files=SegmentFiles(own.segments),
            now=now,
        )
        await published.load()
        [epoch] = [row.digest for row in await store.publications.epochs() if row.number == number]
        view, key = published._lists["jd/high-risk", epoch].view, published.own_key(epoch)
        return [each for each in LISTED if look_up(view, key, "jd/high-risk", each.canonical) is not None]

    return with_store(config_file, look)


def test_a_keyset_is_computed_anew_and_published_by_the_peer(answer, published):
    code, [done] = answer("list", "rotate", "--config", published)
    assert (code, done["epoch"], done["rows"], done["resumed"]) == (0, 2, 30, False)
    assert (done["lists"], done["peer_running"], done["published"]) == (["jd/high-risk", "jd/more"], False, False)
    assert publish(published) == 2
    assert listed(published, 1) == listed(published, 2) == LISTED
    old, new = epochs(published)
    assert new.ended_at is None
    assert abs((old.until - now()).total_seconds() - 24 * 3600) < 60, "the change-over"
    own = read_member(Config.load(published))
    assert list(Buildings(own.building).present()) == []
    assert publish(published) == 0
    assert epochs(published) == [old, new]


def test_the_end_of_the_old_epoch_is_told_by_a_signed_statement(answer, published):
    answer("list", "rotate", "default", "--config", published)
    publish(published)
    old = epochs(published)[0]
    own = read_member(Config.load(published))

    async def told(own, store):
        found = Published(
            member=own.name,
            network=own.registry.network,
            identity=own.keys.identity,
            data_key=own.data_key,
            lists=store.lists,
            grants=store.grants,
            shelf=store.publications,
            files=SegmentFiles(own.segments),
            now=now,
        )
        await found.load()
        return found.epoch(old.digest, "icbc"), [bool(found.served(row.digest, "icbc", now())) for row in epochs_of]

    epochs_of = epochs(published)
    wire, served = with_store(published, told)
    keys = [own.keys.identity.public]
    ended = EpochStatement.from_statement(read_wire("epoch", own.registry.network, wire, keys, limit=8192))
    assert (ended.digest, ended.ended.reason, ended.until) == (old.digest, "rotated", old.until)
    assert ended.in_term(now())
    assert served == [True, True]


def test_an_epoch_that_is_to_end_can_be_ended_at_once(answer, published):
    answer("list", "rotate", "default", "--config", published)
    publish(published)
    code, [done] = answer("epoch", "end", "default", "--reason", "key_exposed", "--config", published)
    assert (code, done["ended"]) == (0, [1, 2])
    assert all(row.until <= now() for row in epochs(published))
    code, [done] = answer("list", "rotate", "--config", published)
    assert (code, done["epoch"]) == (0, 3)


def test_nothing_to_rotate_is_said(answer, run, member, published):
    code, [shown] = answer("list", "rotate", "partners", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "no_epoch")
    assert "default" in shown["error"]["message"]
    code, [shown] = answer("list", "rotate", "--list", "nothing", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "unknown_list")
    code, [shown] = answer("list", "rotate", "default", "--list", "more", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "invalid_input")
    assert len(epochs(published)) == 1


def test_a_member_without_lists_has_nothing_to_rotate(answer, member):
    code, [shown] = answer("list", "rotate", "--config", member)
    assert (code, shown["error"]["code"]) == (2, "no_epoch")


def test_of_several_keysets_one_is_to_be_named(answer, run, published):
    run("list", "create", "theirs", "--category", "telecom_fraud", "--keyset", "partners", "--config", published)
    code, [shown] = answer("list", "rotate", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "no_epoch")
    assert "default, partners" in shown["error"]["message"]
    code, [done] = answer("list", "rotate", "--list", "theirs", "--config", published)
    assert (code, done["keyset"], done["lists"]) == (0, "partners", ["jd/theirs"])


def start(*words):
    command = [sys.executable, "-m", "riskshare", "list", "rotate", *words, "--json"]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_rotations_at_once_one_runs(published):
    with ThreadPoolExecutor(2) as pool:
        processes = [start("--config", published) for _ in range(2)]
        outputs = list(pool.map(lambda process: process.communicate(timeout=120), processes))
    codes = sorted(process.returncode for process in processes)
    numbers = [row.number for row in epochs(published)]
    if codes == [0, 2]:
        assert any('"rotation_running"' in out for out, _ in outputs)
        assert numbers == [1, 2]
    else:  # the second went on with what the first had just computed
        assert codes == [0, 0], outputs
        assert numbers == [1, 2]
        assert sum('"resumed": true' in out for out, _ in outputs) == 1
    publish(published)
    assert listed(published, 2) == LISTED


def test_a_keyset_that_another_process_is_at_is_left_to_it(answer, published):
    async def begin(own, store):
        epoch = publisher_of(own, store)._epochs.new("default", 2)
        held = [Buildings(own.building).hold(epoch.digest, name) for name in ("high-risk", "more")]
        assert await store.publications.add_epoch(epoch)
        return held

    held = with_store(published, begin)
    code, [shown] = answer("list", "rotate", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "rotation_running")
    assert publish(published) == 0
    for one in held:
        one.close()
    code, [done] = answer("list", "rotate", "--config", published)
    assert (code, done["epoch"], done["resumed"]) == (0, 2, True)


SLOW = """
import sys
from riskshare.sharing import composing
composing.RUN_ROWS = 5
from riskshare.store import lists
lists.SEALED_ROWS = 5
from riskshare.store.buildings import Held
true = Held.keep
def keep(self, marks):
    true(self, marks)
    if len(marks.runs) == 3:
        print("begun", flush=True)
        import time
        time.sleep(600)
Held.keep = keep
Composer = composing.Composer
def small(*args, **kwargs):
    return Composer(*args, **kwargs, run_rows=5)
from riskshare.cli import rotation
rotation.Composer = small
from riskshare.cli import main
main()
"""


@pytest.mark.parametrize("who", ["the next rotation", "the peer"])
def test_a_rotation_that_is_killed_is_gone_on_with(answer, run, published, who):
    words = ["list", "rotate", "--config", str(published)]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    assert (
        Buildings(read_member(Config.load(published)).building).hold(epochs(published)[1].digest, "high-risk") is None
    )
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(epochs(published)) == 2
    gone = LISTED[0]
    run("list", "withdraw", "high-risk", gone.canonical, "--reason", "appeal_upheld", "--config", published)
    if who == "the next rotation":
        code, [done] = answer("list", "rotate", "--config", published)
        assert (code, done["epoch"], done["resumed"]) == (0, 2, True)
        assert 29 <= done["rows"] <= 30, "what was computed before counts"
    publish(published)
    assert len(epochs(published)) == 2
    assert listed(published, 2) == LISTED[1:]


def test_what_is_imported_during_a_rotation_is_in_the_new_epoch(answer, run, published, tmp_path):
    """And a rotation does not wait for an import that has not ended."""
    extra = generate(502, 5, ("phone",), exclude=LISTED)

    async def importing(own, store):
        of = await store.lists.list_named("high-risk")
        async with intake_of(store, of.id) as intake:
            code, [done] = await asyncio.to_thread(answer, "list", "rotate", "--config", published)
            assert (code, done["epoch"]) == (0, 2)
            del intake

    with_store(published, importing)
    file = tmp_path / "extra.csv"
    file.write_text("\n".join(each.canonical for each in extra))
    assert run("list", "import", "high-risk", file, "--config", published).exit_code == 0
    publish(published)

    async def found(own, store):
        rows = await store.publications.epochs()
        snapshots = [await store.publications.latest_snapshot(1, row.digest) for row in rows]
        return [(one.version, len(one.segments), one.changed) for one in snapshots]

    assert with_store(published, found) == [(2, 2, 2), (1, 2, 2)]


def test_the_list_of_a_person_is_a_bar_and_a_sentence(run, published):
    result = run("list", "rotate", "--config", published)
    assert "Computed epoch 2 of the keyset default: 2 lists, 30 rows." in result.stdout
    assert "when the peer starts" in result.stdout
    assert not re.search(r"\+?86\d{6}", result.stdout + result.stderr)


def test_no_more_epochs_are_begun_than_readers_take(answer, published):
    async def crowd(own, store):
        epochs = publisher_of(own, store)._epochs
        for number in range(2, 8):
            assert await store.publications.add_epoch(epochs.new("default", number))

    with_store(published, crowd)
    publish(published)
    code, [shown] = answer("list", "rotate", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "too_many_epochs")
    assert len(epochs(published)) == 7


def configure(config_file, settings):
    text = config_file.read_text()
    for name, value in settings.items():
        text, times = re.subn(rf"(?m)^{name} = .*$", f'{name} = "{value}"', text)
        assert times == 1
    config_file.write_text(text)


def test_an_engine_that_would_send_a_key_in_the_clear_is_refused(answer, published, tmp_path):
    configure(published, {f"scheduler_{name}": tmp_path / name for name in ("ca", "cert", "key")})
    words = ["list", "rotate", "--engine", "dask", "--config", published]
    code, [shown] = answer(*words, "--scheduler", "tcp://127.0.0.1:8786")
    assert (code, shown["error"]["code"]) == (2, "scheduler_not_tls")
    code, [shown] = answer(*words)
    assert (code, shown["error"]["code"]) == (2, "scheduler_not_tls")
    code, [shown] = answer("list", "rotate", "--scheduler", "tls://127.0.0.1:8786", "--config", published)
    assert (code, shown["error"]["code"]) == (2, "config")
    assert len(epochs(published)) == 1


def test_the_engine_dask_needs_its_certificates(answer, published):
    words = ["list", "rotate", "--engine", "dask", "--scheduler", "tls://127.0.0.1:8786", "--config", published]
    code, [shown] = answer(*words)
    assert (code, shown["error"]["code"]) == (2, "config")
    assert "scheduler_ca" in shown["error"]["message"]


def test_a_keyset_is_computed_on_a_cluster(answer, run, published, tmp_path, monkeypatch):
    monkeypatch.setattr(
        builders.ProcessBuilders.__init__,
        "__kwdefaults__",
        {**builders.ProcessBuilders.__init__.__kwdefaults__, "small": 1},
    )
    (tmp_path / "cluster").mkdir()
    cluster = RunningCluster(tmp_path / "cluster")
    try:
        cluster.start()
        configure(published, cluster.settings())
        code, [done] = answer("list", "rotate", "--config", published)
        assert (code, done["epoch"], done["rows"]) == (0, 2, 30)
        assert "Compute Failed" not in cluster.logs()
        assert "Receive client connection" in cluster.logs()
        assert "jd/high-risk" not in cluster.logs()
    finally:
        cluster.stop()
    publish(published)
    assert listed(published, 2) == LISTED
