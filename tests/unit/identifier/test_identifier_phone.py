"""Telephone numbers: the compiled plans agree with the library, and nobody's digits are left out."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata
from phonenumbers.phonenumberutil import COUNTRY_CODE_TO_REGION_CODE

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import make
from riskshare.membership.identifier.phone import is_plainly_assigned

CODES = sorted(COUNTRY_CODE_TO_REGION_CODE)


def library(text, region=None):
    """E.164 if the library finds the number valid, else None."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def ours(text, region=None):
    try:
        return make("phone", text, region=region).value
    except IdentifierError:
        return None


def reason_of(text, region=None):
    with pytest.raises(IdentifierError) as caught:
        make("phone", text, region=region)
    return caught.value.reason


def examples(code):
    """Example numbers of every kind in every region of a calling code."""
    kinds = ("mobile", "fixed_line", "toll_free", "premium_rate", "shared_cost", "voip", "pager", "uan", "voicemail")
    for region in COUNTRY_CODE_TO_REGION_CODE[code]:
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        for kind in (*kinds, "personal_number"):
            description = getattr(metadata, kind)
            if description is not None and description.example_number:
                yield description.example_number


@pytest.mark.parametrize("code", CODES)
def test_examples_of_every_country_agree_with_the_library(code):
    for number in examples(code):
        text = f"+{code}{number}"
        expected = library(text)
        assert ours(text) == (expected if expected == text else None)


@given(code=st.sampled_from(CODES), number=st.text("0123456789", min_size=2, max_size=14))
def test_random_numbers_of_every_country_agree_with_the_library(code, number):
    text = f"+{code}{number}"
    assert ours(text) == (text if library(text) == text else None)


@given(data=st.data(), code=st.sampled_from(CODES))
def test_numbers_close_to_valid_agree_with_the_library(data, code):
    digits = list(data.draw(st.sampled_from([*examples(code), "12345678"])))
    for _ in range(data.draw(st.integers(0, 3))):
        digits[data.draw(st.integers(0, len(digits) - 1))] = data.draw(st.sampled_from("0123456789"))
    text = f"+{code}{''.join(digits)}"
    assert ours(text) == (text if library(text) == text else None)


@given(st.from_regex(r"1[2-9][0-9]{9}", fullmatch=True))
def test_fast_path_of_north_america_is_exactly_the_library(digits):
    assert is_plainly_assigned(digits) == (library(f"+{digits}") == f"+{digits}")


@given(st.from_regex(r"861[3-9][0-9]{9}", fullmatch=True))
def test_fast_path_of_chinese_mobiles_is_exactly_the_library(digits):
    # A number such as 179 11 … begins like a carrier's prefix: there the fast path leaves the decision to the library.
    plain, valid = is_plainly_assigned(digits), library(f"+{digits}") == f"+{digits}"
    assert plain == valid or (valid and digits.startswith("86179"))


@given(st.sampled_from(CODES), st.text("0123456789", max_size=14))
def test_fast_path_never_accepts_what_the_library_does_not(code, number):
    if is_plainly_assigned(f"{code}{number}"):
        assert library(f"+{code}{number}") == f"+{code}{number}"


@pytest.mark.parametrize("digits", ["", "0", "00", "1", "86", "999123456789", "0112025550123"])
def test_fast_path_of_no_number(digits):
    assert not is_plainly_assigned(digits)


@given(
    st.sampled_from(["US", "CN", "GB", "DE", "IT", "FR", "AR", "MX", "BR", "RU", "JP", "AG", "KZ", "HK"]),
    st.text("0123456789", min_size=3, max_size=14),
)
def test_number_of_a_region_is_the_library_s_or_refused(region, digits):
    found = ours(digits, region)
    assert found is None or found == library(digits, region) == library(found)


@given(st.from_regex(r"[2-9][0-9]{9}", fullmatch=True))
def test_ten_american_digits_are_exactly_the_library_s(digits):
    assert ours(digits, "US") == library(digits, "US")


@pytest.mark.parametrize(
    ("text", "region", "canonical"),
    [
        ("202 555 0123", "US", "+12025550123"),
        ("1 (202) 555-0123", "US", "+12025550123"),
        ("+12025550123", "CN", "+12025550123"),
        ("011 44 20 7946 0958", "US", "+442079460958"),
        ("138 0013 8000", "CN", "+8613800138000"),
        ("8613800138000", "CN", "+8613800138000"),
        ("0086 138 0013 8000", "CN", "+8613800138000"),
        ("010 6552 9988", "CN", "+861065529988"),
        ("17909 138 0013 8000", "CN", "+8613800138000"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("011 15-2345-6789", "AR", "+5491123456789"),
        ("8 800 123-45-67", "RU", "+78001234567"),
    ],
)
def test_region_reads_a_number_as_dialled_there(text, region, canonical):
    assert make("phone", text, region=region).value == canonical


@pytest.mark.parametrize("text", ["1 1 405 790 5467", "114057905467", "1114057905467"])
def test_two_prefixes_are_not_guessed_away(text):
    assert library(text, "US") is not None
    assert reason_of(text, "US") == "trunk_prefix"


@pytest.mark.parametrize("region", ["XX", "us", "", "001", "USA", "86"])
def test_unknown_region(region):
    assert reason_of("2025550123", region) == "region"


@pytest.mark.parametrize(("text", "region"), [("102 555 0123", "US"), ("12000138000", "CN"), ("04062025", "US")])
def test_invalid_number_of_a_region(text, region):
    assert reason_of(text, region) in ("not_assigned", "length")


def test_region_is_for_phones_only():
    assert make("ip", "192.0.2.1", region="XX").value == "192.0.2.1"


@pytest.mark.parametrize("text", ["+39 (0)6 1234 5678", "+39 06 1234 5678"])
def test_zero_that_belongs_to_an_italian_number_stays(text):
    assert make("phone", text).value == "+390612345678"


@pytest.mark.parametrize(
    "text", ["+44 (0)20 7946 0958", "+44(0)2079460958", "(+44) (0) 20 7946 0958".replace("( 0 )", "(0)")]
)
def test_trunk_prefix_in_parentheses_is_left_out(text):
    assert make("phone", text).value == "+442079460958"


def test_other_digits_in_parentheses_are_not_left_out():
    assert reason_of("+44 (9)20 7946 0958") in ("length", "not_assigned")
    assert make("phone", "+1 (2)025550123").value == "+12025550123"
