"""A member's log and witness over real TLS: what is open to anybody, what is not, and how much of it one may have."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import structlog

from riskshare.audit.access import AUDITS, OPENED, PROOFS, RANGE, STATEMENTS
from riskshare.audit.proposal import SETTLEMENT_RECEIPTS, SETTLEMENTS
from riskshare.errors import PeerRefused, StoreError
from riskshare.ledger.addition import MAX_BYTES, SIZE_TYPE, TEXT_TYPE, AddCheckpoint, Cosigned, Knows, read_answer
from riskshare.ledger.bundle import encode_entries
from riskshare.ledger.entry_page import ENTRIES, ENTRY
from riskshare.ledger.paths import ADD_CHECKPOINT, CHECKPOINT, LATEST, PREFIX, path_of
from riskshare.ledger.policy import witness_keys
from riskshare.ledger.tile import Bundle, Tile
from riskshare.query.message import EVALUATE, LISTS, RECEIPTS, REGISTRY
from riskshare.query.quota import Rate
from riskshare.server import bodies
from riskshare.server import ledger as ledger_module
from riskshare.server.visitors import AT_ONCE, Rates, visitor
from riskshare.sharing.held_page import HELD, HELD_STATEMENT
from riskshare.tls import peer_client_context
from tests.simulator.listening import Pair, now, peer_pair, serve_owner
from tests.simulator.network import make_member
from tests.simulator.tree import DefinedTree, entry
from tests.simulator.witnessing import Log, Note

OCTETS = "application/octet-stream"
IMMUTABLE = "public, max-age=31536000, immutable"
SIZE = 256 + 70
TREE = DefinedTree(SIZE)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found: str = json.loads(self.body)["code"]
        return found


class Stranger:
    """Somebody who knows the owner's certificate and has none of his own."""

    def __init__(self, pair: Pair, session: aiohttp.ClientSession) -> None:
        self._pair = pair
        self._session = session
        self.context: ssl.SSLContext = anonymous(pair)

    async def get(self, path: str, method: str = "GET", **more) -> Answer:
        url = self._pair.view.current().members["jd"].url + path
        async with self._session.request(method, aiohttp.client.URL(url, encoded=True), ssl=self.context, **more) as it:
            return Answer(it.status, dict(it.headers), await it.read())

    async def post(self, body, path: str = ADD_CHECKPOINT, **more) -> Answer:
        return await self.get(path, "POST", data=body, **more)


def anonymous(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pair.owner.certificate.der)
    return context


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """jd's log has 326 entries, of which 300 are final."""
    async with peer_pair(tmp_path, serve=False) as made:
        log = Log(made.network, "jd", TREE)
        made.log.newest_final = Note(log.offer(0, 300).signed.note.to_bytes())
        made.log.newest = Note(log.offer(0, SIZE).signed.note.to_bytes())
        made.log.widest_tiles = {
            (0, 0): b"".join(TREE.leaves[:256]),
            (0, 1): b"".join(TREE.leaves[256:]),
            (1, 0): TREE.hash(0, 256),
        }
        entries = [entry(index) for index in range(SIZE)]
        made.log.widest_bundles = {0: encode_entries(entries[:256]), 1: encode_entries(entries[256:])}
        made.listening = await serve_owner(made)
        made.move_to(made.listening.port)
        yield made


@pytest.fixture
async def stranger(pair: Pair) -> AsyncIterator[Stranger]:
    async with aiohttp.ClientSession() as session:
        yield Stranger(pair, session)


# -- who may what ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHECKPOINT, LATEST, path_of(Tile(0, 0)), path_of(Bundle(1, 70))])
async def test_reading_a_log_needs_no_certificate(stranger, path):
    assert (await stranger.get(path)).status == 200
    assert (await stranger.get(path, "HEAD")).status == 200


