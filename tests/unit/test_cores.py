from __future__ import annotations

import asyncio
import itertools
import math
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from riskshare.cores import CORES, Processes
from riskshare.errors import GroupError, RiskshareError
from riskshare.membership import oprf

ROOT = Path(__file__).parents[2]
DEADLINE = 30  # seconds that nothing may take; reached only when something hangs


@pytest.fixture(scope="module")
def processes():
    with Processes(count=2) as pool:
        yield pool


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


def test_the_number_of_cores_is_that_of_this_process():
    assert len(psutil.Process().cpu_affinity() or [0]) == CORES


# --- processes -------------------------------------------------------------------------------


def test_results_come_in_order(processes):
    assert list(processes.map(operator.neg, range(50))) == [-number for number in range(50)]


def test_unordered_results_are_all_there(processes):
    assert sorted(processes.map(operator.neg, range(50), ordered=False)) == sorted(-number for number in range(50))


@pytest.mark.parametrize("count", range(7))
def test_every_small_number_of_chunks(processes, count):
    for ordered in (True, False):
        assert sorted(processes.map(abs, range(count), ordered=ordered)) == list(range(count))


@pytest.mark.parametrize("ordered", [True, False])
def test_chunks_are_read_only_as_far_as_needed(processes, ordered):
    read = itertools.count()
    found = processes.map(abs, read, ordered=ordered)
    for taken, _ in zip(range(1, 30), found, strict=False):
        following = next(read)
        assert following <= 2 * 2 + 2 * taken
    found.close()


def test_an_error_in_a_worker_reaches_the_caller(processes):
    for ordered in (True, False):
        with pytest.raises(ValueError, match="domain"):
            list(processes.map(math.sqrt, [4, 1, -1, 9], ordered=ordered))
    assert list(processes.map(math.sqrt, [4])) == [2]


def test_an_error_of_ours_keeps_its_class_and_sentence(processes):
    with pytest.raises(GroupError, match="not a canonical encoding"):
        list(processes.map(oprf.group.check_element, [b"\xff" * 32]))


def test_an_error_in_the_chunks_reaches_the_caller(processes):
    def chunks():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(processes.map(abs, chunks()))


def test_a_function_that_cannot_travel_is_an_error(processes):
    with pytest.raises((AttributeError, TypeError)):
        list(processes.map(lambda number: number, [1]))


async def test_it_works_from_a_thread_of_an_event_loop(processes):
    assert await asyncio.to_thread(lambda: list(processes.map(abs, range(-5, 0)))) == [5, 4, 3, 2, 1]


def test_setup_gets_the_secret_by_no_way_that_others_can_see(tmp_path):
    # os.chdir stands for a function that keeps a key: the worker shows afterwards that it ran.
    secret = tmp_path / os.urandom(16).hex()
    secret.mkdir()
    before = set(workers())
    with Processes(os.chdir, (str(secret),), count=2) as pool:
        assert set(pool.map(os.path.abspath, ["x"] * 9)) == {str(secret / "x")}
        mine = set(workers()) - before
        assert mine
        for worker in mine:
            assert secret.name not in " ".join(worker.cmdline())
            assert secret.name not in " ".join(f"{key}={value}" for key, value in worker.environ().items())
        assert secret.name not in repr(pool)
    assert not set(workers()) - before, "close ends them"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_setup_that_fails_is_an_error_and_no_hang(tmp_path):
    with Processes(os.chdir, (str(tmp_path / "absent"),), count=1) as pool, pytest.raises(RiskshareError) as caught:
        list(pool.map(abs, [1]))
    assert caught.value.code == "worker_lost"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_setup_that_fails_at_an_early_start_is_told_by_the_first_work(tmp_path):
    with Processes(os.chdir, (str(tmp_path / "absent"),), count=2) as pool:
        pool.start()
        with pytest.raises(RiskshareError) as caught:
            list(pool.map(abs, [1]))
        assert caught.value.code == "worker_lost"


def test_workers_that_are_started_early_are_there_before_their_work():
    before = set(workers())
    with Processes(count=2) as pool:
        pool.start()
        deadline = time.monotonic() + 30  # a child bears its parent's command line until it has become its own program
        while len(set(workers()) - before) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(set(workers()) - before) == 2
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    assert not set(workers()) - before, "close ends them"


def test_a_worker_that_dies_is_an_error_and_no_hang():
    with Processes(count=2) as pool:
        with pytest.raises(RiskshareError) as caught:
            list(pool.map(os._exit, [3] * 9))
        assert caught.value.code == "worker_lost"
        with pytest.raises(RiskshareError):
            list(pool.map(abs, [1]))


def test_workers_leave_ctrl_c_to_the_parent(processes):
    # Raised by a worker on itself: a terminal would send it to all of them.
    assert list(processes.map(signal.raise_signal, [signal.SIGINT] * 4)) == [None] * 4


PARENT = """
import sys, time
from riskshare.cores import Processes

if __name__ == "__main__":
    pool = Processes(count=2)
    results = pool.map(time.sleep, [0, 0] + [3600] * 4)
    next(results), next(results)
    print("working", flush=True)
    next(results)
"""


@pytest.mark.parametrize("how", ["script", "command"])
def test_workers_die_with_a_parent_that_is_killed(tmp_path, how):
    (tmp_path / "peer").write_text(PARENT)  # as a console script is: no suffix
    arguments = [str(tmp_path / "peer")] if how == "script" else ["-c", PARENT]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "working\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len([child for child in children if "spawn_main" in " ".join(child.cmdline())]) == 2
        parent.kill()
    gone, alive = psutil.wait_procs(children, timeout=DEADLINE)
    for process in alive:
        process.kill()
    assert not alive
    assert len(gone) == len(children)


def test_processes_are_spawned_not_forked(processes):
    assert processes._pool._mp_context.get_start_method() == "spawn"


MAIN = """
from riskshare.cores import Processes
print("main", flush=True)

if __name__ == "__main__":
    with Processes(count=1) as pool:
        print(list(pool.map(abs, [-1])), flush=True)
"""


def test_workers_do_not_run_the_main_module(tmp_path):
    (tmp_path / "peer.py").write_text(MAIN)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, str(tmp_path / "peer.py")], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "main\n[1]\n"
