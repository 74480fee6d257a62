"""A settlement as a payment order: ISO 20022 `pain.001.001.09`, by the models of `pyiso20022` (pure).

Who owes net pays; the end-to-end id is made of the settlement's digest, so that both sides find the one by the other.
What is written is read back into the same model and compared, and every field is held against the lengths, digits and
patterns that the model names: nothing leaves that a bank would refuse for its form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from pyiso20022.pain.pain_001_001_09 import (
    AccountIdentification4Choice,
    ActiveOrHistoricCurrencyAndAmount,
    AmountType4Choice,
    BranchAndFinancialInstitutionIdentification6,
    CashAccount38,
    ClearingSystemIdentification2Choice,
    ClearingSystemMemberIdentification2,
    CreditTransferTransaction34,
    CustomerCreditTransferInitiationV09,
    DateAndDateTime2Choice,
    Document,
    FinancialInstitutionIdentification18,
    GenericAccountIdentification1,
    GroupHeader85,
    PartyIdentification135,
    PaymentIdentification6,
    PaymentInstruction30,
    PaymentMethod3Code,
    RemittanceInformation16,
)
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig
from xsdata.formats.dataclass.serializers import XmlSerializer
from xsdata.formats.dataclass.serializers.config import SerializerConfig
from xsdata.models.datatype import XmlDate, XmlDateTime

from riskshare.audit.settlement import Settlement
from riskshare.errors import IdentifierError, InputError
from riskshare.membership.identifier import parse
from riskshare.names import check_member_name

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
MAX_NAME: Final = 140
MAX_ID: Final = 35

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9]{1,34}")
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}")
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_CNAPS: Final = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True)
class Account:
    """A member's account: an IBAN or another number, and its bank by BIC or by CNAPS number (12 digits)."""

    member: str
    number: str = field(repr=False)
    bank: str

    @property
    def is_iban(self) -> bool:
        """Whether the number is an IBAN."""
        return _IBAN.fullmatch(self.number) is not None


def read_account(text: str) -> Account:
    """Read `MEMBER=ACCOUNT@BANK`, as an operator writes it. Raises InputError; what was typed is in no sentence."""
    name, equals, rest = text.partition("=")
    number, at, bank = rest.partition("@")
    if not equals or not at or _ACCOUNT.fullmatch(number) is None:
        raise InputError("An account is written MEMBER=ACCOUNT@BANK, with an IBAN or another number of 34 characters.")
    if _BIC.fullmatch(bank) is None and _CNAPS.fullmatch(bank) is None:
        raise InputError("The bank of an account is a BIC of 8 or 11 characters, or a CNAPS number of 12 digits.")
    account = Account(check_member_name(name), number, bank)
    if account.is_iban:
        try:
            parse(f"iban:{number}")
        except IdentifierError as error:
            raise InputError(f"The account of {account.member} is no valid IBAN: {error.message}") from error
    return account


@dataclass(frozen=True, slots=True)
class Party:
    """A side of the payment: its name for people, and its account."""

    title: str
    account: Account


def end_to_end_id(settlement: Settlement) -> str:
    """35 characters that name the settlement: `RS-` and the first 32 hex digits of its digest."""
    return f"RS-{settlement.digest.hex()[:32]}"


def payment_order(settlement: Settlement, payer: Party, payee: Party, *, made_at: datetime, pay_on: date) -> bytes:
    """The XML, in UTF-8.

    Raises:
        InputError: nobody owes anything; the accounts are of others; a name or number that the standard does not take.

    """
    owing, owed, amount = settlement.net
    if owing is None:
        raise InputError("Nobody owes the other anything: there is nothing to pay.", code="nothing_owed")
    if (payer.account.member, payee.account.member) != (owing, owed):
        raise InputError(f"The payment goes from {owing} to {owed}: give the accounts of these two.")
    instruction = _instruction(settlement, payer, payee, amount, pay_on)
    header = GroupHeader85(
        msg_id=instruction.pmt_inf_id,
        cre_dt_tm=XmlDateTime.from_datetime(made_at),
        nb_of_txs="1",
        ctrl_sum=amount,
        initg_pty=_party(payer),
    )
    document = Document(cstmr_cdt_trf_initn=CustomerCreditTransferInitiationV09(grp_hdr=header, pmt_inf=[instruction]))
    for fault in _faults(document):
        raise InputError(f"The payment order cannot be written: {fault}.")
    data = _write(document)
    if XmlParser(config=ParserConfig(fail_on_unknown_properties=True)).from_bytes(data, Document) != document:
        raise InputError("The payment order does not read back as it was written: a name holds what XML does not.")
    return data


