"""The main job, shown: five members on this machine publish, check, and prove what happened."""

from __future__ import annotations

import json as json_module
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from riskshare.demo.play import Outcome, make_network, play
from riskshare.demo.show import as_json, show
from riskshare.loopback import LoopbackNetwork


def run_demo(*, serve: bool = False, dir: Path | None = None, json: bool = False) -> int:  # noqa: A002 - the option's name
    """Play the demo in `dir` (default: a folder that is removed afterwards) and return the exit code.

    0 only if every answer was the expected one. With `serve` the members keep running until Ctrl-C.

    Raises:
        RiskshareError: something could not be set up or started.

    """
    messages = Console(stderr=True)
    # Whoever ends the demo ends its members too: without this, SIGTERM would leave five peers running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        folder = dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="riskshare-")))
        network, scenario = make_network(folder)
        stack.enter_context(network)
        outcome = play(network, scenario, lambda text: messages.print(f"[dim]· {text}"))
        _print(outcome, json=json)
        if serve:
            _keep_serving(network, messages)
        elif dir is not None:
            messages.print(f"The members' files are in {folder}; riskshare serve --config starts one again.")
    return 0 if outcome.passed else 1


def _print(outcome: Outcome, *, json: bool) -> None:
    if json:
        Console().out(json_module.dumps(as_json(outcome), ensure_ascii=False), highlight=False)
    else:
        show(outcome, Console())


def _keep_serving(network: LoopbackNetwork, messages: Console) -> None:
    """Say where everything is, and wait for Ctrl-C."""
    for member in network.members.values():
        messages.print(f"[bold]{member.title}[/bold]  {member.directory}")
        messages.print(f"  API {member.urls['clients']}   operations {member.urls['operations']}", highlight=False)
    wanted = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # before it is said: whoever reads it may be quick
    messages.print("Running until Ctrl-C.")
    signal.sigwait(wanted)
