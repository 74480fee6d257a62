"""TrustedSnapshots as a machine: honest owners are always followed, dishonest ones never turn it back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import SnapshotError
from riskshare.sharing.chain import MOST_EPOCHS
from riskshare.sharing.history import Gap
from riskshare.sharing.standing import Status
from riskshare.sharing.trusted import TrustedSnapshots
from tests.simulator.owner import Follower, Network

NAME = "jd/high-risk"


class HonestOwner(RuleBasedStateMachine):
    """Polls are lost, epochs change, keys rotate, the subscriber restarts; nothing is ever refused."""

    @initialize()
    def begin(self):
        self.network = Network()
        self.owner = self.network.add("jd")
        self.owner.open_epoch(days=400)
        self.owner.create_list("high-risk")
        self.owner.publish(NAME)
        self.follower = Follower(self.network)

    @rule(changed=st.booleans(), hours=st.sampled_from([0.001, 1, 7]))
    def publish(self, changed, hours):
        self.network.wait(hours=hours)
        self.owner.publish(NAME, changed=changed)

    @rule()
    def publish_in_the_old_epoch_too(self):
        epochs = self.owner.epochs["default"]
        if len(epochs) > 1 and self.owner.chain(NAME, epochs[-2].digest):
            self.owner.publish(NAME, epoch=epochs[-2].digest)

    @precondition(lambda self: len(self.owner.epochs["default"]) < MOST_EPOCHS)
    @rule()
    def change_epoch(self):
        self.network.wait(hours=1)
        self.owner.open_epoch(days=400)
        self.owner.publish(NAME)

    @rule()
    def rotate(self):
        self.network.wait(hours=1)
        self.owner.rotate()
        self.follower.trusted.update_keys(self.network.keys)

    @rule(oldest_first=st.booleans(), old=st.booleans())
    def poll(self, oldest_first, old):
        self.follower.learn(self.owner)
        epochs = self.owner.epochs["default"]
        epoch = epochs[-2] if old and len(epochs) > 1 else epochs[-1]
        chain = self.owner.chain(NAME, epoch.digest)
        if not chain or chain[-1].expires_at <= self.network.now:
            self.owner.publish(NAME, epoch=epoch.digest, changed=False)
        self.follower.poll(self.owner, NAME, epoch.digest, oldest_first=oldest_first)
        held = self.follower.trusted.serving(NAME, epoch.digest)
        if held is not None:
            assert held.digest == self.owner.chain(NAME, epoch.digest)[-1].digest
        if epoch is epochs[-1]:
            assert held is not None
            assert self.follower.trusted.status(NAME, self.network.now) is Status.CURRENT

    @rule()
    def restart(self):
        state = parse_canonical_json(canonical_json(self.follower.trusted.state()), limit=1 << 24)
        self.follower.trusted = TrustedSnapshots("testnet", "icbc", self.network.keys)
        self.follower.trusted.restore(state)
        assert self.follower.trusted.state() == state

    @invariant()
    def nobody_is_convicted(self):
        if hasattr(self, "follower"):
            assert self.follower.trusted.proofs == []


class DishonestOwner(RuleBasedStateMachine):
    """Anything goes, truly signed: the version held never goes down, and no digest is ever swapped."""

    @initialize()
    def begin(self):
        self.network = Network()
        self.owner = self.network.add("jd")
        self.epoch = self.owner.open_epoch(days=400).digest
        self.owner.create_list("high-risk")
        self.wires = [self.owner.wire(self.owner.publish(NAME))]
        self.snapshots = list(self.owner.chain(NAME))
        self.follower = Follower(self.network)
        self.follower.learn(self.owner)
        self.seen = {}

    @rule(data=st.data(), version=st.integers(1, 8), count=st.integers(10, 14))
    def sign_anything(self, data, version, count):
        before = data.draw(st.sampled_from([None, *self.snapshots]))
        if version > 1 and before is None:
            return
        lie = replace(self.snapshots[0], version=version, count=count, previous=before.digest if before else None)
        self.snapshots.append(lie)
        self.wires.append(self.owner.wire(lie))

    @rule(data=st.data(), missing=st.booleans())
    def offer(self, data, missing):
        wire = data.draw(st.sampled_from(self.wires))
        trusted = self.follower.trusted
        accept = trusted.accept_missing if missing else trusted.accept_snapshot
        try:
            outcome = accept("jd", wire, self.network.now)
        except SnapshotError:
            return
        if not isinstance(outcome, Gap):
            self.follower.fetch(outcome)

    @invariant()
    def it_never_turns_back(self):
        if not hasattr(self, "follower"):
            return
        for held in (self.follower.trusted.newest(NAME, self.epoch), self.follower.trusted.serving(NAME, self.epoch)):
            if held is not None:
                assert self.seen.setdefault(held.version, held.digest) == held.digest
        newest = self.follower.trusted.newest(NAME, self.epoch)
        if newest is not None:
            assert newest.version == max(self.seen)
            below = [one for one in self.snapshots if one.digest == newest.snapshot.previous]
            if newest.version - 1 in self.seen:
                assert below[0].digest == self.seen[newest.version - 1]

    @invariant()
    def every_proof_convicts(self):
        if hasattr(self, "follower"):
            for proof in self.follower.trusted.proofs:
                proof.verify(self.network.keys)


TestHonestOwner = HonestOwner.TestCase
TestHonestOwner.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestDishonestOwner = DishonestOwner.TestCase
TestDishonestOwner.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
