"""The exports of a settlement: CSV, and the payment order that a bank takes."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.payment import NAMESPACE, Account, Party, end_to_end_id, payment_order, read_account
from riskshare.audit.settlement import Settlement, plain
from riskshare.audit.settlement_csv import COLUMNS, settlement_csv
from riskshare.errors import InputError
from tests.unit.audit.test_settlement import settlement

BANK = Party("Bank of <Examples> & Söhne", read_account("bank=DE89370400440532013000@COBADEFFXXX"))
SHOP = Party("示例商店", read_account("shop=6222021234567894@102100099996"))
MADE_AT, PAY_ON = datetime(2026, 12, 1, 8, 30, tzinfo=UTC), date(2026, 12, 3)


def order(made: Settlement, payer: Party = BANK, payee: Party = SHOP) -> ET.Element:
    return ET.fromstring(payment_order(made, payer, payee, made_at=MADE_AT, pay_on=PAY_ON))


def text(root: ET.Element, *path: str) -> str:
    found = root.findall("/".join(f"{{{NAMESPACE}}}{step}" for step in ("CstmrCdtTrfInitn", *path)))
    assert len(found) == 1, path
    return found[0].text or ""


SHOP_IS_OWED = settlement([(10, "0.25")], [(100, "1.004")])


def test_who_owes_pays_the_rounded_net_under_the_settlements_name():
    root = order(SHOP_IS_OWED)
    name = end_to_end_id(SHOP_IS_OWED)
    assert len(name) == 35
    assert text(root, "PmtInf", "CdtTrfTxInf", "PmtId", "EndToEndId") == text(root, "GrpHdr", "MsgId") == name
    assert text(root, "PmtInf", "CdtTrfTxInf", "Amt", "InstdAmt") == text(root, "GrpHdr", "CtrlSum") == "97.90"
    assert text(root, "PmtInf", "Dbtr", "Nm") == BANK.title
    assert text(root, "PmtInf", "DbtrAcct", "Id", "IBAN") == "DE89370400440532013000"
    assert text(root, "PmtInf", "DbtrAgt", "FinInstnId", "BICFI") == "COBADEFFXXX"
    assert text(root, "PmtInf", "CdtTrfTxInf", "Cdtr", "Nm") == SHOP.title
    assert text(root, "PmtInf", "CdtTrfTxInf", "CdtrAcct", "Id", "Othr", "Id") == "6222021234567894"
    assert text(root, "PmtInf", "CdtTrfTxInf", "CdtrAgt", "FinInstnId", "ClrSysMmbId", "MmbId") == "102100099996"
    assert text(root, "PmtInf", "ReqdExctnDt", "Dt") == "2026-12-03"
    assert SHOP_IS_OWED.digest.hex() in text(root, "PmtInf", "CdtTrfTxInf", "RmtInf", "Ustrd")


@pytest.mark.parametrize(
    ("currency", "amount"), [("CNY", "97.90"), ("JPY", "98"), ("KWD", "97.900"), ("CLF", "97.9000")]
)
def test_amounts_have_the_currencys_digits(currency, amount):
    root = order(settlement([(10, "0.25")], [(100, "1.004")], currency))
    assert text(root, "PmtInf", "CdtTrfTxInf", "Amt", "InstdAmt") == amount


@given(st.integers(1, 4096), st.integers(1, 999_999_999))
def test_any_amount_is_the_one_that_was_signed(count, price):
    made = settlement([(count, str(price))], [])
    shown = text(order(made, SHOP, BANK), "PmtInf", "CdtTrfTxInf", "Amt", "InstdAmt")
    assert Decimal(shown) == made.net[2] == count * price


def test_where_nobody_owes_anything_there_is_nothing_to_pay():
    for made in (settlement([], []), settlement([(1, "0.004")], []), settlement([(4, "1")], [(2, "2")])):
        with pytest.raises(InputError) as caught:
            order(made)
        assert caught.value.code == "nothing_owed"


def test_the_payment_never_goes_the_other_way():
    for payer, payee in ((SHOP, BANK), (BANK, BANK), (BANK, replace(SHOP, account=replace(SHOP.account, member="x")))):
        with pytest.raises(InputError):
            order(SHOP_IS_OWED, payer, payee)


def test_what_the_model_does_not_allow_is_refused_in_a_sentence():
    bad = replace(SHOP, account=Account("shop", "1" * 35, "102100099996"))
    with pytest.raises(InputError, match="Id is too short or too long"):
        order(SHOP_IS_OWED, BANK, bad)
    bad = replace(SHOP, account=Account("shop", "1", "no-bic"))
    with pytest.raises(InputError, match="BICFI has another form"):
        order(SHOP_IS_OWED, BANK, bad)
    with pytest.raises(InputError, match="more digits"):
        order(settlement([], [(4096, "999999999.99")] * 5000))


def test_a_long_title_is_cut_and_an_empty_one_is_the_name():
    root = order(SHOP_IS_OWED, replace(BANK, title="x" * 200), replace(SHOP, title=""))
    assert text(root, "PmtInf", "Dbtr", "Nm") == "x" * 140
    assert text(root, "PmtInf", "CdtTrfTxInf", "Cdtr", "Nm") == "shop"


@pytest.mark.parametrize(
    "text_",
    [
        "",
        "shop",
        "shop=1",
        "shop=@COBADEFF",
        "=1@COBADEFF",
        "SHOP=1@COBADEFF",
        "shop=1-2@COBADEFF",
        f"shop={'1' * 35}@COBADEFF",
        "shop=1@COBADEF",
        "shop=1@cobadeff",
        "shop=1@12345678901",
        "shop=DE89370400440532013001@COBADEFF",
    ],
)
def test_an_account_that_is_none_is_refused_and_not_repeated(text_):
    with pytest.raises(InputError) as caught:
        read_account(text_)
    assert "3704004405" not in caught.value.message


def test_an_account_is_in_no_repr():
    assert "DE89" not in repr(BANK)


# -- CSV --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["0", "0.25", "1"])), max_size=4))
def test_the_rows_add_up(ours):
    made = settlement(ours, [(1, "1")])
    data = settlement_csv(made)
    assert data.endswith("\r\n")
    assert "\n" not in data.replace("\r\n", "")
    head, *rows = csv.reader(io.StringIO(data, newline=""))
    assert tuple(head) == COLUMNS
    assert all(len(row) == len(COLUMNS) for row in rows)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    for one in made.directions:
        of_it = [row for row in found if row["owner"] == one.owner and row["row"] != "net"]
        lines = [row for row in of_it if row["row"] == "line"]
        [owed] = [row for row in of_it if row["row"] == "owed"]
        assert sum(Decimal(row["amount"]) for row in lines) == Decimal(owed["amount"]) == one.owed
        assert sum(int(row["evaluations"]) for row in lines) == int(owed["evaluations"])
        assert owed["amount"] == plain(one.owed)
    assert found[-1]["row"] == "net"
    assert Decimal(found[-1]["amount"]) == made.net[2]
    assert {row["settlement"] for row in found} == {made.digest.hex()}