def _instruction(
    settlement: Settlement, payer: Party, payee: Party, amount: Decimal, pay_on: date
) -> PaymentInstruction30:
    name = end_to_end_id(settlement)
    period = f"{settlement.opened:%Y-%m-%d} to {settlement.closed:%Y-%m-%d}"
    transaction = CreditTransferTransaction34(
        pmt_id=PaymentIdentification6(instr_id=name, end_to_end_id=name),
        amt=AmountType4Choice(instd_amt=ActiveOrHistoricCurrencyAndAmount(value=amount, ccy=settlement.currency)),
        cdtr_agt=_bank(payee.account),
        cdtr=_party(payee),
        cdtr_acct=_account(payee.account, settlement.currency),
        rmt_inf=RemittanceInformation16(ustrd=[f"riskshare settlement {settlement.digest.hex()} {period}"]),
    )
    return PaymentInstruction30(
        pmt_inf_id=name,
        pmt_mtd=PaymentMethod3Code.TRF,
        nb_of_txs="1",
        ctrl_sum=amount,
        reqd_exctn_dt=DateAndDateTime2Choice(dt=XmlDate.from_date(pay_on)),
        dbtr=_party(payer),
        dbtr_acct=_account(payer.account, settlement.currency),
        dbtr_agt=_bank(payer.account),
        cdt_trf_tx_inf=[transaction],
    )


def _party(party: Party) -> PartyIdentification135:
    return PartyIdentification135(nm=(party.title or party.account.member)[:MAX_NAME])


def _account(account: Account, currency: str) -> CashAccount38:
    if account.is_iban:
        return CashAccount38(id=AccountIdentification4Choice(iban=account.number), ccy=currency)
    other = GenericAccountIdentification1(id=account.number)
    return CashAccount38(id=AccountIdentification4Choice(othr=other), ccy=currency)


def _bank(account: Account) -> BranchAndFinancialInstitutionIdentification6:
    if _CNAPS.fullmatch(account.bank) is None:
        return BranchAndFinancialInstitutionIdentification6(
            fin_instn_id=FinancialInstitutionIdentification18(bicfi=account.bank)
        )
    system = ClearingSystemIdentification2Choice(cd="CNAPS")
    number = ClearingSystemMemberIdentification2(clr_sys_id=system, mmb_id=account.bank)
    return BranchAndFinancialInstitutionIdentification6(
        fin_instn_id=FinancialInstitutionIdentification18(clr_sys_mmb_id=number)
    )


def _write(document: Document) -> bytes:
    text = XmlSerializer(config=SerializerConfig(indent="  ")).render(document, ns_map={None: NAMESPACE})
    return text.encode() + b"\n"


def _faults(value: Any) -> Iterator[str]:
    """What of a document its own model does not allow; the text itself is in no sentence."""
    for each in fields(value):
        found = getattr(value, each.name)
        name = each.metadata.get("name", "the value")
        for item in found if isinstance(found, list) else [] if found is None else [found]:
            if is_dataclass(item) and not isinstance(item, type):
                yield from _faults(item)
            elif isinstance(item, str):
                yield from _text_faults(item, name, each.metadata)
            elif isinstance(item, Decimal):
                yield from _number_faults(item, name, each.metadata)


def _text_faults(text: str, name: str, rules: Any) -> Iterator[str]:
    if not rules.get("min_length", 0) <= len(text) <= rules.get("max_length", len(text)):
        yield f"{name} is too short or too long"
    if "pattern" in rules and re.fullmatch(rules["pattern"], text) is None:
        yield f"{name} has another form than the standard asks"


def _number_faults(number: Decimal, name: str, rules: Any) -> Iterator[str]:
    digits, exponent = number.as_tuple().digits, number.as_tuple().exponent
    behind = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    if len(digits) > rules.get("total_digits", len(digits)) or behind > rules.get("fraction_digits", behind):
        yield f"{name} has more digits than the standard takes"
