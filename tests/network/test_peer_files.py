"""Catalogues, snapshots, segments, receipts and the registry between two peers on loopback."""

from __future__ import annotations

import asyncio
import errno
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from riskshare.client import NOT_MODIFIED
from riskshare.client.peers import ASKING
from riskshare.errors import DiskError, PeerDown, PeerGarbage, PeerRefused
from riskshare.ledger.receipt import KeptReceipt, Receipt
from riskshare.query.message import AnswerMessage, AskMessage, new_batch
from tests.simulator.listening import Pair, peer_pair, response, says, scripted
from tests.simulator.network import seed

EPOCH = b"e" * 32
LIST = "jd/high-risk"
OCTETS = "application/octet-stream"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with peer_pair(tmp_path) as made:
        yield made


@pytest.fixture
async def unserved(tmp_path: Path) -> AsyncIterator[Pair]:
    async with peer_pair(tmp_path, serve=False) as made:
        yield made


async def test_each_reader_gets_its_own_catalogue(pair: Pair) -> None:
    assert await pair.client.catalogue("jd") == b"catalogue for icbc"


async def test_an_epoch_is_fetched_by_its_digest(pair: Pair) -> None:
    assert await pair.client.epoch("jd", EPOCH) == b"epoch " + EPOCH


async def test_what_is_not_there_and_what_is_not_granted_look_alike(pair: Pair, tmp_path: Path) -> None:
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    (tmp_path / "segment").write_bytes(b"x")
    pair.shelf.files[b"s" * 32] = tmp_path / "segment"
    client = pair.client

    async def refusal(asking: object) -> tuple[int, str]:
        with pytest.raises(PeerRefused) as caught:
            await asking  # type: ignore[misc]
        return caught.value.status, caught.value.remote_code

    missing = [
        await refusal(client.epoch("jd", b"x" * 32)),
        await refusal(client.snapshot("jd", "jd/other", EPOCH, None)),
        await refusal(client.snapshot_version("jd", LIST, EPOCH, 9)),
        await refusal(client.snapshot_named("jd", LIST, b"9" * 32)),
        await refusal(client.segment("jd", b"x" * 32, io.BytesIO(), length=1)),
        await refusal(client.registry("jd", 99)),
    ]
    pair.shelf.readers.clear()
    ungranted = [
        await refusal(client.catalogue("jd")),
        await refusal(client.epoch("jd", EPOCH)),
        await refusal(client.snapshot("jd", LIST, EPOCH, None)),
        await refusal(client.snapshot_version("jd", LIST, EPOCH, 1)),
        await refusal(client.snapshot_named("jd", LIST, b"1" * 32)),
        await refusal(client.segment("jd", b"s" * 32, io.BytesIO(), length=1)),
    ]
    assert {*missing, *ungranted} == {(404, "not_found")}


# -- snapshots ----------------------------------------------------------------------------------------------------


async def test_a_snapshot_comes_with_its_digest_and_is_not_sent_twice(pair: Pair) -> None:
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    assert await pair.client.snapshot("jd", LIST, EPOCH, None) == (b"1" * 32, b"one")
    assert await pair.client.snapshot("jd", LIST, EPOCH, b"1" * 32) is NOT_MODIFIED
    assert await pair.client.snapshot("jd", LIST, EPOCH, b"0" * 32) == (b"1" * 32, b"one")
    assert pair.shelf.held == [b"", b"1" * 32, b"0" * 32], "the owner knows what the reader has"


async def test_a_poll_is_answered_when_there_is_news(pair: Pair) -> None:
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    polling = asyncio.ensure_future(pair.client.snapshot("jd", LIST, EPOCH, b"1" * 32, wait=20))
    await pair.shelf.polled.wait()
    assert not polling.done()
    pair.shelf.snapshots.append((b"2" * 32, b"two"))
    pair.shelf.news.set()
    assert await polling == (b"2" * 32, b"two")


