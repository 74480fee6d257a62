"""Looking through sealed checks: what is found is the whole text, and nothing that only looks like it."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.sealed_scan import HITS, Found, Part, needle_of, scan
from riskshare.encoding import cbor_encode
from riskshare.ledger.sealed import HourKey, seal_record

HOUR = HourKey(UUID(int=1), datetime(2026, 11, 22, 8, tzinfo=UTC), b"k" * 32)
HOURS = ((HOUR.id, HOUR.hour, HOUR.export()),)


def sealed(number: int, value: object, key: HourKey = HOUR) -> tuple[UUID, UUID, bytes]:
    check = UUID(int=number)
    return check, HOUR.id, seal_record(cbor_encode(value), key, b"n" * 12, member="bank", check=check)


def record(*identifiers: str, verdict: str = "clear", reference: str = "") -> dict[str, object]:
    return {"identifiers": list(identifiers), "outcome": {"verdict": verdict}, "reference": reference}


def test_only_the_whole_identifier_is_found():
    rows = (
        sealed(1, record("phone:+8613800138000")),
        sealed(2, record("phone:+86138001380001")),
        sealed(3, record("email:a@example.com", "phone:+8613800138000")),
        sealed(4, record("xphone:+8613800138000")),
        sealed(5, record("email:a@example.com")),
    )
    found = scan(Part("bank", needle_of("phone:+8613800138000"), HOURS, rows))
    assert found.checks == 5
    assert found.records == (
        cbor_encode(record("phone:+8613800138000")),
        cbor_encode(record("email:a@example.com", "phone:+8613800138000")),
    )


def test_hits_are_found():
    rows = tuple(
        sealed(number, record("x:y", verdict=word))
        for number, word in enumerate(("hit", "clear", "incomplete", "hits"))
    )
    assert len(scan(Part("bank", HITS, HOURS, rows)).records) == 1


def test_what_does_not_open_is_counted():
    other = HourKey(HOUR.id, HOUR.hour, b"x" * 32)
    rows = (sealed(1, record("a:b")), sealed(2, record("a:b"), other), (UUID(int=3), HOUR.id, b""))
    assert scan(Part("bank", needle_of("a:b"), HOURS, rows)) == Found(3, (cbor_encode(record("a:b")),), 2)
    assert scan(Part("shop", needle_of("a:b"), HOURS, rows)).closed == 3


@given(st.text(min_size=1, max_size=40), st.lists(st.text(max_size=40), max_size=4))
def test_what_stands_in_a_record_is_always_found(text, others):
    rows = (sealed(1, record(*others, text)),)
    assert len(scan(Part("bank", needle_of(text), HOURS, rows)).records) == 1


def test_a_part_goes_to_another_process_and_shows_no_secret():
    part = Part("bank", needle_of("a:b"), HOURS, (sealed(1, record("a:b")),))
    assert pickle.loads(pickle.dumps(part)) == part
    assert "kkkk" not in repr(part)
