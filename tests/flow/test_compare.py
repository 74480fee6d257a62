"""Members that compare what they hold: every lie is found and proven, and no claim of a liar convicts anybody."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.errors import LedgerError, PeerDown
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, log_key, origin_of, sign_checkpoint
from riskshare.ledger.edge import Edge
from riskshare.ledger.histories import parse_histories
from riskshare.sharing import compare
from riskshare.sharing.compare import MOST_DIFFERENCES, MOST_PROOFS, PATIENCE, Comparer
from riskshare.sharing.fraud import FraudProof
from riskshare.sharing.held_page import HeldPage, held_statement, make_held
from riskshare.sharing.signed import read_signed
from riskshare.sharing.snapshot import MAX_BYTES
from riskshare.signature import SigningKey
from tests.simulator.owner import Follower, Network

NAME = "jd/fraud"


def leaves(size, forged=None):
    found = [hashlib.sha256(b"%d" % index).digest() for index in range(size)]
    if forged is not None:
        found[forged] = bytes(32)
    return found


class Log:
    """A member's log that shows whatever tree it likes."""

    def __init__(self, network, name):
        self.name, self.network = name, network
        self.key = SigningKey(hashlib.sha256(name.encode()).digest())
        self.served = leaves(600)

    def signed(self, size, forged=None, *, key=None):
        edge = Edge().append(leaves(size, forged)).edge
        checkpoint = Checkpoint(origin_of(self.network.name, self.name), size, edge.root())
        return SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, key or self.key))

    def tiles(self, places):
        tiles = dict(Edge().append(self.served).tiles)
        found = {(tile.level, tile.index): data for tile, data in tiles.items()}
        return {place: found.get((place.level, place.index), b"")[: place.length] for place in places}


class World:
    """One member, icbc, that compares with ccb; jd publishes."""

    def __init__(self):
        self.network = Network("simnet")
        self.owner = self.network.add("jd")
        self.owner.open_epoch()
        self.owner.create_list("fraud")
        self.owner.publish(NAME)
        self.logs = {name: Log(self.network, name) for name in ("jd", "icbc", "ccb")}
        self.mine, self.other = (Follower(self.network, reader) for reader in ("icbc", "ccb"))
        for follower in (self.mine, self.other):
            follower.learn(self.owner)
        self.page = HeldPage({}, ())
        self.shown = {}
        self.held_checkpoints, self.older = [], []
        self.kept, self.convictions, self.doubts, self.fetched = {}, [], [], []
        self.down, self.asked, self.looked_up = set(), [], 0
        self.comparer = Comparer(
            network="simnet",
            keys=self.network.keys,
            log_keys=lambda name: [log_key("simnet", name, self.logs[name].key.public)] if name in self.logs else [],
            others=self,
            own=self,
            evidence=self,
            watch=self,
            now=lambda: self.network.now,
        )

    # others
    async def held(self, member, after):
        self.asked.append(after)
        if "held" in self.down:
            raise PeerDown(member, "No connection.")
        return self.page if isinstance(self.page, bytes) else self.page.to_bytes()

    async def held_statement(self, member, digest):
        self.fetched.append(digest)
        if digest not in self.shown:
            raise PeerDown(member, "No connection.")
        return self.shown[digest]

    async def tiles(self, member, places):
        self.fetched.append(member)
        if "tiles" in self.down:
            raise PeerDown(member, "No connection.")
        if "log" in self.down:
            raise LedgerError("A tile is missing.", code="wrong_tile")
        return self.logs[member].tiles(places)

    # own
    def statements(self):
        """Epochs and the newest snapshots, as a member holds them; older ones are put beside by `hold`."""
        newest = [held_statement(value, signed) for value, signed in self.mine.trusted.open_statements()]
        return [*newest, *self.older]

    async def differing(self, theirs):
        self.looked_up += len(theirs)
        return [one for one in self.statements() if theirs.get(one.key, one.digest) != one.digest]

    async def checkpoints(self):
        return self.held_checkpoints

    # evidence, watch
    async def add_fraud_proof(self, row):
        return self.kept.setdefault((row.kind, row.about), row) is row

    def convicted(self, row):
        self.convictions.append(row)

    def doubted(self, member, code, sentence):
        assert sentence.endswith(".")
        self.doubts.append((member, code))

    async def compare(self):
        await self.comparer.compare(["ccb"])

    def tell(self, *signed, older=(), following=0):
        """ccb tells what its follower holds, these older statements, and these checkpoints."""
        statements = [held_statement(*one) for one in self.other.trusted.open_statements()] + [*older]
        self.page = make_held([(one.key, one.digest) for one in statements], signed, following)
        self.shown = {one.digest: one.signed.statement.wire() for one in statements}


