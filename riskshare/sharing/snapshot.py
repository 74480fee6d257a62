"""Snapshot statements: what one list is, at one version of one epoch (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from riskshare.encoding import canonical_json, format_time, sha256
from riskshare.errors import EncodingError
from riskshare.names import check_category, check_list_name, list_owner
from riskshare.sharing.fields import DIGEST_BYTES, Fields, malformed, reading, whole_milliseconds
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.statement import Statement

KIND = "snapshot"
MAX_BYTES = 1 << 20
"""Longest JSON of a snapshot statement, in bytes."""

MAX_SEGMENTS = 1024
MAX_CANARIES = 64

_CANARY = re.compile(r"canary:[0-9a-f]{32}")
_KEYS = frozenset(
    {
        "list",
        "category",
        "normalisation",
        "epoch",
        "version",
        "previous",
        "issued_at",
        "expires_at",
        "segments",
        "count",
        "canaries",
        "labels",
    }
)


@dataclass(frozen=True, slots=True)
class SnapshotStatement:
    """A list at one version.

    `epoch` is the digest of the epoch, `previous` that of the snapshot before (None only for
    the first of a list), `labels` the SHA-256 over all current labels, sorted; 32 bytes each.
    `version` counts from 1 in each epoch. `segments` stand in order: one base, then deltas.
    `count` is the number of labels, those of the `canaries` included; these are sorted.
    """

    list_name: str
    category: str
    normalisation: int
    epoch: bytes
    version: int
    previous: bytes | None
    issued_at: datetime
    expires_at: datetime
    segments: tuple[SegmentRef, ...]
    count: int
    canaries: tuple[str, ...]
    labels: bytes

    def __post_init__(self) -> None:
        """Check the fields and bring times to milliseconds. Raises SnapshotError `malformed_statement`."""
        object.__setattr__(self, "issued_at", whole_milliseconds(self.issued_at))
        object.__setattr__(self, "expires_at", whole_milliseconds(self.expires_at))
        with reading("snapshot"):
            check_list_name(self.list_name)
            check_category(self.category)
        if self.normalisation < 1 or self.version < 1:
            raise malformed("A snapshot's version and its normalisation version count from 1.")
        if self.expires_at <= self.issued_at:
            raise malformed("A snapshot expires before it is issued.")
        if self.version > 1 and self.previous is None:
            raise malformed("A snapshot after the first names the one before it.")
        digests = [self.epoch, self.labels] + ([] if self.previous is None else [self.previous])
        if any(len(digest) != DIGEST_BYTES for digest in digests):
            raise malformed("A snapshot's digests are SHA-256, 32 bytes.")
        self._check_contents()

    def _check_contents(self) -> None:
        files = {segment.file_digest for segment in self.segments}
        if len(files) != len(self.segments) or len(files) > MAX_SEGMENTS:
            raise malformed(f"A snapshot names at most {MAX_SEGMENTS} segments, each once.")
        if any(_CANARY.fullmatch(canary) is None for canary in self.canaries):
            raise malformed("A canary is written as canary: and 32 digits of lower-case hex.")
        if list(self.canaries) != sorted(set(self.canaries)) or len(self.canaries) > MAX_CANARIES:
            raise malformed(f"A snapshot names at most {MAX_CANARIES} canaries, each once, sorted.")
        if self.count < len(self.canaries):
            raise malformed("A snapshot counts fewer labels than it names canaries.")
        if self.count and not self.segments:
            raise malformed("A snapshot counts labels, but names no segment that could hold them.")

    @classmethod
    def from_statement(cls, statement: Statement) -> SnapshotStatement:
        """Read a verified statement, strictly.

        Raises:
            SnapshotError: code `malformed_statement`.

        """
        if statement.kind != KIND:
            raise malformed(f"A {statement.kind} statement is not a snapshot.")
        fields = Fields(statement.body, _KEYS, "snapshot")
        canaries = fields.items("canaries", MAX_CANARIES)
        if any(type(canary) is not str for canary in canaries):
            raise malformed("A canary is not text.")
        with reading("snapshot"):
            segments = tuple(SegmentRef.from_json(item) for item in fields.items("segments", MAX_SEGMENTS))
        return cls(
            list_name=fields.named("list", check_list_name),
            category=fields.named("category", check_category),
            normalisation=fields.integer("normalisation", 1),
            epoch=fields.digest("epoch"),
            version=fields.integer("version", 1),
            previous=fields.digest_or_null("previous"),
            issued_at=fields.time("issued_at"),
            expires_at=fields.time("expires_at"),
            segments=segments,
            count=fields.integer("count"),
            canaries=tuple(canaries),
            labels=fields.digest("labels"),
        )

    def made_at(self, received: datetime) -> tuple[datetime, ...]:  # noqa: ARG002 - other kinds need it
        """When the statement was made: what it says."""
        return (self.issued_at,)

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        return {
            "list": self.list_name,
            "category": self.category,
            "normalisation": self.normalisation,
            "epoch": self.epoch.hex(),
            "version": self.version,
            "previous": None if self.previous is None else self.previous.hex(),
            "issued_at": format_time(self.issued_at),
            "expires_at": format_time(self.expires_at),
            "segments": [segment.to_json() for segment in self.segments],
            "count": self.count,
            "canaries": list(self.canaries),
            "labels": self.labels.hex(),
        }

    @property
    def owner(self) -> str:
        """The member whose list this is."""
        return list_owner(self.list_name)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON, 32 bytes: the name of the statement."""
        try:
            return sha256(canonical_json(self.body()))
        except EncodingError as error:
            raise malformed("A number of the snapshot is beyond 2^53 - 1.") from error
