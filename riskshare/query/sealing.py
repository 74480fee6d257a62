"""From a verdict to the sealed record and the signed statement that are kept of it (rules only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from riskshare.encoding import format_time, sha256
from riskshare.ledger.sealed import NONCE_BYTES, SealedCheck, seal_record
from riskshare.query.hours import HourKeys, SealedHourKey
from riskshare.query.verdict import Asked, Question, Verdict, record_plaintext
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, sign


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

    def seal(
        self,
        question: Question,
        verdict: Verdict,
        asked: Sequence[Asked],
        snapshots: Mapping[str, bytes],
        now: datetime,
    ) -> tuple[SealedCheck, SealedHourKey | None]:
        """Seal a check under the key of the hour of `now`; give that key sealed as well, unless it is durable."""
        plaintext = record_plaintext(question, verdict, asked, snapshots, self._random(32))
        body: Mapping[str, object] = {
            "answered_at": format_time(verdict.answered_at),
            "check": str(verdict.check),
            "querier": self._member,
            "record": sha256(plaintext).hex(),
        }
        signed = sign("check", self._network, body, self._identity)
        key, sealed_key = self._hours.current(now)
        sealed = SealedCheck(
            id=verdict.check,
            answered_at=verdict.answered_at,
            hour_key=key.id,
            record=seal_record(plaintext, key, self._random(NONCE_BYTES), member=self._member, check=verdict.check),
            statement=signed.json,
            signature=signed.signature,
            salt=self._random(SALT_BYTES),
        )
        return sealed, sealed_key

    def kept(self, sealed: SealedCheck) -> None:
        """Take note that a check, and the hour key that came with it, are durable."""
        self._hours.kept(sealed.hour_key)
