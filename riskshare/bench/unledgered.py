"""A peer without a ledger: `python -m riskshare.bench.unledgered … FILE`. `accounting` holds the real one against it.

Receipts and checks are kept as ever, but nothing of them becomes pending, and no log grows.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from riskshare.store import queries

if TYPE_CHECKING:
    from riskshare.peer.ledger import LedgerWork

_PENDING = re.compile(r"insert into ledger_pending \(kind, source, entry\)\s*")
_ENTRY = re.compile(r"ledger_entry\([^()]*\)")
_load = queries.load


def load(file: str) -> Mapping[str, str]:
    """As `queries.load`: what would become an entry is only selected, and not hashed."""
    return {key: _ENTRY.sub("null::bytea", _PENDING.sub("", text)) for key, text in _load(file).items()}


async def _rest(self: LedgerWork) -> None:  # noqa: ARG001 - the form of a method
    await asyncio.Event().wait()


if __name__ == "__main__":
    queries.load = load  # before any part of the store reads its statements
    from riskshare.peer.ledger import LedgerWork
    from riskshare.peer.serve import serve

    LedgerWork.lead = _rest  # type: ignore[method-assign]  # this is what must not run here
    serve(Path(sys.argv[-1]))
