"""An auditor collects logs: what is there is not fetched again, what is no answer is not taken, nobody's fault is another's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.audit import collect as module
from riskshare.audit.collect import Collected, Missed, Wanted
from riskshare.audit.page import RANGE_FILE, AuditRange, StatementPage, page_at, read_statements
from riskshare.errors import DiskError, LedgerError, PeerDown, PeerGarbage, PeerLate, PeerRefused, StoreError
from riskshare.ledger.audit import audit
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.policy import parse_policy
from riskshare.store.log_folder import LogFolder
from tests.simulator.audited import Case, make_case

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
DAY = Wanted(NOW - timedelta(days=1), NOW - timedelta(hours=1), "yearly audit")
GROWTHS = {30: 300, 20: 3000, 2: 500, 0.5: 100}
"""Hours ago, and entries."""


@pytest.fixture
def case():
    made = make_case(NOW)
    for hours, count in GROWTHS.items():
        made.clock.at = NOW - timedelta(hours=hours)
        made.members["bank"].grow(count)
    made.clock.at = NOW - timedelta(hours=30)
    made.members["shop"].grow(10)
    made.clock.at = NOW
    return made


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


def collect(case: Case, folder, wanted: Wanted = DAY, member: str = "bank") -> Collected:
    return asyncio.run(case.collector.collect(member, wanted, LogFolder(folder)))


def fetched(case: Case) -> list[tuple[str, ...]]:
    """What was fetched since the last time."""
    found = [call for call in case.wires.calls if call[0] in ("tile", "statements")]
    case.wires.calls.clear()
    return found


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pages(folder, start, size) -> list[StatementPage]:
    found, at = [], 0
    while at < size:
        found.append(page_at(LogFolder(folder).read, at, start, size))
        at = found[-1].next
    return found


def check_whole(case: Case, folder, found: Collected) -> None:
    log = LogFolder(folder)
    audited = asyncio.run(audit(log, parse_policy(log.read("policy", 10**6))))
    assert audited.checkpoint.size == found.size
    rows = [row for page in pages(folder, found.start, found.size) for row in page.rows]
    bank = case.members[found.member].rows
    assert [row for row in rows if row.index >= found.start] == bank[found.start : found.size]
    assert {row.kind for row in rows if row.index < found.start} <= {"epoch", "registry"}


def test_a_folder_is_whole(case, tmp_path):
    found = collect(case, tmp_path)
    # The part begins with what was final before the period, and ends with what was signed after it.
    assert (found.member, found.start, found.size) == ("bank", 300, 3900)
    check_whole(case, tmp_path, found)
    shown = AuditRange.from_bytes(LogFolder(tmp_path).read(RANGE_FILE, 10**6))
    assert (shown.opened, shown.closed, shown.start) == (DAY.opened, DAY.closed, 300)
    assert parse_signed(shown.before).checkpoint.size == 300
    assert tmp_path.stat().st_mode


def test_the_request_is_durable_on_both_sides_and_told_once(case, tmp_path):
    found = collect(case, tmp_path)
    collect(case, tmp_path)
    bank = case.members["bank"]
    assert list(case.requests.rows) == list(bank.requests.rows) == [found.request]
    assert case.requests.rows[found.request].salt != bank.requests.rows[found.request].salt
    [told] = bank.told
    assert (told.auditor, told.action, told.reason) == ("auditor", "read", "yearly audit")


def test_it_is_durable_at_the_auditor_before_it_is_sent(case, tmp_path):
    kept = []
    case.wires.fail = lambda _, member: kept.append(len(case.requests.rows)) or PeerDown(member, "down")
    with pytest.raises(PeerDown):
        collect(case, tmp_path)
    assert kept == [1]


def test_without_its_own_database_an_auditor_asks_nobody(case, tmp_path):
    async def refuse(row):
        raise StoreError("away")

    case.requests.keep = refuse
    with pytest.raises(StoreError):
        asyncio.run(case.collector.collect_all(DAY, [("bank", LogFolder(tmp_path))]))
    assert case.wires.calls == []


def test_what_is_there_is_not_fetched_again(case, tmp_path):
    collect(case, tmp_path)
    before = files(tmp_path)
    assert len(fetched(case)) == 16 + 16 + 1 + 2
    found = collect(case, tmp_path)
    # The one tile above the hashes of the bundles.
    assert fetched(case) == [("tile", "bank", "tile/1/000.p/15")]
    assert (found.fetched, found.pages) == (1, 2)
    assert files(tmp_path) == before


@pytest.mark.parametrize("after", [1, 5, 17, 33, 34])
def test_an_interrupted_collection_goes_on_where_it_was(case, tmp_path, after):
    collect(case, tmp_path / "whole")
    whole = len(fetched(case))
    count = 0

    def fail(name, member):
        nonlocal count
        count += name in ("tile", "statements")
        return PeerDown(member, "down") if count > after else None

    case.wires.fail = fail
    with pytest.raises(PeerDown):
        collect(case, tmp_path / "case")
    fetched(case)
    case.wires.fail = lambda *_: None
    found = collect(case, tmp_path / "case")
    check_whole(case, tmp_path / "case", found)
    # A bundle counts when its tile is there too; of those that were on their way some may be lost.
    assert len(fetched(case)) <= whole - after + 2 * module.TOGETHER
    assert files(tmp_path / "case") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    "path",
    [
        "tile/entries/003",
        "tile/0/003",
        "tile/1/000.p/15",
        "statements/000000000000.cbor",
        "the second page",
    ],
)
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""]
)
def test_what_is_there_and_wrong_is_fetched_again(case, tmp_path, path, damage):
    collect(case, tmp_path)
    before = files(tmp_path)
    if path == "the second page":
        path = max(name for name in before if name.startswith("statements/0"))
        assert path != "statements/000000000000.cbor"
    (tmp_path / path).write_bytes(damage(before[path]))
    collect(case, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "path", ["tile/entries/003", "tile/0/003", "statements/000000000000.cbor", RANGE_FILE, "policy"]
)
def test_what_is_lost_is_fetched_again(case, tmp_path, path):
    collect(case, tmp_path)
    before = files(tmp_path)
    (tmp_path / path).unlink()
    collect(case, tmp_path)
    assert files(tmp_path) == before


def test_what_does_not_belong_there_any_more_is_removed(case, tmp_path):
    for path in (
        "tile/0/999",
        "tile/entries/003.new",
        "statements/000000000007.cbor",
        "statements/000000000000.cbor.new",
    ):
        LogFolder(tmp_path).write(path, b"x")
    LogFolder(tmp_path).write("notes.txt", b"mine")
    found = collect(case, tmp_path)
    check_whole(case, tmp_path, found)
    assert not {"tile/0/999", "statements/000000000007.cbor"} & files(tmp_path).keys()
    assert "notes.txt" in files(tmp_path)


# -- another period ---------------------------------------------------------------------------------------------------


def test_a_later_end_adds_what_is_new(case, tmp_path):
    collect(case, tmp_path, replace(DAY, closed=NOW - timedelta(hours=3)))
    fetched(case)
    found = collect(case, tmp_path)
    assert (found.start, found.size) == (300, 3900)
    check_whole(case, tmp_path, found)
    assert len(fetched(case)) < 12
    assert len(case.members["bank"].told) == 2


@pytest.mark.parametrize("opened", [NOW - timedelta(days=2), NOW - timedelta(hours=10)])
def test_another_beginning_shows_what_belongs_to_it(case, tmp_path, opened):
    collect(case, tmp_path)
    found = collect(case, tmp_path, replace(DAY, opened=opened))
    assert found.start == {2: 0, 0: 3300}[(NOW - opened).days]
    check_whole(case, tmp_path, found)


def test_a_period_of_which_not_all_is_final_ends_at_what_is(case, tmp_path):
    found = collect(case, tmp_path, replace(DAY, closed=NOW + timedelta(hours=1)))
    assert found.size == 3900
    case.members["bank"].grow(7)
    case.clock.at += timedelta(seconds=5)
    found = collect(case, tmp_path, replace(DAY, closed=NOW + timedelta(hours=1)))
    assert found.size == 3907
    check_whole(case, tmp_path, found)


def test_a_shorter_period_does_not_write_over_a_longer_one(case, tmp_path):
    collect(case, tmp_path)
    before = files(tmp_path)
    with pytest.raises(LedgerError, check=lambda error: error.code == "another_export"):
        collect(case, tmp_path, replace(DAY, closed=NOW - timedelta(hours=3)))
    assert files(tmp_path) == before


def test_one_member_s_folder_is_not_another_s(case, tmp_path):
    collect(case, tmp_path, member="shop")
    with pytest.raises(LedgerError, check=lambda error: error.code == "another_export"):
        collect(case, tmp_path)


# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_that_never_arrived_is_made_anew_when_its_time_is_over(case, tmp_path):
    case.wires.fail = lambda _, member: PeerDown(member, "down")
    with pytest.raises(PeerDown):
        collect(case, tmp_path)
    case.wires.fail = lambda *_: None
    case.clock.at += timedelta(minutes=5)
    found = collect(case, tmp_path)
    assert len(case.requests.rows) == 2
    assert list(case.members["bank"].requests.rows) == [found.request]


def test_a_request_of_yesterday_is_not_used_again(case, tmp_path):
    first = collect(case, tmp_path)
    case.clock.at += timedelta(hours=24)
    second = collect(case, tmp_path)
    assert first.request != second.request
    assert len(case.members["bank"].told) == 2


def test_for_another_reason_another_request_is_made(case, tmp_path):
    first = collect(case, tmp_path)
    assert collect(case, tmp_path, replace(DAY, reason="case 7")).request != first.request


def test_a_right_that_ended_in_between_is_not_asked_for_again(case, tmp_path):
    collect(case, tmp_path)
    case.network.change("auditor", audit=None)
    with pytest.raises(PeerRefused, check=lambda error: error.remote_code == "no_audit_right"):
        collect(case, tmp_path)
    assert len(case.requests.rows) == 1


# -- others' faults -----------------------------------------------------------------------------------------------------


def test_who_is_down_or_refuses_is_missed_and_the_others_are_not(case, tmp_path):
    case.wires.fail = lambda _, member: PeerDown(member, "down") if member == "wallet" else None
    folders = [(name, LogFolder(tmp_path / name)) for name in ("wallet", "telecom", "shop", "bank")]
    told = []
    found = asyncio.run(case.collector.collect_all(DAY, folders, lambda *progress: told.append(progress)))
    # The telecom's log has nothing final yet.
    assert [(each.member, each.error.code) for each in found if isinstance(each, Missed)] == [
        ("wallet", "peer_down"),
        ("telecom", "peer_refused"),
    ]
    assert [each.member for each in found if isinstance(each, Collected)] == ["shop", "bank"]
    assert told[-1] == ("bank", 3900, 3900)
    assert all(0 < done <= size for _, done, size in told)


def test_a_full_disk_is_not_the_member_s_fault(case, tmp_path):
    (tmp_path / "case").write_text("a file in the way")
    with pytest.raises(DiskError):
        asyncio.run(case.collector.collect_all(DAY, [("bank", LogFolder(tmp_path / "case"))]))


def test_what_comes_too_often_or_too_late_is_asked_again(case, tmp_path):
    errors = [
        PeerRefused("bank", "too often", remote_code="too_often", status=429, retry_after=0.0),
        PeerLate("bank", "late"),
        PeerGarbage("bank", "broke", code="peer_disconnected"),
        PeerRefused("bank", "away", remote_code="store_unavailable", status=503),
    ]
    case.wires.fail = lambda *_: errors.pop() if errors else None
    check_whole(case, tmp_path, collect(case, tmp_path))
    assert not errors


def test_patience_has_an_end(case, tmp_path):
    case.wires.fail = lambda *_: PeerLate("bank", "late")
    with pytest.raises(PeerLate):
        collect(case, tmp_path)
    assert len(case.wires.calls) == module.TRIES


def range_of(data: bytes, **changes: object) -> bytes:
    return replace(AuditRange.from_bytes(data), **changes).to_bytes()


def page_of(data: bytes, **changes: object) -> bytes:
    return replace(read_statements(data), **changes).to_bytes()


GARBAGE = {
    "a range that is none": ("range", lambda _: b"x"),
    "a range of another period": ("range", lambda data: range_of(data, opened=NOW - timedelta(days=9))),
    "a range without a checkpoint": ("range", lambda data: range_of(data, checkpoint=b"x")),
    "a range that begins behind its end": ("range", lambda data: range_of(data, start=10**6)),
    "a page that is none": ("statements", lambda _: b"x"),
    "a page that begins elsewhere": ("statements", lambda data: page_of(data, first=1, rows=())),
    "a page beyond the log": ("statements", lambda data: page_of(data, next=10**6)),
}


@pytest.mark.parametrize(("name", "damage"), GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_answer_is_not_taken(case, tmp_path, name, damage):
    case.wires.damage[name] = damage
    with pytest.raises(PeerGarbage, check=lambda error: error.member == "bank"):
        collect(case, tmp_path)
    assert len([call for call in case.wires.calls if call[0] == name]) == 1


def test_the_checkpoint_of_another_log_is_not_taken(case, tmp_path):
    other = case.members["shop"].heads[0].note
    case.wires.damage["range"] = lambda data: range_of(data, checkpoint=other, start=0, before=b"")
    with pytest.raises(PeerGarbage):
        collect(case, tmp_path)
    assert files(tmp_path) == {}


def test_a_lie_that_has_the_right_form_is_kept_for_the_audit(case, tmp_path):
    """What a member signed or showed is judged later, not thrown away."""

    def lie(data: bytes) -> bytes:
        page = read_statements(data)
        return replace(page, rows=(*page.rows[:-1], replace(page.rows[-1], statement=b"another"))).to_bytes()

    case.wires.damage["statements"] = lie
    found = collect(case, tmp_path)
    data = LogFolder(tmp_path).read("statements/000000000000.cbor", 10**8)
    assert read_statements(data).rows[-1].statement == b"another"
    assert page_at(LogFolder(tmp_path).read, 0, found.start, found.size) is None