async def test_a_poll_without_news_ends_with_nothing_new(pair: Pair) -> None:
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    assert await pair.client.snapshot("jd", LIST, EPOCH, b"1" * 32, wait=1) is NOT_MODIFIED
    assert pair.shelf.polled.is_set()


async def test_a_poll_is_let_go_when_the_owner_closes(pair: Pair) -> None:
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    polling = asyncio.ensure_future(pair.client.snapshot("jd", LIST, EPOCH, b"1" * 32, wait=20))
    await pair.shelf.polled.wait()
    assert pair.listening is not None
    await pair.listening.close()
    assert await polling is NOT_MODIFIED


async def test_a_querier_suspended_during_a_poll_gets_nothing_more(pair: Pair) -> None:
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    polling = asyncio.ensure_future(pair.client.snapshot("jd", LIST, EPOCH, b"1" * 32, wait=20))
    await pair.shelf.polled.wait()
    pair.network.change("icbc", standing="suspended")
    pair.owner_view.update()
    pair.shelf.news.set()
    with pytest.raises(PeerRefused) as caught:
        await polling
    assert caught.value.remote_code == "wrong_member"


@pytest.mark.parametrize("wait", ["-1", "1.5", "01", "x", "", "9" * 20])
async def test_a_wait_that_is_no_number_is_refused(pair: Pair, wait: str) -> None:
    with pytest.raises(PeerRefused) as caught:
        await pair.client._get("jd", f"/peer/v1/snapshots/high-risk/{EPOCH.hex()}", "x", 1, 5.0, query={"wait": wait})
    assert (caught.value.status, caught.value.remote_code) == (422, "invalid_input")


@pytest.mark.parametrize("etag", ["", "x", '"abc"', 'W/"' + "11" * 32 + '"', '"' + "AA" * 32 + '"'])
async def test_a_snapshot_without_a_digest_is_garbage(unserved: Pair, etag: str) -> None:
    async with scripted(unserved, says(response(b"one", ETag=etag))):
        with pytest.raises(PeerGarbage):
            await unserved.client.snapshot("jd", LIST, EPOCH, None)


async def test_nothing_new_for_who_has_nothing_is_garbage(unserved: Pair) -> None:
    async with scripted(unserved, says(b"HTTP/1.1 304 Not Modified\r\n\r\n")):
        with pytest.raises(PeerGarbage):
            await unserved.client.snapshot("jd", LIST, EPOCH, None)


async def test_one_version_of_a_snapshot(pair: Pair) -> None:
    pair.shelf.snapshots += [(b"1" * 32, b"one"), (b"2" * 32, b"two")]
    assert await pair.client.snapshot_version("jd", LIST, EPOCH, 1) == b"one"
    assert await pair.client.snapshot_named("jd", LIST, b"1" * 32) == b"one"


# -- segments -----------------------------------------------------------------------------------------------------


@pytest.fixture
def segment(pair: Pair, tmp_path: Path) -> bytes:
    data = b"".join(seed("segment", n) for n in range(40_000))
    (tmp_path / "segment").write_bytes(data)
    pair.shelf.files[b"s" * 32] = tmp_path / "segment"
    return data


async def test_a_range_that_the_file_does_not_have_is_refused(pair: Pair, segment: bytes) -> None:
    size = len(segment)
    for offset, length in ((size, 10), (2 * size, 1), (50, -20)):
        with pytest.raises(PeerRefused) as caught:
            await pair.client.segment_range("jd", b"s" * 32, offset=offset, length=length, total=size + 10)
        assert (caught.value.status, caught.value.remote_code) == (416, "range_not_satisfiable")


