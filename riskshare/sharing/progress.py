"""Which of two kept states of `TrustedSnapshots` is ahead (pure).

Several processes of one member follow the same owners, and each writes what it has come to believe. None may
undo what another has written: each part of the state, a chain of versions or a catalogue, only goes forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Position = tuple[int, int]
"""The version of the last link, and the number of links or epochs behind it."""


def is_behind(mine: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether `other` remembers in any part more than `mine`: states of one owner, or of one list."""
    known = dict(_positions(mine))
    return any(known.get(part, (0, 0)) < position for part, position in _positions(other))


def _positions(state: Mapping[str, Any]) -> Iterator[tuple[str, Position]]:
    """How far each part of a state has come."""
    if "list" in state:
        for chain in state["chains"]:
            served = int(chain["served"] is not None)
            yield chain["epoch"], (chain["links"][-1][0] if chain["links"] else 0, served)
    else:
        yield "catalogue", (state["links"][-1][0] if state["links"] else 0, 0)
        yield "epochs", (len(state["epochs"]), 0)


def without_times(value: object) -> object:
    """The state without the times of confirmation, which change with every poll and are not worth a write."""
    if isinstance(value, Mapping):
        return {key: without_times(item) for key, item in value.items() if key not in {"confirmed_at", "polled_at"}}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value
