"""What is kept becomes part of the log, once and in order, whatever befalls the process that grows it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.errors import LedgerError
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.merkle import EMPTY_ROOT, root
from tests.simulator.ledger import Crash, Logger


@pytest.fixture
async def logger():
    made = Logger()
    yield made
    await made.stop()


async def test_the_first_checkpoint_is_of_no_entries_and_nothing_is_taken_before_it(logger):
    logger.keep(3)
    assert await logger.sequencer.step() == 0
    assert logger.log.state.head is None
    await logger.sequencer.open()
    assert (logger.log.state.head.size, logger.log.state.head.root) == (0, EMPTY_ROOT)
    assert len(logger.log.state.pending) == 3
    assert await logger.sequencer.step() == 3
    await logger.sequencer.open()
    assert list(logger.log.state.checkpoints) == [0, 3]


async def test_nothing_pending_signs_nothing(logger):
    await logger.sequencer.open()
    assert await logger.sequencer.step() == 0
    assert list(logger.log.state.checkpoints) == [0]


@pytest.mark.parametrize("most", [1, 7, 255, 256, 257, 1024])
async def test_a_log_grown_in_any_steps_is_the_same_log(most):
    logger = Logger(most=most)
    await logger.sequencer.open()
    entries = []
    for count in (1, 254, 1, 1, 255, 0, 300):
        entries += logger.keep(count)
        assert await logger.sequencer.step() == count
    head = logger.log.state.head
    assert (head.size, head.root) == (812, root(entries))
    assert logger.log.entries(812) == entries
    logger.log.verify()


async def test_a_checkpoint_is_signed_by_the_log_alone_and_holds_no_time(logger):
    await logger.sequencer.open()
    head = await logger.grow(5)
    signed = parse_signed(head.note)
    assert [made.name for made in signed.note.signatures] == [logger.origin]
    assert signed.note.text.count("\n") == 3


@given(steps=st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["", "before", "after"])), max_size=8))
@settings(max_examples=40)
async def test_a_crash_before_or_after_any_commit_loses_doubles_and_forks_nothing(steps):
    logger = Logger(most=64)
    await logger.sequencer.open()
    entries = []
    for count, fail in steps:
        entries += logger.keep(count)
        logger.log.fail = fail
        try:
            await logger.sequencer.step()
        except Crash:
            logger.start()
            await logger.sequencer.open()
    await logger.sequencer.step()
    assert logger.log.state.pending == []
    assert logger.log.entries(len(entries)) == entries
    logger.log.verify()


# --- a damaged store


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize("size", [3, 256 + 3, 256 * 256 + 256 + 3])
async def test_a_bit_flipped_anywhere_in_the_edge_is_found_before_anything_is_signed(size):
    logger = Logger(most=10_000)
    await logger.sequencer.open()
    logger.keep(size)
    await logger.sequencer.step()
    state = logger.log.backup()
    head = state.head
    logger.keep(1)
    edge = [place for place, data in state.tiles.items() if len(data) < 256 * 32]
    assert len(edge) == (size.bit_length() + 7) // 8
    for place in edge:
        logger.log.state.tiles[place] = flipped(state.tiles[place], len(state.tiles[place]) - 1)
        for act in (logger.sequencer.open, logger.sequencer.step):
            with pytest.raises(LedgerError, match="root") as refused:
                await act()
            assert refused.value.code == "log_damaged"
        logger.log.state.tiles[place] = state.tiles[place]
    last = size >> 8
    logger.log.state.bundles[last] = flipped(state.bundles[last], len(state.bundles[last]) - 1)
    with pytest.raises(LedgerError, match="other entries"):
        await logger.sequencer.step()
    assert logger.log.state.head == head
    logger.log.state.bundles[last] = state.bundles[last]
    assert await logger.sequencer.step() == 1


async def test_an_edge_that_is_lost_or_cut_is_found(logger):
    await logger.sequencer.open()
    logger.keep(5)
    await logger.sequencer.step()
    good = logger.log.backup()
    for spoil in (
        lambda state: state.tiles.clear(),
        lambda state: state.tiles.update({(0, 0): state.tiles[0, 0][:-32]}),
        lambda state: state.bundles.clear(),
        lambda state: state.bundles.update({0: state.bundles[0][:-1]}),
        lambda state: state.bundles.update({0: b"\x00\x21" + state.bundles[0][2:]}),
    ):
        spoil(logger.log.state)
        with pytest.raises(LedgerError) as refused:
            await logger.sequencer.open()
        assert refused.value.code == "log_damaged"
        logger.log.restore(good)


async def test_a_note_that_says_something_else_than_its_row_is_found(logger):
    await logger.sequencer.open()
    logger.keep(5)
    await logger.sequencer.step()
    good = logger.log.backup()
    for note in (good.checkpoints[0].note, b"garbage", good.head.note.replace(b"/me", b"/us")):
        state = logger.log.backup()
        state.checkpoints[5] = type(state.head)(5, state.head.root, note, state.head.signed_at)
        logger.log.restore(state)
        with pytest.raises(LedgerError) as refused:
            await logger.sequencer.open()
        assert refused.value.code == "log_damaged"
        logger.log.restore(good)


async def test_a_halted_log_signs_nothing(logger):
    await logger.sequencer.open()
    logger.keep(2)
    await logger.log.halt("ledger_behind", "Restore it.")
    for act in (logger.sequencer.open, logger.sequencer.step):
        with pytest.raises(LedgerError, match="Restore") as refused:
            await act()
        assert refused.value.code == "ledger_behind"
    assert len(logger.log.state.pending) == 2


async def test_a_clock_that_jumps_changes_nothing_of_the_log(logger):
    await logger.sequencer.open()
    entries = []
    for seconds in (1, 86_400 * 400, -86_400 * 900, 5):
        logger.clock.step(seconds)
        entries += logger.keep(3)
        await logger.sequencer.step()
    assert logger.log.state.head.root == root(entries)
    logger.log.verify()
