"""The querier's half of an exchange with one owner: coalesce, sign, send, verify, keep.

Elements of concurrent checks to one owner, epoch and purpose travel together. All that are submitted in one
turn of the event loop leave in one ask at once; while `in_flight` asks are on their way, further
elements wait and leave with the next. So an idle peer adds no delay and a busy one sends few, fuller asks.

What was sent is never forgotten. An answered batch is held here until its receipt is durable: the check
that used it makes it so before its verdict leaves, and what no check took over `settle` keeps: so too the answer
that comes when the deadline of its check has passed. An ask that got no answer is kept as unanswered, and
its identical bytes are sent again until the owner answers from its store or refuses for good.

Nothing is asked under a registry that has expired, and nothing while too much waits to be made durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from riskshare.encoding import sha256
from riskshare.errors import EncodingError, PeerDown, PeerError, PeerGarbage, PeerRefused, StoreError
from riskshare.ledger import merkle
from riskshare.ledger.receipt import KeptReceipt, Receipt, UnansweredAsk
from riskshare.query.batch import AskFailed, Batch, Lane, Ticket
from riskshare.query.message import (
    CLOCK_TOLERANCE_SECONDS,
    ELEMENT_BYTES,
    MAX_SNAPSHOTS,
    Answer,
    AnswerMessage,
    Ask,
    AskMessage,
    new_batch,
)
from riskshare.signature import SigningKey, verify
from riskshare.statement import SALT_BYTES, signed_bytes

FULL = 1024
"""Most elements that are put into one ask: a larger one would make payments behind it wait."""

MOST_UNSETTLED = 4096
"""Most asks whose outcome is not durable yet; beyond it nothing new is asked until the store is back."""

TOO_OLD = timedelta(seconds=2 * CLOCK_TOLERANCE_SECONDS)
"""From this age on no owner, whatever its clock within tolerance, evaluates an ask anew."""

Key = tuple[str, bytes, str]
"""Owner, epoch digest, purpose: what elements must share to travel together."""

_FINAL = frozenset({400, 401, 404, 409, 412, 413})
"""Refusals that sending the same bytes again will not change."""

_BUSY = frozenset({429, 503})
"""Refusals that say nothing of the batch, but that there is too much of all."""


class Owners(Protocol):
    """What the querier knows of an owner, from the registry and its own subscription."""

    network: str

    def version(self) -> int:
        """The registry version that this querier holds."""

    def expired(self, now: datetime) -> bool:
        """Whether that version has expired: then nothing new is asked."""

    def keys(self, owner: str, at: datetime, received: datetime) -> Sequence[bytes]:
        """Identity keys of the owner that may sign `at` that time what is first `received` at that, 32 bytes each."""

    def snapshots(self, owner: str) -> Mapping[str, bytes]:
        """Digests of the owner's snapshots that the querier holds, by full list name."""


