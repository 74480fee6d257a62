"""Rotating the data key, on a real PostgreSQL: killed anywhere, gone on with, and nobody in between."""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from riskshare.config import Config
from riskshare.errors import ConfigError, InputError, OpenError, StoreError
from riskshare.key_files import NEXT, data_keys, next_data_key, replace_data_key
from riskshare.key_source import source_of
from riskshare.keys import create_member_keys, read_key, write_key
from riskshare.membership.identifier import parse
from riskshare.membership.oprf import SecretKey
from riskshare.membership.record import Record
from riskshare.peer.rekeying import lead, rotate_data_key
from riskshare.sharing.entry import DataKey, reseal
from riskshare.sharing.importing import Order, Watcher
from riskshare.sharing.kept import Change, EntryRow, EpochRow
from riskshare.sharing.never import NeverRule
from riskshare.sharing.never_kept import handle_of, open_rule, seal_rule
from riskshare.sharing.rows import Defaults
from riskshare.store.data_keys import DataKeys
from riskshare.store.leader import Leadership
from riskshare.store.store import Store
from tests.simulator.importing import importer_over
from tests.simulator.intake import bring

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
CHANGE = Change("li", "import", "")
PHONES = [f"phone:+8613800{number:06}" for number in range(60)]
EXACT = NeverRule("phone", "exact", "+8613900000000", "hotline", 0)
PREFIX = NeverRule("phone", "prefix", "+861390", "ours", 0)
QUIET = lambda *_: None  # noqa: E731 - nobody watches


class House:
    """A member `jd` with two lists, their history, a never-list and an epoch, all sealed under its data key."""

    def __init__(self, folder, dsn, store):
        self.folder, self.dsn, self.store = folder, dsn, store
        self.keys = folder / "keys"
        create_member_keys(self.keys, "jd", "127.0.0.1", now=datetime.now(UTC))
        self.config = Config.from_values({"member": {"name": "jd"}}, folder)
        self.secret = SecretKey.from_random(os.urandom(64))

    @property
    def key(self):
        return DataKey(read_key(self.keys / "data.key", "data"))

    async def fill(self):
        self.lists = [await self.store.lists.create_list(name, "telecom_fraud", "default") for name in ("one", "two")]
        for of in self.lists:
            await self.bring(of, PHONES)
            await self.change(of, PHONES[:20], "disputed", "appeal")
            await self.change(of, PHONES[:10], "withdrawn", "corrected")
        rules = [seal_rule(self.key, rule, "li", row=uuid4(), nonce=os.urandom(12)) for rule in (EXACT, PREFIX)]
        await self.store.never.add(rules)
        digest = os.urandom(32)
        sealed = self.key.seal_epoch(self.secret, os.urandom(12), digest)
        row = EpochRow(digest, "default", 1, b"{}", bytes(64), bytes(16), sealed, NOW, NOW + timedelta(days=30))
        assert await self.store.publications.add_epoch(row)
        return self

    def row(self, of, text, case):
        key, name, place = self.key, f"jd/{of.name}", uuid4()
        value = parse(text).oprf_input
        record = Record("telecom_fraud", "reported", "high", "", NOW, NOW + timedelta(days=90), case=case).to_bytes()
        sealed = key.seal_identifier(value, os.urandom(12), row=place, list_name=name, state="active")
        until = NOW + timedelta(days=90)
        handle = key.case_handle(case, name) if case else None
        return EntryRow(place, key.handle(value, name), sealed, record, b"same", NOW, until, handle)

    async def bring(self, of, phones, store=None):
        rows = [self.row(of, text, f"C-{n}" if n % 3 else "") for n, text in enumerate(phones)]
        return await bring(store or self.store, of.id, rows, CHANGE, never_upto=2)

    async def read_in(self, of, text, watcher=None, **order):
        importer = importer_over(self.store.imports, self.key, lambda: NOW)
        defaults = Defaults("telecom_fraud", days=90)
        return await importer.run(of, io.BytesIO(text), defaults, Order("ops", **order), watcher=watcher)

    async def change(self, of, phones, state, reason):
        handles = [self.key.handle(parse(text).oprf_input, f"jd/{of.name}") for text in phones]

        def again(of, entry, state):
            return reseal(self.key, f"jd/{of.name}", entry, state, os.urandom(12))

        change = Change("li", "withdraw" if state == "withdrawn" else "dispute", reason)
        return await self.store.lists.change_state(of.id, handles, state, change, again)

    async def rotate(self):
        return await rotate_data_key(self.config, source_of(self.config), self.store, QUIET)

    async def check(self):
        """All of it is under the key in force and no other, found by it, and nothing is there twice."""
        key, fetch = self.key, self.store.pool.fetch
        others = [DataKey(secret) for secret in data_keys(self.keys) if secret != key.export()]
        seen = 0
        for of in self.lists:
            name = f"jd/{of.name}"
            handles = {key.handle(parse(text).oprf_input, name): text for text in PHONES}
            entries = await fetch("select * from entries where list_id = $1", of.id)
            versions = await fetch("select * from entry_versions where list_id = $1", of.id)
            assert {row["handle"] for row in entries} == handles.keys()
            assert (len(entries), len(versions)) == (len(PHONES), 30)
            assert len(await self.store.lists.entries_of(list(handles))) == len(PHONES)
            for row in [*entries, *versions]:
                place = {"row": row["id"], "list_name": name, "state": row["state"]}
                value = key.open_identifier(row["sealed"], **place)
                assert value == parse(handles[row["handle"]]).oprf_input
                for other in others:
                    with pytest.raises(OpenError):
                        other.open_identifier(row["sealed"], **place)
                seen += 1
            for row in entries:
                case = Record.from_bytes(row["record"]).case
                assert row["case_handle"] == (key.case_handle(case, name) if case else None)
        rules = await self.store.never.rules()
        assert [open_rule(key, row).pattern for row in rules] == [EXACT.pattern, PREFIX.pattern]
        assert rules[0].handle == handle_of(key, EXACT)
        [(digest, sealed)] = await self.store.data_keys.epochs()
        assert key.open_epoch(sealed, digest).public == self.secret.public
        state = await self.store.data_keys.state()
        assert (state.fingerprint, state.next) == (key.fingerprint, None)
        assert seen == 2 * (60 + 30)
        return state


