"""The queries of reconciliation, held against what they mean, said in Python over all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.audit.fact import BROKEN, MALFORMED, UNSIGNED_ASK, Exchange, Flaw, ReceiptRow, UnansweredRow
from riskshare.store.case import FILE_NAME, TOGETHER, Case
from riskshare.store.crosscheck import CrossCheck

MEMBERS = ("bank", "jd", "telco")


class Facts(NamedTuple):
    """What replay may have written: it objects to each receipt that is broken, or in the log of a third member."""

    exchanges: list[Exchange]
    receipts: list[ReceiptRow]
    unanswered: list[UnansweredRow]

    @property
    def flaws(self) -> list[Flaw]:
        known = {one.id: one for one in self.exchanges}
        return [
            Flaw(row.member, "7", "wrong_statement", row.idx, "it is wrong")
            for row in self.receipts
            if known[row.id].faults & BROKEN or row.member not in (known[row.id].querier, known[row.id].owner)
        ]

    @property
    def logs(self) -> dict[bytes, list[str]]:
        return {one.id: [row.member for row in self.receipts if row.id == one.id] for one in self.exchanges}


def digest(*numbers: int) -> bytes:
    return bytes(numbers).ljust(32, b"\x07")


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    small = st.integers(0, 1)
    made = Facts([], [], [])
    for number in range(draw(st.integers(0, 6))):
        batch, ask = draw(st.integers(0, 2)), draw(small)
        querier, owner = draw(st.permutations(MEMBERS))[:2]
        faults = draw(st.sampled_from((0, 0, 0, UNSIGNED_ASK, MALFORMED)))
        fields = (
            querier,
            owner,
            bytes([batch]) * 16,
            digest(batch, ask),
            digest(draw(small)),
            digest(9),
            "payment",
            1,
            1,
        )
        if faults == MALFORMED:
            fields = ("", "", b"", b"", b"", b"", "", 0, 0)
        made.exchanges.append(Exchange(digest(number, 255), *fields, 5, 6, faults))
    for one, member in product(made.exchanges, MEMBERS):
        for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2)))):
            made.receipts.append(ReceiptRow(member, len(made.receipts), one.id, ""))
    for number in range(draw(st.integers(0, 3))):
        batch, (member, owner, _) = draw(st.integers(0, 2)), draw(st.permutations(MEMBERS))
        made.unanswered.append(
            UnansweredRow(member, 100 + number, digest(batch, draw(small)), owner, bytes([batch]) * 16, 5)
        )
    return made


@contextmanager
def prepared(made: Facts) -> Iterator[CrossCheck]:
    with TemporaryDirectory() as folder, Case.open(Path(folder) / FILE_NAME) as case:
        case.add("exchange", made.exchanges)
        case.add("receipt", made.receipts)
        case.add("unanswered", made.unanswered)
        case.add_flaws(made.flaws)
        check = CrossCheck(case)
        check.prepare()
        yield check
        check.finish()


@settings(max_examples=60, deadline=None)
@given(facts())
def test_what_one_side_alone_logged_is_found(made: Facts):
    logs = made.logs
    expected = {
        (one.id, int(one.querier in logs[one.id]), int(one.owner in logs[one.id]))
        for one in made.exchanges
        if not one.faults & BROKEN and logs[one.id] and not {one.querier, one.owner} <= set(logs[one.id])
    }
    with prepared(made) as check:
        found = [(row[0], *row[-2:]) for row in check.rows("one_sided", BROKEN)]
    assert sorted(found) == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(facts())
def test_what_stands_twice_in_a_log_and_what_stands_in_two_is_found(made: Facts):
    times = Counter((row.member, row.id) for row in made.receipts)
    with prepared(made) as check:
        found = {(member, id): count for member, id, count, _, _ in check.rows("repeated")}  # noqa: A001 - the column's word
        assert list(check.rows("two_sided")) == [(sum(len(set(logs)) == 2 for logs in made.logs.values()),)]
    assert found == {place: count for place, count in times.items() if count > 1}


@settings(max_examples=60, deadline=None)
@given(facts())
def test_batches_with_two_asks_or_answers_and_asks_that_are_known_are_found(made: Facts):
    asks: dict[tuple[str, str, bytes], set[bytes]] = {}
    answers: dict[tuple[str, str, bytes], set[bytes]] = {}
    for one in made.exchanges:
        if not one.faults & MALFORMED:
            asks.setdefault((one.owner, one.querier, one.batch), set()).add(one.ask)
            answers.setdefault((one.owner, one.querier, one.batch), set()).add(one.answer)
    for row in made.unanswered:
        asks.setdefault((row.owner, row.member, row.batch), set()).add(row.ask)
    expected = [place for place in asks if len(asks[place]) > 1 or len(answers.get(place, ())) > 1]
    known = {(row.ask, row.member) for row in made.unanswered}
    known |= {(one.ask, member) for one in made.exchanges for member in made.logs[one.id]}
    with prepared(made) as check:
        assert list(check.rows("of_a_batch", MALFORMED)) == sorted(expected)
        for one, member in product(made.exchanges, MEMBERS):
            if not one.faults & MALFORMED:
                found = any(check.rows("knows_the_ask", one.ask, member, one.batch))
                assert found == ((one.ask, member) in known)


def test_many_rows_are_added_at_once_and_what_is_there_stays_as_it_is():
    many = [ReceiptRow("jd", number, digest(number % 256), "") for number in range(3 * TOGETHER + 1)]
    other = [row._replace(note="owner") for row in many[: 2 * TOGETHER]] + [ReceiptRow("jd", 999, digest(9), "owner")]
    with TemporaryDirectory() as folder, Case.open(Path(folder) / FILE_NAME) as case:
        case.add("receipt", iter(many))
        case.add("receipt", other)
        assert list(case.select("select * from receipt order by idx")) == [*many, other[-1]]
