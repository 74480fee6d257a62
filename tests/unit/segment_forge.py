"""What tests of segments share: honest ones, and those that a hostile owner would sign."""

import io
import json
import random

from riskshare.encoding import canonical_json, sha256
from riskshare.sharing.segment import REASONS
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import open_segment
from riskshare.sharing.segment_ref import HEADER_ROOM, SegmentRef

LIST = "jd/high-risk"
EPOCH = bytes(range(32))
SEALED = 156


def rows_of(count, seed=0):
    source = random.Random(seed)
    return sorted((source.randbytes(16), source.randbytes(156 + 128 * source.randrange(3))) for _ in range(count))


def base(rows, **options):
    out = io.BytesIO()
    ref = write_base(out, LIST, EPOCH, rows, **({"seed": 1, "rate": 2**-10, "floor": 64, "bucket": 4} | options))
    return out.getvalue(), ref


def delta(added, withdrawn=None):
    out = io.BytesIO()
    ref = write_delta(out, LIST, EPOCH, dict(added), withdrawn or {})
    return out.getvalue(), ref


def open_whole(data, ref, **options):
    segment = open_segment(data, ref, LIST, EPOCH, **options)
    if hasattr(segment, "verify_all"):
        segment.verify_all()
    return segment


def flipped(data, position, mask=0xFF):
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


def fields_of(data, ref):
    return json.loads(data[: ref.header_length])


def signed_again(data, fields=None, **parts):
    """What a hostile owner can do: change sections or header fields and sign the result."""
    end = data.index(b"\0")
    fields = fields or json.loads(data[:end])
    data = bytearray(data)
    for name, content in parts.items():
        section = fields["sections"][name]
        assert len(content) == section["length"]
        data[section["offset"] : section["offset"] + section["length"]] = content
        section["sha256"] = sha256(content).hex()
    header = canonical_json(fields)
    data[:HEADER_ROOM] = header + bytes(HEADER_ROOM - len(header))
    return bytes(data), SegmentRef(sha256(header), len(header), sha256(bytes(data)), len(data))


def section_of(data, ref, name):
    place = fields_of(data, ref)["sections"][name]
    return data[place["offset"] : place["offset"] + place["length"]]


BASE = base(rows_of(10))
DELTA = delta(rows_of(3), {bytes([i]) * 16: REASONS[i % 3] for i in range(4)})
