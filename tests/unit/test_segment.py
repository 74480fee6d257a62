"""Segments: every byte is covered, every defect is refused, nothing is allocated by an unproved number."""

import gc
import io
import mmap
import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import sha256
from riskshare.errors import EncodingError, SegmentError
from riskshare.membership.bloom import size
from riskshare.membership.bloom_build import build
from riskshare.membership.record import SEALED_LIMIT
from riskshare.sharing.packed import PackedRows, SortedRows
from riskshare.sharing.segment import (
    BUCKET_ENTRIES_LIMIT,
    DELTA_ENTRIES,
    REASONS,
    Directory,
    block_rows,
    check_block,
    encode_block,
    find_label,
    lay_out,
    read_header,
)
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import NeedBucket, open_segment
from riskshare.sharing.segment_ref import HEADER_ROOM, SegmentRef
from tests.unit.segment_forge import (
    BASE,
    DELTA,
    EPOCH,
    LIST,
    SEALED,
    base,
    delta,
    fields_of,
    flipped,
    open_whole,
    rows_of,
    section_of,
)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 100])
@pytest.mark.parametrize("bucket", [1, 4, 256])
def test_base_of_every_small_size_holds_its_rows_and_nothing_else(count, bucket):
    rows = rows_of(count)
    segment = open_whole(*base(rows, bucket=bucket))
    rest = count % bucket
    buckets = count // bucket + (rest > 0 and (rest >= bucket // 2 or count < bucket))
    assert (segment.count, segment.buckets) == (count, buckets)
    assert all(segment.find(label) == sealed for label, sealed in rows)
    assert b"".join(segment.labels()) == b"".join(label for label, _ in rows)
    assert [row for number in range(segment.buckets) for row in segment.bucket_rows(number)] == rows
    assert not any(segment.find(label) for label, _ in rows_of(200, seed=5))


@pytest.mark.parametrize(("added", "withdrawn"), [(0, 0), (1, 0), (0, 1), (3, 2), (300, 300)])
def test_delta_holds_what_it_was_given(added, withdrawn):
    rows, gone = dict(rows_of(added)), {label: random.choice(REASONS) for label, _ in rows_of(withdrawn, seed=9)}
    segment = open_whole(*delta(rows, gone))
    assert (dict(segment.added), dict(segment.withdrawn)) == (rows, gone)
    assert list(segment.added) == sorted(rows)
    assert bytes(16) not in segment.added
    assert bytes(16) not in segment.withdrawn


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(min_size=SEALED, max_size=1180), max_size=40),
    st.integers(1, 9),
)
def test_base_returns_any_rows(rows, bucket):
    segment = open_whole(*base(sorted(rows.items()), bucket=bucket))
    assert {label: segment.find(label) for label in rows} == rows


def test_labels_that_share_their_first_half_are_told_apart():
    """What an index by halves must not confuse; a hostile owner can choose such labels."""
    rows = [(bytes(8) + i.to_bytes(8, "big"), bytes(SEALED)) for i in range(1, 40)]
    segment = open_whole(*base(rows, bucket=2))
    assert all(segment.find(label) for label, _ in rows)
    assert segment.bucket_for(bytes(16)) is None
    assert segment.bucket_for(rows[7][0]) == 3
    assert segment.bucket_for(b"\xff" * 16) == segment.buckets - 1


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 40).map(lambda n: bytes(7) + n.to_bytes(2, "big") + bytes(7)), max_size=30),
    st.integers(0, 41),
)
def test_searches_agree_with_a_plain_list(labels, wanted):
    ordered, label = sorted(labels), bytes(7) + wanted.to_bytes(2, "big") + bytes(7)
    expected = ordered.index(label) if label in labels else -1
    directory = Directory(b"".join(ordered))
    assert find_label(b"".join(ordered), len(ordered), label) == directory.find(label) == expected
    assert directory.below(label) == sum(one < label for one in ordered)


