"""Where a member's log is read, and its witness asked, on its peers' listener (C2SP tlog-tiles, tlog-witness) (pure).

These paths, and no others there, are open to whoever has no client certificate.
"""

from __future__ import annotations

from riskshare.ledger.tile import Bundle, Tile

PREFIX = "/ledger/"
"""Monitoring prefix of a member's log, and submission prefix of its witness, behind the member's URL."""

CHECKPOINT = f"{PREFIX}checkpoint"
"""The newest final checkpoint, with all its cosignatures."""

LATEST = f"{PREFIX}latest"
"""The newest checkpoint that the log signed, cosigned or not."""

TILE = f"{PREFIX}tile/{{place}}"
"""A tile or a bundle; `place` as in `tile.parse_path`, behind its first word."""

ADD_CHECKPOINT = f"{PREFIX}add-checkpoint"
"""A log asks this member's witness for a cosignature."""


def path_of(place: Tile | Bundle) -> str:
    """The path of a tile or a bundle."""
    return PREFIX + place.path