@pytest.mark.parametrize("path", [CHECKPOINT, LATEST, path_of(Tile(0, 0)), path_of(Bundle(1, 70))])
async def test_a_log_for_members_is_shown_to_nobody_else(pair, stranger, path):
    await pair.listening.close()
    pair.listening = await serve_owner(pair, open_log=False)
    pair.move_to(pair.listening.port)
    answer = await stranger.get(path)
    assert (answer.status, answer.code) == (401, "no_certificate")
    stranger.context = peer_client_context(
        *pair.network.members["icbc"].write_tls(pair.directory), [pair.owner.certificate.der]
    )
    assert (await stranger.get(path)).status == 200


async def test_the_witness_of_a_log_for_members_is_open_all_the_same(pair, stranger):
    await pair.listening.close()
    pair.listening = await serve_owner(pair, open_log=False)
    pair.move_to(pair.listening.port)
    assert (await stranger.post(b"no request")).status == 400


MEMBERS_ONLY = {
    ("POST", EVALUATE),
    ("GET", LISTS),
    ("GET", RECEIPTS),
    ("GET", REGISTRY.format(version="latest")),
    ("GET", f"/peer/v1/epochs/{'0' * 64}"),
    ("GET", f"/peer/v1/segments/{'0' * 64}"),
    ("GET", f"/peer/v1/snapshots/high-risk/{'0' * 64}"),
    ("GET", f"/peer/v1/snapshots/high-risk/{'0' * 64}/1"),
    ("GET", f"/peer/v1/snapshots/high-risk/named/{'0' * 64}"),
    ("GET", ENTRIES),
    ("GET", ENTRY.format(source="0" * 64)),
    ("GET", HELD),
    ("GET", HELD_STATEMENT.format(digest="0" * 64)),
    ("POST", AUDITS),
    ("GET", RANGE.format(digest="0" * 64)),
    ("GET", STATEMENTS.format(digest="0" * 64)),
    ("GET", OPENED.format(digest="0" * 64)),
    ("GET", PROOFS.format(digest="0" * 64)),
    ("POST", SETTLEMENTS),
    ("GET", SETTLEMENT_RECEIPTS),
}


@pytest.mark.parametrize(("method", "path"), sorted(MEMBERS_ONLY))
async def test_all_else_needs_one(pair, stranger, method, path):
    answer = await stranger.get(path, method, headers={"Content-Type": "application/cbor"})
    assert (answer.status, answer.code) == (401, "no_certificate")
    assert pair.answering.asked == []


async def test_every_route_of_the_listener_is_one_or_the_other(pair):
    """A route that comes later must be put where it belongs."""
    [site] = pair.listening.runner.sites
    routes = {(route.method, route.resource.canonical) for route in pair.listening.runner.app.router.routes()}
    paths = {path for _, path in routes}
    assert site is not None
    assert {path for path in paths if not path.startswith("/peer/v1/")} == {
        CHECKPOINT,
        LATEST,
        "/ledger/tile/{place}",
        ADD_CHECKPOINT,
    }
    assert len([path for path in paths if path.startswith("/peer/v1/")]) == len(MEMBERS_ONLY)


async def test_a_foreign_certificate_opens_no_connection_here_either(pair, stranger):
    other = make_member("mallory", "https://127.0.0.1:1", pair.network.issued_at)
    stranger.context = peer_client_context(*other.write_tls(pair.directory), [pair.owner.certificate.der])
    with pytest.raises(aiohttp.ClientError):
        await stranger.get(LATEST)


async def test_a_member_that_is_suspended_meanwhile_is_a_stranger(pair):
    assert await pair.client.catalogue("jd")
    async with pair.ledger_client() as client:
        assert await client.latest("jd") == pair.log.newest.note
        pair.network.change("icbc", standing="suspended")
        pair.owner_view.update()
        assert await client.latest("jd") == pair.log.newest.note
    with pytest.raises(PeerRefused) as caught:
        await pair.client.catalogue("jd")
    assert (caught.value.status, caught.value.remote_code) == (403, "wrong_member")


