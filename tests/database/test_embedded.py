from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from riskshare.errors import ConfigError, StoreError
from riskshare.store import embedded
from riskshare.store import system_account as account_module
from riskshare.store.embedded import start_server
from riskshare.store.store import Store
from riskshare.store.system_account import Account, account_for

USER = """
import pathlib, sys
from riskshare.store.embedded import start_server
server = start_server(pathlib.Path(sys.argv[1]))
print(server.dsn(), flush=True)
sys.stdin.readline()
server.close()
"""


class User:
    """Another process that uses the server until told to stop, or killed."""

    def __init__(self, folder, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **options,
        )

    def ready(self):
        line = self.process.stdout.readline().decode().strip()
        assert line.startswith("postgresql://")
        return line

    def kill(self):
        self.process.kill()
        self._end()

    def stop(self):
        self.process.stdin.close()
        self._end()
        assert self.process.returncode == 0

    def _end(self):
        self.process.wait(30)
        self.process.stdout.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()


def runs(folder):
    """The postmaster's number, if a server runs over this folder."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if line and Path(line[0]).name == "postgres" and str(folder / "data") in line:
            return process.pid
    return None


def keepers(folder):
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(part.endswith("keeper.py") for part in process.info["cmdline"] or [])
        and str(folder / "data") in process.info["cmdline"]
    ]


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answers(dsn):
    async def ask():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval("select 1")
        finally:
            await connection.close()

    return asyncio.run(ask()) == 1


def test_the_last_use_of_one_process_stops_the_server(server_folder):
    first = start_server(server_folder)
    second = start_server(server_folder)
    assert answers(first.dsn())
    first.close()
    first.close()
    assert answers(second.dsn())
    second.close()
    assert runs(server_folder) is None
    until(lambda: not keepers(server_folder))
    with start_server(server_folder) as third:
        assert answers(third.dsn())
    assert runs(server_folder) is None


def test_processes_share_a_server_and_a_killed_one_does_not_hold_it(server_folder):
    killed, other = User(server_folder), User(server_folder)
    assert killed.ready() == other.ready()
    assert len(keepers(server_folder)) == 1
    postmaster = runs(server_folder)
    killed.kill()
    with start_server(server_folder) as mine:
        assert answers(mine.dsn())
    assert runs(server_folder) == postmaster
    other.stop()
    assert runs(server_folder) is None


def test_the_keeper_stops_what_a_killed_user_left(server_folder):
    alone = User(server_folder)
    alone.ready()
    alone.kill()
    until(lambda: runs(server_folder) is None and not keepers(server_folder))
    with start_server(server_folder) as again:
        assert answers(again.dsn())


def test_without_a_keeper_the_next_user_takes_over(server_folder):
    alone = User(server_folder)
    alone.ready()
    (keeper,) = keepers(server_folder)
    os.kill(keeper, signal.SIGKILL)
    alone.kill()
    postmaster = runs(server_folder)
    with start_server(server_folder) as mine:
        assert runs(server_folder) == postmaster
        assert answers(mine.dsn())
        assert len(keepers(server_folder)) == 1
    assert runs(server_folder) is None


def test_a_killed_server_is_started_again(server_folder):
    with start_server(server_folder) as mine:
        postmaster = runs(server_folder)
        os.kill(postmaster, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(postmaster) or psutil.Process(postmaster).status() == psutil.STATUS_ZOMBIE)
        mine.ensure_running()
        assert answers(mine.dsn())
        mine.ensure_running()


def test_a_keeper_that_passes_is_taken_for_no_user(tmp_path):
    """It has the exclusive lock for a moment when the last user lets go; a user has a shared one for long."""
    mine, other = (os.open(tmp_path / "users.lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    fcntl.flock(other, fcntl.LOCK_EX)
    passing = threading.Timer(0.2, fcntl.flock, (other, fcntl.LOCK_UN))
    passing.start()
    assert embedded._alone(mine)
    passing.join()
    fcntl.flock(mine, fcntl.LOCK_UN)
    fcntl.flock(other, fcntl.LOCK_SH)
    assert not embedded._alone(mine)
    os.close(mine)
    os.close(other)


def test_the_number_of_another_process_in_a_leftover_file_is_no_server(server_folder):
    """In a container the numbers start over: the postmaster's of the last run is likely somebody's now."""
    with start_server(server_folder) as mine:
        first = mine.dsn()
    data = server_folder / "data"
    leftover = data / "postmaster.pid"
    leftover.write_text(f"{os.getpid()}\n{data}\n1\n5432\n{data}\n\n1 1\nready   \n")
    state = data.stat()
    os.chown(leftover, state.st_uid, state.st_gid)
    with start_server(server_folder) as mine:
        assert mine.dsn() == first
        assert answers(first)


def test_a_crash_while_the_data_were_made_leaves_no_trap(server_folder):
    (server_folder / "data.new").mkdir(parents=True)
    (server_folder / "data.new" / "PG_VERSION").write_text("18\n")
    with start_server(server_folder) as mine:
        assert answers(mine.dsn())


def test_a_path_too_long_for_a_socket_gets_a_private_folder(server_folder):
    deep = server_folder / ("x" * 60) / ("y" * 60)
    with start_server(deep) as mine:
        assert answers(mine.dsn())
        folder = Path(mine.dsn().split("host=")[1].split("&")[0])
        assert folder != deep / "data"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        other = start_server(deep)
        assert other.dsn() == mine.dsn()
        other.close()
    shutil.rmtree(folder)


def test_a_link_and_its_folder_are_one_server(server_folder):
    with start_server(server_folder) as mine:
        link = server_folder.with_name("link")
        link.symlink_to(server_folder)
        with start_server(link) as other:
            assert other.dsn() == mine.dsn()


def test_nobody_else_on_the_machine_gets_in(server):
    data = server.directory / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / ".s.PGSQL.5432").stat().st_mode) == 0o700
    assert "trust" not in (data / "pg_hba.conf").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another account")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child does nothing but connect
def test_another_account_is_kept_out(server):
    path = str(server.directory / "data" / ".s.PGSQL.5432")
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as tried:
            os._exit(tried.connect_ex(path))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EACCES


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_an_ordinary_account_runs_its_own_server(server_folder):
    server_folder.parent.chmod(0o755)
    server_folder.mkdir()
    nobody = account_module._named(65534)
    if subprocess.run(["test", "-x", sys.executable], check=False, user=nobody.uid).returncode:
        pytest.skip("this Python is closed to other accounts")
    os.chown(server_folder, nobody.uid, nobody.gid)
    environment = {key: value for key, value in os.environ.items() if key not in {"HOME", "XDG_RUNTIME_DIR"}}
    theirs = User(server_folder, user=nobody.uid, group=nobody.gid, extra_groups=[], cwd="/", env=environment)
    theirs.ready()
    assert psutil.Process(runs(server_folder)).uids().real == nobody.uid
    # Root uses it as it is, without taking it over.
    with start_server(server_folder) as mine:
        assert answers(mine.dsn())
    theirs.stop()
    assert runs(server_folder) is None


def test_the_log_holds_no_statement_and_no_value(server, dsn):
    async def offend():
        connection = await asyncpg.connect(dsn)
        for statement in ("select 'hidden-text'::integer", "select $1::text::integer"):
            with pytest.raises(asyncpg.PostgresError):
                await connection.fetch(statement, *(["hidden-value"] if "$1" in statement else []))
        await connection.execute("create temp table t (a text unique); insert into t values ('hidden-key')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("insert into t values ('hidden-key')")
        await connection.close()

    asyncio.run(offend())
    texts = [path.read_text() for path in (server.directory / "data" / "log").glob("*.log")]
    assert any("ERROR" in text for text in texts)
    assert not any("hidden-key" in text or "insert into" in text for text in texts)


async def test_a_database_is_made_once_by_many(server):
    names = await asyncio.gather(*(server.database('mem"ber one') for _ in range(6)))
    assert len(set(names)) == 1
    connection = await asyncpg.connect(names[0])
    assert await connection.fetchval("select current_database()") == 'mem"ber one'
    await connection.close()


async def test_members_do_not_see_each_other(server):
    first, second = await server.database("member_a"), await server.database("member_b")
    one, two = await Store.open(first), await Store.open(second)
    await one.lists.create_list("fraud", "transaction_fraud", "default")
    assert await two.lists.lists() == []
    await one.close()
    await two.close()


# --- what is not usable


def test_data_of_another_major_version(server_folder):
    (server_folder / "data").mkdir(parents=True)
    (server_folder / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ConfigError, match="PostgreSQL 14"):
        start_server(server_folder)


def test_a_file_where_the_folder_should_be(server_folder):
    server_folder.parent.mkdir(exist_ok=True)
    server_folder.write_text("")
    with pytest.raises(ConfigError, match="cannot hold a PostgreSQL"):
        start_server(server_folder)


def test_a_data_folder_with_something_else_in_it(server_folder):
    (server_folder / "data").mkdir(parents=True)
    (server_folder / "data" / "letters.txt").write_text("")
    with pytest.raises(ConfigError):
        start_server(server_folder)
    assert (server_folder / "data" / "letters.txt").exists()


def test_a_server_that_does_not_start_says_where_to_look(server_folder):
    start_server(server_folder).close()
    (server_folder / "data" / "global" / "pg_control").unlink()
    with pytest.raises(StoreError, match="see the logs in"):
        start_server(server_folder)
    until(lambda: not keepers(server_folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_named(server_folder):
    server_folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", server_folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(StoreError, match="is full"):
            start_server(server_folder)
    finally:
        subprocess.run(["umount", server_folder], check=True)


def test_a_start_that_never_ends_elsewhere_is_told(server_folder, monkeypatch):
    monkeypatch.setattr("riskshare.store.embedded.START_SECONDS", 0.2)
    server_folder.mkdir(parents=True)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl,sys\nf=open(sys.argv[1],'w')\nfcntl.flock(f,2)\nprint(flush=True)\ninput()",
            server_folder / "starting.lock",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        holder.stdout.readline()
        with pytest.raises(StoreError, match="Another process"):
            start_server(server_folder)


def test_an_account_without_a_name_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ConfigError, match="54321"):
        account_for(tmp_path / "data")


def test_data_of_another_account_are_not_touched(tmp_path, monkeypatch):
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match="another account"):
        account_for(tmp_path)


def test_folders_above_are_opened_for_passing_through_only(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    (closed / "in").mkdir(parents=True)
    closed.chmod(0o700)
    account_module.let_through(closed / "in")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701


def test_programs_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(account_module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="not installed"):
        account_module.binaries(Account(os.geteuid(), os.getegid(), "me"))