async def test_polls_of_many_lists_hold_up_no_ask(pair: Pair) -> None:
    """An owner has more lists than there are connections for asks; each is followed by a poll that is held."""
    pair.shelf.snapshots.append((b"1" * 32, b"one"))
    count = ASKING + 40
    polled, all_polled = 0, asyncio.Event()
    wait = pair.shelf.wait

    async def counted(list_name: str, epoch: bytes, digest: bytes, seconds: float, reader: str) -> None:
        nonlocal polled
        polled += 1
        if polled == count:
            all_polled.set()
        await wait(list_name, epoch, digest, seconds, reader)

    pair.shelf.wait = counted  # type: ignore[method-assign]
    polls = [asyncio.ensure_future(pair.client.snapshot("jd", LIST, EPOCH, b"1" * 32, wait=20)) for _ in range(count)]
    async with asyncio.timeout(60):
        await all_polled.wait()
        asks = [pair.client.evaluate("jd", b"ask %d" % number, 10) for number in range(20)]
        assert await asyncio.gather(*asks) == [b"ask %d" % number for number in range(20)]
        pair.shelf.snapshots.append((b"2" * 32, b"two"))
        pair.shelf.news.set()
        assert await asyncio.gather(*polls) == [(b"2" * 32, b"two")] * count


async def test_a_segment_is_fetched_whole(pair: Pair, segment: bytes) -> None:
    out = io.BytesIO()
    await pair.client.segment("jd", b"s" * 32, out, length=len(segment))
    assert out.getvalue() == segment


@pytest.mark.parametrize("start", [1, 65_536, 1_279_999])
async def test_a_segment_is_resumed(pair: Pair, segment: bytes, start: int) -> None:
    out = io.BytesIO()
    await pair.client.segment("jd", b"s" * 32, out, length=len(segment), start=start)
    assert out.getvalue() == segment[start:]


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 1_280_000), (700_001, 4_096), (1_279_999, 1)])
async def test_a_range_of_a_segment(pair: Pair, segment: bytes, offset: int, length: int) -> None:
    part = await pair.client.segment_range("jd", b"s" * 32, offset=offset, length=length, total=len(segment))
    assert part == segment[offset : offset + length]


@pytest.mark.parametrize("length", [1, 1_279_999, 1_280_001])
async def test_a_segment_of_another_length_than_promised_is_garbage(pair: Pair, segment: bytes, length: int) -> None:
    with pytest.raises(PeerGarbage):
        await pair.client.segment("jd", b"s" * 32, io.BytesIO(), length=length)
    with pytest.raises(PeerGarbage):
        await pair.client.segment_range("jd", b"s" * 32, offset=0, length=1, total=length)


async def test_a_range_beyond_the_file_is_refused(pair: Pair, segment: bytes) -> None:
    with pytest.raises((PeerRefused, PeerGarbage)):
        await pair.client.segment_range("jd", b"s" * 32, offset=len(segment), length=10, total=len(segment) + 10)


@pytest.mark.parametrize(
    "data",
    [
        response(b"abcd", Content_Type=OCTETS),
        response(b"abcd", status="206 Partial Content", Content_Type=OCTETS),
        response(b"abcd", status="206 Partial Content", Content_Type=OCTETS, Content_Range="bytes 1-4/100"),
        response(b"abcd", status="206 Partial Content", Content_Type=OCTETS, Content_Range="bytes 0-3/101"),
        response(b"abcde", status="206 Partial Content", Content_Type=OCTETS, Content_Range="bytes 0-3/100"),
        response(b"abcd", status="206 Partial Content", Content_Type="text/html", Content_Range="bytes 0-3/100"),
    ],
)
async def test_another_part_than_the_one_asked_for_is_garbage(unserved: Pair, data: bytes) -> None:
    async with scripted(unserved, says(data)):
        with pytest.raises(PeerGarbage):
            await unserved.client.segment_range("jd", b"s" * 32, offset=0, length=4, total=100)


async def test_a_segment_cut_in_the_middle_leaves_what_came(unserved: Pair) -> None:
    out = io.BytesIO()
    async with scripted(unserved, says(response(b"abcd", Content_Type=OCTETS, Content_Length="100"))):
        with pytest.raises(PeerGarbage) as caught:
            await unserved.client.segment("jd", b"s" * 32, out, length=100)
    assert caught.value.code == "peer_disconnected"
    assert b"abcd".startswith(out.getvalue())