@pytest.fixture
def world():
    return World()


# --- statements


async def test_who_holds_the_same_convicts_nobody(world):
    for follower in (world.mine, world.other):
        follower.poll(world.owner, NAME)
    world.tell(world.logs["jd"].signed(5))
    world.held_checkpoints = [world.logs["jd"].signed(5)]
    await world.compare()
    assert (world.convictions, world.doubts, world.fetched) == ([], [], [])


async def test_two_snapshots_of_one_version_are_found_and_proven_to_a_stranger(world):
    world.mine.poll(world.owner, NAME)
    other = world.owner.wire(replace(world.owner.chain(NAME)[0], count=11))
    world.other.offer(world.owner, other)
    world.tell()
    await world.compare()
    (row,) = world.convictions
    assert (row.kind, row.accused) == ("snapshot", "jd")
    proof = FraudProof.from_evidence("simnet", row.evidence, world.network.keys, world.network.now)
    assert proof.about == row.about
    await world.compare()
    assert len(world.convictions) == 1


async def test_two_epochs_of_one_number_are_found(world):
    epoch = world.owner.epochs["default"][0]
    forged = replace(epoch, public_key=bytes([9]) * 32)
    world.other = Follower(world.network, "ccb")
    world.other.trusted.accept_epoch("jd", world.owner.wire(forged), world.network.now)
    world.tell()
    await world.compare()
    assert [(row.kind, row.accused) for row in world.convictions] == [("epoch", "jd")]


async def test_another_version_is_no_difference(world):
    world.mine.poll(world.owner, NAME)
    world.owner.publish(NAME)
    world.other.poll(world.owner, NAME)
    world.tell()
    await world.compare()
    assert (world.convictions, world.fetched) == ([], [])


async def test_a_claim_that_is_not_shown_convicts_nobody(world):
    world.mine.poll(world.owner, NAME)
    world.other.offer(world.owner, world.owner.wire(replace(world.owner.chain(NAME)[0], count=11)))
    world.tell()
    world.shown = {}
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [("ccb", "peer_down")])


async def test_a_claim_that_the_owner_did_not_sign_convicts_nobody(world):
    world.mine.poll(world.owner, NAME)
    forged = world.owner.wire(replace(world.owner.chain(NAME)[0], count=11), key=SigningKey(bytes(32)))
    mine = next(one for one in world.statements() if one.signed.statement.kind == "snapshot")
    world.page, world.shown = HeldPage({mine.key: bytes(32)}, ()), {bytes(32): forged}
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [("ccb", "foreign_key")])


async def test_another_statement_than_the_one_told_convicts_nobody(world):
    world.mine.poll(world.owner, NAME)
    mine = next(one for one in world.statements() if one.signed.statement.kind == "snapshot")
    world.page, world.shown = HeldPage({mine.key: bytes(32)}, ()), {bytes(32): world.owner.latest(NAME)}
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [("ccb", "no_proof")])


async def test_a_stolen_key_convicts_nobody(world):
    world.mine.poll(world.owner, NAME)
    world.other.offer(world.owner, world.owner.wire(replace(world.owner.chain(NAME)[0], count=11)))
    world.tell()
    world.owner.mark_compromised(world.owner.key, world.network.now - timedelta(hours=1))
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [("ccb", "foreign_key")])


async def test_a_liar_does_not_keep_us_busy(world):
    for number in range(MOST_DIFFERENCES + 10):
        world.owner.publish(world.owner.create_list(f"list-{number}"))
    world.mine.learn(world.owner)
    for name in world.owner.lists:
        world.mine.poll(world.owner, name)
    world.page = HeldPage({one.key: bytes(32) for one in world.statements()}, ())
    await world.compare()
    assert len(world.fetched) == MOST_DIFFERENCES


