"""Finalizing: the head of this member's log is offered to all others as witnesses, until a quorum has cosigned.

A *round* asks all of them at once and ends with the quorum, or after `ROUND_SECONDS`. Who is slow goes on by itself
and delays nothing: its cosignature is kept when it comes, and it is offered the newest head at the next round. A dead
witness is asked again with every round. Of a head that is final, those who were not needed are asked now and then, so
that whoever is well has cosigned it, however long the log stays quiet.

Before a process signs anything, `begin` asks what the witnesses have seen: it offers the last *signed* checkpoint as if
they had seen nothing, and each one's answer tells the size that it knows. Any quorum of k out of n shares a member with
any n-k+1 others: after so many replies, nothing is final that this log does not hold. A witness that has seen more, or
another tree, says that the database was restored from an older backup, or that two databases run under one identity:
the log halts, for good, rather than fork.

Witnesses may lie. Before anything new is signed one such claim is enough to halt: signing on could not be undone.
Later, when what is signed is signed, a claim halts the log only once n-k+1 witnesses make one; until then it is
counted and shown, and the liar is not needed for a quorum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, final

from riskshare.errors import LedgerError, PeerError
from riskshare.ledger.addition import AddCheckpoint, Answer, Cosigned, Disputes, Knows, Refuses, read_answer
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_signed
from riskshare.ledger.kept import BEHIND, Head
from riskshare.ledger.note import Note, Signature, VerifierKey, parse_note, verify_signatures
from riskshare.ledger.policy import witness_keys
from riskshare.ledger.proof import consistency_nodes, prove_consistency, tree_nodes, tree_root, verify_consistency
from riskshare.ledger.tile import Tile, TileReader, tiles_of
from riskshare.registry.network import Registry

ROUND_SECONDS: Final = 3.0

LATE_SECONDS: Final = 5.0
"""How often a final head is offered to those who have not cosigned it."""

FORKED: Final = "ledger_forked"

Keys = tuple[VerifierKey, ...]


class Witnesses(Protocol):
    """The other members, as witnesses."""

    async def submit(self, member: str, body: bytes) -> tuple[int, bytes]:
        """Send `add-checkpoint` (tlog-witness) to a member; gives HTTP status and body, bounded in time and length.

        Raises:
            PeerError: no answer.

        """


class Log(Protocol):
    """The store of this member's log."""

    async def head(self) -> Head | None:
        """The newest checkpoint signed."""

    async def tiles(self, places: Iterable[Tile]) -> Mapping[Tile, bytes]:
        """Tiles as wide as asked for; what is not there is left out."""

    async def cosign(self, size: int, signatures: Iterable[Signature], *, final: datetime | None = None) -> Head | None:
        """Keep cosignatures of the checkpoint of that size; `final` is when they became a quorum."""

    async def halt(self, code: str, why: str) -> None:
        """Sign nothing more, for good."""

    async def halted(self) -> tuple[str, str] | None:
        """Code and sentence of why nothing more is signed."""


class Watch(Protocol):
    """Told of each offer, for metrics and log."""

    def offered(self, witness: str, code: str) -> None:
        """Note what came of it.

        `cosigned`; `ahead` or `disputed`, a claim of another history; `refused`; or the code of an error.
        """


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one offer to one witness; `knows` is the size that it said it knew before."""

    member: str
    size: int
    code: str
    knows: int | None = None
    signatures: tuple[Signature, ...] = field(default=(), repr=False)

    @property
    def tells(self) -> bool:
        """Whether the witness told what it has seen."""
        return self.code in ("cosigned", "ahead", "disputed")


@dataclass(frozen=True, slots=True)
class Quorum:
    """The other members with their witness keys in force, and how many of them make a checkpoint final."""

    others: Mapping[str, Keys]
    needed: int
    members: int

    @property
    def replies(self) -> int:
        """n-k+1: so many share a member with every quorum."""
        return max(0, self.members - self.needed + 1)

    def cosigners(self, note: Note) -> set[str]:
        """Whose cosignatures stand under a note and hold."""
        return {
            member
            for member, keys in self.others.items()
            if _holds(note.text, [made for made in note.signatures if any(made.name == key.name for key in keys)], keys)
        }


def quorum_of(registry: Registry, member: str, at: datetime) -> Quorum:
    """The witnesses of a member's log by the registry in force at `at`."""
    others = registry.others(member)
    keyed = {other.name: keys for other in others if (keys := witness_keys(registry, other.name, at))}
    return Quorum(keyed, registry.quorum.needed(len(others)), len(others))


