"""The application: all commands, and how their failures are told."""

from __future__ import annotations

import os
import select
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from riskshare.cli import audit, checks, epochs, keys, ledger, lists, member, network, never, programs
from riskshare.cli.failures import say_error
from riskshare.cli.options import JSON, VERIFIES
from riskshare.errors import ConfigError, InputError, RegistryError, RiskshareError, TrustError

FAILED: Final = 1
BAD_INPUT: Final = 2
NO_VERDICT: Final = 4
"""Exit code of `check` if there is no verdict: 1 would mean a hit."""


class Commands(TyperGroup):
    """The commands; an error of ours ends them with one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen."""
        try:
            return super().invoke(ctx)
        except RiskshareError as error:
            say_error(error, as_json=bool(ctx.meta.get(JSON)))
            raise typer.Exit(_exit_code(ctx, error)) from error
        except BrokenPipeError as error:
            if not _unread():  # some other pipe; of this error typer would say nothing
                raise ConnectionError("a pipe broke that is not standard output") from error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered is written at the exit
            raise typer.Exit(failure_of(ctx.invoked_subcommand or "")) from error


def _unread() -> bool:
    """Whether standard output is a pipe whose reader has seen enough: that is no failure to be told of."""
    looked = select.poll()
    looked.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in looked.poll(0))


def _exit_code(ctx: Any, error: RiskshareError) -> int:
    if isinstance(error, InputError | ConfigError):
        return BAD_INPUT
    if ctx.meta.get(VERIFIES):
        # A registry is what the user believes, not what is verified.
        return FAILED if isinstance(error, TrustError) and not isinstance(error, RegistryError) else BAD_INPUT
    # Another page than the report's is what `audit report` was to find out: the answer is no.
    return FAILED if error.code == "wrong_page" else failure_of(ctx.invoked_subcommand or "")


def failure_of(command: str) -> int:
    """The exit code of a command that failed, and so has no answer; of an audit, 1 says that there are findings."""
    return {"check": NO_VERDICT, "audit": BAD_INPUT}.get(command, FAILED)


app = typer.Typer(
    name="riskshare",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        programs.show_version(json=False)
        raise typer.Exit


@app.callback()
def _riskshare(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Ask all members of a network whether a payee is on a risk list, without telling them whom you asked about.

    See it work: [bold]riskshare demo[/bold]. Set up your own: [bold]riskshare network init[/bold],
    [bold]init[/bold], [bold]network admit[/bold], [bold]serve[/bold].
    """


app.add_typer(network.app, name="network")
app.command("init")(member.init)
app.command("serve")(member.serve)
app.add_typer(lists.app, name="list")
app.add_typer(never.app, name="never")
app.add_typer(epochs.app, name="epoch")
app.add_typer(keys.app, name="keys")
app.command("check")(checks.check)
app.add_typer(ledger.app, name="ledger")
app.add_typer(audit.app, name="audit")
app.command("demo")(programs.demo)
app.command("bench")(programs.bench)
app.command("version")(programs.version)
