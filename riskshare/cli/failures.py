"""How a failure is told: to a person on standard error, to a program on standard output too."""

from __future__ import annotations

import json
import sys

import typer

from riskshare.errors import IdentifierError, RiskshareError


def say_failure(message: str, *, code: str, as_json: bool, **details: object) -> None:
    """One sentence on standard error; with `as_json` the same as an object on standard output too."""
    sys.stdout.flush()
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message, **details}}, ensure_ascii=False))
    typer.secho(f"Error ({code}): ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)


def say_error(error: RiskshareError, *, as_json: bool) -> None:
    """As `say_failure`; of an identifier also its type, what is wrong with it and the place where it stood."""
    message, details = error.message, {}
    if isinstance(error, IdentifierError):
        details = {"type": error.type, "reason": error.reason, "position": error.position}
        message = message if error.position is None else f"Identifier {error.position + 1}: {message}"
    say_failure(message, code=error.code, as_json=as_json, **details)
