"""Declared here: the commands of `riskshare audit`; what each does stands in a module `auditing_…` beside this one."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption
from riskshare.errors import InputError

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


@app.command("open")
def open_(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder of the audit, replayed.", file_okay=False)
    ],
    member: Annotated[str, typer.Option("--member", help="Whose checks are opened.")],
    check: Annotated[
        list[str] | None, typer.Option("--check", metavar="ID", help="A check to open; as often as there are.")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=0, help="Open so many checks, drawn by the seed.")
    ] = 0,
    seed: Annotated[
        str, typer.Option("--seed", metavar="HEX", help="32 bytes in hex, drawn after the period; else drawn here.")
    ] = "",
    since: Annotated[str, typer.Option("--from", help="Draw from checks of this time on, such as 2026-11-01.")] = "",
    until: Annotated[
        str, typer.Option("--to", help="Draw from checks before this time; a day belongs to it whole.")
    ] = "",
    reason: Annotated[
        str, typer.Option("--reason", help="Why: it stands in the request that both sides log.")
    ] = "audit",
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody: verify again what lies in the folder.")
    ] = False,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Open checks of a member, named or drawn by a seed, and recompute their verdicts.

    The member shows the sealed records, the owners prove their evaluations, and everything is verified down to the
    lists of that time. Exit code 0 if all holds, 1 if there are findings, 2 for bad input, 3 if nothing was found, but
    not everything could be verified. The folder holds identifiers afterwards: keep it closed.

    Example: [bold]riskshare audit open --out case --member bank --sample 300[/bold]
    """
    from riskshare.cli.auditing_open import Wish, open_checks

    wish = Wish(out, member, tuple(check or ()), sample, seed, since, until, reason, config, offline)
    raise typer.Exit(open_checks(wish, json=json))


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


@app.command("replay")
def replay(
    *,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="First day, or moment, of the period (UTC).")],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Last day, or the moment at which it ends.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the case.", file_okay=False)],
    member: Annotated[
        list[str] | None, typer.Option("--member", metavar="MEMBER", help="Whose log; else all that you may audit.")
    ] = None,
    offline: Annotated[
        list[Path] | None,
        typer.Option(
            "--offline",
            metavar="DIR…",
            help="Members' folders, as ledger export --statements writes them: nothing is fetched.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]…", help="More of the folders of --offline.", exists=True, file_okay=False, show_default=False
        ),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(
            "--network",
            metavar="FILE|DIR",
            help="With --offline: the registry to go by, or the folder of its versions, in place of a configuration.",
            exists=True,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why: the members are told, and it stands in the request.")
    ] = "audit",
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Where this auditor keeps what it audited last; else its data folder, or that of the case.",
            file_okay=False,
        ),
    ] = None,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Verify members' logs of a period and everything that their entries stand for, in numbered steps.

    Without --offline the logs are collected first, by a signed request that both sides log. A run that was interrupted
    goes on where it was. Exit code 0 if all holds, 1 if there are findings, 2 if it could not be tried, 3 if nothing
    was found and not everything could be verified. The report lies in the folder as replay.json and replay.html.

    Example: [bold]riskshare audit replay --from 2026-11-01 --to 2026-11-21 --out case[/bold]
    """
    from riskshare.cli.auditing_replay import Asked, replay_logs
    from riskshare.cli.periods import read_period

    if folders and not offline:
        raise InputError(
            "Folders are named after --offline: nothing is fetched then. Put --offline before them, or leave them out"
            " and the logs are collected."
        )
    offline = [*(offline or ()), *(folders or ())]
    asked = Asked(read_period(since, until), out, tuple(member or ()), offline, network, config, reason, state)
    raise typer.Exit(replay_logs(asked, json=json))


@app.command("reconcile")
def reconcile(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the case that was replayed.", file_okay=False)
    ],
    grace: Annotated[
        float | None,
        typer.Option("--grace", metavar="HOURS", help="How long an exchange may be missing in a log; else 24."),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(
            "--network", metavar="DIR", help="The versions of the registry; else those that replay wrote.", exists=True
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Hold both sides of every exchange against each other, and each against the registry.

    Of each finding an evidence file is written, which `riskshare audit evidence` verifies. What crashes, partitions,
    retries and clocks explain is counted, and blames nobody. Exit code 0 if all holds, 1 if there are findings, 2 if it
    could not be tried, 3 if nothing was found and not everything could be proven. The report lies in the folder as
    reconcile.json and reconcile.html.

    Example: [bold]riskshare audit reconcile --out case[/bold]
    """
    from riskshare.cli.auditing_reconcile import Asked, reconcile_logs

    raise typer.Exit(reconcile_logs(Asked(out, network, grace), json=json))