@pytest.fixture
async def house(tmp_path, dsn, store):
    return await House(tmp_path, dsn, store).fill()


async def test_everything_is_under_the_new_key_and_nothing_under_the_former(house):
    former = house.key
    done = await house.rotate()
    assert done.rows == 2 * (60 + 30) + 1 + 1
    assert done.number == 2
    assert done.former == house.keys / "data-former-1.key"
    assert read_key(done.former, "data") == former.export()
    assert house.key.export() != former.export()
    assert not (house.keys / NEXT).exists()
    assert (await house.check()).number == 2
    again = await house.rotate()
    assert again.former == house.keys / "data-former-2.key"
    await house.check()


async def test_what_is_imported_afterwards_meets_what_was_there(house):
    await house.rotate()
    counts = await house.bring(house.lists[0], [*PHONES[:30], "phone:+8613811111111"])
    assert (counts.new, counts.same, counts.disputed, counts.relisted) == (1, 10, 10, 10)


async def test_kept_replies_are_forgotten(house):
    assert await house.store.idempotency.begin("key", bytes(32), bytes(32)) is None
    await house.rotate()
    assert await house.store.idempotency.begin("key", bytes(32), bytes(32)) is None


# --- crashes

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from riskshare.config import Config
from riskshare.key_source import source_of
from riskshare.peer import rekeying
from riskshare.sharing import rekey
from riskshare.store.data_keys import DataKeys
from riskshare.store.store import Store

left = int(sys.argv[3])
rekey.PAGE = 16

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def dying(true):
    async def run(*arguments):
        step()
        found = await true(*arguments)
        step()
        return found
    return run

def dying_here(true):
    def run(*arguments):
        step()
        found = true(*arguments)
        step()
        return found
    return run

for name in ("begin", "write", "write_epoch", "finish"):
    setattr(DataKeys, name, dying(getattr(DataKeys, name)))
for name in ("next_data_key", "replace_data_key"):
    setattr(rekeying, name, dying_here(getattr(rekeying, name)))

