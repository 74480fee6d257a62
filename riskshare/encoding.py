"""Canonical bytes: the one way in which riskshare writes and reads structured data.

Whatever is signed, hashed or compared goes through here. Every parser is strict:
what does not print back to the same bytes is refused, so that two different byte
strings never mean the same thing.

* JSON: canonical form of RFC 8785 (JCS), restricted to strings, integers of at most
  2^53 - 1, booleans, null, lists and objects with ASCII keys. No floats.
* CBOR: core deterministic encoding of RFC 8949 4.2.1, restricted in the same way, and with byte
  strings. No floats, no tags.
* Times: RFC 3339 in UTC with milliseconds, e.g. `2026-11-22T08:30:00.000Z`.
* Digests and keys: lower-case hex.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import cbor2
import orjson

from riskshare.errors import EncodingError

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader keeps exact (RFC 7493 2.2)."""

MAX_DEPTH = 32
"""Deepest nesting that a parser accepts; our own messages need six."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_NOT_JSON = "The text is not valid JSON in UTF-8."
_NOT_ASCII = "A key is not ASCII text."
_JSON: frozenset[type] = frozenset({str, bool, type(None)})
_CBOR: frozenset[type] = _JSON | {bytes}
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_BYTES, _TEXT, _LIST, _MAP = 0x40, 0x60, 0x80, 0xA0  # major types of CBOR, RFC 8949 3.1


def canonical_json(value: object) -> bytes:
    """Encode `value` in the canonical form of RFC 8785.

    For the values that `_check` lets through, orjson with sorted ASCII keys prints exactly what
    RFC 8785 asks, ten times as fast as others; a test holds it against the `rfc8785` package.

    Raises:
        EncodingError: a float, an integer beyond 2^53 - 1, a non-ASCII key, a lone
            surrogate, or a type that JSON does not know.

    """
    _check(value, _JSON, 0)
    return _print_json(value)


def _print_json(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise EncodingError("The text has a lone surrogate and cannot be written as UTF-8.") from error


def _check(value: object, scalars: frozenset[type], depth: int) -> None:
    """Raise EncodingError unless `value` is made of `scalars`, safe integers, lists and maps with ASCII keys."""
    kind = type(value)
    if kind in scalars:
        return
    if kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:  # type: ignore[operator]
            raise EncodingError("An integer is beyond 2^53 - 1.")
        return
    if depth == MAX_DEPTH:
        raise EncodingError(f"A value is nested deeper than {MAX_DEPTH} levels.")
    if kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str or not key.isascii():
                raise EncodingError(_NOT_ASCII)
            _check(item, scalars, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:  # type: ignore[attr-defined]
            _check(item, scalars, depth + 1)
    else:
        raise EncodingError(f"A value of type {kind.__name__} has no canonical form.")


def _refuse_number(_text: str) -> object:
    raise EncodingError("JSON holds a number that is not a plain integer.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise EncodingError("A JSON object names a key twice.")
    return found


_load = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_refuse_number, parse_constant=_refuse_number).decode


def _bound_json(data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise EncodingError(f"JSON is longer than the {limit} bytes allowed here.")


def parse_json(data: bytes, *, limit: int) -> Any:
    """Read JSON of at most `limit` bytes; duplicate keys and floats are refused.

    Raises:
        EncodingError: too long, not UTF-8, not JSON, or outside the restricted form.

    """
    _bound_json(data, limit)
    try:
        value = _load(data.decode("utf-8"))
    except EncodingError:
        raise
    except (ValueError, RecursionError) as error:
        raise EncodingError(_NOT_JSON) from error
    _check(value, _JSON, 0)
    if b"\\u" in data:  # only an escape can bring in a lone surrogate
        _print_json(value)
    return value


def check_keys(data: bytes) -> None:
    """Refuse a JSON text in which an object names a key twice: of two readers each may see another value (RFC 8259, 4).

    Nothing is said of what is no JSON: that is for whoever reads the text.

    Raises:
        EncodingError: a key stands twice.

    """
    try:
        json.loads(data, object_pairs_hook=_unique)
    except EncodingError:
        raise
    except (ValueError, RecursionError):
        return


def parse_canonical_json(data: bytes, *, limit: int) -> dict[str, Any]:
    """Read a JSON object that must print back to the same bytes (RFC 8785).

    A key that is named twice does not: the last one counts, and is printed once.

    Raises:
        EncodingError: as `parse_json`; not an object; or not in canonical form.

    """
    _bound_json(data, limit)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise EncodingError(_NOT_JSON) from error
    if type(value) is not dict:
        raise EncodingError("The JSON text is not an object.")
    if canonical_json(value) != data:
        raise EncodingError("The JSON text is not in canonical form (RFC 8785).")
    return value


class _NoTags(dict[int, Callable[[Any, bool], Any]]):
    """Answers for every tag number with a refusal.

    Tags could build shared references, which grow exponentially when they are printed.
    """

    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag


def _refuse_tag(_value: Any, _immutable: bool) -> Any:
    raise EncodingError("CBOR holds a tag.")


_NO_TAGS = _NoTags()


def cbor_encode(value: object) -> bytes:
    """Encode `value` in deterministic CBOR (RFC 8949 4.2.1).

    With text keys only, the order of `cbor2` (shorter first, then bytewise: RFC 8949
    4.2.3) is the bytewise order of 4.2.1, for the length stands in the encoding's first bytes.

    Raises:
        EncodingError: a float, an integer beyond 2^53 - 1, a key that is not ASCII text, a
            lone surrogate, or another type (a `bytearray` too).

    """
    _check(value, _CBOR, 0)
    try:
        return cbor2.dumps(value, canonical=True)
    except UnicodeEncodeError as error:
        raise EncodingError("The text has a lone surrogate and cannot be written as UTF-8.") from error


def cbor_encode_ordered(value: object) -> bytes:
    """Encode as `cbor_encode` does a value of its form whose maps are in deterministic order already (`cbor_order`).

    Neither is looked at. For what is written while a payment waits: to find the order takes most of the time.
    """
    return cbor2.dumps(value)


def cbor_order(word: str) -> tuple[int, str]:
    """What the keys of a map, ASCII words, are sorted by in deterministic CBOR (RFC 8949 4.2.1)."""
    return len(word), word


def cbor_decode(data: bytes, *, limit: int, measure: Callable[[Any], int] | None = None) -> Any:
    """Read deterministic CBOR of at most `limit` bytes, with nothing behind it.

    `measure` is for whoever reads large values of one form by the million. It must look at the exact type of every part
    and at the order of keys, raise EncodingError, and give the length of the value in deterministic CBOR: of all
    encodings only that one is as short (`cbor_head`), so that it need not be written again.

    Raises:
        EncodingError: too long, malformed, trailing bytes, not deterministic, or outside
            the restricted form.

    """
    if len(data) > limit:
        raise EncodingError(f"CBOR is longer than the {limit} bytes allowed here.")
    try:
        value = cbor2.loads(data, semantic_decoders=_NO_TAGS, max_depth=MAX_DEPTH, allow_indefinite=False)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise EncodingError("The bytes are not valid CBOR.") from error
    if (cbor_encode(value) != data) if measure is None else (measure(value) != len(data)):
        raise EncodingError("The bytes are not deterministic CBOR (RFC 8949 4.2.1).")
    return value


def cbor_byte_strings(parts: list[bytes] | dict[str, bytes]) -> bytes:
    """Encode a list of byte strings, or a map of such by ASCII words, as `cbor_encode` does.

    Every message of an exchange has this form and is written while a payment waits. After a process has slept, what
    costs is not the work but the memory that it touches: `cbor2` a twentieth of a millisecond more than this.

    Raises:
        EncodingError: a word is not ASCII, a part not of the type `bytes`.

    """
    if isinstance(parts, dict):
        written = [_head_of(_MAP, len(parts))]
        for word, named in _words(tuple(parts)):
            part = parts[word]
            written += named, _head_of_bytes(part), part
    else:
        written = [_head_of(_LIST, len(parts))]
        for part in parts:
            written += _head_of_bytes(part), part
    return b"".join(written)


@lru_cache(maxsize=64)
def _words(words: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    """Words in the order of CBOR's maps, each with its encoding. Raises EncodingError: one is not ASCII."""
    if not all(map(str.isascii, words)):
        raise EncodingError(_NOT_ASCII)
    return tuple((word, _head_of(_TEXT, len(word)) + word.encode()) for word in sorted(words, key=cbor_order))


