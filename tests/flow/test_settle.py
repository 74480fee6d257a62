"""Two members settle: equal, in dispute, killed at each step, and with one that lies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.proposal import MAX_PROPOSAL, Disputed, Proposal, ReceiptPage, ReceiptRow
from riskshare.audit.settle import SETTLED_AFTER, Dispute
from riskshare.encoding import cbor_decode, cbor_encode
from riskshare.errors import AskRefused, EncodingError, InputError, PeerDown, PeerGarbage, RegistryError
from riskshare.signature import SigningKey
from tests.simulator.network import SimulatedNetwork, make_network
from tests.simulator.settling import CLOSED, LATER, OPENED, Killed, Party, Way, connect, exchange

DAY = timedelta(days=1)


@pytest.fixture
def network() -> SimulatedNetwork:
    made = make_network(("icbc", "jd", "unionpay"), now=OPENED - DAY)
    made.change("jd", price="0.0025")
    return made


@pytest.fixture
def parties(network) -> tuple[Party, Party]:
    icbc, jd = Party(network, "icbc"), Party(network, "jd")
    connect(icbc, jd)
    for number in range(10):
        exchange(jd, icbc, number, count=number + 1, hours=number)
    exchange(icbc, jd, 100, count=7)
    return icbc, jd


def agreed(party: Party, other: str) -> Proposal:
    [found] = [row for (member, _, _), row in party.ledger.rows.items() if member == other]
    return found


def holds(network: SimulatedNetwork, proposal: Proposal) -> bool:
    return all(
        proposal.is_signed(member, [network.members[member].identity.public]) for member in proposal.settlement.members
    )


async def test_both_sign_the_same_bytes(network, parties):
    icbc, jd = parties
    done = await icbc.settle("jd")
    assert isinstance(done, Proposal)
    assert holds(network, done)
    assert agreed(icbc, "jd") == agreed(jd, "icbc") == done
    of_icbc, of_jd = done.settlement.directions
    assert (of_jd.owner, of_jd.receipts, of_jd.evaluations, f"{of_jd.owed}") == ("jd", 10, 55, "0.1375")
    assert (of_icbc.owner, of_icbc.receipts, f"{of_icbc.owed}") == ("icbc", 1, "0")
    assert done.settlement.net[:2] == ("icbc", "jd")
    assert done.settlement.body()["net"]["amount"] == "0.14"


async def test_settling_again_changes_nothing_whoever_begins(parties):
    icbc, jd = parties
    done = await icbc.settle("jd")
    assert await icbc.settle("jd") == done
    assert await jd.settle("icbc") == done
    assert len(icbc.ledger.rows) == len(jd.ledger.rows) == 1


async def test_what_lies_outside_of_the_period_is_not_in_it(network, parties):
    icbc, jd = parties
    exchange(jd, icbc, 50, count=999, hours=7 * 24)  # at the very end: not in
    exchange(jd, icbc, 51, count=999, hours=-0.001)
    exchange(jd, icbc, 52, count=1, hours=0)  # at the very beginning: in
    assert (await icbc.settle("jd")).settlement.directions[1].evaluations == 56


# -- periods --------------------------------------------------------------------------------------


async def test_a_period_that_is_not_over_is_not_settled(parties):
    icbc, jd = parties
    for now in (CLOSED - DAY, CLOSED, CLOSED + SETTLED_AFTER - timedelta(milliseconds=1)):
        icbc.now = jd.now = now
        with pytest.raises(InputError) as caught:
            await icbc.settle("jd")
        assert caught.value.code == "period_open"
    icbc.now = LATER  # and the other side does not sign it either
    with pytest.raises(InputError) as caught:
        await icbc.settle("jd")
    assert caught.value.code == "period_open"
    assert not jd.ledger.rows


async def test_a_period_ends_after_it_begins(parties):
    with pytest.raises(InputError):
        await parties[0].settle("jd", CLOSED, OPENED)


@pytest.mark.parametrize(("before", "after"), [(DAY, -DAY), (-DAY, DAY), (DAY, timedelta(0)), (-3 * DAY, -3 * DAY)])
async def test_periods_that_overlap_are_refused_by_both_sides(parties, before, after):
    icbc, jd = parties
    await icbc.settle("jd")
    icbc.now = jd.now = LATER + DAY
    period = OPENED + before, CLOSED + after
    for party, other in ((icbc, "jd"), (jd, "icbc")):
        with pytest.raises(InputError) as caught:
            await party.settle(other, *period)
        assert caught.value.code == "settlement_overlap"
    proposal = Proposal.of(await icbc.settler.compute("jd", *period)).signed("icbc", icbc.settler._identity)
    with pytest.raises(InputError) as caught:
        await jd.settler.answer(proposal.to_bytes(), "icbc")
    assert caught.value.code == "settlement_overlap"


async def test_periods_that_meet_do_not_overlap(parties):
    icbc, jd = parties
    await icbc.settle("jd")
    await icbc.settle("jd", OPENED - DAY, OPENED)
    assert len(jd.ledger.rows) == 2


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        (OPENED, OPENED + timedelta(minutes=1)),
        (OPENED, CLOSED),
        (OPENED + timedelta(milliseconds=1), datetime(2026, 12, 1, tzinfo=UTC)),
        (OPENED, datetime(2027, 1, 1, tzinfo=UTC)),
        (OPENED, datetime(2026, 11, 30, tzinfo=UTC)),
    ],
)
async def test_where_months_are_settled_no_part_of_one_is_proposed_or_signed(opened, closed):
    network = make_network(("icbc", "jd"), now=OPENED - DAY)
    icbc, jd = Party(network, "icbc"), Party(network, "jd", months=True)
    connect(icbc, jd)
    icbc.now = jd.now = datetime(2027, 2, 1, tzinfo=UTC)
    for party, other in ((icbc, "jd"), (jd, "icbc")):  # jd refuses it as the other, and as the one who proposes
        with pytest.raises(InputError) as caught:
            await party.settle(other, opened, closed)
        assert caught.value.code == "settlement_period"
    assert not jd.ledger.rows
    await icbc.settle("jd", datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    await jd.settle("icbc", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert len(jd.ledger.rows) == 2


async def test_what_was_settled_before_only_months_were_still_stands():
    network = make_network(("icbc", "jd"), now=OPENED - DAY)
    icbc, jd, strict = Party(network, "icbc"), Party(network, "jd"), Party(network, "jd", months=True)
    connect(icbc, jd)
    agreed = await icbc.settle("jd")
    strict.ledger.rows.update(jd.ledger.rows)
    assert await strict.settle("icbc") == agreed
    answer = await strict.settler.answer(agreed.to_bytes(), "icbc")
    assert answer == agreed.to_bytes()


# -- disputes -------------------------------------------------------------------------------------


async def test_a_receipt_that_one_side_lacks_is_named(parties):
    icbc, jd = parties
    gone = exchange(jd, icbc, 20, count=40)
    del icbc.kept["querier", "jd"][gone.id]
    dispute = await icbc.settle("jd")
    assert isinstance(dispute, Dispute)
    assert dispute.receipts == (Disputed("jd", "icbc", gone.batch, None, gone),)
    assert (dispute.only_ours, dispute.only_theirs) == (0, 1)
    assert dispute.theirs.directions[1].evaluations - dispute.ours.directions[1].evaluations == 40
    assert not icbc.ledger.rows
    assert not jd.ledger.rows
    seen_from_jd = await jd.settle("icbc")
    assert seen_from_jd.receipts == (Disputed("jd", "icbc", gone.batch, gone, None),)
    # When it has been adopted, they agree.
    icbc.kept["querier", "jd"][gone.id] = gone
    assert isinstance(await icbc.settle("jd"), Proposal)


async def test_two_receipts_of_one_batch_are_one_exchange_with_both_counts(parties):
    icbc, jd = parties
    row = exchange(jd, icbc, 20, count=40)
    other = replace(row, id=bytes(32), count=50)
    jd.kept["owner", "icbc"] = {**{key: value for key, value in jd.kept["owner", "icbc"].items() if key != row.id}}
    jd.kept["owner", "icbc"][other.id] = other
    dispute = await icbc.settle("jd")
    assert dispute.receipts == (Disputed("jd", "icbc", row.batch, row, other),)
    assert [one.count for one in (dispute.receipts[0].ours, dispute.receipts[0].theirs)] == [40, 50]


@given(ours=st.sets(st.integers(0, 30)), theirs=st.sets(st.integers(0, 30)))
async def test_every_difference_is_found_over_any_number_of_pages(ours, theirs):
    network = make_network(("icbc", "jd"), now=OPENED - DAY)
    icbc, jd = Party(network, "icbc"), Party(network, "jd")
    connect(icbc, jd)
    rows = {number: exchange(jd, icbc, number) for number in ours | theirs}
    for number, row in rows.items():
        if number not in ours:
            del icbc.kept["querier", "jd"][row.id]
        if number not in theirs:
            del jd.kept["owner", "icbc"][row.id]
    outcome = await icbc.settle("jd")
    if ours == theirs:
        assert isinstance(outcome, Proposal)
        return
    assert (outcome.only_ours, outcome.only_theirs) == (len(ours - theirs), len(theirs - ours))
    assert {each.ours.id for each in outcome.receipts if each.ours} == {rows[number].id for number in ours - theirs}
    assert {each.theirs.id for each in outcome.receipts if each.theirs} == {rows[number].id for number in theirs - ours}


# -- who knows another registry ---------------------------------------------------------------------


async def test_who_has_an_older_registry_fetches_the_newer_one(network, parties):
    icbc, jd = parties
    jd.versions.upto = 2
    assert isinstance(await icbc.settle("jd"), Proposal)
    assert jd.versions.fetched == [3]


async def test_a_proposer_with_an_older_registry_is_told_so(network, parties):
    icbc, jd = parties
    icbc.versions.upto = 2
    with pytest.raises(AskRefused) as caught:
        await icbc.settle("jd")
    assert caught.value.code == "registry_mismatch"
    assert not jd.ledger.rows


async def test_a_version_issued_after_the_period_is_no_matter(network, parties):
    icbc, jd = parties
    network.issue(now=CLOSED + timedelta(seconds=1))
    jd.versions.upto = 3
    assert (await icbc.settle("jd")).settlement.registry == 3


async def test_a_price_that_rises_within_the_period_makes_two_lines(network, parties):
    icbc, _ = parties
    network.issue([replace(network.registry.members["jd"], price="1")], now=OPENED + timedelta(hours=5))
    lines = (await icbc.settle("jd")).settlement.directions[1].lines
    assert [(line.registry, line.price, line.receipts) for line in lines] == [(3, "0.0025", 5), (4, "1", 5)]


async def test_before_the_first_registry_nothing_can_be_settled(parties):
    icbc, _ = parties
    with pytest.raises(RegistryError) as caught:
        await icbc.settle("jd", OPENED - 30 * DAY, OPENED - 20 * DAY)
    assert caught.value.code == "registry_gap"


async def test_a_stranger_is_no_counterparty(parties):
    for name in ("stranger", "icbc"):
        with pytest.raises(InputError) as caught:
            await parties[0].settle(name)
        assert caught.value.code == "unknown_member"


# -- killed at each step ------------------------------------------------------------------------------


async def completes(network: SimulatedNetwork, icbc: Party, jd: Party) -> None:
    """The next run leaves the same statement on both ledgers."""
    icbc.loses = icbc.ledger.dies = jd.ledger.dies = ""
    done = await icbc.settle("jd")
    assert holds(network, done)
    assert agreed(icbc, "jd") == agreed(jd, "icbc") == done


@pytest.mark.parametrize("lost", ["proposal", "answer"])
async def test_a_message_that_is_lost_costs_another_run(network, parties, lost):
    icbc, jd = parties
    icbc.loses = lost
    with pytest.raises(PeerDown):
        await icbc.settle("jd")
    assert not icbc.ledger.rows
    await completes(network, icbc, jd)


@pytest.mark.parametrize("who", ["icbc", "jd"])
@pytest.mark.parametrize("step", ["before keeping", "after keeping"])
async def test_whoever_is_killed_the_next_run_completes_it(network, parties, who, step):
    icbc, jd = parties
    {"icbc": icbc, "jd": jd}[who].ledger.dies = step
    with pytest.raises(Killed):
        await icbc.settle("jd")
    await completes(network, icbc, jd)


async def test_what_was_signed_stands_even_if_we_would_compute_something_else_by_now(network, parties):
    icbc, jd = parties
    icbc.loses = "process"
    with pytest.raises(Killed):
        await icbc.settle("jd")
    first = agreed(jd, "icbc")
    exchange(jd, icbc, 77)  # of that time, adopted only now
    await completes(network, icbc, jd)
    assert agreed(icbc, "jd") == first


async def test_the_other_side_may_complete_it_too(network, parties):
    icbc, jd = parties
    icbc.loses = "process"
    with pytest.raises(Killed):
        await icbc.settle("jd")
    exchange(jd, icbc, 78)
    jd.ledger.rows, done = {}, agreed(jd, "icbc")  # nor does jd's database know of it any more, but jd has the file
    assert await jd.settler.answer(done.to_bytes(), "icbc") == done.to_bytes()
    assert agreed(jd, "icbc") == done


async def test_both_may_begin_at_once(network, parties):
    icbc, jd = parties
    icbc.loses = "process"
    with pytest.raises(Killed):
        await icbc.settle("jd")
    assert await jd.settle("icbc") == agreed(jd, "icbc")
    await completes(network, icbc, jd)


# -- a liar -----------------------------------------------------------------------------------------


async def proposal_of(icbc: Party, key: SigningKey | None = None) -> Proposal:
    made = Proposal.of(await icbc.settler.compute("jd", OPENED, CLOSED))
    return made.signed("icbc", key or icbc.settler._identity)


async def test_a_proposal_without_the_proposers_signature_is_refused(parties):
    icbc, jd = parties
    good = await proposal_of(icbc)
    for bad in (
        replace(good, first=b""),
        replace(good, first=b"", second=good.first),
        await proposal_of(icbc, SigningKey(bytes(32))),
    ):
        with pytest.raises(AskRefused) as caught:
            await jd.settler.answer(bad.to_bytes(), "icbc")
        assert caught.value.code == "bad_signature"
    assert not jd.ledger.rows


async def test_a_proposal_of_somebody_else_is_refused(network, parties):
    icbc, jd = parties
    unionpay = Party(network, "unionpay")
    body = (await proposal_of(icbc)).to_bytes()
    for settler, sender in ((jd.settler, "unionpay"), (unionpay.settler, "icbc"), (unionpay.settler, "unionpay")):
        with pytest.raises(AskRefused) as caught:
            await settler.answer(body, sender)
        assert caught.value.code == "wrong_member"


async def test_a_proposal_of_another_network_is_refused(parties):
    icbc, jd = parties
    made = Proposal.of(replace(await icbc.settler.compute("jd", OPENED, CLOSED), network="other"))
    with pytest.raises(AskRefused) as caught:
        await jd.settler.answer(made.signed("icbc", icbc.settler._identity).to_bytes(), "icbc")
    assert caught.value.code == "wrong_network"


async def test_figures_that_are_not_ours_are_never_signed(network, parties):
    icbc, jd = parties
    honest = await icbc.settler.compute("jd", OPENED, CLOSED)
    of_icbc, of_jd = honest.directions
    cheaper = replace(of_jd, lines=tuple(replace(line, price="0.001") for line in of_jd.lines))
    made = Proposal.of(replace(honest, directions=(of_icbc, cheaper))).signed("icbc", icbc.settler._identity)
    answer = Proposal.from_bytes(await jd.settler.answer(made.to_bytes(), "icbc"))
    assert answer == Proposal.of(honest)
    assert not jd.ledger.rows


class Liar(Way):
    """Answers a proposal with what a test says."""

    def __init__(self, party: Party, lie) -> None:
        super().__init__(party)
        self._lie = lie

        async def propose(member: str, body: bytes) -> bytes:
            return self._lie(Proposal.from_bytes(await party.propose(member, body)))

        self.propose = propose


def without_signature(answer: Proposal) -> bytes:
    return replace(answer, second=b"").to_bytes()


def with_another_signature(answer: Proposal) -> bytes:
    return replace(answer, second=bytes(64)).to_bytes()


def of_another_period(answer: Proposal) -> bytes:
    settlement = replace(answer.settlement, closed=CLOSED - DAY)
    return Proposal.of(settlement).signed("jd", SigningKey(bytes(32))).to_bytes()


def of_other_members(answer: Proposal) -> bytes:
    one, other = answer.settlement.directions
    directions = (replace(one, querier="unionpay"), replace(other, owner="unionpay"))
    return Proposal.of(replace(answer.settlement, directions=directions)).to_bytes()


def nonsense(_: Proposal) -> bytes:
    return b"\xa0"


@pytest.mark.parametrize(
    "lie", [without_signature, with_another_signature, of_another_period, of_other_members, nonsense]
)
async def test_an_answer_that_is_none_is_not_kept(parties, lie):
    icbc, _ = parties
    with pytest.raises(PeerGarbage):
        await icbc.settler.settle("jd", OPENED, CLOSED, Liar(icbc, lie))
    assert not icbc.ledger.rows


async def test_another_statement_with_the_others_signature_alone_is_not_kept(network, parties):
    icbc, _ = parties

    def lie(answer: Proposal) -> bytes:
        of_icbc, of_jd = answer.settlement.directions
        dearer = replace(of_jd, lines=tuple(replace(line, price="9") for line in of_jd.lines))
        made = Proposal.of(replace(answer.settlement, directions=(of_icbc, dearer)))
        return replace(made.signed("jd", network.members["jd"].identity), first=answer.first).to_bytes()

    with pytest.raises(PeerGarbage):
        await icbc.settler.settle("jd", OPENED, CLOSED, Liar(icbc, lie))
    assert not icbc.ledger.rows


async def test_a_member_reads_its_own_receipts_only(network, parties):
    icbc, jd = parties
    unionpay = Party(network, "unionpay")
    connect(icbc, jd, unionpay)
    exchange(jd, unionpay, 1)
    seen = ReceiptPage.from_bytes(await jd.settler.page("unionpay", "jd", OPENED, CLOSED, b""), b"")
    assert len(seen.rows) == 1
    with pytest.raises(InputError) as caught:
        await jd.settler.page("unionpay", "icbc", OPENED, CLOSED, b"")
    assert caught.value.code == "not_found"


# -- the messages, strictly ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"first": b"\0" * 63},
        {"second": "text"},
        {"statement": b"{}"},
        {"more": b""},
        {"statement": b"\0" * MAX_PROPOSAL},
    ],
)
async def test_a_proposal_of_another_form_is_refused(parties, change):
    icbc, jd = parties
    parts = {**cbor_decode((await proposal_of(icbc)).to_bytes(), limit=MAX_PROPOSAL), **change}
    with pytest.raises(EncodingError):
        await jd.settler.answer(cbor_encode(parts), "icbc")


ROW = [bytes(32), bytes(16), 1, 1, "2026-11-01T00:00:00.000Z"]


@pytest.mark.parametrize(
    "page",
    [
        [],
        {"rows": []},
        {"rows": [], "last": False},
        {"rows": [], "last": 1},
        {"rows": [ROW, ROW], "last": True},
        {"rows": [[b"\1" * 32, *ROW[1:]], ROW], "last": True},
        {"rows": [ROW[:4]], "last": True},
        {"rows": [[bytes(31), *ROW[1:]]], "last": True},
        {"rows": [[*ROW[:2], 0, 1, ROW[4]]], "last": True},
        {"rows": [[*ROW[:2], 4097, 1, ROW[4]]], "last": True},
        {"rows": [[*ROW[:2], True, 1, ROW[4]]], "last": True},
        {"rows": [[*ROW[:3], 0, ROW[4]]], "last": True},
        {"rows": [[*ROW[:4], "2026-11-01"]], "last": True},
    ],
)
def test_a_page_of_another_form_is_refused(page):
    with pytest.raises(EncodingError):
        ReceiptPage.from_bytes(cbor_encode(page), b"")


def test_a_page_that_does_not_go_on_is_refused():
    page = ReceiptPage((ReceiptRow(b"\1" * 32, UUID(int=1), 1, 1, ROW[4]),), last=True)
    assert ReceiptPage.from_bytes(page.to_bytes(), bytes(32)) == page
    for after in (b"\1" * 32, b"\2" * 32):
        with pytest.raises(EncodingError):
            ReceiptPage.from_bytes(page.to_bytes(), after)