# --- older versions


def branch(world, versions, count, name=NAME):
    """Statements of a list's versions, of a history that tells `count` entries in each of them."""
    found = []
    publics = [term.public for term in world.network.keys("jd")]
    for version in versions:
        previous = found[-1].digest if found else bytes(32) if version > 1 else None
        value = world.owner.draft(name, version=version, previous=previous, count=count, labels=bytes(32))
        wire = world.owner.wire(value)
        signed = read_signed("snapshot", "simnet", wire, publics, received=world.network.now, limit=MAX_BYTES)
        found.append(held_statement(value, signed))
    return found


async def test_a_fork_that_was_shown_at_an_older_version_is_found_and_proven_once(world):
    """Nobody has the two versions as newest at the same time; each later version contradicts as well."""
    world.older = branch(world, range(1, 40), 10)
    world.tell(older=branch(world, range(1, 80), 11)[29:], following=50)
    await world.compare()
    (row,) = world.convictions
    assert (row.kind, row.accused, world.fetched) == ("snapshot", "jd", [world.page.statements[world.older[29].key]])
    proof = FraudProof.from_evidence("simnet", row.evidence, world.network.keys, world.network.now)
    assert proof.about == row.about
    for _ in range(3):
        await world.compare()
    assert (len(world.convictions), len(world.fetched), world.asked) == (1, 1, [0, 50, 50, 50])


async def test_a_fork_in_one_list_hides_none_in_another(world):
    other = world.owner.create_list("other")
    world.older = branch(world, [3, 4], 10)
    theirs = branch(world, [3, 4], 11)
    world.tell(older=theirs)
    await world.compare()
    world.older += branch(world, [7], 10, other)
    world.tell(older=[*theirs, *branch(world, [7], 11, other)])
    await world.compare()
    assert len({row.about for row in world.convictions}) == 2


async def test_a_page_is_read_again_until_all_its_differences_are_noted(world, monkeypatch):
    monkeypatch.setattr(compare, "MOST_OPEN", 2)
    monkeypatch.setattr(compare, "MOST_DIFFERENCES", 1)
    world.older = branch(world, range(1, 6), 10)
    world.page = HeldPage({one.key: bytes([one.version]) * 32 for one in world.older}, (), 5)
    for _ in range(20):
        await world.compare()
    # Each of them was asked for as often as one has patience, and then no more.
    assert sorted(world.fetched) == sorted([bytes([version]) * 32 for version in range(1, 6)] * PATIENCE)
    assert (world.asked[0], world.asked[-1], world.convictions) == (0, 5, [])


async def test_a_statement_that_is_not_shown_at_once_is_asked_for_again(world):
    world.older = branch(world, [3], 10)
    world.tell(older=branch(world, [3], 11), following=9)
    shown, world.shown = world.shown, {}
    await world.compare()
    assert world.convictions == []
    world.page, world.shown = HeldPage({}, (), 9), shown  # it tells it once only
    await world.compare()
    assert len(world.convictions) == 1


async def test_what_cannot_be_read_is_asked_for_again_from_the_same_place(world):
    world.tell(following=9)
    await world.compare()
    world.down.add("held")
    await world.compare()
    world.page = b"nonsense"
    world.down.clear()
    await world.compare()
    world.tell(following=4)  # another database
    await world.compare()
    await world.compare()
    assert world.asked == [0, 9, 9, 9, 4]


# --- checkpoints


async def test_a_log_that_grew_convicts_nobody_and_is_asked_once(world):
    log = world.logs["jd"]
    world.held_checkpoints = [log.signed(300)]
    world.tell(log.signed(10), log.signed(500))
    await world.compare()
    assert (world.convictions, world.doubts, world.fetched) == ([], [], ["jd", "jd"])
    await world.compare()
    assert world.fetched == ["jd", "jd"]


