"""From a verdict to the sealed record and the signed statement that are kept of it (rules only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from riskshare.encoding import format_time, sha256
from riskshare.ledger.sealed import NONCE_BYTES, RecordSeal, SealedCheck
from riskshare.query.hours import HourKeys, SealedHourKey
from riskshare.query.message import new_batch
from riskshare.query.verdict import Asked, Question, Verdict, record_plaintext
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, signed_bytes


@dataclass(frozen=True, slots=True, repr=False)
class Blank:
    """What the record of one check needs before its verdict is known: for one check, once.

    `check` is the check's id, `sealed_key` the hour's key sealed as well, unless it is durable; `random` are the 32
    bytes that go into the record, `salt` those that blind its ledger leaf.
    """

    check: UUID
    hour_key: UUID
    sealed_key: SealedHourKey | None
    seal: RecordSeal
    random: bytes
    salt: bytes


def statement_json(check: UUID, answered_at: datetime, querier: str, record: bytes) -> bytes:
    """The canonical JSON of a check statement. `record` is the SHA-256 of the record; no value needs an escape."""
    return b'{"answered_at":"%b","check":"%b","querier":"%b","record":"%b"}' % (
        format_time(answered_at).encode(),
        str(check).encode(),
        querier.encode(),
        record.hex().encode(),
    )


class Sealer:
    """Seals the checks of one member. The statement tells who and when, and commits to the record; nothing else."""

    def __init__(
        self, member: str, network: str, identity: SigningKey, hours: HourKeys, random: Callable[[int], bytes]
    ) -> None:
        self._member = member
        self._network = network
        self._identity = identity
        self._hours = hours
        self._random = random

    def blank(self, now: datetime) -> Blank:
        """Prepare the record of a check that began at `now`, under the key of that hour."""
        check = new_batch(int(now.timestamp() * 1000), self._random(10))
        key, sealed_key = self._hours.current(now)
        seal = RecordSeal(key, self._random(NONCE_BYTES), member=self._member, check=check)
        return Blank(check, key.id, sealed_key, seal, self._random(32), self._random(SALT_BYTES))

    def seal(
        self,
        blank: Blank,
        question: Question,
        verdict: Verdict,
        asked: Sequence[Asked],
        snapshots: Mapping[str, bytes],
    ) -> SealedCheck:
        """Seal a check, whose verdict bears the id of the blank, and sign its statement."""
        plaintext = record_plaintext(question, verdict, asked, snapshots, blank.random)
        statement = statement_json(verdict.check, verdict.answered_at, self._member, sha256(plaintext))
        return SealedCheck(
            id=verdict.check,
            answered_at=verdict.answered_at,
            hour_key=blank.hour_key,
            record=blank.seal(plaintext),
            statement=statement,
            signature=self._identity.sign(signed_bytes("check", self._network, statement)),
            salt=blank.salt,
        )

    def kept(self, sealed: SealedCheck) -> None:
        """Take note that a check, and the hour key that came with it, are durable."""
        self._hours.kept(sealed.hour_key)
