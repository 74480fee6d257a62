"""Five members, each with a log and as a witness of the others', driven at random through crashes and partitions.

Whatever happens: no final entry is ever lost or changed, no two final checkpoints of one log disagree, and once the
members reach each other again every entry that was kept becomes final. A database that is brought back from an older
backup may lose what its operator lost with it, but never contradicts what was final.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from riskshare.errors import LedgerError, PeerDown, PeerLate
from riskshare.ledger.addition import Known, decide, parse_addition
from riskshare.ledger.checkpoint import log_key, origin_of, parse_checkpoint, witness_key, witness_name
from riskshare.ledger.finalize import Finalizer, Quorum
from riskshare.ledger.merkle import root
from riskshare.ledger.note import cosign, parse_note, signature_lines, verify
from riskshare.ledger.sequence import Sequencer
from tests.simulator.ledger import NETWORK, Clock, Crash, MemoryLog, Seen, entry, key_of

NAMES = ("a", "b", "c", "d", "e")
HALTS = {"ledger_behind", "ledger_forked"}


class Member:
    """What of a member outlives its process: its log, and what it has seen as a witness."""

    def __init__(self, name, network):
        self.name = name
        self.network = network
        self.key = key_of(name, "log")
        self.cosigning = key_of(name, "witness")
        self.log = MemoryLog()
        self.known = defaultdict(Known)
        self.kept = []
        self.newest = None  # the state that an older backup took the place of
        self.restored = False
        self.start()

    def start(self):
        self.begun = False
        self.sequencer = Sequencer(
            origin=origin_of(NETWORK, self.name), key=self.key, log=self.log, now=self.network.clock, most=16
        )
        self.finalizer = Finalizer(
            log=self.log, witnesses=self, quorum=self.quorum, watch=Seen(), now=self.network.clock
        )

    def quorum(self):
        others = [member for member in self.network.members.values() if member is not self]
        keys = {other.name: (witness_key(NETWORK, other.name, other.cosigning.public),) for other in others}
        return Quorum(keys, 1 + 2 * len(others) // 3, len(others))

    async def submit(self, member, body):
        way = {self.name, member}
        await asyncio.sleep(0)
        offered = parse_addition(body).checkpoint
        self.network.offered[self.name].append((offered.size, offered.root, self.log.entries(offered.size)))
        if way in self.network.cut:
            raise PeerDown(member, "no connection")
        answer = self.network.members[member].witness(self.name, body)
        if way in self.network.lossy:
            raise PeerLate(member, "the answer was lost")
        return answer

    def witness(self, author, body):
        addition = parse_addition(body)
        public = self.network.members[author].key.public
        verdict = decide(addition, [log_key(NETWORK, author, public)], self.known[author])
        if verdict.status != 200:
            return verdict.status, verdict.body
        self.known[author] = verdict.known
        time = max(0, int(self.network.clock().timestamp()))
        made = cosign(addition.signed.note.text, witness_name(NETWORK, self.name), self.cosigning, time)
        return 200, signature_lines([made]).encode()

    async def work(self):
        """What the chores of a process do: begin, sequence, finalize; a crash in it ends the process."""
        try:
            if not self.begun:
                await self.sequencer.open()
                self.begun = await self.finalizer.begin()
            if self.begun:
                await self.sequencer.step()
                await self.finalizer.round()
        except Crash:
            await self.restart()
        except LedgerError as error:
            if error.code not in HALTS or not self.restored:
                raise

    async def restart(self):
        await self.finalizer.close()
        self.start()


class Network:
    def __init__(self):
        self.clock = Clock()
        self.cut = set()
        self.lossy = set()
        self.members = {}
        self.offered = defaultdict(list)
        for name in NAMES:
            self.members[name] = Member(name, self)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.network = Network()
        self.numbers = 0
        self.final = defaultdict(dict)  # by member: every final checkpoint ever seen, size to root
        self.entries = defaultdict(list)  # by member: the final entries ever seen

    def run(self, work):
        self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def member(self, name):
        return self.network.members[name]

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 40))
    def keep(self, name, count):
        made = [entry(self.numbers + number) for number in range(count)]
        self.numbers += count
        self.member(name).log.keep(*made)
        self.member(name).kept += made

    @rule(name=st.sampled_from(NAMES))
    def work(self, name):
        self.run(self.member(name).work())

    @rule()
    def all_work(self):
        async def together():
            await asyncio.gather(*(member.work() for member in self.network.members.values()))

        self.run(together())

    @rule(name=st.sampled_from(NAMES), when=st.sampled_from(["before", "after"]))
    def crash(self, name, when):
        member = self.member(name)
        member.log.fail = when
        self.run(member.work())
        member.log.fail = ""

    @rule(name=st.sampled_from(NAMES))
    def restart(self, name):
        self.run(self.member(name).restart())

    @rule(pair=st.sets(st.sampled_from(NAMES), min_size=2, max_size=2), lossy=st.booleans())
    def cut(self, pair, lossy):
        (self.network.lossy if lossy else self.network.cut).add(frozenset(pair))

    @rule(apart=st.sets(st.sampled_from(NAMES), min_size=1, max_size=4))
    def partition(self, apart):
        self.network.cut |= {frozenset((one, other)) for one in apart for other in NAMES if other not in apart}

    @rule()
    def heal(self):
        self.network.cut.clear()
        self.network.lossy.clear()

    @rule(seconds=st.sampled_from([1, 3600, 86_400 * 700, -86_400 * 900]))
    def jump(self, seconds):
        self.network.clock.step(seconds)

    @rule(name=st.sampled_from(NAMES))
    def back_up(self, name):
        member = self.member(name)
        if not member.restored:
            member.newest = member.log.backup()

    @precondition(lambda self: any(member.newest for member in self.network.members.values()))
    @rule(data=st.data())
    def bring_back_the_older(self, data):
        able = [member.name for member in self.network.members.values() if member.newest and not member.restored]
        if able:
            member = self.member(data.draw(st.sampled_from(able)))
            older, member.newest = member.newest, member.log.backup()
            member.restored = True
            member.log.restore(older)
            self.run(member.restart())

    @invariant()
    def nothing_final_is_lost_or_contradicted(self):
        for name, member in self.network.members.items():
            finals = member.log.finals()
            if not member.restored:
                assert max([head.size for head in finals], default=0) >= max(self.final[name], default=0)
            for head in finals:
                note = parse_note(head.note)
                checkpoint = parse_checkpoint(note.text)
                assert (checkpoint.size, checkpoint.root) == (head.size, head.root)
                verify(note, [log_key(NETWORK, name, member.key.public)])
                assert len(member.quorum().cosigners(note)) >= member.quorum().needed
                assert self.final[name].setdefault(head.size, head.root) == head.root
                entries = member.log.entries(head.size)
                assert root(entries) == head.root
                common = min(len(entries), len(self.entries[name]))
                assert entries[:common] == self.entries[name][:common]
                if len(entries) > common:
                    self.entries[name] = entries

    @invariant()
    def nothing_is_offered_that_contradicts_what_is_final(self):
        for name, offers in self.network.offered.items():
            final = self.entries[name]
            for size, made, entries in offers:
                assert made == root(entries)
                common = min(size, len(final))
                assert entries[:common] == final[:common]
            offers[:-20] = []

    def teardown(self):
        self.heal()
        try:
            for _ in range(4):
                self.all_work()
            self.nothing_final_is_lost_or_contradicted()
            for member in self.network.members.values():
                if not member.restored:
                    assert not member.log.state.pending
                    assert member.log.state.head.final_at is not None
                    assert member.log.entries(member.log.state.head.size) == member.kept
                    member.log.verify()
        finally:
            for member in self.network.members.values():
                self.run(member.finalizer.close())
            self.loop.close()


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
