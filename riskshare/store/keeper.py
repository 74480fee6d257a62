"""Stops a PostgreSQL that nobody uses any more. Started by `embedded`, as a process of its own.

Every user of the server holds a shared lock on one file; the kernel frees it when the user ends, however it
ends. The keeper waits for the exclusive lock, and so learns that the last user is gone. It needs nothing but the
standard library, so that it starts fast and stays small.

Arguments: descriptors of the users' file, the starters' file and the keeper's file; number of the account and
group that run the server, or -1; then the command that stops it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence


def keep(users: int, starting: int, stop: Sequence[str], *, uid: int | None, gid: int | None) -> None:
    """Wait until no user is left, then stop the server.

    The exclusive lock on the users' file is only a wait: a starter that comes in between is found by trying once
    more under the starters' lock, which stands before the users' lock wherever both are held.
    """
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        fcntl.flock(starting, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(starting, fcntl.LOCK_UN)
            continue
        subprocess.run(  # noqa: S603 - our own command line
            stop, stdin=subprocess.DEVNULL, check=False, user=uid, group=gid, extra_groups=None if uid is None else []
        )
        return


def main(arguments: Sequence[str]) -> None:
    """Leave the process that started us, and keep."""
    users, starting, _, uid, gid = (int(number) for number in arguments[:5])
    if os.fork():
        os._exit(0)  # so that whoever started us need not wait for us
    keep(users, starting, arguments[5:], uid=None if uid < 0 else uid, gid=None if gid < 0 else gid)


if __name__ == "__main__":
    main(sys.argv[1:])
