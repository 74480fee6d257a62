"""Ending an epoch before its term: the emergency statement, for a key that others may know (pure)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from riskshare.encoding import parse_canonical_json
from riskshare.sharing.epoch import KIND, MAX_BYTES, EpochStatement
from riskshare.sharing.kept import EpochRow
from riskshare.signature import SigningKey
from riskshare.statement import Statement, sign


def end_epoch(network: str, row: EpochRow, identity: SigningKey, *, at: datetime, reason: str, salt: bytes) -> EpochRow:
    """The row of an epoch that ends at `at`, with its signed emergency statement; `salt` are 16 random bytes.

    Raises:
        SnapshotError: `malformed_statement`, the reason is not a word such as `key_exposed`.

    """
    body = parse_canonical_json(row.statement, limit=MAX_BYTES)
    opened = EpochStatement.from_statement(Statement(KIND, network, row.statement, row.signature, body, row.salt))
    ended = opened.end(at, reason)
    signed = sign(KIND, network, ended.body(), identity, salt=salt)
    return replace(
        row, ended_at=ended.until, end_statement=signed.json, end_signature=signed.signature, end_salt=signed.salt
    )


def newest_statement(network: str, row: EpochRow) -> Statement:
    """The statement that ended an epoch, or else the one that opened it; its body is left empty."""
    if row.end_statement is None or row.end_signature is None or row.end_salt is None:
        return Statement(KIND, network, row.statement, row.signature, {}, row.salt)
    return Statement(KIND, network, row.end_statement, row.end_signature, {}, row.end_salt)
