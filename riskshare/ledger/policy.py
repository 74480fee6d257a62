"""Policies: which logs are believed, and whose cosignatures make a checkpoint final (C2SP tlog-policy) (pure).

A policy is a file: lines `log <key> [<url>]`, `witness <name> <key> [<url>]`, `group <name> <k>|any|all <name>...`,
and one `quorum <name>|none`. A checkpoint is believed if one of the logs signed it and the quorum cosigned it.

`network_policy` writes that of a member's log from the registry: k of the *other* members, k = 1 + ⌊2n/3⌋.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from riskshare.errors import EncodingError, LedgerError, RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, log_key, parse_size, witness_key
from riskshare.ledger.note import COSIGNATURE, ED25519, Verified, VerifierKey, parse_key, verify_signatures
from riskshare.registry import Registry

MAX_BYTES = 1024 * 1024
"""Largest policy file that is read, in bytes."""

NONE = "none"
"""The quorum that needs no cosignature, and the one name that may not be given."""

_SPACE = re.compile(r"[ \t]+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that is believed; its key's name is its origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness, under the name that it has in this policy."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """A group: it has witnessed what at least `needed` of `members` (witnesses, groups) have witnessed."""

    name: str
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Final:
    """A checkpoint that a policy believes: who cosigned it (names of the policy), and all that was verified."""

    checkpoint: Checkpoint
    witnesses: tuple[str, ...]
    verified: tuple[Verified, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy; groups name only what stands before them. `quorum` is a witness, a group, or `none`.

    Names are opaque bytes: what is not UTF-8 stands as lone surrogates.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str

    def to_bytes(self) -> bytes:
        """The file: logs, witnesses, groups, quorum, a line each."""
        lines = [["log", str(log.key), log.url] for log in self.logs]
        lines += [["witness", witness.name, str(witness.key), witness.url] for witness in self.witnesses]
        lines += [["group", group.name, str(group.needed), *group.members] for group in self.groups]
        lines += [["quorum", self.quorum]]
        text = "".join(" ".join(filter(None, line)) + "\n" for line in lines)
        return text.encode("utf-8", "surrogateescape")

    def satisfied(self, cosigned: Collection[str]) -> bool:
        """Tell whether cosignatures of these witnesses (names of the policy) are a quorum."""
        reached = set(cosigned) & {witness.name for witness in self.witnesses}
        for group in self.groups:
            if sum(member in reached for member in group.members) >= group.needed:
                reached.add(group.name)
        return self.quorum == NONE or self.quorum in reached

    def cosigners(self, verified: Iterable[Verified]) -> tuple[str, ...]:
        """Names of the witnesses whose cosignatures are among `verified`, in the policy's order."""
        keys = {one.key for one in verified}
        return tuple(witness.name for witness in self.witnesses if witness.key in keys)

    def check(self, signed: SignedCheckpoint) -> Final:
        """Believe a checkpoint, or refuse it.

        1. Its origin is that of a log of the policy.
        2. A key of that log signed it.
        3. No signature of a known key, log or witness, is wrong; those of unknown keys are ignored.
        4. Those who cosigned it are a quorum.

        Raises:
            LedgerError: codes `unknown_log`, `bad_signature`, `duplicate_signature`, `not_final`.

        """
        checkpoint, note = signed.checkpoint, signed.note
        # 1.
        logs = {log.key for log in self.logs if log.key.name == checkpoint.origin}
        if not logs:
            raise LedgerError("The policy names no log of this origin.", code="unknown_log")
        # 2 and 3.
        known = logs | {witness.key for witness in self.witnesses}
        verified = verify_signatures(note.text, note.signatures, known)
        if not any(one.key in logs for one in verified):
            raise LedgerError("The checkpoint is not signed by its log.", code="bad_signature")
        # 4.
        witnesses = self.cosigners(verified)
        if not self.satisfied(witnesses):
            raise LedgerError(
                f"The checkpoint has {len(witnesses)} cosignatures of the policy's witnesses: they are no quorum.",
                code="not_final",
            )
        return Final(checkpoint, witnesses, verified)


def parse_policy(data: bytes) -> Policy:
    """Read a policy file.

    Raises:
        EncodingError: longer than 1 MiB; a control character; a line of another form; a key of another type, or
            standing twice; a name that is given twice, not given before, `none`, or a member twice; a threshold that
            is not 1 to the number of members; not exactly one quorum. The sentence names the line.

    """
    if len(data) > MAX_BYTES:
        raise EncodingError(f"A policy is longer than the {MAX_BYTES} bytes allowed.")
    if _FORBIDDEN.search(data) or (data and not data.endswith(b"\n")):
        raise EncodingError("A policy holds a control character, or its last line does not end in a newline.")
    reader = _Reader()
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        fields = _SPACE.split(line.strip(" \t"))
        if fields == [""] or fields[0].startswith("#"):
            continue
        try:
            reader.read(*fields)
        except EncodingError as error:
            raise EncodingError(f"Line {number} of the policy: {error.message}") from error
    return reader.policy()


