from __future__ import annotations

import asyncio

from riskshare.store.notify import until_lost


async def test_a_connection_that_answers_pings_is_not_lost(store):
    connection = await store.target.connect()
    watching = asyncio.ensure_future(until_lost(connection, every=1))  # so long each ping may take on a busy machine
    try:
        began = "select query_start from pg_stat_activity where pid = $1"
        first = await store.pool.fetchval(began, connection.get_server_pid())
        async with asyncio.timeout(10):
            # Another session sees that a later ping has begun.
            while await store.pool.fetchval(began, connection.get_server_pid()) == first:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not watching.done()
    finally:
        watching.cancel()
        connection.terminate()


async def test_a_connection_that_is_cut_is_lost(store):
    connection = await store.target.connect()
    watching = asyncio.ensure_future(until_lost(connection, every=30))
    await asyncio.sleep(0)
    await store.pool.execute("select pg_terminate_backend($1)", connection.get_server_pid())
    async with asyncio.timeout(10):
        await watching
    assert connection.is_closed()
