"""Statements in files: `network.json` and `join.json`.

Such a file is the canonical JSON (RFC 8785) of `{"statement": {…}, "signatures": [{"key": hex,
"signature": hex}, …]}`, the signatures sorted by key. What is signed are the bytes of every signed
statement: kind, network, canonical JSON. The same bytes travel on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riskshare.encoding import canonical_json, parse_canonical_json, parse_hex, sha256
from riskshare.errors import EncodingError
from riskshare.signature import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, verify
from riskshare.statement import signed_bytes

MAX_SIGNATURES = 64


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
        wanted = frozenset(among)
        message = signed_bytes(self.kind, self.network, self.json)
        return frozenset(key for key, made in self.signatures if key in wanted and verify(key, message, made))

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        signatures = [{"key": key.hex(), "signature": made.hex()} for key, made in sorted(self.signatures)]
        return canonical_json({"statement": dict(self.body), "signatures": signatures})

    def signed_by(self, keys: Iterable[SigningKey]) -> SignedFile:
        """Return the same statement with the signatures of `keys` added."""
        message = signed_bytes(self.kind, self.network, self.json)
        made = dict(self.signatures) | {key.public: key.sign(message) for key in keys}
        return SignedFile(self.kind, self.network, self.json, self.body, tuple(sorted(made.items())))


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
    whole = parse_canonical_json(data, limit=limit)
    body, signatures = whole.get("statement"), whole.get("signatures")
    if set(whole) != {"statement", "signatures"} or type(body) is not dict or type(signatures) is not list:
        raise EncodingError('The file is not {"signatures": […], "statement": {…}}.')
    network = body.get("network")
    if type(network) is not str:
        raise EncodingError("The statement does not name its network.")
    if len(signatures) > MAX_SIGNATURES:
        raise EncodingError(f"The file has more than {MAX_SIGNATURES} signatures.")
    pairs = tuple(_pair(item) for item in signatures)
    keys = [key for key, _ in pairs]
    if keys != sorted(set(keys)):
        raise EncodingError("The file's signatures are not sorted by key, each key once.")
    return SignedFile(kind, network, canonical_json(body), body, pairs)


def _pair(item: object) -> tuple[bytes, bytes]:
    if type(item) is not dict or set(item) != {"key", "signature"}:
        raise EncodingError("A signature in the file has another form than key and signature.")
    return parse_hex(item["key"], PUBLIC_BYTES), parse_hex(item["signature"], SIGNATURE_BYTES)