def test_a_label_that_appears_across_two_neighbours_is_not_found():
    """The search of a bucket looks at whole labels only."""
    first, second = bytes(15) + b"\x01", b"\x02" * 16
    across = (first + second)[8:24]
    segment = open_whole(*base([(first, bytes(SEALED)), (second, bytes(SEALED))]))
    assert (
        segment.read_bucket(
            0, bytes(section_of(*base([(first, bytes(SEALED)), (second, bytes(SEALED))]), "buckets")), across
        )
        is None
    )
    assert segment.find(second) is not None


def test_what_is_altered_on_the_disk_while_it_is_read_clears_nobody(tmp_path):
    """A file is verified when it arrives and when it is opened; the kernel may read it from the disk again later."""
    rows = sorted(rows_of(300))
    data, ref = base(rows, bucket=128)
    file = tmp_path / "segment"
    file.write_bytes(data)
    with file.open("r+b") as opened:
        segment = open_segment(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), ref, LIST, EPOCH)
        segment.verify_all()
        opened.seek(data.rindex(rows[7][0]))
        opened.write(bytes(1) if rows[7][0][0] else b"\x01")
        opened.flush()
        with pytest.raises(SegmentError) as refused:
            segment.find(rows[7][0])
        assert refused.value.code == "segment_altered"
        others = rows[:7] + rows[8:]
        assert [segment.find(label) for label, _ in others] == [sealed for _, sealed in others]
        assert not any(segment.find(label) for label, _ in rows_of(200, seed=5))


@pytest.mark.parametrize("section", ["index", "buckets", "bucket_digests"])
def test_no_byte_that_is_altered_while_it_is_read_clears_anybody(section):
    """The record of a hit may be altered: that shows when it is opened."""
    rows = sorted(rows_of(12))
    data, ref = base(rows, bucket=4)
    buffer = bytearray(data)
    segment = open_segment(memoryview(buffer), ref, LIST, EPOCH)
    place = segment.header.sections[section]
    for at in range(place.offset, place.end):
        buffer[at] ^= 0x80
        for label, _ in rows:
            try:
                found = segment.find(label)
            except SegmentError:
                continue
            assert found is not None
        buffer[at] ^= 0x80


@pytest.mark.parametrize(("data", "ref"), [BASE, DELTA], ids=["base", "delta"])
def test_every_altered_byte_is_found(data, ref):
    open_whole(data, ref)
    for position in range(len(data)):
        with pytest.raises(SegmentError):
            open_whole(flipped(data, position), ref)


@pytest.mark.parametrize(("data", "ref"), [BASE, DELTA], ids=["base", "delta"])
def test_every_single_bit_of_header_and_sections_is_covered_without_the_file_digest(data, ref):
    """On demand there is no file digest to lean on: whoever opens the file checks all that it uses."""
    loose = ref.to_json()
    sections = fields_of(data, ref)["sections"]
    used = [range(ref.header_length)]
    used += [range(s["offset"], s["offset"] + s["length"]) for name, s in sections.items() if name != "buckets"]
    for position in (p for span in used for p in span):
        changed = flipped(data, position, 1)
        trusting = SegmentRef.from_json(loose | {"file_sha256": sha256(changed).hex()})
        with pytest.raises(SegmentError):
            open_segment(changed, trusting, LIST, EPOCH)


@pytest.mark.parametrize(("data", "ref"), [BASE, DELTA], ids=["base", "delta"])
def test_truncated_at_any_length_is_refused(data, ref):
    for length in range(len(data)):
        with pytest.raises(SegmentError) as refused:
            open_segment(data[:length], ref, LIST, EPOCH)
        assert refused.value.code == "segment_truncated"


@pytest.mark.parametrize(("data", "ref"), [BASE, DELTA], ids=["base", "delta"])
def test_appended_bytes_are_refused(data, ref):
    for more in (b"\0", b"x", bytes(64)):
        with pytest.raises(SegmentError):
            open_segment(data + more, ref, LIST, EPOCH)
        longer = SegmentRef(ref.header_digest, ref.header_length, sha256(data + more), len(data + more))
        with pytest.raises(SegmentError) as refused:
            open_segment(data + more, longer, LIST, EPOCH)
        assert refused.value.code == "segment_malformed"


