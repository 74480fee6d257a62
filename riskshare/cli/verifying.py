"""The work of `ledger verify`: a log at a URL or in a folder, a proof file, a fraud proof."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from riskshare.cli.screen import Screen, counted, minute
from riskshare.client.log import served_log
from riskshare.encoding import base64_text, format_time, sha256
from riskshare.errors import EncodingError, InputError, LedgerError
from riskshare.governance import read_registry
from riskshare.ledger import audit, policy, tlog_proof
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.policy import Final as FinalCheckpoint
from riskshare.ledger.policy import Policy, parse_policy
from riskshare.ledger.receipt import Receipt
from riskshare.ledger.tlog_proof import parse_proof, verify_proof
from riskshare.logs import configure
from riskshare.peer.opening import now
from riskshare.query.message import Ask
from riskshare.registry import Registry
from riskshare.sharing.evidence import is_evidence, verify_evidence
from riskshare.store.log_folder import LogFolder
from riskshare.tls import authority_context, reading_context

_PROOF: Final = b"c2sp.org/tlog-proof@"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be verified, and what may be believed."""

    target: str
    policy: Path | None
    registry: Path | None
    cafile: Path | None

    def read_policy(self) -> Policy:
        """The policy. Raises InputError: there is none, or it is malformed."""
        if self.policy is None:
            raise InputError("Name with --policy the file that says whose signatures count.")
        return parse_policy(_read(self.policy, policy.MAX_BYTES))

    def read_registry(self) -> Registry | None:
        """The registry, if one was given. Raises ConfigError, RegistryError."""
        return None if self.registry is None else read_registry(self.registry)


def verify_target(wish: Wish, *, json: bool) -> None:
    """Verify what the wish names, and say what was found.

    Raises:
        InputError, ConfigError: it could not be tried.
        TrustError: it does not hold.
        PeerError, DiskError: it could not be read.

    """
    screen = Screen(as_json=json)
    configure("warning", "console")
    target = Path(wish.target)
    if "://" in wish.target or target.is_dir():
        _tell_log(asyncio.run(_verify_log(wish, screen)), wish, screen)
        return
    if not target.is_file():
        raise InputError(f"There is no {wish.target}. Name a folder, a file, or a URL that begins with https://.")
    data = _read(target, tlog_proof.MAX_BYTES)
    if data.startswith(_PROOF):
        _verify_proof(data, wish, screen)
    elif is_evidence(data):
        _verify_fraud(data, wish, screen)
    else:
        raise InputError(f"{target} is neither a tlog-proof nor a fraud proof. A log is verified by its folder or URL.")


# --- A log ------------------------------------------------------------------------------------------


async def _verify_log(wish: Wish, screen: Screen) -> audit.Audited:
    believed = wish.read_policy()
    with _bar(screen) as progress:
        if "://" not in wish.target:
            return await audit.audit(LogFolder(Path(wish.target)), believed, progress)
        async with served_log(wish.target, _context(wish)) as log:
            return await audit.audit(log, believed, progress)


def _context(wish: Wish) -> ssl.SSLContext:
    """Whose TLS certificates are believed: of the member at that URL, of all members, or of authorities."""
    registry = wish.read_registry()
    if registry is None:
        return authority_context(wish.cafile)
    moment = now()
    there = [member for member in registry.members.values() if wish.target.startswith(member.url)]
    anchors = there[0].certificates(moment) if len(there) == 1 else registry.certificates(moment)
    return reading_context(anchors)


