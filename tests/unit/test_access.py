"""The signed request of an auditor: what it says reads back, and what is none is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.access import KIND, MAX_NAMED, MAX_REASON, MAX_WIRE, AccessRequest, Sample, split_wire
from riskshare.encoding import canonical_json, cbor_encode, parse_canonical_json
from riskshare.errors import EncodingError
from riskshare.signature import SigningKey
from riskshare.statement import sign

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KEY = SigningKey(b"\x07" * 32)


def uuid7(number: int) -> UUID:
    return UUID(int=number | 7 << 76 | 2 << 62)


def request(**changes: object) -> AccessRequest:
    """A request to read, or what is made of it."""
    fields = {
        "access": uuid7(1 << 80),
        "action": "read",
        "auditor": "regulator",
        "member": "bank",
        "network": "net",
        "registry": 3,
        "reason": "yearly audit",
        "requested_at": NOW,
        "start": NOW - timedelta(days=1),
        "end": NOW,
    }
    return AccessRequest(**(fields | changes))


def opening(**changes: object) -> AccessRequest:
    return request(**{"action": "open", "start": None, "end": None, "checks": (uuid7(5),)} | changes)


IDS = st.integers(0, 2**60 - 1).map(uuid7)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True)
TIMES = st.integers(0, 10**12).map(lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
REASONS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=MAX_REASON)
SAMPLES = st.builds(
    lambda seed, size, more: Sample(seed, size, size + more),
    st.binary(min_size=32, max_size=32),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
)
COMMON = {
    "access": IDS,
    "auditor": NAMES,
    "member": NAMES,
    "network": NAMES,
    "registry": st.integers(1, 10**9),
    "reason": REASONS,
    "requested_at": TIMES,
    "start": st.none(),
    "end": st.none(),
}
REQUESTS = st.one_of(
    st.builds(
        lambda start, length, **fields: request(**fields | {"start": start, "end": start + length}),
        start=TIMES,
        length=st.integers(1, 10**9).map(lambda ms: timedelta(milliseconds=ms)),
        **{name: value for name, value in COMMON.items() if name not in ("start", "end")},
    ),
    st.builds(
        request,
        **COMMON,
        action=st.just("open"),
        checks=st.lists(IDS, min_size=1, max_size=9, unique=True).map(tuple),
        sample=st.none() | SAMPLES,
    ),
    st.builds(
        request,
        **COMMON,
        action=st.just("prove"),
        receipts=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9, unique=True).map(tuple),
    ),
    st.builds(
        lambda member, **fields: request(**fields | {"member": member, "auditor": member}),
        **{name: value for name, value in COMMON.items() if name != "auditor"},
        action=st.just("tell"),
        subject=st.binary(min_size=32, max_size=32),
    ),
)


@given(REQUESTS)
def test_a_request_reads_back_to_itself(made):
    assert AccessRequest.from_json(canonical_json(made.body())) == made


@given(REQUESTS)
def test_what_travels_is_what_was_signed(made):
    signed = sign(KIND, made.network, made.body(), KEY)
    assert split_wire(signed.wire()) == (signed.json, signed.signature)


@given(REQUESTS, st.sampled_from(sorted(request().body())), st.sampled_from([None, 1, True, "", "x", [], {}, [[]]]))
def test_a_field_of_another_form_is_refused_or_read_back(made, name, value):
    data = canonical_json(made.body() | {name: value})
    try:
        found = AccessRequest.from_json(data)
    except EncodingError:
        return
    assert canonical_json(found.body()) == data


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused(data):
    for read in (AccessRequest.from_json, split_wire):
        with pytest.raises(EncodingError):
            read(data)


def test_nothing_that_is_asked_about_is_in_its_repr():
    made = request(action="tell", auditor="bank", start=None, end=None, subject=b"\xab" * 32, reason="who is Mr Li")
    assert "Mr Li" not in repr(made)
    assert "\\xab" not in repr(made)


PROVING = {"action": "prove", "start": None, "end": None, "receipts": (b"r" * 32,)}
TELLING = {"action": "tell", "start": None, "end": None, "subject": b"s" * 32, "auditor": "bank"}
REFUSED = {
    "a period without beginning": {"start": None},
    "a period without end": {"end": None},
    "no period": {"start": None, "end": None},
    "a period that ends as it begins": {"start": NOW},
    "reading that names checks": {"checks": (uuid7(1),)},
    "reading that names receipts": {"receipts": (b"r" * 32,)},
    "reading that names a subject": {"subject": b"s" * 32},
    "reading with a sample": {"sample": Sample(b"s" * 32, 1, 1)},
    "opening nothing": {"action": "open", "start": None, "end": None},
    "opening with a period": {"action": "open", "checks": (uuid7(1),)},
    "opening with half a period": {"action": "open", "checks": (uuid7(1),), "end": None},
    "opening one check twice": {"action": "open", "start": None, "end": None, "checks": (uuid7(1), uuid7(1))},
    "too many checks": {
        "action": "open",
        "start": None,
        "end": None,
        "checks": tuple(uuid7(number) for number in range(MAX_NAMED + 1)),
    },
    "proving nothing": {**PROVING, "receipts": ()},
    "proving one receipt twice": {**PROVING, "receipts": (b"r" * 32, b"r" * 32)},
    "proving with a sample": {**PROVING, "sample": Sample(b"s" * 32, 1, 1)},
    "telling about nobody": {**TELLING, "subject": None},
    "telling by somebody else": {**TELLING, "auditor": "regulator"},
    "no reason": {"reason": ""},
    "a long reason": {"reason": "x" * (MAX_REASON + 1)},
    "a reason of two lines": {"reason": "a\nb"},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_a_request_that_does_not_say_one_thing_is_refused(changes):
    with pytest.raises(EncodingError):
        request(**changes)


SAMPLE = {"population": 9, "seed": "00" * 32, "size": 3}
MALFORMED = {
    "a field missing": lambda body: body.pop("reason"),
    "a field too many": lambda body: body.update(more=1),
    "an unknown action": lambda body: body.update(action="delete"),
    "an action that is a list": lambda body: body.update(action=[]),
    "a name that is none": lambda body: body.update(auditor="Regulator"),
    "a network that is none": lambda body: body.update(network="a\nb"),
    "an id that is no UUIDv7": lambda body: body.update(access=str(UUID(int=0, version=4))),
    "an id in capitals": lambda body: body.update(access=str(uuid7(1 << 80 | 0xABC)).upper()),
    "a registry of zero": lambda body: body.update(registry=0),
    "a registry that is true": lambda body: body.update(registry=True),
    "a time without zone": lambda body: body.update(requested_at="2026-11-22T08:30:00.000"),
    "a reason that is a number": lambda body: body.update(reason=5),
    "checks that are no list": lambda body: body.update(checks="x"),
    "a receipt in capitals": lambda body: body.update(receipts=["AB" * 32]),
    "a subject that is too short": lambda body: body.update(subject="00" * 31),
    "a sample without seed": lambda body: body.update(sample={"population": 9, "size": 3}),
    "a sample larger than what it is of": lambda body: body.update(sample={**SAMPLE, "size": 10}),
    "a sample of nothing": lambda body: body.update(sample={**SAMPLE, "size": 0}),
}


@pytest.mark.parametrize("damage", MALFORMED.values(), ids=MALFORMED)
def test_json_that_is_no_request_is_refused(damage):
    body = parse_canonical_json(canonical_json(opening().body()), limit=10**6)
    damage(body)
    with pytest.raises(EncodingError):
        AccessRequest.from_json(canonical_json(body))


def test_json_in_another_spelling_is_refused():
    data = canonical_json(request().body())
    with pytest.raises(EncodingError):
        AccessRequest.from_json(data + b"\n")


WIRES = {
    "no map": cbor_encode([b"{}", bytes(64)]),
    "a key missing": cbor_encode({"statement": b"{}"}),
    "a salt, which is nobody's business": cbor_encode({"statement": b"{}", "signature": bytes(64), "salt": bytes(16)}),
    "a statement that is text": cbor_encode({"statement": "{}", "signature": bytes(64)}),
    "a short signature": cbor_encode({"statement": b"{}", "signature": bytes(63)}),
    "too long": cbor_encode({"statement": bytes(MAX_WIRE), "signature": bytes(64)}),
}


@pytest.mark.parametrize("data", WIRES.values(), ids=WIRES)
def test_a_wire_form_of_another_kind_is_refused(data):
    with pytest.raises(EncodingError):
        split_wire(data)


def test_changing_a_request_checks_it_again():
    with pytest.raises(EncodingError):
        replace(opening(), checks=())
