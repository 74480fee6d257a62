"""Ending an epoch before its term."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import SnapshotError
from riskshare.membership.oprf import SecretKey
from riskshare.sharing.ending import end_epoch, newest_statement
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.kept import EpochRow
from riskshare.signature import SigningKey
from riskshare.statement import read_wire, sign

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
TERM = timedelta(days=30)
IDENTITY = SigningKey(bytes(32))
NETWORK = "simnet"


def opened():
    key = SecretKey.from_random(hashlib.sha512(b"an epoch").digest())
    epoch = EpochStatement("jd", "default", 3, key.public, START, START + TERM)
    signed = sign("epoch", NETWORK, epoch.body(), IDENTITY, salt=bytes(16))
    return EpochRow(
        epoch.digest, "default", 3, signed.json, signed.signature, signed.salt, b"sealed", START, START + TERM
    )


def served(row, identity=IDENTITY):
    wire = newest_statement(NETWORK, row).wire()
    return EpochStatement.from_statement(read_wire("epoch", NETWORK, wire, [identity.public], limit=8192))


def test_an_epoch_in_service_is_told_by_the_statement_that_opened_it():
    assert served(opened()).ended is None
    assert newest_statement(NETWORK, opened()).digest == opened().digest


@given(st.timedeltas(timedelta(0), 2 * TERM), st.sampled_from(["key_exposed", "withdrawn"]))
def test_an_ended_epoch_is_told_by_its_end_under_the_same_name(after, reason):
    row = end_epoch(NETWORK, opened(), IDENTITY, at=START + after, reason=reason, salt=b"\x01" * 16)
    told = served(row)
    assert told.digest == row.digest == opened().digest
    assert told.ended.reason == reason
    assert told.until == row.ended_at <= START + TERM
    assert not told.in_term(row.ended_at)
    assert (row.statement, row.signature, row.salt) == (opened().statement, opened().signature, opened().salt)
    assert newest_statement(NETWORK, row).salt == b"\x01" * 16


def test_the_end_is_signed_by_the_key_of_today():
    today = SigningKey(b"\x01" * 32)
    row = end_epoch(NETWORK, opened(), today, at=START, reason="key_exposed", salt=bytes(16))
    assert served(row, today).ended is not None


@pytest.mark.parametrize("reason", ["", "Key exposed", "x" * 100])
def test_a_reason_that_is_no_word_is_refused(reason):
    with pytest.raises(SnapshotError) as refused:
        end_epoch(NETWORK, opened(), IDENTITY, at=START, reason=reason, salt=bytes(16))
    assert refused.value.code == "malformed_statement"
