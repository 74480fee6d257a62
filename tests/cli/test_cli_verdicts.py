"""`check` without a peer: what is read from a file, how a verdict is shown, whom the client trusts."""

from __future__ import annotations

import asyncio
import io
import ssl
from pathlib import Path

import pytest
import trustme

from riskshare.api_models import CheckResponse
from riskshare.cli.asking import _reachable, _trusting
from riskshare.cli.identifier_lines import MAX_LINE, Line, opened_lines, read_lines
from riskshare.cli.screen import Screen, clean, counted
from riskshare.cli.verdict_text import tell_line, tell_verdict
from riskshare.errors import ConfigError, IdentifierError, InputError
from riskshare.membership.identifier import parse

PHONE = "phone:+14155550100"


def verdict(word, *, hits=(), owners=()):
    return CheckResponse.model_validate(
        {
            "check": "019391aa-0000-7000-8000-000000000000",
            "verdict": word,
            "complete": word == "clear",
            "hits": hits,
            "owners": [
                {"owner": name, "status": status, "ms": 3.14, "lists": {f"{name}/x": 7}} for name, status in owners
            ],
            "receipts": ["ab" * 32] * bool(owners),
            "ms": 4.56,
        }
    )


def hit(**changes):
    fields = {
        "identifier": 0,
        "owner": "jd",
        "list": "jd/high-risk",
        "category": "telecom_fraud",
        "level": "high",
        "reason": "reported",
        "evidence": "",
        "listed_at": "2026-11-01T00:00:00.000Z",
        "valid_until": "2027-05-01T00:00:00.000Z",
        "case": "c-17",
        "disputed": False,
        "appeal": "",
    }
    return fields | changes


def shown(capsys, texts, answer):
    tell_verdict(Screen(as_json=False), [parse(text) for text in texts], answer)
    out = capsys.readouterr().out
    assert [text for text in texts if text.partition(":")[2] in out] == []
    return out


def test_clear(capsys):
    out = shown(capsys, [PHONE], verdict("clear", owners=[("jd", "answered"), ("up", "cached")]))
    assert out.startswith(" CLEAR   phone:+1415\N{BULLET}")
    assert "is not on any list; 2 owners took part." in out
    assert "jd/x 7" in out
    assert "4.6 ms" in out
    assert "ab" * 32 in out


@pytest.mark.parametrize("owners", [(), (("jd", "answered"),)])
def test_a_clear_for_which_no_list_was_looked_into_says_so(capsys, owners):
    answer = verdict("clear", owners=owners)
    nothing = answer.model_copy(update={"owners": tuple(one.model_copy(update={"lists": {}}) for one in answer.owners)})
    out = shown(capsys, [PHONE], nothing)
    assert "No list was looked into: nobody publishes one of these categories." in out
    assert "is not on any list" not in out


def test_incomplete_is_no_clear_and_names_who_is_silent(capsys):
    out = shown(capsys, [PHONE], verdict("incomplete", owners=[("jd", "late"), ("up", "answered"), ("x", "down")]))
    assert "No hit, but 2 owners of 3 did not take part fully (jd, x): this is not a clear." in out
    assert "no answer within the deadline" in out
    assert "cannot be reached" in out


def test_hit(capsys):
    answer = verdict("hit", hits=[hit(disputed=True, appeal="https://jd.example/appeal")], owners=[("jd", "answered")])
    out = shown(capsys, [PHONE], answer)
    assert out.startswith(" HIT   ")
    for text in ("jd/high-risk", "telecom_fraud", "high", "reported", "2026-11-01", "2027-05-01", "c-17", "disputed"):
        assert text in out
    assert "https://jd.example/appeal" in out


def test_hits_of_some_of_many(capsys):
    answer = verdict(
        "hit", hits=[hit(identifier=1), hit(identifier=1, list="jd/other")], owners=[("jd", "answered"), ("x", "late")]
    )
    out = shown(capsys, [PHONE, "email:eve@prize.example"], answer)
    assert "1 of 2 identifiers is on 2 lists. Not all took part: x." in out


def test_what_an_owner_wrote_moves_no_cursor(capsys):
    out = shown(capsys, [PHONE], verdict("hit", hits=[hit(reason="\x1b[2J[red]x[/red]\r\n")], owners=[]))
    assert "\x1b" not in out
    assert "[2J[red]x[/red]" in out


def test_one_line_for_one_of_many(capsys):
    screen = Screen(as_json=False)
    tell_line(screen, 3, parse(PHONE), verdict("hit", hits=[hit()]))
    tell_line(screen, 4, parse(PHONE), verdict("incomplete", owners=[("jd", "down"), ("up", "cached")]))
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["3", "HIT"]
    assert first.endswith("jd/high-risk (telecom_fraud, high)")
    assert second.split()[:2] == ["4", "INCOMPLETE"]
    assert second.endswith("jd down")


def test_with_json_only_the_result_is_printed(capsys):
    screen = Screen(as_json=True)
    tell_verdict(screen, [parse(PHONE)], verdict("clear"))
    screen.steps("Next", ["x"])
    screen.result({"a": "ü"})
    assert capsys.readouterr().out == '{"a": "ü"}\n'


def test_texts():
    assert clean("a\x00\x1b\u202eb ü") == "a\ufffd\ufffd\ufffdb ü"
    assert [counted(n, "entry", "entries") for n in (0, 1, 2000)] == ["0 entries", "1 entry", "2,000 entries"]


def test_lines_of_a_file():
    data = f"\ufeff{PHONE}\r\n\n# comment\nphone:1\n  {PHONE}".encode()
    first, bad, last = read_lines(io.BytesIO(data))
    assert first == Line(1, parse(PHONE))
    assert (bad.number, type(bad.content), bad.content.reason) == (4, IdentifierError, "no_country_code")
    assert last == Line(5, parse(PHONE))


@pytest.mark.parametrize("data", [b"\xff\xfe", b"phone:\xe4\n", b"x" * (MAX_LINE + 1)])
def test_a_file_that_is_no_text_is_refused(data):
    with pytest.raises(InputError, match="Line 1 "):
        list(read_lines(io.BytesIO(data)))


def test_a_process_without_standard_input_says_so(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigError, match="Standard input is closed"), opened_lines(Path("-")):
        pass


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("localhost", "localhost"),
    ],
)
def test_where_a_listener_is_reached(host, reached):
    assert _reachable(host) == reached


@pytest.mark.parametrize("same", [True, False])
async def test_the_peers_own_certificate_is_trusted_and_no_other_of_its_authority(tmp_path, same):
    authority = trustme.CA()
    own, other = authority.issue_cert("peer.example"), authority.issue_cert("peer.example")
    file = tmp_path / "chain.pem"
    file.write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems) + authority.cert_pem.bytes())
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (own if same else other).configure_cert(serving)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=serving)
    async with server:
        call = asyncio.open_connection(*server.sockets[0].getsockname(), ssl=_trusting(file))
        if same:
            _, writer = await call
            writer.close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                await call


@pytest.mark.parametrize("text", ["", "no certificate", "\u00fc"])
def test_a_certificate_that_is_none_is_a_config_error(tmp_path, text):
    (tmp_path / "c.pem").write_text(text)
    with pytest.raises(ConfigError):
        _trusting(tmp_path / "c.pem")
