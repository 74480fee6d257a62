"""Segments that a hostile owner signed: refused, whatever they claim, before anything is allocated."""

import tracemalloc

import pytest

from riskshare.encoding import canonical_json, sha256
from riskshare.errors import SegmentError
from riskshare.membership.bloom import Bloom, Parameters
from riskshare.membership.bloom_build import build
from riskshare.sharing.segment import BUCKET_ENTRIES_LIMIT, DELTA_ENTRIES, INDEX_ENTRY, read_header
from riskshare.sharing.segment_read import open_segment
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
    signed_again,
)


def test_one_header_in_front_of_another_body_is_refused():
    one, ref = base(rows_of(10, seed=1))
    other, _ = base(rows_of(10, seed=2))
    mixed = one[:HEADER_ROOM] + other[HEADER_ROOM:]
    with pytest.raises(SegmentError):
        open_segment(mixed, SegmentRef(ref.header_digest, ref.header_length, sha256(mixed), len(mixed)), LIST, EPOCH)


def put(path, value):
    def change(fields):
        at = fields
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value

    return change


def drop(*path):
    def change(fields):
        at = fields
        for name in path[:-1]:
            at = at[name]
        del at[path[-1]]

    return change


def swap(first, second):
    def change(fields):
        sections = fields["sections"]
        sections[first], sections[second] = sections[second], sections[first]

    return change


HOSTILE_BASES = {
    "two sections swapped": swap("index", "bucket_digests"),
    "buckets and bloom swapped": swap("buckets", "bloom"),
    "overlapping sections": put(("sections", "index", "offset"), HEADER_ROOM),
    "section inside the header": put(("sections", "buckets", "offset"), 0),
    "section not aligned": put(("sections", "bloom", "offset"), HEADER_ROOM + 1),
    "offset behind the file": put(("sections", "bloom", "offset"), 2**40),
    "offset beyond any file": put(("sections", "bloom", "offset"), 2**52),
    "negative offset": put(("sections", "index", "offset"), -64),
    "length behind the file": put(("sections", "bloom", "length"), 2**40),
    "length zero": put(("sections", "bloom", "length"), 0),
    "negative length": put(("sections", "index", "length"), -1),
    "length is text": put(("sections", "index", "length"), "64"),
    "length is true": put(("sections", "index", "length"), value=True),
    "negative count": put(("counts", "entries"), -1),
    "huge count": put(("counts", "entries"), 2**52),
    "count of no entries": put(("counts", "entries"), 0),
    "one entry more": put(("counts", "entries"), 11),
    "more buckets than entries": put(("counts", "buckets"), 11),
    "huge number of buckets": put(("counts", "buckets"), 2**52),
    "no buckets": put(("counts", "buckets"), 0),
    "count is null": put(("counts", "entries"), None),
    "another count": put(("counts", "extra"), 1),
    "counts are a list": put(("counts",), [10, 3]),
    "huge filter": put(("filter", "bits"), 2**52),
    "large filter": put(("filter", "bits"), 2**40),
    "other filter": put(("filter", "hash"), "sha1"),
    "no filter": put(("filter",), None),
    "many hashes": put(("filter", "hashes"), 2**40),
    "hexadecimal digest in capitals": put(("sections", "index", "sha256"), "AB" * 32),
    "short digest": put(("sections", "index", "sha256"), "ab"),
    "missing section": drop("sections", "index"),
    "another section": put(("sections", "more"), {"length": 0, "offset": 4096, "sha256": "ab" * 32}),
    "section with another field": put(("sections", "index", "more"), 1),
    "sections are null": put(("sections",), None),
    "section is null": put(("sections", "index"), None),
    "other format": put(("format",), 2),
    "format is true": put(("format",), value=True),
    "kind of a delta": put(("kind",), "delta"),
    "unknown kind": put(("kind",), "side"),
    "kind is a list": put(("kind",), []),
    "no kind": drop("kind"),
    "list is a number": put(("list",), 7),
    "epoch too short": put(("epoch",), "00"),
    "another field": put(("more",), 1),
    "missing field": drop("epoch"),
}


