"""Every error that riskshare raises on purpose, as one tree.

Each class has a `code`: the word that travels on the wire, labels the metric and
is looked up in the documentation. The sentence of an error says what to do; it
never holds an identifier, a key, a token or anything else that a client sent.

    RiskshareError
    ├── InputError                 what a client or an operator gave is not usable
    │   ├── IdentifierError        not a valid identifier; names type, reason, position
    │   └── EncodingError          bytes that are not the canonical form of anything
    ├── ConfigError                configuration, key files, command line
    ├── AccessError                API key missing, wrong, expired, or without the scope
    ├── IdempotencyError           an Idempotency-Key used for another request
    ├── AskRefused                 this owner refuses an ask (the asker is to blame)
    ├── AuditRefused               this member refuses a request of an auditor
    ├── TrustError                 a signed statement or a file that must not be believed
    │   ├── RegistryError          the network's registry
    │   ├── SnapshotError          catalogue, epoch, snapshot (the owner is to blame)
    │   ├── SegmentError           a segment file: truncated, altered, malformed
    │   └── LedgerError            a member's log: checkpoint, cosignature, proof, tile
    ├── PeerError                  another member's peer (it, or the way to it, is to blame)
    │   ├── PeerDown               no connection
    │   ├── PeerLate               no answer within the deadline
    │   ├── PeerRefused            it answered with a refusal; has the remote code
    │   └── PeerGarbage            it answered with something that is not an answer
    ├── GroupError                 an encoding that is no usable group element or scalar
    ├── ProofError                 a DLEQ proof that does not hold
    ├── OpenError                  a sealed thing does not open under the key given
    ├── StoreError                 PostgreSQL is away, or refuses
    └── DiskError                  a file could not be written whole (disk full, rights)
"""

from __future__ import annotations

from typing import ClassVar


class RiskshareError(Exception):
    """Base of the tree.

    `code` is a stable word in snake case. A class fixes it, or an instance names a
    narrower one of the same family.
    """

    code: str = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The sentence that tells what to do."""
        return str(self.args[0])


class InputError(RiskshareError):
    """What a client or an operator gave is not usable."""

    code = "invalid_input"


class IdentifierError(InputError):
    """Not a valid identifier of its type.

    `type` is the identifier type (or "" where none could be read), `reason` a stable
    word such as `check_digit` or `length`, `position` the zero-based index in the
    request or the one-based line in a file, if the caller set it. The identifier's
    own text is in none of them.
    """

    code = "invalid_identifier"

    def __init__(self, type: str, reason: str, message: str, *, position: int | None = None) -> None:  # noqa: A002 - the field's own word
        super().__init__(message)
        self.type = type
        self.reason = reason
        self.position = position

    def at(self, position: int) -> IdentifierError:
        """Return the same error, placed."""
        return IdentifierError(self.type, self.reason, self.message, position=position)


class EncodingError(InputError):
    """Bytes that are not the canonical form of anything."""

    code = "malformed"


class ConfigError(RiskshareError):
    """Configuration, key files or command line are not usable as they are."""

    code = "config"


class AccessError(RiskshareError):
    """The API key is missing, wrong, expired, or lacks the scope.

    Codes: `unauthenticated` (401) and `forbidden` (403).
    """

    code = "unauthenticated"


class IdempotencyError(RiskshareError):
    """An Idempotency-Key that is malformed, in use, or was used for another request.

    Codes: `idempotency_key_malformed` (400), `idempotency_key_in_use` (409),
    `idempotency_key_reused` (422).
    """

    code = "idempotency_key_reused"


class AskRefused(RiskshareError):  # noqa: N818 - a refusal is an outcome of the protocol, named as such on the wire
    """This owner refuses an ask. The codes and their HTTP status are `STATUS`."""

    code = "malformed"

    STATUS: ClassVar[dict[str, int]] = {
        "malformed": 400,
        "wrong_network": 400,
        "wrong_owner": 400,
        "wrong_root": 400,
        "wrong_count": 400,
        "bad_element": 400,
        "bad_signature": 401,
        "no_certificate": 401,
        "wrong_member": 403,
        "log_stalled": 403,
        "purpose_not_allowed": 403,
        "unknown_epoch": 404,
        "batch_conflict": 409,
        "clock_off": 412,
        "registry_mismatch": 412,
        "too_many_elements": 413,
        "quota_exhausted": 429,
        "too_often": 429,
        "overloaded": 503,
        "store_unavailable": 503,
    }

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status that carries this refusal."""
        return self.STATUS[self.code]