class Transport(Protocol):
    """The way to another member's peer."""

    async def evaluate(self, owner: str, body: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - the transport's own
        """Send an ask, return the body of the answer.

        Raises:
            PeerDown: no connection could be made: the owner has seen nothing of it.
            PeerLate, PeerRefused, PeerGarbage: the owner may have seen it.

        """


class Kept(Protocol):
    """The store of receipts, querier's side."""

    async def keep_receipts(self, receipts: Sequence[KeptReceipt], unanswered: Sequence[UnansweredAsk] = ()) -> None:
        """Make receipts and unanswered asks durable; a receipt resolves the unanswered ask of its batch.

        Raises:
            StoreError: not known to be durable; `store_refused`: one of them cannot be kept as it is.

        """


class Asker:
    """Asks all owners on behalf of one querier."""

    def __init__(
        self,
        *,
        querier: str,
        identity: SigningKey,
        owners: Owners,
        transport: Transport,
        kept: Kept,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        in_flight: int = 4,
        timeout: float = 5.0,
        coalesce: bool = True,
        resend_after: timedelta = TOO_OLD,
    ) -> None:
        """Wire it up.

        `in_flight` bounds the asks on their way in each (owner, epoch, purpose), `timeout` (seconds) each of them,
        `coalesce` off sends each element alone and at once (for the benchmark), `resend_after`: see `resend`.
        """
        self._querier = querier
        self._identity = identity
        self._owners = owners
        self._transport = transport
        self._kept = kept
        self._now = now
        self._random = random
        self._in_flight = in_flight
        self._timeout = timeout
        self._coalesce = coalesce
        self._resend_after = resend_after
        self._lanes: dict[Key, Lane] = {}
        self._unsettled: dict[UUID, Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(self, owner: str, epoch: bytes, purpose: str, element: bytes) -> Ticket:
        """Ask `owner` to evaluate one blinded element (32 bytes) under the epoch with that digest.

        Raises:
            StoreError: `overloaded`, the store has been away for so long that nothing new may be asked.

        """
        loop = asyncio.get_running_loop()
        ticket = Ticket(element, loop.create_future())
        if len(self._unsettled) >= MOST_UNSETTLED:
            raise StoreError(
                "Too many receipts wait to be made durable, so nothing is asked. Look after the database.",
                code="overloaded",
            )
        if self._closed or self._owners.expired(self._now()):
            _fail([ticket], self._not_asked(owner))
            return ticket
        key = (owner, epoch, purpose)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane()
        lane.waiting.append(ticket)
        if not self._coalesce or self._may_leave(lane):
            self._leave(key, lane)
        return ticket

    def _not_asked(self, owner: str) -> AskFailed:
        if self._closed:
            return AskFailed(PeerDown(owner, "This peer is stopping and asks nobody any more.", code="closing"))
        return AskFailed(
            PeerError(
                owner,
                "The registry has expired, so nobody can be asked. The governors must issue a new version.",
                code="registry_expired",
            )
        )

    def _leave(self, key: Key, lane: Lane) -> None:
        """Let what waits leave in the next turn of the event loop, with what is submitted until then."""
        lane.scheduled = True
        task = asyncio.get_running_loop().create_task(self._run(key, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _drop(self, key: Key, lane: Lane) -> None:
        """Forget a lane in which nothing waits or travels."""
        if not (lane.waiting or lane.in_flight or lane.scheduled) and self._lanes.get(key) is lane:
            del self._lanes[key]

    def _may_leave(self, lane: Lane) -> bool:
        return bool(lane.waiting) and not lane.scheduled and lane.in_flight < self._in_flight

    async def _run(self, key: Key, lane: Lane) -> None:
        """Send what waits, as far as one ask takes it; the rest follows in others, if more may be on their way."""
        lane.scheduled = False
        tickets = lane.take(FULL if self._coalesce else 1)
        lane.in_flight += 1
        try:
            if tickets:
                if self._may_leave(lane):
                    self._leave(key, lane)
                await self._send(key, tickets)
        finally:
            lane.in_flight -= 1
            if self._may_leave(lane):
                self._leave(key, lane)
            else:
                self._drop(key, lane)

    async def _send(self, key: Key, tickets: Sequence[Ticket]) -> None:
        try:
            batch = self._sign(key, [ticket.element for ticket in tickets])
            for position, ticket in enumerate(tickets):
                ticket.batch, ticket.position = batch, position
            await self._exchange(batch)
        except PeerError as error:
            _fail(tickets, AskFailed(error))
        except BaseException:
            # Stopped, or a fault of ours: no check is left waiting for it.
            _fail(tickets, AskFailed(PeerDown(key[0], "The ask was given up.", code="given_up")))
            raise
        else:
            _share(tickets, batch)

    def _sign(self, key: Key, elements: Sequence[bytes]) -> Batch:
        owner, epoch, purpose = key
        now = self._now()
        batch = new_batch(int(now.timestamp() * 1000), self._random(10))
        ask = Ask(
            batch=batch,
            network=self._owners.network,
            registry=self._owners.version(),
            querier=self._querier,
            owner=owner,
            epoch=epoch,
            purpose=purpose,
            count=len(elements),
            elements=merkle.root(elements),
            snapshots=_first(self._owners.snapshots(owner)),
            asked_at=now,
        )
        json = ask.to_json()
        signature = self._identity.sign(signed_bytes("ask", ask.network, json))
        message = AskMessage(json, signature, b"".join(elements))
        return Batch(ask, message, self._random(SALT_BYTES))

    async def _exchange(self, batch: Batch) -> None:
        """Send, and send the same bytes once more if the connection broke; verify the answer."""
        body = batch.message.to_bytes()
        unseen = False
        try:
            try:
                data = await self._transport.evaluate(batch.ask.owner, body, self._timeout)
            except PeerDown as error:
                # An alert of TLS may come after the owner has read the ask: then it is not known to be unseen.
                unseen = error.code != "tls_refused"
                raise
            except PeerGarbage as error:
                if error.code != "peer_disconnected":
                    raise
                data = await self._transport.evaluate(batch.ask.owner, body, self._timeout)
            batch.kept = self.verified(batch.ask, batch.message, data, salt=batch.salt)
        finally:
            # Whatever happened, a cancellation too: unless no byte has left, the owner may have accounted for it.
            if batch.kept is None and not unseen:
                batch.give_up()
            if not unseen:
                self._unsettled[batch.ask.batch] = batch

    def verified(
        self,
        ask: Ask,
        sent: AskMessage,
        data: bytes,
        *,
        salt: bytes = b"",
        adopted: bool = False,
        late: bool = False,
    ) -> KeptReceipt:
        """Verify the body of an answer to the ask that was `sent`, and make it a receipt.

        1. It is an answer message. 2. An identity key of the owner signed it that is in force; for an answer that
        may be old (`late`, `adopted`), one that was in force when the ask could be admitted: what the answer says of
        its own time decides nothing, and a key that was compromised by now counts for nothing. 3. It answers this ask.
        4. The elements are as many as were sent, and have the root that it names; for an adopted one, those of the ask
        as well. 5. There is a proof if one was asked for; whether it holds is not looked at here.

        Raises:
            PeerGarbage: any of these fails.

        """
        try:
            message = AnswerMessage.from_bytes(data)
            answer = Answer.from_json(message.answer)
        except EncodingError as error:
            raise PeerGarbage(ask.owner, f"The owner's answer is malformed: {error.message}") from error
        signed = signed_bytes("answer", self._owners.network, message.answer)
        now = self._now()
        keys = self._owners.keys(ask.owner, now, now)
        if late or adopted:
            # Our own signed time, and an owner admits it while its clock says no more than the tolerance beyond.
            until = min(now, ask.asked_at + TOO_OLD)
            keys = [*self._owners.keys(ask.owner, ask.asked_at, now), *self._owners.keys(ask.owner, until, now)]
        if not any(verify(key, signed, message.signature) for key in keys):
            raise PeerGarbage(
                ask.owner, "The answer is not signed by an identity key of its owner.", code="bad_signature"
            )
        if answer.ask != sha256(sent.ask):
            raise PeerGarbage(ask.owner, "The answer belongs to another ask.", code="other_ask")
        size = ask.count * ELEMENT_BYTES
        if len(message.elements) != size:
            raise PeerGarbage(ask.owner, "The answer has not as many elements as were sent.", code="wrong_count")
        if merkle.root_of(message.elements) != answer.elements:
            raise PeerGarbage(
                ask.owner, "The evaluated elements are not those that the answer commits to.", code="wrong_root"
            )
        if adopted and (len(sent.elements) != size or merkle.root_of(sent.elements) != ask.elements):
            raise PeerGarbage(ask.owner, "The elements are not those that our ask commits to.", code="wrong_root")
        if ask.proof and not message.proof:
            raise PeerGarbage(ask.owner, "The answer comes without the proof that was asked for.", code="no_proof")
        return KeptReceipt(
            side="querier",
            counterparty=ask.owner,
            batch=ask.batch,
            epoch=ask.epoch,
            count=ask.count,
            receipt=Receipt(sent.ask, sent.signature, message.answer, message.signature),
            elements=sent.elements,
            evaluated=message.elements,
            proof=message.proof,
            salt=salt or self._random(SALT_BYTES),
            adopted=adopted,
        )

    def settled(self, batches: Sequence[Batch]) -> None:
        """Take note that the receipts and unanswered asks of `batches` are durable."""
        for batch in batches:
            batch.durable = True
            self._unsettled.pop(batch.ask.batch, None)

    async def settle(self) -> int:
        """Keep what no check has kept; return how many batches are still not durable.

        Called about every second, and at the end.
        """
        batches = list(self._unsettled.values())
        if batches:
            try:
                await self._keep(batches)
            except StoreError as error:
                if error.code == "store_refused" and len(batches) > 1:
                    # One that cannot be kept as it is must not hold up the others.
                    for batch in batches:
                        with suppress(StoreError):
                            await self._keep([batch])
        return len(self._unsettled)

    async def _keep(self, batches: Sequence[Batch]) -> None:
        await self._kept.keep_receipts(
            [batch.kept for batch in batches if batch.kept is not None],
            [batch.unanswered for batch in batches if batch.kept is None and batch.unanswered is not None],
        )
        self.settled(batches)

    async def resend(self, unanswered: UnansweredAsk) -> bool:
        """Send an unanswered ask's identical bytes again and keep the receipt if it is answered.

        Only when it is so old that the owner will not evaluate it now, in vain and for a price: what is wanted is the
        receipt, if there is one.

        Returns whether the matter is closed: answered, or refused for a reason that more sending will not change.

        Raises:
            PeerRefused: the owner wants nothing for a while (429, 503); it may have the receipt nevertheless.

        """
        sent = AskMessage(unanswered.ask, unanswered.ask_signature, unanswered.elements)
        ask = Ask.from_json(sent.ask)
        if self._now() - ask.asked_at < self._resend_after:
            return False
        try:
            data = await self._transport.evaluate(unanswered.owner, sent.to_bytes(), self._timeout)
            kept = self.verified(ask, sent, data, salt=unanswered.salt, late=True)
            await self._kept.keep_receipts([kept])
        except PeerRefused as error:
            if error.status in _BUSY:
                raise
            # The owner looks a batch up before it refuses: a refusal says that it has kept no receipt of it, and
            # one of an ask so old, that it never will.
            return error.status in _FINAL and self._now() - ask.asked_at >= TOO_OLD
        except (PeerError, StoreError):
            return False
        return True

    async def close(self) -> None:
        """Ask nothing more; wait for asks on their way, bounded by their timeout; then keep what came."""
        self._closed = True
        for (owner, _, _), lane in self._lanes.items():
            _fail(lane.waiting, self._not_asked(owner))
            lane.waiting.clear()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._timeout)
        stopped = set(self._tasks)
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        await self.settle()


def _first(snapshots: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """As many snapshots as an ask may name."""
    if len(snapshots) <= MAX_SNAPSHOTS:
        return snapshots
    return {name: snapshots[name] for name in sorted(snapshots)[:MAX_SNAPSHOTS]}


def _share(tickets: Sequence[Ticket], batch: Batch) -> None:
    assert batch.kept is not None
    evaluated = batch.kept.evaluated
    for ticket in tickets:
        start = ticket.position * ELEMENT_BYTES
        ticket.answer(evaluated[start : start + ELEMENT_BYTES])


def _fail(tickets: Iterable[Ticket], failure: AskFailed) -> None:
    for ticket in tickets:
        ticket.fail(failure)
