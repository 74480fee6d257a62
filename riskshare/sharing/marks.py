"""How far the building of a list has come: what is kept beside its runs, so that another process can go on (pure).

Entries are computed in the order of their handles, from one consistent view after another. `upto` is the number of the
last change that the first view showed: what changed later may be in the runs as it was, and is told anew by whoever
finishes. Handles are evenly spread, so the last one tells which part of the work is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from riskshare.encoding import canonical_json, parse_canonical_json, parse_hex
from riskshare.errors import EncodingError

FORMAT = 1
LIMIT = 1 << 20
"""Most bytes of marks: some thousand runs."""

_KEYS = frozenset({"format", "data_key", "upto", "position", "complete", "rows", "runs"})


@dataclass(frozen=True, slots=True)
class Run:
    """A file of sorted rows: its name, its number of rows, the SHA-256 of its bytes."""

    name: str
    rows: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Marks:
    """`data_key` names the key under which handles are made; `position` is the last handle computed, b"" before any.

    `rows` are the rows in `runs`, which stand in the order in which they were written.
    """

    data_key: bytes
    upto: int
    position: bytes = b""
    complete: bool = False
    rows: int = 0
    runs: tuple[Run, ...] = ()

    @property
    def share(self) -> float:
        """The part of the entries that is computed, from 0 to 1."""
        return 1.0 if self.complete else int.from_bytes(self.position[:8].ljust(8, b"\0")) / 2**64

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        runs = [{"name": run.name, "rows": run.rows, "sha256": run.digest.hex()} for run in self.runs]
        return canonical_json(
            {
                "format": FORMAT,
                "data_key": self.data_key.hex(),
                "upto": self.upto,
                "position": self.position.hex(),
                "complete": self.complete,
                "rows": self.rows,
                "runs": runs,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Marks:
        """Read what `to_bytes` wrote. Raises EncodingError: it is something else."""
        fields = parse_canonical_json(data, limit=LIMIT)
        if set(fields) != _KEYS or fields["format"] != FORMAT:
            raise EncodingError("These are no marks of a building.")
        return cls(
            data_key=_hex(fields["data_key"]),
            upto=int(fields["upto"]),
            position=_hex(fields["position"]),
            complete=bool(fields["complete"]),
            rows=int(fields["rows"]),
            runs=tuple(_run(item) for item in fields["runs"]),
        )


def _hex(text: Any) -> bytes:
    return parse_hex(text, 32) if text else b""


def _run(item: Any) -> Run:
    return Run(str(item["name"]), int(item["rows"]), parse_hex(item["sha256"], 32))
