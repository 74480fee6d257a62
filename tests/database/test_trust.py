from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.encoding import sha256
from riskshare.errors import IdempotencyError
from riskshare.sharing import held_page
from riskshare.sharing.kept import CatalogueRow, EpochStatementRow, FraudProofRow, HeldRow, RegistryRow

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def catalogue(made, version, owner="jd"):
    return CatalogueRow(owner, version, made.bytes(200), made.bytes(64), NOW)


def epoch(made, number=1, owner="jd"):
    return EpochStatementRow(
        digest=made.bytes(32),
        owner=owner,
        keyset="default",
        number=number,
        statement=made.bytes(200),
        signature=made.bytes(64),
        salt=made.bytes(16),
        received_at=NOW,
    )


async def test_catalogues_only_go_forward(store, made):
    first, second = catalogue(made, 3), catalogue(made, 4)
    assert await store.trust.keep_catalogue(first)
    assert await store.trust.keep_catalogue(second)
    assert not await store.trust.keep_catalogue(first)
    assert not await store.trust.keep_catalogue(catalogue(made, 4))
    again = replace(second, received_at=LATER)
    assert await store.trust.keep_catalogue(again)
    other = catalogue(made, 1, "bank")
    assert await store.trust.keep_catalogue(other)
    assert await store.trust.catalogues() == [other, again]
    await store.trust.drop_catalogue("jd")
    assert await store.trust.keep_catalogue(first)


async def test_the_first_epoch_statement_of_a_number_stands(store, made):
    first, forged = epoch(made), epoch(made)
    assert await store.trust.keep_epoch_statement(first) == first
    assert await store.trust.keep_epoch_statement(forged) == first
    second, other = epoch(made, 2), epoch(made, 1, "bank")
    assert await store.trust.keep_epoch_statement(second) == second
    assert await store.trust.keep_epoch_statement(other) == other
    assert await store.trust.epoch_statements("jd") == [first, second]
    assert await store.trust.epoch_statements() == [other, first, second]
    assert await store.trust.epoch_statement(second.digest) == second
    assert await store.trust.epoch_statement(forged.digest) is None


async def test_trusted_state_is_swapped_only_from_what_was_read(store):
    trust = store.trust
    first = await trust.save_trusted("jd", "jd/fraud", b"{1}", None, NOW)
    assert (first.revision, first.state, first.updated_at) == (1, b"{1}", NOW)
    assert await trust.save_trusted("jd", "jd/fraud", b"{x}", None, NOW) is None
    second = await trust.save_trusted("jd", "jd/fraud", b"{2}", first, LATER)
    assert second.revision == 2
    assert await trust.save_trusted("jd", "jd/fraud", b"{x}", first, LATER) is None
    assert await trust.save_trusted("jd", "jd/fraud", b"{x}", replace(second, state=b"{y}"), LATER) is None
    assert await trust.trusted("jd", "jd/fraud") == second
    assert await trust.trusted("jd", "jd/other") is None
    assert await trust.all_trusted() == [second]


async def test_of_writers_at_once_one_wins(store):
    first = await store.trust.save_trusted("jd", "jd/fraud", b"{}", None, NOW)
    swapped = await asyncio.gather(
        *(store.trust.save_trusted("jd", "jd/fraud", b"%d" % n, first, NOW) for n in range(8))
    )
    assert sum(one is not None for one in swapped) == 1


async def test_a_fraud_is_proved_once(store, made):
    proof = FraudProofRow("snapshot", "jd", made.bytes(32), made.bytes(500), NOW)
    assert await store.trust.keep_fraud_proof(proof)
    assert not await store.trust.keep_fraud_proof(replace(proof, evidence=b"other"))
    other = replace(proof, kind="epoch")
    assert await store.trust.keep_fraud_proof(other)
    assert await store.trust.fraud_proofs() == [proof, other]


async def test_the_registry_grows_without_gaps(store, made):
    versions = [RegistryRow(number, made.bytes(32), made.bytes(900), NOW) for number in (7, 8, 9)]
    assert await store.trust.registry() is None
    assert await store.trust.keep_registry(versions[0])
    assert not await store.trust.keep_registry(versions[2])
    assert not await store.trust.keep_registry(replace(versions[0], file=b"other"))
    assert await store.trust.keep_registry(versions[1])
    assert await store.trust.registry() == versions[1]
    assert await store.trust.registry(7) == versions[0]
    assert await store.trust.registry(9) is None


# --- snapshots of others, for members to compare


def held(made, version=1, *, name="jd/fraud", epoch=b"\x01" * 32, at=NOW):
    key = sha256(name.encode() + epoch + version.to_bytes(8, "big"))
    return HeldRow(key, made.bytes(32), name, epoch, version, made.bytes(300), made.bytes(32), at)


async def test_snapshots_are_told_once_each_page_by_page(store, made):
    trust, epochs = store.trust, [b"\x01" * 32]
    assert await trust.held_after(0, epochs, 10) == ([], 0)
    rows = [held(made, version) for version in range(1, 8)]
    for row in rows:
        assert await trust.keep_held([row], 128) == []
        assert await trust.keep_held([replace(row, received_at=LATER)], 128) == []
    told = [(row.key, row.digest) for row in rows]
    first, upto = await trust.held_after(0, epochs, 4)
    second, end = await trust.held_after(upto, epochs, 4)
    assert [*first, *second] == told
    assert await trust.held_after(end, epochs, 4) == ([], end)
    assert await trust.held_after(end + 1000, epochs, 4) == ([], end)
    assert await trust.held_after(0, [], 4) == ([], 0)
    await trust.keep_held([held(made, name="jd/other"), held(made, 9, epoch=b"\x02" * 32)], 128)
    [(key, _)], _ = await trust.held_after(end, epochs, 4)
    assert key == held(made, name="jd/other").key


