"""Declared here: the commands of `riskshare audit`; what each does stands in a module `auditing_…` beside this one."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Audit: what members accounted for, held against each other.")


@app.callback()
def _audit() -> None:
    """Keep this a group of commands, also while it has only one."""
