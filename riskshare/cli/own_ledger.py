"""The work of `ledger status`, `export`, `proof` and `evidence`: a member's own log, whether its peer runs or not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from riskshare.cli.acting import Own, opened
from riskshare.cli.screen import Screen, counted, minute
from riskshare.encoding import base64_text, format_time
from riskshare.errors import DiskError, InputError, LedgerError
from riskshare.keys import write_new
from riskshare.ledger.account import GRACE
from riskshare.ledger.checkpoint import origin_of, parse_signed
from riskshare.ledger.histories import SUSPECT
from riskshare.ledger.kept import Head
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.note import verify_signatures
from riskshare.ledger.policy import witness_keys
from riskshare.ledger.proof import inclusion_nodes, prove_inclusion, verify_inclusion
from riskshare.ledger.tile import TileReader, tiles_of
from riskshare.ledger.tlog_proof import TlogProof, make_proof
from riskshare.peer.opening import now
from riskshare.registry import Registry
from riskshare.sharing.kept import FraudProofRow

_RECEIPT: Final = re.compile(r"[0-9a-fA-F]{64}")


async def registry_in_force(own: Own) -> Registry:
    """The newest registry that this member has: the one of its file, or one that its peer has received since."""
    kept = await own.store.trust.registry()
    if kept is None or kept.version <= own.member.registry.version:
        return own.member.registry
    return Registry.from_file(kept.file)


# --- proof ------------------------------------------------------------------------------------------


def write_proof(config_file: Path, text: str, out: Path, *, json: bool) -> None:
    """Write the proof of a receipt or a check, under the newest final checkpoint, to a file.

    Raises:
        InputError: no such id, or nothing of this id is kept here.
        LedgerError: codes `not_on_ledger`, `not_final`; `missing_part`, `wrong_tile`, `wrong_inclusion`: the log
            itself is damaged.
        ConfigError: there is such a file. DiskError: it cannot be written.

    """
    sources = _sources(text)
    asyncio.run(_proof(config_file, sources, out, Screen(as_json=json)))


def _sources(text: str) -> Sequence[tuple[str, bytes]]:
    """What an id may stand for: kind and source. Raises InputError."""
    if _RECEIPT.fullmatch(text):
        return [("receipt", bytes.fromhex(text))]
    try:
        batch = UUID(text).bytes
    except ValueError:
        raise InputError(
            "This is no id. That of a receipt has 64 hex digits, that of a check is a UUID: both are in the answer of"
            " riskshare check."
        ) from None
    return [("check", batch), ("unanswered", batch)]


async def _proof(config_file: Path, sources: Sequence[tuple[str, bytes]], out: Path, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        leaf, index = await _entry(own, sources)
        made = await _prove(own, leaf, index)
    write_new(out, made.to_bytes(), mode=0o600)  # it holds the statement: who asked whom, when, for what
    checkpoint = made.signed.checkpoint
    screen.result(
        {
            "proof": str(out),
            "kind": leaf.kind,
            "index": index,
            "log": checkpoint.origin,
            "size": checkpoint.size,
            "root": base64_text(checkpoint.root),
        }
    )
    screen.say(f"This {leaf.kind} is entry {index:,} of {checkpoint.origin}; the proof is in {out}.", "green")
    screen.note("The file holds the statement itself. Give it to whom that concerns, with the policy.")
    screen.steps("Who has it verifies it offline:", [f"riskshare ledger verify {out} --policy FILE"])


async def _entry(own: Own, sources: Sequence[tuple[str, bytes]]) -> tuple[Leaf, int]:
    for kind, source in sources:
        leaf = await own.store.ledger.leaf_of(kind, source)
        if leaf is None:
            continue
        index = await own.store.ledger.index_of(kind, source)
        if index is None:
            raise LedgerError(
                f"This {kind} is kept, and not yet on the ledger. That takes a second while the peer runs.",
                code="not_on_ledger",
            )
        return leaf, index
    raise InputError(
        f"{own.member.name} keeps no receipt or check of this id. A receipt is kept by both sides of an exchange,"
        " a check by the one who asked.",
        code="unknown_receipt",
    )


async def _prove(own: Own, leaf: Leaf, index: int) -> TlogProof:
    final = await own.store.ledger.final()
    if final is None or final.size <= index:
        raise LedgerError(
            f"Entry {index:,} is on the ledger and not yet final: the newest final checkpoint has"
            f" {final.size if final else 0:,} entries. riskshare ledger status says who has not cosigned.",
            code="not_final",
        )
    signed = parse_signed(final.note)
    tiles = await own.store.ledger.tiles(tiles_of(inclusion_nodes(index, final.size), final.size))
    hashes = prove_inclusion(index, final.size, TileReader(tiles).read)
    verify_inclusion(leaf.hash, index, final.size, hashes, final.root)  # a damaged database proves nothing
    return make_proof(leaf, index, hashes, signed)


# --- a halted log -----------------------------------------------------------------------------------


def resume_log(config_file: Path, *, settled: bool, json: bool) -> int:
    """Lift the halt of the log, if it is `settled`; gives the exit code: 1 if it stays halted."""
    return asyncio.run(_resume(config_file, settled, Screen(as_json=json)))


async def _resume(config_file: Path, settled: bool, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        halted = await own.store.ledger.halted()
        if halted is not None and settled:
            await own.store.ledger.resume()
    code = None if halted is None else halted[0]
    screen.result({"halted": None if settled else code, "lifted": code if settled else None})
    if halted is None:
        screen.say("The log is not halted: there is nothing to lift.")
        return 0
    screen.say(f"{'Lifted' if settled else 'HALTED'} ({code})", "bold" if settled else "bold red")
    screen.say(halted[1])
    if settled:
        screen.say("The peer asks its witnesses anew before it signs; a claim that is made again halts the log again.")
        return 0
    screen.steps("If this database is the newest one, and the governors agree:", ["riskshare ledger resume --settled"])
    return 1


# --- evidence ---------------------------------------------------------------------------------------


def write_evidence(config_file: Path, out: Path, *, json: bool) -> None:
    """Write every fraud proof that this member holds as a file. Raises DiskError."""
    asyncio.run(_evidence(config_file, out, Screen(as_json=json)))


async def _evidence(config_file: Path, out: Path, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        rows = await own.store.trust.fraud_proofs()
    for row in rows:
        file = out / f"{row.accused}-{row.kind}-{row.about.hex()[:16]}.fraud"
        _write(file, row.evidence)
        screen.result({"file": str(file), **_fraud_json(row)})
        screen.say(f"{file}: {row.accused}, {row.kind}, found {minute(row.found_at)}")
    if not rows:
        screen.say("No fraud proof is kept here.")


def _write(file: Path, data: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    except OSError as error:
        raise DiskError(f"{file} cannot be written: {error.strerror}.") from error


# --- status -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cosigner:
    """Another member as witness, and as counterparty.

    `cosigned` is the size of the largest checkpoint that it has cosigned, and when: None if neither the head nor the
    final one. `log_size` is that of its own log, `missing` how much it has not accounted for within the audit window.
    """

    member: str
    cosigned: tuple[int, datetime] | None
    log_size: int | None
    missing: int

    @property
    def size(self) -> int | None:
        """Entries that it has cosigned."""
        return self.cosigned[0] if self.cosigned else None

    @property
    def at(self) -> datetime | None:
        """When it cosigned."""
        return self.cosigned[1] if self.cosigned else None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a log stands at `moment`. `needed` cosignatures make a checkpoint final."""

    log: str
    moment: datetime
    head: Head | None
    final: Head | None
    pending: int
    needed: int
    cosigners: Sequence[Cosigner]
    halted: tuple[str, str] | None
    frauds: Sequence[FraudProofRow]

    @property
    def size(self) -> int:
        """Entries in the log, signed."""
        return self.head.size if self.head else 0

    def behind(self, one: Cosigner) -> int:
        """Entries that a member has not cosigned yet."""
        return self.size - (one.size or 0)


