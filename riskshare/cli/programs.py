"""Declared here: `demo`, `bench`, `version`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from json import dumps
from pathlib import Path
from platform import python_version
from typing import Annotated

import typer

from riskshare.cli.options import JsonOption


def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the five members running afterwards, until Ctrl-C.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Folder for the members' files; else a temporary one.", metavar="DIR", file_okay=False
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Five members on this machine publish, check and keep receipts; every step is shown and proved.

    Example: [bold]riskshare demo --serve --dir demo-network[/bold]
    """
    from riskshare.demo import run_demo

    raise typer.Exit(run_demo(serve=serve, dir=directory, json=json))


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Of build, owner, check, filter, psi, lists, ledger, audit; else all. audit-large takes long.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure the figures of speed, each against a bare measure taken in the same run.

    Example: [bold]riskshare bench --json[/bold]
    """
    from riskshare.bench import run_bench

    raise typer.Exit(run_bench(names=list(names or ()), json=json))


def version(json: JsonOption = False) -> None:
    """Show which version this is.

    Example: [bold]riskshare version --json[/bold]
    """
    show_version(json=json)


def show_version(*, json: bool) -> None:
    """Print the version of riskshare and of Python."""
    from importlib.metadata import version as version_of

    own, python = version_of("riskshare"), python_version()
    print(dumps({"riskshare": own, "python": python}) if json else f"riskshare {own} (Python {python})")