def _holds(text: str, signatures: Iterable[Signature], keys: Keys) -> bool:
    try:
        return bool(verify_signatures(text, signatures, keys))
    except LedgerError:
        return False


@final
class Finalizer:
    """Collects the cosignatures for one log, in the one process that grows it, for as long as that leads."""

    def __init__(
        self, *, log: Log, witnesses: Witnesses, quorum: Callable[[], Quorum], watch: Watch, now: Callable[[], datetime]
    ) -> None:
        self._log = log
        self._witnesses = witnesses
        self._quorum = quorum
        self._watch = watch
        self._now = now
        self._asked: dict[str, asyncio.Task[Reply]] = {}
        self._cosigners: dict[int, set[str]] = {}
        self._told: set[str] = set()
        self._claims: dict[str, str] = {}
        self._known: dict[str, int] = {}
        self._highest = 0
        self._late_at = 0.0
        self._begun = False

    async def begin(self) -> bool:
        """Find out what the witnesses have seen of the log; True once enough of them have told.

        To be called again while it gives False: too few have answered yet, and nothing may be signed.

        Raises:
            LedgerError: the log is halted, or halts now: `ledger_behind`, `ledger_forked`.
            StoreError: the store is away.

        """
        head = await self._look()
        if head is None:
            return False
        quorum = self._quorum()
        await self._ask(head, quorum, self._told, lambda: len(self._told) >= quorum.replies)
        self._begun = len(self._told) >= quorum.replies
        return self._begun

    async def round(self) -> None:
        """Offer the head to all who have not cosigned it, if it is not final yet.

        Raises:
            LedgerError, StoreError: as `begin`.

        """
        head = await self._look()
        if head is None or not self._begun:
            return
        quorum = self._quorum()
        if head.final_at is not None:
            await self._collect(quorum)  # latecomers
            self._offer_late(head, quorum)
            return
        cosigners = self._cosigners.setdefault(head.size, set())
        cosigners |= quorum.cosigners(parse_note(head.note))
        await self._finish(head.size, (), quorum)
        await self._ask(head, quorum, cosigners, lambda: len(cosigners) >= quorum.needed)

    async def close(self) -> None:
        """Ask nobody any more."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        self._asked.clear()

    async def _look(self) -> Head | None:
        """The head; raises if the log is halted, or shorter than this process has seen it."""
        halted = await self._log.halted()
        if halted is not None:
            raise LedgerError(halted[1], code=halted[0])
        head = await self._log.head()
        size = head.size if head else 0
        if size < self._highest:
            await self._halt(BEHIND, f"This process has seen {self._highest} entries of this log", size)
        self._highest = size
        return head

    async def _ask(self, head: Head, quorum: Quorum, have: Collection[str], enough: Callable[[], bool]) -> None:
        """Offer the head to all but those in `have` and those still asked, until there is enough or the time is up."""
        await self._collect(quorum)  # who has answered meanwhile is free to be asked
        self._start(head, quorum, have)
        clock = asyncio.get_running_loop().time
        until = clock() + ROUND_SECONDS
        while self._asked and not enough() and (left := until - clock()) > 0:
            await asyncio.wait(self._asked.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await self._collect(quorum)

    def _offer_late(self, head: Head, quorum: Quorum) -> None:
        """Offer a final head to those who have not cosigned it, if that is due; a later round keeps what comes."""
        time = asyncio.get_running_loop().time()
        if time >= self._late_at:
            self._late_at = time + LATE_SECONDS
            self._start(head, quorum, quorum.cosigners(parse_note(head.note)))

    def _start(self, head: Head, quorum: Quorum, have: Collection[str]) -> None:
        proofs = _Proofs(self._log, head)
        for member, keys in quorum.others.items():
            if member not in have and member not in self._asked:
                offer = self._offer(member, keys, proofs)
                self._asked[member] = asyncio.create_task(offer, name=f"offer to {member}")

    async def _collect(self, quorum: Quorum) -> None:
        """Keep what has come: the cosignatures of each checkpoint in one write. Then raise what has gone wrong here."""
        done = [self._asked.pop(member) for member, task in [*self._asked.items()] if task.done()]
        replies = [task.result() for task in done if task.exception() is None]
        for size in {reply.size for reply in replies if reply.signatures}:
            together = [reply for reply in replies if reply.size == size and reply.signatures]
            self._cosigners.setdefault(size, set()).update(reply.member for reply in together)
            await self._finish(size, [made for reply in together for made in reply.signatures], quorum)
        for reply in replies:
            self._watch.offered(reply.member, reply.code)
            await self._weigh(reply, quorum)
        for task in done:
            task.result()

    async def _finish(self, size: int, signatures: Iterable[Signature], quorum: Quorum) -> None:
        made = tuple(signatures)
        is_final = len(self._cosigners[size] & quorum.others.keys()) >= quorum.needed
        if made or is_final:
            await self._log.cosign(size, made, final=self._now() if is_final else None)
        if is_final:
            self._cosigners = {of: who for of, who in self._cosigners.items() if of >= size}

    async def _weigh(self, reply: Reply, quorum: Quorum) -> None:
        if reply.code == "cosigned":
            self._known[reply.member] = reply.size
            self._claims.pop(reply.member, None)
        if reply.code in ("ahead", "disputed"):
            self._claims[reply.member] = reply.code
            if not self._begun or len(self._claims) >= quorum.replies:
                await self._believe(reply)
        if reply.tells:
            self._told.add(reply.member)

    async def _believe(self, reply: Reply) -> None:
        who = ", ".join(sorted(self._claims))
        if reply.code == "ahead":
            await self._halt(BEHIND, f"The witness {who} has seen {reply.knows} entries of this log", reply.size)
        await self._halt(FORKED, f"The witness {who} has seen another history of this log", reply.size)

    async def _halt(self, code: str, seen: str, size: int) -> None:
        why = (
            f"{seen}, and the database holds {size}: it was restored from an older backup, or runs beside another one"
            " under the same identity. The log signs nothing more, so that it does not fork. Stop the peer, restore the"
            " newest database or replica, and start it again. If this database is the newest, the claim is wrong:"
            " tell the governors, then run riskshare ledger resume."
        )
        await self._log.halt(code, why)
        raise LedgerError(why, code=code)

    async def _offer(self, member: str, keys: Keys, proofs: _Proofs) -> Reply:
        """Offer the head, from what the witness is known to know; and once more from what it says it knows."""
        head = proofs.head
        old = min(self._known.get(member, 0), head.size) if self._begun else 0
        try:
            answer = await self._submit(member, keys, await proofs.addition(old))
            if isinstance(answer, Knows) and answer.size <= head.size:
                old = answer.size
                answer = await self._submit(member, keys, await proofs.addition(old))
        except PeerError as error:
            return Reply(member, head.size, error.code)
        match answer:
            case Cosigned(signatures):
                return Reply(member, head.size, "cosigned", old, signatures)
            case Knows(size) if size > head.size:
                return Reply(member, head.size, "ahead", size)
            case Disputes() | Refuses(422) if old:  # what is empty cannot differ
                return Reply(member, head.size, "disputed", old)
            case LedgerError():
                return Reply(member, head.size, answer.code)
        return Reply(member, head.size, "refused")

    async def _submit(self, member: str, keys: Keys, addition: AddCheckpoint) -> Answer | LedgerError:
        status, body = await self._witnesses.submit(member, addition.to_bytes())
        try:
            return read_answer(status, body, addition, keys)
        except LedgerError as error:
            return error


class _Proofs:
    """One head, with its consistency proofs from what witnesses know: each is made once."""

    def __init__(self, log: Log, head: Head) -> None:
        self.head = head
        self._log = log
        signed = parse_signed(head.note)
        # Only this log's own signature is offered: those of others are of no use to a witness.
        self._signed = SignedCheckpoint(signed.checkpoint, Note(signed.note.text, signed.note.signatures[:1]))
        self._made: dict[int, tuple[bytes, ...]] = {}

    async def addition(self, old: int) -> AddCheckpoint:
        """The request that offers the head to a witness who knows `old` entries.

        Raises:
            LedgerError: code `log_damaged`, a stored tile is missing or damaged.

        """
        if old not in self._made:
            self._made[old] = await self._prove(old)
        return AddCheckpoint(old, self._made[old], self._signed)

    async def _prove(self, old: int) -> tuple[bytes, ...]:
        """The proof, held against what was signed: a damaged tile must not look like another history."""
        size = self.head.size
        nodes = (*consistency_nodes(old, size), *tree_nodes(old))
        try:
            read = TileReader(await self._log.tiles(tiles_of(nodes, size))).read
            proof = prove_consistency(old, size, read)
            verify_consistency(old, size, proof, tree_root(old, read), self.head.root)
        except LedgerError as error:
            raise LedgerError(
                f"The stored log of this member is damaged between its entries 0 and {size}: {error.message}"
                " Restore the newest backup or replica of the database that is whole.",
                code="log_damaged",
            ) from error
        return proof
