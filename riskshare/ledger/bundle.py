"""Entry bundles: the entries of a log as they are served (C2SP tlog-tiles v0.1.0, Log entries) (pure).

A bundle is a sequence of entries, each behind its length in two big-endian bytes; entries of ours have 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from riskshare.errors import LedgerError
from riskshare.ledger.leaf import ENTRY_BYTES
from riskshare.ledger.tile import WIDTH, Bundle, bundles_between, prefix

_PREFIX = ENTRY_BYTES.to_bytes(2, "big")
_STEP = len(_PREFIX) + ENTRY_BYTES


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle, or of a part of one.

    Raises:
        ValueError: an entry is not 32 bytes.

    """
    if any(len(entry) != ENTRY_BYTES for entry in entries):
        raise ValueError("an entry of a log is 32 bytes")
    return b"".join(_PREFIX + entry for entry in entries)


def decode_entries(bundle: Bundle, data: bytes) -> tuple[bytes, ...]:
    """The entries of a bundle, as many as its width says, 32 bytes each.

    Raises:
        LedgerError: code `wrong_bundle`; it names the bundle and the first entry that is malformed.

    """
    if len(data) != bundle.length:
        raise LedgerError(f"{bundle.path} has {len(data)} bytes and should have {bundle.length}.", code="wrong_bundle")
    for position in range(bundle.width):
        if data[position * _STEP : position * _STEP + 2] != _PREFIX:
            raise LedgerError(
                f"Entry {bundle.start + position} in {bundle.path} does not have 32 bytes.", code="wrong_bundle"
            )
    return tuple(data[start + 2 : start + _STEP] for start in range(0, len(data), _STEP))


def grow_bundles(size: int, partial: bytes, entries: Sequence[bytes]) -> tuple[tuple[Bundle, bytes], ...]:
    """Bundles that a log of `size` entries writes when it appends `entries`.

    `partial` are the bytes of its `edge_bundle`, b"" if it has none.

    Raises:
        LedgerError: code `wrong_bundle`, `partial` has another length.
        ValueError: an entry is not 32 bytes.

    """
    if len(partial) != size % WIDTH * _STEP:
        raise LedgerError("The last bundle does not have as many entries as the log's size says.", code="wrong_bundle")
    data = partial + encode_entries(entries)
    first = size - size % WIDTH
    return tuple(
        (bundle, prefix(bundle, data[(bundle.start - first) * _STEP :]))
        for bundle in bundles_between(size, size + len(entries))
    )
