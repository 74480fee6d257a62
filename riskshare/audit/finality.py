"""Whether a checkpoint was final, judged years later by the registry alone (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low
from typing import Final

from riskshare.audit.fact import milliseconds, moment_of
from riskshare.audit.versions import CLOCKS, Versions
from riskshare.errors import LedgerError, RegistryError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, member_of, parse_signed, witness_key
from riskshare.ledger.note import verify_signatures
from riskshare.ledger.policy import network_policy
from riskshare.registry import Registry

SPREADING: Final = 3_600_000
"""How long after it was issued a registry version may not have reached a log and its witnesses, in milliseconds."""

_LATEST: Final = 253_402_300_799  # the last second that a datetime holds


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint that was final: whose log it is of, and the median time of its quorum, in milliseconds."""

    member: str
    checkpoint: Checkpoint
    at: int


def read_cosigned(note: bytes, versions: Versions) -> Cosigned:
    """Read the note of a checkpoint and verify that it was final.

    1. It is of the log of a member.
    2. Keys that the registry names for witnesses cosigned it: the median of their times is its time.
    3. By a version of the registry that was in force around that time, its log signed it and a quorum cosigned it.

    Raises:
        EncodingError: it is no checkpoint.
        LedgerError: codes `unknown_log`, `bad_signature`, `duplicate_signature`, `not_final`.

    """
    signed = parse_signed(note)
    # 1.
    member = member_of(signed.checkpoint.origin, versions.network)
    if member is None or versions.newest.member(member) is None:
        raise LedgerError("The checkpoint is of no log that the registry names.", code="unknown_log")
    # 2.
    at = _cosigned_at(signed, versions)
    # 3.
    refusal: LedgerError | None = None
    for registry in _around(versions, at):
        try:
            final = network_policy(registry, member, moment_of(at)).check(signed)
        except RegistryError:
            continue
        except LedgerError as error:
            refusal = refusal or error
        else:
            times = [one.time for one in final.verified if one.time is not None]
            return Cosigned(member, signed.checkpoint, _milliseconds(times))
    raise refusal or _not_final()


def _cosigned_at(signed: SignedCheckpoint, versions: Versions) -> int:
    named = versions.newest.members.values()
    keys = [witness_key(versions.network, one.name, term.public) for one in named for term in one.witness]
    verified = verify_signatures(signed.note.text, signed.note.signatures, keys)
    times = [one.time for one in verified if one.time is not None]
    if not times:
        raise _not_final()
    return _milliseconds(times)


def _milliseconds(times: list[int]) -> int:
    return min(median_low(times), _LATEST) * 1000


def _around(versions: Versions, at: int) -> list[Registry]:
    """The versions that may have been in force at a time, the newest first."""
    issued = [registry for registry in versions.registries if milliseconds(registry.issued_at) <= at + CLOCKS]
    settled = [registry for registry in issued if milliseconds(registry.issued_at) <= at - SPREADING]
    return [registry for registry in reversed(issued) if not settled or registry.version >= settled[-1].version]


def _not_final() -> LedgerError:
    return LedgerError("No witness that the registry names has cosigned the checkpoint.", code="not_final")
