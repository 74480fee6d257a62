"""The commands of an operator, run as by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from riskshare.errors import RiskshareError
from riskshare.loopback import LoopbackMember


def command(member: LoopbackMember, *arguments: str) -> dict[str, Any]:
    """Run a command of a member, and give its result. Raises RiskshareError `demo_failed`."""
    return answered(member, *arguments, exit_code=0)


def answered(member: LoopbackMember, *arguments: str, exit_code: int) -> dict[str, Any]:
    """Run a command that must end with that code, and give its result. Raises RiskshareError `demo_failed`."""
    done = _run(member, arguments)
    if done.returncode != exit_code:
        raise RiskshareError(
            f"riskshare {' '.join(arguments[:2])} ended with {done.returncode} in place of {exit_code}:"
            f" {done.stderr.strip()}",
            code="demo_failed",
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(member: LoopbackMember, *arguments: str) -> dict[str, Any]:
    """Run a command that must fail, and give its error: code and message; empty texts if it did not fail."""
    done = _run(member, arguments)
    error: dict[str, Any] = {"code": "", "message": ""}
    if done.returncode:
        error |= json.loads(done.stdout)["error"]
    return error


def _run(member: LoopbackMember, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - ourselves, with arguments made here
        [sys.executable, "-m", "riskshare", *arguments, "--json"],
        env={**os.environ, "RISKSHARE_CONFIG": str(member.config_file)},
        capture_output=True,
        text=True,
        check=False,
    )
