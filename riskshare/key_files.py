"""The files of a rotation of the data key.

    data.key             the key in force
    data-next.key        the one that takes its place: durable here before anything is sealed under it
    data-former-1.key    the first key of this database, and so on: for backups of the database that were made under it

No key is ever overwritten or lost between two steps: `data.key` is there at any moment, and gets another content in one
step, after its former content has got a name of its own.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from riskshare.errors import ConfigError
from riskshare.keys import SECRET_BYTES, disk_errors, read_key, write_key

KIND: Final = "data"
NOW: Final = "data.key"
NEXT: Final = "data-next.key"


def next_data_key(directory: Path) -> bytes:
    """The key that takes the place of `data.key`: made, unless a rotation that was broken off has made it.

    Raises:
        ConfigError: the file there is no data key, or open to others.
        DiskError: it cannot be written.

    """
    path = directory / NEXT
    if not path.exists():
        write_key(path, KIND, secrets.token_bytes(SECRET_BYTES))
        _sync(directory)
    return read_key(path, KIND)


def data_keys(directory: Path) -> list[bytes]:
    """All data keys that are here, in force or not. Raises ConfigError: one is none, or open to others."""
    paths = [directory / NOW, directory / NEXT, *sorted(directory.glob("data-former-*.key"))]
    return [read_key(path, KIND) for path in paths if path.exists()]


def replace_data_key(directory: Path, number: int) -> Path:
    """Put the next key in force, and keep the former one, number `number`, under a name of its own; give that.

    May be called again after a crash, and then does what is left to do.

    Raises:
        ConfigError: another key has that name.
        DiskError: a name cannot be given.

    """
    former = directory / f"data-former-{number}.key"
    if (directory / NEXT).exists():
        if former.exists() and read_key(former, KIND) != read_key(directory / NOW, KIND):
            raise ConfigError(f"{former} exists already and is not overwritten. Move it to where your backups are.")
        with disk_errors(former):
            if not former.exists():
                os.link(directory / NOW, former)
            _sync(directory)
            (directory / NEXT).replace(directory / NOW)
    _sync(directory)
    return former


def _sync(directory: Path) -> None:
    """Make the names in a folder durable."""
    with disk_errors(directory):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
