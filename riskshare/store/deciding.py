"""Giving entries a state, inside a transaction: withdrawing, disputing and restoring them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from riskshare.sharing.kept import Change, ChangeCounts, ListRow, State, StoredEntry
from riskshare.sharing.segment import REASONS
from riskshare.sharing.states import Refusal, Settled
from riskshare.store.entries import (
    SQL,
    STREAM_ROWS,
    Reseal,
    change_states,
    conclude,
    locked,
    refuse_newer_rules,
    stream,
)

if TYPE_CHECKING:
    from riskshare.store.connection import Connection

Refuse = Callable[[ListRow, StoredEntry, State], Refusal | None]
"""Why an entry cannot be given a state, None if it can. Called inside the transaction; must not block."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of entries: their state, and the change that says who wants it and why.

    `never_upto` says against which never-list they were held, if they were; with `atomic` one that cannot be changed
    keeps all as they are.
    """

    state: State
    change: Change
    refuse: Refuse = field(repr=False)
    reseal: Reseal = field(repr=False)
    never_upto: int | None
    atomic: bool


async def decide(
    connection: Connection, list_id: int, handles: Sequence[bytes], case_handle: bytes | None, decision: Decision
) -> tuple[list[Settled], bool]:
    """Decide about the entries of these handles, and of a case; what became of each, and whether that stands.

    It does not where `atomic` kept all as they are.

    Raises:
        InputError: `unknown_list`, `never_changed`.
        ValueError: what is withdrawn has no reason of the segment's table.

    """
    reason = reason_of(decision.state, decision.change)
    settled: list[Settled] = []
    changing: list[StoredEntry] = []
    of = await locked(connection, list_id)
    if decision.never_upto is not None:
        await refuse_newer_rules(connection, decision.never_upto)
    async for batch in stream(connection, SQL["chosen"], list_id, handles, case_handle):
        for one in batch:
            code = decision.refuse(of, one, decision.state)
            settled.append(Settled(one.handle, one.state, one.reason, code))
            if code is None:
                changing.append(one)
    if decision.atomic and (len(settled) < len(set(handles)) or any(not one.done for one in settled)):
        return settled, False
    await change_states(connection, of, batches(changing), state=decision.state, reason=reason, reseal=decision.reseal)
    if changing:
        await conclude(connection, of, decision.change, _counted(changing, decision.state))
    return settled, True


def reason_of(state: State, change: Change) -> str | None:
    """The reason that is kept with an entry. Raises ValueError: it is withdrawn for none of the segment's table."""
    if state != "withdrawn":
        return None
    if change.reason not in REASONS:
        raise ValueError("an entry is withdrawn for a reason of the table")
    return change.reason


async def batches(entries: Sequence[StoredEntry]) -> AsyncIterator[list[StoredEntry]]:
    """Entries in batches of `STREAM_ROWS`."""
    for at in range(0, len(entries), STREAM_ROWS):
        yield list(entries[at : at + STREAM_ROWS])


def _counted(changing: Sequence[StoredEntry], state: State) -> ChangeCounts:
    """What is done to these entries; what was withdrawn before makes the list longer if restored, and else as it is."""
    number = len(changing)
    again = sum(one.state == "withdrawn" for one in changing)
    if state == "withdrawn":
        return ChangeCounts(withdrawn=number - again)
    if state == "disputed":
        return ChangeCounts(disputed=number)
    return ChangeCounts(relisted=again, restored=number - again)
