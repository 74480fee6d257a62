"""Declared here: `list create`, `grant`, `revoke`, `import`, `status`, `show`, `stats`, `rotate`, and deciding."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riskshare.cli.import_options import (
    AppealOption,
    BadRows,
    BadRowsFileOption,
    BadRowsOption,
    ColumnOption,
    DaysOption,
    DryRunOption,
    EvidenceOption,
    FileArgument,
    ForceOption,
    FormatOption,
    LevelOption,
    MapOption,
    NoMappingOption,
    ReasonOption,
    RegionOption,
    ReplaceOption,
    TypeOption,
)
from riskshare.cli.options import CONFIG_FILE, AuthorOption, ConfigOption, JsonOption

if TYPE_CHECKING:
    from riskshare.sharing.kept import Action

app = typer.Typer(no_args_is_help=True, help="The lists that this member publishes.")

ListArgument = Annotated[str, typer.Argument(metavar="NAME", help="The list's name.")]

IdentifiersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TYPE:VALUE", help="Which entries.", show_default=False)
]

IdentifiersFileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="One TYPE:VALUE a line, in place of those here; - reads standard input. One bad line: nothing is done.",
        allow_dash=True,
        dir_okay=False,
    ),
]

CaseOption = Annotated[
    str, typer.Option("--case", metavar="REF", help="All entries with this case reference, in place of identifiers.")
]

DecisionOption = Annotated[str, typer.Option("--reason", help="Why, in a few words: kept in the list's history.")]


class EngineName(StrEnum):
    """Where tokens are computed."""

    local = "local"
    dask = "dask"


class Withdrawal(StrEnum):
    """Why an entry is withdrawn."""

    withdrawn = "withdrawn"
    corrected = "corrected"
    erroneous = "erroneous"
    appeal_upheld = "appeal_upheld"


@app.command("create")
def create(
    *,
    name: ListArgument,
    category: Annotated[
        str, typer.Option("--category", help="What it is about, such as telecom_fraud; the registry names them.")
    ],
    keyset: Annotated[
        str,
        typer.Option("--keyset", help="Lists of one keyset cost a querier one evaluation together; else default."),
    ] = "",
    granted: Annotated[
        bool,
        typer.Option("--granted", help="For members with a grant only; others do not learn that the list exists."),
    ] = False,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Make an empty list, which the running peer then publishes: to all members, or to those that get a grant.

    Example: [bold]riskshare list create high-risk --category telecom_fraud[/bold]
    """
    from riskshare.cli.own_lists import create_list

    create_list(config, name, category, keyset, granted=granted, json=json)


