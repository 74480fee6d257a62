"""From what asyncpg and the system raise to the one error that the rest of riskshare sees.

PostgreSQL's own texts quote values and statements, so none of them is passed on or chained: a
`StoreError` says what to do and, where there is one, the five-letter SQLSTATE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from riskshare.errors import RiskshareError, StoreError

FAILURES: tuple[type[BaseException], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
    asyncio.IncompleteReadError,
)
"""Everything that a call to PostgreSQL raises; `TimeoutError` is an `OSError`."""

# SQLSTATE classes (PostgreSQL manual, appendix A) that say "not now", not "not this".
_AWAY_CLASSES = {"08", "53", "57", "58", "40", "55"}
_READ_ONLY = "25006"
_DISK_FULL = "53100"
_LOGIN_CLASSES = {"28", "3D"}
_OTHER_KEY = "RS001"
_ROTATING = "RS002"
"""What `require_data_key` raises."""


def translate(error: BaseException) -> RiskshareError:
    """The error to raise in place of `error`.

    Codes: `store_unavailable` where trying again later may help, `store_refused` where it
    will not.
    """
    if isinstance(error, RiskshareError):
        return error
    if not isinstance(error, asyncpg.PostgresError):
        return _away("no connection, or no answer in time")
    state = error.sqlstate or "XX000"
    if state == _DISK_FULL:
        return StoreError(
            f"PostgreSQL has no room on its disk (SQLSTATE {state}): free some; it then goes on by itself."
        )
    if state == _OTHER_KEY:
        return StoreError("The data key was rotated since this program started: start it again.", code="other_data_key")
    if state == _ROTATING:
        return StoreError("The data key is being rotated: do this again when it is done.", code="key_rotating")
    if state[:2] in _LOGIN_CLASSES:
        return StoreError(
            f"PostgreSQL does not let us in (SQLSTATE {state}): check user, password and database of the DSN."
        )
    if state == _READ_ONLY:
        return _away(f"it is read-only, SQLSTATE {state}: the DSN must name the primary")
    if state[:2] in _AWAY_CLASSES:
        return _away(f"SQLSTATE {state}")
    return refused(state)


def refused(state: str) -> StoreError:
    """PostgreSQL is there, and will not take this however often we try."""
    return StoreError(
        f"PostgreSQL refuses what riskshare wrote or asked (SQLSTATE {state}): this is a defect; please report it.",
        code="store_refused",
    )


def _away(why: str) -> StoreError:
    return StoreError(
        f"PostgreSQL is away ({why}): check that it runs and that the DSN reaches it; riskshare reconnects by itself."
    )


@contextmanager
def guarded() -> Iterator[None]:
    """Raise `StoreError` for whatever PostgreSQL does not do.

    The original error is not chained: it may quote values.
    """
    try:
        yield
    except FAILURES as error:
        raise translate(error) from None
