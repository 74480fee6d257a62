"""A witness: every status of tlog-witness v1.0.0, races, failures in between, two histories."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.errors import StoreError
from riskshare.ledger.addition import SIZE_TYPE, TEXT_TYPE, Cosigned, Known, Knows, Verdict, read_answer
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, origin_of, parse_signed, sign_checkpoint
from riskshare.ledger.cosign import Witness
from riskshare.ledger.histories import TwoHistories, parse_histories
from riskshare.ledger.kept import BEHIND
from riskshare.ledger.note import Signature, parse_signatures, sign, verify, verify_signatures
from riskshare.ledger.policy import log_keys, witness_keys
from riskshare.signature import SigningKey
from tests.simulator.network import NETWORK, SimulatedNetwork, make_network, seed
from tests.simulator.tree import DefinedTree
from tests.simulator.witnessing import Desk, Log, Memory, witness_of

ORIGIN = origin_of(NETWORK, "jd")
FORK = DefinedTree(40)
FORK.leaves[0] = bytes(32)


class World:
    """icbc is the witness, jd has the log."""

    def __init__(self) -> None:
        self.network: SimulatedNetwork = make_network()
        self.now = self.network.issued_at + timedelta(minutes=1)
        self.memory, self.desk = Memory(), Desk()
        self.log = Log(self.network, "jd", DefinedTree(40))
        self.forked = Log(self.network, "jd", FORK)
        self.witness = self.another()

    def another(self) -> Witness:
        """A second process of the witness."""
        return witness_of(self.network, "icbc", self, self.memory, self.desk)

    def current(self):
        return self.network.registry

    async def post(self, body: bytes) -> Verdict:
        return await self.witness.add_checkpoint(body, self.now)

    async def offer(self, old: int, new: int) -> Verdict:
        return await self.post(self.log.body(old, new))

    def known(self, size: int) -> Known:
        return Known(size, self.log.tree.root(size))

    def understood(self, old: int, new: int, verdict: Verdict):
        """What the log makes of an answer."""
        keys = witness_keys(self.current(), "icbc", self.now)
        return read_answer(verdict.status, verdict.body, self.log.offer(old, new), keys)


@pytest.fixture
def world() -> World:
    return World()


# -- 200 -------------------------------------------------------------------------------------------


async def test_a_log_is_cosigned_from_its_beginning_on(world):
    for old, new in ((0, 0), (0, 1), (1, 7), (7, 40)):
        verdict = await world.offer(old, new)
        assert (verdict.status, verdict.code, verdict.content_type) == (200, "accepted", TEXT_TYPE)
        assert isinstance(world.understood(old, new, verdict), Cosigned)
        assert world.memory.rows[ORIGIN].known == world.known(new)
    assert world.desk.counted == [("jd", "accepted")] * 4
    assert world.desk.kept == []


async def test_the_cosignature_is_v1_with_the_time_of_the_clock(world):
    verdict = await world.offer(0, 7)
    [line] = parse_signatures(verdict.body)
    assert line.name == f"riskshare/{NETWORK}/icbc/witness"
    text = world.log.offer(0, 7).checkpoint.text
    [held] = verify_signatures(text, [line], witness_keys(world.current(), "icbc", world.now))
    assert held.time == int(world.now.timestamp())


async def test_the_same_size_again_gets_a_new_cosignature(world):
    first = await world.offer(0, 7)
    world.now += timedelta(seconds=5)
    second = await world.offer(7, 7)
    assert (first.status, second.status) == (200, 200)
    assert first.body != second.body
    for verdict in (first, second):
        assert isinstance(world.understood(7, 7, verdict), Cosigned)


async def test_a_clock_that_goes_back_keeps_nobody_waiting(world):
    await world.offer(0, 7)
    world.now -= timedelta(seconds=30)
    verdict = await world.offer(7, 9)
    assert verdict.status == 200
    assert isinstance(world.understood(7, 9, verdict), Cosigned)


async def test_what_is_kept_of_a_log_has_its_own_signatures_alone(world):
    addition = world.log.offer(0, 7)
    junk = Signature("stranger", b"1234", b"?" * 1000)
    note = addition.signed.note.with_signatures([junk])
    verdict = await world.post(replace(addition, signed=replace(addition.signed, note=note)).to_bytes())
    assert verdict.status == 200
    assert parse_signed(world.memory.rows[ORIGIN].note).note == addition.signed.note


async def test_either_key_of_a_log_that_changes_its_key_will_do(world):
    old = world.current().members["jd"].ledger[0]
    other = SigningKey(seed("jd", "ledger", "next"))
    world.network.change("jd", ledger=(old, replace(old, public=other.public)))
    assert (await world.offer(0, 3)).status == 200
    world.log.key = other
    assert (await world.offer(3, 7)).status == 200


# -- refusals --------------------------------------------------------------------------------------


async def refused(world: World, body: bytes, status: int, code: str, *, log: str = "jd", looks: int = 0) -> Verdict:
    before, looked = dict(world.memory.rows), world.memory.looks
    verdict = await world.post(body)
    assert (verdict.status, verdict.code) == (status, code)
    assert world.memory.rows == before
    assert world.memory.looks - looked == looks
    assert world.desk.counted[-1] == (log, code)
    return verdict


async def test_400_what_cannot_be_read(world):
    for body in (b"", b"old 0\n\n", b"\xff", world.log.body(0, 7) + b"x", b"x" * 70_000):
        verdict = await refused(world, body, 400, "malformed", log="")
        assert verdict.content_type == TEXT_TYPE


async def test_400_the_old_size_is_above_the_new_one(world):
    await world.offer(0, 9)
    await refused(world, world.log.body(9, 7), 400, "size_shrinks", looks=1)


async def test_403_not_signed_by_the_log_is_refused_without_a_look_at_what_is_known(world):
    world.log.key = SigningKey(seed("mallory"))
    await refused(world, world.log.body(0, 7), 403, "bad_signature")
    good = Log(world.network, "jd", world.log.tree).offer(0, 7)
    text = good.signed.note.text
    for wrong in (
        [sign("other\n", ORIGIN, world.network.members["jd"].ledger)],
        [sign(text, ORIGIN, world.network.members["jd"].witness)],
        [sign(text, ORIGIN, world.network.members["jd"].identity)],
        [sign(text, ORIGIN, world.network.members["unionpay"].ledger)],
    ):
        note = replace(good.signed.note, signatures=tuple(wrong))
        await refused(world, replace(good, signed=replace(good.signed, note=note)).to_bytes(), 403, "bad_signature")
    twice = replace(good.signed.note, signatures=good.signed.note.signatures * 2)
    body = replace(good, signed=replace(good.signed, note=twice)).to_bytes()
    await refused(world, body, 403, "duplicate_signature")


@pytest.mark.parametrize(
    "origin",
    [
        "example.com/log",
        "riskshare/simnet/mallory",
        "riskshare/othernet/jd",
        "riskshare/simnet/jd/witness",
        "riskshare/simnet/icbc",  # the witness's own log
    ],
)
async def test_404_not_the_log_of_another_member(world, origin):
    checkpoint = Checkpoint(origin, 7, world.log.tree.root(7))
    member = "icbc" if origin.endswith("icbc") else "jd"
    note = sign_checkpoint(checkpoint, world.network.members[member].ledger)
    addition = replace(world.log.offer(0, 7), signed=SignedCheckpoint(checkpoint, note))
    await refused(world, addition.to_bytes(), 404, "unknown_log", log="")


async def test_404_a_member_that_is_suspended_until_it_is_not(world):
    world.network.change("jd", standing="suspended")
    await refused(world, world.log.body(0, 7), 404, "unknown_log")
    world.network.change("jd", standing="good")
    assert (await world.offer(0, 7)).status == 200


async def test_404_a_key_whose_term_has_not_begun_or_is_over(world):
    [term] = world.current().members["jd"].ledger
    for changed in (
        replace(term, valid_from=world.now + timedelta(hours=1)),
        replace(term, valid_until=world.now),
        replace(term, compromised_from=world.now - timedelta(seconds=1)),
    ):
        world.network.change("jd", ledger=(changed,))
        await refused(world, world.log.body(0, 7), 404, "unknown_log")


@pytest.mark.parametrize("old", [0, 3, 8])
async def test_409_not_from_the_size_that_is_known(world, old):
    await world.offer(0, 7)
    verdict = await refused(world, world.log.body(old, 9), 409, "size_conflict", looks=1)
    assert (verdict.body, verdict.content_type) == (b"7\n", SIZE_TYPE)
    assert world.understood(old, 9, verdict) == Knows(7)


async def test_422_a_proof_that_does_not_hold(world):
    await world.offer(0, 7)
    other = replace(world.log.offer(7, 9), proof=world.log.offer(6, 9).proof)
    await refused(world, other.to_bytes(), 422, "wrong_consistency", looks=1)
    await refused(world, world.forked.body(7, 9), 422, "wrong_consistency", looks=1)
    assert world.desk.kept == []  # a wrong proof convicts nobody


async def test_503_a_witness_whose_own_log_is_behind_has_forgotten_what_it_cosigned(world):
    await world.offer(0, 3)
    world.memory.halt = (BEHIND, "Witnesses have seen more.")
    await refused(world, world.log.body(3, 7), 503, "witness_behind", looks=1)
    verdict = await refused(world, world.log.body(0, 7), 409, "size_conflict", looks=1)
    assert verdict.body == b"3\n"


async def test_a_log_that_halted_for_another_reason_does_not_keep_its_member_from_witnessing(world):
    world.memory.halt = ("ledger_disputed", "A witness has seen another tree.")
    assert (await world.offer(0, 3)).status == 200


# -- races and failures ----------------------------------------------------------------------------


@pytest.mark.parametrize(("faster", "status"), [((0, 9), 409), ((0, 7), 409)])
async def test_of_two_requests_at_once_the_second_is_judged_by_what_the_first_has_left(world, faster, status):
    second = world.another()

    async def overtake() -> None:
        assert (await second.add_checkpoint(world.log.body(*faster), world.now)).status == 200

    world.memory.before = overtake
    verdict = await world.offer(0, 7)
    assert verdict.status == status
    assert verdict.body == f"{faster[1]}\n".encode()
    assert len(world.memory.writes) == 1


async def test_two_histories_at_once_are_not_both_cosigned(world):
    second = world.another()

    async def overtake() -> None:
        assert (await second.add_checkpoint(world.forked.body(0, 7), world.now)).status == 200

    world.memory.before = overtake
    verdict = await world.offer(0, 7)
    assert (verdict.status, verdict.code, verdict.body) == (409, "size_conflict", b"7\n")
    [(accused, found, _)] = world.desk.kept
    assert accused == "jd"
    assert found.size == 7


async def test_many_requests_at_once_never_leave_two_lines(world):
    """Whatever the order, each checkpoint that was stored extends the one stored before it."""
    asks = [world.log.body(old, new) for old, new in ((0, 5), (0, 6), (5, 9), (6, 9), (5, 6), (9, 12))] * 3
    verdicts = await asyncio.gather(*map(world.post, asks))
    assert {verdict.status for verdict in verdicts} <= {200, 409}
    sizes = [old.size for _, old, _, _ in world.memory.writes] + [world.memory.writes[-1][2].size]
    assert sizes == sorted(sizes)
    assert all(
        first[2] == second[1] for first, second in zip(world.memory.writes, world.memory.writes[1:], strict=False)
    )


async def test_a_store_that_never_agrees_is_a_store_that_fails(world):
    class Stubborn(Memory):
        async def witness(self, *_: object) -> bool:
            return False

    world.memory = Stubborn()
    world.witness = world.another()
    with pytest.raises(StoreError):
        await world.offer(0, 7)
    assert world.memory.looks == 3


async def test_failed_nothing_is_known_and_nothing_leaves(world):
    world.memory.failing = "failed"
    with pytest.raises(StoreError):
        await world.offer(0, 7)
    assert world.memory.rows == {}
    world.memory.failing = ""
    assert (await world.offer(0, 7)).status == 200


async def test_failed_but_persisted_costs_a_cosignature_and_nothing_else(world):
    world.memory.failing = "persisted"
    with pytest.raises(StoreError):
        await world.offer(0, 7)
    world.memory.failing = ""
    verdict = await world.offer(0, 7)
    assert world.understood(0, 7, verdict) == Knows(7)
    again = await world.offer(7, 7)
    assert isinstance(world.understood(7, 7, again), Cosigned)
    # Nor can the log use the gap to show another history.
    assert (await world.post(world.forked.body(0, 7))).status == 409
    assert len(world.desk.kept) == 1


# -- two histories ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "status"), [(7, 409), (0, 409), (3, 409), (9, 400)])
async def test_two_histories_are_kept_however_they_are_offered(world, old, status):
    await world.offer(0, 7)
    verdict = await world.post(world.forked.body(old, 7))
    assert verdict.status == status
    assert world.memory.rows[ORIGIN].known == world.known(7)
    [(accused, found, at)] = world.desk.kept
    assert (accused, at) == ("jd", world.now)
    assert (found.first.checkpoint.root, found.second.checkpoint.root) == (world.log.tree.root(7), FORK.root(7))


async def test_a_stranger_verifies_the_evidence_with_the_logs_key_alone(world):
    await world.offer(0, 7)
    await world.post(world.forked.body(7, 7))
    [(_, found, _)] = world.desk.kept
    evidence = parse_histories(found.to_bytes())
    assert evidence == found
    evidence.verify(log_keys(world.current(), "jd", world.now))
    for signed in (evidence.first, evidence.second):
        verify(signed.note, log_keys(world.current(), "jd", world.now))


async def test_the_answer_waits_for_the_evidence(world):
    await world.offer(0, 7)
    world.desk.failing = True
    with pytest.raises(StoreError):
        await world.post(world.forked.body(7, 7))


async def test_a_forged_second_history_convicts_nobody(world):
    await world.offer(0, 7)
    world.forked.key = SigningKey(seed("mallory"))
    assert (await world.post(world.forked.body(7, 7))).status == 403
    assert world.desk.kept == []


async def test_the_log_that_was_known_goes_on(world):
    await world.offer(0, 7)
    await world.post(world.forked.body(7, 7))
    assert (await world.offer(7, 9)).status == 200


async def test_a_wrong_root_of_no_leaves_is_refused_where_nothing_is_known(world):
    checkpoint = Checkpoint(ORIGIN, 0, bytes(32))
    note = sign_checkpoint(checkpoint, world.network.members["jd"].ledger)
    addition = replace(world.log.offer(0, 0), signed=SignedCheckpoint(checkpoint, note))
    verdict = await world.post(addition.to_bytes())
    assert (verdict.status, verdict.code) == (409, "two_histories")
    assert world.desk.kept == []


def test_evidence_is_of_one_fraud_whoever_finds_it(world):
    first, second = world.log.offer(0, 7).signed, world.forked.offer(0, 7).signed
    other = Log(world.network, "jd", DefinedTree(9)).offer(0, 9).signed
    assert TwoHistories(first, second).about == TwoHistories(second, first).about
    assert TwoHistories(first, second).about != TwoHistories(other, other).about
    assert len(TwoHistories(first, second).about) == 32
