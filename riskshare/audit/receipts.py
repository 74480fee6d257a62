"""Whether a receipt holds: both halves, and both signatures (pure)."""

from __future__ import annotations

from riskshare.audit import fact
from riskshare.audit.fact import Exchange, Receipted
from riskshare.audit.keyring import OUT_OF_TERM, UNSIGNED, VOID, Keyring

_ASK = {
    UNSIGNED: fact.BAD_ASK_SIGNATURE,
    OUT_OF_TERM: fact.ASK_KEY_OUT_OF_TERM,
    VOID: fact.ASK_KEY_VOID,
}
_ANSWER = {
    UNSIGNED: fact.BAD_ANSWER_SIGNATURE,
    OUT_OF_TERM: fact.ANSWER_KEY_OUT_OF_TERM,
    VOID: fact.ANSWER_KEY_VOID,
}

SENTENCES = (
    (fact.MALFORMED, "it is no receipt: its ask or its answer cannot be read"),
    (fact.OTHER_NETWORK, "its ask is one of another network"),
    (fact.UNKNOWN_MEMBER, "it names a member that the registry does not have"),
    (fact.OTHER_ASK, "its answer belongs to another ask"),
    (fact.BAD_ASK_SIGNATURE, "its ask is not signed by the querier"),
    (fact.BAD_ANSWER_SIGNATURE, "its answer is not signed by the owner"),
    (fact.ASK_KEY_OUT_OF_TERM, "its ask is signed by a key of the querier that was not in force"),
    (fact.ANSWER_KEY_OUT_OF_TERM, "its answer is signed by a key of the owner that was not in force"),
)
"""What is said of a receipt with a fault."""


def verified(receipt: Receipted, ring: Keyring) -> Exchange:
    """The facts of a receipt, with all its faults.

    1. The ask is one of this network, between two of its members.
    2. An identity key of the querier, in force at `asked_at`, signed it.
    3. The answer belongs to it, and an identity key of the owner, in force at `answered_at`, signed it.
    """
    exchange = receipt.exchange
    faults = exchange.faults
    # 1.
    if receipt.network != ring.network:
        faults |= fact.OTHER_NETWORK
    if exchange.querier not in ring or exchange.owner not in ring:
        faults |= fact.UNKNOWN_MEMBER
    # 2.
    found = ring.judge(exchange.querier, ring.ask + receipt.ask, receipt.ask_signature, exchange.asked_at)
    faults |= _ASK[found] if found else 0
    # 3.
    found = ring.judge(exchange.owner, ring.answer + receipt.answer, receipt.answer_signature, exchange.answered_at)
    faults |= _ANSWER[found] if found else 0
    return exchange if faults == exchange.faults else exchange._replace(faults=faults)


def sentence_of(faults: int) -> str:
    """What is said of a receipt with these faults, or "" if it has none that count."""
    return ", and ".join(sentence for fault, sentence in SENTENCES if faults & fault)
