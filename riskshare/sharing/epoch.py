"""Epoch statements: the lifetime of one keyset's OPRF key (pure).

An epoch is named by the digest of the statement that opened it. It ends with its term,
or earlier by an emergency statement: the same body with `ended` set. As only that field
differs, both give the same name, and the second is no fraud proof against the first.
Any other second statement for one (owner, keyset, number) is. The owner gives the second in
place of the first to whoever asks for the epoch, and readers ask again with every look at
its catalogue. Of several ends the earliest counts, and no end is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from riskshare.encoding import canonical_json, format_time, sha256
from riskshare.names import check_category, check_keyset_name, check_member_name
from riskshare.sharing.fields import Fields, malformed, reading, whole_milliseconds
from riskshare.statement import Statement

OPEN = "default"
"""The keyset of the lists that are open to all members; every list under grants has one of its own."""

KIND = "epoch"
SUITE = "ristretto255-SHA512"
"""The one suite of version 1 (RFC 9497 4.1), in VOPRF mode."""

MAX_BYTES = 4096
"""Longest JSON of an epoch statement, in bytes."""

_KEYS = frozenset({"owner", "keyset", "epoch", "suite", "public_key", "not_before", "not_after", "ended"})
_END_KEYS = frozenset({"at", "reason"})


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An emergency end: from `at` on the key is not used; `reason` is a word such as `key_exposed`."""

    at: datetime
    reason: str

    def __post_init__(self) -> None:
        """Bring the time to milliseconds and check the word. Raises SnapshotError `malformed_statement`."""
        object.__setattr__(self, "at", whole_milliseconds(self.at))
        with reading("epoch's end"):
            check_category(self.reason)


@dataclass(frozen=True, slots=True)
class EpochStatement:
    """One epoch of one keyset.

    `number` counts from 1 within (owner, keyset). `public_key` is the OPRF public key `K`,
    a ristretto255 element of 32 bytes. The term is half-open: `not_before` ≤ t < `not_after`.
    `digest` is the epoch's name, 32 bytes: the SHA-256 of the statement that opened it, also
    in the one that ends it.
    """

    owner: str
    keyset: str
    number: int
    public_key: bytes
    not_before: datetime
    not_after: datetime
    ended: EpochEnd | None = None
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the fields and bring times to milliseconds. Raises SnapshotError `malformed_statement`."""
        object.__setattr__(self, "not_before", whole_milliseconds(self.not_before))
        object.__setattr__(self, "not_after", whole_milliseconds(self.not_after))
        with reading("epoch"):
            check_member_name(self.owner)
            check_keyset_name(self.keyset)
        if self.number < 1:
            raise malformed("An epoch's number counts from 1.")
        if len(self.public_key) != 32 or self.public_key == bytes(32):
            raise malformed("An epoch's public key is an element of 32 bytes, and not the identity.")
        if self.not_after <= self.not_before:
            raise malformed("An epoch's term ends before it begins.")
        with reading("epoch"):
            object.__setattr__(self, "digest", sha256(canonical_json({**self.body(), "ended": None})))

    @classmethod
    def from_statement(cls, statement: Statement) -> EpochStatement:
        """Read a verified statement, strictly.

        Raises:
            SnapshotError: code `malformed_statement`.

        """
        if statement.kind != KIND:
            raise malformed(f"A {statement.kind} statement is not an epoch statement.")
        fields = Fields(statement.body, _KEYS, "epoch")
        fields.constant("suite", SUITE)
        end = fields.value("ended")
        return cls(
            owner=fields.named("owner", check_member_name),
            keyset=fields.named("keyset", check_keyset_name),
            number=fields.integer("epoch", 1),
            public_key=fields.digest("public_key"),
            not_before=fields.time("not_before"),
            not_after=fields.time("not_after"),
            ended=None if end is None else _read_end(end),
        )

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        end = self.ended
        return {
            "owner": self.owner,
            "keyset": self.keyset,
            "epoch": self.number,
            "suite": SUITE,
            "public_key": self.public_key.hex(),
            "not_before": format_time(self.not_before),
            "not_after": format_time(self.not_after),
            "ended": None if end is None else {"at": format_time(end.at), "reason": end.reason},
        }

    def made_at(self, received: datetime) -> tuple[datetime, ...]:
        """When the statement may have been made, if it was first received at `received`.

        It does not say: an owner may announce an epoch before it begins, and signs it anew
        when its key was compromised. So its key must have been in force as the term begins
        (or ends, by emergency), or at the first receipt.
        """
        return (self.not_before if self.ended is None else self.ended.at, received)

    @property
    def until(self) -> datetime:
        """The first moment at which the epoch's key is not used any more."""
        return self.not_after if self.ended is None else min(self.ended.at, self.not_after)

    def in_term(self, at: datetime) -> bool:
        """Tell whether the epoch's key may be used at `at`."""
        return self.not_before <= at < self.until

    def end(self, at: datetime, reason: str) -> EpochStatement:
        """The emergency statement that ends this epoch at `at`."""
        return replace(self, ended=EpochEnd(at, reason))


def _read_end(value: object) -> EpochEnd:
    fields = Fields(value, _END_KEYS, "epoch's end")
    return EpochEnd(fields.time("at"), fields.named("reason", check_category))
