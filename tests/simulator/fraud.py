"""A case of dishonest members, and of honest ones whom everything befalls: what reconciliation must tell apart.

`Stage` plays a network's days, honest or not, on `CaseNetwork`; `reconcile` writes its folders, replays them and
reconciles. `FRAUDS` are one dishonest act each, with what must be found of whom. What only opened checks show (another
key, another identifier, a rewritten or under-reported outcome) is played in `tests.simulator.opening`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from riskshare.audit import charges
from riskshare.audit.bench import Rule
from riskshare.audit.fact import read_receipt as facts_of
from riskshare.audit.reconcile import Reconciled, Reconciler
from riskshare.audit.report import Report, Step
from riskshare.audit.rules import HOUR
from riskshare.audit.versions import Versions
from riskshare.encoding import parse_canonical_json, sha256
from riskshare.ledger.receipt import Receipt
from riskshare.peer.replaying import Wish, replay_case
from riskshare.query.message import Ask
from riskshare.statement import Statement, sign
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.case_folders import CaseFolders
from riskshare.store.crosscheck import CrossCheck
from riskshare.store.evidence_folder import EvidenceFolder
from tests.simulator.agreed import log_settlement, receipts_of, settle
from tests.simulator.casefolder import START, CaseNetwork

GRACE = 24 * HOUR
DAYS = 5


def versions_of(case: CaseNetwork) -> Versions:
    return Versions(tuple(case.network.history))


@dataclass
class Trial:
    """What came of a reconciliation, and of the replay before it; `out` is the case folder."""

    found: Reconciled
    replayed: Report
    versions: Versions
    out: Path

    @property
    def convicted(self) -> set[tuple[str, str]]:
        return {(finding.kind, finding.accused) for finding in self.found.findings}

    def count(self, kind: str, member: str) -> int:
        return sum(one.count for one in self.found.observations if (one.kind, one.member) == (kind, member))


class Unwatched:
    """A replay that nobody looks at."""

    def progress(self, what: str, done: int, of: int) -> None:
        pass

    def step(self, step: Step) -> None:
        pass


def replay(
    case: CaseNetwork,
    out: Path,
    *,
    opened: datetime = START,
    closed: datetime | None = None,
    members: tuple[str, ...] = (),
    held: tuple[Statement, ...] = (),
) -> Report:
    """Write the case's folders and replay them."""
    closed = closed or case.now
    case.write(out, opened, closed, *members)
    for statement in held:
        (out / "held").mkdir(exist_ok=True)
        (out / "held" / f"{statement.digest.hex()}.cbor").write_bytes(statement.wire())
    names, state = members or tuple(case.names), out.with_name(f"{out.name}-state")
    wish = Wish(out, opened, closed, names, tuple(case.network.history), state, "regulator", cores=1)
    return replay_case(wish, Unwatched(), case.now)


def reconcile(case: CaseNetwork, out: Path, *, rules: Mapping[str, Rule] = charges.RULES, **wish: Any) -> Trial:
    """Write the case's folders, replay them, and reconcile."""
    replayed = replay(case, out, **wish)
    versions = versions_of(case)
    with Case.open(out / FILE_NAME) as facts:
        reconciler = Reconciler(
            facts=CrossCheck(facts), folders=CaseFolders(out), shelf=EvidenceFolder(out), versions=versions,
            now=case.now, grace=GRACE, rules_by_name=rules,
        )  # fmt: skip
        return Trial(reconciler.run(), replayed, versions, out)


# -- the stage -------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """A network of days in which everybody exchanges with everybody, and one act of somebody."""

    case: CaseNetwork
    held: list[Statement]

    @classmethod
    def honest(cls, names: tuple[str, ...] = ("bank", "card", "jd", "telco")) -> Stage:
        case = CaseNetwork(names)
        case.begin()
        return cls(case, [])

    def day(self, rounds: int = 4) -> None:
        """A day of exchanges and checks, in which every log is cosigned now and then."""
        for _ in range(rounds):
            self.case.step(hours=24 / rounds)
            for querier in self.case.names:
                for owner in self.case.names:
                    if querier != owner:
                        self.case.exchange(querier, owner)
                self.case.check(querier)
            self.case.checkpoint()

    def days(self, count: int = DAYS) -> None:
        for _ in range(count):
            self.day()


