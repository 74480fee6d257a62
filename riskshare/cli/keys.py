"""Declared here: `keys rotate data`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="This member's own keys.")


class Rotatable(StrEnum):
    """The keys that a command rotates."""

    data = "data"


@app.callback()
def _keys() -> None:
    """Take `rotate` as a command of its own, although it is the only one."""


@app.command("rotate")
def rotate(
    kind: Annotated[Rotatable, typer.Argument(metavar="KIND", help="Which key: data, under which entries are sealed.")],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Seal all entries and OPRF keys under a new data key. The peer is stopped meanwhile.

    Broken off, it goes on with the same command. The former key is kept: backups of the database need it.

    Example: [bold]riskshare keys rotate data[/bold]
    """
    from riskshare.cli.own_keys import rotate_key

    assert kind is Rotatable.data
    rotate_key(config, json=json)
