"""An importer over a store, with a clock that stands where the test puts it."""

from __future__ import annotations

import os
from uuid import uuid4

from riskshare.peer.intake import ROW_FORM
from riskshare.sharing.importing import Importer, Order, Watcher
from riskshare.sharing.preparers import Preparers

OPS = Order("ops")


def importer_over(imports, data_key, clock, *, member="jd", small=10_000):
    """An importer; files of fewer than `small` chunks are prepared in a thread."""
    return Importer(
        member=member,
        data_key=data_key,
        imports=imports,
        prepare=Preparers(data_key, ROW_FORM, small=small),
        now=clock,
        random=os.urandom,
        new_id=uuid4,
    )


class Noting(Watcher):
    """Notes all that it is told."""

    def __init__(self):
        self.rows = []
        self.moves = []
        self.places = []
        self.overridden = []
        self.resumed = None
        self.expected = None

    def began(self, row, *, resumed, total):
        self.total = total
        self.resumed = row.rows if resumed else None

    def moved(self, place, rows):
        self.places.append(place)
        self.moves.append(rows)

    def bad(self, row):
        self.rows.append(row)

    def repeated(self, line, counting):
        self.overridden.append((line, counting))

    def counted(self, counts):
        self.expected = counts
