"""Whose key may have signed what, when: all versions of the registry in the few values that replay needs (pure).

A member may have followed the registry late, and a newer version may have ended a key's term after the fact. So a key
counts if *any* version of the chain has it in force at the time: an honest member is never blamed for what it could
not know. A key that the newest version calls compromised at that time is void: its signature holds, and
convicts nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from riskshare.audit.fact import milliseconds
from riskshare.signature import verify
from riskshare.statement import signed_bytes

if TYPE_CHECKING:
    from riskshare.registry import KeyTerm, Registry

SKEW: Final = 120_000
"""How far, in milliseconds, a signed time may lie outside of a key's term: two clocks, a minute off each."""

GOOD: Final = 0
UNSIGNED: Final = 1
"""No key that the member ever had made the signature."""
OUT_OF_TERM: Final = 2
"""A key of the member made it that was not in force then."""
VOID: Final = 3
"""A key made it that was compromised then."""

_Span = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class _Key:
    public: bytes
    spans: tuple[_Span, ...]
    void_from: int | None

    def in_term(self, at: int) -> bool:
        for begin, end in self.spans:  # noqa: SIM110 - asked twice an exchange: a generator takes twice as long
            if begin - SKEW <= at and (end is None or at < end + SKEW):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Keyring:
    """The identity keys of all members of a network; small, and quick to look into. `make_keyring` makes it."""

    network: str
    keys: Mapping[str, tuple[_Key, ...]] = field(repr=False)
    ask: bytes = field(init=False, repr=False)
    answer: bytes = field(init=False, repr=False)
    """What stands before the JSON of an ask, of an answer, in the bytes that are signed."""

    def __post_init__(self) -> None:
        """Make what is the same for every receipt."""
        object.__setattr__(self, "ask", signed_bytes("ask", self.network, b""))
        object.__setattr__(self, "answer", signed_bytes("answer", self.network, b""))

    def __contains__(self, member: str) -> bool:
        return member in self.keys

    def judge(self, member: str, message: bytes, signature: bytes, at: int | None) -> int:
        """What a signature is worth that `member` is said to have made at a time (None: at any time).

        Gives GOOD, UNSIGNED, OUT_OF_TERM or VOID.
        """
        for key in self.keys.get(member, ()):
            if verify(key.public, message, signature):
                if at is None:
                    return GOOD
                if not key.in_term(at):
                    return OUT_OF_TERM
                return GOOD if key.void_from is None or at < key.void_from else VOID
        return UNSIGNED


def make_keyring(versions: Iterable[Registry]) -> Keyring:
    """The keyring of a chain of registry versions, oldest first. Raises ValueError if there is none."""
    spans: dict[str, dict[bytes, set[_Span]]] = {}
    void: dict[bytes, int | None] = {}
    network = ""
    for registry in versions:
        network = registry.network
        for member in registry.members.values():
            known = spans.setdefault(member.name, {})
            for term in member.identity:
                known.setdefault(term.public, set()).add(_span(term))
                void[term.public] = None if term.compromised_from is None else milliseconds(term.compromised_from)
    if not network:
        raise ValueError("a keyring is made of at least one registry")
    keys = {
        member: tuple(
            _Key(public, tuple(sorted(made, key=repr)), void[public]) for public, made in reversed(known.items())
        )
        for member, known in spans.items()
    }
    return Keyring(network, keys)


def _span(term: KeyTerm) -> _Span:
    return milliseconds(term.valid_from), None if term.valid_until is None else milliseconds(term.valid_until)
