"""Looking through a member's own sealed checks for a text, one part at a time (pure): in worker processes.

A record is opened, and only if the text stands in it given back, to be read strictly where few are left. What is looked
for is the CBOR of a text, its length before it: no longer text that begins or ends with it is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from riskshare.encoding import cbor_encode
from riskshare.errors import OpenError
from riskshare.ledger.sealed import HourKey, open_record

HITS: Final = cbor_encode("verdict") + cbor_encode("hit")
"""What stands in the record of each check whose verdict was a hit, and of no other."""


def needle_of(canonical: str) -> bytes:
    """What stands in the record of each check that asked about an identifier (its canonical text)."""
    return cbor_encode(canonical)


@dataclass(frozen=True, slots=True)
class Part:
    """Some sealed checks: id, id of the hour key, and sealed record of each; and the bytes that are looked for.

    `hours` are the hour keys, exported: id, hour, 32 secret bytes. They go through a pipe to another process.
    """

    member: str
    needle: bytes = field(repr=False)
    hours: tuple[tuple[UUID, datetime, bytes], ...] = field(repr=False)
    checks: tuple[tuple[UUID, UUID, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """Of a part: how many checks it had, the records in which the bytes stand, and how many do not open."""

    checks: int
    records: tuple[bytes, ...] = field(repr=False)
    closed: int = 0


def scan(part: Part) -> Found:
    """Open each record and keep those in which the bytes stand."""
    records, closed = [], 0
    keys = {each[0]: HourKey(*each) for each in part.hours}
    for check, hour, sealed in part.checks:
        try:
            record = open_record(sealed, keys[hour], member=part.member, check=check)
        except OpenError:
            closed += 1
            continue
        if part.needle in record:
            records.append(record)
    return Found(len(part.checks), tuple(records), closed)
