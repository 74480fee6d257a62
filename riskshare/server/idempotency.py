"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a retried check is answered from what was kept.

The response is kept in the same commit as the check: there is never one without the other. What is kept tells
nothing to who reads the database: key and request are digested with a secret, the response is
sealed with AES-256-GCM.

    400 idempotency_key_malformed    not a structured-field string of 1 to 255 characters (RFC 9651 3.3.3)
    409 idempotency_key_in_use       the first request with this key is still being worked on
    422 idempotency_key_reused       the key was used for another request

Each check of a request of many has a claim of its own (`place`), so that a retry repeats only those that had
no verdict.

A payment waits meanwhile, so the store has `STORE_SECONDS`, as a check's commit has: what it says later is not waited
for, and a claim that it grants then is freed. What nobody waits for any more is bounded, in number (`MOST_LATE`) and in
time (`FREE_SECONDS`): a store that hangs for long is left alone.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from riskshare.encoding import length_prefixed
from riskshare.errors import IdempotencyError, OpenError, StoreError

NONCE_BYTES: Final = 12

STORE_SECONDS = 2.0
"""How long a request waits for its claim, and for the end of one."""

FREE_SECONDS = 20.0
"""So long after a claim was made it is freed, and not later. The store lets others take it over after 30 seconds, and
whatever was sent to PostgreSQL has ended by then: it frees nobody else's claim."""

MOST_LATE = 256
"""So many things may go on that nobody waits for. Beyond that no claim is tried for: the store does not answer."""

KeptReply = tuple[str, bytes, bytes, bytes]
"""Id of the API key, digest of the Idempotency-Key, digest of the request (32 bytes each), the sealed response.

What `Checker.check(…, reply=…)` hands to the store.
"""

# The draft asks for a quoted string; many clients send the bare UUID, which can mean nothing else.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,255}")
_ESCAPED: Final = re.compile(r"\\(.)")


class Replies(Protocol):
    """The store of responses."""

    async def begin(self, api_key: str, key_digest: bytes, request_digest: bytes) -> bytes | None:
        """Claim a key for a request; give the sealed response if that request was answered before.

        Raises:
            IdempotencyError: `idempotency_key_in_use`, `idempotency_key_reused`.

        """

    async def give_up(self, api_key: str, key_digest: bytes) -> None:
        """Free a claim whose request failed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One use of an Idempotency-Key. Both digests are keyed, 32 bytes."""

    api_key: str
    key_digest: bytes = field(repr=False)
    request_digest: bytes = field(repr=False)
    made_at: float = field(default_factory=monotonic, compare=False, repr=False)

    @property
    def seconds_left(self) -> float:
        """How long it may still be freed."""
        return max(0.0, self.made_at + FREE_SECONDS - monotonic())


def read_key(header: str) -> str:
    """Read the header's value.

    Raises:
        IdempotencyError: `idempotency_key_malformed`.

    """
    text = header.strip(" \t")
    if (quoted := _QUOTED.fullmatch(text)) is not None:
        return _ESCAPED.sub(r"\1", quoted[1])
    if _BARE.fullmatch(text) is None:
        raise IdempotencyError(
            'The Idempotency-Key is not a quoted text of 1 to 255 characters, such as "8e03978e-40d5-43dd-bc93".',
            code="idempotency_key_malformed",
        )
    return text