class AuditRefused(RiskshareError):  # noqa: N818 - as AskRefused
    """This member refuses a request of an auditor. The codes and their HTTP status are `STATUS`."""

    code = "no_audit_right"

    STATUS: ClassVar[dict[str, int]] = {
        "wrong_network": 400,
        "wrong_owner": 400,
        "bad_signature": 401,
        "wrong_member": 403,
        "no_audit_right": 403,
        "access_expired": 403,
        "unknown_access": 404,
        "clock_off": 412,
        "registry_mismatch": 412,
        "audit_quota": 429,
    }

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class TrustError(RiskshareError):
    """A signed statement or a file that must not be believed."""

    code = "untrusted"


class RegistryError(TrustError):
    """The network's registry: bad signature, broken chain, expired, malformed."""

    code = "registry"


class SnapshotError(TrustError):
    """A catalogue, epoch or snapshot statement that a subscriber refuses.

    Codes: `rollback`, `fork`, `mixed_segments`, `expired`, `foreign_key`,
    `wrong_network`, `wrong_list`, `unknown_normalisation`, `broken_chain`,
    `malformed_statement`.
    """

    code = "snapshot"


class SegmentError(TrustError):
    """A segment file is truncated, altered or malformed."""

    code = "segment"


class LedgerError(TrustError):
    """A part of a member's log that does not hold: whoever made or serves it is to blame.

    Codes: `bad_signature`, `duplicate_signature`, `unknown_log`, `not_final`, `wrong_inclusion`,
    `wrong_consistency`, `wrong_tile`, `wrong_bundle`, `wrong_tree`, `wrong_entry`, `witness_garbage`, `no_proof`,
    `rollback`, `two_histories`, `missing_part`, `unexpected_part`, `malformed_checkpoint`, `another_export`,
    `not_on_ledger`, `malformed_proof`; of our own log: `log_damaged`, `ledger_behind`, `ledger_forked`.
    """

    code = "ledger"


class PeerError(RiskshareError):
    """Another member's peer, or the way to it, failed."""

    code = "peer"

    def __init__(self, member: str, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.member = member


class PeerDown(PeerError):  # noqa: N818 - named by what is the case
    """No connection to the peer."""

    code = "peer_down"


class PeerLate(PeerError):  # noqa: N818 - named by what is the case
    """No answer within the deadline."""

    code = "peer_late"


class PeerRefused(PeerError):  # noqa: N818 - named by what is the case
    """The peer answered with a refusal.

    `remote_code` is its code where it is one that we know (else `unknown`), `status`
    the HTTP status, `retry_after` seconds if it named any.
    """

    code = "peer_refused"

    def __init__(
        self, member: str, message: str, *, remote_code: str, status: int, retry_after: float | None = None
    ) -> None:
        super().__init__(member, message)
        self.remote_code = remote_code
        self.status = status
        self.retry_after = retry_after


class PeerGarbage(PeerError):  # noqa: N818 - named by what is the case
    """The peer answered with something that is not an answer."""

    code = "peer_garbage"


class GroupError(RiskshareError):
    """An encoding that is no usable group element or scalar (RFC 9496 4.3.1)."""

    code = "bad_element"


class ProofError(RiskshareError):
    """A DLEQ proof that does not hold (RFC 9497 2.2.2)."""

    code = "bad_proof"


class OpenError(RiskshareError):
    """A sealed thing does not open under the key given."""

    code = "does_not_open"


class StoreError(RiskshareError):
    """PostgreSQL is away, or refuses.

    `in_doubt`: what was to be kept may stand, now or a moment later, or may not; PostgreSQL did not say in time.
    """

    code = "store_unavailable"

    def __init__(self, message: str, *, code: str | None = None, in_doubt: bool = False) -> None:
        super().__init__(message, code=code)
        self.in_doubt = in_doubt


class DiskError(RiskshareError):
    """A file could not be written whole: disk full, or no right to write."""

    code = "disk"