# -- checkpoints, tiles, bundles -------------------------------------------------------------------


async def test_checkpoints_are_text_and_not_to_be_cached(pair, stranger):
    for path, note in ((CHECKPOINT, pair.log.newest_final), (LATEST, pair.log.newest)):
        answer = await stranger.get(path)
        assert answer.body == note.note
        assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (TEXT_TYPE, "no-cache")


async def test_before_the_first_there_is_none(pair, stranger):
    pair.log.newest = pair.log.newest_final = None
    for path in (CHECKPOINT, LATEST):
        answer = await stranger.get(path)
        assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("place", [Tile(0, 0), Bundle(0)])
async def test_what_is_full_may_be_kept_for_ever(pair, stranger, place):
    answer = await stranger.get(path_of(place))
    assert len(answer.body) == place.length
    assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (OCTETS, IMMUTABLE)


async def test_partial_ones_of_every_width_up_to_the_widest(pair):
    async with pair.ledger_client() as client:
        for width in range(1, 71):
            assert await client.tile("jd", Tile(0, 1, width)) == b"".join(TREE.leaves[256 : 256 + width])
            bundle = await client.tile("jd", Bundle(1, width))
            assert bundle == encode_entries([entry(256 + index) for index in range(width)])
        assert await client.tile("jd", Tile(1, 0, 1)) == TREE.hash(0, 256)
        assert await client.tile("jd", Tile(0, 0, 17)) == b"".join(TREE.leaves[:17])


async def test_what_is_partial_is_not_for_ever(stranger):
    answer = await stranger.get(path_of(Tile(0, 1, 70)))
    assert answer.headers["Cache-Control"] == "no-cache"


BEYOND = [
    Tile(0, 1, 71),
    Tile(0, 1),
    Tile(0, 2, 1),
    Tile(1, 0, 2),
    Tile(1, 0),
    Tile(2, 0, 1),
    Tile(63, 0, 1),
    Tile(0, 2**63 - 1, 1),
    Bundle(1, 71),
    Bundle(1),
    Bundle(2, 1),
    Bundle(2**63 - 1, 1),
]


@pytest.mark.parametrize("place", BEYOND, ids=lambda place: place.path)
async def test_beyond_the_log_there_is_nothing(stranger, place):
    answer = await stranger.get(path_of(place))
    assert (answer.status, answer.code) == (404, "not_found")


MISSPELT = [
    "tile/0/0",
    "tile/0/0000",
    "tile/00/000",
    "tile/0/x000/000",
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/000.p/01",
    "tile/0/000.p/",
    "tile/0/000/",
    "tile/0//000",
    "tile/0/%30%30%30",
    "tile/0/000?width=3",
    "tile/0/000%2ep/3",
    "tile/64/000",
    "tile/-1/000",
    "tile/entries/00",
    "tile/data/000",
    "tile/entries/000.p/999",
    "tile/8/x999/x999/x999/x999/x999/x999/x999/999",
    "tile/../checkpoint/",
]


@pytest.mark.parametrize("path", MISSPELT)
async def test_a_path_that_is_spelt_otherwise_is_refused(stranger, path):
    answer = await stranger.get(PREFIX + path)
    assert (answer.status, answer.code) == (400, "malformed")