def show_status(config_file: Path, *, json: bool) -> int:
    """Show how the log stands; gives the exit code: 1 if it is halted."""
    screen = Screen(as_json=json)
    standing = asyncio.run(_standing(config_file, screen))
    screen.result(_json(standing))
    _tell(standing, screen)
    return 1 if standing.halted else 0


async def _standing(config_file: Path, screen: Screen) -> Standing:
    async with opened(config_file, screen) as own:
        moment, ledger = now(), own.store.ledger
        registry = await registry_in_force(own)
        head, final = await ledger.head(), await ledger.final()
        window = timedelta(days=own.member.config.audit.window_days)
        missing = await own.store.accounts.missing(moment - GRACE, moment - window)
        logs = {row.member: row.size for row in await ledger.all_followed()}
        others = registry.others(own.member.name)
        seen = _cosigned(registry, own.member.name, [one for one in (final, head) if one], moment)
        return Standing(
            origin_of(registry.network, own.member.name),
            moment,
            head,
            final,
            await ledger.pending(),
            registry.quorum.needed(len(others)),
            [
                Cosigner(other.name, seen.get(other.name), logs.get(other.name), missing.get(other.name, 0))
                for other in others
            ],
            await ledger.halted(),
            await own.store.trust.fraud_proofs(),
        )