@pytest.mark.parametrize("change", HOSTILE_BASES.values(), ids=HOSTILE_BASES)
def test_hostile_header_of_a_base_is_refused_before_anything_is_allocated(change):
    data, ref = BASE
    fields = fields_of(data, ref)
    change(fields)
    hostile, trusting = signed_again(data, fields)
    tracemalloc.start()
    try:
        with pytest.raises(SegmentError) as refused:
            open_segment(hostile, trusting, LIST, EPOCH)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert refused.value.code == "segment_malformed"


HOSTILE_DELTAS = {
    "sections swapped": swap("added", "withdrawn"),
    "huge count": put(("counts", "added"), 2**40),
    "too many entries": put(("counts", "withdrawn"), DELTA_ENTRIES + 1),
    "one more added": put(("counts", "added"), 4),
    "one less withdrawn": put(("counts", "withdrawn"), 3),
    "negative count": put(("counts", "added"), -3),
    "no reasons": put(("reasons",), []),
    "fewer reasons than used": put(("reasons",), ["expired"]),
    "too many reasons": put(("reasons",), [f"r{i:02}" for i in range(33)]),
    "reasons not sorted": put(("reasons",), ["expired", "corrected", "appeal_upheld"]),
    "reason twice": put(("reasons",), ["corrected", "corrected", "expired"]),
    "reason is no word": put(("reasons",), ["a b", "corrected", "expired"]),
    "reason is a number": put(("reasons",), [1, 2, 3]),
    "reasons are text": put(("reasons",), "expired"),
    "a filter": put(("filter",), None),
}


@pytest.mark.parametrize("change", HOSTILE_DELTAS.values(), ids=HOSTILE_DELTAS)
def test_hostile_header_of_a_delta_is_refused(change):
    data, ref = DELTA
    fields = fields_of(data, ref)
    change(fields)
    with pytest.raises(SegmentError) as refused:
        open_segment(*signed_again(data, fields), LIST, EPOCH)
    assert refused.value.code == "segment_malformed"


@pytest.mark.parametrize(
    "header", [b"{}", b"[]", b"null", b"{", b"\xff", b'{"kind":"base","kind":"base"}', b"[" * 4000]
)
def test_header_that_is_no_header_is_refused(header):
    ref = SegmentRef(sha256(header), len(header), bytes(32), HEADER_ROOM)
    with pytest.raises(SegmentError):
        read_header(header, ref)


def test_filter_of_2_60_bits_is_refused():
    data, ref = BASE
    bits = b'"bits":%d' % fields_of(data, ref)["filter"]["bits"]
    header = data[: ref.header_length].replace(bits, b'"bits":%d' % 2**60)
    assert header != data[: ref.header_length]
    with pytest.raises(SegmentError):
        read_header(header, SegmentRef(sha256(header), len(header), ref.file_digest, ref.file_length))


def test_header_that_is_not_canonical_is_refused():
    data, ref = BASE
    header = b" " + data[: ref.header_length]
    with pytest.raises(SegmentError):
        read_header(header, SegmentRef(sha256(header), len(header), ref.file_digest, ref.file_length))


def test_bytes_between_the_sections_are_refused_even_if_signed():
    data, ref = BASE
    hidden = flipped(data, HEADER_ROOM - 1)
    segment = open_segment(
        hidden, SegmentRef(ref.header_digest, ref.header_length, sha256(hidden), len(hidden)), LIST, EPOCH
    )
    with pytest.raises(SegmentError, match="no section"):
        segment.verify_all()