@pytest.mark.parametrize(("name", "epoch"), [("jd/other", EPOCH), (LIST, bytes(32)), ("", EPOCH)])
@pytest.mark.parametrize(("data", "ref"), [BASE, DELTA], ids=["base", "delta"])
def test_segment_of_another_list_or_epoch_is_not_mixed_in(data, ref, name, epoch):
    with pytest.raises(SegmentError) as refused:
        open_segment(data, ref, name, epoch)
    assert refused.value.code == "segment_mixed"


def sparse(data, ref):
    """What a subscriber on demand has: the header and the ranges it asks for, zeros elsewhere."""
    copy = bytearray(len(data))
    for offset, length in ((0, ref.header_length), *read_header(data[: ref.header_length], ref).ranges()):
        copy[offset : offset + length] = data[offset : offset + length]
    return bytes(copy)


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_on_demand_asks_for_the_bucket_that_decides(count):
    rows = rows_of(count)
    data, ref = base(rows, rate=2**-20, floor=2**14)
    segment = open_segment(sparse(data, ref), ref, LIST, EPOCH, on_demand=True)
    for label, sealed in rows:
        need = segment.find(label)
        assert isinstance(need, NeedBucket)
        assert need.file_digest == ref.file_digest
        fetched = data[need.offset : need.offset + need.length]
        assert need.read(fetched, label) == sealed
        assert need.read(fetched, b"\x01" * 16) is None
    assert all(segment.find(label) is None for label, _ in rows_of(200, seed=3))


def test_on_demand_refuses_every_altered_truncated_or_foreign_bucket():
    rows = rows_of(9)
    data, ref = base(rows, rate=2**-20)
    segment = open_segment(sparse(data, ref), ref, LIST, EPOCH, on_demand=True)
    need, other = segment.find(rows[0][0]), segment.find(rows[8][0])
    block = data[need.offset : need.offset + need.length]
    wrong = [flipped(block, position, 1) for position in range(len(block))]
    wrong += [b"", block[:-1], block + b"\0", bytes(len(block)), data[other.offset : other.offset + other.length]]
    for answer in wrong:
        with pytest.raises(SegmentError) as refused:
            need.read(answer, rows[0][0])
        assert refused.value.code == "segment_altered"


def test_on_demand_needs_no_byte_of_the_buckets():
    data, ref = base(rows_of(300), rate=2**-20)
    ((offset, length),) = read_header(data[: ref.header_length], ref).ranges()
    assert offset + length == len(data)
    assert offset >= HEADER_ROOM + fields_of(data, ref)["sections"]["buckets"]["length"]


def test_delta_is_fetched_whole():
    data, ref = DELTA
    assert read_header(data[: ref.header_length], ref).ranges() == ((HEADER_ROOM, len(data) - HEADER_ROOM),)
    assert open_segment(sparse(data, ref), ref, LIST, EPOCH).added == dict(rows_of(3))


def test_on_demand_refuses_a_coarse_filter():
    data, ref = base(rows_of(10), rate=2**-15)
    with pytest.raises(SegmentError) as refused:
        open_segment(sparse(data, ref), ref, LIST, EPOCH, on_demand=True)
    assert refused.value.code == "filter_too_coarse"


@pytest.mark.parametrize(
    ("count", "counts"),
    [
        (0, []),
        (1, [1]),
        (127, [127]),
        (256, [256]),
        (257, [257]),
        (383, [383]),
        (384, [256, 128]),
        (512, [256, 256]),
        (513, [256, 257]),
        (639, [256, 383]),
        (640, [256, 256, 128]),
    ],
)
def test_no_bucket_is_small_but_for_a_list_that_is(count, counts):
    """A bucket of one entry, fetched on demand, would name it to its owner."""
    segment = open_whole(*base(rows_of(count), bucket=256))
    found = [list(segment.bucket_rows(number)) for number in range(segment.buckets)]
    assert [len(rows) for rows in found] == counts
    assert [row for rows in found for row in rows] == rows_of(count)
    assert segment.smallest_bucket() == min(counts[:-1], default=count)


