"""Statements in files: `network.json` and `join.json`.

Such a file is the canonical JSON (RFC 8785) of `{"statement": {…}, "signatures": [{"key": hex,
"signature": hex}, …]}`, the signatures sorted by key. What is signed are the bytes of every signed
statement: kind, network, canonical JSON. The same bytes travel on the wire.

The form is fixed up to the statement's first byte, so its signed bytes are found without reading JSON: `split_file`
cuts them out, and whoever knows which keys must have signed verifies that before the statement is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riskshare.encoding import canonical_json, parse_canonical_json, sha256
from riskshare.errors import EncodingError
from riskshare.signature import SigningKey, verify
from riskshare.statement import signed_bytes

MAX_SIGNATURES = 64

_BEGIN = b'{"signatures":['
_MIDDLE = b'],"statement":'
_SIGNATURE = rb'\{"key":"([0-9a-f]{64})","signature":"([0-9a-f]{128})"\}'
_PAIR = re.compile(_SIGNATURE)
_PAIRS = re.compile(rb"(?:" + _SIGNATURE + rb"(?:," + _SIGNATURE + rb")*)?")


@dataclass(frozen=True, slots=True)
class SplitFile:
    """Such a file, cut in two: `json` are the statement's bytes, which nobody has looked into."""

    json: bytes = field(repr=False)
    signatures: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the statement's bytes, 32 bytes."""
        return sha256(self.json)

    def signers(self, kind: str, network: str, among: Iterable[bytes]) -> frozenset[bytes]:
        """Those keys of `among` whose signature of a statement of that kind in that network is here and holds."""
        wanted = frozenset(among)
        message = signed_bytes(kind, network, self.json)
        return frozenset(key for key, made in self.signatures if key in wanted and verify(key, message, made))

    def read(self, kind: str) -> SignedFile:
        """Parse the statement.

        Raises:
            EncodingError: it is not canonical, or does not name its network.

        """
        body = parse_canonical_json(self.json, limit=len(self.json))
        network = body.get("network")
        if type(network) is not str:
            raise EncodingError("The statement does not name its network.")
        return SignedFile(kind, network, self.json, body, self.signatures)


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A statement with the signatures of several keys.

    `json` are the signed bytes, `body` the same parsed (treat it as read-only), `signatures`
    pairs of a 32-byte public key and a 64-byte signature, not verified yet.
    """

    kind: str
    network: str
    json: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False, compare=False)
    signatures: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the statement's JSON, 32 bytes: its name, whoever signed it."""
        return sha256(self.json)

    def signers(self, among: Iterable[bytes]) -> frozenset[bytes]:
        """Those keys of `among` whose signature is here and holds."""
        return SplitFile(self.json, self.signatures).signers(self.kind, self.network, among)

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        pairs = [b'{"key":"%b","signature":"%b"}' % (_hex(key), _hex(made)) for key, made in sorted(self.signatures)]
        return b"".join((_BEGIN, b",".join(pairs), _MIDDLE, self.json, b"}"))

    def signed_by(self, keys: Iterable[SigningKey]) -> SignedFile:
        """Return the same statement with the signatures of `keys` added."""
        message = signed_bytes(self.kind, self.network, self.json)
        made = dict(self.signatures) | {key.public: key.sign(message) for key in keys}
        return SignedFile(self.kind, self.network, self.json, self.body, tuple(sorted(made.items())))


def _hex(data: bytes) -> bytes:
    return data.hex().encode()


def sign_file(kind: str, network: str, body: Mapping[str, Any], keys: Iterable[SigningKey]) -> SignedFile:
    """Sign `body` with each of `keys`.

    Raises:
        EncodingError: the body has no canonical JSON form.

    """
    return SignedFile(kind, network, canonical_json(dict(body)), body, ()).signed_by(keys)


def read_file(kind: str, data: bytes, *, limit: int) -> SignedFile:
    """Read the form of such a file, of at most `limit` bytes. No signature is verified.

    Raises:
        EncodingError: too long, not canonical, or of another form.

    """
    return split_file(data, limit=limit).read(kind)


def split_file(data: bytes, *, limit: int) -> SplitFile:
    """Cut such a file, of at most `limit` bytes, into statement and signatures. Neither is verified.

    Raises:
        EncodingError: too long, or of another form.

    """
    if len(data) > limit:
        raise EncodingError(f"The file is longer than the {limit} bytes allowed.")
    middle = data.find(_MIDDLE)
    if middle < 0 or not data.startswith(_BEGIN) or not data.endswith(b"}}"):
        raise _malformed()
    signatures = data[len(_BEGIN) : middle]
    if signatures.count(b"{") > MAX_SIGNATURES:
        raise EncodingError(f"The file has more than {MAX_SIGNATURES} signatures.")
    if _PAIRS.fullmatch(signatures) is None:
        raise _malformed()
    pairs = tuple(
        (bytes.fromhex(key.decode()), bytes.fromhex(made.decode())) for key, made in _PAIR.findall(signatures)
    )
    keys = [key for key, _ in pairs]
    if keys != sorted(set(keys)):
        raise EncodingError("The file's signatures are not sorted by key, each key once.")
    return SplitFile(data[middle + len(_MIDDLE) : -1], pairs)


def _malformed() -> EncodingError:
    return EncodingError(
        'The file is not {"signatures":[{"key":…,"signature":…},…],"statement":{…}} in canonical form (RFC 8785).'
    )