async def test_the_first_receipt_stands(store, made, sql):
    row = held(made)
    await store.trust.keep_held([row], 128)
    await store.trust.keep_held([replace(row, received_at=LATER)], 128)
    assert await sql.fetchval("select received_at from held_snapshots") == NOW


async def test_what_contradicts_is_given_and_takes_its_place_and_is_told_anew(store, made):
    trust, row = store.trust, held(made)
    await trust.keep_held([row], 128)
    _, upto = await trust.held_after(0, [row.epoch], 10)
    other = replace(row, digest=made.bytes(32), wire=b"other")
    assert await trust.keep_held([other], 128) == [row]
    assert await trust.held(row.digest) is None
    assert await trust.held(other.digest) == b"other"
    told, _ = await trust.held_after(upto, [row.epoch], 10)
    assert told == [(row.key, other.digest)]
    assert await trust.differing_held({row.key: row.digest, bytes(32): bytes(32)}) == [other]
    assert await trust.differing_held({row.key: other.digest}) == []
    assert await trust.differing_held({}) == []


@pytest.mark.parametrize("span", [1, 4, 128])
async def test_of_older_versions_ever_fewer_are_held(store, made, sql, monkeypatch, span):
    monkeypatch.setattr(held_page, "SPAN", span)
    await store.trust.keep_held([held(made, 1, name="jd/other"), held(made, 1, epoch=b"\x02" * 32)], span)
    for start in range(1, 1000, 111):
        newest = start + 110
        await store.trust.keep_held([held(made, version) for version in range(start, newest + 1)], span)
        query = "select version from held_snapshots where list_name = 'jd/fraud' and epoch = $1 order by version"
        found = [row["version"] for row in await sql.fetch(query, b"\x01" * 32)]
        assert found == [version for version in range(1, newest + 1) if held_page.survives(version, newest)]
    assert await sql.fetchval("select count(*) from held_snapshots") == len(found) + 2


async def test_of_many_writers_at_once_nothing_becomes_visible_behind_a_reader(store, made):
    seen, after, writing = [], 0, 8
    epochs = [b"\x01" * 32]
    lists = [[held(made, version, name=f"jd/{number}") for version in range(1, 20)] for number in range(writing)]

    async def write(rows):
        nonlocal writing
        for row in rows:
            await store.trust.keep_held([row], 128)
        writing -= 1

    tasks = [asyncio.create_task(write(rows)) for rows in lists]
    while writing:
        told, after = await store.trust.held_after(after, epochs, 50)
        seen += told
    await asyncio.gather(*tasks)
    while (page := await store.trust.held_after(after, epochs, 50))[0]:
        seen, after = seen + page[0], page[1]
    keys = [key for key, _ in seen]
    assert sorted(keys) == sorted(row.key for rows in lists for row in rows)


async def test_what_was_received_long_ago_is_forgotten(store, made):
    old, new = held(made, 1), held(made, 2, at=LATER)
    await store.trust.keep_held([old, new], 128)
    await store.trust.forget_held(LATER)
    assert [await store.trust.held(row.digest) for row in (old, new)] == [None, new.wire]


# --- Idempotency-Key

KEY, REQUEST = b"\x01" * 32, b"\x02" * 32


async def test_a_request_under_way_is_not_begun_again(store):
    assert await store.idempotency.begin("till", KEY, REQUEST) is None
    with pytest.raises(IdempotencyError) as refused:
        await store.idempotency.begin("till", KEY, REQUEST)
    assert refused.value.code == "idempotency_key_in_use"
    assert await store.idempotency.begin("other-till", KEY, REQUEST) is None


async def test_a_key_stands_for_one_request(store):
    await store.idempotency.begin("till", KEY, REQUEST)
    with pytest.raises(IdempotencyError) as refused:
        await store.idempotency.begin("till", KEY, b"\x03" * 32)
    assert refused.value.code == "idempotency_key_reused"


async def test_of_requests_at_once_one_is_worked_on(store):
    begun = await asyncio.gather(
        *(store.idempotency.begin("till", KEY, REQUEST) for _ in range(8)), return_exceptions=True
    )
    assert sum(one is None for one in begun) == 1
    assert {one.code for one in begun if one is not None} == {"idempotency_key_in_use"}


async def test_the_claim_of_a_dead_peer_is_taken_over(store):
    await store.idempotency.begin("till", KEY, REQUEST)
    assert await store.idempotency.begin("till", KEY, REQUEST, term=timedelta(0)) is None


async def test_a_claim_is_given_up_and_old_keys_are_forgotten(store):
    await store.idempotency.begin("till", KEY, REQUEST)
    await store.idempotency.give_up("till", KEY)
    assert await store.idempotency.begin("till", KEY, b"\x03" * 32) is None
    assert await store.idempotency.forget(datetime(2000, 1, 1, tzinfo=UTC)) == 0
    assert await store.idempotency.forget(datetime.now(UTC) + timedelta(hours=1)) == 1
