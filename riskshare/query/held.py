"""What a querier holds of the others' lists, as a check sees it. Values only.

`sharing.subscribe` keeps it current, `query.check` looks into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from riskshare.sharing.view import ListView

OwnerState = Literal["current", "stale", "down", "untrusted"]


@dataclass(frozen=True, slots=True)
class HeldList:
    """One list at one snapshot.

    `digest` names the snapshot; `current` is false if it may give hits but no clear: its last successful
    poll is too old.
    """

    name: str
    category: str
    version: int
    digest: bytes = field(repr=False)
    current: bool
    view: ListView = field(repr=False)


@dataclass(frozen=True, slots=True)
class HeldEpoch:
    """The lists of one keyset, all under one epoch (`digest` of its statement)."""

    digest: bytes = field(repr=False)
    lists: tuple[HeldList, ...]


@dataclass(frozen=True, slots=True)
class HeldOwner:
    """One owner, as far as a check concerns it.

    `state` is `current` if there is a current catalogue and every list in it that the check concerns is held;
    else it says why a clear cannot be given.
    """

    owner: str
    state: OwnerState
    epochs: tuple[HeldEpoch, ...]


def merged(owners: Sequence[HeldOwner]) -> Sequence[HeldOwner]:
    """Each owner once: of one that is named twice, every list counts, once, and the worst state."""
    if len({held.owner for held in owners}) == len(owners):
        return owners
    found: dict[str, list[HeldOwner]] = {}
    for held in owners:
        found.setdefault(held.owner, []).append(held)
    return [_joined(owner, parts) for owner, parts in found.items()]


def _joined(owner: str, parts: Sequence[HeldOwner]) -> HeldOwner:
    epochs: dict[bytes, dict[str, HeldList]] = {}
    for part in parts:
        for epoch in part.epochs:
            lists = epochs.setdefault(epoch.digest, {})
            for held in epoch.lists:
                known = lists.get(held.name)
                if known is None or held.version > known.version:
                    lists[held.name] = held
    state: OwnerState = next((part.state for part in parts if part.state != "current"), "current")
    return HeldOwner(owner, state, tuple(HeldEpoch(digest, tuple(lists.values())) for digest, lists in epochs.items()))
