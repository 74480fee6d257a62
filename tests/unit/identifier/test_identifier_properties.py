"""What holds for every type and any text."""

from __future__ import annotations

import unicodedata

from hypothesis import assume, given
from hypothesis import strategies as st

from riskshare.errors import IdentifierError
from riskshare.generate import GENERATED_TYPES, stream
from riskshare.membership.identifier import MAX_BYTES, REASONS, TYPES, make, mask, parse

types = st.sampled_from(TYPES)
texts = st.one_of(
    st.text(max_size=300),
    st.text("0123456789+-./:@ xX()", max_size=60),
    st.text("abcXYZ019._-@/:+ \u00e9\u00df\u0130\u212a\u3002\uff0e\u0301\u200d\u0660", max_size=60),
    st.text(st.characters(categories=("Cs", "Cc", "Cf", "Co", "Cn", "Mn", "Zs", "So")), max_size=40),
    st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.binary(max_size=200).map(lambda data: data.decode("latin-1")),
)


@st.composite
def generated(draw, type_=None):
    """A valid identifier."""
    chosen = type_ or draw(st.sampled_from(GENERATED_TYPES))
    return next(stream(draw(st.integers(0, 2**32)), [chosen]))


@st.composite
def damaged(draw):
    """A valid identifier's text with one to three places changed."""
    identifier = draw(generated())
    text = list(identifier.value)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text) - 1))
        text[place] = draw(st.sampled_from([*"0123456789abcXYZ+-/@. :", "", "\u200b", "\u00e9", "\u0661", "\x00"]))
    return identifier.type, "".join(text)


def attempt(read, *arguments):
    """The identifier or the refusal."""
    try:
        return read(*arguments, position=5, allow_canary=True)
    except IdentifierError as error:
        return error


def assert_sound(found, text):
    """Accepted for good, or refused with a reason and without a trace of the text."""
    if not isinstance(found, IdentifierError):
        assert make(found.type, found.value, allow_canary=True) == found
        assert parse(found.canonical, allow_canary=True) == found
        assert len(found.oprf_input) <= MAX_BYTES
        return
    assert found.reason in REASONS
    assert found.position == 5
    assert found.message.endswith(".")
    assert found.__cause__ is None
    assert found.__context__ is None
    if len(text.strip()) >= 12:
        assert text.strip() not in f"{found} {found!r} {found.args}"


@given(types, texts)
def test_any_text_is_accepted_for_good_or_refused(type_, text):
    found = attempt(make, type_, text)
    assert found.type == type_
    assert_sound(found, text)


@given(damaged())
def test_any_damaged_identifier_is_accepted_for_good_or_refused(pair):
    assert_sound(attempt(make, *pair), pair[1])


@given(texts)
def test_any_text_without_a_type_is_parsed_or_refused(text):
    assert_sound(attempt(parse, text), text)


@given(types, texts)
def test_parse_and_make_agree(type_, text):
    made, parsed = attempt(make, type_, text), attempt(parse, f"{type_}:{text}")
    if isinstance(made, IdentifierError):
        assert isinstance(parsed, IdentifierError)
        assert (parsed.type, parsed.reason) == (made.type, made.reason)
    else:
        assert parsed == made


@given(generated())
def test_normalising_twice_changes_nothing(identifier):
    assert make(identifier.type, identifier.value) == identifier
    assert parse(identifier.canonical) == identifier


@given(generated(), st.sampled_from([" ", "\t", "\r\n", "\u00a0", "\u3000", "\u2003"]))
def test_white_space_around_changes_nothing(identifier, blank):
    assert make(identifier.type, f"{blank}{identifier.value}{blank}") == identifier


@given(generated())
def test_full_width_letters_change_nothing(identifier):
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in identifier.value)
    assume(len(wide) + 20 < MAX_BYTES)
    assert unicodedata.normalize("NFKC", wide) == identifier.value
    assert make(identifier.type, wide) == identifier


@given(st.sampled_from(["cn_id", "uscc", "bank_card", "iban", "account", "phone"]).flatmap(generated), st.data())
def test_separators_and_case_change_nothing(identifier, data):
    head, slash, number = identifier.value.rpartition("/")
    spelled = "".join(letter + data.draw(st.sampled_from(["", "", " ", "-"])) for letter in number[:-1]) + number[-1]
    assert make(identifier.type, f"{head}{slash}{spelled}".lower()) == identifier


@given(st.sampled_from(["email", "domain", "ip"]).flatmap(generated))
def test_case_of_names_changes_nothing(identifier):
    assert make(identifier.type, identifier.value.upper()) == identifier


@given(generated(), generated())
def test_two_identifiers_are_equal_exactly_when_their_texts_are(one, other):
    assert (one == other) == (one.oprf_input == other.oprf_input)


@given(generated())
def test_mask_hides_at_least_a_third_and_never_the_whole_number(identifier):
    masked = mask(identifier)
    assert masked.startswith(f"{identifier.type}:")
    assert "•" in masked
    assert identifier.value not in masked


@given(generated(), st.integers(0, 400), st.sampled_from(["\u200b", "\u202e", "\x00", "\u2066", "\ufeff"]))
def test_an_invisible_character_anywhere_is_refused(identifier, place, character):
    place %= len(identifier.value) + 1
    found = attempt(make, identifier.type, identifier.value[:place] + character + identifier.value[place:])
    assert isinstance(found, IdentifierError)
    assert found.reason == "invisible"
