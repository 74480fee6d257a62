"""Grants as they are kept: one in force for each member, all of them remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from riskshare.errors import InputError
from riskshare.sharing.grants import Grants
from riskshare.store import notify

FUTURE = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def watch(store):
    return await store.lists.create_list("watch", "telecom_fraud", "watch", granted=True)


def now():
    return datetime.now(UTC)


async def test_a_list_says_whether_it_is_under_grants(store, watch):
    is_open = await store.lists.create_list("fraud", "telecom_fraud", "default")
    assert (watch.granted, is_open.granted) == (True, False)
    assert await store.lists.lists() == [is_open, watch]
    assert await store.lists.list_named("watch") == watch


@pytest.mark.parametrize("granted", [True, False])
async def test_no_list_joins_the_keyset_of_a_list_under_grants(store, watch, granted):
    with pytest.raises(InputError) as refused:
        await store.lists.create_list("more", "telecom_fraud", "watch", granted=granted)
    assert refused.value.code == "keyset_taken"
    assert await store.lists.lists() == [watch]


async def test_a_list_under_grants_does_not_join_a_keyset_that_is_open(store):
    await store.lists.create_list("fraud", "telecom_fraud", "slow")
    with pytest.raises(InputError) as refused:
        await store.lists.create_list("slow", "telecom_fraud", "slow", granted=True)
    assert refused.value.code == "keyset_taken"
    await store.lists.create_list("more", "telecom_fraud", "slow")


async def test_of_two_lists_made_at_once_only_one_gets_the_keyset(store):
    made = await asyncio.gather(
        store.lists.create_list("watch", "telecom_fraud", "watch", granted=True),
        store.lists.create_list("fraud", "telecom_fraud", "watch"),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in made) == ["InputError", "ListRow"]


async def test_making_a_list_again_changes_nothing(store, watch):
    with pytest.raises(InputError) as refused:
        await store.lists.create_list("watch", "telecom_fraud", "watch")
    assert refused.value.code == "list_exists"
    assert await store.lists.list_named("watch") == watch


async def test_a_new_grant_takes_the_place_of_the_former_and_all_are_kept(store, watch):
    first = await store.grants.grant(watch.id, "icbc", ["payment", "payment"], FUTURE, "li")
    second = await store.grants.grant(watch.id, "icbc", [], None, "wang")
    other = await store.grants.grant(watch.id, "ub", [], None, "li")
    assert (first.purposes, first.until, first.author, first.revoked_at) == ({"payment"}, FUTURE, "li", None)
    assert await store.grants.newest() == [second, other]
    ended, *rest = await store.grants.of_list(watch.id)
    assert rest == [second, other]
    assert (ended.granted_at, ended.revoked_by) == (first.granted_at, "wang")
    assert ended.revoked_at >= ended.granted_at


async def test_a_grant_is_revoked_once(store, watch):
    await store.grants.grant(watch.id, "icbc", [], None, "li")
    assert await store.grants.revoke(watch.id, "ub", "wang") is False
    assert await store.grants.revoke(watch.id, "icbc", "wang") is True
    assert await store.grants.revoke(watch.id, "icbc", "zhao") is False
    [found] = await store.grants.newest()
    assert (found.revoked_by, found.in_force(now())) == ("wang", False)
    assert Grants("jd", [found]).ended(watch, "icbc", now())


async def test_there_is_nothing_to_revoke_of_a_grant_whose_time_is_over(store, watch):
    await store.grants.grant(watch.id, "icbc", [], now() - timedelta(days=1), "li")
    assert await store.grants.revoke(watch.id, "icbc", "wang") is False
    again = await store.grants.grant(watch.id, "icbc", [], None, "li")
    assert await store.grants.newest() == [again]


async def test_two_grants_at_once_leave_one_in_force(store, watch):
    await asyncio.gather(*(store.grants.grant(watch.id, "icbc", [], None, f"{n}") for n in range(4)))
    found = await store.grants.of_list(watch.id)
    assert [grant.in_force(now()) for grant in found] == [False, False, False, True]


async def test_the_peers_are_told(store, watch):
    heard: asyncio.Queue = asyncio.Queue()
    listener = await store.listen((notify.GRANTS,), lambda channel, payload: heard.put_nowait((channel, payload)))
    try:
        await store.grants.grant(watch.id, "icbc", [], None, "li")
        assert await asyncio.wait_for(heard.get(), 10) == (notify.GRANTS, "watch")
        await store.grants.revoke(watch.id, "icbc", "li")
        assert await asyncio.wait_for(heard.get(), 10) == (notify.GRANTS, "watch")
        assert heard.empty()
    finally:
        await listener.close()


async def test_the_database_itself_refuses_what_no_code_would_write(store, watch):
    for statement in (
        f"insert into lists (name, category, keyset, granted) values ('x', 'y', '{watch.keyset}', true)",
        f"insert into grants (list_id, member, purposes, author) values ({watch.id}, '', '{{}}', 'li')",
        f"insert into grants (list_id, member, purposes, author) values ({watch.id}, 'icbc', '{{}}', 'li')",
        "update grants set revoked_at = now()",
    ):
        await store.grants.grant(watch.id, "icbc", [], None, "li")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await store.pool.execute(statement)
