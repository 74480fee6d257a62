"""Every message of an exchange, and the paths on which they travel.

An ask and an answer travel as CBOR maps over `POST /peer/v1/evaluate`:

    {"ask": JSON, "signature": 64 bytes, "elements": 32·n bytes}
    {"answer": JSON, "signature": 64 bytes, "elements": 32·n bytes, "proof": 64 bytes or absent}

Both JSON parts are signed statements of the kinds `ask` and `answer`. They commit to the
elements by their Merkle root (RFC 6962), so that 32 bytes stand for the batch in a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from riskshare.encoding import (
    MAX_SAFE_INTEGER,
    canonical_json,
    cbor_byte_strings,
    cbor_decode,
    format_time,
    measure_byte_strings,
    parse_canonical_json,
    parse_hex,
    parse_time,
)
from riskshare.errors import EncodingError, InputError
from riskshare.names import check_local_list_name
from riskshare.signature import SIGNATURE_BYTES

EVALUATE = "/peer/v1/evaluate"
LISTS = "/peer/v1/lists"
SNAPSHOT = "/peer/v1/snapshots/{list}/{epoch}"
SNAPSHOT_VERSION = "/peer/v1/snapshots/{list}/{epoch}/{version}"
SNAPSHOT_NAMED = "/peer/v1/snapshots/{list}/named/{digest}"
EPOCH = "/peer/v1/epochs/{digest}"
SEGMENT = "/peer/v1/segments/{digest}"
RECEIPTS = "/peer/v1/receipts"
REGISTRY = "/peer/v1/registry/{version}"

ELEMENT_BYTES = 32
PROOF_BYTES = 64
MAX_ELEMENTS = 4096
"""Most elements in one ask."""

MAX_STATEMENT_BYTES = 64 * 1024
"""Longest ask or answer statement: an ask names at most `MAX_SNAPSHOTS` snapshots."""

MAX_SNAPSHOTS = 256
"""Most snapshots that an ask names; a querier that holds more of an owner's lists names the first by name."""

MAX_ASK_BYTES = 2 * MAX_ELEMENTS * ELEMENT_BYTES + MAX_STATEMENT_BYTES
"""Longest body that is parsed at all: twice the element limit, so that one over it gets its own refusal."""

MAX_ANSWER_BYTES = MAX_ELEMENTS * ELEMENT_BYTES + MAX_STATEMENT_BYTES

PURPOSES = ("payment", "account_opening", "withdrawal", "marketing", "portfolio", "audit")
CLOCK_TOLERANCE_SECONDS = 60

LONGEST_IN_PARTS = 8 * 1024
"""Longest ask of another member of which is remembered what it has in common with others: 80 snapshots."""

_OWN_KEYS = frozenset({"asked_at", "batch", "count", "elements"})
_TERM_KEYS = frozenset({"epoch", "network", "owner", "proof", "purpose", "querier", "registry", "snapshots"})
_OWN = re.compile(
    rb'\{"asked_at":"([-0-9:.TZ]{24})","batch":"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"'
    rb',"count":([1-9][0-9]{0,15}),"elements":"([0-9a-f]{64})"(?=,)'
)
"""How an ask begins, with what is its own: in canonical JSON it stands before all that many asks have in common.

Where it fits, only the time and the count can be wrong still; what it does not fit is read in full, to say what is.
"""

_ANSWER = re.compile(rb'\{"answered_at":"([-0-9:.TZ]{24})","ask":"([0-9a-f]{64})","elements":"([0-9a-f]{64})"\}')
_ANSWER_KEYS = frozenset({"answered_at", "ask", "elements"})
_ASK_PARTS = frozenset({"ask", "signature", "elements"})
_ANSWER_PARTS = frozenset({"answer", "signature", "elements"})
_MAX_WORD = 256