class FullDisk(io.BytesIO):
    def write(self, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_not_the_owners_fault(pair: Pair, segment: bytes) -> None:
    with pytest.raises(DiskError, match="No space left"):
        await pair.client.segment("jd", b"s" * 32, FullDisk(), length=len(segment))


async def test_a_segment_may_be_kept_by_caches_for_ever(pair: Pair, segment: bytes) -> None:
    async with pair.client._open("jd", f"/peer/v1/segments/{(b's' * 32).hex()}", timeout=_within()) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Type"] == OCTETS


def _within() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=5)


# -- receipts -----------------------------------------------------------------------------------------------------


def kept(number: int, size: int = 32) -> KeptReceipt:
    receipt = Receipt(b"ask %d" % number, seed(number) * 2, b"answer %d" % number, seed(number, 1) * 2)
    return KeptReceipt(
        side="owner",
        counterparty="icbc",
        batch=new_batch(number, seed("batch", number)[:10]),
        epoch=EPOCH,
        count=size // 32,
        receipt=receipt,
        elements=bytes(size),
        evaluated=bytes([1]) * size,
        proof=b"",
        salt=bytes(16),
    )


async def test_receipts_come_back_as_they_travelled(pair: Pair) -> None:
    pair.shelf.receipts = [(7, kept(1))]
    [found] = await pair.client.receipts("jd", SINCE)
    receipt = pair.shelf.receipts[0][1].receipt
    assert found.seq == 7
    assert found.ask == AskMessage(receipt.ask, receipt.ask_signature, bytes(32))
    assert AnswerMessage.from_bytes(found.answer).elements == bytes([1]) * 32
    assert pair.shelf.queries == [("icbc", SINCE, 0, 64)]


async def test_receipts_are_walked_page_by_page_to_the_end(pair: Pair) -> None:
    pair.shelf.receipts = [(number, kept(number)) for number in range(1, 151)]
    seen: list[int] = []
    while page := await pair.client.receipts("jd", SINCE, seen[-1] if seen else 0):
        seen += [item.seq for item in page]
    assert seen == list(range(1, 151))
    assert len(pair.shelf.queries) == 4


async def test_large_receipts_make_short_pages(pair: Pair) -> None:
    pair.shelf.receipts = [(number, kept(number, 131_072)) for number in range(1, 31)]
    page = await pair.client.receipts("jd", SINCE)
    assert 10 < len(page) < 30


@pytest.mark.parametrize("query", [{}, {"since": "yesterday"}, {"since": "2026-01-01T00:00:00Z"}])
async def test_receipts_since_no_time_are_refused(pair: Pair, query: dict[str, str]) -> None:
    with pytest.raises(PeerRefused) as caught:
        await pair.client._get("jd", "/peer/v1/receipts", "x", 1, 5.0, query=query)
    assert caught.value.status == 422


@pytest.mark.parametrize("data", [b"", b"\x80\x80", b"\xa0", b"\x81\xa0", b"\x81\x01"])
async def test_a_page_that_is_none_is_garbage(unserved: Pair, data: bytes) -> None:
    async with scripted(unserved, says(response(data))):
        with pytest.raises(PeerGarbage):
            await unserved.client.receipts("jd", SINCE)


# -- the registry -------------------------------------------------------------------------------------------------


async def test_the_registry_is_served_in_every_version(pair: Pair) -> None:
    assert await pair.client.registry("jd") == pair.network.registry.to_file()
    for old in pair.network.history:
        assert await pair.client.registry("jd", old.version) == old.to_file()


async def test_the_newest_registry_is_sent_only_to_who_has_another(pair: Pair) -> None:
    held = pair.network.registry.digest
    assert await pair.client.newer_registry("jd", held) is NOT_MODIFIED
    pair.network.change("unionpay", standing="suspended")
    pair.owner_view.update()
    assert await pair.client.newer_registry("jd", held) == pair.network.registry.to_file()


async def test_a_peer_that_is_down_is_down_for_files_as_well(unserved: Pair) -> None:
    unserved.move_to(1)
    with pytest.raises(PeerDown):
        await unserved.client.catalogue("jd")
