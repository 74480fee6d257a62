"""Which labels a delta withdraws because an appeal was upheld."""

from __future__ import annotations

import io

import pytest

from riskshare.encoding import sha256
from riskshare.errors import SegmentError
from riskshare.sharing.segment_build import write_delta
from riskshare.sharing.segment_ref import HEADER_ROOM
from riskshare.sharing.upheld import Upheld, is_delta, upheld

EPOCH = bytes(range(32))


def delta(withdrawn: dict[bytes, str]) -> bytes:
    out = io.BytesIO()
    write_delta(out, "jd/fraud", EPOCH, {}, withdrawn)
    return out.getvalue()


def label(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_upheld_appeals_are_told_from_other_reasons():
    data = delta({label(1): "expired", label(2): "appeal_upheld", label(3): "corrected", label(4): "appeal_upheld"})
    assert is_delta(data[:HEADER_ROOM], len(data))
    assert upheld(data, sha256(data)) == Upheld("jd/fraud", EPOCH, (label(2), label(4)))


def test_a_delta_without_any_gives_none():
    data = delta({label(1): "expired"})
    assert upheld(data, sha256(data)) is None


def test_a_file_that_is_not_what_its_name_says_is_refused():
    data = delta({label(2): "appeal_upheld"})
    for bad in (data[:-1] + b"\x01", data[:-16], data + b"\0", b"", b"\0" * 5000, b"{}" + bytes(5000)):
        with pytest.raises(SegmentError):
            upheld(bad, sha256(data))


@pytest.mark.parametrize("head", [b"", b"\0" * 4096, b"{}", b"x" * 4096])
def test_what_is_no_segment_is_no_delta(head):
    assert not is_delta(head, 5000)
