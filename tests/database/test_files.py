from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.errors import DiskError, PeerDown, SegmentError
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.store.files import SPARE, SegmentFiles
from tests.simulator.disk import largest_file

DATA = b"segment" * 1000
REF = SegmentRef(hashlib.sha256(DATA[:10]).digest(), 10, hashlib.sha256(DATA).digest(), len(DATA))


def filler(data=DATA, ref=REF):
    def fill(out):
        out.write(data)
        return ref

    return fill


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "segments"


@pytest.fixture
def files(folder):
    return SegmentFiles(folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_named_by_its_digest(files, folder):
    assert files.write(filler()) == REF
    assert names(folder) == [REF.file_digest.hex()]
    assert files.path(REF.file_digest).read_bytes() == DATA
    assert files.has(REF)
    assert bytes(files.map(REF)) == DATA
    assert list(files.digests()) == [REF.file_digest]


def test_nobody_else_may_read_it(files, folder):
    files.write(filler())
    assert folder.stat().st_mode & 0o077 == 0
    assert files.path(REF.file_digest).stat().st_mode & 0o077 == 0


def test_the_same_file_twice_is_one(files, folder):
    files.write(filler())
    files.write(filler())
    assert names(folder) == [REF.file_digest.hex()]


async def test_a_file_that_comes_over_the_network(files, folder):
    async def fill(out):
        for at in range(0, len(DATA), 1000):
            out.write(DATA[at : at + 1000])
            await asyncio.sleep(0)
        return REF

    assert await files.fetch(fill) == REF
    assert names(folder) == [REF.file_digest.hex()]


@pytest.mark.parametrize("limit", [0, 1, 4096, len(DATA) - 1])
def test_a_full_disk_leaves_nothing(files, folder, limit):
    with largest_file(limit), pytest.raises(DiskError) as full:
        files.write(filler())
    assert "full" in full.value.message
    assert full.value.code == "disk"
    assert names(folder) == []
    assert not files.has(REF)
    files.write(filler())  # and there is room again
    assert files.has(REF)


async def test_a_full_disk_while_a_file_is_fetched_leaves_nothing(files, folder):
    async def fill(out):
        out.write(DATA)
        return REF

    with largest_file(100), pytest.raises(DiskError):
        await files.fetch(fill)
    assert names(folder) == []


def test_a_full_disk_leaves_what_was_there(files, folder):
    files.write(filler())
    with largest_file(100), pytest.raises(DiskError):
        files.write(filler(DATA * 2))
    assert bytes(files.map(REF)) == DATA


@pytest.mark.parametrize("error", [ValueError("no"), PeerDown("jd", "gone"), KeyboardInterrupt()], ids=repr)
def test_a_writer_that_fails_leaves_nothing(files, folder, error):
    def fill(out):
        out.write(DATA)
        raise error

    with pytest.raises(type(error)):
        files.write(fill)
    assert names(folder) == []


async def test_a_fetch_that_is_cancelled_leaves_nothing(files, folder):
    begun = asyncio.Event()

    async def fill(out):
        out.write(DATA)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(files.fetch(fill))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(folder) == []


WRITER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from riskshare.store.files import SegmentFiles

    def fill(out):
        out.write(b"x" * 100_000)
        out.flush()
        print("writing", flush=True)
        time.sleep(60)

    SegmentFiles(Path(sys.argv[1])).write(fill)
""")


def test_a_writer_that_is_killed_leaves_what_the_next_start_removes(files, folder):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        assert len(names(folder)) == 1
        SegmentFiles(folder)
        assert len(names(folder)) == 1, "its writer lives"
        writer.send_signal(signal.SIGKILL)
    assert len(names(folder)) == 1
    SegmentFiles(folder)
    assert names(folder) == []


def test_a_start_leaves_the_files_alone(files, folder):
    files.write(filler())
    assert SegmentFiles(folder).has(REF)


def test_a_file_that_is_not_here(files):
    assert not files.has(REF)
    with pytest.raises(SegmentError) as missing:
        files.map(REF)
    assert missing.value.code == "segment_missing"
    files.delete(REF.file_digest)


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x"])
def test_a_file_of_another_length(files, data):
    files.path(REF.file_digest).write_bytes(data)
    assert not files.has(REF)
    with pytest.raises(SegmentError) as truncated:
        files.map(REF)
    assert truncated.value.code == "segment_truncated"


def test_a_map_outlives_its_file(files, folder):
    files.write(filler())
    view = files.map(REF)
    files.delete(REF.file_digest)
    assert names(folder) == []
    assert bytes(view) == DATA


def test_other_files_of_the_folder_are_not_segments(files, folder):
    for name in ("ab", "README", "f" * 63, "F" * 64):
        (folder / name).write_bytes(b"")
    assert list(files.digests()) == []


def test_files_are_told_by_age(files, folder):
    files.write(filler())
    written = datetime.fromtimestamp(files.path(REF.file_digest).stat().st_mtime, UTC)
    (folder / "README").write_bytes(b"")
    assert files.older(written - timedelta(seconds=1)) == []
    assert files.older(written + timedelta(seconds=1)) == [REF.file_digest]


def test_what_a_dead_writer_left_is_removed_while_files_are_told_by_age(files, folder):
    def fill(out):
        assert files.older(datetime.now(UTC) + timedelta(days=1)) == []
        return filler()(out)

    (folder / "dead.part").write_bytes(b"half")
    files.write(fill)
    assert names(folder) == [REF.file_digest.hex()]


def test_room_is_required_before_a_download(files, folder):
    free = shutil.disk_usage(folder).free
    files.require_room(0)
    files.require_room(1)
    for size in (free + 1, free - SPARE // 2):
        with pytest.raises(DiskError) as refused:
            files.require_room(size)
        assert f"{size:,} are to be fetched. Make room" in refused.value.message


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "segments").write_bytes(b"")
    with pytest.raises(DiskError):
        SegmentFiles(tmp_path / "segments")


def test_a_folder_that_is_gone(files, folder):
    folder.rmdir()
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    for use in (
        lambda: files.write(filler()),
        files.digests,
        lambda: files.older(long_ago),
        lambda: files.require_room(1),
    ):
        with pytest.raises(DiskError):
            use()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(files, folder):
    folder.chmod(0o500)
    with pytest.raises(DiskError) as denied:
        files.write(filler())
    folder.chmod(0o700)
    assert "rights" in denied.value.message
