"""An entry as it lies at its owner: the identifier under the member's data key. Rules only.

From the 32-byte data key HKDF-SHA256 (RFC 5869) derives one key for each use, named by `info`:

    riskshare/v1/entry     AES-256-GCM over identifiers; additional data: row, list, state
    riskshare/v1/handle    HMAC-SHA256 that finds an identifier's row without opening any
    riskshare/v1/case      HMAC-SHA256 that finds the entries of a case reference
    riskshare/v1/epoch     AES-256-GCM over the secret OPRF keys of epochs
    riskshare/v1/name      names the data key, and tells nothing of it

Every ciphertext stands behind its random nonce of 12 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from riskshare.encoding import canonical_json, hmac_pads, length_prefixed, sha256
from riskshare.errors import OpenError
from riskshare.membership.oprf import SecretKey
from riskshare.membership.record import Record
from riskshare.sharing.kept import STATES, Resealed, State, StoredEntry

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
ROW_BYTES: Final = 16
ROW_RANDOM: Final = 10 + NONCE_BYTES
"""Random bytes of a row that `seal_rows` seals: for its id, and the nonce."""

_IDENTIFIER: Final = "An entry's identifier"


@final
class DataKey:
    """The keys derived from a member's data key; none of them is in its `repr`."""

    __slots__ = ("_case", "_entries", "_epochs", "_handle", "_root")

    def __init__(self, root: bytes) -> None:
        """Derive all keys. Raises ValueError if `root` is not 32 bytes."""
        if len(root) != KEY_BYTES:
            raise ValueError("a data key is 32 bytes")
        self._root = root
        self._entries = AESGCM(_derive(root, b"entry"))
        self._handle = _derive(root, b"handle")
        self._case = _derive(root, b"case")
        self._epochs = AESGCM(_derive(root, b"epoch"))

    def export(self) -> bytes:
        """The 32 root bytes, for worker processes."""
        return self._root

    @property
    def fingerprint(self) -> bytes:
        """The key's name, 32 bytes: by it the database knows under which key its rows are."""
        return _derive(self._root, b"name")

    def handle(self, oprf_input: bytes, list_name: str) -> bytes:
        """Keyed HMAC of an identifier on a list (full name), 32 bytes."""
        return hmac.digest(self._handle, length_prefixed(list_name.encode(), oprf_input), "sha256")

    def case_handle(self, case: str, list_name: str) -> bytes:
        """Keyed HMAC of a case reference on a list (full name), 32 bytes."""
        return hmac.digest(self._case, length_prefixed(list_name.encode(), case.encode()), "sha256")

    def seal_identifier(self, oprf_input: bytes, nonce: bytes, *, row: UUID, list_name: str, state: State) -> bytes:
        """Seal an identifier for its row, list and state."""
        return nonce + self._entries.encrypt(nonce, oprf_input, _entry_data(row, list_name, state))

    def seal_rows(
        self, list_name: str, values: Sequence[bytes], drawn: Sequence[bytes]
    ) -> list[tuple[bytes, bytes, bytes]]:
        """Row id, `handle` and `seal_identifier` of many OPRF inputs of a list, in state active.

        `drawn` has `ROW_RANDOM` random bytes for each. An id is a UUIDv8 (RFC 9562, 5.8) that begins as its handle:
        so rows sorted by handle go into both indexes in their order, however long these are.
        """
        name = list_name.encode()
        named = len(name).to_bytes(4, "big") + name
        before, behind = ROW_BYTES.to_bytes(4, "big"), length_prefixed(name, b"active")
        inner, outer = hmac_pads(self._handle)
        inner += named
        encrypt, hashed = self._entries.encrypt, hashlib.sha256
        rows: list[tuple[bytes, bytes, bytes]] = []
        for value, random in zip(values, drawn, strict=True):
            handle = hashed(outer + hashed(inner + len(value).to_bytes(4, "big") + value).digest()).digest()
            free = bytes((0x80 | random[0] & 0x0F, random[1], 0x80 | random[2] & 0x3F))
            row = handle[:6] + free + random[3:10]
            nonce = random[10:]
            rows.append((row, handle, nonce + encrypt(nonce, value, before + row + behind)))
        return rows

    def open_identifier(self, sealed: bytes, *, row: UUID, list_name: str, state: State) -> bytes:
        """Open what `seal_identifier` sealed: the identifier's UTF-8 bytes.

        Raises:
            OpenError: another data key, row, list or state, or altered bytes.

        """
        return _open(self._entries, sealed, _entry_data(row, list_name, state), _IDENTIFIER)

    def open_identifiers(self, list_name: str, rows: Sequence[tuple[bytes, bytes, State]]) -> list[bytes]:
        """Open many identifiers of a list: (row id of 16 bytes, sealed identifier, state). Raises OpenError."""
        tails = {state: length_prefixed(list_name.encode(), state.encode()) for state in STATES}
        head = ROW_BYTES.to_bytes(4, "big")
        return [_open(self._entries, sealed, head + row + tails[state], _IDENTIFIER) for row, sealed, state in rows]

    def seal_epoch(self, key: SecretKey, nonce: bytes, epoch: bytes) -> bytes:
        """Seal the secret OPRF key of the epoch with that digest."""
        return nonce + self._epochs.encrypt(nonce, key.export(), length_prefixed(b"epoch", epoch))

    def open_epoch(self, sealed: bytes, epoch: bytes) -> SecretKey:
        """Open what `seal_epoch` sealed. Raises OpenError."""
        return SecretKey(_open(self._epochs, sealed, length_prefixed(b"epoch", epoch), "An epoch's key"))

    def __repr__(self) -> str:
        return "DataKey()"

    def __reduce__(self) -> str:
        raise TypeError("a data key is not pickled")


def reseal(key: DataKey, list_name: str, entry: StoredEntry, state: State, nonce: bytes) -> Resealed:
    """An entry's identifier sealed for another state, and the record that goes with it.

    Raises:
        OpenError: the identifier does not open.
        EncodingError: the record is not one.

    """
    value = key.open_identifier(entry.sealed, row=entry.id, list_name=list_name, state=entry.state)
    record = entry.record
    disputed = state == "disputed"
    if state != "withdrawn" and (old := Record.from_bytes(record)).disputed != disputed:
        record = replace(old, disputed=disputed).to_bytes()
    return Resealed(key.seal_identifier(value, nonce, row=entry.id, list_name=list_name, state=state), record)


def content_of(record: Record) -> bytes:
    """What makes two records different in substance, 16 bytes: all but the moment of listing.

    The term counts by the day, so that importing one file twice in a day changes nothing. A row that names another time
    of that day changes nothing either: what is stored does not tell whether a row named one.
    """
    parts = {
        "appeal": record.appeal,
        "case": record.case,
        "evidence": record.evidence,
        "level": record.level,
        "reason": record.reason,
        "valid_until": f"{record.valid_until:%Y-%m-%d}",
    }
    return sha256(canonical_json(parts))[:16]


def _derive(root: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"riskshare/v1/" + use).derive(root)


def _entry_data(row: UUID, list_name: str, state: State) -> bytes:
    return length_prefixed(row.bytes, list_name.encode(), state.encode())


def _open(key: AESGCM, sealed: bytes, data: bytes, what: str) -> bytes:
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], data)
    except (InvalidTag, ValueError) as error:
        raise OpenError(
            f"{what} does not open: another data key, or altered bytes. Restore keys and database together."
        ) from error