def test_a_bucket_stays_below_the_readers_limit():
    segment = open_whole(*base(rows_of(1500), bucket=1024))
    assert [len(list(segment.bucket_rows(number))) for number in range(segment.buckets)] == [1024, 476]


def test_on_demand_cannot_be_read_through():
    data, ref = base(rows_of(10), rate=2**-20)
    segment = open_segment(sparse(data, ref), ref, LIST, EPOCH, on_demand=True)
    with pytest.raises(ValueError, match="on demand"):
        list(segment.labels())
    with pytest.raises(ValueError, match="on demand"):
        list(segment.bucket_rows(0))


BAD_ROWS = {
    "not sorted": [(b"\x02" * 16, bytes(SEALED)), (b"\x01" * 16, bytes(SEALED))],
    "label twice": [(b"\x02" * 16, bytes(SEALED))] * 2,
    "label twice in two buckets": [(bytes([i // 5 + i % 5 + 1]) * 16, bytes(SEALED)) for i in (0, 1, 2, 3, 3)],
    "not sorted across buckets": [(bytes([i]) * 16, bytes(SEALED)) for i in (1, 2, 3, 9, 4)],
    "short label": [(bytes(15), bytes(SEALED))],
    "long label": [(bytes(17), bytes(SEALED))],
    "empty label": [(b"", bytes(SEALED))],
    "empty record": [(b"\x01" * 16, b"")],
    "long record": [(b"\x01" * 16, bytes(1181))],
}


@pytest.mark.parametrize("rows", BAD_ROWS.values(), ids=BAD_ROWS)
def test_writer_of_a_base_refuses(rows):
    with pytest.raises(ValueError, match="segment"):
        base(rows)


@pytest.mark.parametrize("bucket", [0, -1, BUCKET_ENTRIES_LIMIT + 1])
def test_writer_refuses_a_bucket_size(bucket):
    with pytest.raises(ValueError, match="bucket"):
        base(rows_of(3), bucket=bucket)


@pytest.mark.parametrize(
    ("added", "withdrawn"),
    [
        ({b"\x01" * 16: bytes(SEALED)}, {b"\x01" * 16: "expired"}),
        ({}, {b"\x01" * 16: "because"}),
        ({}, {bytes(15): "expired"}),
        ({bytes(3): bytes(SEALED)}, {}),
        ({b"\x01" * 16: b""}, {}),
    ],
)
def test_writer_of_a_delta_refuses(added, withdrawn):
    with pytest.raises(ValueError, match=r"delta|reason|label"):
        delta(added, withdrawn)


def test_delta_with_too_many_labels_is_to_be_a_base():
    with pytest.raises(ValueError, match="write a base"):
        delta({}, dict.fromkeys((i.to_bytes(16) for i in range(DELTA_ENTRIES + 1)), "expired"))


def test_writers_refuse_a_name_that_does_not_fit_and_an_epoch_that_is_no_digest():
    with pytest.raises(ValueError, match="name"):
        write_base(io.BytesIO(), "x" * 4000, EPOCH, [], seed=0)
    with pytest.raises(ValueError, match="32 bytes"):
        write_delta(io.BytesIO(), LIST, b"", {}, {})


def test_same_rows_and_seed_give_the_same_file():
    assert base(rows_of(50)) == base(iter(rows_of(50)))
    assert base(rows_of(50))[1].file_digest != base(rows_of(50), seed=2)[1].file_digest


def in_any_order(rows, seed=0):
    packed = PackedRows.of(random.Random(seed).sample(rows, len(rows)))
    return SortedRows(packed.labels, packed.lengths, packed.sealed)


@pytest.mark.parametrize("count", [*range(14), 50, 600])
def test_rows_that_were_packed_and_sorted_give_the_same_file(count):
    rows = [(label, bytes([number % 251]) * (SEALED + number % 3)) for number, (label, _) in enumerate(rows_of(count))]
    assert base(in_any_order(rows)) == base(rows)
    assert base(in_any_order(rows), bucket=256) == base(rows, bucket=256)


@pytest.mark.parametrize(
    "rows",
    [
        [(b"\x01" * 16, bytes(SEALED)), (b"\x01" * 16, bytes(SEALED))],
        [(bytes([number]) * 16, bytes(SEALED)) for number in (1, 2, 3, 4, 5, 5)],
        [(b"\x01" * 16, bytes(SEALED)), (b"\x02" * 16, b"")],
        [(b"\x01" * 16, bytes(SEALED)), (b"\x02" * 16, bytes(SEALED_LIMIT + 1))],
    ],
    ids=["twice", "twice across buckets", "no record", "long record"],
)
def test_writer_refuses_such_packed_rows(rows):
    with pytest.raises(ValueError, match=r"sorted|sealed"):
        base(in_any_order(rows))


def test_writer_leaves_nothing_of_a_longer_file():
    out = io.BytesIO(bytes(100_000))
    ref = write_base(out, LIST, EPOCH, rows_of(2), seed=1, floor=64)
    assert len(out.getvalue()) == ref.file_length
    open_whole(out.getvalue(), ref)


def test_full_disk_is_told_by_the_stream():
    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() + len(data) > 6000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OSError, match="No space"):
        write_base(Full(), LIST, EPOCH, rows_of(100), seed=1, floor=64)


def test_filter_of_the_file_is_the_one_of_its_labels():
    rows = rows_of(700)
    data, ref = base(rows, bucket=256, floor=2**12, seed=77)
    parameters = size(700, 2**-10, floor=2**12, seed=77)
    assert fields_of(data, ref)["filter"] == parameters.to_json()
    assert section_of(data, ref, "bloom") == bytes(build([label for label, _ in rows], parameters))


def test_mapped_file_is_let_go_with_its_segment(tmp_path):
    path = tmp_path / "segment"
    data, ref = BASE
    path.write_bytes(data)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    gone = weakref.ref(mapped)
    segment = open_whole(memoryview(mapped), ref)
    del mapped
    assert segment.find(rows_of(10)[3][0]) == rows_of(10)[3][1]
    gc.disable()
    try:
        del segment
        assert gone() is None
    finally:
        gc.enable()


def test_block_of_any_size_survives():
    for count in (0, 1, 2, 300):
        rows = rows_of(count)
        block = encode_block(rows)
        assert check_block(block, count, "it") == [label for label, _ in rows]
        assert list(block_rows(block, count)) == rows


def test_layout_is_aligned_and_in_order():
    placed = lay_out("base", [(1, b""), (64, b""), (0, b""), (130, b"")])
    assert [(s.offset, s.end) for s in placed] == [(4096, 4097), (4160, 4224), (4224, 4224), (4224, 4354)]


def test_reference_survives_json():
    assert SegmentRef.from_json(BASE[1].to_json()) == BASE[1]


@pytest.mark.parametrize(
    "change",
    [
        {"header_length": 0}, {"header_length": HEADER_ROOM + 1}, {"header_length": True}, {"header_length": "9"}, {"file_length": 0},
        {"file_length": 2**43}, {"file_length": -1}, {"file_length": 5000.0}, {"file_sha256": ""}, {"file_sha256": "AB" * 32},
        {"header_sha256": None}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_reference_refuses(change):
    with pytest.raises(EncodingError):
        SegmentRef.from_json(BASE[1].to_json() | change)


@pytest.mark.parametrize("value", [None, [], {}, "x"])
def test_reference_refuses_other_shapes(value):
    with pytest.raises(EncodingError):
        SegmentRef.from_json(value)
