"""A settlement as CSV (RFC 4180), for accountants (pure).

One row for each line (`line`), one for what each side owes (`owed`), one for what is to be paid (`net`): there `owner`
is who is paid, and `querier` who pays. Amounts have as many places as they have, but for `net`, which is rounded.
"""

from __future__ import annotations

import csv
import io
from typing import Final

from riskshare.audit.settlement import Settlement, plain
from riskshare.encoding import format_time

COLUMNS: Final = (
    "row",
    "settlement",
    "network",
    "from",
    "to",
    "owner",
    "querier",
    "registry",
    "receipts",
    "evaluations",
    "price",
    "amount",
    "currency",
)


def settlement_csv(settlement: Settlement) -> str:
    """The text, with lines that end in CR LF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    head = (settlement.digest.hex(), settlement.network, format_time(settlement.opened), format_time(settlement.closed))
    currency = settlement.currency
    for one in settlement.directions:
        who = (one.owner, one.querier)
        for line in one.lines:
            counts = (line.registry, line.receipts, line.evaluations, line.price, plain(line.amount))
            writer.writerow(("line", *head, *who, *counts, currency))
        writer.writerow(("owed", *head, *who, "", one.receipts, one.evaluations, "", plain(one.owed), currency))
    payer, payee, amount = settlement.net
    writer.writerow(("net", *head, payee or "", payer or "", "", "", "", "", f"{amount:f}", currency))
    return out.getvalue()
