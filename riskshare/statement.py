r"""Signed statements: canonical JSON (RFC 8785) under an Ed25519 signature.

The signed bytes are `riskshare/v1/<kind>\n<network>\n` followed by the JSON, so that
a statement of one kind or network is never taken for another. A statement is named by
its digest, the SHA-256 of its JSON.

On the wire a statement travels as the CBOR map `{"statement": JSON bytes,
"signature": 64 bytes}`, with `"salt": 16 bytes` where it has a leaf on its author's ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riskshare.encoding import canonical_json, cbor_decode, cbor_encode, parse_canonical_json, sha256
from riskshare.errors import EncodingError, TrustError
from riskshare.signature import SIGNATURE_BYTES, SigningKey, verify

KINDS = frozenset(
    {"registry", "join", "catalogue", "epoch", "snapshot", "ask", "answer", "check", "settlement", "audit"}
)
SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it was signed.

    `json` are the exact signed bytes, `body` the same parsed (treat it as read-only),
    `signature` 64 bytes, `salt` the 16 bytes that blind its ledger leaf or b"" if it has none.
    """

    kind: str
    network: str
    json: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False, compare=False)
    salt: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the JSON: the statement's name, 32 bytes."""
        return sha256(self.json)

    def wire(self) -> bytes:
        """The CBOR map in which the statement travels."""
        parts = {"statement": self.json, "signature": self.signature}
        if self.salt:
            parts["salt"] = self.salt
        return cbor_encode(parts)


def signed_bytes(kind: str, network: str, json: bytes) -> bytes:
    """What an Ed25519 signature of a statement covers."""
    return b"riskshare/v1/" + kind.encode() + b"\n" + network.encode() + b"\n" + json


def sign(kind: str, network: str, body: Mapping[str, Any], key: SigningKey, *, salt: bytes = b"") -> Statement:
    """Sign `body` as a statement of `kind`.

    Raises:
        EncodingError: the body has no canonical JSON form.

    """
    json = canonical_json(dict(body))
    return Statement(kind, network, json, key.sign(signed_bytes(kind, network, json)), body, salt)


def read(
    kind: str, network: str, json: bytes, signature: bytes, keys: Iterable[bytes], *, limit: int, salt: bytes = b""
) -> Statement:
    """Verify a statement under any of `keys` (32-byte public keys) and parse it.

    The signature is verified before the JSON is looked into.

    Raises:
        TrustError: code `bad_signature`, no key of `keys` made the signature.
        EncodingError: the JSON is longer than `limit` or not canonical.

    """
    if len(json) > limit:
        raise EncodingError(f"A {kind} statement is longer than the {limit} bytes allowed.")
    message = signed_bytes(kind, network, json)
    if not any(verify(key, message, signature) for key in keys):
        raise TrustError(f"The {kind} statement is not signed by a key that may sign it.", code="bad_signature")
    return Statement(kind, network, json, signature, parse_canonical_json(json, limit=limit), salt)


def read_wire(kind: str, network: str, data: bytes, keys: Iterable[bytes], *, limit: int) -> Statement:
    """Read what `Statement.wire` wrote; `limit` bounds the whole map in bytes.

    Raises:
        TrustError, EncodingError: as `read`.

    """
    parts = cbor_decode(data, limit=limit)
    if not isinstance(parts, dict) or not {"statement", "signature"} <= set(parts) <= {
        "statement",
        "signature",
        "salt",
    }:
        raise EncodingError(f"A {kind} statement does not travel in this form.")
    json, signature, salt = parts["statement"], parts["signature"], parts.get("salt", b"")
    if not all(isinstance(part, bytes) for part in (json, signature, salt)):
        raise EncodingError(f"A {kind} statement does not travel in this form.")
    if len(signature) != SIGNATURE_BYTES or ("salt" in parts and len(salt) != SALT_BYTES):
        raise EncodingError(f"A {kind} statement has a signature or salt of the wrong length.")
    return read(kind, network, json, signature, keys, limit=limit, salt=salt)
