"""`list create --granted`, `list grant` and `list revoke`: on a real PostgreSQL, with no peer running."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from riskshare.governance import admit, create_member


@pytest.fixture
def grantee(tmp_path, network, member):
    """A second member, `icbc`, of the network."""
    made = create_member(
        tmp_path / "icbc",
        "icbc",
        "https://127.0.0.1:8543",
        now=datetime.now(UTC),
        network_file=network / "network.json",
    )
    admit(network, [made.request_file], now=datetime.now(UTC))
    return "icbc"


@pytest.fixture
def watch(answer, member):
    code, [made] = answer("list", "create", "watch", "--category", "telecom_fraud", "--granted", "--config", member)
    assert (code, made["keyset"], made["granted"]) == (0, "watch", True)
    return member


def status(answer, member):
    code, [shown] = answer("list", "status", "watch", "--config", member)
    assert code == 0
    return shown


def test_a_list_is_granted_shown_and_revoked(run, answer, watch, grantee):
    assert status(answer, watch)["grants"] == []
    assert "Nobody has a grant" in run("list", "status", "watch", "--config", watch).stdout
    words = ["watch", "--member", grantee, "--author", "li", "--config", watch]
    code, [made] = answer("list", "grant", *words, "--purpose", "payment", "--until", "2999-12-31")
    assert code == 0
    assert {key: made[key] for key in ("list", "member", "purposes", "until", "author", "in_force")} == {
        "list": "jd/watch",
        "member": "icbc",
        "purposes": ["payment"],
        "until": "3000-01-01T00:00:00.000Z",
        "author": "li",
        "in_force": True,
    }
    again = run("list", "grant", *words)
    assert "icbc may use jd/watch for every purpose that the registry allows it, until it is revoked." in again.stdout
    assert [grant["in_force"] for grant in status(answer, watch)["grants"]] == [False, True]
    assert "granted by" in run("list", "status", "watch", "--config", watch).stdout

    code, [ended] = answer("list", "revoke", *words)
    assert (code, ended["revoked"]) == (0, True)
    code, [nothing] = answer("list", "revoke", *words)
    assert (code, nothing["revoked"]) == (1, False)
    assert [grant["in_force"] for grant in status(answer, watch)["grants"]] == [False, False]
    assert status(answer, watch)["grants"][1]["revoked_by"] == "li"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["grant", "watch", "--member", "nobody"], "unknown_member"),
        (["grant", "watch", "--member", "No Body"], "invalid_name"),
        (["grant", "watch", "--member", "jd"], "unknown_member"),
        (["grant", "watch", "--member", "icbc", "--purpose", "gambling"], "unknown_purpose"),
        (["grant", "watch", "--member", "icbc", "--until", "soon"], "invalid_input"),
        (["grant", "watch", "--member", "icbc", "--until", "2026-01-01"], "invalid_time"),
        (["grant", "none", "--member", "icbc"], "unknown_list"),
        (["grant", "open", "--member", "icbc"], "open_list"),
        (["revoke", "open", "--member", "icbc"], "open_list"),
        (["revoke", "none", "--member", "icbc"], "unknown_list"),
        (["create", "more", "--category", "telecom_fraud", "--granted", "--keyset", "default"], "own_keyset"),
        (["create", "default", "--category", "telecom_fraud", "--granted"], "own_keyset"),
        (["create", "more", "--category", "telecom_fraud", "--keyset", "watch"], "keyset_taken"),
        (["create", "slow", "--category", "telecom_fraud", "--granted"], "keyset_taken"),
        (["create", "watch", "--category", "telecom_fraud"], "list_exists"),
    ],
)
def test_what_cannot_be_granted_is_refused_and_changes_nothing(answer, watch, grantee, words, code):
    assert grantee == "icbc"
    for name, keyset in (("open", "default"), ("slower", "slow")):
        words_of = ["create", name, "--category", "telecom_fraud", "--keyset", keyset]
        assert answer("list", *words_of, "--config", watch)[0] == 0
    exit_code, [refused] = answer("list", *words, "--config", watch)
    assert (exit_code, refused["error"]["code"]) == (2, code)
    _, shown = answer("list", "status", "--config", watch)
    assert {(each["list"], each["granted"]) for each in shown} == {
        ("jd/open", False),
        ("jd/slower", False),
        ("jd/watch", True),
    }
    assert status(answer, watch)["grants"] == []
