"""Cosigning the checkpoints of all other members' logs (`add-checkpoint` of C2SP tlog-witness v1.0.0).

The order of durability
    1. The request is read, and the log's signature on it verified: who is no log causes no look into the database.
    2. What this witness knows of the log is read, and the rule decides (`addition.decide`).
    3. What convicts a log of two histories is kept before the answer leaves.
    4. The new checkpoint takes the place of the one that was read, if that still stands there. If it does not, another
       request was faster: again from 2.
    5. Only then is the cosignature made, and leaves.

A crash after 4, or a commit whose outcome is not learned, costs one cosignature: the log hears by a 409 which size is
known, offers the same checkpoint from there, and has it. A second process of this member does the same on the
same rows.

A witness whose own log has turned out to be behind has forgotten what it cosigned, too: its database was restored from
an old backup. It cosigns nothing more; the operator gives it a new witness key.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol, final

from riskshare.errors import EncodingError, LedgerError, StoreError
from riskshare.ledger import addition as rule
from riskshare.ledger.addition import AddCheckpoint, Known, Verdict, parse_addition
from riskshare.ledger.checkpoint import member_of, parse_signed, witness_name
from riskshare.ledger.histories import TwoHistories
from riskshare.ledger.kept import BEHIND, Witnessed
from riskshare.ledger.note import Note, VerifierKey, cosign, signature_lines
from riskshare.ledger.policy import log_keys
from riskshare.registry import Registry
from riskshare.signature import SigningKey

RACES: Final = 3
"""Lost races after which a request is given up. One is the most that a sound store allows: the size known is another
then, which ends in a conflict."""


class Registries(Protocol):
    """The registry in force."""

    def current(self) -> Registry:
        """The newest version that was verified."""


class Memory(Protocol):
    """What this witness knows, in the database. Every method raises StoreError."""

    async def witnessed(self, origin: str) -> Witnessed:
        """The latest checkpoint of a log that was cosigned, with the note that its log signed."""

    async def witness(self, origin: str, old: Known, new: Known, note: bytes, at: datetime) -> bool:
        """Put `new` in the place of `old` (`Known()` also for no row), durably. False if `old` does not stand there."""

    async def halted(self) -> tuple[str, str] | None:
        """Why this member's own log signs nothing more: code and sentence; None as long as it does."""


class Evidence(Protocol):
    """Where evidence is kept."""

    async def keep_histories(self, accused: str, found: TwoHistories, at: datetime) -> None:
        """Keep, once, what convicts a member, and tell of it. Raises StoreError."""


class Watch(Protocol):
    """Who counts requests."""

    def witnessing(self, log: str, code: str) -> None:
        """A request was answered; `log` is the member whose log it is, "" for a stranger's."""


@final
class Witness:
    """One member as witness; several processes of it may run."""

    def __init__(
        self,
        *,
        member: str,
        key: SigningKey,
        registries: Registries,
        memory: Memory,
        evidence: Evidence,
        watch: Watch,
    ) -> None:
        self._member = member
        self._key = key
        self._registries = registries
        self._memory = memory
        self._evidence = evidence
        self._watch = watch

    async def add_checkpoint(self, body: bytes, now: datetime) -> Verdict:
        """Answer a request: status, `body` and `content_type` are what leaves.

        200 with a cosignature made at `now`; 400 malformed, or old above new; 403 not signed by the log; 404 not the
        log of another member in good standing; 409 not from the size known, or two histories; 422 the proof does not
        hold; 503 this witness has forgotten what it cosigned.

        Raises:
            StoreError: nothing was signed; whether the checkpoint is known now is open.

        """
        log = ""
        try:
            addition = parse_addition(body)
            log, keys = self._log(addition.checkpoint.origin, now)
            own = rule.authenticate(addition, keys)
        except EncodingError as error:
            verdict = rule.malformed(error)
        except LedgerError as error:
            verdict = rule.refused(error)
        else:
            verdict = await self._judge(log, addition, keys, own, now)
        self._watch.witnessing(log, verdict.code)
        return verdict

    def _log(self, origin: str, now: datetime) -> tuple[str, tuple[VerifierKey, ...]]:
        """The member whose log it is, and the keys with which it may sign now; no keys for whom we do not witness."""
        registry = self._registries.current()
        member = member_of(origin, registry.network)
        found = None if member is None else registry.member(member)
        if found is None or found.name == self._member:
            return "", ()
        return found.name, log_keys(registry, found.name, now) if found.in_good_standing else ()

    async def _judge(
        self, log: str, addition: AddCheckpoint, keys: tuple[VerifierKey, ...], own: Note, now: datetime
    ) -> Verdict:
        origin = addition.checkpoint.origin
        for _ in range(RACES):
            # 2.
            held = await self._memory.witnessed(origin)
            verdict = rule.decide(addition, keys, held.known)
            # 3.
            if verdict.two_histories and held.note:  # without a first note, it is a root that no tree of no leaves has
                first, second = parse_signed(held.note), parse_signed(own.to_bytes())
                await self._evidence.keep_histories(log, TwoHistories(first, second), now)
            if verdict.known is None:
                return verdict
            halted = await self._memory.halted()
            if halted is not None and halted[0] == BEHIND:
                return _forgotten()
            # 4.
            if await self._memory.witness(origin, held.known, verdict.known, own.to_bytes(), now):
                # 5.
                return replace(verdict, body=self._cosign(own.text, now))
        raise StoreError("What is known of a log changes all the time. Try again.")

    def _cosign(self, text: str, now: datetime) -> bytes:
        name = witness_name(self._registries.current().network, self._member)
        return signature_lines([cosign(text, name, self._key, int(now.timestamp()))]).encode()


def _forgotten() -> Verdict:
    return Verdict(503, "witness_behind", b"This witness has lost what it knew, and cosigns nothing more.\n")
