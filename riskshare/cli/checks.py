"""Declared here: `check`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption


def check(
    *,
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="TYPE:VALUE", help="What to ask about, in one check.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="One identifier a line, each a check of its own; - reads standard input.",
            allow_dash=True,
            dir_okay=False,
        ),
    ] = None,
    purpose: Annotated[
        str, typer.Option("--purpose", help="Why you ask: payment, withdrawal, account_opening …")
    ] = "payment",
    categories: Annotated[
        str, typer.Option("--categories", help="Only lists of these categories, with commas between.")
    ] = "",
    deadline_ms: Annotated[
        int | None,
        typer.Option(
            "--deadline-ms",
            min=1,
            max=5000,
            help="The verdict is there by then, complete or not.",
            show_default="the configuration's",
        ),
    ] = None,
    reference: Annotated[
        str, typer.Option("--reference", help="Your own number of the transaction; it is sealed.")
    ] = "",
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help="An API key; else api-key beside the configuration.",
            dir_okay=False,
        ),
    ] = None,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Ask the running peer whether identifiers are on any list of the network.

    Exit code: 0 clear, 1 hit, 3 incomplete (no hit, but somebody did not answer), 4 no verdict, 2 bad input.
    What stands on a command line is seen by others on the machine: real customers go into --file.

    Example: [bold]riskshare check phone:+8613800138000 --purpose payment[/bold]
    """
    from riskshare.cli.asking import Wish, ask

    if bool(identifiers) == (file is not None):
        raise typer.BadParameter("give identifiers, or --file, one of the two", param_hint="TYPE:VALUE")
    words = tuple(word.strip() for word in categories.split(",") if word.strip())
    wish = Wish(tuple(identifiers or ()), file, purpose, words, deadline_ms, reference, api_key_file)
    raise typer.Exit(ask(config, wish, json=json))
