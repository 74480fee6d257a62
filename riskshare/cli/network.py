"""Declared here: `network init`, `admit`, `renew`, `audit`, `terms`, `show`, `pin`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption, NetworkDirOption

app = typer.Typer(no_args_is_help=True, help="The network's registry: who is a member, with which keys.")


@app.command("init")
def init(
    directory: NetworkDirOption,
    name: Annotated[str, typer.Option("--name", help="The network's name.")] = "riskshare",
    json: JsonOption = False,
) -> None:
    """Make a governor's key and a signed registry without members: the first step of a new network.

    Example: [bold]riskshare network init --dir net --name payments[/bold]
    """
    from riskshare.cli.governing import start_network

    start_network(directory, name, json=json)


@app.command("admit")
def admit(
    directory: NetworkDirOption,
    requests: Annotated[
        list[Path],
        typer.Argument(metavar="REQUEST", help="Files join.json of members.", exists=True, dir_okay=False),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Sign nothing: show what the requests would bring.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Sign a new registry version with the members that ask to join, or with what they changed.

    Roles, address and price are what the members ask for: look at them first with --dry-run.

    Example: [bold]riskshare network admit --dir net bank/join.json wallet/join.json[/bold]
    """
    from riskshare.cli.admitting import admit_members

    admit_members(directory, requests, dry_run=dry_run, json=json)


@app.command("renew")
def renew(directory: NetworkDirOption, json: JsonOption = False) -> None:
    """Sign the registry anew, so that it does not expire.

    Example: [bold]riskshare network renew --dir net[/bold]
    """
    from riskshare.cli.admitting import renew_registry

    renew_registry(directory, json=json)


@app.command("audit")
def audit(
    directory: NetworkDirOption,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A member with the role auditor.")],
    *,
    members: Annotated[
        str | None,
        typer.Option("--members", metavar="NAMES", help="Whom it may audit, with commas between; '' nobody."),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="It may audit all members.")] = False,
    open_per_day: Annotated[
        int | None,
        typer.Option("--open-per-day", min=0, metavar="N", help="Checks that it may have opened a day at each."),
    ] = None,
    read_days: Annotated[
        int | None,
        typer.Option("--read-days", min=0, metavar="N", help="How far back a period that it reads may begin; 0: any."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Sign a new registry version that says whom an auditor may audit, how far back, and how many checks it may open.

    Who is admitted as an auditor may audit all members, read all that they keep, and have 1,000 checks a day opened at
    each. An owner proves sixteen times as many exchanges a day.

    Example: [bold]riskshare network audit --dir net regulator --members bank,wallet --open-per-day 100[/bold]
    """
    from riskshare.cli.governing_audit import AuditWish, change_audit_rights

    wanted = AuditWish(members, everybody, open_per_day, read_days)
    change_audit_rights(directory, name, wanted, json=json)


@app.command("terms")
def terms(
    directory: NetworkDirOption,
    longest: Annotated[
        list[str],
        typer.Argument(metavar="CATEGORY=DAYS", help="The longest term of an entry; DAYS none takes it back."),
    ],
    json: JsonOption = False,
) -> None:
    """Sign a new registry version that says how long an entry of a category may stand at most; else 3,650 days.

    Entries that stand longer already expire when that term is over. Members must all run a version that knows terms.

    Example: [bold]riskshare network terms --dir net telecom_fraud=365 marketing_cheating=90[/bold]
    """
    from riskshare.cli.governing_terms import change_terms

    change_terms(directory, longest, json=json)


@app.command("show")
def show(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="NETWORK.json",
            help="A registry file, or the folder that it lies in; else the one of the member's configuration.",
            exists=True,
            show_default=False,
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="The governor's folder.", metavar="DIR", exists=True, file_okay=False)
    ] = None,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Show a registry: its digest, its term, its members.

    Example: [bold]riskshare network show net/network.json[/bold]
    """
    from riskshare.cli.governing import show_network

    show_network(file or directory, config, json=json)


@app.command("pin")
def pin(
    file: Annotated[
        Path, typer.Argument(metavar="NETWORK.json", help="The registry file from the governors.", exists=True)
    ],
    config: ConfigOption = CONFIG_FILE,
    expected: Annotated[
        str, typer.Option("--pin", metavar="SHA256", help="The digest that a governor told you: it must be that one.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: the digest has been compared.")] = False,
    json: JsonOption = False,
) -> None:
    """Write into a member's configuration which registry it believes, once the digest has been compared.

    Example: [bold]riskshare network pin --config bank/riskshare.toml net/network.json[/bold]
    """
    from riskshare.cli.joining import pin_network

    pin_network(file, config, expected=expected, yes=yes, json=json)
