"""SQL has names and lives in `sql/*.sql`: blocks that begin with `-- name: <name>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_NAME = re.compile(r"^-- name: ([a-z][a-z_]*)\n", re.MULTILINE)


def sql_text(file: str) -> str:
    """The text of one file under `sql/`."""
    return files("riskshare.store").joinpath("sql", file).read_text(encoding="utf-8")


def load(file: str) -> Mapping[str, str]:
    """The named statements of one file.

    Raises:
        ValueError: a name stands twice, or text stands before the first name.

    """
    head, *blocks = _NAME.split(sql_text(file))
    if any(line and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"{file} has a statement without a name")
    names, bodies = blocks[::2], blocks[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{file} names a statement twice")
    return dict(zip(names, (body.strip() for body in bodies), strict=True))
