"""The settlement statement: exact sums, one rounding, one price for each exchange, strict reading."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.currency import MINOR_DIGITS, minor_digits
from riskshare.audit.settlement import MAX_BYTES, Direction, Line, Settlement, Tally, Version, plain
from riskshare.encoding import canonical_json, format_time, sha256
from riskshare.errors import EncodingError, RegistryError
from riskshare.ledger.merkle import EMPTY_ROOT, root

OPENED = datetime(2026, 11, 1, tzinfo=UTC)
CLOSED = datetime(2026, 12, 1, tzinfo=UTC)

prices = st.from_regex(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?", fullmatch=True)
counts = st.integers(1, 4096)


def version(number: int, price: str = "0.002", *, hours: int = 0, per_day: int = 1000) -> Version:
    return Version(number, OPENED + timedelta(hours=hours), price, per_day)


def at(hours: float) -> str:
    return format_time(OPENED + timedelta(hours=hours))


def ids(count: int) -> list[bytes]:
    return sorted(sha256(str(number).encode()) for number in range(count))


def direction(owner: str, querier: str, counted: list[tuple[int, str]]) -> Direction:
    """Receipts of so many elements at prices: each price is a version of its own."""
    tally = Tally(
        owner, querier, [version(number, price, hours=number) for number, (_, price) in enumerate(counted, 1)]
    )
    for number, (receipt, (count, _)) in enumerate(zip(ids(len(counted)), counted, strict=True), 1):
        tally.add(receipt, count, number, at(number))
    return tally.direction()


def settlement(
    ours: list[tuple[int, str]], theirs: list[tuple[int, str]], currency: str = "CNY", registry: int = 9
) -> Settlement:
    return Settlement(
        "simnet",
        OPENED,
        CLOSED,
        registry,
        currency,
        (direction("bank", "shop", ours), direction("shop", "bank", theirs)),
    )


GOOD = settlement([(5, "0.002"), (7, "0.003")], [(100, "1")])


# -- sums and rounding ------------------------------------------------------------------------


@given(
    st.lists(st.tuples(counts, prices), max_size=6),
    st.lists(st.tuples(counts, prices), max_size=6),
    st.sampled_from(["CNY", "JPY", "KWD", "CLF"]),
)
def test_sums_are_exact_and_rounded_once_to_the_minor_unit(ours, theirs, currency):
    made = settlement(ours, theirs, currency)
    exact = [sum((Fraction(price) * count for count, price in side), Fraction(0)) for side in (ours, theirs)]
    assert [Fraction(one.owed) for one in made.directions] == exact
    payer, payee, amount = made.net
    unit = Fraction(1, 10 ** minor_digits(currency))
    assert Fraction(amount) == round(abs(exact[0] - exact[1]) / unit) * unit  # Fraction rounds half to even
    if amount == 0:
        assert (payer, payee) == (None, None)
    else:
        assert (payer, payee) == (("shop", "bank") if exact[0] > exact[1] else ("bank", "shop"))
    shown = made.body()["net"]["amount"]
    assert len(shown.partition(".")[2]) == minor_digits(currency)
    assert Decimal(shown) == amount


@given(st.lists(st.tuples(counts, prices), max_size=5), st.lists(st.tuples(counts, prices), max_size=5))
def test_what_is_read_is_what_was_written(ours, theirs):
    made = settlement(ours, theirs)
    assert Settlement.from_json(made.to_json()) == made
    assert made.digest == sha256(made.to_json())


@pytest.mark.parametrize(
    ("cents", "net"),
    [("0.005", "0.00"), ("0.015", "0.02"), ("0.025", "0.02"), ("0.005000001", "0.01"), ("0.004", "0.00")],
)
def test_half_goes_to_even(cents, net):
    assert settlement([(1, cents)], []).body()["net"]["amount"] == net


def test_the_largest_amounts_stay_exact():
    line = Line(1, "999999999.999999999", 1, 2**53 - 1)
    assert Fraction(line.amount) == Fraction("999999999.999999999") * (2**53 - 1)


def test_a_float_is_nowhere():
    def walk(value):
        assert not isinstance(value, float)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(GOOD.body())


def test_digits_of_currencies():
    assert [minor_digits(each) for each in ("CNY", "EUR", "USD", "JPY", "KRW", "KWD", "TND", "CLF")] == [
        2,
        2,
        2,
        0,
        0,
        3,
        3,
        4,
    ]
    assert len(MINOR_DIGITS) == 26


@pytest.mark.parametrize(
    ("amount", "text"), [("0.60", "0.6"), ("100", "100"), ("0", "0"), ("0.00", "0"), ("1E+2", "100")]
)
def test_amounts_are_written_without_exponent_and_idle_zeros(amount, text):
    assert plain(Decimal(amount)) == text


# -- which version gives the price ----------------------------------------------------------------


def counted(tally: Tally) -> list[tuple[int, int]]:
    return [(line.registry, line.evaluations) for line in tally.direction().lines]


def test_the_newest_version_issued_when_it_was_answered_gives_the_price():
    tally = Tally("bank", "shop", [version(3), version(4, "9", hours=2)])
    first, second, third = ids(3)
    tally.add(first, 1, 3, at(1.9))
    tally.add(second, 2, 3, at(2))
    tally.add(third, 4, 3, at(3))
    assert counted(tally) == [(3, 1), (4, 6)]


def test_a_newer_version_that_the_ask_names_does_so_too_whatever_the_clock_said():
    tally = Tally("bank", "shop", [version(3), version(4, "9", hours=2)])
    tally.add(ids(1)[0], 1, 4, at(1))
    assert counted(tally) == [(4, 1)]


def test_an_old_version_that_the_ask_names_makes_nothing_cheaper():
    tally = Tally("bank", "shop", [version(1, "1"), version(2, "2", hours=1)])
    tally.add(ids(1)[0], 1, 1, at(5))
    assert counted(tally) == [(2, 1)]


@pytest.mark.parametrize(("versions", "named"), [([], 1), ([version(4)], 9), ([version(4, hours=8)], 3)])
def test_without_the_version_there_is_no_price(versions, named):
    with pytest.raises(RegistryError) as caught:
        Tally("bank", "shop", versions).add(ids(1)[0], 1, named, at(1))
    assert caught.value.code == "registry_gap"


def test_the_busiest_day_is_named_with_the_least_quota_of_that_day():
    tally = Tally("bank", "shop", [version(1, per_day=500), version(2, hours=30, per_day=90)])
    for receipt, (count, hours) in zip(ids(4), [(10, 1), (20, 25), (30, 31), (50, 60)], strict=True):
        tally.add(receipt, count, 1, at(hours))
    busiest = tally.direction().busiest
    assert busiest is not None
    assert busiest.body() == {"day": "2026-11-02", "evaluations": 50, "per_day": 90}  # the first of two such days


# -- receipts -------------------------------------------------------------------------------------


@given(st.integers(0, 70))
def test_the_root_is_that_of_all_ids(count):
    tally = Tally("bank", "shop", [version(1)])
    for receipt in ids(count):
        tally.add(receipt, 1, 1, at(1))
    assert tally.direction().root == root(ids(count))
    assert tally.direction().receipts == count


def test_no_receipt_counts_twice():
    tally = Tally("bank", "shop", [version(1)])
    tally.add(ids(1)[0], 1, 1, at(1))
    with pytest.raises(ValueError):
        tally.add(ids(1)[0], 1, 1, at(1))


def test_a_time_that_is_none_is_refused():
    with pytest.raises(EncodingError):
        Tally("bank", "shop", [version(1)]).add(ids(1)[0], 1, 1, "2026-11-01")


# -- strict reading -------------------------------------------------------------------------------


def altered(*path: object, value: object) -> bytes:
    body = json.loads(GOOD.to_json())
    place = body
    for step in path[:-1]:
        place = place[step]
    if value is None and path[-1] == "gone":
        place.pop("currency")
    else:
        place[path[-1]] = value
    return canonical_json(body)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("gone",), None),
        (("extra",), 1),
        (("net", "amount"), "99.96"),
        (("net", "amount"), "99.970"),
        (("net", "amount"), "+99.97"),
        (("net", "payer"), "shop"),
        (("net", "payer"), None),
        (("members",), ["shop", "bank"]),
        (("members",), ["bank"]),
        (("currency",), "cny"),
        (("currency",), "JPY"),
        (("registry",), 0),
        (("registry",), True),
        (("from",), "2026-12-01T00:00:00.000Z"),
        (("from",), "2026-11-01T00:00:00Z"),
        (("network",), "Sim Net"),
        (("directions",), []),
        (("directions", 0, "owner"), "shop"),
        (("directions", 0, "owner"), "../bank"),
        (("directions", 0, "owed"), "0.032"),
        (("directions", 0, "owed"), "0.0310"),
        (("directions", 0, "receipts"), 3),
        (("directions", 0, "evaluations"), 13),
        (("directions", 0, "root"), EMPTY_ROOT.hex()),
        (("directions", 0, "root"), "00"),
        (("directions", 0, "busiest"), None),
        (("directions", 0, "busiest", "day"), "2026-13-01"),
        (("directions", 0, "busiest", "day"), "20261101"),
        (("directions", 0, "lines"), []),
        (("directions", 0, "lines", 0, "price"), "-0.002"),
        (("directions", 0, "lines", 0, "price"), 0),
        (("directions", 0, "lines", 0, "amount"), "0.011"),
        (("directions", 0, "lines", 0, "evaluations"), 0),
        (("directions", 0, "lines", 0, "receipts"), 9),
        (("directions", 0, "lines", 0, "registry"), 2),
    ],
)  # fmt: skip
def test_a_settlement_that_says_anything_else_is_refused(path, value):
    with pytest.raises(EncodingError):
        Settlement.from_json(altered(*path, value=value))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", GOOD.to_json() + b"\n", GOOD.to_json()[:-1], b" " * (MAX_BYTES + 1)]
)
def test_what_is_not_canonical_is_refused(data):
    with pytest.raises(EncodingError):
        Settlement.from_json(data)


@given(st.data())
def test_no_byte_can_be_changed(data):
    json_ = bytearray(GOOD.to_json())
    place = data.draw(st.integers(0, len(json_) - 1))
    json_[place] ^= data.draw(st.integers(1, 255))
    try:
        read = Settlement.from_json(bytes(json_))
    except EncodingError:
        return
    assert read.to_json() == bytes(json_)  # another statement, and then it says so
    assert read != GOOD


def test_a_price_is_written_as_in_the_registry():
    assert Settlement.from_json(altered("directions", 0, "lines", 0, "price", value="0.0020")) != GOOD


def test_one_member_is_not_two():
    both = direction("bank", "shop", [])
    with pytest.raises(EncodingError):
        Settlement("simnet", OPENED, CLOSED, 1, "CNY", (both, both))


def test_the_other_one():
    assert (GOOD.with_other("bank"), GOOD.with_other("shop")) == ("shop", "bank")
    with pytest.raises(ValueError):
        GOOD.with_other("telecom")