def measure_byte_strings(parts: Any) -> int:
    """The length of what `cbor_byte_strings` writes, for `cbor_decode`. Raises EncodingError for any other value."""
    found: Iterable[object]
    if type(parts) is dict:
        length, before, found = cbor_head(len(parts)), (-1, ""), parts.values()
        for word in parts:
            if type(word) is not str or (place := (len(word), word)) <= before:  # `cbor_order`, here for its speed
                raise EncodingError("The bytes are not deterministic CBOR (RFC 8949 4.2.1).")
            if not word.isascii():
                raise EncodingError(_NOT_ASCII)
            before = place
            length += cbor_head(len(word)) + len(word)
    elif type(parts) is list:
        length, found = cbor_head(len(parts)), parts
    else:
        raise EncodingError("The CBOR is neither a list nor a map.")
    for part in found:
        if type(part) is not bytes:
            raise EncodingError("A part of the CBOR is not a byte string.")
        length += cbor_head(len(part)) + len(part)
    return length


def _head_of_bytes(part: bytes) -> bytes:
    if type(part) is not bytes:
        raise EncodingError(f"A value of type {type(part).__name__} is no byte string.")
    return _head_of(_BYTES, len(part))


def _head_of(major: int, number: int) -> bytes:
    """The shortest head of an item (RFC 8949 3)."""
    if number < 24:
        return bytes((major | number,))
    if number < 256:
        return bytes((major | 24, number))
    size = cbor_head(number) - 1
    return bytes((major | 23 + size.bit_length(),)) + number.to_bytes(size, "big")