@dataclass(frozen=True, slots=True)
class Ask:
    """The body of an ask statement.

    `epoch` is the digest of the epoch statement; `elements` the Merkle root of the blinded elements;
    `snapshots` maps the full names of the owner's lists that the querier holds to the digests of their snapshots.
    """

    batch: UUID
    network: str
    registry: int
    querier: str
    owner: str
    epoch: bytes = field(repr=False)
    purpose: str
    count: int
    elements: bytes = field(repr=False)
    snapshots: Mapping[str, bytes] = field(repr=False)
    asked_at: datetime
    proof: bool = False

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        return {
            "asked_at": format_time(self.asked_at),
            "batch": str(self.batch),
            "count": self.count,
            "elements": self.elements.hex(),
            "epoch": self.epoch.hex(),
            "network": self.network,
            "owner": self.owner,
            "proof": self.proof,
            "purpose": self.purpose,
            "querier": self.querier,
            "registry": self.registry,
            "snapshots": {name: digest.hex() for name, digest in self.snapshots.items()},
        }

    def to_json(self) -> bytes:
        """The canonical JSON of `body`; what is the same in ask after ask is written once. Raises EncodingError."""
        return b'{"asked_at":"%b","batch":"%b","count":%b,"elements":"%b"%b' % (
            format_time(self.asked_at).encode(),
            str(self.batch).encode(),
            canonical_json(self.count),
            self.elements.hex().encode(),
            _terms_json(
                _Terms(
                    network=self.network,
                    registry=self.registry,
                    querier=self.querier,
                    owner=self.owner,
                    epoch=self.epoch,
                    purpose=self.purpose,
                    snapshots=tuple(self.snapshots.items()),
                    proof=self.proof,
                )
            ),
        )

    @classmethod
    def from_json(cls, data: bytes) -> Ask:
        """Read the JSON of an ask.

        Raises:
            EncodingError: not canonical, a field missing, unknown, or of another form.

        """
        own = _OWN.match(data)
        if own is None or len(data) > LONGEST_IN_PARTS:
            return _ask_in_full(data)
        asked_at, batch, count, elements = own.groups()
        return _ask(
            _read_terms(data[own.end() :]),
            batch=UUID(int=int(batch.replace(b"-", b""), 16)),
            count=_number({"count": int(count)}, "count"),
            elements=bytes.fromhex(elements.decode()),
            asked_at=parse_time(asked_at.decode()),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer statement.

    `ask` is the SHA-256 of the ask's JSON, `elements` the Merkle root of the evaluated elements.
    """

    ask: bytes = field(repr=False)
    elements: bytes = field(repr=False)
    answered_at: datetime

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        return {
            "answered_at": format_time(self.answered_at),
            "ask": self.ask.hex(),
            "elements": self.elements.hex(),
        }

    def to_json(self) -> bytes:
        """The canonical JSON of `body`."""
        return b'{"answered_at":"%b","ask":"%b","elements":"%b"}' % (
            format_time(self.answered_at).encode(),
            self.ask.hex().encode(),
            self.elements.hex().encode(),
        )

    @classmethod
    def from_json(cls, data: bytes) -> Answer:
        """Read the JSON of an answer.

        Raises:
            EncodingError: not canonical, a field missing, unknown, or of another form.

        """
        if (found := _ANSWER.fullmatch(data)) is not None:
            answered_at, ask, elements = found.groups()
            return cls(bytes.fromhex(ask.decode()), bytes.fromhex(elements.decode()), parse_time(answered_at.decode()))
        body = parse_canonical_json(data, limit=MAX_STATEMENT_BYTES)  # to say what is wrong with it
        if body.keys() != _ANSWER_KEYS:
            raise EncodingError("The answer has not exactly the fields of an answer.")
        return cls(
            ask=parse_hex(body["ask"], 32),
            elements=parse_hex(body["elements"], 32),
            answered_at=parse_time(body["answered_at"]),
        )


@dataclass(frozen=True, slots=True)
class AskMessage:
    """An ask as it travels: the signed JSON, its signature, the blinded elements (32·n bytes)."""

    ask: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    elements: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        return cbor_byte_strings({"ask": self.ask, "signature": self.signature, "elements": self.elements})

    @classmethod
    def from_bytes(cls, data: bytes) -> AskMessage:
        """Read the CBOR map. Raises EncodingError for any other form."""
        parts = _parts(data, _ASK_PARTS, _ASK_PARTS, limit=MAX_ASK_BYTES)
        return cls(parts["ask"], parts["signature"], parts["elements"])


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """An answer as it travels; `proof` is 64 bytes, or b"" where none was asked for."""

    answer: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    elements: bytes = field(repr=False)
    proof: bytes = field(default=b"", repr=False)

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        parts = {"answer": self.answer, "signature": self.signature, "elements": self.elements}
        if self.proof:
            parts["proof"] = self.proof
        return cbor_byte_strings(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> AnswerMessage:
        """Read the CBOR map. Raises EncodingError for any other form."""
        parts = _parts(data, _ANSWER_PARTS, _ANSWER_PARTS | {"proof"}, limit=MAX_ANSWER_BYTES)
        proof = parts.get("proof", b"")
        if "proof" in parts and len(proof) != PROOF_BYTES:
            raise EncodingError("The answer's proof is not 64 bytes.")
        return cls(parts["answer"], parts["signature"], parts["elements"], proof)


def new_batch(milliseconds: int, random: bytes) -> UUID:
    """A UUIDv7 (RFC 9562 5.7) from Unix milliseconds and 10 random bytes.

    Raises:
        ValueError: not 10 bytes, or a time before 1970 or after 10889.

    """
    if len(random) != 10 or not 0 <= milliseconds < 2**48:
        raise ValueError("a UUIDv7 is made of 48 bits of time and 10 random bytes")
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + random, "big")
    value &= ~(0xF000 << 64) & ~(0xC000 << 48)
    return UUID(int=value | (7 << 76) | (0b10 << 62))


def parse_batch(text: object) -> UUID:
    """Read a UUIDv7 in its canonical spelling. Raises EncodingError for anything else."""
    if isinstance(text, str) and len(text) == 36:
        try:
            batch = UUID(text)
        except ValueError:
            batch = None
        if batch is not None and batch.version == 7 and str(batch) == text:
            return batch
    raise EncodingError("A batch is not a UUIDv7 in canonical spelling.")


def _parts(data: bytes, names: frozenset[str], allowed: frozenset[str], *, limit: int) -> dict[str, bytes]:
    parts = cbor_decode(data, limit=limit, measure=measure_byte_strings)
    if type(parts) is not dict or not names <= parts.keys() <= allowed:
        raise EncodingError("The body is not the CBOR map that belongs here.")
    if len(parts["signature"]) != SIGNATURE_BYTES:
        raise EncodingError(f"The signature is not {SIGNATURE_BYTES} bytes.")
    return parts


class _Terms(NamedTuple):
    """What is the same in ask after ask; fields as in `Ask`."""

    network: str
    registry: int
    querier: str
    owner: str
    epoch: bytes
    purpose: str
    snapshots: tuple[tuple[str, bytes], ...]
    proof: bool


def _terms_of(body: Mapping[str, Any]) -> _Terms:
    if type(body["proof"]) is not bool:
        raise EncodingError("The ask's field proof is not true or false.")
    owner = _word(body, "owner")
    return _Terms(
        network=_word(body, "network"),
        registry=_number(body, "registry"),
        querier=_word(body, "querier"),
        owner=owner,
        epoch=parse_hex(body["epoch"], 32),
        purpose=_word(body, "purpose"),
        snapshots=_snapshots(body["snapshots"], owner),
        proof=body["proof"],
    )


@lru_cache(maxsize=256)
def _read_terms(text: bytes) -> _Terms:
    """Read the end of an ask, from the comma behind its own fields on; a brace for that makes canonical JSON of it."""
    body = parse_canonical_json(b"{" + text[1:], limit=LONGEST_IN_PARTS)
    if body.keys() != _TERM_KEYS:
        raise EncodingError("The ask has not exactly the fields of an ask.")
    return _terms_of(body)


@lru_cache(maxsize=64)
def _terms_json(terms: _Terms) -> bytes:
    """Write the same end."""
    snapshots = {name: digest.hex() for name, digest in terms.snapshots}
    return b"," + canonical_json({**terms._asdict(), "epoch": terms.epoch.hex(), "snapshots": snapshots})[1:]


def _ask_in_full(data: bytes) -> Ask:
    body = parse_canonical_json(data, limit=MAX_STATEMENT_BYTES)
    if body.keys() != _OWN_KEYS | _TERM_KEYS:
        raise EncodingError("The ask has not exactly the fields of an ask.")
    return _ask(
        _terms_of(body),
        batch=parse_batch(body["batch"]),
        count=_number(body, "count"),
        elements=parse_hex(body["elements"], 32),
        asked_at=parse_time(body["asked_at"]),
    )


def _ask(terms: _Terms, *, batch: UUID, count: int, elements: bytes, asked_at: datetime) -> Ask:
    return Ask(
        batch=batch,
        network=terms.network,
        registry=terms.registry,
        querier=terms.querier,
        owner=terms.owner,
        epoch=terms.epoch,
        purpose=terms.purpose,
        count=count,
        elements=elements,
        snapshots=dict(terms.snapshots),
        asked_at=asked_at,
        proof=terms.proof,
    )


def _snapshots(value: object, owner: str) -> tuple[tuple[str, bytes], ...]:
    if type(value) is not dict or len(value) > MAX_SNAPSHOTS:
        raise EncodingError(f"The ask's snapshots are not an object of at most {MAX_SNAPSHOTS} names.")
    prefix = f"{owner}/"
    try:
        for name in value:
            if not name.startswith(prefix):
                raise EncodingError("The ask names a snapshot of another owner's list.")
            check_local_list_name(name[len(prefix) :])
    except InputError as error:
        raise EncodingError("The ask names a snapshot of something that is no list of the owner.") from error
    return tuple((name, parse_hex(digest, 32)) for name, digest in value.items())


def _word(body: Mapping[str, Any], name: str) -> str:
    value = body[name]
    if type(value) is not str or not 0 < len(value) <= _MAX_WORD:
        raise EncodingError(f"The field {name} is not a text of 1 to {_MAX_WORD} characters.")
    return value


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body[name]
    if type(value) is not int or not 0 < value <= MAX_SAFE_INTEGER:
        raise EncodingError(f"The field {name} is not a positive integer.")
    return value
