"""From entries to the rows of a segment: open, evaluate, label, seal. Runs in worker processes.

This is the bulk of the work of publishing, nearly all of it two group operations an entry, so it
runs on all cores: a chunk of entries goes in as the store gave them, labels and sealed records come
out in the same order. Keys reach a worker through the pipe that starts it.

`label`, `record_key` and `seal` of `membership.record` say what is computed here; a list of millions is worth
computing the parts that its rows share only once.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Sequence
from typing import final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from riskshare.encoding import HMAC_INNER, HMAC_OUTER, length_prefixed, pad
from riskshare.membership.bloom import LABEL_BYTES
from riskshare.membership.oprf import SecretKey, tokens
from riskshare.membership.record import NONCE_BYTES, PAD_BYTES
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import State, StoredEntry
from riskshare.sharing.packed import PackedRows, packed_lengths

PlainRow = tuple[bytes, bytes]
"""An identifier's OPRF input and its record's bytes."""

StoredRow = tuple[bytes, bytes, State, bytes]
"""Row id (16 bytes), sealed identifier, state, record: an entry as it is stored."""

Chunk = tuple[str, Sequence[StoredRow]]
"""The full name of a list, and some of its entries."""

_keys: dict[str, tuple[DataKey, SecretKey]] = {}


def start_worker(data_key: bytes, epoch_key: bytes) -> None:
    """Take the keys of this worker: the member's data key and one epoch's OPRF key, 32 bytes each."""
    _keys["worker"] = (DataKey(data_key), SecretKey(epoch_key))


def build_in_worker(job: Chunk) -> PackedRows:
    """In a worker: the rows of one chunk of a list (full name). Raises OpenError."""
    list_name, rows = job
    data_key, key = _keys["worker"]
    return build_chunk(list_name, data_key, key, rows)


def build_chunk(list_name: str, data_key: DataKey, key: SecretKey, rows: Sequence[StoredRow]) -> PackedRows:
    """The rows of one chunk of a list (full name). Raises OpenError."""
    return build_rows(list_name, key, open_rows(list_name, data_key, rows))


@final
class Part:
    """A part of a list on its way to a machine elsewhere: entries that are open, and an epoch's key.

    What it holds is in no `repr`, and so in no log and on no dashboard of that machine.
    """

    __slots__ = ("_key", "_list_name", "_rows")

    def __init__(self, list_name: str, key: SecretKey, rows: list[PlainRow]) -> None:
        """`list_name` is the full name."""
        self._list_name = list_name
        self._key = key.export()
        self._rows = rows

    def __repr__(self) -> str:
        return f"Part({len(self._rows)} rows)"

    def compute(self) -> PackedRows:
        """Its rows."""
        return build_rows(self._list_name, SecretKey(self._key), self._rows)


def compute_part(part: Part) -> PackedRows:
    """On that machine: the rows of a part."""
    return part.compute()


def stored_row(entry: StoredEntry) -> StoredRow:
    """What a worker needs of an entry."""
    return (entry.id.bytes, entry.sealed, entry.state, entry.record)


def open_rows(list_name: str, data_key: DataKey, rows: Sequence[StoredRow]) -> list[PlainRow]:
    """Open stored entries. Raises OpenError for one that does not open."""
    identifiers = data_key.open_identifiers(list_name, [(row, sealed, state) for row, sealed, state, _ in rows])
    return [(value, row[3]) for value, row in zip(identifiers, rows, strict=True)]


def build_rows(list_name: str, key: SecretKey, rows: Sequence[PlainRow]) -> PackedRows:
    """Label and seal entries under an epoch's key; the rows come in the order of the entries."""
    name = list_name.encode()
    for_label, for_key = b"riskshare/v1/label/" + name, b"riskshare/v1/record/" + name
    associated = length_prefixed(name, bytes(LABEL_BYTES))[:-LABEL_BYTES]
    nonces = iter(struct.unpack(f"{NONCE_BYTES}s" * len(rows), secrets.token_bytes(NONCE_BYTES * len(rows))))
    hashed = hashlib.sha256
    last = padded = b""  # neighbours mostly have the same record
    labels: list[bytes] = []
    sealed: list[bytes] = []
    for token, nonce, (_, record) in zip(tokens(key, [value for value, _ in rows]), nonces, rows, strict=True):
        if record != last:
            last, padded = record, pad(record, PAD_BYTES)
        # `hmac_pads`: a token is a whole block.
        inner, outer = token.translate(HMAC_INNER), token.translate(HMAC_OUTER)
        label = hashed(outer + hashed(inner + for_label).digest()).digest()[:LABEL_BYTES]
        record_key = hashed(outer + hashed(inner + for_key).digest()).digest()
        labels.append(label)
        sealed.append(nonce + AESGCM(record_key).encrypt(nonce, padded, associated + label))
    return PackedRows(b"".join(labels), packed_lengths(map(len, sealed)), b"".join(sealed))