async def test_two_roots_of_one_size_are_found_without_asking_the_log(world):
    log = world.logs["jd"]
    world.held_checkpoints = [log.signed(300)]
    world.tell(log.signed(300, forged=7))
    await world.compare()
    (row,) = world.convictions
    assert (row.kind, row.accused, world.fetched) == ("two_histories", "jd", [])
    parse_histories(row.evidence).verify([log_key("simnet", "jd", log.key.public)])


@pytest.mark.parametrize(("ours", "theirs"), [(300, 500), (500, 300)])
async def test_a_log_that_shows_two_members_two_trees_is_convicted_by_its_tiles(world, ours, theirs):
    log = world.logs["jd"]
    world.held_checkpoints = [log.signed(ours, forged=7 if ours == 300 else None)]
    world.tell(log.signed(theirs, forged=7 if theirs == 300 else None))
    await world.compare()
    (row,) = world.convictions
    assert (row.kind, row.accused) == ("two_histories", "jd")
    parse_histories(row.evidence).verify([log_key("simnet", "jd", log.key.public)])
    await world.compare()
    assert len(world.convictions) == 1


async def test_a_log_that_gives_no_tiles_is_suspect_after_some_rounds(world):
    log = world.logs["jd"]
    world.held_checkpoints = [log.signed(300)]
    world.tell(log.signed(500))
    world.down.add("log")
    for _ in range(PATIENCE - 1):
        await world.compare()
    assert world.convictions == []
    await world.compare()
    await world.compare()
    assert [(row.kind, row.accused) for row in world.convictions] == [("suspect_log", "jd")]
    assert set(world.doubts) == {("jd", "wrong_tile")}


async def test_a_log_that_serves_another_tree_than_it_signed_is_suspect(world):
    log = world.logs["jd"]
    log.served = leaves(600, forged=400)
    world.held_checkpoints = [log.signed(300)]
    world.tell(log.signed(500))
    for _ in range(PATIENCE):
        await world.compare()
    assert [row.kind for row in world.convictions] == ["suspect_log"]
    assert set(world.doubts) == {("jd", "wrong_consistency")}


async def test_a_log_that_cannot_be_asked_is_asked_again(world):
    log = world.logs["jd"]
    world.held_checkpoints = [log.signed(300, forged=7)]
    world.tell(log.signed(500))
    world.down.add("tiles")
    for _ in range(2 * PATIENCE):
        await world.compare()
    assert (world.convictions, world.doubts) == ([], [])
    world.down.clear()
    await world.compare()
    assert len(world.convictions) == 1


async def test_our_own_log_is_held_against_what_others_saw_of_it(world):
    """Two peers with one identity, on two databases."""
    log = world.logs["icbc"]
    world.held_checkpoints = [log.signed(500)]
    world.tell(log.signed(300, forged=7))
    await world.compare()
    assert [(row.kind, row.accused) for row in world.convictions] == [("two_histories", "icbc")]


async def test_a_checkpoint_that_the_log_did_not_sign_convicts_nobody(world):
    log = world.logs["jd"]
    world.held_checkpoints = [log.signed(300)]
    world.tell(log.signed(300, forged=7, key=SigningKey(bytes(32))))
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [("ccb", "bad_signature")])


async def test_a_log_that_nobody_knows_is_passed_over(world):
    stranger = Log(world.network, "stranger")
    world.tell(stranger.signed(300), Log(Network("othernet"), "jd").signed(5))
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [])


async def test_a_liar_does_not_keep_logs_busy(world, monkeypatch):
    log = world.logs["jd"]
    monkeypatch.setattr(compare, "MOST_PROOFS", 5)
    world.held_checkpoints = [log.signed(300)]
    world.tell(*(log.signed(size) for size in range(1, 20)))
    await world.compare()
    assert len(world.fetched) == 5 < MOST_PROOFS
    for _ in range(3):
        await world.compare()
    assert len(world.fetched) == 19


# --- members


async def test_a_member_that_is_down_stops_nothing(world):
    world.down.add("held")
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [])


async def test_a_member_that_talks_nonsense_is_named(world):
    world.page = b"nonsense"
    await world.compare()
    assert (world.convictions, world.doubts) == ([], [("ccb", "peer_garbage")])