async def main():
    store = await Store.open(sys.argv[1])
    config = Config.from_values({"member": {"name": "jd"}}, Path(sys.argv[2]))
    await rekeying.rotate_data_key(config, source_of(config), store, lambda *_: None)
    await store.close()

asyncio.run(main())
"""


async def run_until(house, step):
    """Rotate in a process that kills itself at a step; give whether it did."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(CHILD), house.dsn, str(house.folder), str(step)
    )
    code = await child.wait()
    assert code in (0, -signal.SIGKILL)
    return code != 0


async def test_killed_at_any_step_it_goes_on_where_it_was(house):
    steps = [1, 2, 3, 4, 5, 33, 34, 35, 36, *random.Random(7).sample(range(6, 33), 5)]
    killed = 0
    for step in steps:
        if not await run_until(house, step):
            continue
        killed += 1
        if (await house.store.data_keys.state()).next is not None:
            with pytest.raises(ConfigError) as refused:
                await house.store.data_keys.admit(house.key.fingerprint)
            assert refused.value.code == "key_rotating"
        await house.rotate()
        await house.check()
    assert killed >= len(steps) - 2


async def test_killed_at_random_moments_and_again_while_it_goes_on(house):
    chance = random.Random(11)
    for _ in range(3):
        for _ in range(2):
            await run_until(house, chance.randrange(1, 30))
        await house.rotate()
        await house.check()


# --- nobody in between


async def test_a_running_peer_is_not_disturbed(house, dsn, monkeypatch):
    monkeypatch.setattr("riskshare.peer.rekeying.LEAD_SECONDS", 0.5)
    leading = Leadership(house.store)
    await leading.acquire()
    try:
        with pytest.raises(InputError) as refused:
            await house.rotate()
    finally:
        await leading.release()
    assert refused.value.code == "peer_running"
    assert not (house.keys / NEXT).exists()
    assert await house.store.data_keys.state() is None


async def test_a_peer_that_starts_meanwhile_does_not_lead(house, dsn, monkeypatch):
    """It waits for the lock as long as the rotation lasts."""
    tried = []

    true = DataKeys.write

    async def write(self, table, rows):
        other = Leadership(house.store)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.acquire(), 0.1)
        await other.release()
        tried.append(table)
        await true(self, table, rows)

    monkeypatch.setattr(DataKeys, "write", write)
    await house.rotate()
    assert tried


@pytest.fixture
async def stale(house):
    """A program that was started before the rotation, and still has the former key."""
    await house.store.data_keys.first(house.key.fingerprint)
    opened = await Store.open(house.dsn, pool_size=1, data_key=house.key.fingerprint)
    yield opened
    await opened.close()


async def test_who_still_has_the_former_key_writes_nothing(house, stale):
    row = house.row(house.lists[0], "phone:+8613811111111", "")
    rule = seal_rule(house.key, PREFIX, "li", row=uuid4(), nonce=os.urandom(12))
    await house.rotate()
    with pytest.raises(StoreError) as refused:
        await bring(stale, house.lists[0].id, [row], CHANGE, never_upto=2)
    assert refused.value.code == "other_data_key"
    with pytest.raises(StoreError) as refused:
        await stale.never.add([rule])
    assert refused.value.code == "other_data_key"
    await house.check()


async def test_while_it_is_rotated_nobody_writes(house, stale):
    following = os.urandom(32)
    await house.store.data_keys.begin(house.key.fingerprint, following)
    with pytest.raises(StoreError) as refused:
        await house.bring(house.lists[0], ["phone:+8613811111111"], stale)
    assert refused.value.code == "key_rotating"
    with pytest.raises(StoreError) as refused:
        await house.store.data_keys.begin(house.key.fingerprint, os.urandom(32))
    assert refused.value.code == "data_key_in_use"


async def test_it_does_not_begin_while_somebody_writes(house, stale):
    async with stale.pool.acquire() as connection, connection.transaction():
        await connection.execute("update epochs set secret_sealed = secret_sealed")
        with pytest.raises(StoreError) as refused:
            await house.rotate()
    assert refused.value.code == "data_key_in_use"
    await house.rotate()
    await house.check()


