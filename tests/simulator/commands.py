"""Command lines of riskshare beside real peers: in a process of their own, with one thing changed if a test says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ran:
    """Exit code, what was printed, and with --json the objects on standard output."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def command(*words: object, program: Path | None = None, config: Path | None = None) -> Ran:
    """Run a command line; `program` is what Python runs in place of riskshare itself."""
    start = [str(program)] if program else ["-m", "riskshare"]
    line = [sys.executable, *start, *map(str, words), *(["--config", str(config)] if config else [])]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    return Ran(done.returncode, done.stdout, done.stderr)
