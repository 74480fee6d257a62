"""Declared here: `epoch end`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="The keys under which this member publishes its lists.")


class EndReason(StrEnum):
    """Why an epoch is ended before its term."""

    key_exposed = "key_exposed"
    withdrawn = "withdrawn"


@app.callback()
def _epoch() -> None:
    """Take `end` as a command of its own, although it is the only one."""


@app.command("end")
def end(
    keyset: Annotated[
        str, typer.Argument(metavar="KEYSET", help="The lists that share the key; default, if you named none.")
    ],
    reason: Annotated[EndReason, typer.Option("--reason", help="Why; readers are told.")],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """End the epochs of a keyset now, before their term: others may have its key. It cannot be taken back.

    The running peer stops to answer under the key at once, and publishes the lists anew under another; until that is
    done, checks of these lists are incomplete.

    Example: [bold]riskshare epoch end default --reason key_exposed[/bold]
    """
    from riskshare.cli.own_epochs import end_epochs

    end_epochs(config, keyset, reason.value, json=json)