def _cosigned(
    registry: Registry, own: str, heads: Sequence[Head], moment: datetime
) -> Mapping[str, tuple[int, datetime]]:
    """By member: the largest of `heads` (smallest first) that it cosigned, and when."""
    found: dict[str, tuple[int, datetime]] = {}
    for other in registry.others(own):
        keys = witness_keys(registry, other.name, moment)
        for head in heads:
            note = parse_signed(head.note).note
            for one in verify_signatures(note.text, note.signatures, keys):
                if one.made_at is not None:
                    found[other.name] = head.size, one.made_at
    return found


def _json(standing: Standing) -> dict[str, Any]:
    final = standing.final
    return {
        "log": standing.log,
        "size": standing.size,
        "pending": standing.pending,
        "signed_at": format_time(standing.head.signed_at) if standing.head else None,
        "final": None if final is None else _final_json(final, standing.moment),
        "quorum": {"needed": standing.needed, "others": len(standing.cosigners)},
        "witnesses": [
            {
                "member": one.member,
                "size": one.size,
                "behind": standing.behind(one),
                "cosigned_at": None if one.at is None else format_time(one.at),
                "log_size": one.log_size,
                "unaccounted": one.missing,
            }
            for one in standing.cosigners
        ],
        "halted": {"code": standing.halted[0], "why": standing.halted[1]} if standing.halted else None,
        "fraud_proofs": [_fraud_json(row) for row in standing.frauds],
    }


def _final_json(final: Head, moment: datetime) -> dict[str, Any]:
    return {
        "size": final.size,
        "root": base64_text(final.root),
        "final_at": format_time(final.final_at) if final.final_at else None,
        "age_seconds": _age(final, moment),
    }


def _fraud_json(row: FraudProofRow) -> dict[str, Any]:
    return {"accused": row.accused, "kind": row.kind, "found_at": format_time(row.found_at)}


def _age(final: Head, moment: datetime) -> float:
    return max(0.0, (moment - (final.final_at or final.signed_at)).total_seconds())


def _tell(standing: Standing, screen: Screen) -> None:
    if standing.halted:
        screen.say(f"HALTED ({standing.halted[0]}): this log signs nothing more.", "bold white on red")
        screen.say(standing.halted[1], "bold red")
        screen.say()
    screen.say(standing.log, "bold")
    screen.pairs(
        [
            ("entries", f"{standing.size:,}"),
            ("waiting", f"{standing.pending:,} kept, and not yet in the log"),
            ("final", _final_text(standing)),
            ("quorum", f"{standing.needed} of {counted(len(standing.cosigners), 'other member')}"),
        ]
    )
    screen.table(
        ("member", "cosigned up to", "behind by", "cosigned at", "its own log", "not accounted for"),
        [_row(standing, one) for one in standing.cosigners],
        right=("cosigned up to", "behind by", "its own log", "not accounted for"),
    )
    if standing.needed >= len(standing.cosigners):
        screen.say("Nobody may be away: a checkpoint is final only when every other member has cosigned it.", "yellow")
    for row in standing.frauds:
        if row.kind == SUSPECT:
            told = "does not show how two of its checkpoints fit together. That convicts nobody: ask its operator"
            screen.say(f"SUSPECT: the log of {row.accused} {told}; found {minute(row.found_at)}", "bold yellow")
        else:
            screen.say(f"FRAUD PROOF against {row.accused}: {row.kind}, found {minute(row.found_at)}", "bold red")
    if standing.frauds:
        screen.steps("Files to show to anybody:", ["riskshare ledger evidence --out DIR"])


def _final_text(standing: Standing) -> str:
    final = standing.final
    if final is None:
        return "nothing yet"
    rest = standing.size - final.size
    since = f"since {timedelta(seconds=int(_age(final, standing.moment)))}"
    return f"{final.size:,}, {since}" + (f"; {counted(rest, 'entry', 'entries')} not yet" if rest else ": all of it")


def _row(standing: Standing, one: Cosigner) -> tuple[str, ...]:
    return (
        one.member,
        f"{one.size:,}" if one.size is not None else "-",
        f"{standing.behind(one):,}",
        minute(one.at) if one.at else "-",
        f"{one.log_size:,}" if one.log_size is not None else "-",
        f"{one.missing:,}",
    )
