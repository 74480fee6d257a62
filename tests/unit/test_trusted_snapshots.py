"""TrustedSnapshots: one named test for each attack, and how it recovers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare import sodium
from riskshare.encoding import canonical_json, cbor_decode, cbor_encode, parse_canonical_json
from riskshare.errors import SnapshotError
from riskshare.sharing.chain import MOST_EPOCHS, RECENT_LINKS
from riskshare.sharing.fraud import FraudProof
from riskshare.sharing.history import Accepted, Gap, Unchanged
from riskshare.sharing.standing import Status
from riskshare.sharing.trusted import TrustedSnapshots
from riskshare.statement import sign
from tests.simulator.owner import DAY, START, Follower, Network, Owner, facts

NAME = "jd/high-risk"


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def owner(network) -> Owner:
    owner = network.add("jd")
    owner.open_epoch()
    owner.create_list("high-risk")
    owner.publish(NAME)
    return owner


@pytest.fixture
def follower(network, owner) -> Follower:
    follower = Follower(network, is_element=sodium.point_is_valid)
    follower.learn(owner)
    follower.poll(owner, NAME)
    return follower


def refused(code, call, *arguments):
    with pytest.raises(SnapshotError) as caught:
        call(*arguments)
    assert caught.value.code == code


def version_served(follower, owner, epoch=None):
    held = follower.trusted.serving(NAME, epoch or owner.lists[NAME].epoch)
    return None if held is None else held.version


# -- the honest way -------------------------------------------------------------------


def test_the_first_snapshot_serves_once_its_segments_are_there(network, owner):
    follower = Follower(network)
    follower.learn(owner)
    outcome = follower.offer(owner, owner.latest(NAME))
    assert isinstance(outcome, Accepted)
    assert outcome.missing == (0,)
    assert follower.trusted.status(NAME, network.now) is Status.MISSING
    follower.fetch(outcome)
    assert follower.trusted.status(NAME, network.now) is Status.CURRENT
    assert version_served(follower, owner) == 1


def test_a_new_version_needs_only_its_new_segments(owner, follower):
    owner.publish(NAME)
    outcome = follower.offer(owner, owner.latest(NAME))
    assert outcome.missing == (1,)
    assert version_served(follower, owner) == 1
    follower.fetch(outcome)
    assert version_served(follower, owner) == 2


def test_a_reissue_with_the_same_segments_serves_at_once(network, owner, follower):
    network.wait(hours=1)
    owner.publish(NAME, changed=False)
    assert follower.offer(owner, owner.latest(NAME)).missing == ()
    assert version_served(follower, owner) == 2


def test_the_same_statement_again_changes_nothing(owner, follower):
    assert isinstance(follower.offer(owner, owner.latest(NAME)), Unchanged)


def test_the_ledger_salt_that_travels_with_a_statement_is_kept(network, owner, follower):
    wire = owner.wire(owner.publish(NAME), salt=b"s" * 16)
    assert follower.offer(owner, wire).held.signed.statement.salt == b"s" * 16


# -- rollback -------------------------------------------------------------------------


def test_rollback_is_refused(owner, follower):
    owner.publish(NAME)
    follower.poll(owner, NAME)
    refused("rollback", follower.offer, owner, owner.at(NAME, 1))
    assert version_served(follower, owner) == 2


def test_rollback_is_refused_even_where_the_old_version_is_not_remembered(network, owner, follower):
    for _ in range(RECENT_LINKS + 10):
        owner.publish(NAME, changed=False)
        follower.poll(owner, NAME)
    refused("rollback", follower.offer, owner, owner.at(NAME, 5))


def test_rollback_is_refused_while_segments_of_the_newest_are_missing(owner, follower):
    owner.publish(NAME)
    owner.publish(NAME)
    follower.poll(owner, NAME)
    assert isinstance(follower.offer(owner, owner.wire(owner.draft(NAME))), Accepted)
    refused("rollback", follower.offer, owner, owner.at(NAME, 3))


def test_catalogue_rollback_is_refused(network, owner, follower):
    old = owner.catalogue("icbc")
    new = owner.catalogue("icbc")
    follower.trusted.accept_catalogue("jd", new, network.now)
    refused("rollback", follower.trusted.accept_catalogue, "jd", old, network.now)


# -- fork -----------------------------------------------------------------------------


def test_two_statements_for_one_version_are_refused_and_kept_as_proof(network, owner, follower):
    other = owner.wire(replace(owner.chain(NAME)[0], count=11))
    refused("fork", follower.offer, owner, other)
    (proof,) = follower.trusted.proofs
    assert (proof.kind, proof.accused) == ("snapshot", "jd")
    proof.verify(network.keys)
    assert version_served(follower, owner) == 1


def test_a_fork_offered_twice_is_one_proof(owner, follower):
    other = owner.wire(replace(owner.chain(NAME)[0], count=11))
    for _ in range(2):
        refused("fork", follower.offer, owner, other)
    assert len(follower.trusted.proofs) == 1


def test_a_fork_is_found_even_in_a_statement_that_has_expired(network, owner, follower):
    other = owner.wire(replace(owner.chain(NAME)[0], count=11))
    network.wait(days=2)
    refused("fork", follower.offer, owner, other)
    assert len(follower.trusted.proofs) == 1


def test_a_next_version_that_names_another_before_it_is_a_fork(network, owner, follower):
    refused("fork", follower.offer, owner, owner.wire(owner.draft(NAME, previous=b"x" * 32)))
    (proof,) = follower.trusted.proofs
    proof.verify(network.keys)


def test_a_fork_far_back_is_refused_without_proof(owner, follower):
    for _ in range(3):
        owner.publish(NAME)
        follower.poll(owner, NAME)
    refused("fork", follower.offer, owner, owner.wire(replace(owner.chain(NAME)[1], count=11)))
    assert follower.trusted.proofs == []


def test_a_fork_against_a_version_that_waits_to_be_connected(owner, follower):
    for _ in range(3):
        owner.publish(NAME)
    assert isinstance(follower.offer(owner, owner.latest(NAME)), Gap)
    refused("fork", follower.offer, owner, owner.wire(replace(owner.chain(NAME)[-1], count=11)))
    assert len(follower.trusted.proofs) == 1


def test_two_catalogues_of_one_version(network, owner, follower):
    wires = [owner.catalogue("icbc"), owner.catalogue("icbc", version=2, lists=())]
    follower.trusted.accept_catalogue("jd", wires[0], network.now)
    refused("fork", follower.trusted.accept_catalogue, "jd", wires[1], network.now)
    assert [proof.kind for proof in follower.trusted.proofs] == ["catalogue"]


def test_two_epochs_of_one_number(network, owner, follower):
    other = owner.open_epoch(number=1)
    refused("fork", follower.trusted.accept_epoch, "jd", owner.wire(other), network.now)
    (proof,) = follower.trusted.proofs
    assert proof.kind == "epoch"
    proof.verify(network.keys)


def test_a_proof_goes_to_another_member_and_back(network, owner, follower):
    refused("fork", follower.offer, owner, owner.wire(replace(owner.chain(NAME)[0], count=11)))
    (proof,) = follower.trusted.proofs
    again = FraudProof.from_evidence("testnet", proof.evidence(), network.keys, network.now)
    assert again.about == proof.about
    refused("foreign_key", FraudProof.from_evidence, "othernet", proof.evidence(), network.keys, network.now)


def test_a_proof_whose_statements_agree_convicts_nobody(network, owner, follower):
    held = follower.trusted.serving(NAME, owner.lists[NAME].epoch)
    refused("no_proof", FraudProof("snapshot", "jd", held.signed, held.signed).verify, network.keys)
    network.add("abc")
    refused("no_proof", FraudProof("snapshot", "abc", held.signed, held.signed).verify, network.keys)


def test_a_proof_with_a_broken_signature_convicts_nobody(network, owner, follower):
    refused("fork", follower.offer, owner, owner.wire(replace(owner.chain(NAME)[0], count=11)))
    (proof,) = follower.trusted.proofs
    forged = replace(proof.second, statement=replace(proof.second.statement, signature=bytes(64)))
    refused("foreign_key", replace(proof, second=forged).verify, network.keys)


# -- mix and match --------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"header_digest": b"x" * 32},
        {"header_length": 99},
        {"file_digest": b"x" * 32},
        {"file_length": 999},
        {"list_name": "jd/other"},
        {"epoch": b"x" * 32},
        {"kind": "base"},
        {"file_digest": None},
    ],
    ids=lambda change: f"{next(iter(change))}-{type(next(iter(change.values()))).__name__}",
)
def test_a_segment_that_is_not_the_one_signed_is_refused(owner, follower, change):
    snapshot = owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    refused("mixed_segments", follower.trusted.accept_segment, NAME, snapshot.digest, 1, facts(snapshot, 1, **change))
    assert version_served(follower, owner) == 1


def test_segments_in_another_order_are_refused(network, owner):
    snapshot = owner.publish(NAME)
    follower = Follower(network)
    follower.learn(owner)
    follower.offer(owner, owner.wire(replace(snapshot, version=1, previous=None)))
    digest = replace(snapshot, version=1, previous=None).digest
    refused("mixed_segments", follower.trusted.accept_segment, NAME, digest, 1, facts(snapshot, 0))
    refused("mixed_segments", follower.trusted.accept_segment, NAME, digest, 2, facts(snapshot, 1))
    refused("mixed_segments", follower.trusted.accept_segment, NAME, digest, -1, facts(snapshot, 1))


def test_a_segment_of_another_snapshot_is_refused(owner, follower):
    old, new = owner.chain(NAME)[0], owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    refused("mixed_segments", follower.trusted.accept_segment, NAME, old.digest, 0, facts(old, 0))
    refused("mixed_segments", follower.trusted.accept_segment, "jd/other", new.digest, 0, facts(new, 0))


def test_a_base_may_be_used_by_its_header_alone(network, owner):
    follower = Follower(network)
    follower.learn(owner)
    held = follower.offer(owner, owner.latest(NAME)).held
    assert follower.trusted.accept_segment(NAME, held.digest, 0, facts(held.snapshot, 0, file_digest=None))


def test_an_epoch_of_another_keyset_is_refused(network, owner, follower):
    owner.open_epoch("granted")
    owner.create_list("secret", keyset="granted")
    follower.learn(owner)
    wrong = replace(owner.draft("jd/secret"), epoch=owner.lists[NAME].epoch)
    refused("wrong_epoch", follower.offer, owner, owner.wire(wrong))


def test_another_category_than_the_catalogue_names_is_refused(owner, follower):
    refused("wrong_list", follower.offer, owner, owner.wire(owner.draft(NAME, category="marketing_cheating")))


# -- expiry and clocks ----------------------------------------------------------------


def test_an_expired_snapshot_is_refused(network, owner, follower):
    wire = owner.wire(owner.draft(NAME))
    network.wait(days=1)
    refused("expired", follower.offer, owner, wire)


def test_a_snapshot_may_come_from_a_clock_that_is_a_minute_ahead(network, owner, follower):
    ahead = network.now + timedelta(seconds=60)
    late = owner.draft(NAME, issued_at=ahead + timedelta(milliseconds=1), expires_at=ahead + DAY)
    refused("not_yet_valid", follower.offer, owner, owner.wire(late))
    assert isinstance(follower.offer(owner, owner.wire(replace(late, issued_at=ahead))), Accepted)


def test_an_expired_catalogue_and_one_from_the_future_are_refused(network, owner, follower):
    old = owner.catalogue("icbc")
    later = owner.catalogue("icbc", issued_at=network.now + DAY, expires_at=network.now + 2 * DAY)
    refused("not_yet_valid", follower.trusted.accept_catalogue, "jd", later, network.now)
    refused("expired", follower.trusted.accept_catalogue, "jd", old, network.wait(days=1))


def test_the_last_good_one_serves_until_it_expires(network, owner, follower):
    owner.publish(NAME, normalisation=2)
    refused("unknown_normalisation", follower.offer, owner, owner.latest(NAME))
    network.wait(hours=23)
    assert follower.trusted.status(NAME, network.now) is Status.STALE
    network.wait(hours=1)
    assert follower.trusted.status(NAME, network.now) is Status.EXPIRED
    assert follower.trusted.standing("jd", network.now).lists[0].held is None


# -- foreign keys ---------------------------------------------------------------------


def test_a_snapshot_signed_by_another_member_is_refused(network, owner, follower):
    other = network.add("abc")
    refused("foreign_key", follower.offer, owner, owner.wire(owner.draft(NAME), key=other.key))


def test_a_member_cannot_speak_of_the_lists_of_another(network, owner, follower):
    other = network.add("abc")
    wire = owner.wire(owner.draft(NAME), key=other.key)
    refused("wrong_list", follower.trusted.accept_snapshot, "abc", wire, network.now)
    epoch = owner.wire(owner.epochs["default"][0], key=other.key)
    refused("wrong_list", follower.trusted.accept_epoch, "abc", epoch, network.now)
    catalogue = sign("catalogue", "testnet", parse(owner.catalogue("icbc")), other.key).wire()
    refused("wrong_list", follower.trusted.accept_catalogue, "abc", catalogue, network.now)


def parse(wire):
    return parse_canonical_json(cbor_decode(wire, limit=1 << 20)["statement"], limit=1 << 20)


def test_a_key_out_of_its_term_is_refused(network, owner, follower):
    old = owner.rotate()
    network.wait(seconds=1)
    refused("foreign_key", follower.offer, owner, owner.wire(owner.draft(NAME), key=old))
    early = owner.new_key(valid_from=network.now + DAY)
    refused("foreign_key", follower.offer, owner, owner.wire(owner.draft(NAME), key=early))


def test_ordinary_rotation_resets_nothing(network, owner, follower):
    network.wait(seconds=1)
    owner.rotate()
    follower.trusted.update_keys(network.keys)
    assert version_served(follower, owner) == 1
    owner.publish(NAME)
    follower.poll(owner, NAME)
    assert version_served(follower, owner) == 2


def test_what_a_compromised_key_signed_and_is_received_after_is_refused(network, owner, follower):
    stolen = owner.key
    wire = owner.wire(owner.draft(NAME))
    owner.mark_compromised(stolen, network.wait(hours=1))
    refused("foreign_key", follower.offer, owner, wire)


def test_a_replay_of_what_was_received_before_the_compromise_is_known(network, owner, follower):
    owner.mark_compromised(owner.key, network.wait(hours=1))
    wire = owner.at(NAME, 1)
    follower.trusted.update_keys(network.keys)
    assert isinstance(follower.offer(owner, wire), Unchanged)


def test_a_snapshot_of_another_network_is_refused(owner, follower):
    refused("foreign_key", follower.offer, owner, owner.wire(owner.draft(NAME), network="othernet"))


def test_an_altered_byte_is_refused(owner, follower):
    wire = bytearray(owner.wire(owner.draft(NAME)))
    wire[wire.index(b'"count":') + 8] ^= 1
    refused("foreign_key", follower.offer, owner, bytes(wire))


@pytest.mark.parametrize("wire", [b"", b"\xff", cbor_encode({}), cbor_encode([1]), bytes(2 << 20)])
def test_what_is_no_statement_at_all_is_refused(owner, follower, wire):
    refused("malformed_statement", follower.offer, owner, wire)


def test_a_statement_of_another_kind_is_refused(network, owner, follower):
    refused("foreign_key", follower.offer, owner, owner.catalogue("icbc"))
    refused("foreign_key", follower.trusted.accept_catalogue, "jd", owner.latest(NAME), network.now)


def test_a_catalogue_for_another_reader_is_refused(network, owner, follower):
    refused("wrong_reader", follower.trusted.accept_catalogue, "jd", owner.catalogue("ccb"), network.now)


def test_an_owner_that_left_the_registry_is_not_consulted(network, owner, follower):
    network.remove("jd")
    follower.trusted.update_keys(network.keys)
    assert follower.trusted.status(NAME, network.now) is Status.UNLISTED
    assert follower.trusted.catalogue_status("jd", network.now) is Status.MISSING
    refused("foreign_key", follower.offer, owner, owner.latest(NAME))


# -- normalisation and epochs ---------------------------------------------------------


def test_an_unknown_normalisation_version_is_refused_until_it_is_known(network, owner):
    owner.publish(NAME, normalisation=2)
    old, new = Follower(network), Follower(network, normalisations=frozenset({1, 2}))
    for follower in (old, new):
        follower.learn(owner)
    refused("unknown_normalisation", old.offer, owner, owner.latest(NAME))
    assert isinstance(new.offer(owner, owner.latest(NAME)), Accepted)


def test_an_epoch_that_nobody_announced_is_refused(network, owner):
    follower = Follower(network)
    refused("unknown_epoch", follower.offer, owner, owner.latest(NAME))


def test_an_epoch_key_that_is_no_element_is_refused(network, owner, follower):
    bad = owner.open_epoch(public_key=b"\xff" * 32)
    refused("malformed_statement", follower.trusted.accept_epoch, "jd", owner.wire(bad), network.now)


def test_a_snapshot_outside_of_its_epoch_is_refused(network, owner, follower):
    epoch = owner.lists[NAME].epoch
    early = owner.draft(NAME, issued_at=network.now - timedelta(milliseconds=1))
    refused("expired", follower.offer, owner, owner.wire(early))
    network.wait(days=30)
    refused("expired", follower.offer, owner, owner.wire(owner.draft(NAME)))
    assert follower.trusted.status(NAME, network.now, epoch=epoch) is Status.EXPIRED


def test_a_snapshot_is_not_taken_once_its_epoch_is_over(network, owner, follower):
    network.wait(days=29.5)
    last = owner.wire(owner.draft(NAME))
    network.wait(days=0.5)
    refused("expired", follower.offer, owner, last)


def test_an_emergency_end_stops_an_epoch_and_is_no_fraud(network, owner, follower):
    epoch = owner.epochs["default"][0]
    network.wait(minutes=1)
    end = epoch.end(network.now, "key_exposed")
    assert follower.trusted.accept_epoch("jd", owner.wire(end), network.now).ended is not None
    refused("expired", follower.offer, owner, owner.wire(owner.draft(NAME)))
    assert follower.trusted.status(NAME, network.now) is Status.MISSING
    assert follower.trusted.status(NAME, network.now, epoch=epoch.digest) is Status.EXPIRED
    assert follower.trusted.accept_epoch("jd", owner.wire(epoch), network.now).ended is not None
    assert follower.trusted.proofs == []


def test_a_new_epoch_grows_from_the_old_chain(network, owner, follower):
    network.wait(hours=1)
    new = owner.open_epoch()
    owner.publish(NAME)
    follower.learn(owner)
    follower.poll(owner, NAME)
    assert version_served(follower, owner, new.digest) == 1


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_new_epoch_is_connected_over_what_was_missed_of_the_old_one(network, owner, follower, oldest_first):
    old = owner.lists[NAME].epoch
    for _ in range(3):
        network.wait(hours=1)
        owner.publish(NAME)
    new = owner.open_epoch()
    owner.publish(NAME, epoch=new.digest)
    owner.publish(NAME, epoch=old)
    owner.publish(NAME, epoch=new.digest)
    follower.learn(owner)
    follower.poll(owner, NAME, oldest_first=oldest_first)
    assert version_served(follower, owner, new.digest) == 2
    follower.poll(owner, NAME, old, oldest_first=oldest_first)
    assert version_served(follower, owner, old) == 5


def test_a_new_epoch_is_connected_over_an_epoch_that_was_missed_wholly(network, owner, follower):
    for _ in range(3):
        network.wait(hours=1)
        new = owner.open_epoch()
        owner.publish(NAME)
        owner.publish(NAME)
    follower.learn(owner)
    follower.poll(owner, NAME)
    assert version_served(follower, owner, new.digest) == 2


def test_the_rest_of_the_old_epoch_may_be_fetched_by_version_alone(network, owner, follower):
    old = owner.lists[NAME].epoch
    for _ in range(3):
        network.wait(hours=1)
        owner.publish(NAME)
    owner.open_epoch()
    owner.publish(NAME)
    follower.learn(owner)
    gap = follower.offer(owner, owner.latest(NAME))
    for version in (2, 3, 4):
        assert (gap.epoch, gap.first_missing, gap.last_missing, gap.either_way) == (old, version, None, True)
        gap = follower.trusted.accept_missing("jd", owner.at(NAME, version, old), network.now)
    assert isinstance(gap, Accepted)


def test_a_new_epoch_that_denies_the_old_chain_is_refused(network, owner, follower):
    network.wait(hours=1)
    owner.open_epoch()
    follower.learn(owner)
    refused("broken_chain", follower.offer, owner, owner.wire(owner.draft(NAME, previous=None)))


def test_a_new_epoch_that_grows_from_another_history_is_refused(network, owner, follower):
    owner.publish(NAME)
    follower.poll(owner, NAME)
    lie = replace(owner.chain(NAME)[1], count=3)
    owner.wire(lie)
    network.wait(hours=1)
    owner.open_epoch()
    owner.publish(NAME, previous=lie.digest)
    follower.learn(owner)
    refused("fork", follower.poll, owner, NAME)
    assert len(follower.trusted.proofs) == 1


def test_who_joins_in_a_change_over_need_not_know_what_went_before(network, owner):
    old = owner.lists[NAME].epoch
    owner.publish(NAME)
    network.wait(hours=1)
    new = owner.open_epoch()
    owner.publish(NAME, epoch=new.digest)
    network.wait(hours=1)
    owner.publish(NAME, epoch=old)
    follower = Follower(network)
    follower.learn(owner)
    follower.poll(owner, NAME, old)
    assert isinstance(follower.offer(owner, owner.latest(NAME)), Accepted)


def test_a_new_epoch_may_grow_from_before_the_first_contact(network, owner):
    owner.publish(NAME)
    follower = Follower(network)
    follower.learn(owner)
    follower.poll(owner, NAME)
    first = owner.chain(NAME)[0].digest
    network.wait(hours=1)
    owner.open_epoch()
    owner.publish(NAME, previous=first)
    follower.learn(owner)
    assert follower.offer(owner, owner.latest(NAME)).wanted == first
    follower.poll(owner, NAME)
    assert version_served(follower, owner) == 1


# -- skipped versions -----------------------------------------------------------------


@pytest.mark.parametrize("oldest_first", [False, True])
def test_skipped_versions_are_caught_up(network, owner, follower, oldest_first):
    for _ in range(5):
        network.wait(days=2)
        owner.publish(NAME)
    gap = follower.offer(owner, owner.latest(NAME))
    assert (gap.first_missing, gap.last_missing) == (2, 5)
    follower.poll(owner, NAME, oldest_first=oldest_first)
    assert version_served(follower, owner) == 6


def test_skipped_versions_may_come_from_both_ends(owner, follower):
    for _ in range(5):
        owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    gap = follower.trusted.accept_missing("jd", owner.at(NAME, 5), owner.network.now)
    assert (gap.first_missing, gap.last_missing) == (2, 4)
    gap = follower.trusted.accept_missing("jd", owner.at(NAME, 2), owner.network.now)
    assert (gap.first_missing, gap.last_missing) == (3, 4)
    follower.trusted.accept_missing("jd", owner.at(NAME, 4), owner.network.now)
    assert isinstance(follower.trusted.accept_missing("jd", owner.at(NAME, 3), owner.network.now), Accepted)


def test_a_gap_is_not_believed_before_it_is_closed(owner, follower):
    for _ in range(3):
        owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    assert follower.trusted.newest(NAME, owner.lists[NAME].epoch).version == 1


def test_what_only_connects_does_not_serve(network, owner, follower):
    for _ in range(3):
        owner.publish(NAME, changed=False)
    follower.offer(owner, owner.latest(NAME))
    follower.trusted.accept_missing("jd", owner.at(NAME, 2), network.now)
    assert version_served(follower, owner) == 1
    assert follower.trusted.newest(NAME, owner.lists[NAME].epoch) is None
    assert isinstance(follower.offer(owner, owner.at(NAME, 2)), Accepted)
    assert version_served(follower, owner) == 2


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_chain_that_does_not_lead_to_ours_is_a_fork(network, owner, follower, oldest_first):
    lie = replace(owner.chain(NAME)[0], count=11)
    owner.wire(lie)
    owner.chain(NAME)[0] = lie
    for _ in range(3):
        owner.publish(NAME)
    refused("fork", lambda: follower.poll(owner, NAME, oldest_first=oldest_first))
    (proof,) = follower.trusted.proofs
    proof.verify(network.keys)
    assert version_served(follower, owner) == 1


def test_a_missing_version_that_is_not_the_one_named_above_convicts(network, owner, follower):
    for _ in range(3):
        owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    other = owner.wire(replace(owner.chain(NAME)[2], count=11))
    refused("fork", follower.trusted.accept_missing, "jd", other, network.now)
    assert len(follower.trusted.proofs) == 1


def test_a_history_that_does_not_count_one_by_one_is_refused(network, owner, follower):
    for _ in range(3):
        owner.publish(NAME)
    far = owner.publish(NAME, version=9)
    follower.offer(owner, owner.wire(far))
    refused("broken_chain", follower.trusted.accept_missing, "jd", owner.at(NAME, 4), network.now)


def test_what_nobody_asked_for_is_refused(network, owner, follower):
    refused("broken_chain", follower.trusted.accept_missing, "jd", owner.latest(NAME), network.now)
    owner.create_list("other")
    owner.publish("jd/other")
    refused("broken_chain", follower.trusted.accept_missing, "jd", owner.latest("jd/other"), network.now)


# -- recovery -------------------------------------------------------------------------


def test_recovery_from_a_fast_forward_attack(network, owner, follower):
    owner.publish(NAME)
    follower.poll(owner, NAME)
    stolen, theft = owner.key, network.wait(hours=1)
    lie = owner.draft(NAME, version=3)
    follower.fetch(follower.offer(owner, owner.wire(lie, key=stolen)))
    huge = owner.catalogue("icbc", version=2**40)
    follower.trusted.accept_catalogue("jd", huge, network.now)
    assert version_served(follower, owner) == 3

    network.wait(hours=1)
    owner.mark_compromised(stolen, theft)
    follower.trusted.update_keys(network.keys)
    assert version_served(follower, owner) is None
    assert follower.trusted.catalogue_status("jd", network.now) is Status.MISSING
    follower.learn(owner)
    owner.publish(NAME)
    follower.poll(owner, NAME)
    held = follower.trusted.serving(NAME, owner.lists[NAME].epoch)
    assert held.digest == owner.chain(NAME)[2].digest != lie.digest
    assert follower.trusted.status(NAME, network.now) is Status.CURRENT


def test_recovery_of_a_newcomer_whose_first_contact_was_the_attacker(network, owner):
    owner.publish(NAME)
    stolen, theft = owner.key, network.wait(hours=1)
    follower = Follower(network)
    follower.learn(owner)
    huge = owner.draft(NAME, version=2**40)
    follower.fetch(follower.offer(owner, owner.wire(huge, key=stolen)))
    assert version_served(follower, owner) == 2**40
    network.wait(hours=1)
    owner.mark_compromised(stolen, theft)
    follower.trusted.update_keys(network.keys)
    assert version_served(follower, owner) is None
    follower.learn(owner)
    owner.publish(NAME)
    follower.poll(owner, NAME)
    assert version_served(follower, owner) == 3


def test_the_last_good_one_is_taken_back_when_its_segments_were_never_replaced(network, owner, follower):
    stolen, theft = owner.key, network.wait(hours=1)
    for version in (2, 3):
        lie = owner.draft(NAME, version=version, previous=follower.trusted.newest(NAME, owner.lists[NAME].epoch).digest)
        follower.fetch(follower.offer(owner, owner.wire(lie, key=stolen)))
    owner.mark_compromised(stolen, theft)
    follower.trusted.update_keys(network.keys)
    assert version_served(follower, owner) is None
    outcome = follower.offer(owner, owner.at(NAME, 1))
    assert isinstance(outcome, Accepted)
    follower.fetch(outcome)
    assert version_served(follower, owner) == 1
    follower.trusted.update_keys(network.keys)
    assert version_served(follower, owner) == 1


def test_who_was_away_at_the_compromise_walks_over_statements_of_the_void_key(network, owner, follower):
    for _ in range(3):
        owner.publish(NAME)
    owner.mark_compromised(owner.key, network.wait(hours=1))
    follower.trusted.update_keys(network.keys)
    network.wait(hours=1)
    owner.publish(NAME)
    follower.poll(owner, NAME)
    assert version_served(follower, owner) == 5


def test_a_void_statement_does_not_advance_a_chain_from_below(network, owner, follower):
    for _ in range(3):
        owner.publish(NAME)
    owner.mark_compromised(owner.key, network.wait(hours=1))
    owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    refused("broken_chain", follower.trusted.accept_missing, "jd", owner.at(NAME, 2), network.now)


def test_a_compromised_key_convicts_nobody(network, owner, follower):
    refused("fork", follower.offer, owner, owner.wire(replace(owner.chain(NAME)[0], count=11)))
    owner.mark_compromised(owner.key, START)
    follower.trusted.update_keys(network.keys)
    assert follower.trusted.proofs == []


def test_a_flood_by_a_stolen_key_does_not_wash_the_past_away(network, owner, follower):
    for _ in range(3):
        network.wait(hours=7)
        owner.publish(NAME)
        follower.poll(owner, NAME)
    before = owner.chain(NAME)[-1].digest
    theft = network.wait(hours=7)
    stolen, previous = owner.key, before
    for version in range(5, 200):
        lie = owner.draft(NAME, version=version, previous=previous, changed=False)
        follower.offer(owner, owner.wire(lie, key=stolen))
        previous = lie.digest
    owner.mark_compromised(stolen, theft)
    follower.trusted.update_keys(network.keys)
    refused("fork", follower.offer, owner, owner.wire(replace(owner.chain(NAME)[3], count=1)))
    owner.publish(NAME)
    follower.poll(owner, NAME)
    assert version_served(follower, owner) == 5


def test_an_epoch_of_a_compromised_key_is_signed_anew(network, owner, follower):
    stolen, theft = owner.key, network.wait(hours=1)
    new = owner.open_epoch()
    owner.publish(NAME)
    follower.learn(owner)
    follower.poll(owner, NAME)
    owner.mark_compromised(stolen, theft)
    follower.trusted.update_keys(network.keys)
    assert follower.trusted.epoch(new.digest) is None
    follower.learn(owner)
    assert follower.trusted.epoch(new.digest) == new
    owner.wires.clear()
    owner.wire(owner.chain(NAME)[0])
    follower.poll(owner, NAME)
    assert version_served(follower, owner) == 1


# -- currentness ----------------------------------------------------------------------


def test_a_list_is_stale_when_the_last_poll_is_older_than_its_bound(network, owner, follower):
    epoch = owner.lists[NAME].epoch
    network.wait(seconds=60)
    assert follower.trusted.status(NAME, network.now) is Status.CURRENT
    network.wait(seconds=1)
    assert follower.trusted.status(NAME, network.now) is Status.STALE
    follower.trusted.polled(NAME, epoch, network.now)
    assert follower.trusted.status(NAME, network.now) is Status.CURRENT
    assert follower.trusted.catalogue_status("jd", network.now) is Status.STALE
    follower.learn(owner)
    assert follower.trusted.catalogue_status("jd", network.now) is Status.CURRENT


def test_a_list_may_have_a_bound_of_its_own(network, owner):
    follower = Follower(network, bounds={NAME: timedelta(seconds=5)})
    follower.learn(owner)
    follower.poll(owner, NAME)
    assert follower.trusted.status(NAME, network.wait(seconds=6)) is Status.STALE


def test_polls_do_not_hide_that_newer_segments_never_came(network, owner, follower):
    network.wait(seconds=10)
    owner.publish(NAME)
    outcome = follower.offer(owner, owner.latest(NAME))
    network.wait(seconds=51)
    follower.trusted.polled(NAME, owner.lists[NAME].epoch, network.now)
    follower.offer(owner, owner.latest(NAME))
    assert follower.trusted.status(NAME, network.now) is Status.STALE
    follower.fetch(outcome)
    assert follower.trusted.status(NAME, network.now) is Status.CURRENT


def test_a_clock_that_was_set_back_does_not_make_a_list_current(network, owner, follower):
    network.wait(minutes=10)
    follower.learn(owner)
    follower.poll(owner, NAME)
    assert follower.trusted.status(NAME, network.wait(minutes=-5)) is Status.STALE


def test_a_list_that_left_the_catalogue_or_ended_is_not_consulted(network, owner, follower):
    owner.lists[NAME] = replace(owner.lists[NAME], ended=True)
    follower.learn(owner)
    assert follower.trusted.status(NAME, network.now) is Status.UNLISTED
    del owner.lists[NAME]
    follower.learn(owner)
    assert follower.trusted.status(NAME, network.now) is Status.UNLISTED
    assert follower.trusted.standing("jd", network.now).lists == ()


def test_a_catalogued_list_that_nobody_fetched_is_missing(network, owner, follower):
    owner.create_list("other")
    follower.learn(owner)
    assert follower.trusted.status("jd/other", network.now) is Status.MISSING
    found = {one.entry.list_name: one.status for one in follower.trusted.standing("jd", network.now).lists}
    assert found == {NAME: Status.CURRENT, "jd/other": Status.MISSING}


def test_an_expired_catalogue_is_told_and_an_unknown_owner_too(network, owner, follower):
    assert follower.trusted.catalogue_status("abc", network.now) is Status.MISSING
    assert follower.trusted.standing("abc", network.now).lists == ()
    assert follower.trusted.catalogue_status("jd", network.wait(days=1)) is Status.EXPIRED


def test_all_lists_of_a_keyset_move_to_a_new_epoch_together(network, owner, follower):
    second = owner.create_list("second")
    owner.publish(second)
    follower.learn(owner)
    follower.poll(owner, second)
    old, new = owner.epochs["default"][0], owner.open_epoch()
    follower.learn(owner)
    used = follower.trusted.epoch_in_use
    assert used("jd", "default", network.now) == old
    owner.publish(NAME, epoch=new.digest)
    follower.poll(owner, NAME)
    assert used("jd", "default", network.now) == old
    assert follower.trusted.status(NAME, network.now) is Status.CURRENT
    owner.publish(second, epoch=new.digest)
    follower.poll(owner, second)
    assert used("jd", "default", network.now) == new
    assert {one.held.snapshot.epoch for one in follower.trusted.standing("jd", network.now).lists} == {new.digest}


def test_a_keyset_moves_even_if_incomplete_when_the_old_epoch_is_over(network, owner, follower):
    new = owner.open_epoch(days=60)
    network.wait(days=30)
    follower.learn(owner)
    assert follower.trusted.answered_epochs("jd", "default", network.now) == [new]
    assert follower.trusted.epoch_in_use("jd", "default", network.now) == new
    assert follower.trusted.status(NAME, network.now) is Status.MISSING


def test_chains_of_epochs_long_gone_are_dropped(network, owner, follower):
    for _ in range(MOST_EPOCHS + 3):
        network.wait(days=20)
        owner.open_epoch()
        owner.publish(NAME)
        follower.learn(owner)
        follower.poll(owner, NAME)
    assert len(follower.trusted.chain_state(NAME)["chains"]) == MOST_EPOCHS + 1


def test_each_of_three_epochs_that_are_in_service_is_followed(network, owner, follower):
    """A keyset that is rotated twice within one change-over."""
    names = [owner.lists[NAME].epoch]
    for _ in range(2):
        network.wait(hours=1)
        names.append(owner.open_epoch().digest)
        owner.publish(NAME)
        follower.learn(owner)
        follower.poll(owner, NAME)
    for version in (2, 3):
        for name in names:
            network.wait(minutes=1)
            owner.publish(NAME, epoch=name)
            follower.poll(owner, NAME, name)
            assert version_served(follower, owner, name) >= version


# -- what is kept ---------------------------------------------------------------------


def test_the_state_goes_through_canonical_json_and_back(network, owner, follower):
    owner.publish(NAME)
    follower.offer(owner, owner.latest(NAME))
    state = follower.trusted.state()
    fresh = TrustedSnapshots("testnet", "icbc", network.keys)
    fresh.restore(parse_canonical_json(canonical_json(state), limit=1 << 20))
    assert fresh.state() == state
    assert fresh.status(NAME, network.now) is Status.CURRENT
    refused("rollback", fresh.accept_snapshot, "jd", owner.at(NAME, 1), network.now)
    assert fresh.accept_snapshot("jd", owner.latest(NAME), network.now).missing == (1,)


def test_one_list_and_one_owner_are_kept_by_themselves(network, owner, follower):
    fresh = TrustedSnapshots("testnet", "icbc", network.keys)
    fresh.restore_owner(follower.trusted.owner_state("jd"))
    fresh.restore_chain(follower.trusted.chain_state(NAME))
    assert fresh.state() == follower.trusted.state()


def test_a_state_that_was_tampered_with_is_refused_whole(network, owner, follower):
    state = follower.trusted.state()
    fresh = TrustedSnapshots("testnet", "icbc", network.keys)
    tampered = parse_canonical_json(canonical_json(state), limit=1 << 20)
    tampered["lists"][0]["chains"][0]["tip"]["signer"] = "00" * 32
    refused("foreign_key", fresh.restore, tampered)
    refused("malformed_statement", fresh.restore, {**state, "reader": "ccb"})
    refused("malformed_statement", fresh.restore, {**state, "more": 1})
    refused("malformed_statement", fresh.restore, None)
    links = parse_canonical_json(canonical_json(state), limit=1 << 20)
    links["lists"][0]["chains"][0]["links"] = []
    refused("malformed_statement", fresh.restore, links)
    assert fresh.state()["lists"] == []


def test_a_restored_state_is_judged_by_the_registry_of_today(network, owner, follower):
    state = follower.trusted.state()
    owner.mark_compromised(owner.key, START)
    fresh = TrustedSnapshots("testnet", "icbc", network.keys)
    fresh.restore(state)
    assert fresh.status(NAME, network.now) is Status.UNLISTED
    assert fresh.serving(NAME, owner.lists[NAME].epoch) is None


def test_a_forgotten_list_is_a_first_contact(network, owner, follower):
    lie = owner.wire(replace(owner.chain(NAME)[0], count=11))
    follower.trusted.forget(NAME)
    assert isinstance(follower.offer(owner, lie), Accepted)
