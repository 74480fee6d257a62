"""The command line: `riskshare`.

The modules `network`, `member`, `lists`, `epochs`, `checks`, `ledger`, `audit` and `programs` declare the commands and
load nothing else; what a command does stands beside them (`governing`, `joining`, `own_lists`, `own_epochs`, `intake`,
`asking`, `own_ledger`, `verifying`, `auditing_…`) and is imported when it runs. So `riskshare --help` is quick, and so
are the worker processes of a peer, which import this module again.

Exit codes: 0 done, 1 the answer is no or something failed, 2 bad usage or input; those of `check` stand in `asking`,
and of an audit 2 is what failed too, for 1 says that there are findings.
"""

from __future__ import annotations

import os
import sys

from riskshare.cli.application import app, failure_of
from riskshare.cli.failures import say_failure

__all__ = ["app", "main"]

DEBUG = "RISKSHARE_DEBUG"


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    try:
        app()
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        # Its text could hold anything, also what was typed: the class says enough to find it again.
        say_failure(
            f"riskshare failed in a way that it should not ({type(error).__name__}). Run it again with {DEBUG}=1 in the"
            " environment to see where, and report that.",
            code="internal",
            as_json="--json" in sys.argv[1:],
        )
        sys.exit(failure_of("".join(sys.argv[1:2])))
