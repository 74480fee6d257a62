"""Who changes lists in tests."""

from __future__ import annotations

from riskshare.sharing.kept import Change

WHO = "ops"

IMPORT = Change(WHO, "import", "reported")
DISPUTE = Change(WHO, "dispute", "says it is not theirs")
RESTORE = Change(WHO, "restore", "looked into")


def withdrawal(reason: str) -> Change:
    return Change(WHO, "withdraw", reason)
