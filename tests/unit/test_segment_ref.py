from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import EncodingError
from riskshare.sharing.segment_ref import FILE_LIMIT, HEADER_ROOM, SegmentRef

GOOD = {"header_sha256": "01" * 32, "header_length": 10, "file_sha256": "02" * 32, "file_length": 20}
digests = st.binary(min_size=32, max_size=32)


def test_what_it_looks_like():
    assert SegmentRef(b"\x01" * 32, 10, b"\x02" * 32, 20).to_json() == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"header_sha256": "01" * 31},
        {"header_sha256": "AB" * 32},
        {"file_sha256": None},
        {"header_length": 0},
        {"header_length": -1},
        {"header_length": 21},
        {"header_length": True},
        {"file_length": 20.0},
        {"file_length": "20"},
        {"file_length": FILE_LIMIT + 1},
        {"more": 1},
    ],
)
def test_a_malformed_reference_is_refused(change):
    with pytest.raises(EncodingError):
        SegmentRef.from_json({**GOOD, **change})


@pytest.mark.parametrize("value", [None, [], "x", {}, {key: GOOD[key] for key in list(GOOD)[:3]}])
def test_what_is_no_reference_is_refused(value):
    with pytest.raises(EncodingError):
        SegmentRef.from_json(value)


@pytest.mark.parametrize(("header", "file"), [(HEADER_ROOM + 1, HEADER_ROOM + 1), (1, FILE_LIMIT + 1)])
def test_lengths_beyond_the_limits_are_refused(header, file):
    with pytest.raises(EncodingError):
        SegmentRef.from_json({**GOOD, "header_length": header, "file_length": file})


@given(digests, digests, st.integers(1, HEADER_ROOM), st.integers(HEADER_ROOM, FILE_LIMIT))
def test_a_reference_goes_through_json_and_back(header, file, header_length, file_length):
    ref = SegmentRef(header, header_length, file, file_length)
    assert SegmentRef.from_json(parse_canonical_json(canonical_json(ref.to_json()), limit=1000)) == ref
