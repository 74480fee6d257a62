"""Declared here: `never add`, `list`, `remove`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.import_options import BadRows
from riskshare.cli.options import CONFIG_FILE, AuthorOption, ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="What may stand on no list of this member: hotlines, own accounts.")


@app.command("add")
def add(
    *,
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="TYPE:VALUE", help="Single identifiers.", show_default=False)
    ] = None,
    prefixes: Annotated[
        list[str] | None,
        typer.Option(
            "--prefix",
            metavar="TYPE:PREFIX",
            help="All that begin so: phone:+86400, bank_card:622202, account:INSTITUTION/, iban:DE/37040044;"
            " domain:example.com with all below it, and e-mail addresses there.",
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="phone:+A-+B", help="Phone numbers from one to another, both included."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Rules, one a line, or a MISP warning list in JSON.", exists=True, dir_okay=False),
    ] = None,
    bad_rows: Annotated[
        BadRows,
        typer.Option("--bad-rows", help="refuse: any rule of the file that is not understood; skip: leave out."),
    ] = BadRows.refuse,
    note: Annotated[str, typer.Option("--note", help="Why; shown to whoever would list what the rule names.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be withdrawn, and change nothing.")
    ] = False,
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Keep identifiers off all lists, and withdraw those that are on one.

    Example: [bold]riskshare never add --prefix phone:+86400 --note "service numbers"[/bold]
    """
    from riskshare.cli.acting import author_of
    from riskshare.cli.barring import Wish, add_rules

    wish = Wish(
        tuple(identifiers or ()),
        tuple(prefixes or ()),
        tuple(ranges or ()),
        file,
        bad_rows is BadRows.skip,
        note,
        dry_run,
        author_of(author),
    )
    raise typer.Exit(add_rules(config, wish, json=json))


@app.command("list")
def list_rules(config: ConfigOption = CONFIG_FILE, json: JsonOption = False) -> None:
    """Show all rules: number, kind, what they name (single identifiers masked), note, author.

    Example: [bold]riskshare never list[/bold]
    """
    from riskshare.cli.barring import show_rules

    show_rules(config, json=json)


@app.command("remove")
def remove(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER", help="Numbers of rules, as never list shows them.")],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Forget rules. What they took off a list stays off; list restore brings it back. Exit code 1 if one is not there.

    Example: [bold]riskshare never remove 3[/bold]
    """
    from riskshare.cli.barring import remove_rules

    raise typer.Exit(remove_rules(config, numbers, json=json))
