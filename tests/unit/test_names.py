from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare import names
from riskshare.errors import InputError

BAD_PARTS = ["", "-a", "A", "a_b", "a b", "a/b", "ä", "a" * 64, "a\n", "a.b", "\u0661", None, 5, b"a"]
BAD_LISTS = ["", "jd", "/", "jd/", "/a", "jd/a/b", "JD/a", "jd/-a", "jd/a\n", " jd/a", None, 5, b"jd/a"]
BAD_CATEGORIES = ["", "1a", "_a", "A", "a-b", "a" * 64, "a\n", None, 5]


@pytest.mark.parametrize("check", [names.check_member_name, names.check_local_list_name, names.check_keyset_name])
@pytest.mark.parametrize("bad", BAD_PARTS)
def test_what_is_no_part_of_a_name_is_refused(check, bad):
    with pytest.raises(InputError) as caught:
        check(bad)
    assert caught.value.code == "invalid_name"


@pytest.mark.parametrize("bad", BAD_LISTS)
def test_what_is_no_full_name_of_a_list_is_refused(bad):
    with pytest.raises(InputError) as caught:
        names.check_list_name(bad)
    assert caught.value.code == "invalid_name"


@pytest.mark.parametrize("bad", BAD_CATEGORIES)
def test_what_is_no_category_is_refused(bad):
    with pytest.raises(InputError) as caught:
        names.check_category(bad)
    assert caught.value.code == "invalid_name"


def test_a_refused_name_is_not_repeated():
    with pytest.raises(InputError) as caught:
        names.check_list_name("jd/Secret")
    assert "Secret" not in caught.value.message


@pytest.mark.parametrize("good", ["a", "0", "a-", "x" * 63, "high-risk", "0-0"])
def test_good_parts(good):
    assert names.check_member_name(good) == good
    assert names.split_list_name(f"{good}/{good}") == (good, good)
    assert names.list_owner(f"{good}/x") == good


def test_the_four_categories_of_the_protocol():
    for category in ("transaction_fraud", "high_risk_account", "marketing_cheating", "telecom_fraud"):
        assert names.check_category(category) == category


@given(st.text(st.sampled_from("ab0-/_A\n"), max_size=8))
def test_a_list_name_is_two_parts(text):
    part = "[a-z0-9][a-z0-9-]{0,62}"
    if re.fullmatch(f"{part}/{part}", text):
        assert names.check_list_name(text) == text
    else:
        with pytest.raises(InputError):
            names.check_list_name(text)
