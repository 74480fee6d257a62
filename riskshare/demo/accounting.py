"""The demo's last part: what was asked stands on the ledger, others have cosigned it, and nobody can alter it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from riskshare.demo.commands import command, refused
from riskshare.demo.scenario import BANK
from riskshare.errors import RiskshareError
from riskshare.governance import read_registry
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.policy import network_policy
from riskshare.ledger.tile import WIDTH, Bundle
from riskshare.loopback import LoopbackMember, LoopbackNetwork
from riskshare.peer.opening import now, opened_store

FINAL_SECONDS: Final = 60.0
"""Patience: it takes two seconds, but for a machine that is busy with other things."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Altered:
    """One byte of a copy that was altered, and what verification said of it: code and sentence."""

    path: str
    place: int
    entry: int
    code: str
    message: str

    @property
    def named(self) -> bool:
        """Whether it was found, and the very entry named."""
        return self.code == "wrong_bundle" and f"Entry {self.entry} in {self.path}" in self.message


@dataclass(frozen=True, slots=True)
class Accounted:
    """The bank's log after the questions.

    `checkpoint` is the signed note, `cosigned_by` the members whose cosignatures under it hold; `needed` are a quorum.
    `logs` are the final sizes of all members' logs. `verified` is what `ledger verify` said of the log at its URL,
    `proof` what it said of the proof of one receipt.
    """

    checkpoint: str
    cosigned_by: Sequence[str]
    needed: int
    seconds: float
    logs: dict[str, int]
    receipt: str
    verified: dict[str, Any]
    proof: dict[str, Any]
    altered: Altered

    @property
    def passed(self) -> bool:
        """Whether the log is final and holds, the proof too, and the altered byte was named."""
        return (
            len(self.cosigned_by) >= self.needed
            and bool(self.verified.get("size"))
            and all(self.logs.values())
            and self.proof.get("statement") == self.receipt
            and self.proof.get("index") == self.altered.entry
            and self.altered.named
        )


def account(network: LoopbackNetwork, receipts: Sequence[str], began: float, say: Say) -> Accounted:
    """Wait until the receipts are final, verify the bank's log and a proof, then alter a byte of a copy.

    `receipts` are ids in hex, `began` when the last of them was kept (`time.monotonic`).

    Raises:
        RiskshareError: code `demo_failed`, they do not become final within a minute.

    """
    bank = network.members[BANK]
    say("Waiting until a quorum of the others has cosigned all of it")
    index = asyncio.run(_final(bank, receipts))
    seconds = time.monotonic() - began
    say("Verifying the bank's log from outside, then a copy of it with one byte altered")
    registry_file, policy_file = network.directory / "network.json", network.directory / "policy"
    registry = read_registry(registry_file)
    policy = network_policy(registry, BANK, now())
    policy_file.write_bytes(policy.to_bytes())
    copy, proof = network.directory / "log-copy", network.directory / "receipt.tlog-proof"
    believing = ("--policy", str(policy_file))
    at_url = (bank.urls["peers"], *believing, "--registry", str(registry_file))
    with ThreadPoolExecutor(2) as pool:
        verifying = pool.submit(command, bank, "ledger", "verify", *at_url)
        size = command(bank, "ledger", "export", "--out", str(copy))["size"]
        signed = parse_signed((copy / "checkpoint").read_bytes())
        altering = pool.submit(_alter, bank, copy, size, index, believing)
        command(bank, "ledger", "proof", receipts[0], "--out", str(proof))
        proven = command(bank, "ledger", "verify", str(proof), *believing)
        verified, altered = verifying.result(), altering.result()
    return Accounted(
        signed.note.to_bytes().decode(),
        [name.removeprefix("witness/") for name in policy.check(signed).witnesses],
        registry.quorum.needed(len(registry.others(BANK))),
        seconds,
        asyncio.run(_sizes(network)),
        receipts[0],
        verified,
        proven,
        altered,
    )


async def _final(bank: LoopbackMember, receipts: Sequence[str]) -> int:
    """Wait until all receipts are final; gives the index of the first one's entry."""
    async with opened_store(bank.config) as store:
        deadline = time.monotonic() + FINAL_SECONDS
        while time.monotonic() < deadline:
            found = [await store.ledger.index_of("receipt", bytes.fromhex(text)) for text in receipts]
            final = await store.ledger.final()
            indexes = [index for index in found if index is not None]
            if final is not None and len(indexes) == len(found) and final.size > max(indexes):
                return indexes[0]
            await asyncio.sleep(0.1)
    raise RiskshareError(
        f"The receipts are not final after {FINAL_SECONDS:g} seconds: see riskshare ledger status.", code="demo_failed"
    )


async def _sizes(network: LoopbackNetwork) -> dict[str, int]:
    sizes = {}
    for member in network.members.values():
        async with opened_store(member.config) as store:
            final = await store.ledger.final()
        sizes[member.name] = final.size if final else 0
    return sizes


def _alter(bank: LoopbackMember, copy: Path, size: int, index: int, believing: Sequence[str]) -> Altered:
    """Flip one bit in the entry of a receipt, and verify the copy."""
    number, position = divmod(index, WIDTH)
    bundle = Bundle(number, min(WIDTH, size - number * WIDTH))
    place = position * (bundle.length // bundle.width) + 2 + 7  # two bytes of length stand before each entry
    file = copy / bundle.path
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    error = refused(bank, "ledger", "verify", str(copy), *believing)
    return Altered(bundle.path, place, index, error["code"], error["message"])
