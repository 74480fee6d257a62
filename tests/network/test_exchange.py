"""An exchange over real TLS by the real verbs: Asker, PeerClient, application, Answerer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from riskshare.errors import PeerRefused
from riskshare.ledger.receipt import KeptReceipt, UnansweredAsk
from riskshare.membership import oprf
from riskshare.query import admission
from riskshare.query.answer import Answerer, Clock
from riskshare.query.ask import Asker
from riskshare.query.batch import AskFailed
from riskshare.query.quota import Limits, Quotas
from tests.simulator.listening import Pair, View, now, peer_pair
from tests.simulator.network import seed

EPOCH = b"e" * 32
KEY = oprf.SecretKey.derive(seed("oprf"), b"test", oprf.Mode.VOPRF)


@dataclass
class Store:
    """Both sides' receipts, in memory."""

    receipts: dict[tuple[str, UUID], KeptReceipt] = field(default_factory=dict)
    kept: list[KeptReceipt] = field(default_factory=list)
    unanswered: list[UnansweredAsk] = field(default_factory=list)

    async def keep(self, kept: KeptReceipt) -> KeptReceipt:
        return self.receipts.setdefault((kept.counterparty, kept.batch), kept)

    async def find(self, counterparty: str, batch: UUID) -> KeptReceipt | None:
        return self.receipts.get((counterparty, batch))

    async def keep_receipts(self, receipts: Sequence[KeptReceipt], unanswered: Sequence[UnansweredAsk] = ()) -> None:
        self.kept += receipts
        self.unanswered += unanswered


class Known:
    """What the registry says, as both verbs ask for it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.network = view.current().network

    def version(self) -> int:
        return self._view.current().version

    def expired(self, at: datetime) -> bool:
        return self._view.current().expired(at)

    async def fetch(self, _version: int) -> None:
        return None

    def asker(self, member: str, at: datetime) -> admission.Asker | None:
        found = self._view.current().member(member)
        if found is None:
            return None
        keys = [term.public for term in found.identity_in_force(at)]
        return admission.Asker(member, found.in_good_standing, keys, frozenset(found.purposes))

    def limits(self, _member: str) -> Limits:
        return Limits(per_second=10_000, per_day=10_000, per_epoch=None)

    def keys(self, owner: str, at: datetime, received: datetime) -> Sequence[bytes]:
        terms = self._view.current().members[owner].identity
        return [term.public for term in terms if term.may_sign(at, received)]

    def snapshots(self, _owner: str) -> Mapping[str, bytes]:
        return {"jd/high-risk": b"s" * 32}

    def served(self, epoch: bytes, _member: str, _now: datetime) -> oprf.SecretKey | None:
        return KEY if epoch == EPOCH else None

    def allows(self, _epoch: bytes, _member: str, _purpose: str, _now: datetime) -> bool:
        return True


async def evaluate(key: oprf.SecretKey, elements: bytes) -> bytes:
    return oprf.evaluate_many(key, elements)


def verbs(pair: Pair, store: Store) -> tuple[Asker, Answerer]:
    known = Known(pair.owner_view)
    answerer = Answerer(
        owner="jd",
        identity=pair.owner.identity,
        members=known,
        keys=known,
        quotas=Quotas(),
        receipts=store,
        evaluate=evaluate,
        clock=Clock(now, time.monotonic),
        random=secrets.token_bytes,
    )
    asker = Asker(
        querier="icbc",
        identity=pair.network.members["icbc"].identity,
        owners=Known(pair.view),
        transport=pair.client,
        kept=store,
        now=now,
        random=secrets.token_bytes,
    )
    return asker, answerer


class Later:
    """Stands in the application until the answerer is made."""

    answerer: Answerer

    async def answer(self, body: bytes, asker: str) -> tuple[bytes, int]:
        return await self.answerer.answer(body, asker)


async def test_elements_of_one_turn_travel_together_and_come_back_evaluated(tmp_path: Path) -> None:
    later, store = Later(), Store()
    async with peer_pair(tmp_path, later) as pair:
        asker, later.answerer = verbs(pair, store)
        inputs = [b"phone:+861380013800%d" % number for number in range(5)]
        blinds = [oprf.scalar_from_random(secrets.token_bytes(64)) for _ in inputs]
        tickets = [
            asker.submit("jd", EPOCH, "payment", oprf.blind(data, blind))
            for data, blind in zip(inputs, blinds, strict=True)
        ]
        evaluated = await asyncio.gather(*(ticket.done for ticket in tickets))
        tokens = [
            oprf.finalize(data, oprf.invert(blind), element)
            for data, blind, element in zip(inputs, blinds, evaluated, strict=True)
        ]
        assert tokens == [oprf.token(KEY, data) for data in inputs]
        await asker.close()
    [owners_half] = store.receipts.values()
    [queriers_half] = store.kept
    assert owners_half.receipt.id == queriers_half.receipt.id
    assert owners_half.count == 5


async def test_a_refusal_reaches_the_asker_with_its_code_and_the_ask_is_kept(tmp_path: Path) -> None:
    later, store = Later(), Store()
    async with peer_pair(tmp_path, later) as pair:
        asker, later.answerer = verbs(pair, store)
        element = oprf.blind(b"x", oprf.scalar_from_random(secrets.token_bytes(64)))
        with pytest.raises(AskFailed) as caught:
            await asker.submit("jd", b"x" * 32, "payment", element).done
        assert isinstance(caught.value.reason, PeerRefused)
        assert caught.value.reason.remote_code == "unknown_epoch"
        await asker.close()
    assert len(store.unanswered) == 1
    assert store.receipts == {}
