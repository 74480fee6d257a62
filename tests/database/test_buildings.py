"""Buildings on the disk: of one process at a time, whole or not at all, gone when nobody needs them."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from riskshare.errors import DiskError, SegmentError
from riskshare.sharing.marks import Marks
from riskshare.sharing.runs import read_run, write_run
from riskshare.store.buildings import Buildings
from tests.simulator.disk import largest_file

EPOCH = bytes(range(32))
ROWS = [(bytes([n]) * 16, b"sealed") for n in range(5)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "building"


@pytest.fixture
def buildings(folder):
    return Buildings(folder)


def run_of(held, number=0, rows=ROWS):
    return held.write(number, lambda out: write_run(out, rows))


def test_what_is_kept_is_there_for_the_next_process(buildings):
    held = buildings.hold(EPOCH, "fraud")
    assert held.marks() is None
    marks = Marks(bytes(32), 3, rows=5, runs=(run_of(held),))
    held.keep(marks)
    held.close()
    again = buildings.hold(EPOCH, "fraud")
    assert again.marks() == marks
    assert list(read_run(again.runs.read(marks.runs[0].name), marks.runs[0].digest)) == ROWS


def test_two_at_once_get_one_building(buildings):
    held = buildings.hold(EPOCH, "fraud")
    assert buildings.hold(EPOCH, "fraud") is None
    assert buildings.hold(EPOCH, "other") is not None
    held.close()
    assert buildings.hold(EPOCH, "fraud") is not None


def _hold_for_ever(folder, ready):
    held = Buildings(folder).hold(EPOCH, "fraud")
    held.keep(Marks(bytes(32), 3, rows=5, runs=(run_of(held),)))
    run_of(held, 1)
    ready.set()
    signal.pause()


def test_a_process_that_is_killed_lets_go_and_its_run_without_marks_is_removed(buildings, folder):
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=_hold_for_ever, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    assert buildings.hold(EPOCH, "fraud") is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    held = buildings.hold(EPOCH, "fraud")
    assert [run.name for run in held.marks().runs] == ["000000.run"]
    assert sorted(path.name for path in (folder / EPOCH.hex() / "fraud").iterdir()) == [
        "000000.run",
        "lock",
        "marks.json",
    ]


@pytest.mark.parametrize("text", [b"", b"{", b"{}", b'{"format":2}'])
def test_marks_that_cannot_be_read_begin_it_anew(buildings, folder, text):
    held = buildings.hold(EPOCH, "fraud")
    run_of(held)
    (folder / EPOCH.hex() / "fraud" / "marks.json").write_bytes(text)
    assert held.marks() is None
    assert [path.name for path in (folder / EPOCH.hex() / "fraud").iterdir()] == ["lock"]


def test_a_full_disk_leaves_what_was_there(buildings):
    held = buildings.hold(EPOCH, "fraud")
    marks = Marks(bytes(32), 3, rows=5, runs=(run_of(held),))
    held.keep(marks)
    with largest_file(10), pytest.raises(DiskError):
        run_of(held, 1)
    with largest_file(10), pytest.raises(DiskError):
        held.keep(Marks(bytes(32), 4))
    assert held.marks() == marks


def test_a_run_that_is_lost_is_told(buildings, folder):
    held = buildings.hold(EPOCH, "fraud")
    run = run_of(held)
    (folder / EPOCH.hex() / "fraud" / run.name).unlink()
    with pytest.raises(SegmentError):
        held.runs.read(run.name)


def test_what_is_dropped_is_gone_with_its_folders(buildings, folder):
    held, other = buildings.hold(EPOCH, "fraud"), buildings.hold(EPOCH, "other")
    run_of(held)
    held.drop()
    assert [path.name for path in folder.glob("*/*")] == ["other"]
    other.drop()
    assert list(folder.iterdir()) == []
    assert buildings.hold(EPOCH, "fraud") is not None


def test_what_nobody_needs_is_removed_unless_a_process_is_at_it(buildings, folder):
    buildings.hold(EPOCH, "abandoned").close()
    at_work = buildings.hold(EPOCH, "at-work")
    (folder / "README" / "x").mkdir(parents=True)
    assert sorted(buildings.present()) == [(EPOCH, "abandoned"), (EPOCH, "at-work")]
    for place in buildings.present():
        buildings.remove(*place)
    assert list(buildings.present()) == [(EPOCH, "at-work")]
    at_work.close()
    assert list(Buildings(folder / "none").present()) == []


def test_a_folder_that_is_a_file(folder):
    folder.write_bytes(b"")
    with pytest.raises(DiskError):
        Buildings(folder).hold(EPOCH, "fraud")