@pytest.mark.parametrize("path", ["", "tile", "tile/", "entries", "checkpoint/", "Checkpoint", "add-checkpoint/x"])
async def test_other_paths_there_are_none(stranger, path):
    assert (await stranger.get(PREFIX + path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_log_is_only_read(stranger, method):
    assert (await stranger.get(LATEST, method)).status == 405
    assert (await stranger.get(path_of(Tile(0, 0)), method)).status == 405


async def test_the_metrics_have_the_routes_template_and_no_path(pair, stranger):
    await stranger.get(path_of(Tile(0, 1, 13)))
    await stranger.get(CHECKPOINT)
    text = pair.owner_metrics.render().decode()
    assert 'route="/ledger/tile/{place}",status="200"' in text
    assert f'route="{CHECKPOINT}",status="200"' in text
    assert ".p/13" not in text


async def test_a_stranger_fills_no_log_and_a_fault_of_ours_stands_there(pair, stranger):
    with structlog.testing.capture_logs() as lines:
        for path in (LATEST, path_of(Tile(0, 9)), PREFIX + "tile/x"):
            await stranger.get(path)
        for body in (b"", bytes(MAX_BYTES + 1)):
            await stranger.post(body)
        assert lines == []
        pair.memory.failing = "failed"
        await stranger.post(log_of(pair).body(0, 7))
        await stranger.get("/peer/v1/lists")
    assert [(line["route"], line["status"]) for line in lines] == [(ADD_CHECKPOINT, 503), (LISTS, 401)]


# -- the witness -----------------------------------------------------------------------------------


def log_of(pair: Pair) -> Log:
    return Log(pair.network, "icbc", DefinedTree(40))


def understood(pair: Pair, status: int, body: bytes, addition: AddCheckpoint):
    return read_answer(status, body, addition, witness_keys(pair.network.registry, "jd", now()))


async def test_a_log_gets_its_cosignature_with_a_certificate_and_without(pair, stranger):
    log = log_of(pair)
    async with pair.ledger_client() as client:
        first = log.offer(0, 7)
        assert isinstance(understood(pair, *await client.add_checkpoint("jd", first.to_bytes(), 5.0), first), Cosigned)
        late = log.offer(0, 9)
        assert understood(pair, *await client.add_checkpoint("jd", late.to_bytes(), 5.0), late) == Knows(7)
    second = log.offer(7, 9)
    answer = await stranger.post(second.to_bytes())
    assert (answer.status, answer.headers["Content-Type"]) == (200, TEXT_TYPE)
    assert isinstance(understood(pair, answer.status, answer.body, second), Cosigned)
    assert pair.desk.counted == [("icbc", "accepted"), ("icbc", "size_conflict"), ("icbc", "accepted")]


async def test_each_status_travels_as_the_specification_says(pair, stranger):
    log = log_of(pair)
    forged = Log(pair.network, "icbc", log.tree, key=pair.network.members["unionpay"].ledger)
    unknown = Log(pair.network, "jd", log.tree)  # the witness's own
    await stranger.post(log.body(0, 7))
    wrong = log.offer(7, 9).to_bytes().replace(b"\n\n", b"\n" + log.offer(7, 9).to_bytes().split(b"\n")[1] + b"\n\n", 1)
    for body, status, kind in (
        (b"old 0", 400, TEXT_TYPE),
        (log.body(9, 7), 400, TEXT_TYPE),
        (forged.body(0, 7), 403, TEXT_TYPE),
        (unknown.body(0, 7), 404, TEXT_TYPE),
        (log.body(0, 9), 409, SIZE_TYPE),
        (wrong, 422, TEXT_TYPE),
    ):
        answer = await stranger.post(body)
        assert (answer.status, answer.headers["Content-Type"]) == (status, kind)


async def test_a_log_that_shows_two_histories_is_found_out(pair, stranger):
    fork = DefinedTree(40)
    fork.leaves[3] = bytes(32)
    await stranger.post(log_of(pair).body(0, 7))
    answer = await stranger.post(Log(pair.network, "icbc", fork).body(7, 7))
    assert (answer.status, answer.body) == (409, b"7\n")
    assert [(accused, found.size) for accused, found, _ in pair.desk.kept] == [("icbc", 7)]


async def test_when_the_database_is_away_nothing_is_signed(pair, stranger):
    pair.memory.failing = "failed"
    answer = await stranger.post(log_of(pair).body(0, 7))
    assert (answer.status, answer.code) == (503, StoreError.code)


@pytest.mark.parametrize("length", [MAX_BYTES + 1, 300_000, 1_000_000])
async def test_a_body_that_is_too_long_is_not_read(pair, stranger, length):
    answer = await stranger.post(bytes(length))
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert pair.desk.counted == []


async def test_nor_is_one_that_does_not_say_how_long_it_is(pair, stranger):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 100 * MAX_BYTES:
            sent += 4096
            yield bytes(4096)

    try:
        answer = await stranger.post(endless())
    except aiohttp.ClientError:
        answer = None  # it was cut while it still sent
    assert answer is None or (answer.status, answer.code) == (413, "body_too_large")
    assert sent < 100 * MAX_BYTES
    assert pair.desk.counted == []


async def test_a_body_that_does_not_come_is_not_waited_for(pair, stranger, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)

    async def stalls():
        yield b"old 0\n"
        await asyncio.sleep(5)

    async with asyncio.timeout(4):
        answer = await stranger.post(stalls())
    assert (answer.status, answer.code) == (408, "upload_stalled")
    assert pair.desk.counted == []


# -- how much --------------------------------------------------------------------------------------

FEW = Rates(Rate(per_second=0.001, depth=3), Rate(per_second=0.001, depth=5))


@pytest.fixture
async def strict(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr(ledger_module, "ADDING", FEW)
    monkeypatch.setattr(ledger_module, "READING", FEW)
    assert pair.listening is not None
    await pair.listening.close()
    pair.listening = await serve_owner(pair)
    pair.move_to(pair.listening.port)
    return pair


async def test_a_stranger_cannot_ask_for_ever_nor_use_up_what_a_member_may(strict, stranger):
    log = log_of(strict)
    for _ in range(3):
        assert (await stranger.post(log.body(3, 7))).status == 409
    answer = await stranger.post(log.body(0, 7))
    assert (answer.status, answer.code) == (429, "too_often")
    assert int(answer.headers["Retry-After"]) > 1
    looks = strict.memory.looks
    for _ in range(10):
        assert (await stranger.post(log.body(0, 7))).status == 429
    assert strict.memory.looks == looks
    async with strict.ledger_client() as client:
        assert (await client.add_checkpoint("jd", log.body(0, 7), 5.0))[0] == 200


async def test_reading_has_an_allowance_of_its_own(strict, stranger):
    assert [(await stranger.get(LATEST)).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert (await stranger.post(b"")).status == 400
    async with strict.ledger_client() as client:
        assert await client.latest("jd") == strict.log.newest.note


async def test_a_member_has_a_bound_too(strict):
    async with strict.ledger_client() as client:
        statuses = [(await client.add_checkpoint("jd", b"", 5.0))[0] for _ in range(4)]
    assert statuses == [400, 400, 400, 429]


async def test_few_strangers_are_served_at_once_and_no_member_waits_for_them(pair, stranger):
    pair.log.reading, pair.log.crowd = asyncio.Semaphore(0), AT_ONCE
    crowd = [asyncio.create_task(stranger.get(LATEST)) for _ in range(AT_ONCE + 4)]
    await pair.log.crowded.acquire()
    async with pair.ledger_client() as client:
        assert await client.checkpoint("jd") == pair.log.newest_final.note
        assert len(await client.tile("jd", Tile(0, 0))) == 8192
    assert pair.log.waiting == AT_ONCE
    for _ in crowd:
        pair.log.reading.release()
    assert {answer.status for answer in await asyncio.gather(*crowd)} == {200}


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("127.0.0.1", "address 127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "address 20010db800010002"),
        ("2001:db8:1:2::", "address 20010db800010002"),
        ("2001:db8:1:3::", "address 20010db800010003"),
        ("fe80::1%eth0", "address fe80000000000000"),
        ("::ffff:192.0.2.1", "address 192.0.2.1"),
        ("", "address ?"),
        (None, "address ?"),
    ],
)
def test_a_visitor_is_an_address_or_a_network_of_64_bits(address, who):
    assert visitor(address) == who
