"""Each rule of admission by itself: what it refuses, by which code, and what it lets through."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import canonical_json
from riskshare.errors import AskRefused
from riskshare.ledger import merkle
from riskshare.membership.group import GENERATOR
from riskshare.query.admission import (
    Asker,
    bad_element,
    beyond,
    check_clock,
    check_elements_of,
    check_form,
    check_member,
    check_purpose,
    check_registry,
    check_root,
    check_signature,
    unknown_epoch,
)
from riskshare.query.message import CLOCK_TOLERANCE_SECONDS, MAX_ELEMENTS, AskMessage
from riskshare.query.quota import Limits, Quotas
from riskshare.signature import SigningKey
from riskshare.statement import signed_bytes
from tests.simulator.query import NETWORK, PLENTY, START, Clock, SimulatedOwner, ask_body, identity, make_ask

OWNER = SimulatedOwner("jd", Clock())
ELEMENTS = GENERATOR * 3
ASK = make_ask(OWNER, ELEMENTS)
MESSAGE = AskMessage.from_bytes(ask_body(ASK, ELEMENTS))
ASKER = Asker("icbc", good_standing=True, keys=[identity("icbc").public], purposes=frozenset({"payment"}))


def refusal(code, status, check, *arguments, **named):
    with pytest.raises(AskRefused) as caught:
        check(*arguments, **named)
    assert (caught.value.code, caught.value.status) == (code, status)


def form(ask, message=MESSAGE, *, network=NETWORK, owner="jd", asker="icbc"):
    check_form(ask, message, network=network, owner=owner, asker=asker)
    check_root(ask, message)


def test_a_whole_ask_has_its_form():
    form(ASK)


def test_forms_that_are_refused():
    refusal("wrong_network", 400, form, replace(ASK, network="othernet"))
    refusal("wrong_owner", 400, form, replace(ASK, owner="unionpay"))
    refusal("wrong_member", 403, form, replace(ASK, querier="unionpay"))
    refusal("wrong_member", 403, form, ASK, asker="unionpay")
    refusal("wrong_root", 400, form, replace(ASK, elements=bytes(32)))
    refusal("wrong_root", 400, form, ASK, replace(MESSAGE, elements=ELEMENTS[:64] + bytes(32)))


@pytest.mark.parametrize("size", [0, 1, 31, 32, 64, 95, 97, 128])
def test_elements_that_are_not_count_times_32_bytes(size):
    refusal("wrong_count", 400, form, ASK, replace(MESSAGE, elements=(ELEMENTS * 2)[:size]))


@pytest.mark.parametrize("count", [1, 2, 4, 2**53 - 1])
def test_a_count_that_is_not_that_of_the_elements(count):
    refusal("wrong_count", 400, form, replace(ASK, count=count))


@given(st.permutations([bytes([number]) * 32 for number in range(4)]))
def test_the_order_of_elements_is_under_the_root(order):
    elements = b"".join(order)
    message = AskMessage(b"", bytes(64), elements)
    ask = replace(ASK, count=4, elements=merkle.root([bytes([number]) * 32 for number in range(4)]))
    if elements == b"".join(sorted(order)):
        form(ask, message)
    else:
        refusal("wrong_root", 400, form, ask, message)


@pytest.mark.parametrize(("version", "passes"), [(6, False), (7, True), (8, True)])
def test_a_registry_as_new_as_the_askers(version, passes):
    if passes:
        check_registry(ASK, version, expired=False)
    else:
        refusal("registry_mismatch", 412, check_registry, ASK, version, expired=False)


def test_a_registry_that_has_expired():
    refusal("registry_mismatch", 412, check_registry, ASK, 7, expired=True)


def test_members():
    assert check_member(ASKER) is ASKER
    refusal("wrong_member", 403, check_member, None)
    refusal("wrong_member", 403, check_member, replace(ASKER, good_standing=False))


def test_a_member_whose_log_stands_still():
    refusal("log_stalled", 403, check_member, replace(ASKER, log_stalled=True))
    refusal("wrong_member", 403, check_member, replace(ASKER, good_standing=False, log_stalled=True))


def test_signatures():
    other = SigningKey(bytes(32))
    check_signature(MESSAGE, NETWORK, ASKER)
    check_signature(MESSAGE, NETWORK, replace(ASKER, keys=[other.public, *ASKER.keys]))
    for asker in (replace(ASKER, keys=[]), replace(ASKER, keys=[other.public]), replace(ASKER, keys=[b"", bytes(32)])):
        refusal("bad_signature", 401, check_signature, MESSAGE, NETWORK, asker)
    refusal("bad_signature", 401, check_signature, MESSAGE, "othernet", ASKER)
    forged = AskMessage.from_bytes(ask_body(ASK, ELEMENTS, key=other))
    refusal("bad_signature", 401, check_signature, forged, NETWORK, ASKER)


@pytest.mark.parametrize("kind", ["answer", "check", "snapshot"])
def test_a_signature_under_another_kind_of_statement_is_none(kind):
    message = AskMessage.from_bytes(ask_body(ASK, ELEMENTS, kind=kind))
    refusal("bad_signature", 401, check_signature, message, NETWORK, ASKER)


def test_a_signature_without_its_prefix_is_none():
    json = canonical_json(ASK.body())
    bare = AskMessage(json, identity("icbc").sign(json), ELEMENTS)
    refusal("bad_signature", 401, check_signature, bare, NETWORK, ASKER)
    assert signed_bytes("ask", NETWORK, json) == b"riskshare/v1/ask\nsimnet\n" + json


@given(st.integers(0, 63), st.integers(1, 255))
def test_an_altered_signature_is_none(position, change):
    altered = bytearray(MESSAGE.signature)
    altered[position] ^= change
    refusal("bad_signature", 401, check_signature, replace(MESSAGE, signature=bytes(altered)), NETWORK, ASKER)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_clock_at_below_and_above_its_tolerance(sign):
    assert CLOCK_TOLERANCE_SECONDS == 60
    for seconds in (0, 59.999, 60):
        check_clock(ASK, START + sign * timedelta(seconds=seconds))
    for seconds in (60.001, 3600, 10**9):
        refusal("clock_off", 412, check_clock, ASK, START + sign * timedelta(seconds=seconds))


def test_purposes():
    check_purpose(ASK, ASKER, granted=True)
    refusal("purpose_not_allowed", 403, check_purpose, replace(ASK, purpose="marketing"), ASKER, granted=True)
    refusal("purpose_not_allowed", 403, check_purpose, replace(ASK, purpose="payment "), ASKER, granted=True)
    refusal("purpose_not_allowed", 403, check_purpose, ASK, replace(ASKER, purposes=frozenset()), granted=True)
    refusal("purpose_not_allowed", 403, check_purpose, ASK, ASKER, granted=False)


def beyond_of(count, limits=PLENTY, quotas=None, *, monotonic=0.0):
    found = beyond(replace(ASK, count=count), quotas or Quotas(), limits, now=START, monotonic=monotonic)
    return None if found is None else (found.code, found.status)


def test_as_many_elements_as_allowed_and_one_more():
    assert beyond_of(MAX_ELEMENTS) is None
    assert beyond_of(MAX_ELEMENTS + 1) == ("too_many_elements", 413)
    assert beyond_of(MAX_ELEMENTS + 1, Limits(0, 0)) == ("too_many_elements", 413)
    assert beyond_of(2**53 - 1) == ("too_many_elements", 413)


@pytest.mark.parametrize("limits", [Limits(0, 100), Limits(100, 0), Limits(100, 100, 0), Limits(100, 2)])
def test_a_quota_that_will_not_do_is_told_beforehand(limits):
    assert beyond_of(3, limits) == ("quota_exhausted", 429)


def test_telling_beforehand_spends_nothing():
    quotas = Quotas()
    assert {beyond_of(3, Limits(3, 3, 3), quotas) for _ in range(5)} == {None}
    quotas.take("icbc", ASK.epoch, 3, Limits(3, 3, 3), now=0.0, day=START.date())
    assert beyond_of(1, Limits(3, 3, 3), quotas) == ("quota_exhausted", 429)


@given(st.integers(1, 2 * MAX_ELEMENTS), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_what_is_told_beforehand_is_what_taking_says(count, rate, day, epoch):
    limits, quotas = Limits(rate, day, epoch), Quotas()
    told = beyond_of(count, limits, quotas)
    if count > MAX_ELEMENTS:
        assert told == ("too_many_elements", 413)
        return
    taken = None
    try:
        quotas.take("icbc", ASK.epoch, count, limits, now=0.0, day=START.date())
    except AskRefused as refused:
        taken = refused.code, refused.status
    assert told == taken


P = 2**255 - 19
BAD = {
    "identity": bytes(32),
    "negative": (1).to_bytes(32, "little"),
    "bit 255": GENERATOR[:31] + bytes([GENERATOR[31] | 0x80]),
    "p": P.to_bytes(32, "little"),
    "p + 1": (P + 1).to_bytes(32, "little"),
    "all ones": b"\xff" * 32,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_encodings_that_can_be_no_element(bad, place):
    elements = [GENERATOR] * 3
    elements[place] = bad
    refusal("bad_element", 400, check_elements_of, AskMessage(b"", b"", b"".join(elements)), 3)


def test_elements_of_as_many_as_allowed_and_one_more():
    check_elements_of(AskMessage(b"", b"", GENERATOR * MAX_ELEMENTS), MAX_ELEMENTS)
    more = AskMessage(b"", b"", GENERATOR * (MAX_ELEMENTS + 1))
    refusal("too_many_elements", 413, check_elements_of, more, MAX_ELEMENTS + 1)


def test_the_refusals_that_the_verb_raises():
    assert (unknown_epoch().code, unknown_epoch().status) == ("unknown_epoch", 404)
    assert (bad_element().code, bad_element().status) == ("bad_element", 400)


def test_every_refusal_tells_what_to_do_and_nothing_of_the_ask():
    secret = replace(ASK, network="secret-net", owner="secret-owner", querier="secret-querier", purpose="secret-aim")
    for check in (
        lambda: form(secret),
        lambda: form(replace(secret, network=NETWORK)),
        lambda: form(replace(secret, network=NETWORK, owner="jd")),
        lambda: check_purpose(secret, ASKER, granted=True),
    ):
        with pytest.raises(AskRefused) as caught:
            check()
        assert "secret" not in caught.value.message
        assert caught.value.message.endswith(".")
