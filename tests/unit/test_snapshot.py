from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import MAX_SAFE_INTEGER
from riskshare.errors import SnapshotError
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import MAX_CANARIES, MAX_SEGMENTS, SnapshotStatement
from riskshare.signature import SigningKey
from riskshare.statement import sign

KEY = SigningKey(b"k" * 32)
T = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BASE = SegmentRef(b"\x01" * 32, 10, b"\x02" * 32, 20)
DELTA = SegmentRef(b"\x03" * 32, 10, b"\x04" * 32, 20)
CANARIES = tuple(f"canary:{digit * 32}" for digit in "0af")
SNAPSHOT = SnapshotStatement(
    list_name="jd/high-risk",
    category="high_risk_account",
    normalisation=1,
    epoch=b"\x05" * 32,
    version=2,
    previous=b"\x06" * 32,
    issued_at=T,
    expires_at=T + DAY,
    segments=(BASE, DELTA),
    count=100,
    canaries=CANARIES,
    labels=b"\x07" * 32,
)


def signed(body, kind="snapshot"):
    return sign(kind, "testnet", body, KEY)


def refuse(body, kind="snapshot"):
    with pytest.raises(SnapshotError) as caught:
        SnapshotStatement.from_statement(signed(body, kind))
    assert caught.value.code == "malformed_statement"


def test_what_is_signed():
    assert SNAPSHOT.body() == {
        "list": "jd/high-risk",
        "category": "high_risk_account",
        "normalisation": 1,
        "epoch": "05" * 32,
        "version": 2,
        "previous": "06" * 32,
        "issued_at": "2026-01-01T00:00:00.000Z",
        "expires_at": "2026-01-02T00:00:00.000Z",
        "segments": [BASE.to_json(), DELTA.to_json()],
        "count": 100,
        "canaries": list(CANARIES),
        "labels": "07" * 32,
    }


def test_its_digest_is_that_of_the_statement():
    assert SNAPSHOT.digest == signed(SNAPSHOT.body()).digest
    assert SNAPSHOT.owner == "jd"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"version": 1, "previous": None},
        {"version": 1},
        {"segments": (), "count": 0, "canaries": ()},
        {"canaries": ()},
        {"count": MAX_SAFE_INTEGER},
    ],
)
def test_a_snapshot_goes_out_and_comes_back(change):
    snapshot = replace(SNAPSHOT, **change)
    assert SnapshotStatement.from_statement(signed(snapshot.body())) == snapshot


@pytest.mark.parametrize(
    "change",
    [
        {"list": "high-risk"},
        {"list": "jd/High"},
        {"list": None},
        {"category": "High"},
        {"normalisation": 0},
        {"normalisation": "1"},
        {"epoch": "05" * 16},
        {"epoch": None},
        {"version": 0},
        {"version": True},
        {"previous": None},
        {"previous": ""},
        {"previous": "AB" * 32},
        {"issued_at": "2026-01-02T00:00:00.000Z"},
        {"expires_at": "2026-13-02T00:00:00.000Z"},
        {"segments": None},
        {"segments": [1]},
        {"segments": []},
        {"segments": [BASE.to_json(), BASE.to_json()]},
        {"segments": [BASE.to_json(), {**DELTA.to_json(), "file_sha256": "02" * 32}]},
        {"segments": [{**BASE.to_json(), "header_length": 21}]},
        {"count": -1},
        {"count": 2},
        {"count": None},
        {"canaries": None},
        {"canaries": [1]},
        {"canaries": [CANARIES[1], CANARIES[0]]},
        {"canaries": [CANARIES[0], CANARIES[0]]},
        {"canaries": ["canary:" + "A" * 32]},
        {"canaries": ["canary:" + "a" * 31]},
        {"canaries": ["phone:+14155550100"]},
        {"labels": None},
        {"more": 1},
    ],
)
def test_a_malformed_snapshot_is_refused(change):
    refuse({**SNAPSHOT.body(), **change})


@pytest.mark.parametrize("key", sorted(SNAPSHOT.body()))
def test_a_missing_field_is_refused(key):
    refuse({name: value for name, value in SNAPSHOT.body().items() if name != key})


def test_a_statement_of_another_kind_is_refused():
    refuse(SNAPSHOT.body(), "catalogue")


def test_too_many_segments_or_canaries_are_refused():
    segments = [replace(BASE, file_digest=number.to_bytes(32)) for number in range(MAX_SEGMENTS + 1)]
    refuse({**SNAPSHOT.body(), "segments": [segment.to_json() for segment in segments]})
    canaries = [f"canary:{number:032x}" for number in range(MAX_CANARIES + 1)]
    refuse({**SNAPSHOT.body(), "canaries": canaries})
    for change in ({"segments": tuple(segments)}, {"canaries": tuple(canaries)}):
        with pytest.raises(SnapshotError):
            replace(SNAPSHOT, **change)


@pytest.mark.parametrize(
    "change", [{"epoch": b"x"}, {"labels": b""}, {"previous": b"x"}, {"expires_at": T}, {"version": 0}]
)
def test_an_owner_cannot_make_a_malformed_snapshot(change):
    with pytest.raises(SnapshotError):
        replace(SNAPSHOT, **change)


def test_a_number_that_json_cannot_hold_has_no_digest():
    with pytest.raises(SnapshotError):
        _ = replace(SNAPSHOT, version=MAX_SAFE_INTEGER + 1).digest


@given(
    st.integers(2, MAX_SAFE_INTEGER),
    st.sets(st.binary(min_size=32, max_size=32), min_size=1, max_size=9),
    st.sets(st.binary(min_size=16, max_size=16), max_size=5),
    st.integers(0, 86_399_000_000),
)
def test_whatever_an_owner_makes_is_read_as_it_was(version, files, canaries, microseconds):
    snapshot = replace(
        SNAPSHOT,
        version=version,
        segments=tuple(replace(BASE, file_digest=digest) for digest in files),
        canaries=tuple(sorted(f"canary:{canary.hex()}" for canary in canaries)),
        issued_at=T + timedelta(microseconds=microseconds),
        expires_at=T + 2 * DAY,
    )
    again = SnapshotStatement.from_statement(signed(snapshot.body()))
    assert again == snapshot
    assert again.digest == snapshot.digest
