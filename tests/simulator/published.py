"""What an owner has published, as a reader that had its key would see it."""

from __future__ import annotations

from riskshare.encoding import parse_canonical_json
from tests.simulator.publishing import look_up

PHONES = [f"phone:+86138001380{n:02}" for n in range(60)]


class Shown:
    """The newest snapshot of a list under an epoch, as it is served."""

    def __init__(self, published, name, epoch):
        self.list = published._lists[name, epoch]
        self.body = parse_canonical_json(self.list.snapshot.statement, limit=1 << 20)
        self.kinds = ["base" if n == 0 else "delta" for n in range(len(self.body["segments"]))]
        self._key = published.own_key(epoch)
        self._name = name

    def record(self, identifier):
        return look_up(self.list.view, self._key, self._name, identifier)

    def listed(self):
        return [phone for phone in PHONES if self.record(phone) is not None]


async def shown(desk, of, number=-1):
    """The newest snapshot of a list under the newest epoch of a desk, or that of another number."""
    published = await desk.published()
    return Shown(published, desk.full(of), desk.store.all_epochs[number].digest)
