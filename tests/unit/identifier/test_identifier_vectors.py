"""The golden vectors of `tests/vectors/identifiers.json`, which the documentation shows too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import NORMALISATION, REASONS, TYPES, make, parse

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "identifiers.json").read_text("ascii"))
ACCEPTED = [
    pytest.param(vector["type"], spelling, vector["canonical"], id=f"{vector['type']}-{number}-{which}")
    for number, vector in enumerate(VECTORS["accepted"])
    for which, spelling in enumerate(vector["spellings"])
]
REFUSED = [
    pytest.param(vector["type"], vector["text"], vector["reason"], id=f"{vector['type']}-{vector['reason']}-{number}")
    for number, vector in enumerate(VECTORS["refused"])
]


def test_vectors_are_of_this_version():
    assert VECTORS["normalisation"] == NORMALISATION


def test_vectors_name_every_type():
    assert {vector["type"] for vector in VECTORS["refused"]} == set(TYPES)
    assert {vector["type"] for vector in VECTORS["accepted"]} == set(TYPES) - {"canary"}


def test_vectors_name_every_reason_that_a_value_can_have():
    of_the_type = {"no_type", "unknown_type", "too_long"}
    assert {vector["reason"] for vector in VECTORS["refused"]} == set(REASONS) - of_the_type


@pytest.mark.parametrize(("type_", "spelling", "canonical"), ACCEPTED)
def test_accepted_spelling_becomes_its_canonical_value(type_, spelling, canonical):
    identifier = make(type_, spelling)
    assert (identifier.type, identifier.value) == (type_, canonical)
    assert parse(f"{type_}:{spelling}") == identifier


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["type"])
def test_canonical_value_stays_as_it_is(vector):
    assert make(vector["type"], vector["canonical"]).value == vector["canonical"]


def test_no_canonical_value_stands_twice():
    names = [(vector["type"], vector["canonical"]) for vector in VECTORS["accepted"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("type_", "text", "reason"), REFUSED)
def test_refused_text_is_refused_for_its_reason(type_, text, reason):
    for attempt in (lambda: make(type_, text, position=7), lambda: parse(f"{type_}:{text}", position=7)):
        with pytest.raises(IdentifierError) as caught:
            attempt()
        error = caught.value
        assert (error.type, error.reason, error.position) == (type_, reason, 7)
        assert error.code == "invalid_identifier"


@pytest.mark.parametrize(("type_", "text", "reason"), REFUSED)
def test_refusal_does_not_hold_the_text(type_, text, reason):
    with pytest.raises(IdentifierError) as caught:
        make(type_, text)
    error = caught.value
    shown = f"{error} {error!r} {error.args} {error.__dict__}"
    if len(text.strip()) > 8 and text.strip("\x00") not in REASONS.values():
        assert text.strip() not in shown
    assert error.__cause__ is None
    assert error.__context__ is None