def cbor_head(number: int) -> int:
    """Bytes of the shortest head of an item whose argument is `number` (RFC 8949 3): an integer, or a length."""
    return 1 if number < 24 else 2 if number < 256 else 3 if number < 65_536 else 5 if number < 2**32 else 9


def format_time(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds, rounded down.

    Raises:
        ValueError: `moment` has no time zone: a mistake in our own code.

    """
    if moment.tzinfo is None:
        raise ValueError("a time has no time zone")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: object) -> datetime:
    """Read what `format_time` writes, and nothing else.

    Raises:
        EncodingError: any other spelling, or no such moment.

    """
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        raise EncodingError("A time is not written as 2026-01-31T23:59:59.000Z.")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise EncodingError("A time names a moment that does not exist.") from error


def parse_hex(text: object, size: int) -> bytes:
    """Read exactly `size` bytes of lower-case hex.

    Raises:
        EncodingError: another length, upper case, or not hex.

    """
    if not isinstance(text, str) or len(text) != 2 * size or _HEX.fullmatch(text) is None:
        raise EncodingError(f"A value is not {size} bytes in lower-case hex.")
    return bytes.fromhex(text)


def base64_text(data: bytes) -> str:
    """Write bytes in base64 with padding (RFC 4648 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def parse_base64(text: object, *, limit: int) -> bytes:
    """Read base64 with padding, of at most `limit` bytes, in its one canonical spelling.

    Raises:
        EncodingError: white space, missing padding, stray bits, or too long.

    """
    if not isinstance(text, str) or len(text) > 4 * (limit // 3 + 1):
        raise EncodingError(f"A value is not base64 of at most {limit} bytes.")
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:
        raise EncodingError("A value is not valid base64.") from error
    if len(data) > limit or base64_text(data) != text:
        raise EncodingError("A value is not canonical base64.")
    return data


def length_prefixed(*parts: bytes) -> bytes:
    """Join parts, each behind its length in four big-endian bytes.

    The form of every additional-data string: no two lists of parts give the same bytes.
    """
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def pad(data: bytes, multiple: int) -> bytes:
    """Append 0x80, then zeros, up to a multiple of `multiple` bytes (ISO/IEC 7816-4)."""
    return data + b"\x80" + bytes(-(len(data) + 1) % multiple)


def unpad(data: bytes, multiple: int) -> bytes:
    """Take off what `pad` appended.

    Raises:
        EncodingError: the padding is not what `pad` writes.

    """
    body = data.rstrip(b"\x00")
    if len(data) % multiple or body[-1:] != b"\x80" or pad(body[:-1], multiple) != data:
        raise EncodingError("The padding is malformed.")
    return body[:-1]


HMAC_BLOCK: Final = 64
HMAC_INNER: Final = bytes(octet ^ 0x36 for octet in range(256))
HMAC_OUTER: Final = bytes(octet ^ 0x5C for octet in range(256))
"""What `bytes.translate` makes ipad and opad of a key with (RFC 2104, 2)."""


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Two blocks of 64 bytes: HMAC-SHA-256 of a message is SHA-256(outer, SHA-256(inner, message)) (RFC 2104, 2).

    For many messages under one key: `hmac.digest` looks for the algorithm again for each, longer than two hashes take.

    Raises:
        ValueError: the key is longer than a block, and would have to be hashed.

    """
    if len(key) > HMAC_BLOCK:
        raise ValueError("the key is longer than a block of SHA-256")
    block = key.ljust(HMAC_BLOCK, b"\0")
    return block.translate(HMAC_INNER), block.translate(HMAC_OUTER)


def sha256(data: bytes) -> bytes:
    """SHA-256 (FIPS 180-4), 32 bytes."""
    return hashlib.sha256(data).digest()
