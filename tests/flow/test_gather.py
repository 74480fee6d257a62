"""Snapshots that asks name and no log has: who is asked, what is believed, and how much."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from riskshare.audit.gather import MOST, TOLD, Gatherer, Unlogged
from riskshare.errors import PeerDown, PeerLate
from riskshare.statement import Statement, sign
from tests.simulator.casefolder import CaseNetwork
from tests.simulator.fraud import versions_of


@pytest.fixture(scope="module")
def case():
    made = CaseNetwork()
    made.begin()
    return made


@dataclass
class Held:
    """`gather.Holders`: what each member holds; whoever is `down` does not answer."""

    wires: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    down: dict[str, Exception] = field(default_factory=dict)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    async def held(self, member, digest):
        self.asked.append((member, digest))
        if member in self.down:
            raise self.down[member]
        return self.wires.get((member, digest))


@dataclass
class Shelf:
    kept: dict[bytes, bytes] = field(default_factory=dict)

    def held(self, digest):
        return self.kept.get(digest)

    def keep(self, digest, wire):
        self.kept[digest] = wire


def gather(case, unlogged, held, shelf=None, **bounds):
    gatherer = Gatherer(held, shelf or Shelf(), versions_of(case), tuple(case.names))
    return asyncio.run(gatherer.gather(unlogged, **bounds))


@pytest.fixture
def hidden(case) -> Statement:
    return case.snapshot("jd/high-risk", log=False)


def wanted(statement, *queriers):
    return Unlogged("jd", statement.digest, queriers or ("bank",))


def test_the_querier_that_named_it_is_asked_and_nobody_else(case, hidden):
    held, shelf = Held({("bank", hidden.digest): hidden.wire()}), Shelf()
    found = gather(case, [wanted(hidden)], held, shelf)
    assert (found.named, found.shown, found.left, found.silent) == (1, 1, 0, ())
    assert shelf.kept == {hidden.digest: hidden.wire()}
    assert held.asked == [("bank", hidden.digest)]


def test_failing_that_other_members_are_asked_and_never_the_owner(case, hidden):
    held, shelf = Held({("telco", hidden.digest): hidden.wire()}), Shelf()
    assert gather(case, [wanted(hidden)], held, shelf).shown == 1
    assert [member for member, _ in held.asked] == ["bank", "card", "telco"]


def test_nobody_who_is_no_member_is_asked_and_few_are(case, hidden):
    held = Held()
    assert gather(case, [wanted(hidden, "stranger", "telco")], held).shown == 0
    assert [member for member, _ in held.asked] == ["telco", "bank", "card"]
    many = CaseNetwork(tuple(f"m{number:02}" for number in range(20)))
    held = Held()
    gather(many, [Unlogged("m00", bytes(32), ("m07",))], held)
    assert len(held.asked) == TOLD
    assert held.asked[0][0] == "m07"


def test_who_is_down_is_no_error_and_is_not_waited_for_again(case, hidden):
    other = case.snapshot("jd/high-risk", log=False)
    held = Held(
        {("telco", one.digest): one.wire() for one in (hidden, other)},
        {"bank": PeerDown("bank", "no connection"), "card": PeerLate("card", "no answer")},
    )
    found = gather(case, [wanted(hidden), wanted(other)], held)
    assert (found.shown, found.silent) == (2, ("bank", "card"))
    assert [member for member, _ in held.asked] == ["bank", "card", "telco", "telco"]


def test_what_is_there_is_not_asked_for_again(case, hidden):
    held, shelf = Held(), Shelf({hidden.digest: hidden.wire()})
    assert gather(case, [wanted(hidden)], held, shelf).shown == 1
    assert not held.asked


def test_what_is_there_and_wrong_is_asked_for_again(case, hidden):
    held, shelf = Held({("bank", hidden.digest): hidden.wire()}), Shelf({hidden.digest: hidden.wire()[:-1]})
    assert gather(case, [wanted(hidden)], held, shelf).shown == 1
    assert shelf.kept == {hidden.digest: hidden.wire()}


def forged(case, hidden):
    return sign("snapshot", case.network.name, hidden.body, case.key("bank")).wire()


def of_another_owner(case, hidden):
    return sign("snapshot", case.network.name, hidden.body, case.key("card")).wire()


def of_another_network(case, hidden):
    return sign("snapshot", "elsewhere", hidden.body, case.key("jd")).wire()


def of_another_kind(case, hidden):
    return sign("epoch", case.network.name, hidden.body, case.key("jd")).wire()


def of_another_digest(case, hidden):
    return case.snapshots["bank/high-risk"].wire()


def another_of_the_owner(case, hidden):
    return sign("snapshot", case.network.name, {**hidden.body, "version": 999}, case.key("jd")).wire()


def altered(case, hidden):
    return replace(hidden, signature=bytes(64)).wire()


def cut(case, hidden):
    return hidden.wire()[:-1]


def nothing(case, hidden):
    return b""


@pytest.mark.parametrize(
    "lie",
    [
        forged, of_another_owner, of_another_network, of_another_kind, of_another_digest, another_of_the_owner,
        altered, cut, nothing,
    ],
    ids=lambda lie: lie.__name__,
)  # fmt: skip
def test_what_is_not_the_owners_snapshot_of_that_digest_is_not_kept(case, hidden, lie):
    """And does not keep out what another member shows."""
    held, shelf = Held({("bank", hidden.digest): lie(case, hidden)}), Shelf()
    assert gather(case, [wanted(hidden)], held, shelf).shown == 0
    assert not shelf.kept
    held.wires["card", hidden.digest] = hidden.wire()
    assert gather(case, [wanted(hidden)], held, shelf).shown == 1


def test_no_more_are_asked_for_than_a_run_allows(case):
    unlogged = [Unlogged("jd", number.to_bytes(32), ("bank",)) for number in range(5)]
    held = Held(down={"card": PeerDown("card", ""), "telco": PeerDown("telco", "")})
    found = gather(case, unlogged, held, most=2)
    assert (found.named, found.shown, found.left) == (5, 0, 3)
    assert {digest for _, digest in held.asked} == {one.digest for one in unlogged[:2]}
    assert MOST == 1_000


def test_what_was_gathered_does_not_count_in_the_next_run(case, hidden):
    other = case.snapshot("jd/high-risk", log=False)
    held, shelf = Held({("bank", one.digest): one.wire() for one in (hidden, other)}), Shelf()
    for shown in (1, 2):
        found = gather(case, [wanted(hidden), wanted(other)], held, shelf, most=1)
        assert (found.shown, found.left) == (shown, 2 - shown)
