"""What the demo plays: five members, their lists, and questions whose answers are known beforehand.

All identifiers come from the seeded generator (`riskshare.generate`): valid, and nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from riskshare.generate import generate
from riskshare.loopback import Spec
from riskshare.membership.identifier import Identifier

SEED: Final = 20180918
BANK: Final = "harbour-bank"
REGULATOR: Final = "regulator"

MEMBERS: Final = (
    Spec(BANK, "Harbour Bank", "bank", ("querier",)),
    Spec("lotus-pay", "Lotus Pay (e-wallet)", "payment"),
    Spec("union-card", "Union Card (card network)", "card_network"),
    Spec("east-telecom", "East Telecom", "telecom"),
    Spec(REGULATOR, "Payment Regulator", "regulator", ("auditor", "querier")),
)


@dataclass(frozen=True, slots=True)
class DemoList:
    """A list that a member publishes: local name, category, level, and how many identifiers of which types."""

    member: str
    name: str
    category: str
    level: str
    types: Mapping[str, int]

    @property
    def full_name(self) -> str:
        """Name with the owner's."""
        return f"{self.member}/{self.name}"


LISTS: Final = (
    DemoList("lotus-pay", "marketing", "marketing_cheating", "medium", {"device": 900, "phone": 700, "email": 500}),
    DemoList("lotus-pay", "accounts", "high_risk_account", "high", {"account": 700, "wallet": 600, "cn_id": 500}),
    DemoList("union-card", "card-fraud", "transaction_fraud", "critical", {"bank_card": 1800, "merchant": 400}),
    DemoList("union-card", "mule-accounts", "high_risk_account", "high", {"iban": 600, "uscc": 400, "bank_card": 300}),
    DemoList("east-telecom", "telecom-fraud", "telecom_fraud", "high", {"phone": 2000, "domain": 400, "ip": 200}),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the demo with the answer that it must have: the lists on which its identifiers stand."""

    title: str
    identifiers: Sequence[Identifier]
    purpose: str
    expected: frozenset[str]


@dataclass(frozen=True, slots=True)
class Scenario:
    """The whole play. `batch` is asked in one request."""

    entries: Mapping[str, Sequence[Identifier]]
    single: Sequence[Asked]
    batch: Sequence[Asked]

    @property
    def count(self) -> int:
        """Entries on all lists together."""
        return sum(len(entries) for entries in self.entries.values())


def make_scenario(seed: int = SEED) -> Scenario:
    """Make the play from a seed; the same seed gives the same play."""
    entries: dict[str, list[Identifier]] = {}
    taken: set[Identifier] = set()
    for number, each in enumerate(LISTS):
        found: list[Identifier] = []
        for place, (type_name, count) in enumerate(each.types.items()):
            drawn = generate(seed + 100 * number + place, count, (type_name,), exclude=taken)
            taken.update(drawn)
            found.extend(drawn)
        entries[each.full_name] = found
    # A phone that the operator lists is on the e-wallet's list too: one question, two owners say yes.
    shared = next(entry for entry in entries["east-telecom/telecom-fraud"] if entry.type == "phone")
    entries["lotus-pay/marketing"].append(shared)
    unlisted = generate(seed + 9999, 400, ("phone", "bank_card", "cn_id", "iban"), exclude=taken)
    return Scenario(entries, _single(entries, shared, unlisted), _batch(entries, shared, unlisted[4:]))


def _single(
    entries: Mapping[str, Sequence[Identifier]], shared: Identifier, unlisted: Sequence[Identifier]
) -> list[Asked]:
    card = next(entry for entry in entries["union-card/card-fraud"] if entry.type == "bank_card")
    wallet = next(entry for entry in entries["lotus-pay/accounts"] if entry.type == "wallet")
    return [
        Asked(
            "A customer pays to a phone number that two owners list",
            [shared],
            "payment",
            frozenset({"east-telecom/telecom-fraud", "lotus-pay/marketing"}),
        ),
        Asked("A card payment: the payee's card is listed", [card], "payment", frozenset({"union-card/card-fraud"})),
        Asked("A withdrawal to a listed wallet", [wallet], "withdrawal", frozenset({"lotus-pay/accounts"})),
        Asked("A customer whom nobody lists", [unlisted[0]], "payment", frozenset()),
        Asked("Four identifiers of one new customer, none listed", unlisted[:4], "account_opening", frozenset()),
    ]


def _batch(
    entries: Mapping[str, Sequence[Identifier]], shared: Identifier, unlisted: Sequence[Identifier]
) -> list[Asked]:
    """Two hundred questions: every fifth identifier is listed."""
    questions: list[Asked] = []
    names = sorted(entries)
    for number in range(200):
        if number % 5:
            questions.append(Asked("batch", [unlisted[number]], "portfolio", frozenset()))
            continue
        name = names[number // 5 % len(names)]
        entry = entries[name][number]
        lists = {"east-telecom/telecom-fraud", "lotus-pay/marketing"} if entry == shared else {name}
        questions.append(Asked("batch", [entry], "portfolio", frozenset(lists)))
    return questions