class _Reader:
    """Takes the lines of a policy one after the other."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: list[PolicyWitness] = []
        self._groups: list[PolicyGroup] = []
        self._quorum: str | None = None
        self._names: set[str] = set()
        self._grouped: set[str] = set()
        self._keys: set[tuple[str, bytes]] = set()

    def read(self, keyword: str, *fields: str) -> None:
        if keyword == "log" and len(fields) in (1, 2):
            self._logs.append(PolicyLog(self._key(keyword, fields[0]), *fields[1:]))
        elif keyword == "witness" and len(fields) in (2, 3):
            key = self._key(keyword, fields[1])
            self._witnesses.append(PolicyWitness(self._new_name(fields[0]), key, *fields[2:]))
        elif keyword == "group" and len(fields) >= 3:
            self._read_group(*fields)
        elif keyword == "quorum" and len(fields) == 1:
            self._read_quorum(fields[0])
        else:
            raise EncodingError("It is no log, witness, group or quorum line.")

    def policy(self) -> Policy:
        if self._quorum is None:
            raise EncodingError("A policy needs a quorum line.")
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)

    def _key(self, keyword: str, text: str) -> VerifierKey:
        key = parse_key(text)
        if key.type != (ED25519 if keyword == "log" else COSIGNATURE):
            raise EncodingError("The key is of the wrong type: a log has Ed25519 (0x01), a witness 0x04.")
        if (keyword, key.public) in self._keys:  # the same key under another name is a duplicate too
            raise EncodingError("The key stands there twice.")
        self._keys.add((keyword, key.public))
        return key

    def _new_name(self, name: str) -> str:
        if name == NONE or name in self._names:
            raise EncodingError("The name is taken.")
        self._names.add(name)
        return name

    def _read_group(self, name: str, needed: str, *members: str) -> None:
        for member in members:
            if member not in self._names or member in self._grouped:
                raise EncodingError("A member of the group is not defined before, or is in a group already.")
            self._grouped.add(member)
        count = {"any": 1, "all": len(members)}.get(needed) or parse_size(needed)
        if not 1 <= count <= len(members):
            raise EncodingError("A group needs at least one and at most all of its members.")
        self._groups.append(PolicyGroup(self._new_name(name), count, members))

    def _read_quorum(self, name: str) -> None:
        if self._quorum is not None or (name != NONE and name not in self._names):
            raise EncodingError("The quorum is not defined before, or stands there twice.")
        self._quorum = name


def log_keys(registry: Registry, member: str, at: datetime) -> tuple[VerifierKey, ...]:
    """Keys with which a member may sign its checkpoints at `at`; none if the registry does not name it."""
    found = registry.member(member)
    return () if found is None else tuple(_in_force(log_key, registry.network, member, found.ledger, at))


def witness_keys(registry: Registry, member: str, at: datetime) -> tuple[VerifierKey, ...]:
    """Keys with which a member may cosign at `at`; none if the registry does not name it."""
    found = registry.member(member)
    return () if found is None else tuple(_in_force(witness_key, registry.network, member, found.witness, at))


def network_policy(registry: Registry, member: str, at: datetime) -> Policy:
    """The policy for the log of `member`: a quorum of the *other* members in good standing, with keys in force at `at`.

    A member that changes its key may have two of them in force: whichever it uses, it counts once. Every name has a
    slash in it but that of the quorum, so that none is `none` and none is taken.

    Raises:
        RegistryError: code `unknown_member`, the registry does not name it; code `no_witnesses`, fewer other members
            can cosign than the quorum asks.

    """
    if registry.member(member) is None:
        raise RegistryError(
            f"Version {registry.version} of the registry has no such member. Fetch a newer one.", code="unknown_member"
        )
    witnesses: list[PolicyWitness] = []
    groups: list[PolicyGroup] = []
    others: list[str] = []
    for other in registry.others(member):
        named = _named(other.name, witness_keys(registry, other.name, at))
        witnesses += [PolicyWitness(name, key) for name, key in named.items()]
        if len(named) > 1:
            groups.append(PolicyGroup(f"witness/{other.name}", 1, tuple(named)))
        if named:
            others.append(f"witness/{other.name}")
    needed = registry.quorum.needed(len(registry.others(member)))
    if needed > len(others):
        raise RegistryError(
            f"A checkpoint of {member} needs {needed} cosignatures, and {len(others)} other members can give one."
            " Admit more members, or renew their witness keys.",
            code="no_witnesses",
        )
    groups.append(PolicyGroup("quorum", needed, tuple(others)))
    logs = tuple(PolicyLog(key) for key in log_keys(registry, member, at))
    return Policy(logs, tuple(witnesses), tuple(groups), "quorum")


def _named(member: str, keys: tuple[VerifierKey, ...]) -> Mapping[str, VerifierKey]:
    if len(keys) == 1:
        return {f"witness/{member}": keys[0]}
    return {f"witness/{member}/{key.public.hex()}": key for key in keys}


def _in_force(
    make: Callable[[str, str, bytes], VerifierKey], network: str, member: str, terms: Iterable[KeyTerm], at: datetime
) -> Iterator[VerifierKey]:
    return (make(network, member, term.public) for term in terms if term.may_sign(at, at))