@contextmanager
def _bar(screen: Screen) -> Iterator[audit.Progress]:
    """A bar on a terminal: how many entries are derived, how many there are, how long still."""
    columns = (
        TextColumn("Verifying"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} entries"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task("Verifying", total=1)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _tell_log(found: audit.Audited, wish: Wish, screen: Screen) -> None:
    checkpoint = found.checkpoint
    screen.result(
        {
            "verified": "log",
            **checkpoint_json(found.final),
            "bundles": found.bundles,
            "tiles": found.tiles,
        }
    )
    screen.say(f"The log holds: {counted(checkpoint.size, 'entry', 'entries')}, all derived anew.", "bold green")
    screen.pairs([*checkpoint_pairs(found.final), ("compared", _compared(found))])
    _tell_policy(wish, screen)


def _compared(found: audit.Audited) -> str:
    return f"{counted(found.bundles, 'bundle')}, {counted(found.tiles, 'tile')}, byte for byte"


def _tell_policy(wish: Wish, screen: Screen) -> None:
    """A log's own policy says what the log says of itself."""
    if wish.policy is not None and wish.policy.resolve().parent == Path(wish.target).resolve():
        screen.note("The policy came with the log. It proves something only if you have it from elsewhere too.")


def checkpoint_json(final: FinalCheckpoint) -> dict[str, Any]:
    """A final checkpoint, for a program."""
    checkpoint = final.checkpoint
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": base64_text(checkpoint.root),
        "cosigned_by": list(final.witnesses),
        "cosigned_at": _times(final),
    }


def _times(final: FinalCheckpoint) -> dict[str, str]:
    """When each key that cosigned did so, by its name."""
    return {one.key.name: format_time(one.made_at) for one in final.verified if one.made_at is not None}


def checkpoint_pairs(final: FinalCheckpoint) -> list[tuple[str, str]]:
    """A final checkpoint, for a person."""
    checkpoint = final.checkpoint
    times = [one.made_at for one in final.verified if one.made_at is not None]
    cosigned = f"{counted(len(final.witnesses), 'witness', 'witnesses')}: {', '.join(final.witnesses) or 'nobody'}"
    until = f", until {minute(max(times))}" if times else ""
    return [
        ("log", checkpoint.origin),
        ("entries", f"{checkpoint.size:,}"),
        ("root", base64_text(checkpoint.root)),
        ("cosigned by", cosigned + until),
    ]


# --- A proof -----------------------------------------------------------------------------------------


def _verify_proof(data: bytes, wish: Wish, screen: Screen) -> None:
    believed = wish.read_policy()
    try:
        parse_proof(data).leaf()
    except EncodingError as error:
        raise LedgerError(f"The proof cannot be read: {error.message}", code="malformed_proof") from error
    proven = verify_proof(data, believed)
    statement = statement_json(proven.leaf)
    screen.result({"verified": "proof", "index": proven.index, **statement, **checkpoint_json(proven.final)})
    screen.say(f"The proof holds: this {proven.leaf.kind} is entry {proven.index:,} of the log.", "bold green")
    pairs = [(name.replace("_", " "), str(value)) for name, value in statement.items() if name != "kind"]
    screen.pairs([*pairs, *checkpoint_pairs(proven.final)])


def statement_json(leaf: Leaf) -> dict[str, Any]:
    """What a leaf stands for; the signatures inside a statement are the registry's matter, and not verified here."""
    found: dict[str, Any] = {"kind": leaf.kind, "statement": sha256(leaf.statement).hex()}
    try:
        if leaf.kind in ("receipt", "unanswered"):
            ask = Ask.from_json(Receipt.from_bytes(leaf.statement).ask if leaf.kind == "receipt" else leaf.statement)
            found |= {
                "querier": ask.querier,
                "owner": ask.owner,
                "purpose": ask.purpose,
                "elements": ask.count,
                "asked_at": format_time(ask.asked_at),
            }
    except InputError as error:
        raise LedgerError(
            "The entry stands for something that is not what its kind says.", code="wrong_entry"
        ) from error
    return found


# --- A fraud proof -----------------------------------------------------------------------------------


def _verify_fraud(data: bytes, wish: Wish, screen: Screen) -> None:
    registry = wish.read_registry()
    if registry is None:
        raise InputError("A fraud proof is verified with the network's registry: name it with --registry.")
    try:
        found = verify_evidence(data, registry, now())
    except EncodingError as error:
        raise LedgerError(f"The fraud proof cannot be read: {error.message}", code="no_proof") from error
    digest = registry.digest.hex()
    screen.result({"verified": "fraud", "kind": found.kind, "accused": found.accused, "registry": digest})
    screen.say(f"The fraud proof holds. {found.sentence}", "bold red")
    screen.pairs([("kind", found.kind), ("accused", found.accused), ("by the registry", digest)])


def _read(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise InputError(f"{path} is longer than the {limit} bytes that such a file may have.")
    return data
