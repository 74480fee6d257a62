"""Declared here: the commands of `riskshare audit`; what each does stands in a module `auditing_…` beside this one."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Audit: what members accounted for, held against each other.")


@app.callback()
def _audit() -> None:
    """Keep this a group of commands, also while it has only one."""


@app.command("accesses")
def accesses(config: ConfigOption = CONFIG_FILE, json: JsonOption = False) -> None:
    """Show who saw what of this member's records, when and why; of an auditor, also what it saw of others.

    Example: [bold]riskshare audit accesses --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.auditing_accesses import show_accesses

    show_accesses(config, json=json)


@app.command("report")
def report(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON report of a command of `riskshare audit`.")],
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Where its page lies; else beside it.", dir_okay=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the page of a report anew from its JSON, or compare the page that is there with it, byte for byte.

    Exit code 0 if the page is the one that the report gives, or was written; 1 if another page lies there; 2 if the
    file is not a report. What the report says is not verified by this: the commands that it names do that.

    Example: [bold]riskshare audit report case/reconcile.json[/bold]
    """
    from riskshare.cli.auditing_report import remake_page

    remake_page(file, page, json=json)
