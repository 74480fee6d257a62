"""Real public lists, where they are at hand; nothing of them is printed."""

from __future__ import annotations

import csv
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import chain_of, make

SHARED = Path(os.environ.get("RISKSHARE_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


def lines(name):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"there is no {name}")
    return path.read_text("utf-8").splitlines()


def outcomes(type_, texts, **options):
    counts = Counter()
    for text in texts:
        try:
            make(type_, text, **options)
            counts["ok"] += 1
        except IdentifierError as error:
            counts[error.reason] += 1
    return counts


def test_complaints_to_the_trade_commission_are_98_7_per_cent_valid():
    rows = random.Random(20261122).sample(lines("phone/ftc_dnc_90days.csv")[1:], 5000)
    counts = outcomes("phone", rows, region="US")
    assert 0.98 <= counts["ok"] / len(rows) <= 0.993
    assert set(counts) <= {"ok", "length", "not_assigned", "trunk_prefix", "country_code"}


def test_complaints_are_refused_without_a_region():
    rows = lines("phone/ftc_dnc_90days.csv")[1:200]
    assert outcomes("phone", rows) == {"no_country_code": len(rows)}


@pytest.mark.parametrize("name", ["phone/ch_spam_2025-05-26.txt", "phone/tr_spam_numbers.txt"])
def test_lists_in_e164_are_valid_and_stay_as_they_are(name):
    rows = random.Random(1).sample(lines(name), 199)
    assert outcomes("phone", rows)["ok"] / len(rows) > 0.97


def test_every_sanctioned_address_has_a_chain_but_the_one_that_is_no_address():
    pairs = list(csv.reader(lines("wallet/ofac_sanctioned_2024-09.csv")))
    chains = [chain_of(coin, address) for coin, address in pairs]
    assert chains.count(None) == 1
    made = {make("wallet", f"{chain}/{pair[1]}") for chain, pair in zip(chains, pairs, strict=True) if chain}
    assert {identifier.value.partition("/")[0] for identifier in made} == {"btc", "eth", "trx", "ltc", "bch", "xmr"}


def test_named_sanctioned_addresses_are_valid():
    rows = csv.DictReader(lines("wallet/ofac_eth_2026-06.csv"))
    counts = outcomes("wallet", [f"eth/{row['address']}" for row in rows])
    assert set(counts) == {"ok"}


def test_disposable_mail_domains_are_valid_but_for_an_emoji():
    counts = outcomes("domain", lines("domain/disposable_email_blocklist.conf"))
    assert counts["ok"] > 8000
    assert sum(counts.values()) - counts["ok"] == counts["characters"] <= 1
