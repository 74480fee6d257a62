"""A large change of a list in a real PostgreSQL, and the process that computes it is killed."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from types import SimpleNamespace

import pytest

from riskshare.cli import publication
from riskshare.cli.acting import Own
from riskshare.cli.screen import Screen
from riskshare.store.leader import Leadership
from tests.database.test_publish import NUMBERS, House

PUBLISHER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from riskshare.sharing import publish
    from riskshare.store.store import Store
    from tests.database.test_publish import House

    publish.WATCH_SECONDS = 0.05

    async def main(dsn, folder, step, most):
        publisher = House(await Store.open(dsn), Path(folder)).publisher()
        composer = publisher._composer
        composer._few_changes, composer._most_changes = 3, int(most)
        true = getattr(composer, step)

        async def halted(*args):
            result = await true(*args)
            print("computed", flush=True)
            await asyncio.Event().wait()
            return result

        setattr(composer, step, halted)
        await publisher.refresh()

    asyncio.run(main(*sys.argv[1:]))
""")


@pytest.fixture
async def house(store, tmp_path):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    return House(store, tmp_path / "segments")


@pytest.mark.parametrize(("step", "most"), [("delta", 100), ("base", 5)])
async def test_a_process_is_killed_while_it_computes_a_large_change(house, dsn, step, most, monkeypatch):
    """What it has published ahead of the change stays withdrawn, and another process publishes the rest."""
    publisher = house.publisher()
    await house.bring(*NUMBERS[:20])
    await publisher.refresh()
    await house.bring(*NUMBERS[10:40], days=80)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PUBLISHER, dsn, str(house.files._folder), step, str(most)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert await process.stdout.readline() == b"computed\n"
    # That an appeal was upheld is told in any case; the second one, which nobody was shown, has another reason.
    for number, reason in ((NUMBERS[0], "appeal_upheld"), (NUMBERS[30], "corrected")):
        await house.change(number, "withdrawn", reason)
    async with asyncio.timeout(20):
        while (await house.shown()).listed() != NUMBERS[1:20]:  # noqa: ASYNC110 - another process makes it so
            await asyncio.sleep(0.01)
    leads = Leadership(house.store)
    await leads.acquire()
    monkeypatch.setattr(publication, "WAIT_SECONDS", 0.5)
    own, screen = Own(SimpleNamespace(name="jd"), house.store), Screen(as_json=True)
    told = await publication.await_publication(own, "fraud", screen, withdrawals=True)
    assert told.published.snapshot.version == 2, "whoever has withdrawn hears that nobody is shown it"
    assert (await publication.await_publication(own, "fraud", screen)).to_json() == {
        "peer_running": True,
        "published": None,
    }
    await leads.release()
    process.kill()
    await process.wait()
    await house.change(NUMBERS[1], "withdrawn", "corrected")
    await publisher.refresh()
    found = await house.shown()
    assert found.listed() == [*NUMBERS[2:30], *NUMBERS[31:40]]
    of = await house.store.lists.list_named("fraud")
    assert (found.list.snapshot.changed, found.body["version"]) == (of.changed, 3)
    assert await publisher.refresh() == 0
