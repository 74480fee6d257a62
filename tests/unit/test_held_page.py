"""What members tell one another that they hold: keys, pages, and every malformed page by name."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_encode
from riskshare.errors import EncodingError, SnapshotError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, origin_of, sign_checkpoint
from riskshare.sharing.held_page import (
    MAX_NEXT,
    MAX_PAGE_BYTES,
    SPAN,
    HeldPage,
    HeldStatement,
    held_row,
    held_statement,
    make_held,
    read_held,
    read_row,
    survives,
)
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.signature import SigningKey
from tests.simulator.owner import Follower, Network

CHECKPOINT = Checkpoint(origin_of("simnet", "jd"), 7, bytes(32))
SIGNED = SignedCheckpoint(CHECKPOINT, sign_checkpoint(CHECKPOINT, SigningKey(b"\x01" * 32)))
DIGESTS = st.binary(min_size=32, max_size=32)


def follow(*keysets: str) -> tuple[Network, Follower]:
    network = Network("simnet")
    owner = network.add("jd")
    for keyset in keysets:
        owner.open_epoch(keyset)
        owner.publish(owner.create_list(f"list-{keyset}", keyset=keyset))
    follower = Follower(network)
    follower.learn(owner)
    for name in owner.lists:
        follower.poll(owner, name)
    return network, follower


def told(follower: Follower) -> list[HeldStatement]:
    return [held_statement(value, signed) for value, signed in follower.trusted.open_statements()]


def test_an_epoch_and_a_snapshot_are_told() -> None:
    network, follower = follow("default")
    owner = network.owners["jd"]
    epoch, snapshot = owner.epochs["default"][0], owner.chain("jd/list-default")[0]
    key = hashlib.sha256(epoch.digest + b"jd/list-default" + (1).to_bytes(8, "big")).digest()
    found = {one.key: one for one in told(follower)}
    assert found[key].digest == snapshot.digest
    assert sorted(one.digest for one in found.values()) == sorted([epoch.digest, snapshot.digest])
    assert {one.owner for one in found.values()} == {"jd"}


def test_what_is_under_grants_is_not_told() -> None:
    _, follower = follow("granted")
    assert told(follower) == []
    _, follower = follow("default", "granted")
    assert len(told(follower)) == 2


def test_an_epoch_that_was_ended_keeps_its_name() -> None:
    network, follower = follow("default")
    owner = network.owners["jd"]
    epoch = owner.epochs["default"][0]
    before = {one.key: one.digest for one in told(follower)}
    ended = owner.wire(epoch.end(network.now, "key_exposed"))
    follower.trusted.accept_epoch("jd", ended, network.now)
    after = {one.key: one.digest for one in told(follower)}
    assert before == after


def test_the_version_served_is_told_beside_the_newest() -> None:
    network, follower = follow("default")
    owner = network.owners["jd"]
    owner.publish("jd/list-default")
    follower.offer(owner, owner.latest("jd/list-default"))
    assert len(told(follower)) == 3


def test_no_two_statements_have_one_key() -> None:
    network, follower = follow("default")
    owner = network.owners["jd"]
    epoch, snapshot = owner.epochs["default"][0], owner.chain("jd/list-default")[0]
    signed = told(follower)[0].signed
    others = [
        epoch,
        replace(epoch, owner="jdd"),
        replace(epoch, keyset="efault"),
        replace(epoch, number=2),
        snapshot,
        replace(snapshot, version=2, previous=bytes(32)),
        replace(snapshot, list_name="jd/list-default1"),
        replace(snapshot, epoch=bytes(32)),
    ]
    assert len({held_statement(value, signed).key for value in others}) == len(others)


@given(st.dictionaries(DIGESTS, DIGESTS), st.booleans(), st.integers(0, MAX_NEXT))
def test_what_is_written_is_read(statements: dict[bytes, bytes], signed: bool, following: int) -> None:
    page = HeldPage(statements, (SIGNED,) * signed, following)
    assert read_held(page.to_bytes()) == page


def test_a_page_is_made_of_what_is_held() -> None:
    _, follower = follow("default")
    page = make_held([(one.key, one.digest) for one in told(follower)], [SIGNED], 7)
    assert page.next == 7
    assert read_held(page.to_bytes()) == page
    assert page.statements == {one.key: one.digest for one in told(follower)}


def test_a_row_gives_the_statement_back_and_an_altered_one_nothing() -> None:
    _, follower = follow("default")
    (value, signed) = list(follower.trusted.open_statements())[-1]
    assert isinstance(value, SnapshotStatement)
    row = held_row(value, signed)
    assert read_row("simnet", row) == held_statement(value, signed)
    for spoilt in (replace(row, signer=bytes(32)), replace(row, wire=row.wire[:-1])):
        with pytest.raises(SnapshotError):
            read_row("simnet", spoilt)


# --- which versions are held


def kept(newest: int) -> set[int]:
    return {version for version in range(1, newest + 1) if survives(version, newest)}


@pytest.mark.parametrize("newest", [1, SPAN, SPAN + 1, 1000, 100_000])
def test_the_newest_versions_are_held_and_few_of_the_older_ones(newest: int) -> None:
    held = kept(newest)
    assert {*range(max(1, newest - SPAN + 1), newest + 1)} <= held
    assert len(held) <= SPAN + SPAN // 2 * newest.bit_length()


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_what_is_dropped_once_is_dropped_for_ever(version: int, more: int) -> None:
    newest = version + more
    assert survives(version, newest) or not survives(version, newest + 1)


@given(st.integers(1, 10**6), st.integers(1, 1000), st.data())
def test_a_fork_of_some_versions_is_still_held_many_times_as_many_later(
    first: int, length: int, data: st.DataObject
) -> None:
    last = first + length - 1
    newest = data.draw(st.integers(last, first + SPAN // 2 * length - 1))
    assert any(survives(version, newest) for version in range(first, last + 1))


NOTE = SIGNED.note.to_bytes()
PAIR = [bytes(32), bytes(32)]
MALFORMED = {
    "no map": [],
    "a field too few": {"checkpoints": [], "statements": []},
    "a field too many": {"checkpoints": [], "next": 0, "statements": [], "more": 1},
    "no array of checkpoints": {"checkpoints": {}, "next": 0, "statements": []},
    "no array of statements": {"checkpoints": [], "next": 0, "statements": {}},
    "a text as checkpoint": {"checkpoints": [NOTE.decode()], "next": 0, "statements": []},
    "no checkpoint": {"checkpoints": [b"x"], "next": 0, "statements": []},
    "a long checkpoint": {"checkpoints": [NOTE + bytes(4096)], "next": 0, "statements": []},
    "too many checkpoints": {"checkpoints": [NOTE] * 4097, "next": 0, "statements": []},
    "no pair": {"checkpoints": [], "next": 0, "statements": [1]},
    "a short key": {"checkpoints": [], "next": 0, "statements": [[bytes(31), bytes(32)]]},
    "a long digest": {"checkpoints": [], "next": 0, "statements": [[bytes(32), bytes(33)]]},
    "a text as digest": {"checkpoints": [], "next": 0, "statements": [[bytes(32), "x" * 32]]},
    "three of a pair": {"checkpoints": [], "next": 0, "statements": [[*PAIR, bytes(32)]]},
    "a key twice": {"checkpoints": [], "next": 0, "statements": [PAIR, PAIR]},
    "no number": {"checkpoints": [], "next": "0", "statements": []},
    "a truth as number": {"checkpoints": [], "next": True, "statements": []},
    "a number below nothing": {"checkpoints": [], "next": -1, "statements": []},
    "a number too large": {"checkpoints": [], "next": 2**53, "statements": []},
    "keys backwards": {"checkpoints": [], "next": 0, "statements": [[b"b" * 32, bytes(32)], [b"a" * 32, bytes(32)]]},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_page_is_refused(what: str) -> None:
    with pytest.raises(EncodingError):
        read_held(cbor_encode(MALFORMED[what]))


@pytest.mark.parametrize("data", [b"", b"\xff", bytes(MAX_PAGE_BYTES + 1)])
def test_what_is_no_page_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        read_held(data)