class Idempotency:
    """Claims, and responses sealed under a key derived from `secret`, the member's data key (32 bytes)."""

    def __init__(self, replies: Replies, secret: bytes, random: Callable[[int], bytes]) -> None:
        self._replies = replies
        self._random = random
        self._digest_key, self._seal_key = derive_keys(secret)
        self._late: set[asyncio.Future[None]] = set()

    def claim(self, api_key: str, key: str, request: bytes, place: int = 0) -> Claim:
        """Make the claim for a request (its canonical bytes), or for the check at `place` in it."""
        where = str(place).encode()
        return Claim(
            api_key,
            self._digest(b"key", api_key.encode(), key.encode(), where),
            self._digest(b"request", request, where),
        )

    def _digest(self, *parts: bytes) -> bytes:
        return hmac.digest(self._digest_key, length_prefixed(*parts), "sha256")

    async def begin(self, claim: Claim) -> bytes | None:
        """Claim the key; give the response if the request was answered before.

        Raises:
            IdempotencyError: `idempotency_key_in_use`, `idempotency_key_reused`.
            StoreError: PostgreSQL is away, or did not answer in time; the claim is free, or soon will be.
            OpenError: the response was sealed under another data key.

        """
        if len(self._late) >= MOST_LATE:
            raise StoreError("PostgreSQL has not answered for some time, so nothing was done. Repeat it later.")
        beginning = asyncio.ensure_future(self._replies.begin(claim.api_key, claim.key_digest, claim.request_digest))
        try:
            async with asyncio.timeout(STORE_SECONDS):
                sealed = await asyncio.shield(beginning)
        except (TimeoutError, asyncio.CancelledError) as error:
            self._beside(asyncio.ensure_future(self._free_late(claim, beginning)))
            if isinstance(error, asyncio.CancelledError):
                raise
            raise StoreError(
                "PostgreSQL did not say in time whether this request was made before, so nothing was done. Repeat it."
            ) from None
        return None if sealed is None else open_response(self._seal_key, claim, sealed)

    def kept(self, claim: Claim, response: bytes) -> KeptReply:
        """What is kept of a response."""
        sealed = seal_response(self._seal_key, claim, response, self._random(NONCE_BYTES))
        return claim.api_key, claim.key_digest, claim.request_digest, sealed

    async def give_up(self, claim: Claim) -> None:
        """Free the claim of a request that failed. If the store is away, it frees itself after a while."""
        freeing = asyncio.ensure_future(self._free(claim))
        try:
            await asyncio.wait([freeing], timeout=STORE_SECONDS)
        finally:
            self._beside(freeing)

    async def _free(self, claim: Claim) -> None:
        left = claim.seconds_left
        if not left:
            return
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(left):
                await self._replies.give_up(claim.api_key, claim.key_digest)

    async def _free_late(self, claim: Claim, beginning: asyncio.Future[bytes | None]) -> None:
        """Free a claim that is granted when nobody waits for it any more."""
        with suppress(StoreError, IdempotencyError, TimeoutError):
            async with asyncio.timeout(claim.seconds_left):
                granted = await beginning is None
            if granted:
                await self._free(claim)

    def _beside(self, task: asyncio.Future[None]) -> None:
        """Let something go on that nobody waits for any more."""
        if not task.done():
            self._late.add(task)
            task.add_done_callback(self._late.discard)


def derive_keys(secret: bytes) -> tuple[bytes, bytes]:
    """The key for digests and the key for sealing, 32 bytes each (HKDF-SHA256, RFC 5869)."""
    both = HKDF(SHA256(), 64, salt=None, info=b"riskshare/v1/idempotency").derive(secret)
    return both[:32], both[32:]


def _additional_data(claim: Claim) -> bytes:
    return length_prefixed(b"riskshare/v1/idempotency", claim.api_key.encode(), claim.key_digest, claim.request_digest)


def seal_response(key: bytes, claim: Claim, response: bytes, nonce: bytes) -> bytes:
    """Seal a response: nonce (12 bytes, fresh and random) ‖ AES-256-GCM ciphertext ‖ tag."""
    return nonce + AESGCM(key).encrypt(nonce, response, _additional_data(claim))


def open_response(key: bytes, claim: Claim, sealed: bytes) -> bytes:
    """Open what `seal_response` sealed.

    Raises:
        OpenError: another key or claim, or altered bytes.

    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _additional_data(claim))
    except (InvalidTag, ValueError) as error:
        raise OpenError("A kept response does not open: another data key, or altered bytes.") from error