async def test_rows_of_an_import_that_is_not_over_are_not_left_behind(house):
    await house.store.pool.execute("create table import_rows_7 (line bigint)")
    try:
        with pytest.raises(InputError) as refused:
            await house.rotate()
    finally:
        await house.store.pool.execute("drop table import_rows_7")
    assert refused.value.code == "import_open"
    assert await house.store.data_keys.state() is None


async def test_what_was_kept_of_a_dry_run_is_dropped(house):
    assert not (await house.read_in(house.lists[0], b"phone:+8613811111111", dry_run=True)).committed
    await house.rotate()
    await house.check()
    assert await house.store.data_keys.staged() == 0


async def test_an_import_that_can_go_on_is_named(house):
    class Cut(Watcher):
        def writing(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await house.read_in(house.lists[0], b"phone:+8613811111111", Cut())
    with pytest.raises(InputError) as refused:
        await house.rotate()
    [left] = await house.store.imports.imports_of(house.lists[0].id, 1)
    assert refused.value.code == "import_open"
    assert f": riskshare list imports {house.lists[0].name} --cancel {left.id}." in refused.value.message
    await house.store.imports.cancel(left.id)
    await house.rotate()


# --- keys


async def test_a_row_that_does_not_open_is_found_before_anything_begins(house):
    await house.store.pool.execute(
        "update entries set sealed = '\\x00' where id = (select min(id::text)::uuid from entries)"
    )
    with pytest.raises(OpenError):
        await house.rotate()
    assert (await house.store.data_keys.state()).next is None


async def test_another_key_than_that_of_the_database_is_refused(house):
    await house.store.data_keys.first(os.urandom(32))
    for refuse in (house.rotate(), house.store.data_keys.admit(house.key.fingerprint)):
        with pytest.raises(ConfigError) as refused:
            await refuse
        assert refused.value.code == "other_data_key"


async def test_what_was_broken_off_needs_both_keys(house):
    await run_until(house, 8)
    (house.keys / NEXT).unlink()
    with pytest.raises(ConfigError) as refused:
        await house.rotate()
    assert refused.value.code == "other_data_key"


async def test_keys_that_are_not_files_are_given_by_their_source(house):
    """The operator has both there until it is done."""
    words = [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read(), end='')", f"{house.keys}/{{kind}}.key"]
    values = {"member": {"name": "jd"}, "keys": {"data": "command", "command": words}}
    config = Config.from_values(values, house.folder)
    with pytest.raises(ConfigError) as refused:
        await rotate_data_key(config, source_of(config), house.store, QUIET)
    assert refused.value.code == "key_command"
    write_key(house.keys / NEXT, "data", house.key.export())
    with pytest.raises(InputError) as same:
        await rotate_data_key(config, source_of(config), house.store, QUIET)
    assert same.value.code == "same_key"
    (house.keys / NEXT).unlink()
    former, following = house.key, next_data_key(house.keys)
    done = await rotate_data_key(config, source_of(config), house.store, QUIET)
    assert (done.former, done.number) == (None, 2)
    assert house.key.export() == former.export()
    with pytest.raises(ConfigError) as refused:
        await rotate_data_key(config, source_of(config), house.store, QUIET)
    assert refused.value.code == "other_data_key"
    replace_data_key(house.keys, 1)
    assert house.key.export() == following
    await house.check()


def test_no_key_is_overwritten(tmp_path):
    create_member_keys(tmp_path / "keys", "jd", "127.0.0.1", now=datetime.now(UTC))
    write_key(tmp_path / "keys" / "data-former-1.key", "data", os.urandom(32))
    before = read_key(tmp_path / "keys" / "data.key", "data")
    next_data_key(tmp_path / "keys")
    with pytest.raises(ConfigError, match=r"data-former-1\.key exists already"):
        replace_data_key(tmp_path / "keys", 1)
    assert read_key(tmp_path / "keys" / "data.key", "data") == before


async def test_a_peer_that_was_cut_off_does_not_lead_under_the_former_key(house):
    former = house.key
    leadership = Leadership(house.store)
    await lead(leadership, house.store, former)
    await leadership.release()
    await house.rotate()
    with pytest.raises(ConfigError) as refused:
        await lead(leadership, house.store, former)
    assert refused.value.code == "other_data_key"
    assert not leadership.held
    await lead(leadership, house.store, house.key)
    await leadership.release()
