"""The tree of errors is the one that is drawn, and its codes are fit for wire and metrics."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from riskshare import errors
from riskshare.errors import (
    AskRefused,
    IdentifierError,
    PeerDown,
    PeerError,
    PeerRefused,
    RiskshareError,
    StoreError,
)

CLASSES = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__]


def drawn() -> dict[str, tuple[str, str]]:
    """From the picture in the module's docstring: class -> (parent, what is said of it)."""
    found = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r" {4}(?P<branch>(?:(?:│   |    )*[├└]── )?)(?P<name>[A-Z]\w+)(?P<text>.*)", line)
        if match:
            level = len(match["branch"]) // 4
            path = [*path[:level], match["name"]]
            found[match["name"]] = (path[-2] if level else "Exception", match["text"].strip())
    return found


def test_the_tree_is_the_one_that_is_drawn():
    real = {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}
    assert {name: parent for name, (parent, _) in drawn().items()} == real


def test_the_drawing_says_something_of_each_class():
    assert [name for name, (parent, text) in drawn().items() if not text and parent != "Exception"] == []


def test_each_class_has_one_base():
    assert [cls.__name__ for cls in CLASSES if len(cls.__bases__) != 1] == []


def test_every_class_names_a_code_of_its_own():
    """Not inherited: a caller who catches a class knows its code."""
    assert [cls.__name__ for cls in CLASSES if "code" not in vars(cls)] == []


def test_class_codes_are_unique():
    """`malformed` is shared on purpose: an ask that is no canonical encoding is refused as malformed."""
    codes = [cls.code for cls in CLASSES if cls is not AskRefused]
    assert sorted(codes) == sorted(set(codes))


def test_every_code_is_a_short_word_in_snake_case():
    codes = {cls.code for cls in CLASSES} | set(AskRefused.STATUS)
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z_]{1,38}[a-z]", code)] == []


def test_codes_that_a_refusal_shares_with_a_class_mean_the_same_there():
    shared = set(AskRefused.STATUS) & {cls.code for cls in CLASSES if cls is not AskRefused}
    assert shared == {"malformed", "bad_element", "store_unavailable"}


def test_refusals_travel_with_the_statuses_of_the_protocol():
    """The protocol page, "Ask and answer": 400 malformed, network, owner, root, count; 401 signature; and so on."""
    by_status: dict[int, set[str]] = {}
    for code, status in AskRefused.STATUS.items():
        by_status.setdefault(status, set()).add(code)
    assert by_status == {
        400: {"malformed", "wrong_network", "wrong_owner", "wrong_root", "wrong_count", "bad_element"},
        401: {"bad_signature", "no_certificate"},
        403: {"wrong_member", "log_stalled", "purpose_not_allowed"},
        404: {"unknown_epoch"},
        409: {"batch_conflict"},
        412: {"clock_off", "registry_mismatch"},
        413: {"too_many_elements"},
        429: {"quota_exhausted", "too_often"},
        503: {"overloaded", "store_unavailable"},
    }


@pytest.mark.parametrize("code", AskRefused.STATUS)
def test_a_refusal_knows_its_status(code):
    assert AskRefused(code, "Sentence.").status == AskRefused.STATUS[code]


def test_an_instance_may_narrow_the_code_without_touching_its_class():
    narrow = StoreError("Sentence.", code="narrower")
    assert narrow.code == "narrower"
    assert StoreError.code == "store_unavailable"
    assert StoreError("Sentence.").code == "store_unavailable"


def test_the_message_is_the_sentence():
    error = RiskshareError("Do this.")
    assert error.message == str(error) == "Do this."


def test_an_identifier_error_is_placed_without_changing_the_first():
    error = IdentifierError("phone", "length", "A phone number has at most 15 digits.")
    placed = error.at(7)
    assert (placed.type, placed.reason, placed.message, placed.position) == ("phone", "length", error.message, 7)
    assert error.position is None
    assert placed.code == "invalid_identifier"


def test_peer_errors_name_the_member():
    refused = PeerRefused("telco", "Sentence.", remote_code="clock_off", status=412, retry_after=2.5)
    assert (refused.member, refused.remote_code, refused.status, refused.retry_after) == (
        "telco",
        "clock_off",
        412,
        2.5,
    )
    assert refused.code == "peer_refused"
    assert PeerDown("telco", "Sentence.").member == "telco"
    assert issubclass(PeerDown, PeerError)


def raised() -> list[tuple[str, str, ast.Call]]:
    """Each call of one of our error classes in the package: place, class, call."""
    names = {cls.__name__ for cls in CLASSES}
    return [
        (f"{path.name}:{node.lineno}", node.func.id, node)
        for path in sorted(Path(errors.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


def test_every_refusal_in_the_package_uses_a_code_with_a_status():
    used = [
        (place, call.args[0].value)
        for place, name, call in raised()
        if name == "AskRefused" and call.args and isinstance(call.args[0], ast.Constant)
    ]
    assert [(place, code) for place, code in used if code not in AskRefused.STATUS] == []


def test_every_message_in_the_package_ends_as_a_sentence():
    wrong = [
        (place, text)
        for place, _, call in raised()
        for text in map(ending, call.args)
        if text is not None and " " in text and not text.rstrip().endswith((".", "?"))
    ]
    assert wrong == []


def ending(node: ast.expr) -> str | None:
    """The text of a constant, or the last piece of an f-string that does not end with a value."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[-1]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
