"""The owner's half of an exchange: admit, meter, evaluate, keep the receipt, answer.

Order of durability: an answer leaves only after its receipt is durable. A crash before that
means that no answer left; a crash after it, that the querier gets the stored answer when it sends the
same bytes again, or adopts the receipt when it comes back. The owner learns how many elements, for
which purpose, from whom; each element is blinded and tells nothing else.

A batch is evaluated and metered once. Who sends the same bytes again while they are at work waits for the one
evaluation; afterwards the store answers, and nothing is evaluated for it.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import count as counter
from typing import NamedTuple, Protocol
from uuid import UUID

from riskshare.encoding import sha256
from riskshare.errors import AskRefused, EncodingError, GroupError, StoreError
from riskshare.ledger import merkle
from riskshare.ledger.receipt import KeptReceipt, Receipt
from riskshare.membership import oprf
from riskshare.query import admission
from riskshare.query.message import ELEMENT_BYTES, MAX_ELEMENTS, Answer, AnswerMessage, Ask, AskMessage
from riskshare.query.quota import LOOKUPS, Allowance, Limits, Quotas
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, signed_bytes

SMALL = 32
"""Asks of at most so many elements (one check's worth) go ahead of all larger ones."""

MOST_WAITING = 16 * MAX_ELEMENTS
"""Most elements of large asks that wait for a lane: some seconds of work. Beyond it an owner says so at once."""

FETCH_SECONDS = 5.0
"""How long an ask waits for a newer registry; nor is one looked for more often than that."""

MOST_LATELY = 65_536

Place = tuple[str, int]
"""Querier and batch, as a number: what Python hashes without a function of its own."""


class Members(Protocol):
    """The owner's current view of the registry."""

    network: str

    def version(self) -> int:
        """The registry version that this owner holds."""

    def expired(self, now: datetime) -> bool:
        """Whether that version has expired: then nothing new is answered."""

    async def fetch(self, version: int, first: str) -> None:
        """Try to get a registry of at least `version`, from that member first; return without it if that fails."""

    def asker(self, member: str, now: datetime) -> admission.Asker | None:
        """What the registry says of a member now, None if it knows none."""

    def limits(self, member: str) -> Limits:
        """The member's quotas."""


class EpochKeys(Protocol):
    """The owner's secret OPRF keys."""

    def served(self, epoch: bytes, member: str, now: datetime) -> oprf.SecretKey | None:
        """The key of the epoch with that digest if this member may have it evaluated now."""

    def allows(self, epoch: bytes, member: str, purpose: str, now: datetime) -> bool:
        """Whether this member may have it evaluated for that purpose, as far as the owner's grants say."""


class Receipts(Protocol):
    """The store of receipts, owner's side."""

    async def keep(self, kept: KeptReceipt) -> KeptReceipt:
        """Make a receipt durable; return it, or the one that stood there already for (counterparty, batch)."""

    async def find(self, counterparty: str, batch: UUID) -> KeptReceipt | None:
        """The receipt kept for a batch of a counterparty."""


class Evaluate(Protocol):
    """Group multiplication of a batch, spread over the cores."""

    def __call__(self, key: oprf.SecretKey, elements: bytes) -> Awaitable[bytes]:
        """Multiply each 32-byte element; raises GroupError for one that is none."""


class Clock(NamedTuple):
    """The clocks that the verb reads: wall time in UTC, and a monotonic one in seconds."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]


class Lanes:
    """Lets at most `width` large batches be evaluated at once, the smallest first.

    Small asks do not queue at all: a payment waits for each of them.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = counter()
        self._waiting = 0

    async def enter(self, size: int) -> None:
        """Wait for a lane for a batch of `size` elements; `leave` must follow.

        Raises:
            AskRefused: `overloaded`, more than `MOST_WAITING` elements would wait; nothing must follow then.

        """
        if self._free > 0:
            self._free -= 1
            return
        if self._waiting + size > MOST_WAITING:
            raise AskRefused("overloaded", "Too many large asks wait at this owner. Ask again later.", retry_after=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (size, next(self._order), turn))
        self._waiting += size
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise
        finally:
            self._waiting -= size

    def leave(self) -> None:
        """Give the lane to the smallest batch that waits."""
        while self._queue:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class _Lately:
    """Batches that this process evaluated lately, and whether each is accounted for.

    One that is not had its quota given back, because its receipt was not known to be durable. The memory saves
    evaluations that nobody would pay for; the store alone decides what was answered.
    """

    def __init__(self) -> None:
        self._batches: dict[Place, bool] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._batches

    def note(self, place: Place, *, accounted: bool) -> None:
        self._batches[place] = accounted
        if len(self._batches) > MOST_LATELY:
            del self._batches[next(iter(self._batches))]

    def account(self, place: Place) -> bool:
        """Note that a batch is accounted for; tell whether it was known not to be."""
        owed = self._batches.get(place) is False
        if owed:
            self._batches[place] = True
        return owed


class _Body:
    """The body of the answer to a batch. It can be written while its receipt is being made durable."""

    __slots__ = ("_kept", "_written")

    def __init__(self, kept: KeptReceipt) -> None:
        self._kept = kept
        self._written = b""

    def written(self) -> bytes:
        if not self._written:
            kept = self._kept
            message = AnswerMessage(kept.receipt.answer, kept.receipt.answer_signature, kept.evaluated, kept.proof)
            self._written = message.to_bytes()
        return self._written


class Answerer:
    """Answers asks for one owner."""

    def __init__(
        self,
        *,
        owner: str,
        identity: SigningKey,
        members: Members,
        keys: EpochKeys,
        quotas: Quotas,
        receipts: Receipts,
        evaluate: Evaluate,
        clock: Clock,
        random: Callable[[int], bytes],
        lanes: int = 2,
    ) -> None:
        self._owner = owner
        self._identity = identity
        self._members = members
        self._keys = keys
        self._quotas = quotas
        self._receipts = receipts
        self._evaluate = evaluate
        self._clock = clock
        self._random = random
        self._lanes = Lanes(lanes)
        self._lately = _Lately()
        self._lookups = Allowance(LOOKUPS)
        self._running: dict[Place, tuple[bytes, asyncio.Future[_Body]]] = {}
        self._fetching = asyncio.Lock()
        self._no_fetch_before = -math.inf

    async def answer(self, body: bytes, asker: str) -> tuple[bytes, int]:
        """Answer the ask in `body`, which came over a connection that `asker`'s certificate opened.

        Returns the body of the answer and the number of elements evaluated.

        Raises:
            AskRefused: the ask is not admitted, see `admission`; or the receipt could not be made
                durable (`store_unavailable`), so that no answer may leave.

        """
        try:
            message = AskMessage.from_bytes(body)
            ask = Ask.from_json(message.ask)
        except EncodingError as error:
            raise AskRefused("malformed", error.message) from error
        try:
            key = await self._admit(ask, message, asker)
            answer = await self._once(ask, message, key)
        except AskRefused as refusal:
            # Step 1 of admission, looked up only now: a fresh batch, nearly every one, then costs no read.
            answer = await self._stored(ask, message, asker, refusal)
        return answer.written(), ask.count

    async def _admit(self, ask: Ask, message: AskMessage, tls_member: str) -> oprf.SecretKey:
        """Steps 2 to 9 of admission, but for the quota."""
        now = self._clock.now()
        admission.check_form(ask, message, network=self._members.network, owner=self._owner, asker=tls_member)
        limits, monotonic = self._members.limits(ask.querier), self._clock.monotonic()
        beyond = admission.beyond(ask, self._quotas, limits, now=now, monotonic=monotonic)
        try:
            if beyond is None:
                admission.check_root(ask, message)
            key = await self._admit_member(ask, message, now)
            admission.check_elements_of(message, ask.count)
            if beyond is not None:
                raise beyond
        except AskRefused:
            if beyond is None:
                self._quotas.waste(ask.querier, ask.count)
            raise
        return key

    async def _admit_member(self, ask: Ask, message: AskMessage, now: datetime) -> oprf.SecretKey:
        """Steps 3 to 7."""
        if ask.registry > self._members.version():
            await self._catch_up(ask.registry, ask.querier)
        admission.check_registry(ask, self._members.version(), expired=self._members.expired(now))
        asker = admission.check_member(self._members.asker(ask.querier, now))
        # The signature is verified before, not beside, the evaluation: 40 µs here are less than a thread hop.
        admission.check_signature(message, ask.network, asker)
        admission.check_clock(ask, now)
        key = self._keys.served(ask.epoch, ask.querier, now)
        if key is None:
            raise admission.unknown_epoch()
        admission.check_purpose(ask, asker, granted=self._keys.allows(ask.epoch, ask.querier, ask.purpose, now))
        return key

    async def _catch_up(self, version: int, first: str) -> None:
        """Look for a newer registry, once for all who ask meanwhile: a member may name any number."""
        async with self._fetching:
            if version <= self._members.version() or self._clock.monotonic() < self._no_fetch_before:
                return
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    await self._members.fetch(version, first)
            except TimeoutError:
                return
            finally:
                if version > self._members.version():
                    self._no_fetch_before = self._clock.monotonic() + FETCH_SECONDS

    async def _once(self, ask: Ask, message: AskMessage, key: oprf.SecretKey) -> _Body:
        """Join the exchange of this batch if it is at work already; else take it from the store, or do it."""
        place, digest = _place(ask), sha256(message.ask)
        if (running := self._running.get(place)) is not None:
            self._quotas.waste(ask.querier, ask.count)
            if running[0] != digest:
                raise _conflict()
            return await asyncio.shield(running[1])
        outcome: asyncio.Future[_Body] = asyncio.get_running_loop().create_future()
        self._running[place] = digest, outcome
        try:
            answer = None
            if place in self._lately:
                self._quotas.waste(ask.querier, ask.count)
                answer = await self._known(ask, digest)
            if answer is None:
                answer = await self._exchange(ask, message, digest, key)
        except BaseException as error:
            outcome.set_exception(error if isinstance(error, AskRefused) else _given_up())
            outcome.exception()  # retrieved: nobody may have joined
            raise
        finally:
            del self._running[place]
        outcome.set_result(answer)
        return answer

    async def _exchange(self, ask: Ask, message: AskMessage, digest: bytes, key: oprf.SecretKey) -> _Body:
        """Meter, evaluate, sign, keep. The quota is spent on elements that turn out to be no points, too."""
        place, day = _place(ask), self._clock.now().date()
        limits = self._members.limits(ask.querier)
        self._quotas.take(ask.querier, ask.epoch, ask.count, limits, now=self._clock.monotonic(), day=day)
        try:
            evaluated, proof = await self._evaluated(key, message.elements, ask)
        except GroupError as error:
            raise admission.bad_element() from error
        except AskRefused:
            self._quotas.give_back(ask.querier, ask.epoch, ask.count, day=day)
            raise
        kept = self._sign(ask, message, digest, evaluated, proof)
        body = _Body(kept)
        # In the next turn of the loop but one: in the next, the receipt goes to PostgreSQL.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, body.written)
        try:
            stored = await self._receipts.keep(kept)
        except StoreError as error:
            self._quotas.give_back(ask.querier, ask.epoch, ask.count, day=day)
            self._lately.note(place, accounted=False)
            raise _not_durable(error) from error
        owed = self._lately.account(place)
        self._lately.note(place, accounted=True)
        if stored is kept:
            return body
        # Answered before: by another process of this owner, or "failed, but persisted", which is paid for now.
        same = _same_batch(stored, digest)
        if not owed:
            self._quotas.give_back(ask.querier, ask.epoch, ask.count, day=day)
        return _Body(same)

    async def _evaluated(self, key: oprf.SecretKey, elements: bytes, ask: Ask) -> tuple[bytes, bytes]:
        """The evaluated elements, and the proof or b""."""
        small = ask.count <= SMALL
        if not small:
            await self._lanes.enter(ask.count)
        try:
            evaluated = await self._evaluate(key, elements)
            return evaluated, await asyncio.to_thread(self._prove, key, elements, evaluated) if ask.proof else b""
        finally:
            if not small:
                self._lanes.leave()

    def _prove(self, key: oprf.SecretKey, elements: bytes, evaluated: bytes) -> bytes:
        nonce = oprf.scalar_from_random(self._random(64))
        return oprf.prove(key, _split(elements), _split(evaluated), nonce)

    def _sign(self, ask: Ask, message: AskMessage, digest: bytes, evaluated: bytes, proof: bytes) -> KeptReceipt:
        answer = Answer(ask=digest, elements=merkle.root_of(evaluated), answered_at=self._clock.now())
        json = answer.to_json()
        signature = self._identity.sign(signed_bytes("answer", ask.network, json))
        return KeptReceipt(
            side="owner",
            counterparty=ask.querier,
            batch=ask.batch,
            epoch=ask.epoch,
            count=ask.count,
            receipt=Receipt(message.ask, message.signature, json, signature),
            elements=message.elements,
            evaluated=evaluated,
            proof=proof,
            salt=self._random(SALT_BYTES),
        )

    async def _known(self, ask: Ask, digest: bytes) -> _Body | None:
        """The receipt of a batch that was answered before; pays for it if its quota was given back."""
        self._lookups.take(ask.querier, now=self._clock.monotonic())
        try:
            stored = await self._receipts.find(ask.querier, ask.batch)
        except StoreError as error:
            raise _not_durable(error) from error
        if stored is not None and self._lately.account(_place(ask)):
            self._quotas.account(ask.querier, stored.epoch, stored.count, day=self._clock.now().date())
        return None if stored is None else _Body(_same_batch(stored, digest))

    async def _stored(self, ask: Ask, message: AskMessage, asker: str, refusal: AskRefused) -> _Body:
        """Step 1 of admission: a batch that is known, whatever else is wrong with it now.

        A refusal tells the querier that no receipt of the batch is kept here. Where the store cannot say so,
        neither does the refusal: it is `store_unavailable`.
        """
        if ask.querier != asker or refusal.code in {"batch_conflict", "too_often"}:
            raise refusal
        stored = await self._known(ask, sha256(message.ask))
        if stored is None:
            raise refusal
        return stored


def _same_batch(stored: KeptReceipt, ask_digest: bytes) -> KeptReceipt:
    if stored.receipt.ask_digest != ask_digest:
        raise _conflict()
    return stored


def _conflict() -> AskRefused:
    return AskRefused("batch_conflict", "This batch was already used for another ask. Use a new batch.")


def _given_up() -> AskRefused:
    return AskRefused("overloaded", "The exchange was given up. Send the same bytes again.", retry_after=1.0)


def _not_durable(error: StoreError) -> AskRefused:
    code = "overloaded" if error.code == "overloaded" else "store_unavailable"
    return AskRefused(
        code,
        "The owner cannot reach its receipts and did not answer. Send the same bytes again.",
        retry_after=1.0,
    )


def _place(ask: Ask) -> Place:
    return ask.querier, ask.batch.int


def _split(elements: bytes) -> list[bytes]:
    return [elements[start : start + ELEMENT_BYTES] for start in range(0, len(elements), ELEMENT_BYTES)]
