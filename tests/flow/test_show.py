"""Showing a log to an auditor: durable before it is shown, for a day, to its auditor alone; and into a folder."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.audit.access import KIND, AccessRequest
from riskshare.audit.admission import PROVE_FOR_EACH
from riskshare.audit.page import AuditRange, read_statements
from riskshare.audit.show import export_statements, page_from, part_of, whole_period
from riskshare.encoding import cbor_decode
from riskshare.errors import AuditRefused, EncodingError, InputError, StoreError
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.export import export
from riskshare.registry import AuditRights
from riskshare.statement import sign
from riskshare.store.log_folder import LogFolder
from tests.simulator.audited import Case, make_case

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@pytest.fixture
def case() -> Case:
    made = make_case(NOW)
    for hours in (30, 20, 2, 1):
        made.clock.at = NOW - timedelta(hours=hours)
        made.members["bank"].grow(100)
    made.clock.at = NOW
    return made


def uuid7(number: int) -> UUID:
    return UUID(int=number | 7 << 76 | 2 << 62)


def wire(case: Case, signer: str = "auditor", **changes: object):
    fields = {
        "access": uuid7(1),
        "action": "read",
        "auditor": "auditor",
        "member": "bank",
        "network": case.network.name,
        "registry": 2,
        "reason": "a test",
        "requested_at": NOW,
        "start": NOW - timedelta(days=1),
        "end": NOW - timedelta(minutes=90),
    }
    request = AccessRequest(**fields | changes)
    return sign(KIND, request.network, request.body(), case.network.members[signer].identity)


def opening(case: Case, number: int, count: int):
    checks = tuple(uuid7(1000 * number + one) for one in range(count))
    return wire(case, action="open", start=None, end=None, access=uuid7(number), checks=checks)


def admit(case: Case, signed, reader: str = "auditor") -> bytes:
    return asyncio.run(case.members["bank"].showing.admit(signed.wire(), reader))


def refused(code: str):
    return pytest.raises(AuditRefused, check=lambda error: error.code == code)


def test_an_answer_says_until_when(case):
    answer = admit(case, wire(case))
    assert cbor_decode(answer, limit=100) == {"until": "2026-11-23T08:30:00.000Z"}
    assert [each.reason for each in case.members["bank"].told] == ["a test"]


def test_the_same_request_is_answered_again_and_told_once(case):
    signed = wire(case)
    first = admit(case, signed)
    case.clock.at += timedelta(hours=23)
    assert admit(case, signed) == first
    assert len(case.members["bank"].told) == len(case.members["bank"].requests.rows) == 1


def test_what_cannot_be_kept_is_not_shown_and_not_told(case):
    async def away(row):
        raise StoreError("away")

    bank, signed = case.members["bank"], wire(case)
    bank.requests.keep = away
    with pytest.raises(StoreError):
        admit(case, signed)
    assert bank.told == []
    with refused("unknown_access"):
        asyncio.run(bank.showing.range(signed.digest, "auditor"))


def test_a_newer_registry_is_looked_for_first(case):
    with refused("registry_mismatch"):
        admit(case, wire(case, registry=9))
    assert case.members["bank"].fetched == [9]


REFUSED = {
    "another network": ({"network": "other"}, "wrong_network"),
    "another member": ({"member": "shop"}, "wrong_owner"),
    "another auditor": ({"auditor": "shop"}, "wrong_member"),
    "a late request": ({"requested_at": NOW - timedelta(seconds=61)}, "clock_off"),
    "a request from the future": ({"requested_at": NOW + timedelta(seconds=61)}, "clock_off"),
    "an old request": ({"requested_at": NOW - timedelta(hours=24)}, "access_expired"),
    "somebody else's signature": ({"signer": "shop"}, "bad_signature"),
}


@pytest.mark.parametrize(("changes", "code"), REFUSED.values(), ids=REFUSED)
def test_a_request_that_is_refused_leaves_nothing(case, changes, code):
    with refused(code):
        admit(case, wire(case, **changes))
    assert case.members["bank"].requests.rows == {}
    assert case.members["bank"].told == []


def test_bytes_that_are_no_request_are_refused(case):
    with pytest.raises(EncodingError):
        asyncio.run(case.members["bank"].showing.admit(b"x", "auditor"))


def test_a_member_that_is_no_auditor_is_refused(case):
    with refused("no_audit_right"):
        admit(case, wire(case, auditor="shop", signer="shop"), "shop")


def test_of_the_day_s_checks_no_more_are_opened(case):
    case.network.change("auditor", audit=AuditRights(None, 5))
    admit(case, opening(case, 1, 3))
    with refused("audit_quota"):
        admit(case, opening(case, 2, 3))
    admit(case, opening(case, 3, 2))
    with refused("audit_quota"):
        admit(case, opening(case, 4, 1))
    assert [len(each.checks) for each in case.members["bank"].told] == [3, 2]


def test_no_log_is_read_of_longer_ago_than_the_registry_says(case):
    case.network.change("auditor", audit=AuditRights(None, 5, read_days=30))
    month = timedelta(days=30)
    with refused("no_audit_right"):
        admit(case, wire(case, start=NOW - month - timedelta(milliseconds=1)))
    signed = wire(case, start=NOW - month)
    admit(case, signed)
    case.clock.at += timedelta(hours=23)
    assert shown(case, signed), "the bound counts from the request"
    case.network.change("auditor", audit=AuditRights(None, 5, read_days=1))
    with refused("no_audit_right"):
        shown(case, signed)


def test_a_bound_beyond_all_calendars_bounds_nothing(case):
    case.network.change("auditor", audit=AuditRights(None, 5, read_days=2**53 - 1))
    admit(case, wire(case, start=datetime(1970, 1, 1, tzinfo=UTC)))


def proving(case, number, receipts):
    named = tuple(bytes([number]) + index.to_bytes(31) for index in range(receipts))
    return wire(case, action="prove", access=uuid7(number), receipts=named, start=None, end=None)


def test_of_the_day_s_exchanges_no_more_are_proved(case):
    case.network.change("auditor", audit=AuditRights(None, 1))
    admit(case, opening(case, 1, 1))
    admit(case, proving(case, 2, PROVE_FOR_EACH - 3))
    with refused("audit_quota"):
        admit(case, proving(case, 3, 4))
    admit(case, proving(case, 4, 3))
    with refused("audit_quota"):
        admit(case, proving(case, 5, 1))
    assert [len(each.receipts) for each in case.members["bank"].told] == [0, PROVE_FOR_EACH - 3, 3]


def test_who_may_open_nothing_may_have_nothing_proved(case):
    case.network.change("auditor", audit=AuditRights(None, 0))
    with refused("audit_quota"):
        admit(case, proving(case, 1, 1))


# -- under a request ------------------------------------------------------------------------------------------------


def shown(case: Case, signed, reader: str = "auditor"):
    return asyncio.run(case.members["bank"].showing.range(signed.digest, reader))


def test_the_range_is_that_of_the_period(case):
    signed = wire(case)
    admit(case, signed)
    found = AuditRange.from_bytes(shown(case, signed))
    assert (found.start, parse_signed(found.before).checkpoint.size) == (100, 100)
    assert parse_signed(found.checkpoint).checkpoint.size == 400


@pytest.mark.parametrize("reader", ["shop", "bank"])
def test_nobody_else_is_shown_anything(case, reader):
    signed = wire(case)
    admit(case, signed)
    with refused("unknown_access"):
        shown(case, signed, reader)


def test_a_request_to_open_does_not_show_the_log(case):
    signed = opening(case, 1, 1)
    admit(case, signed)
    with refused("unknown_access"):
        shown(case, signed)


def test_a_request_that_this_member_made_itself_shows_nothing(case):
    """The bank keeps its own requests to others in the same place."""
    row = replace(asyncio.run(_kept(case)), member="shop", auditor="bank")
    case.members["bank"].requests.rows = {row.digest: row}
    with refused("unknown_access"):
        asyncio.run(case.members["bank"].showing.range(row.digest, "bank"))


async def _kept(case: Case):
    signed = wire(case)
    await case.members["bank"].showing.admit(signed.wire(), "auditor")
    return await case.members["bank"].requests.find(signed.digest)


def test_a_day_later_access_ends(case):
    signed = wire(case)
    admit(case, signed)
    case.clock.at = NOW + timedelta(hours=24)
    with refused("access_expired"):
        shown(case, signed)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"audit": AuditRights(("shop",))}, "no_audit_right"), ({"standing": "suspended"}, "wrong_member")],
)
def test_a_right_that_was_taken_away_ends_it_at_once(case, changes, code):
    signed = wire(case)
    admit(case, signed)
    case.network.change("auditor", **changes)
    with refused(code):
        shown(case, signed)


@pytest.mark.parametrize(("first", "size"), [(-1, 400), (400, 400), (5, 5), (0, 401), (401, 500)])
def test_beyond_the_range_there_is_no_page(case, first, size):
    signed = wire(case)
    admit(case, signed)
    with pytest.raises(InputError, check=lambda error: error.code == "not_found"):
        asyncio.run(case.members["bank"].showing.statements(signed.digest, "auditor", first, size))


def test_a_page_ends_where_the_reader_s_range_does(case):
    signed = wire(case)
    admit(case, signed)
    data = asyncio.run(case.members["bank"].showing.statements(signed.digest, "auditor", 0, 250))
    page = read_statements(data)
    assert (page.first, page.next) == (0, 250)
    assert page.covers(100)


def test_before_anything_is_final_there_is_nothing(case):
    case.members["bank"].heads.clear()
    signed = wire(case)
    admit(case, signed)
    with pytest.raises(InputError, check=lambda error: error.code == "not_found"):
        shown(case, signed)


# -- the part ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 600), st.integers(0, 40)), min_size=1, max_size=12),
    st.integers(0, 2000),
    st.integers(1, 2000),
)
def test_the_part_holds_the_period_whatever_became_final_when(growths, opened, length):
    """Minutes between checkpoints, minutes until each was final; the period begins and lasts so many minutes."""
    case = make_case(NOW)
    bank = case.members["bank"]
    for minutes, late in growths:
        case.clock.at += timedelta(minutes=minutes)
        # Checkpoints become final in their order: a final one stands for all before it.
        waited = max([head.final_at - case.clock() for head in bank.heads] + [timedelta(minutes=late)])
        bank.grow(1, cosigned_after=waited)
    case.clock.at += timedelta(minutes=60)
    since = NOW + timedelta(minutes=opened)
    until = since + timedelta(minutes=length)
    part = asyncio.run(part_of(bank, bank, since, until))
    # What is below the part was final before the period; what was signed within it is in it, as far as it is final.
    before = [head.size for head in bank.heads if head.final_at <= since - timedelta(minutes=5)]
    assert part.range.start == max(before, default=0)
    within = [head.size for head in bank.heads if head.signed_at <= until and head.final_at <= case.clock()]
    assert part.size >= max(within, default=0)
    assert part.range.start <= part.size


def test_a_clock_that_was_set_back_makes_no_part_that_ends_before_it_begins(case):
    bank = case.members["bank"]
    bank.heads[1] = replace(bank.heads[1], signed_at=NOW - timedelta(minutes=1))
    part = asyncio.run(part_of(bank, bank, NOW - timedelta(minutes=30), NOW - timedelta(minutes=20)))
    assert (part.range.start, part.size) == (400, 400)


def test_the_whole_period_has_the_whole_log(case):
    bank = case.members["bank"]
    part = asyncio.run(part_of(bank, bank, *whole_period(NOW)))
    assert (part.range.start, part.range.before, part.size) == (0, b"", 400)
    page = asyncio.run(page_from(bank, 0, part, part.size))
    assert list(page.rows) == bank.rows


# -- into a folder ----------------------------------------------------------------------------------------------------


def exported(case: Case, folder, since=NOW - timedelta(days=1), until=NOW):
    bank = case.members["bank"]

    async def run():
        part = await part_of(bank, bank, since, until)
        await export(bank.log, bank.log.signed(), b"", LogFolder(folder))
        return await export_statements(bank, part, LogFolder(folder))

    return asyncio.run(run())


def test_an_export_is_whole_and_the_next_one_writes_only_what_is_new(case, tmp_path):
    assert exported(case, tmp_path) == (1, 2)
    assert exported(case, tmp_path) == (1, 0)
    case.members["bank"].grow(50)
    case.clock.at += timedelta(seconds=5)
    assert exported(case, tmp_path) == (2, 2)
    names = sorted(path.name for path in (tmp_path / "statements").iterdir())
    assert names == ["000000000000.cbor", "000000000400.cbor", "range.cbor"]


def test_pages_of_another_part_are_replaced(case, tmp_path):
    exported(case, tmp_path)
    LogFolder(tmp_path).write("statements/000000000123.cbor", b"x")
    assert exported(case, tmp_path, since=NOW - timedelta(hours=3)) == (1, 2)
    assert not (tmp_path / "statements" / "000000000123.cbor").exists()
    page = read_statements((tmp_path / "statements" / "000000000000.cbor").read_bytes())
    assert page.covers(200)
    assert not page.covers(100)