def drops_a_receipt_as_querier(stage: Stage) -> None:
    stage.case.exchange("bank", "jd", logged=["owner"])


def drops_a_receipt_as_owner(stage: Stage) -> None:
    stage.case.exchange("bank", "jd", logged=["querier"])


def drops_everything_of_an_owner(stage: Stage) -> None:
    """The bank goes on asking jd for days, and logs none of it."""
    log = stage.case.logs["bank"]
    kept = []
    for row in log.rows:
        mine = row.kind == "receipt" and facts_of(row.statement).exchange.owner == "jd"
        if not mine:
            kept.append(row)
    log.rows[:] = kept
    log.checkpoints[:] = [(len(kept), stage.case.now)]


def alters_a_count_as_querier(stage: Stage) -> None:
    """The ask is signed anew with another count: the answer does not belong to it any more."""
    receipt = stage.case.exchange("bank", "jd", logged=["owner"], count=300)
    body = {**parse_canonical_json(receipt.ask, limit=1 << 16), "count": 3}
    ask = sign("ask", stage.case.network.name, body, stage.case.key("bank"))
    stage.case.log_receipt(replace(receipt, ask=ask.json, ask_signature=ask.signature), "bank", "querier")


def alters_a_count_as_owner(stage: Stage) -> None:
    """The owner cannot sign the ask; it logs one with another count nevertheless."""
    receipt = stage.case.exchange("bank", "jd", logged=["querier"])
    altered = receipt.ask.replace(b'"count":3', b'"count":9')
    body = {**parse_canonical_json(receipt.answer, limit=1 << 16), "ask": sha256(altered).hex()}
    answer = sign("answer", stage.case.network.name, body, stage.case.key("jd"))
    forged = Receipt(altered, receipt.ask_signature, answer.json, answer.signature)
    stage.case.log_receipt(forged, "jd", "owner")


def answers_twice(stage: Stage) -> None:
    """One ask, two answers: each side logs another one."""
    ask = stage.case.ask("bank", "jd")
    stage.case.log_receipt(stage.case.answer(ask), "bank", "querier")
    stage.case.log_receipt(stage.case.answer(ask), "jd", "owner")


def asks_twice_under_one_batch(stage: Stage) -> None:
    first = stage.case.exchange("bank", "jd")
    batch = Ask.from_json(first.ask).batch
    stage.case.exchange("bank", "jd", batch=batch, count=30)


def backdates_an_answer(stage: Stage) -> None:
    stage.case.exchange("bank", "jd", answered_at=stage.case.now - timedelta(hours=3))


