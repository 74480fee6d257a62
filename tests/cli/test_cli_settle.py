"""`audit settle`: what is not usable is refused before anybody is asked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from riskshare.audit.proposal import overlaps
from riskshare.cli.auditing_settle import Outcome, _step
from riskshare.errors import PeerDown, PeerRefused

MONTH = ("--from", "2026-10-01", "--to", "2026-10-31")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--from", "2026-11-02", "--to", "2026-11-01"), "invalid_input"),
        (("--from", "yesterday", "--to", "2026-11-01"), "invalid_input"),
        (("--from", "2026-11-01", "--to", "2999-11-01", "--with", "shop"), "period_open"),
        ((*MONTH, "--with", "nobody"), "unknown_member"),
        ((*MONTH, "--with", "jd"), "unknown_member"),
        ((*MONTH, "--with", "BANK"), "invalid_name"),
        ((*MONTH, "--account", "jd=1@102100099996"), "config"),
        ((*MONTH, "--out", "x", "--account", "jd=1"), "invalid_input"),
    ],
)
def test_what_is_not_usable_is_refused(answer, member, words, code):
    exit_code, found = answer("audit", "settle", *words, "--config", member)
    assert (exit_code, found[-1]["error"]["code"]) == (2, code)


def test_who_settles_months_only_refuses_a_part_of_one(answer, member, monkeypatch):
    monkeypatch.setenv("RISKSHARE_AUDIT__SETTLE", "months")
    period = ("--from", "2026-10-01", "--to", "2026-10-30")
    exit_code, found = answer("audit", "settle", *period, "--with", "nobody", "--config", member)
    assert (exit_code, found[-1]["error"]["code"]) == (2, "settlement_period")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (PeerDown("jd", "No connection to the peer."), True),
        (PeerRefused("jd", "Only whole months.", remote_code="settlement_period", status=409), False),
        (PeerRefused("jd", "Not yet.", remote_code="period_open", status=409), True),
        (overlaps(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)), False),
    ],
)
def test_only_what_passes_by_itself_is_to_be_tried_again(error, again):
    step = _step(1, Outcome("jd", error))
    assert (step.outcome, step.sentence.endswith(" Settle again later.")) == ("skipped", again)


def test_where_there_was_no_exchange_there_is_nothing_to_settle(answer, member):
    exit_code, [report] = answer("audit", "settle", "--from", "2025-11-01", "--to", "2025-11-02", "--config", member)
    assert (exit_code, report["steps"], report["tables"]) == (0, [], [])
