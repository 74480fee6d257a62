"""`audit accesses`: who saw what of this member's records; and the options of `ledger export` for auditors."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from riskshare.audit.access import KIND, AccessRequest, Sample
from riskshare.audit.kept import AuditRow
from riskshare.config import Config
from riskshare.peer.opening import opened_store
from riskshare.signature import SigningKey
from riskshare.statement import sign

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KEY = SigningKey(b"\x05" * 32)


def uuid7(number):
    return UUID(int=number | 7 << 76 | 2 << 62)


def row(number, action, **changes):
    request = AccessRequest(
        access=uuid7(number),
        action=action,
        auditor=changes.pop("auditor", "regulator"),
        member="jd",
        network="riskshare",
        registry=1,
        reason=f"reason {number}",
        requested_at=NOW,
        **changes,
    )
    signed = sign(KIND, "riskshare", request.body(), KEY)
    return AuditRow.of(signed, request, bytes(16), NOW + timedelta(minutes=number))


@pytest.fixture
def audited(member):
    """The member jd, of which somebody saw each kind of thing."""
    rows = [
        row(1, "read", start=NOW - timedelta(days=1), end=NOW),
        row(2, "open", checks=tuple(uuid7(100 + one) for one in range(3)), sample=Sample(bytes(32), 3, 90)),
        row(3, "prove", receipts=(b"r" * 32,)),
        row(4, "tell", auditor="jd", subject=b"s" * 32),
    ]

    async def keep():
        async with opened_store(Config.load(member)) as store:
            for each in rows:
                await store.audits.keep(each)

    asyncio.run(keep())
    return member


def test_each_access_is_shown_newest_first(run, answer, audited):
    code, [told] = answer("audit", "accesses", "--config", audited)
    assert code == 0
    assert [each["action"] for each in told["audits"]] == ["tell", "prove", "open", "read"]
    opened = told["audits"][2]
    assert (opened["checks"], opened["sampled_of"], opened["reason"]) == (3, 90, "reason 2")
    assert told["audits"][3]["opened"] == "2026-11-21T08:30:00.000Z"
    text = run("audit", "accesses", "--config", audited).stdout
    for words in ("3 checks, drawn from 90", "1 receipt", "its own records", "2026-11-21 08:30 UTC to", "reason 4"):
        assert words in text
    # No id of what was opened is shown: who reads this need not know it.
    assert str(uuid7(100)) not in text


def test_nobody_has_asked(run, answer, member):
    assert answer("audit", "accesses", "--config", member) == (0, [{"audits": []}])
    assert "Nobody" in run("audit", "accesses", "--config", member).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "2026-11-22"),
        ("--to", "2026-11-22"),
        ("--from", "2026-11-22", "--to", "2026-11-22"),
        ("--statements", "--from", "2026-11-22"),
        ("--statements", "--from", "2026-11-23", "--to", "2026-11-22"),
        ("--statements", "--from", "monday", "--to", "2026-11-22"),
    ],
)
def test_a_period_that_is_none_is_refused(run, member, tmp_path, words):
    assert run("ledger", "export", "--out", tmp_path / "log", "--config", member, *words).exit_code == 2
    assert not (tmp_path / "log").exists()


def test_nothing_final_is_no_export(answer, member, tmp_path):
    code, [told] = answer("ledger", "export", "--statements", "--out", tmp_path / "log", "--config", member)
    assert (code, told["error"]["code"]) == (1, "not_final")
