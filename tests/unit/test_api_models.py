"""The JSON of the client API, and its description."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from riskshare.api_models import CheckRequest, CheckResponse, HitModel, IdentifierObject
from riskshare.encoding import sha256
from riskshare.ledger.receipt import KeptReceipt, Receipt
from riskshare.ledger.sealed import SealedCheck
from riskshare.membership.record import Record
from riskshare.query.verdict import Hit, OwnerResult, Verdict
from riskshare.server import shown
from riskshare.server.openapi import describe

CHECK = UUID("01939100-0000-7000-8000-000000000001")
MOMENT = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)
RECORD = Record(
    category="telecom_fraud",
    reason="reported",
    level="high",
    evidence="police",
    listed_at=MOMENT,
    valid_until=MOMENT.replace(year=2027),
    case="C-1",
    disputed=False,
    appeal="appeal@example.org",
)


def test_a_request_as_in_the_documentation() -> None:
    request = CheckRequest.model_validate_json(
        """{"identifiers": ["phone:+8613800138000", {"type": "bank_card", "value": "6222 0212 3456 7894"}],
        "purpose": "payment", "reference": "txn-20261122-000017", "categories": ["telecom_fraud"],
        "deadline_ms": 150}"""
    )
    assert request.identifiers[1] == IdentifierObject(type="bank_card", value="6222 0212 3456 7894")
    assert (request.purpose, request.deadline_ms) == ("payment", 150)


def test_only_identifiers_and_purpose_are_required() -> None:
    request = CheckRequest.model_validate_json('{"identifiers": ["ip:192.0.2.1"], "purpose": "payment"}')
    assert (request.reference, request.categories, request.deadline_ms) == ("", [], None)


def test_no_repr_shows_an_identifier_or_a_reference() -> None:
    request = CheckRequest.model_validate(
        {
            "identifiers": ["phone:+8613800138000", {"type": "ip", "value": "192.0.2.1"}],
            "purpose": "payment",
            "reference": "txn-17",
        }
    )
    shown_text = repr(request) + str(request) + repr(IdentifierObject(type="ip", value="192.0.2.1"))
    assert not any(secret in shown_text for secret in ("138001", "192.0.2.1", "txn-17"))


def test_no_validation_error_shows_its_input() -> None:
    with pytest.raises(ValidationError) as caught:
        CheckRequest.model_validate({"identifiers": [8613800138000], "purpose": "payment"})
    assert "138001" not in str(caught.value)


def test_a_verdict_as_in_the_documentation() -> None:
    found = Verdict(
        check=CHECK,
        word="hit",
        complete=False,
        hits=(Hit(0, "unionpay", "unionpay/telecom-fraud", RECORD),),
        owners=(OwnerResult("jd", "answered", 3.14159, {"jd/high-risk": 1042}), OwnerResult("alipay", "down", 1.0, {})),
        receipts=(b"\x01" * 32,),
        ms=4.567,
        answered_at=MOMENT,
    )
    data = shown.verdict(found)
    assert json.loads(data) == {
        "check": str(CHECK),
        "verdict": "hit",
        "complete": False,
        "hits": [
            {
                "identifier": 0,
                "owner": "unionpay",
                "list": "unionpay/telecom-fraud",
                "category": "telecom_fraud",
                "level": "high",
                "reason": "reported",
                "evidence": "police",
                "listed_at": "2026-11-22T08:30:00.123Z",
                "valid_until": "2027-11-22T08:30:00.123Z",
                "case": "C-1",
                "disputed": False,
                "appeal": "appeal@example.org",
            }
        ],
        "owners": [
            {"owner": "jd", "status": "answered", "ms": 3.1, "lists": {"jd/high-risk": 1042}},
            {"owner": "alipay", "status": "down", "ms": 1.0, "lists": {}},
        ],
        "receipts": ["01" * 32],
        "ms": 4.6,
    }
    assert CheckResponse.model_validate_json(data).hits[0].listed_at == MOMENT.replace(microsecond=123000)


def test_every_field_of_a_record_is_shown() -> None:
    assert set(Record.__dataclass_fields__) <= set(HitModel.model_fields)


def test_a_receipt_can_be_verified_from_what_is_shown() -> None:
    receipt = Receipt(b'{"ask":1}', bytes(64), b'{"answer":2}', bytes([1]) * 64)
    kept = KeptReceipt("owner", "icbc", CHECK, b"e" * 32, 3, receipt, b"", b"", b"", bytes(16))
    model = shown.receipt(kept)
    assert sha256(base64.b64decode(model.cbor)).hex() == model.receipt == receipt.id.hex()
    assert (model.ask, model.answer, model.count) == ({"ask": 1}, {"answer": 2}, 3)


def test_a_former_check_shows_its_statement_and_not_its_record() -> None:
    sealed = SealedCheck(CHECK, MOMENT, CHECK, b"sealed record", b'{"check":"x"}', bytes(64), bytes(16))
    model = shown.check(sealed)
    assert (model.statement, model.record_bytes) == ({"check": "x"}, 13)
    assert "sealed record" not in model.model_dump_json()


def test_the_description_has_the_limits_of_this_peer() -> None:
    document = describe(identifiers=17, deadline_ms=123)
    asked = document["components"]["schemas"]["CheckRequest"]
    assert asked["properties"]["identifiers"]["maxItems"] == 17
    assert "123" in asked["properties"]["deadline_ms"]["description"]
    assert asked["additionalProperties"] is False
    assert document["openapi"] == "3.1.1"


def test_every_reference_of_the_description_leads_somewhere() -> None:
    document = describe(32, 150)
    known = document["components"]["schemas"]

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in known
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(document)
    json.dumps(document, allow_nan=False)
