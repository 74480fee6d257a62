"""One owner's list, driven at random through its life, and two readers who follow it: one replicates, one asks.

The real publisher, what it serves, and the real mirrors, over stores in memory and a line that breaks on command. Beside
them stands a plain dictionary of what the owner wants to be listed. Whatever happens:

* what a reader finds is, entry by entry, what was listed when the snapshot that it holds was published, never a mix;
* the digest over labels in that snapshot is that of those entries, worked out anew from the identifiers: a delta
  never says anything else than the whole list would;
* a withdrawal is shown while a larger change is still being computed, and nothing of that change;
* a list that may give a clear is at most a minute behind what its owner serves, and after a restart its owner has
  been asked; the epoch that it is asked in is one that the owner answers for;
* a version that a reader has shown is not followed by an older one, crashes included;
* once both sides reach each other again, the readers find what the owner wants to be listed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from riskshare.errors import PeerDown, PeerRefused, RiskshareError, SegmentError, StoreError
from riskshare.membership import oprf
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record, label, open_record, record_key
from riskshare.sharing import beside, compaction, publish
from riskshare.sharing.copies import Rules
from riskshare.sharing.ending import end_epoch
from riskshare.sharing.segment_read import NeedBucket
from riskshare.sharing.standing import Status
from riskshare.statement import SALT_BYTES
from tests.simulator.publishing import NETWORK, Desk, MemoryState, Reader, StubbornSource

MEMORY = Path("/dev/shm")
"""Files in memory: what is written durably need not wait for a disk."""

UNIVERSE = tuple(f"phone:+861380013800{number}" for number in range(6))
BOUND = timedelta(seconds=60)
TERMS = {
    "epoch": timedelta(days=6),
    "changeover": timedelta(days=2),
    "snapshot": timedelta(hours=24),
    "reissue": timedelta(hours=1),
    "deltas": 2,
}
SPANS = [timedelta(seconds=40), BOUND, timedelta(minutes=90), timedelta(hours=20), timedelta(days=2), timedelta(days=9)]
READERS = ("replicates", "asks")
IDENTIFIERS = st.sampled_from(UNIVERSE)
WHO = st.sampled_from(READERS)
WHICH = st.integers(0, len(UNIVERSE) - 1)
ENTRIES = st.sampled_from([("low", 90), ("high", 90), ("high", 3), ("low", 1)])
THEN = st.none() | st.sets(WHO).map(sorted)
"""What follows a change: nothing; or it is published, and these readers look."""


class Crash(BaseException):
    """The process ends here."""


class Line(StubbornSource):
    """A line that breaks after `left` calls."""

    left: int | None = None

    def _owner(self, owner, call):
        if self.left is not None:
            if self.left == 0:
                raise PeerDown(owner, "The connection broke.")
            self.left -= 1
        return super()._owner(owner, call)

    async def segment(self, owner, ref, out, *, offset, length):
        try:
            await super().segment(owner, ref, out, offset=offset, length=length)
        except FileNotFoundError as error:
            raise PeerRefused(owner, "Not here.", remote_code="not_found", status=404) from error


class State(MemoryState):
    """A reader's database, in which the `number`-th write from now on fails, or is done and nobody hears of it."""

    def __init__(self):
        super().__init__()
        self.failing = None
        self.left = 0

    def fail(self, how, number):
        self.failing, self.left = how, number

    async def save_trusted(self, row):
        self.left -= 1
        failing = self.failing if self.left == 0 else None
        if failing == "before":
            raise Crash
        if failing == "away":
            raise StoreError("away")
        saved = await super().save_trusted(row)
        if failing == "after":
            raise Crash
        return saved


@dataclass(frozen=True)
class Wanted:
    """An entry as its owner wants it to be seen."""

    level: str
    disputed: bool
    until: datetime


@dataclass
class Follower:
    """A reader: what of it outlives its process, and what was seen of it."""

    name: str
    line: Line
    state: State
    reader: Reader | None = None
    asked: bool = False  # since its process began
    unsaved: bool = False  # its store was away: what it shows may be forgotten
    best: dict[bytes, int] = field(default_factory=dict)  # by epoch, the highest version that was shown


class ListMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(prefix="rs-", dir=MEMORY if MEMORY.is_dir() else None)
        self.desk = Desk(Path(self.folder.name))
        self.of = self.desk.create_list()
        self.name = self.desk.full(self.of)
        self.wanted = {}
        self.shown = {}  # by digest of a snapshot, what it must show
        self.steps = []  # how the steps of the next publication end
        self.served = defaultdict(list)  # by epoch: (since, digest) of what the owner has served
        self.tokens = {}
        self.desk.store.fault = self.step
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(publish, "WATCH_SECONDS", 0.01)
        self.patch.setattr(beside, "PATIENCE", 0.01)
        self.publisher = self.new_publisher()
        self.published = self.desk.new_published()
        self.followers = {name: Follower(name, Line(), State()) for name in READERS}
        for follower in self.followers.values():
            self.start(follower)
        self.put(UNIVERSE[:4], ("high", 90), READERS)

    def new_publisher(self):
        """For which more than two entries are many."""
        publisher = self.desk.publisher(**TERMS)
        publisher._composer._few_changes = 2
        return publisher

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    @property
    def now(self):
        return self.desk.clock()

    # -- the owner -------------------------------------------------------------------

    def step(self, name):
        """The store's fault: note what a snapshot shows that is stored now; crash before or after it if told to."""
        crashes = self.steps[0] if self.steps else None
        if name == "publish" and crashes == "before":
            raise Crash
        if name == "published":
            row = self.desk.store.snapshots[-1]
            whole = row.changed == self.desk.store.rows[self.of.id].changed
            listed = {each: (entry.level, entry.disputed) for each, entry in self.listed().items()}
            self.shown[row.digest] = listed if whole else self.before_a_large_change(row)
            self.steps[:1] = []
            if crashes == "after":
                raise Crash

    def before_a_large_change(self, row):
        """What the snapshot before this one showed, without what is withdrawn by now."""
        former = [one for one in self.desk.store.snapshots[:-1] if one.epoch == row.epoch][-1]
        return {each: seen for each, seen in self.shown[former.digest].items() if not self.is_withdrawn(each)}

    def is_withdrawn(self, identifier):
        """Whether somebody withdrew it; the end of a term is heeded by readers."""
        handle = self.desk.data_key.handle(parse(identifier).oprf_input, self.name)
        entry = self.desk.store.entries[self.of.id].get(handle)
        return entry is not None and entry.reason not in (None, "expired")

    def listed(self):
        """What is to be listed now, and nothing whose term is over."""
        self.wanted = {each: entry for each, entry in self.wanted.items() if entry.until > self.now}
        return self.wanted

    @rule(identifiers=st.sets(IDENTIFIERS, min_size=1, max_size=3), entry=ENTRIES, then=THEN)
    def put(self, identifiers, entry, then):
        level, days = entry
        self.desk.put(self.of, *sorted(identifiers), level=level, days=days)
        until = self.now + timedelta(days=days)
        self.wanted.update((each, Wanted(level, disputed=False, until=until)) for each in identifiers)
        self.follow_up(then)

    @rule(length=st.sampled_from([2**10, 2**24]))
    def count_as_long(self, length):
        """From so many bytes on a list is long, and its deltas are merged among themselves: this one is, or is not."""
        self.patch.setattr(compaction, "SHORT_BASE", length)

    @rule(which=WHICH, reason=st.sampled_from(["appeal_upheld", "corrected"]), then=THEN)
    def withdraw(self, which, reason, then):
        if self.listed():
            identifier = sorted(self.listed())[which % len(self.listed())]
            del self.wanted[identifier]
            self.desk.change(self.of, identifier, "withdrawn", reason)
        self.follow_up(then)

    @rule(which=WHICH, then=THEN)
    def dispute_or_settle(self, which, then):
        if self.listed():
            identifier, entry = sorted(self.listed().items())[which % len(self.listed())]
            self.desk.change(self.of, identifier, "active" if entry.disputed else "disputed")
            self.wanted[identifier] = replace(entry, disputed=not entry.disputed)
        self.follow_up(then)

    @rule(identifier=IDENTIFIERS, then=THEN)
    def restore(self, identifier, then):
        handle = self.desk.data_key.handle(parse(identifier).oprf_input, self.name)
        entry = self.desk.store.entries[self.of.id].get(handle)
        if entry is not None and entry.state == "withdrawn" and entry.valid_until > self.now:
            self.desk.change(self.of, identifier, "active")
            level = Record.from_bytes(entry.record).level
            self.wanted[identifier] = Wanted(level, disputed=False, until=entry.valid_until)
        self.follow_up(then)

    def follow_up(self, then):
        """Mostly a change is published, and some reader looks."""
        if then is not None:
            self.publish()
        for name in then or ():
            self.polled(self.followers[name])

    @rule()
    def publish(self):
        self.run(self.publisher.refresh())
        self.load()

    @rule(which=WHICH, step=st.sampled_from(["delta", "base"]), who=st.sets(WHO).map(sorted))
    def withdraw_while_a_large_change_is_computed(self, which, step, who):
        """All is listed anew; while that is computed, one entry is withdrawn, and readers look."""
        self.put(UNIVERSE, ("low", 90), None)
        self.publisher._composer._most_changes = 100 if step == "delta" else 3
        halted, go_on = asyncio.Event(), asyncio.Event()
        true = getattr(self.publisher._composer, step)

        async def slow(*args):
            result = await true(*args)
            halted.set()
            await go_on.wait()
            return result

        async def withdrawn():
            setattr(self.publisher._composer, step, slow)
            passing = asyncio.ensure_future(self.publisher.refresh())
            try:
                waiting = asyncio.ensure_future(halted.wait())
                await asyncio.wait([passing, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                self.desk.change(self.of, UNIVERSE[which], "withdrawn", "appeal_upheld")
                del self.wanted[UNIVERSE[which]]
                while not passing.done() and self.shows(UNIVERSE[which]):
                    self.publisher.stir()
                    await asyncio.sleep(0.001)
                return not passing.done()
            finally:
                go_on.set()
                setattr(self.publisher._composer, step, true)
                self.passing = passing

        if self.run(withdrawn()):
            self.serve()
            for name in who:
                self.polled(self.followers[name])
        self.run(self.passing)
        self.publish()

    def shows(self, identifier):
        """Whether a newest snapshot that can be gone upon shows an entry."""
        for epoch in self.desk.store.all_epochs:
            rows = [row for row in self.desk.store.snapshots if row.epoch == epoch.digest]
            if rows and epoch.in_service(self.now) and identifier in self.shown[rows[-1].digest]:
                refs = [self.desk.store.all_segments[digest].ref for digest in rows[-1].segments]
                if all(self.desk.files.has(ref) for ref in refs):
                    return True
        return False

    @rule(skipped=st.integers(0, 2), when=st.sampled_from(["before", "after"]))
    def crash_while_publishing(self, skipped, when):
        """The process dies at the (skipped + 1)-th snapshot, just before it is stored or just after."""
        self.steps = [None] * skipped + [when]
        try:
            self.run(self.publisher.refresh())
        except Crash:
            self.publisher = self.new_publisher()
            self.published = self.desk.new_published()
            self.serve()
        self.steps = []

    @rule()
    def serve(self):
        """What a notification of the database brings about, or a start of the owner's peer."""
        with suppress(SegmentError):  # the next pass replaces what is lost
            self.load()

    def load(self):
        try:
            self.run(self.published.load())
        finally:
            self.note_what_is_served()

    def note_what_is_served(self):
        for line in (follower.line for follower in self.followers.values()):
            line.owners["jd"] = self.published
        for each in self.published.current():
            served = self.served[each.epoch.digest]
            if not served or served[-1][1] != each.snapshot.digest:
                served.append((self.now, each.snapshot.digest))

    @rule(killed=st.booleans(), then=THEN)
    def rotate(self, killed, then):
        """`list rotate`, which may be killed once its epoch is stored; then the next one, or the publisher, goes on.

        Epochs whose term ends rotate by themselves.
        """
        rows = [row for row in self.desk.store.all_epochs if row.in_service(self.now)]
        published = {row.epoch for row in self.desk.store.snapshots}
        if sum(row.digest in published for row in rows) > 1:
            return  # more of them at once take much time, and show nothing more

        def begun(_epoch, _resumed):
            if killed:
                raise Crash

        with suppress(Crash):
            self.run(self.desk.rotation(**TERMS).run("default", begun))
        self.follow_up(then)

    @rule()
    def end_the_epoch(self):
        """The key is exposed: the newest epoch ends by emergency."""
        rows = self.desk.store.all_epochs
        if rows[-1].ended_at is None and rows[-1].not_after > self.now:
            rows[-1] = end_epoch(
                NETWORK, rows[-1], self.desk.identity, at=self.now, reason="key_exposed", salt=os.urandom(SALT_BYTES)
            )

    @rule(which=st.integers(0, 20))
    def lose_a_file(self, which):
        newest = [row for row in self.desk.store.snapshots if row.list_id == self.of.id][-1].segments
        self.desk.files.delete(newest[which % len(newest)])

    @rule(span=st.sampled_from(SPANS))
    def time_passes(self, span):
        """The owner's peer looks at its database twice a minute, whether or not it is told of a change."""
        self.desk.clock.wait(seconds=span.total_seconds())
        self.serve()

    # -- the readers -----------------------------------------------------------------

    def start(self, follower):
        rules = Rules(on_demand_by_default=follower.name == "asks")
        folder = Path(self.folder.name) / follower.name
        follower.reader = Reader(
            folder, follower.line, [self.desk], clock=self.desk.clock, state=follower.state, rules=rules
        )
        follower.asked = False
        if follower.unsaved:
            follower.best.clear()
        self.run(follower.reader.mirror.restore(["jd"]))

    @rule(who=WHO, lost=st.booleans())
    def restart(self, who, lost):
        follower = self.followers[who]
        digests = sorted(follower.reader.files.digests())
        if lost and digests:
            follower.reader.files.delete(digests[0])
        self.start(follower)

    @rule(who=WHO, calls=st.none() | st.integers(0, 5))
    def poll(self, who, calls):
        """Do what the subscriber's tasks do, once; the line breaks after so many calls."""
        self.polled(self.followers[who], calls)

    def polled(self, follower, calls=None):
        """What went wrong, if anything; None if the poll succeeded."""
        follower.line.left = calls
        follower.asked = True
        try:
            self.run(self._poll(follower))
        except RiskshareError as error:
            return error
        finally:
            follower.line.left = None
            self.note_what_is_served()  # a question may have let the owner look for what is newer
        follower.unsaved = False
        self.agrees_with_the_owner(follower)
        return None

    async def _poll(self, follower):
        subscriber = follower.reader.subscriber
        await subscriber._read_catalogue("jd")
        for task in subscriber._following_lists.values():
            task.cancel()
        for place in list(subscriber._following_lists):
            await subscriber.poll(place, 0.0)

    @rule(who=WHO, how=st.sampled_from(["before", "after", "away"]), number=st.integers(1, 3))
    def poll_with_a_failing_store(self, who, how, number):
        follower = self.followers[who]
        follower.state.fail(how, number)
        try:
            follower.unsaved |= self.polled(follower) is not None and how == "away"
        except Crash:
            self.no_version_goes_down()
            self.start(follower)
        follower.state.fail(None, 0)

    @rule(who=WHO)
    def cut_off(self, who):
        self.followers[who].line.down.add("jd")

    @rule(who=WHO)
    def reach_again(self, who):
        self.followers[who].line.down.clear()

    @rule()
    def come_together(self):
        """Everybody is reached and nothing fails: all find what the owner wants to be listed."""
        self.publish()
        for follower in self.followers.values():
            follower.line.down.clear()
            if trouble := self.polled(follower):
                raise trouble
            each, following = self.held(follower)
            assert each.status is Status.CURRENT
            expected = {each: (entry.level, entry.disputed) for each, entry in self.listed().items()}
            assert self.found(following) == expected

    # -- what must hold --------------------------------------------------------------

    def held(self, follower):
        """The list's standing, and what a check would look into."""
        mirror = follower.reader.mirror
        lists = mirror.standing("jd", self.now).lists
        if not lists:
            return None, None
        [each] = lists
        return each, each.held and mirror.following(self.name, each.held.snapshot.epoch)

    def token(self, epoch, identifier):
        if (epoch, identifier) not in self.tokens:
            row = next(row for row in self.desk.store.all_epochs if row.digest == epoch)
            key = self.desk.data_key.open_epoch(row.secret_sealed, row.digest)
            self.tokens[epoch, identifier] = oprf.token(key, parse(identifier, allow_canary=True).oprf_input)
        return self.tokens[epoch, identifier]

    def found(self, following):
        """What look-ups of all identifiers give: level, and whether it is disputed."""
        seen = {}
        for identifier in UNIVERSE:
            token = self.token(following.snapshot.epoch, identifier)
            name = label(token, self.name)
            sealed = following.view.find(name)
            if isinstance(sealed, NeedBucket):
                path = self.desk.files.path(sealed.file_digest)
                if not path.exists():
                    continue  # lost at the owner: the check is incomplete
                sealed = sealed.read(path.read_bytes()[sealed.offset : sealed.offset + sealed.length], name)
            if sealed is not None:
                record = open_record(sealed, record_key(token, self.name), self.name, name)
                seen[identifier] = (record.level, record.disputed)
        return seen

    def agrees_with_the_owner(self, follower):
        """After a poll that succeeded: the newest version serves."""
        each, following = self.held(follower)
        if each is not None and each.status is Status.CURRENT:
            newest = self.published.snapshot(self.name, following.snapshot.epoch, "icbc")
            assert newest is not None
            assert newest[0] == following.digest

    @invariant()
    def readers_find_what_their_snapshot_shows(self):
        for follower in self.followers.values():
            _, following = self.held(follower)
            if following is None:
                continue
            shown = self.shown[following.digest]
            found = self.found(following)
            lost = [ref for ref in following.snapshot.segments if not self.desk.files.has(ref)]
            if follower.name == "asks" and lost:
                assert found.items() <= shown.items()
            else:
                assert found == shown
            named = [*shown, *following.snapshot.canaries]
            labels = sorted(label(self.token(following.snapshot.epoch, one), self.name) for one in named)
            assert following.snapshot.count == len(labels)
            assert following.snapshot.labels == hashlib.sha256(b"".join(labels)).digest()

    @invariant()
    def a_clear_is_never_given_from_what_is_old(self):
        for follower in self.followers.values():
            each, following = self.held(follower)
            catalogue = follower.reader.mirror.standing("jd", self.now).status
            if each is None or Status.CURRENT not in {each.status} & {catalogue}:
                continue
            assert follower.asked
            epoch = following.snapshot.epoch
            after = [since for since, _ in self.served[epoch]]
            digests = [digest for _, digest in self.served[epoch]]
            at = digests.index(following.digest)
            assert at + 1 == len(after) or self.now - after[at + 1] <= BOUND
            assert self.published.served(epoch, "icbc", self.now) or self.recently_ended(epoch)

    def recently_ended(self, epoch):
        """An end by emergency is known with the next look at the catalogue, or the list goes stale."""
        row = next(row for row in self.desk.store.all_epochs if row.digest == epoch)
        return row.ended_at is not None and self.now - row.ended_at <= BOUND

    @invariant()
    def no_version_goes_down(self):
        for follower in self.followers.values():
            _, following = self.held(follower)
            if following is not None:
                epoch, version = following.snapshot.epoch, following.snapshot.version
                assert version >= follower.best.get(epoch, 0)
                follower.best[epoch] = version

    def teardown(self):
        if hasattr(self, "loop"):
            try:
                self.come_together()
            finally:
                self.patch.undo()
                self.loop.close()
                self.folder.cleanup()


ListMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestList = ListMachine.TestCase
