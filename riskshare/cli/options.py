"""Options that several commands have, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

JSON: Final = "riskshare.json"
"""Where a context remembers that the result is wanted in JSON."""

VERIFIES: Final = "riskshare.verifies"
"""Where a context remembers that exit code 1 is for what does not hold: if it could not be tried, it is 2."""

CONFIG_FILE: Final = Path("riskshare.toml")


def _remember(context: typer.Context, value: bool) -> bool:
    context.meta[JSON] = value
    return value


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, one object a line.", callback=_remember)
]

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="RISKSHARE_CONFIG",
        help="The member's configuration file.",
        metavar="FILE",
        dir_okay=False,
    ),
]

NetworkDirOption = Annotated[Path, typer.Option("--dir", help="The governor's folder.", metavar="DIR", file_okay=False)]

AuthorOption = Annotated[
    str, typer.Option("--author", help="Who does it, for the list's history; else your user name.", metavar="NAME")
]