@app.command("evidence")
def evidence(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An evidence file, or a fraud proof.")],
    network: Annotated[
        Path,
        typer.Option(
            "--network",
            metavar="FILE|DIR",
            help="The registry that you believe: network.json, or the folder of its versions.",
            exists=True,
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Verify one file of evidence with nothing but the registry, and say who is convicted of what.

    Exit code 0 if it convicts the member that it names, 1 if it convicts nobody, 2 if it could not be tried. Where it
    rests on something that is not in a log, it says which log to replay to see that.

    Example: [bold]riskshare audit evidence case/evidence/missing-bank-….json --network network.json[/bold]
    """
    from riskshare.cli.auditing_evidence import verify_file

    raise typer.Exit(verify_file(file, network, json=json))


@app.command("settle")
def settle(
    *,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="Begin of the period, a day or a moment, UTC.")],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="End of the period; a day belongs to it whole.")],
    members: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="MEMBER", help="With whom.", show_default="all with whom there were exchanges"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for statements, CSV and report.", file_okay=False),
    ] = None,
    accounts: Annotated[
        list[str] | None,
        typer.Option(
            "--account",
            metavar="MEMBER=ACCOUNT@BANK",
            help="Accounts of both sides, for an ISO 20022 payment order (pain.001) where we pay: an IBAN or another"
            " number, at a BIC or a CNAPS number.",
        ),
    ] = None,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Settle a period with other members: both sign what they owe each other, each from its own receipts.

    It may be run again at any time: what is signed by both stays, what was interrupted is completed.
    Exit code 0 all settled; 1 dispute: the receipts in which both differ are named; 3 somebody could not be reached.

    Example: [bold]riskshare audit settle --from 2026-11-01 --to 2026-11-30 --out november[/bold]
    """
    from riskshare.cli.auditing_settle import Wish
    from riskshare.cli.auditing_settle import settle as run

    raise typer.Exit(run(config, Wish(since, until, tuple(members or ()), out, tuple(accounts or ())), json=json))


@app.command("tell")
def tell(
    *,
    identifier: Annotated[str, typer.Argument(metavar="TYPE:VALUE", help="Whom it is about.", show_default=False)] = "",
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="A file that holds it; - reads standard input.", allow_dash=True),
    ] = None,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="Only checks from then on.")] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Only checks until then.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for the ledger: never whom it is about.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the report.", file_okay=False)
    ] = None,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Tell a data subject what this member keeps: which of its lists hold it, which of its checks asked about it.

    The request goes onto the ledger before anything is shown. What stands on a command line is seen by others on the
    machine: real people go into --file. Exit code 3 if some checks could not be opened.

    Example: [bold]riskshare audit tell --file - --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.auditing_tell import Wish
    from riskshare.cli.auditing_tell import tell as run

    if bool(identifier) == (file is not None):
        raise typer.BadParameter("give an identifier, or --file, one of the two", param_hint="TYPE:VALUE")
    raise typer.Exit(run(config, Wish(identifier, file, since, until, reason, out), json=json))


@app.command("appeals")
def appeals(
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Only appeals of which we learned since then.")
    ] = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Show which of this member's own hits were on entries whose appeal was upheld since: whom to notify.

    The request goes onto the ledger before any check is opened. Nothing leaves this member. Exit code 3 if some checks
    could not be opened.

    Example: [bold]riskshare audit appeals --since 2026-11-01 --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.auditing_appeals import appeals as run

    raise typer.Exit(run(config, since, json=json))


@app.command("points")
def points(
    *,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month, UTC.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File for the signed totals.", dir_okay=False)],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Count the distinct entries of each owner that were hits of this member in a month, signed: for the auditor alone.

    Example: [bold]riskshare audit points --month 2026-11 --out bank-2026-11.points[/bold]
    """
    from riskshare.cli.auditing_points import points as run

    run(config, month, out, json=json)


@app.command("disclose")
def disclose(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="The points of all queriers of one month.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File for the totals.", dir_okay=False)],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """As the auditor, disclose the network's points of a month per owner, so that no owner learns which query hit.

    Example: [bold]riskshare audit disclose *.points --out points-2026-11.json[/bold]
    """
    from riskshare.cli.auditing_points import disclose_points

    disclose_points(config, files, out, json=json)
