"""Declared here: `ledger status`, `export`, `proof`, `evidence`, `resume`, `verify`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, VERIFIES, ConfigOption, JsonOption
from riskshare.errors import InputError

app = typer.Typer(no_args_is_help=True, help="The ledger: what nobody can deny, alter or hide afterwards.")


@app.command("status")
def status(config: ConfigOption = CONFIG_FILE, json: JsonOption = False) -> None:
    """Show this member's log: entries, what is final since when, who has cosigned, who lags, what others owe.

    Exit code 1 if the log is halted: then it signs nothing more until you decide.

    Example: [bold]riskshare ledger status --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.own_ledger import show_status

    raise typer.Exit(show_status(config, json=json))


@app.command("export")
def export(
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the files; a second export adds what is new.", metavar="DIR")
    ],
    statements: Annotated[
        bool,
        typer.Option("--statements", help="Also salts and statements, for an auditor: who asked whom, when, for what."),
    ] = False,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="With --statements and --to: only those of this period (UTC).")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Its end; a day belongs to it whole.")] = "",
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Write this member's log as plain files, as others see it: checkpoint, tile/, tile/entries/, policy.

    Example: [bold]riskshare ledger export --out log --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.exporting import export_log
    from riskshare.cli.periods import read_period

    if bool(since) != bool(until) or (since and not statements):
        raise InputError("A period has --from and --to, and is of --statements.")
    period = read_period(since, until) if since else None
    export_log(config, out, statements=statements, period=period, json=json)


@app.command("proof")
def proof(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="Id of a receipt, or of a check.")],
    out: Annotated[Path, typer.Option("--out", help="File for the proof.", metavar="FILE", dir_okay=False)],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Write a proof that a receipt or a check stands on the ledger: one file, good for years and without a network.

    It holds the statement itself, so give it only to whom that concerns.

    Example: [bold]riskshare ledger proof 5b2f… --out receipt.tlog-proof --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.own_ledger import write_proof

    write_proof(config, receipt, out, json=json)


@app.command("evidence")
def evidence(
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.", metavar="DIR", file_okay=False)],
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Write every fraud proof that this member holds as a file, which anybody with the registry can verify.

    Example: [bold]riskshare ledger evidence --out evidence --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.own_ledger import write_evidence

    write_evidence(config, out, json=json)


@app.command("resume")
def resume(
    *,
    settled: Annotated[
        bool,
        typer.Option(
            "--settled",
            help="This database is the member's newest, and the claim against its log is wrong.",
        ),
    ] = False,
    config: ConfigOption = CONFIG_FILE,
    json: JsonOption = False,
) -> None:
    """Lift the halt of this member's log, once its cause is settled. A running peer then asks its witnesses anew.

    Without --settled it only says what the halt is about. Over an older database the log could fork, and a fork
    convicts this member: docs/operations.md, "A halted log", says what to look at first.

    Example: [bold]riskshare ledger resume --settled --config bank/riskshare.toml[/bold]
    """
    from riskshare.cli.own_ledger import resume_log

    raise typer.Exit(resume_log(config, settled=settled, json=json))


@app.command("verify")
def verify(
    context: typer.Context,
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|URL|FILE", help="An exported log, the URL of a member's log, a proof, or a fraud proof."
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Whose signatures count; from somebody you trust, not from whom you verify.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(
            "--registry",
            metavar="FILE",
            help="The network's registry: for a fraud proof, and to know a member's TLS certificate at a URL.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    cafile: Annotated[
        Path | None,
        typer.Option(
            "--cafile",
            metavar="FILE",
            help="Certificate authorities (PEM) to believe at a URL; else the system's.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Verify a whole log from outside, or a proof, without an account and without believing anybody but the policy.

    Exit code 0 if all holds, 1 if something is wrong: the message names it; 2 if it could not be tried.

    Example: [bold]riskshare ledger verify https://peer.bank.example:8443 --policy policy --registry network.json[/bold]
    """
    from riskshare.cli.verifying import Wish, verify_target

    context.meta[VERIFIES] = True
    verify_target(Wish(target, policy, registry, cafile), json=json)