@app.command("grant")
def grant(
    *,
    name: ListArgument,
    member: Annotated[str, typer.Option("--member", help="To whom; a member of the network.")],
    purpose: Annotated[
        list[str] | None,
        typer.Option("--purpose", help="For what it may ask, repeatable; else for all that the registry allows it."),
    ] = None,
    until: Annotated[
        str,
        typer.Option("--until", metavar="DATE", help="The last day, or a moment, in UTC; else until it is revoked."),
    ] = "",
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Let a member use a list that was made with --granted, in place of the grant that it may have.

    Example: [bold]riskshare list grant watch --member icbc --purpose payment --until 2027-06-30[/bold]
    """
    from riskshare.cli.own_grants import Wish, grant_list

    grant_list(config, Wish(name, member, frozenset(purpose or []), until, author), json=json)


@app.command("revoke")
def revoke(
    name: ListArgument,
    member: Annotated[str, typer.Option("--member", help="Whose grant ends now.")],
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """End a member's grant: it is refused files and evaluation from now on. Exit code 1 if it has none.

    Example: [bold]riskshare list revoke watch --member icbc[/bold]
    """
    from riskshare.cli.own_grants import revoke_list

    raise typer.Exit(revoke_list(config, name, member, author, json=json))


@app.command("import")
def import_file(
    *,
    name: ListArgument,
    file: FileArgument,
    format_: FormatOption = "",
    type_: TypeOption = "",
    column: ColumnOption = "",
    level: LevelOption = "high",
    reason: ReasonOption = "reported",
    evidence: EvidenceOption = "",
    appeal: AppealOption = "",
    days: DaysOption = None,
    region: RegionOption = "",
    map_: MapOption = None,
    no_mapping: NoMappingOption = False,
    bad_rows: BadRowsOption = BadRows.refuse,
    bad_rows_file: BadRowsFileOption = None,
    replace: ReplaceOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Bring the rows of a file into a list, all or none; every bad row is reported with its place and reason.

    A row may have its own columns level, reason, evidence, case, appeal, days, valid_until. What --type, --column,
    --region and --map say is kept for the list's next import. An import that was cut off goes on where it stopped.

    Example: [bold]riskshare list import high-risk numbers.csv --type phone --column number --region CN[/bold]
    """
    from riskshare.cli.acting import author_of
    from riskshare.cli.intake import Wish, import_into
    from riskshare.sharing.rows import Defaults, parse_fields

    fields = parse_fields(map_ or ())
    defaults = Defaults("", type_, column, region, level, reason, evidence, appeal, fields=fields)
    wish = Wish(
        name=name,
        file=file,
        defaults=defaults,
        days=days,
        skip_bad=bad_rows is BadRows.skip,
        bad_rows_file=bad_rows_file,
        replace=replace,
        dry_run=dry_run,
        author=author_of(author),
        format=format_,
        force=force,
        saved_mapping=not no_mapping,
    )
    raise typer.Exit(import_into(config, wish, json=json))


@app.command("imports")
def imports(
    name: ListArgument,
    cancel: Annotated[
        str, typer.Option("--cancel", metavar="ID", help="End this one, if it was not committed, and drop its rows.")
    ] = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Show the last imports into a list; one that was interrupted goes on when its file is imported again.

    Example: [bold]riskshare list imports high-risk[/bold]
    """
    from riskshare.cli.intake import show_imports

    raise typer.Exit(show_imports(config, name, cancel, json=json))


@app.command("status")
def status(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="One list, MEMBER/LIST for another's; else all own.", show_default=False),
    ] = "",
    *,
    others: Annotated[
        bool, typer.Option("--others", help="Other members' lists, as the running peer holds them.")
    ] = False,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Show this member's lists: entries by state, what is published, what waits to be.

    Of another member's list: whether it is current, which version serves, and why a newer one is refused.

    Example: [bold]riskshare list status high-risk --json[/bold]
    """
    from riskshare.cli.followed import is_of_another, show_followed
    from riskshare.cli.own_lists import show_lists

    if others or is_of_another(config, name):
        show_followed(config, name, json=json)
        return
    show_lists(config, name, json=json)


@app.command("withdraw")
def withdraw(
    *,
    name: ListArgument,
    identifiers: IdentifiersArgument = None,
    reason: Annotated[Withdrawal, typer.Option("--reason", help="Why; after appeal_upheld no import lists it again.")],
    file: IdentifiersFileOption = None,
    case: CaseOption = "",
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Take identifiers off a list; subscribers see it within seconds. Exit code 1 if one was not listed.

    What stands on a command line is seen by others on the machine: real customers go into --file.

    Example: [bold]riskshare list withdraw high-risk --file wrong.txt --reason erroneous[/bold]
    """
    _decide(config, (name, identifiers, file, case), ("withdraw", reason.value, author), json=json)


@app.command("dispute")
def dispute(
    *,
    name: ListArgument,
    identifiers: IdentifiersArgument = None,
    reason: DecisionOption,
    file: IdentifiersFileOption = None,
    case: CaseOption = "",
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Mark entries as disputed: they still answer, and every hit says so. Exit code 1 if one was not listed.

    What stands on a command line is seen by others on the machine: real customers go into --file.

    Example: [bold]riskshare list dispute high-risk --file sold.txt --reason "says the number was sold"[/bold]
    """
    _decide(config, (name, identifiers, file, case), ("dispute", reason, author), json=json)


@app.command("restore")
def restore(
    *,
    name: ListArgument,
    identifiers: IdentifiersArgument = None,
    reason: DecisionOption,
    file: IdentifiersFileOption = None,
    case: CaseOption = "",
    author: AuthorOption = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """End a dispute in favour of the list, or undo a withdrawal while the term lasts. Exit code 1 if one cannot be.

    Also of what an upheld appeal took off: your reason is kept, and you are told how many there were.
    What stands on a command line is seen by others on the machine: real customers go into --file.

    Example: [bold]riskshare list restore high-risk --case 2026-0001 --reason "withdrawn by mistake"[/bold]
    """
    _decide(config, (name, identifiers, file, case), ("restore", reason, author), json=json)


@app.command("show")
def show(
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="TYPE:VALUE", help="What to look up.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="One identifier a line; - reads standard input.", allow_dash=True),
    ] = None,
    list_name: Annotated[str, typer.Option("--list", metavar="NAME", help="On this list only; else on all.")] = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Show why an entry stands, since when, by whom, its history, and which members hold it. Exit code 1 if none does.

    What stands on a command line is seen by others on the machine: real customers go into --file. With --json one
    object for each entry.

    Example: [bold]riskshare list show phone:+8613800138000[/bold]
    """
    from riskshare.cli.showing import show_entries

    if bool(identifiers) == (file is not None):
        raise typer.BadParameter("give identifiers, or --file, one of the two", param_hint="TYPE:VALUE")
    raise typer.Exit(show_entries(config, identifiers or (), file, list_name, json=json))


@app.command("stats")
def stats(
    name: ListArgument,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How many days, today included.")] = 30,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Show what was done to a list, day by day: listed, withdrawn and why, disputed, and its size.

    Example: [bold]riskshare list stats high-risk --days 7[/bold]
    """
    from riskshare.cli.showing import show_statistics

    show_statistics(config, name, days, json=json)


@app.command("rotate")
def rotate(
    *,
    keyset: Annotated[
        str, typer.Argument(metavar="KEYSET", help="The lists that share the key; may be left out if all do.")
    ] = "",
    of_list: Annotated[str, typer.Option("--list", metavar="NAME", help="The keyset of this list.")] = "",
    engine: Annotated[
        EngineName | None,
        typer.Option(
            "--engine", help="local: processes here; dask: a cluster. Else as configured.", show_default=False
        ),
    ] = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", metavar="URL", help="The cluster's scheduler, tls://HOST:PORT.")
    ] = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Publish the lists of a keyset under a new key, on all cores; the old key ends after the change-over.

    Both keys answer meanwhile. A rotation that was interrupted goes on where it stopped, here or in the running peer.

    Example: [bold]riskshare list rotate default[/bold]
    """
    from riskshare.cli.rotation import Wish, rotate_keyset

    rotate_keyset(config, Wish(keyset, of_list, engine.value if engine else "", scheduler), json=json)


def _decide(
    config: Path,
    which: tuple[str, list[str] | None, Path | None, str],
    what: tuple[Action, str, str],
    *,
    json: bool,
) -> None:
    from riskshare.cli.acting import author_of
    from riskshare.cli.deciding import Wish, decide_on
    from riskshare.sharing.kept import Change

    name, identifiers, file, case = which
    action, reason, author = what
    change = Change(author_of(author), action, reason)
    raise typer.Exit(decide_on(config, Wish(name, tuple(identifiers or ()), file, case), change, json=json))
