"""Against OpenMined PSI: the same list, the same questions, in one process, without a network.

Both work out of memory on identifiers in the clear: theirs with their elliptic-curve PSI and a Bloom filter, ours
with the very functions that a peer uses (tokens, labels and a sealed segment; blinding, evaluation, look-up).
Ours uses all cores, theirs one: that is how they come.
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

from riskshare.bench.measure import Figure, median_of
from riskshare.cores import Threads
from riskshare.generate import generate
from riskshare.membership import oprf
from riskshare.membership.record import label
from riskshare.query.message import ELEMENT_BYTES
from riskshare.sharing.build import SealedRow, build_rows
from riskshare.sharing.segment_build import write_base
from riskshare.sharing.segment_read import BaseSegment, open_segment

ENTRIES: Final = 20_000
QUERIES: Final = 1_000
ROUNDS: Final = 3
LIST: Final = "bench/listed"
RECORD: Final = b"{}".ljust(200)


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
    setups: list[tuple[float, float]] = []
    questions: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        ours, theirs = _ours(listed, asked), _theirs(psi, listed, asked)
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


def _ours(listed: Sequence[str], asked: Sequence[str]) -> tuple[float, float]:
    """Seconds for set-up and for the questions."""
    key = oprf.SecretKey.from_random(secrets.token_bytes(64))
    threads = Threads()
    try:
        with tempfile.NamedTemporaryFile() as file:
            began = time.perf_counter()
            segment = asyncio.run(_set_up(threads, key, listed, Path(file.name)))
            built = time.perf_counter()
            found = asyncio.run(_ask(threads, key, segment, asked))
            ended = time.perf_counter()
    finally:
        threads.close()
    if found != QUERIES // 2:
        raise AssertionError("the look-up found another number than is listed")
    return built - began, ended - built


async def _set_up(threads: Threads, key: oprf.SecretKey, listed: Sequence[str], path: Path) -> BaseSegment:
    rows = [(text.encode(), RECORD) for text in listed]
    half = len(rows) // 2
    parts = await asyncio.gather(*(threads.run(build_rows, LIST, key, part) for part in (rows[:half], rows[half:])))
    return await asyncio.to_thread(_write, path, sorted(row for part in parts for row in part))


def _write(path: Path, rows: Sequence[SealedRow]) -> BaseSegment:
    with path.open("w+b") as out:
        ref = write_base(out, LIST, bytes(32), rows, seed=1)
    opened = open_segment(path.read_bytes(), ref, LIST, bytes(32))
    assert isinstance(opened, BaseSegment)
    return opened


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
    for value, blind, element in zip(inputs, blinds, evaluated, strict=True):
        token = oprf.finalize(value, oprf.invert(blind), element)
        found += segment.find(label(token, LIST)) is not None
    return found


def _theirs(psi: object, listed: Sequence[str], asked: Sequence[str]) -> tuple[float, float]:
    """The same by OpenMined PSI, with the false-positive rate of our filter."""
    began = time.perf_counter()
    server = psi.server.CreateWithNewKey(reveal_intersection=True)  # type: ignore[attr-defined]
    setup = server.CreateSetupMessage(2.0**-20, len(asked), list(listed), psi.DataStructure.BLOOM_FILTER)  # type: ignore[attr-defined]
    built = time.perf_counter()
    client = psi.client.CreateWithNewKey(reveal_intersection=True)  # type: ignore[attr-defined]
    response = server.ProcessRequest(client.CreateRequest(list(asked)))
    found = client.GetIntersection(setup, response)
    ended = time.perf_counter()
    if len(list(islice(found, QUERIES))) < QUERIES // 2:
        raise AssertionError("OpenMined PSI did not find what is listed")
    return built - began, ended - built
