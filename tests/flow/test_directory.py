"""Looking for a newer registry while somebody waits who names it: he is asked before all others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from riskshare.errors import PeerDown
from riskshare.peer.directory import Directory
from tests.simulator.network import make_network


class Trust:
    """What is kept of registries."""

    async def keep_registry(self, row):
        pass


class World:
    """A directory of icbc; `newer` says which members have the second version, the others hang or are away."""

    def __init__(self, *newer, others="hangs"):
        self.network = make_network(("icbc", "jd", "telco", "unionpay"))
        self.directory = Directory("icbc", self.network.registry, lambda: datetime.now(UTC))
        self.newest = self.network.issue()
        self.newer, self.others = newer, others
        self.asked = []
        self.directory.connect(self.fetch, Trust(), lambda _: {})

    async def fetch(self, member, _version):
        self.asked.append(member)
        if member in self.newer:
            return self.newest.to_file()
        if self.others == "hangs":
            await asyncio.Event().wait()
        raise PeerDown(member, "away")


async def test_who_names_a_newer_registry_is_asked_first_so_that_a_silent_member_holds_up_nobody():
    world = World("unionpay")
    await asyncio.wait_for(world.directory.fetch(world.newest.version, "unionpay"), 10)
    assert world.directory.version() == world.newest.version
    assert world.asked == ["unionpay"]


@pytest.mark.parametrize("first", ["", "gone", "icbc"])
async def test_without_such_a_member_all_others_are_asked_in_turn(first):
    world = World("telco", others="away")
    await world.directory.fetch(world.newest.version, first)
    assert world.directory.version() == world.newest.version
    assert world.asked == ["jd", "telco"]


async def test_one_that_does_not_have_it_is_followed_by_the_others():
    world = World("jd", others="away")
    await world.directory.fetch(world.newest.version, "unionpay")
    assert world.asked == ["unionpay", "jd"]


async def test_nobody_is_asked_for_what_is_in_force():
    world = World()
    await world.directory.fetch(world.directory.version(), "jd")
    assert world.asked == []
