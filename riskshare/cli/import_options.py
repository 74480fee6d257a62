"""The options of `list import`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class BadRows(StrEnum):
    """What becomes of a file with bad rows."""

    refuse = "refuse"
    skip = "skip"


FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV with a header, or one identifier a line; JSON Lines, Parquet, .xlsx.",
        exists=True,
        dir_okay=False,
    ),
]
FormatOption = Annotated[str, typer.Option("--format", help="csv, jsonl, parquet or xlsx, if its name misleads.")]
TypeOption = Annotated[str, typer.Option("--type", help="Type of all values, such as phone.")]
ColumnOption = Annotated[str, typer.Option("--column", help="The column that holds the values.")]
LevelOption = Annotated[str, typer.Option("--level", help="Risk level: low, medium, high, critical.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why they are listed.")]
EvidenceOption = Annotated[str, typer.Option("--evidence", help="What it rests on.")]
AppealOption = Annotated[str, typer.Option("--appeal", help="Where a person concerned can appeal.")]
DaysOption = Annotated[
    int | None, typer.Option("--days", help="How long entries are valid; 180 without it, or what the network allows.")
]
RegionOption = Annotated[str, typer.Option("--region", help="Country of phone numbers without +, such as CN.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="The column that holds a field, such as level=Risk."),
]
NoMappingOption = Annotated[
    bool, typer.Option("--no-mapping", help="Leave aside how the columns were called in the last import.")
]
BadRowsOption = Annotated[
    BadRows,
    typer.Option("--bad-rows", help="refuse: any bad row, and nothing is changed; skip: import the others."),
]
BadRowsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--bad-rows-file",
        help="Where all bad rows are reported, as CSV or .json; else NAME.bad-rows.csv.",
        dir_okay=False,
    ),
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="The file is the whole list: withdraw all entries that it does not name.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a list however many entries that withdraws.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]
