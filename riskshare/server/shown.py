"""How values of ours are shown in the client API."""

from __future__ import annotations

import json
from collections.abc import Mapping

from riskshare.api_models import (
    CheckModel,
    CheckResponse,
    HitModel,
    LogModel,
    MemberModel,
    MembersResponse,
    OwnerModel,
    ReceiptModel,
)
from riskshare.encoding import base64_text
from riskshare.ledger.receipt import KeptReceipt
from riskshare.ledger.sealed import SealedCheck
from riskshare.query.verdict import Hit, Verdict
from riskshare.registry import Registry


def verdict(found: Verdict) -> bytes:
    """The JSON of a `CheckResponse`."""
    response = CheckResponse(
        check=str(found.check),
        verdict=found.word,
        complete=found.complete,
        hits=tuple(_hit(hit) for hit in found.hits),
        owners=tuple(
            OwnerModel(owner=part.owner, status=part.status, ms=round(part.ms, 1), lists=dict(part.lists))
            for part in found.owners
        ),
        receipts=tuple(receipt.hex() for receipt in found.receipts),
        ms=round(found.ms, 1),
    )
    return response.model_dump_json().encode()


def _hit(hit: Hit) -> HitModel:
    record = hit.record
    return HitModel(
        identifier=hit.identifier,
        owner=hit.owner,
        list=hit.list,
        category=record.category,
        level=record.level,
        reason=record.reason,
        evidence=record.evidence,
        listed_at=record.listed_at,
        valid_until=record.valid_until,
        case=record.case,
        disputed=record.disputed,
        appeal=record.appeal,
    )


def members(registry: Registry, logs: Mapping[str, LogModel]) -> MembersResponse:
    """The members of a registry, with what is known of their logs."""
    return MembersResponse(
        network=registry.network,
        registry_version=registry.version,
        registry_expires_at=registry.expires_at,
        members=tuple(
            MemberModel(
                member=member.name,
                title=member.title,
                kind=member.kind,
                roles=tuple(sorted(member.roles)),
                standing=member.standing,
                log=logs.get(member.name),
            )
            for member in registry.members.values()
        ),
    )


def receipt(kept: KeptReceipt) -> ReceiptModel:
    """A receipt that this member keeps."""
    found = kept.receipt
    return ReceiptModel(
        receipt=found.id.hex(),
        side=kept.side,
        counterparty=kept.counterparty,
        batch=str(kept.batch),
        epoch=kept.epoch.hex(),
        count=kept.count,
        adopted=kept.adopted,
        ask=json.loads(found.ask),
        ask_signature=found.ask_signature.hex(),
        answer=json.loads(found.answer),
        answer_signature=found.answer_signature.hex(),
        cbor=base64_text(found.to_bytes()),
    )


def check(kept: SealedCheck) -> CheckModel:
    """A former check, its record unopened."""
    return CheckModel(
        check=str(kept.id),
        answered_at=kept.answered_at,
        hour_key=str(kept.hour_key),
        record_bytes=len(kept.record),
        statement=json.loads(kept.statement),
        signature=kept.signature.hex(),
    )
