"""A head becomes final by a quorum, whatever single witnesses do; and a log that may fork signs nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.errors import LedgerError, PeerDown, PeerGarbage, PeerLate
from riskshare.ledger import finalize
from riskshare.ledger.addition import parse_addition
from riskshare.ledger.finalize import Quorum, quorum_of
from riskshare.ledger.note import parse_note
from tests.simulator.ledger import Logger
from tests.simulator.network import make_network

DAY = 86_400


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(finalize, "ROUND_SECONDS", 0.2)


@pytest.fixture
async def logger():
    made = Logger()
    yield made
    await made.stop()


async def settled():
    """Let tasks that wait for nothing finish."""
    for _ in range(20):
        await asyncio.sleep(0)


async def rounds(logger):
    """One round, and another that sees what came after the first was over."""
    await logger.finalizer.round()
    await settled()
    await logger.finalizer.round()


# --- rounds


async def test_a_head_is_final_with_a_quorum_and_later_cosignatures_are_kept_too(logger):
    assert await logger.begin()
    head = await logger.grow(5)
    assert head.final_at == logger.clock.now
    assert len(logger.check_final(head)) >= 3
    await settled()
    await logger.finalizer.round()
    assert logger.check_final(logger.log.state.head) == set(logger.witnesses)
    assert {code for _, code in logger.watch.offers} == {"cosigned"}


async def test_every_witness_gets_a_proof_from_what_it_knows(logger):
    await logger.begin()
    for count in (1, 255, 1, 300):
        await logger.grow(count)
        await settled()
        await logger.finalizer.round()
    olds = [parse_addition(body).old for body in logger.witnesses["w0"].seen]
    assert olds == [0, 0, 1, 256, 257]
    assert {witness.known.size for witness in logger.witnesses.values()} == {557}


async def test_only_the_logs_own_signature_is_offered(logger):
    logger.witnesses["w3"].up = False
    await logger.begin()
    await logger.grow(5)
    logger.witnesses["w3"].up = True
    await logger.grow(1)
    await settled()
    for body in logger.witnesses["w3"].seen:
        assert [made.name for made in parse_addition(body).signed.note.signatures] == [logger.origin]


async def test_without_a_quorum_nothing_is_final_and_with_it_again_everything_is(logger):
    await logger.begin()
    for name in ("w0", "w1"):
        logger.witnesses[name].up = False
    for _ in range(3):
        head = await logger.grow(2)
        assert head.final_at is None
        assert logger.quorum().cosigners(parse_note(head.note)) == {"w2", "w3"}
    logger.witnesses["w0"].up = True
    await logger.finalizer.round()
    assert "w0" in logger.check_final(logger.log.state.head)
    assert logger.watch.codes("w1")[-1] == "peer_down"
    # One final checkpoint stands for the smaller ones, which are forgotten.
    assert list(logger.log.state.checkpoints) == [0, 6]


async def test_a_slow_witness_delays_nothing_and_its_cosignature_is_kept_when_it_comes(logger):
    await logger.begin()
    slow = asyncio.Event()
    logger.witnesses["w1"].answers.append(slow)
    first = await logger.grow(1)
    assert first.final_at is not None
    second = await logger.grow(1)
    assert logger.check_final(second) == {"w0", "w2", "w3"}
    assert len(logger.witnesses["w1"].seen) == 2  # the empty log, and the first head: not asked twice at once
    slow.set()
    await settled()
    await logger.finalizer.round()
    assert "w1" in logger.check_final(logger.log.state.checkpoints[1])
    third = await logger.grow(1)
    await settled()
    await logger.finalizer.round()
    assert "w1" in logger.check_final(logger.log.state.checkpoints[third.size])


async def test_a_quorum_that_needs_a_slow_witness_comes_with_it_though_the_head_has_moved_on(logger):
    await logger.begin()
    slow = asyncio.Event()
    logger.witnesses["w1"].answers.append(slow)
    logger.witnesses["w0"].up = False
    assert (await logger.grow(1)).final_at is None
    assert (await logger.grow(1)).final_at is None
    slow.set()
    await settled()
    await logger.finalizer.round()
    assert "w1" in logger.check_final(logger.log.state.checkpoints[1])
    await logger.finalizer.round()
    assert "w1" in logger.check_final(logger.log.state.checkpoints[2])


async def test_who_was_not_needed_for_the_quorum_cosigns_too_though_the_log_is_quiet(logger, monkeypatch):
    """Else a witness that is well would look as if it lagged until the log grows again."""
    monkeypatch.setattr(finalize, "LATE_SECONDS", 0.0)
    await logger.begin()
    away = logger.witnesses["w2"]
    away.up = False
    head = await logger.grow(3)
    assert logger.check_final(head) == {"w0", "w1", "w3"}
    for _ in range(2):
        await logger.finalizer.round()
        await settled()
    assert logger.check_final(logger.log.state.head) == {"w0", "w1", "w3"}
    away.up = True
    for _ in range(3):
        await logger.finalizer.round()
        await settled()
    assert logger.check_final(logger.log.state.head) == {"w0", "w1", "w2", "w3"}
    asked = len(away.seen)
    await logger.finalizer.round()
    await settled()
    assert len(away.seen) == asked  # all have cosigned: nobody is asked any more


async def test_a_dead_witness_is_asked_now_and_then_for_what_is_final(logger):
    await logger.begin()
    away = logger.witnesses["w2"]
    await logger.grow(3)
    await settled()
    away.up = False
    await logger.grow(1)
    await settled()
    offers = len(logger.watch.codes("w2"))
    for _ in range(20):
        await logger.finalizer.round()
        await settled()
    assert len(logger.watch.codes("w2")) <= offers + 1


async def test_a_witness_that_was_away_for_a_day_cosigns_the_newest_head(logger):
    await logger.begin()
    away = logger.witnesses["w2"]
    await logger.grow(3)
    await settled()
    away.up = False
    for _ in range(4):
        await logger.grow(100)
    logger.clock.step(DAY)
    away.up = True
    await logger.grow(1)
    await settled()
    await logger.finalizer.round()
    assert away.known.size == 404
    assert "w2" in logger.check_final(logger.log.state.head)


async def test_a_witness_that_lost_its_state_is_offered_the_head_from_where_it_is(logger):
    await logger.begin()
    await logger.grow(3)
    await settled()
    logger.witnesses["w0"].known = type(logger.witnesses["w0"].known)()
    await logger.grow(1)
    await settled()
    await logger.finalizer.round()
    assert logger.witnesses["w0"].known.size == 4


BAD = [
    (200, b""),
    (200, b"\xe2\x80\x94 no signature\n"),
    (200, "— riskshare/test/w0/witness AAAAAAAAAAAAAAAAAAAAAAAAAAAA\n".encode()),
    (200, b"\xff" * 100),
    (409, b"many\n"),
    (409, b"-1\n"),
    (409, b"9" * 100),
    (404, b"who?\n"),
    (403, b""),
    (400, b""),
    (500, b"<html>"),
    (302, b""),
    (0, b""),
]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: f"{answer[0]}-{answer[1][:8]!r}")
async def test_an_answer_that_is_garbage_or_a_refusal_counts_for_nothing(logger, answer):
    await logger.begin()
    liars = [logger.witnesses["w0"], logger.witnesses["w1"]]
    for liar in liars:
        liar.answers.append(answer)
    head = await logger.grow(1)
    assert head.final_at is None
    assert logger.quorum().cosigners(parse_note(head.note)) == {"w2", "w3"}
    assert logger.watch.codes("w0")[-1] in {"witness_garbage", "refused"}
    await logger.finalizer.round()
    assert logger.log.state.head.final_at is not None


@pytest.mark.parametrize("kind", [PeerDown, PeerLate, PeerGarbage])
async def test_a_witness_that_cannot_be_reached_is_told_by_its_code(logger, kind):
    await logger.begin()
    logger.witnesses["w0"].answers.append(kind("w0", "no"))
    await logger.grow(1)
    await settled()
    await logger.finalizer.round()
    assert logger.watch.codes("w0")[-1] == kind.code


async def test_a_witness_cannot_cosign_for_another_or_with_an_old_cosignature(logger):
    await logger.begin()
    first = await logger.grow(1)
    await settled()
    await logger.finalizer.round()
    stored = parse_note(logger.log.state.checkpoints[first.size].note)
    lines = "".join(made.line for made in stored.signatures[1:]).encode()
    for name in ("w0", "w1"):
        logger.witnesses[name].answers.append((200, lines))  # true cosignatures, of the checkpoint before
    head = await logger.grow(1)
    assert head.final_at is None
    assert logger.watch.codes("w0")[-1] == "witness_garbage"
    other = logger.witnesses["w2"]
    body = logger.witnesses["w2"].seen[-1]
    logger.witnesses["w0"].answers.append(await other.submit(body.replace(b"old 1", b"old 2")))
    await logger.finalizer.round()
    assert "w0" not in logger.quorum().cosigners(parse_note(logger.log.state.head.note))


async def test_a_registry_that_changes_between_rounds_is_followed(logger):
    await logger.begin()
    for name in ("w0", "w1"):
        logger.witnesses[name].up = False
    assert (await logger.grow(1)).final_at is None
    del logger.witnesses["w0"], logger.witnesses["w1"]  # suspended: of two others, two are a quorum
    await logger.finalizer.round()
    assert logger.check_final(logger.log.state.head) == {"w2", "w3"}


async def test_a_crash_before_cosignatures_are_stored_loses_only_the_round(logger):
    await logger.begin()
    logger.keep(1)
    await logger.sequencer.step()
    held = {name: witness.known for name, witness in logger.witnesses.items()}
    await logger.finalizer.round()
    state = logger.log.state
    for size, head in state.checkpoints.items():  # what a crash before the write leaves
        note = parse_note(head.note)
        state.checkpoints[size] = replace(
            head, final_at=None, note=replace(note, signatures=note.signatures[:1]).to_bytes()
        )
    assert {name: witness.known for name, witness in logger.witnesses.items()} != held
    await logger.stop()
    logger.start()
    assert await logger.begin()
    await logger.finalizer.round()
    assert len(logger.check_final(logger.log.state.head)) >= 3


async def test_cosignatures_that_made_a_quorum_before_a_restart_make_it_final_without_asking(logger):
    await logger.begin()
    head = await logger.grow(1)
    await settled()
    await logger.finalizer.round()
    state = logger.log.state
    state.checkpoints[1] = replace(state.checkpoints[1], final_at=None)
    await logger.stop()
    logger.start()
    await logger.begin()
    for witness in logger.witnesses.values():
        witness.up = False
    await logger.finalizer.round()
    assert logger.log.state.head.final_at is not None
    assert logger.log.state.head.root == head.root


async def test_a_clock_that_jumps_does_not_matter_to_checkpoints_and_their_order(logger):
    await logger.begin()
    for seconds in (10 * DAY, -400 * DAY, 900 * DAY, -1):
        logger.clock.step(seconds)
        head = await logger.grow(2)
        assert head.final_at == logger.clock.now
        logger.check_final(head)
    assert [head.size for head in logger.log.finals()] == [0, 2, 4, 6, 8][-len(logger.log.finals()) :]


# --- the beginning


async def test_nothing_is_signed_before_so_many_have_told_what_they_have_seen_as_share_a_member_with_every_quorum(
    logger,
):
    for name in ("w0", "w1", "w2"):
        logger.witnesses[name].up = False
    assert not await logger.begin()
    assert not await logger.begin()
    assert len(logger.witnesses["w3"].seen) == 1  # who has told is not asked again
    logger.witnesses["w0"].up = True
    assert await logger.begin()


@pytest.mark.parametrize("answer", [answer for answer in BAD if answer[0] != 409])
async def test_garbage_and_refusals_are_no_reply(logger, answer):
    for name in ("w0", "w1", "w2"):
        logger.witnesses[name].answers.append(answer)
    assert not await logger.begin()
    assert await logger.begin()


async def test_a_round_before_the_beginning_offers_nothing(logger):
    await logger.finalizer.round()
    await logger.sequencer.open()
    await logger.finalizer.round()
    assert logger.watch.offers == []


async def test_a_member_without_others_begins_and_is_never_final():
    logger = Logger(witnesses=0)
    assert await logger.begin()
    assert (await logger.grow(3)).final_at is None
    await logger.stop()


async def test_a_restart_on_the_same_database_goes_on(logger):
    await logger.begin()
    await logger.grow(3)
    await logger.stop()
    logger.start()
    assert await logger.begin()
    assert (await logger.grow(1)).final_at is not None


async def test_a_restart_after_a_checkpoint_that_nobody_saw_goes_on_from_it(logger):
    await logger.begin()
    await logger.grow(3)
    logger.keep(2)
    await logger.sequencer.step()
    await logger.stop()
    logger.start()
    assert await logger.begin()
    await logger.finalizer.round()
    assert logger.log.state.head.size == 5
    logger.check_final(logger.log.state.head)


async def test_a_database_restored_from_an_older_backup_does_not_fork(logger):
    await logger.begin()
    await logger.grow(3)
    backup = logger.log.backup()
    await logger.grow(4)
    await settled()
    await logger.stop()
    logger.log.restore(backup)
    logger.start()
    with pytest.raises(
        LedgerError, match=r"has seen 7 entries .* holds 3: .* older backup.* restore the newest"
    ) as refused:
        await logger.begin()
    assert refused.value.code == "ledger_behind"
    assert logger.log.state.halted == ("ledger_behind", refused.value.message)
    logger.keep(1)
    for act in (logger.begin, logger.sequencer.step, logger.finalizer.begin, logger.finalizer.round):
        with pytest.raises(LedgerError) as again:
            await act()
        assert again.value.code == "ledger_behind"
    assert logger.log.state.head.size == 3


async def test_an_empty_database_under_an_identity_that_has_a_log_does_not_fork(logger):
    await logger.begin()
    await logger.grow(3)
    await settled()
    other = Logger()
    other.witnesses = logger.witnesses
    other.keep(1)
    with pytest.raises(LedgerError) as refused:
        await other.begin()
    assert refused.value.code == "ledger_behind"
    assert list(other.log.state.checkpoints) == [0]
    await other.stop()


@pytest.mark.parametrize("grown", [3, 5])
async def test_another_history_of_the_same_length_or_a_shorter_one_does_not_go_on(logger, grown):
    await logger.begin()
    await logger.grow(3)
    await settled()
    other = Logger()  # a database that grew without asking anybody
    other.numbers = 1000
    other.keep(grown)
    await other.sequencer.open()
    await other.sequencer.step()
    other.witnesses = logger.witnesses
    with pytest.raises(LedgerError, match="another history") as refused:
        await other.begin()
    assert refused.value.code == "ledger_forked"
    assert other.log.state.halted[0] == "ledger_forked"
    await other.stop()


async def test_a_lift_by_the_operator_lets_the_log_go_on_once_the_liar_is_gone(logger):
    await logger.begin()
    await logger.grow(3)
    await settled()
    await logger.stop()
    logger.start()
    for witness in logger.witnesses.values():
        if witness.name != "w1":
            witness.up = False
    logger.witnesses["w1"].answers.append((409, b"1000\n"))
    with pytest.raises(LedgerError, match="w1 has seen 1000") as refused:
        await logger.begin()
    assert refused.value.code == "ledger_behind"
    logger.log.state.halted = None
    for witness in logger.witnesses.values():
        witness.up = True
    del logger.witnesses["w1"]
    logger.start()
    assert await logger.begin()
    assert (await logger.grow(1)).final_at is not None


# --- claims while the log runs


@pytest.mark.parametrize(("answer", "code"), [((409, b"1000\n"), "ahead"), ((422, b"no"), "disputed")])
async def test_one_liar_does_not_stop_a_running_log(logger, answer, code):
    await logger.begin()
    await logger.grow(2)
    await settled()
    logger.witnesses["w0"].answers.extend([answer] * 50)
    for _ in range(5):
        head = await logger.grow(1)
        await settled()
        await logger.finalizer.round()
        assert head.final_at is not None
    assert logger.watch.codes("w0")[-1] == code
    assert await logger.log.halted() is None


async def test_more_claims_than_there_can_be_liars_halt_the_log(logger):
    await logger.begin()
    await logger.grow(2)
    await settled()
    await logger.finalizer.round()
    for name in ("w0", "w1"):
        logger.witnesses[name].answers.append((409, b"1000\n"))
    logger.keep(1)
    await logger.sequencer.step()
    with pytest.raises(LedgerError, match="w0, w1 has seen 1000 entries") as refused:
        await rounds(logger)
    assert refused.value.code == "ledger_behind"
    assert logger.log.state.halted[0] == "ledger_behind"


async def test_a_claim_that_is_taken_back_counts_no_more(logger):
    await logger.begin()
    await logger.grow(2)
    await settled()
    for name in ("w0", "w1"):
        logger.witnesses[name].answers.append((409, b"1000\n"))
        await logger.grow(1)
        await settled()
        await logger.finalizer.round()
        await logger.grow(1)
        await settled()
        await logger.finalizer.round()
    assert await logger.log.halted() is None


async def test_a_database_that_goes_back_under_a_running_process_halts_it(logger):
    await logger.begin()
    await logger.grow(3)
    backup = logger.log.backup()
    await logger.grow(4)
    logger.log.restore(backup)
    with pytest.raises(LedgerError, match="This process has seen 7 entries") as refused:
        await logger.finalizer.round()
    assert refused.value.code == "ledger_behind"


# --- a damaged store


async def test_a_damaged_tile_is_not_taken_for_another_history_and_stops_only_those_who_need_it(logger):
    await logger.begin()
    await logger.grow(300)
    await settled()
    await logger.finalizer.round()
    behind = logger.witnesses["w0"]
    behind.up = False
    await logger.grow(300)
    await settled()
    await logger.finalizer.round()
    behind.up = True
    logger.witnesses["w1"].up = False
    tiles = logger.log.state.tiles
    tiles[0, 1] = b"\x00" * 32 + tiles[0, 1][32:]  # wholly inside what w0 has not seen
    logger.keep(1)
    await logger.sequencer.step()
    with pytest.raises(LedgerError) as refused:
        await rounds(logger)
    assert refused.value.code == "log_damaged"
    assert await logger.log.halted() is None
    assert logger.quorum().cosigners(parse_note(logger.log.state.head.note)) == {"w2", "w3"}


# --- the quorum


def test_replies_share_a_member_with_every_quorum():
    for members in range(30):
        quorum = Quorum({}, 1 + 2 * members // 3, members)
        assert quorum.replies + quorum.needed >= members + 1
        assert quorum.replies >= 0


def test_the_quorum_follows_the_registry():
    network = make_network(["a", "b", "c", "d", "e"])
    at = network.issued_at
    quorum = quorum_of(network.registry, "a", at)
    assert {name: key.public for name, (key,) in quorum.others.items()} == {
        name: network.members[name].witness.public for name in "bcde"
    }
    assert (quorum.needed, quorum.members, quorum.replies) == (3, 4, 2)
    quorum = quorum_of(network.change("b", standing="suspended"), "a", at)
    assert (set(quorum.others), quorum.needed, quorum.members) == ({"c", "d", "e"}, 3, 3)
    assert quorum_of(network.registry, "a", at - timedelta(days=1)).others == {}
