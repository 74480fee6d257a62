"""Against OpenMined PSI: the same list, the same questions, in one process, without a network.

Theirs works on identifiers in the clear, with elliptic-curve PSI and a Bloom filter, in memory. Ours is set up by
what a peer publishes with: worker processes that decrypt, label and seal stored entries, and a segment that is
durable on disk when the time is taken. The questions go through the functions of a check (blinding, evaluation,
look-up and the opening of records). Ours uses all cores, theirs one: that is how they come.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from riskshare.bench.building import EPOCH, LIST, WARM, Stored, composed, stored_entries
from riskshare.bench.measure import Figure, median_of
from riskshare.generate import generate
from riskshare.membership import oprf
from riskshare.membership.record import label, open_record, record_key
from riskshare.query.message import ELEMENT_BYTES
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.entry import DataKey
from riskshare.sharing.segment_read import BaseSegment, open_segment
from riskshare.store.files import SegmentFiles
from riskshare.threads import Threads

ENTRIES: Final = 100_000
QUERIES: Final = 1_000
ROUNDS: Final = 3
RATE: Final = 2.0**-20
"""Chance that one look-up in a filter says maybe without reason; the same in theirs and in ours."""


def comparing() -> list[Figure]:
    """Set-up of a list, and a thousand questions; how many times faster than OpenMined PSI."""
    try:
        import private_set_intersection.python as psi  # noqa: PLC0415 - an optional extra
    except ImportError:
        return [Figure("against openmined-psi: not installed (pip install riskshare[bench])", 0.0, "")]
    entries = generate(2, ENTRIES, ("phone", "bank_card"))
    others = generate(3, QUERIES // 2, ("phone",), exclude=set(entries))
    listed = [identifier.canonical for identifier in entries]
    asked = [identifier.canonical for identifier in others] + listed[: QUERIES // 2]
    data_key = DataKey(secrets.token_bytes(32))
    stored = stored_entries(data_key, entries)
    setups: list[tuple[float, float]] = []
    questions: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        ours, theirs = asyncio.run(_ours(data_key, stored, asked)), _theirs(psi, listed, asked)
        setups.append((ours[0], theirs[0]))
        questions.append((ours[1], theirs[1]))
    figures = []
    for name, pairs, bar in (("set-up of a list", setups, 2.0), (f"{QUERIES:,} questions", questions, 1.5)):
        mine, other = median_of([pair[0] for pair in pairs]), median_of([pair[1] for pair in pairs])
        figures.append(
            Figure(
                f"against openmined-psi: {name}",
                other / mine,
                "times faster",
                bar,
                detail=f"{mine:.2f} s against {other:.2f} s; {ENTRIES:,} entries",
            )
        )
    return figures


async def _ours(data_key: DataKey, stored: Stored, asked: Sequence[str]) -> tuple[float, float]:
    """Seconds for set-up and for the questions."""
    key = oprf.SecretKey.from_random(secrets.token_bytes(64))
    threads = Threads()
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = SegmentFiles(Path(folder))
            async with ProcessBuilders(data_key)(key) as build:
                await composed(data_key, Path(folder), key, stored.first(WARM), build)
                began = time.perf_counter()
                row = await composed(data_key, Path(folder), key, stored, build)
                built = time.perf_counter() - began
            segment = open_segment(files.map(row.ref), row.ref, LIST, EPOCH)
            assert isinstance(segment, BaseSegment)
            began = time.perf_counter()
            found = await _ask(threads, key, segment, asked)
            asking = time.perf_counter() - began
    finally:
        threads.close()
    if found != QUERIES // 2:
        raise AssertionError("the look-up found another number than is listed")
    return built, asking


async def _ask(threads: Threads, key: oprf.SecretKey, segment: BaseSegment, asked: Sequence[str]) -> int:
    """Blind, evaluate, finalize and look up; how many are listed."""
    inputs = [text.encode() for text in asked]
    blinds = [oprf.scalar_from_random(secrets.token_bytes(64)) for _ in inputs]
    width = -(-len(inputs) // 2)
    spans = [slice(start, start + width) for start in range(0, len(inputs), width)]
    blinded = await asyncio.gather(*(threads.run(_blind, inputs[span], blinds[span]) for span in spans))
    elements = await threads.spread(partial(oprf.evaluate_many, key), b"".join(blinded), ELEMENT_BYTES)
    evaluated = [elements[place : place + ELEMENT_BYTES] for place in range(0, len(elements), ELEMENT_BYTES)]
    counts = await asyncio.gather(
        *(threads.run(_look_up, segment, inputs[span], blinds[span], evaluated[span]) for span in spans)
    )
    return sum(counts)


def _blind(inputs: Sequence[bytes], blinds: Sequence[bytes]) -> bytes:
    return b"".join(oprf.blind(value, blind) for value, blind in zip(inputs, blinds, strict=True))


def _look_up(segment: BaseSegment, inputs: Sequence[bytes], blinds: Sequence[bytes], evaluated: Sequence[bytes]) -> int:
    found = 0
    for value, inverse, element in zip(inputs, oprf.invert_many(blinds), evaluated, strict=True):
        token = oprf.finalize(value, inverse, element)
        wanted = label(token, LIST)
        sealed = segment.find(wanted)
        if isinstance(sealed, bytes):
            open_record(sealed, record_key(token, LIST), LIST, wanted)
            found += 1
    return found


def _theirs(psi: object, listed: Sequence[str], asked: Sequence[str]) -> tuple[float, float]:
    """The same by OpenMined PSI, with the false-positive rate of our filter.

    Its `fpr` is the chance of any false hit among all elements of a request: it divides by their number. So it is
    given our rate times that number, and makes a filter of 20 hashes and 28.9 bits an entry, as ours. (With 2^-20
    itself it would make 30 hashes and 43.2 bits for 1,000 elements, and look slower than it is.)
    """
    began = time.perf_counter()
    server = psi.server.CreateWithNewKey(reveal_intersection=True)  # type: ignore[attr-defined]
    setup = server.CreateSetupMessage(RATE * len(asked), len(asked), list(listed), psi.DataStructure.BLOOM_FILTER)  # type: ignore[attr-defined]
    built = time.perf_counter()
    client = psi.client.CreateWithNewKey(reveal_intersection=True)  # type: ignore[attr-defined]
    response = server.ProcessRequest(client.CreateRequest(list(asked)))
    found = client.GetIntersection(setup, response)
    ended = time.perf_counter()
    if len(list(islice(found, QUERIES))) < QUERIES // 2:
        raise AssertionError("OpenMined PSI did not find what is listed")
    return built - began, ended - built