def dates_a_check_in_the_future(stage: Stage) -> None:
    later = stage.case.now + timedelta(days=30)
    stage.case.check("bank", answered_at=later.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


def dates_an_answer_in_the_future(stage: Stage) -> None:
    stage.case.exchange("bank", "jd", answered_at=stage.case.now + timedelta(days=30))


def logs_twice(stage: Stage) -> None:
    receipt = stage.case.exchange("bank", "jd")
    stage.case.log_receipt(receipt, "jd", "owner")


def forges_an_ask(stage: Stage) -> None:
    """The owner invents an ask of the bank's, to be paid for it."""
    ask = stage.case.ask("bank", "jd", sign_with=stage.case.key("jd"))
    stage.case.log_receipt(stage.case.answer(ask), "jd", "owner")


def forges_an_answer(stage: Stage) -> None:
    ask = stage.case.ask("bank", "jd")
    stage.case.log_receipt(stage.case.answer(ask, sign_with=stage.case.key("bank")), "bank", "querier")


def claims_a_purpose(stage: Stage) -> None:
    member = stage.case.network.registry.members["bank"]
    kept = tuple(purpose for purpose in member.purposes if purpose != "marketing")
    stage.case.network.issue([replace(member, purposes=kept)], now=stage.case.now)
    stage.case.step(hours=2)
    stage.case.exchange("bank", "jd", purpose="marketing")


def exceeds_a_quota(stage: Stage) -> None:
    member = stage.case.network.registry.members["bank"]
    quota = replace(member.quota, per_second=10, per_day=1000)
    stage.case.network.issue([replace(member, quota=quota)], now=stage.case.now)
    stage.case.step(minutes=30)
    for _ in range(25):
        stage.case.exchange("bank", "jd", count=4096)


def exceeds_the_quota_of_an_epoch(stage: Stage) -> None:
    member = stage.case.network.registry.members["bank"]
    quota = replace(member.quota, per_second=10, per_epoch=1000)
    stage.case.network.issue([replace(member, quota=quota)], now=stage.case.now)
    for _ in range(25):
        stage.case.step(hours=1)
        stage.case.exchange("bank", "jd", count=4096)


def invents_an_epoch(stage: Stage) -> None:
    stage.case.exchange("bank", "jd", epoch=bytes(range(32)))


def uses_an_epoch_beyond_its_term(stage: Stage) -> None:
    case = stage.case
    old = case.epochs["jd", "default"]
    case.epoch("jd", "short", not_after=case.now + timedelta(hours=1))
    short = case.epochs["jd", "short"]
    case.step(hours=3)
    case.exchange("bank", "jd", epoch=short.digest)
    case.epochs["jd", "default"] = old


def doubles_an_epoch(stage: Stage) -> None:
    case = stage.case
    old = case.epochs["jd", "default"]
    case.epoch("jd", "default", public_key=case.random("another key"))
    case.epochs["jd", "default"] = old


def doubles_a_snapshot(stage: Stage) -> None:
    """Two members are shown two snapshots of one version; both are on the ledger."""
    case = stage.case
    former = case.snapshots["jd/high-risk"]
    case.snapshot("jd/high-risk")
    case.snapshots["jd/high-risk"] = former
    case.snapshot("jd/high-risk")


def shows_another_list(stage: Stage) -> None:
    """One subscriber is given a version that is not on the ledger: another one is."""
    case = stage.case
    former = case.snapshots["jd/high-risk"]
    other = case.snapshot("jd/high-risk", log=False)
    case.exchange("bank", "jd")
    case.snapshots["jd/high-risk"] = former
    case.snapshot("jd/high-risk")
    stage.held.append(other)


def hides_a_list(stage: Stage) -> None:
    """One subscriber is given a version of a list that nobody else ever saw."""
    case = stage.case
    other = case.snapshot("jd/secret", log=False)
    case.exchange("bank", "jd")
    del case.snapshots["jd/secret"]
    stage.held.append(other)


def answers_one_that_is_suspended(stage: Stage) -> None:
    """The owner goes on answering the bank; that it knew shows in what it answered others."""
    case = stage.case
    old = case.network.registry.version
    case.network.issue([replace(case.network.registry.members["bank"], standing="suspended")], now=case.now)
    for name in case.names:
        case.register(name)
    case.step(hours=1)
    case.exchange("card", "jd")
    case.step(hours=1)
    case.exchange("bank", "jd", registry=old)
    case.step(hours=1)
    case.network.issue([replace(case.network.registry.members["bank"], standing="good")], now=case.now)


def settles_for_less(stage: Stage) -> None:
    """Both leave out of a settlement what both have logged, days after: the network's fee is by what is settled."""
    case, closed = stage.case, stage.case.now
    known = receipts_of(case, "bank")
    stage.days(2)
    log_settlement(case, settle(case, ("bank", "jd"), START, closed, _without_one(known)))


def _without_one(receipts: list[Receipt]) -> list[Receipt]:
    left_out = next(one for one in receipts if Ask.from_json(one.ask).owner == "jd")
    return [one for one in receipts if one != left_out]


def settles_for_more(stage: Stage) -> None:
    """Both count an exchange that neither has logged."""
    case = stage.case
    invented = case.exchange("bank", "jd", logged=[])
    case.step(hours=3)
    log_settlement(case, settle(case, ("bank", "jd"), START, case.now, [*receipts_of(case, "bank"), invented]))


def settles_for_others(stage: Stage) -> None:
    """As many as there are, and not those."""
    case = stage.case
    invented = case.exchange("bank", "jd", logged=[])
    case.step(hours=3)
    known = _without_one(receipts_of(case, "bank"))
    log_settlement(case, settle(case, ("bank", "jd"), START, case.now, [*known, invented]))


@dataclass(frozen=True)
class Fraud:
    """A dishonest act, done among honest days; who is convicted of what, and by which rules alone it is found.

    `count` is what else follows from it, and convicts the same parties.
    """

    act: Callable[[Stage], None]
    guilty: frozenset[tuple[str, str]]
    rules: frozenset[str]
    at_the_end: bool = False


def _fraud(act: Callable[[Stage], None], guilty: Any, *rules: str, at_the_end: bool = False) -> Fraud:
    return Fraud(act, frozenset(guilty), frozenset(rules), at_the_end)


FRAUDS = (
    _fraud(drops_a_receipt_as_querier, [("missing", "bank")], "missing"),
    _fraud(drops_a_receipt_as_owner, [("missing", "jd")], "missing"),
    _fraud(drops_everything_of_an_owner, [("missing", "bank")], "missing", at_the_end=True),
    _fraud(
        alters_a_count_as_querier,
        [("altered", "bank"), ("missing", "bank"), ("unsigned", "bank")],
        "altered", "missing", "unsigned",
    ),
    _fraud(alters_a_count_as_owner, [("missing", "jd"), ("unsigned", "jd")], "missing", "unsigned"),
    _fraud(answers_twice, [("altered", "jd")], "altered"),
    _fraud(asks_twice_under_one_batch, [("altered", "bank")], "altered"),
    _fraud(backdates_an_answer, [("backdated", "jd")], "backdated"),
    _fraud(dates_a_check_in_the_future, [("backdated", "bank")], "postdated"),
    _fraud(dates_an_answer_in_the_future, [("backdated", "jd")], "postdated"),
    _fraud(logs_twice, [("double", "jd")], "double"),
    _fraud(forges_an_ask, [("unsigned", "jd")], "unsigned"),
    _fraud(forges_an_answer, [("unsigned", "bank")], "unsigned"),
    _fraud(claims_a_purpose, [("wrong_purpose", "bank"), ("wrong_purpose", "jd")], "wrong_purpose"),
    _fraud(exceeds_a_quota, [("over_quota", "jd")], "over_quota"),
    _fraud(exceeds_the_quota_of_an_epoch, [("over_quota", "jd")], "over_quota"),
    _fraud(invents_an_epoch, [("unknown_epoch", "jd")], "unknown_epoch"),
    _fraud(uses_an_epoch_beyond_its_term, [("unknown_epoch", "jd")], "unknown_epoch"),
    _fraud(doubles_an_epoch, [("doubled_epoch", "jd")], "doubled"),
    _fraud(doubles_a_snapshot, [("doubled_snapshot", "jd")], "doubled"),
    _fraud(shows_another_list, [("doubled_snapshot", "jd"), ("hidden_snapshot", "jd")], "hidden_snapshot"),
    _fraud(hides_a_list, [("hidden_snapshot", "jd")], "hidden_snapshot"),
    _fraud(settles_for_less, [("wrong_settlement", "bank"), ("wrong_settlement", "jd")], "wrong_settlement"),
    _fraud(settles_for_more, [("wrong_settlement", "bank"), ("wrong_settlement", "jd")], "wrong_settlement"),
    _fraud(settles_for_others, [("wrong_settlement", "bank"), ("wrong_settlement", "jd")], "wrong_settlement"),
    _fraud(answers_one_that_is_suspended, [("answered_suspended", "jd")], "answered_suspended"),
)  # fmt: skip


def play(fraud: Fraud) -> Stage:
    """Honest days, the act, and honest days again."""
    stage = Stage.honest()
    stage.days(1)
    if not fraud.at_the_end:
        stage.case.step(minutes=7)
        fraud.act(stage)
    stage.days(3)
    if fraud.at_the_end:
        fraud.act(stage)
    return stage