def index_with(number, **changes):
    """The index of BASE with one entry changed."""
    data, ref = BASE
    entries = list(INDEX_ENTRY.iter_unpack(section_of(data, ref, "index")))
    entry = dict(zip(("first", "offset", "length", "count"), entries[number], strict=True)) | changes
    entries[number] = tuple(entry.values())
    return b"".join(INDEX_ENTRY.pack(*one) for one in entries)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (0, {"offset": 0}), (0, {"offset": 2**63}), (1, {"offset": HEADER_ROOM}), (2, {"offset": 2**64 - 1}),
        (0, {"length": 0}), (0, {"length": 2**32 - 1}), (2, {"length": 1}), (0, {"count": 0}), (0, {"count": 5}), (2, {"count": 3}),
        (1, {"count": BUCKET_ENTRIES_LIMIT + 1}), (1, {"count": 2**32 - 1}), (0, {"first": b"\xff" * 16}), (2, {"first": bytes(16)}),
    ],
)  # fmt: skip
def test_hostile_index_is_refused(number, changes):
    with pytest.raises(SegmentError) as refused:
        open_segment(*signed_again(BASE[0], index=index_with(number, **changes)), LIST, EPOCH)
    assert refused.value.code == "segment_malformed"


def test_index_that_names_a_first_label_wrongly_is_refused():
    first = INDEX_ENTRY.unpack_from(section_of(*BASE, "index"), INDEX_ENTRY.size)[0]
    lower = (int.from_bytes(first) - 1).to_bytes(16)
    segment = open_segment(*signed_again(BASE[0], index=index_with(1, first=lower)), LIST, EPOCH)
    with pytest.raises(SegmentError, match="elsewhere"):
        segment.verify_all()


def test_bucket_digests_that_do_not_fit_the_buckets_are_refused():
    digests = section_of(*BASE, "bucket_digests")
    segment = open_segment(*signed_again(BASE[0], bucket_digests=flipped(digests, 40)), LIST, EPOCH)
    with pytest.raises(SegmentError):
        segment.verify_all()


def hostile_bucket(change):
    """BASE with its first bucket changed, and all digests made right again."""
    data, ref = BASE
    buckets, digests = section_of(data, ref, "buckets"), section_of(data, ref, "bucket_digests")
    length = INDEX_ENTRY.unpack_from(section_of(data, ref, "index"))[2]
    block = change(buckets[:length])
    assert len(block) == length
    return block, signed_again(data, buckets=block + buckets[length:], bucket_digests=sha256(block) + digests[32:])


BAD_BLOCKS = {
    "labels swapped": lambda block: block[:16] + block[32:48] + block[16:32] + block[48:],
    "label twice": lambda block: block[:16] + block[:16] + block[32:],
    "other first label": lambda block: bytes(16) + block[16:],
    "label of the next bucket": lambda block: block[:48] + b"\xff" * 16 + block[64:],
    "ends descend": lambda block: block[:64] + (2**31).to_bytes(4, "little") + block[68:],
    "end zero": lambda block: block[:64] + bytes(4) + block[68:],
    "last end too high": lambda block: block[:76] + (2**32 - 1).to_bytes(4, "little") + block[80:],
    "last end too low": lambda block: (
        block[:76] + (int.from_bytes(block[76:80], "little") - 1).to_bytes(4, "little") + block[80:]
    ),
}


