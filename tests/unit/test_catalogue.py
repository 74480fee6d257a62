from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import SnapshotError
from riskshare.sharing.catalogue import MAX_LISTS, CatalogueEntry, CatalogueStatement
from riskshare.signature import SigningKey
from riskshare.statement import sign

KEY = SigningKey(b"k" * 32)
T = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
A = CatalogueEntry("jd/a", "telecom_fraud", "default", b"\x01" * 32)
B = CatalogueEntry("jd/b", "marketing_cheating", "default", b"\x01" * 32)
C = CatalogueEntry("jd/c", "telecom_fraud", "granted", b"\x02" * 32, ended=True)
CATALOGUE = CatalogueStatement("jd", "icbc", 7, T, T + DAY, (A, B, C))


def signed(body, kind="catalogue"):
    return sign(kind, "testnet", body, KEY)


def refuse(body, kind="catalogue"):
    with pytest.raises(SnapshotError) as caught:
        CatalogueStatement.from_statement(signed(body, kind))
    assert caught.value.code == "malformed_statement"


def test_what_is_signed():
    assert CATALOGUE.body() == {
        "owner": "jd",
        "reader": "icbc",
        "version": 7,
        "issued_at": "2026-01-01T00:00:00.000Z",
        "expires_at": "2026-01-02T00:00:00.000Z",
        "lists": [A.to_json(), B.to_json(), C.to_json()],
    }
    assert C.to_json() == {
        "list": "jd/c",
        "category": "telecom_fraud",
        "keyset": "granted",
        "epoch": "02" * 32,
        "ended": True,
    }


BOUND = replace(A, purposes=("payment", "withdrawal"))


def test_purposes_are_written_only_where_a_grant_is_bound_to_some():
    assert "purposes" not in A.to_json()
    assert BOUND.to_json() == {**A.to_json(), "purposes": ["payment", "withdrawal"]}
    assert [BOUND.concerns(purpose) for purpose in ("payment", "marketing", None)] == [True, False, True]
    assert A.concerns("marketing")


@pytest.mark.parametrize("lists", [(), (A,), (A, B, C), (BOUND, B)])
def test_a_catalogue_goes_out_and_comes_back(lists):
    catalogue = replace(CATALOGUE, lists=lists)
    assert CatalogueStatement.from_statement(signed(catalogue.body())) == catalogue


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "abc"},
        {"owner": "JD"},
        {"reader": None},
        {"reader": ""},
        {"version": 0},
        {"version": True},
        {"version": "7"},
        {"issued_at": "2026-01-02T00:00:00.000Z"},
        {"expires_at": 5},
        {"lists": None},
        {"lists": {}},
        {"lists": [1]},
        {"lists": [{}]},
        {"lists": [B.to_json(), A.to_json()]},
        {"lists": [{**A.to_json(), "purposes": []}]},
        {"lists": [{**A.to_json(), "purposes": "payment"}]},
        {"lists": [{**A.to_json(), "purposes": [1]}]},
        {"lists": [{**A.to_json(), "purposes": [""]}]},
        {"lists": [{**A.to_json(), "purposes": ["b", "a"]}]},
        {"lists": [{**A.to_json(), "purposes": ["a", "a"]}]},
        {"lists": [{**A.to_json(), "purposes": [f"p{n:03}" for n in range(101)]}]},
        {"lists": [A.to_json(), A.to_json()]},
        {"lists": [{**A.to_json(), "list": "a"}]},
        {"lists": [{**A.to_json(), "list": "abc/a"}]},
        {"lists": [{**A.to_json(), "list": "jd/A"}]},
        {"lists": [{**A.to_json(), "category": "Fraud"}]},
        {"lists": [{**A.to_json(), "keyset": "a/b"}]},
        {"lists": [{**A.to_json(), "epoch": "01"}]},
        {"lists": [{**A.to_json(), "ended": 0}]},
        {"lists": [{**A.to_json(), "more": 0}]},
        {"lists": [A.to_json(), {**B.to_json(), "epoch": "03" * 32}]},
        {"more": 1},
    ],
)
def test_a_malformed_catalogue_is_refused(change):
    refuse({**CATALOGUE.body(), **change})


@pytest.mark.parametrize("key", sorted(CATALOGUE.body()))
def test_a_missing_field_is_refused(key):
    refuse({name: value for name, value in CATALOGUE.body().items() if name != key})


def test_a_statement_of_another_kind_is_refused():
    refuse(CATALOGUE.body(), "epoch")


def test_too_many_lists_are_refused():
    many = [replace(A, list_name=f"jd/{number:05d}") for number in range(MAX_LISTS + 1)]
    refuse({**CATALOGUE.body(), "lists": [entry.to_json() for entry in many]})
    with pytest.raises(SnapshotError):
        replace(CATALOGUE, lists=tuple(many))


@pytest.mark.parametrize("change", [{"epoch": b"x"}, {"category": "X"}, {"list_name": "x"}])
def test_an_owner_cannot_make_a_malformed_entry(change):
    with pytest.raises(SnapshotError):
        replace(A, **change)


def test_an_ended_list_may_name_the_epoch_in_which_it_ended():
    lists = (A, replace(B, epoch=b"\x09" * 32, ended=True))
    assert replace(CATALOGUE, lists=lists).keyset("default") == (A,)


def test_look_up():
    assert CATALOGUE.get("jd/b") is B
    assert CATALOGUE.get("jd/x") is None
    assert CATALOGUE.keyset("default") == (A, B)
    assert CATALOGUE.keyset("granted") == ()
    assert list(CATALOGUE) == [A, B, C]


@given(st.sets(st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True), max_size=20), st.booleans())
def test_whatever_an_owner_makes_is_read_as_it_was(names, ended):
    lists = tuple(replace(A, list_name=name, ended=ended) for name in sorted(f"jd/{local}" for local in names))
    catalogue = replace(CATALOGUE, lists=lists)
    assert CatalogueStatement.from_statement(signed(catalogue.body())) == catalogue
