"""`riskshare bench`: how fast it is, each figure as a ratio to the bare cost of what must be done, in the same run.

`measure` has the bare measures; `building`, `answering`, `checking`, `comparing` one group of figures each;
`listing`, `revoking` and `resident` those of lists; `integrating` and `accounting` those of the ledger, `auditing`
those of an audit.
"""

from __future__ import annotations

import json as json_module
import platform
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from riskshare import sodium
from riskshare.bench.accounting import accounting
from riskshare.bench.answering import answering
from riskshare.bench.auditing import auditing, auditing_much
from riskshare.bench.building import building, filtering
from riskshare.bench.checking import checking_four, checking_one
from riskshare.bench.comparing import comparing
from riskshare.bench.integrating import integrating
from riskshare.bench.listing import importing_speed
from riskshare.bench.measure import Figure, Raw
from riskshare.bench.network import Measured, measured_network
from riskshare.bench.revoking import revoking
from riskshare.cores import CORES
from riskshare.errors import InputError
from riskshare.logs import configure
from riskshare.peer.serve import run_loop

GROUPS = ("build", "owner", "check", "filter", "psi", "lists", "ledger", "audit", "audit-large")
LONG = frozenset({"audit-large"})
"""Groups that take many minutes: they are measured if they are named."""


def run_bench(names: Sequence[str], *, json: bool = False) -> int:
    """Measure the groups of figures named (none: all but `LONG`) and print them.

    Returns 0 if every bar is reached, else 1.

    Raises:
        InputError: there is no group of a name.

    """
    unknown = set(names) - set(GROUPS)
    if unknown:
        raise InputError(f"There are the figures {', '.join(GROUPS)}.", code="unknown_figure")
    wanted = [name for name in GROUPS if name in names or (not names and name not in LONG)]
    messages = Console(stderr=True)
    configure("warning", "console")
    raw = Raw()
    try:
        figures: list[Figure] = []
        for name in wanted:
            messages.print(f"Measuring: {name}")  # no spinner: it would turn in the process that is measured
            figures.extend(_measure(name, raw))
    finally:
        raw.close()
    if json:
        Console().out(json_module.dumps(_as_json(figures)), highlight=False)
    else:
        _show(figures)
    return 1 if any(figure.reached is False for figure in figures) else 0


def _measure(name: str, raw: Raw) -> list[Figure]:
    match name:
        case "build":
            return building(raw)
        case "filter":
            return filtering()
        case "psi":
            return comparing()
        case "audit":
            return auditing(raw)
        case "audit-large":
            return auditing_much()
        case "lists":
            return [*_in_loop(lambda: importing_speed(raw)), *_in_loop(lambda: revoking(raw))]
        case "ledger":
            return [*integrating(), *_in_loop(accounting)]
        case "owner":
            return _in_network(1, lambda measured: answering(measured, raw))
        case "check":
            return [*_in_network(1, checking_one), *_in_network(4, checking_four)]
        case _:
            raise AssertionError(name)


def _in_loop(work: Callable[[], Awaitable[Sequence[Figure]]]) -> list[Figure]:
    """Measure in the event loop that a peer gets: the querier's peer may be in this process."""
    found: list[Figure] = []

    async def measure() -> None:
        found.extend(await work())

    run_loop(measure())
    return found


def _in_network(owners: int, work: Callable[[Measured], Awaitable[Sequence[Figure]]]) -> list[Figure]:
    """Measure in a network of a querier and so many owners."""

    async def measure() -> Sequence[Figure]:
        with tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder:
            async with measured_network(Path(folder), owners) as measured:
                return await work(measured)

    return _in_loop(measure)


def machine() -> str:
    """What machine this is: for the heading of the table."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {CORES} cores, Python {platform.python_version()}, libsodium {sodium.VERSION} ({sodium.SOURCE})"


def _show(figures: Sequence[Figure]) -> None:
    table = Table(title=machine(), title_justify="left", header_style="bold")
    for column in ("figure", "measured", "must be", ""):
        table.add_column(column)
    for figure in figures:
        bar = "" if figure.bar is None else f"{'≥' if figure.sense == 'at least' else '≤'} {figure.bar:g}"
        mark = {True: "[green]reached", False: "[bold red]missed", None: ""}[figure.reached]
        name = f"{figure.name}\n[dim]{figure.detail}" if figure.detail else figure.name
        table.add_row(name, f"{figure.value:.2f} {figure.unit}", bar, mark)
    Console().print(table)


def _as_json(figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "figures": [
            {
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "bar": figure.bar,
                "sense": figure.sense,
                "reached": figure.reached,
                "detail": figure.detail,
                "parts": figure.parts,
            }
            for figure in figures
        ],
    }