@pytest.mark.parametrize("change", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_hostile_bucket_is_refused(change):
    _, (data, ref) = hostile_bucket(change)
    segment = open_segment(data, ref, LIST, EPOCH)
    with pytest.raises(SegmentError) as refused:
        segment.verify_all()
    assert refused.value.code == "segment_malformed"


@pytest.mark.parametrize("name", [name for name in BAD_BLOCKS if name != "label of the next bucket"])
def test_hostile_bucket_fetched_on_demand_is_refused(name):
    block, (data, ref) = hostile_bucket(BAD_BLOCKS[name])
    segment = open_segment(data, ref, LIST, EPOCH)
    with pytest.raises(SegmentError):
        segment.read_bucket(0, block, rows_of(10)[0][0])


def test_overfull_filter_is_refused():
    """Or the owner would see, on demand, in which bucket everything lies that is asked."""
    ones = bytearray(b"\xff" * len(section_of(*BASE, "bloom")))
    ones[-1] = (1 << (fields_of(*BASE)["filter"]["bits"] % 8 or 8)) - 1
    with pytest.raises(SegmentError, match="half full"):
        open_segment(*signed_again(BASE[0], bloom=bytes(ones)), LIST, EPOCH)


def test_filter_of_more_labels_than_the_list_has_is_refused():
    """Or, on demand, an owner would be shown the buckets of identifiers that are not on its list at all."""
    data, ref = base(rows_of(10), floor=2**16)
    parameters = Parameters.from_json(fields_of(data, ref)["filter"])
    bits = build([row[0] for row in rows_of(1000)], parameters)
    assert not Bloom(parameters, bytes(bits)).overfull()
    with pytest.raises(SegmentError, match="more labels"):
        open_segment(*signed_again(data, bloom=bytes(bits)), LIST, EPOCH)


def test_filter_with_bits_behind_its_last_is_refused():
    data, ref = base(rows_of(10), floor=1001)
    bits = bytearray(section_of(data, ref, "bloom"))
    bits[-1] |= 0x80
    with pytest.raises(SegmentError, match="filter"):
        open_segment(*signed_again(data, bloom=bytes(bits)), LIST, EPOCH)


@pytest.mark.parametrize(("place", "change"), [("added", "labels swapped"), ("withdrawn", "labels swapped")])
def test_delta_with_labels_out_of_order_is_refused(place, change):
    section = section_of(*DELTA, place)
    mixed = section[16:32] + section[:16] + section[32:]
    with pytest.raises(SegmentError, match="sorted"):
        open_segment(*signed_again(DELTA[0], **{place: mixed}), LIST, EPOCH)


def test_delta_that_adds_and_withdraws_one_label_is_refused():
    data, _ = delta([(b"\x05" * 16, bytes(SEALED))], {b"\x06" * 16: "expired"})
    with pytest.raises(SegmentError, match="both"):
        open_segment(*signed_again(data, withdrawn=b"\x05" * 16 + b"\0"), LIST, EPOCH)


def test_delta_with_a_reason_that_it_does_not_name_is_refused():
    section = section_of(*DELTA, "withdrawn")
    with pytest.raises(SegmentError, match="reason"):
        open_segment(*signed_again(DELTA[0], withdrawn=section[:-1] + b"\x03"), LIST, EPOCH)


def test_errors_name_no_label():
    for change in BAD_BLOCKS.values():
        _, (hostile, trusting) = hostile_bucket(change)
        with pytest.raises(SegmentError) as refused:
            open_segment(hostile, trusting, LIST, EPOCH).verify_all()
        assert not any(label.hex() in str(refused.value) for label, _ in rows_of(10))


def test_gigantic_filter_of_a_short_list_is_refused_by_its_header_alone():
    """Its lengths agree with one another: a subscriber on demand would fetch 64 GiB."""
    data, ref = BASE
    fields = fields_of(data, ref)
    fields["filter"]["bits"] = 2**39
    fields["sections"]["bloom"]["length"] = 2**36
    header = canonical_json(fields)
    with pytest.raises(SegmentError) as refused:
        read_header(
            header, SegmentRef(sha256(header), len(header), bytes(32), fields["sections"]["bloom"]["offset"] + 2**36)
        )
    assert refused.value.code == "segment_malformed"


@pytest.mark.parametrize(("data", "ref"), [BASE, DELTA], ids=["base", "delta"])
def test_file_that_differs_from_its_digest_alone_is_refused(data, ref):
    with pytest.raises(SegmentError) as refused:
        open_whole(data, SegmentRef(ref.header_digest, ref.header_length, bytes(32), ref.file_length))
    assert refused.value.code == "segment_altered"
