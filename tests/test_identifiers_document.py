"""docs/identifiers.md, the golden vectors and the program say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import NORMALISATION, REASONS, TYPES, make
from riskshare.membership.identifier.wallet import CHAINS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "identifiers.md").read_text(encoding="utf-8")
VECTORS = json.loads((ROOT / "tests" / "vectors" / "identifiers.json").read_text("ascii"))
SPELLINGS = {
    (vector["type"], text): vector["canonical"] for vector in VECTORS["accepted"] for text in vector["spellings"]
}
REFUSALS = {(vector["type"], vector["text"]): vector["reason"] for vector in VECTORS["refused"]}
CODE = re.compile(r"`([^`]*)`")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    part = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    section = next(section for section in part if section.startswith(f"{heading}\n"))
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def one(cell: str) -> str:
    """What stands in code quotes, and nothing else does."""
    found = CODE.fullmatch(cell)
    assert found is not None, cell
    return found[1]


ACCEPTED = [
    (one(type_), CODE.findall(spellings), one(canonical)) for type_, spellings, canonical, _ in rows("Accepted")
]
REFUSED = [(one(type_), one(text), one(reason)) for type_, text, reason in rows("Refused")]


def test_names_the_version_of_the_rules():
    assert f"**{NORMALISATION}**" in TEXT
    assert VECTORS["normalisation"] == NORMALISATION


def test_names_the_number_of_the_vectors():
    spellings = sum(len(vector["spellings"]) for vector in VECTORS["accepted"])
    assert f"{spellings} spellings" in TEXT
    assert f"{len(VECTORS['refused'])} texts" in TEXT


def test_has_a_rule_for_each_type_and_examples_of_it():
    assert [one(row[0]) for row in rows("Rules")] == list(TYPES)
    assert {type_ for type_, _, _ in ACCEPTED} == set(TYPES) - {"canary"}
    assert {type_ for type_, _, _ in REFUSED} == set(TYPES)


def test_has_every_chain_once():
    named = [name for row in rows("Chains of wallets") for name in CODE.findall(row[0])]
    assert sorted(named) == sorted(CHAINS)


@pytest.mark.parametrize(("type_", "spellings", "canonical"), ACCEPTED, ids=lambda value: str(value)[:40])
def test_an_accepted_example_is_a_golden_vector_and_true(type_, spellings, canonical):
    for spelling in (*spellings, canonical):
        assert make(type_, spelling).value == canonical
    for spelling in spellings:
        assert SPELLINGS[type_, spelling] == canonical


@pytest.mark.parametrize(("type_", "text", "reason"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_refused_example_is_a_golden_vector_and_true(type_, text, reason):
    assert REFUSALS[type_, text] == reason
    with pytest.raises(IdentifierError) as caught:
        make(type_, text)
    assert caught.value.reason == reason


def test_says_of_every_reason_what_it_means():
    assert [(one(reason), meaning) for reason, meaning in rows("Reasons")] == list(REASONS.items())
