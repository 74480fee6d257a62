"""How much memory a list takes at a subscriber that keeps its records on demand.

The list is opened in a process of its own (this module, run as a program), by the code that a subscriber runs: fetched,
verified, mapped. What the process holds more than before, less the pages of the mapped filter, is the figure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final, final

from riskshare.bench.measure import Figure
from riskshare.errors import RiskshareError
from riskshare.membership.bloom import LABEL_BYTES
from riskshare.membership.record import SEALED_MIN
from riskshare.peer.opening import now
from riskshare.sharing.copies import Copies, Rules
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import BaseSegment, NeedBucket
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.view import ListView
from riskshare.store.files import SegmentFiles

ENTRIES: Final = 1_000_000
CHANGED: Final = 10_000
"""Entries of the delta behind the base: as many as an hour or a day may bring."""

WARM: Final = 5_000
LOOK_UPS: Final = 20_000
NAME: Final = "bench/resident"
EPOCH: Final = bytes(32)
MIB: Final = 2**20


def resident() -> Figure:
    """The memory for a list of 10^6 entries, with a delta of 10,000 behind it."""
    with tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder:
        published = SegmentFiles(Path(folder) / "published")
        lists = [_written(published, count) for count in (WARM, ENTRIES)]
        done = subprocess.run(  # noqa: S603 - ourselves, with arguments made here
            [sys.executable, "-m", __name__, folder],
            input=json.dumps([[ref.to_json() for ref in refs] for refs in lists]),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RiskshareError(f"The list could not be opened: {done.stderr.strip()}", code="bench_failed")
    found: dict[str, float] = json.loads(done.stdout)
    beyond = found["resident"] - found["filter"]
    return Figure(
        f"memory of a subscriber on demand, a list of {ENTRIES:,} entries and a delta of {CHANGED:,}",
        beyond / MIB,
        "MiB",
        8.0,
        "at most",
        detail=f"{found['resident'] / MIB:.2f} MiB more than before it was opened, less {found['filter'] / MIB:.2f} MiB"
        f" of its mapped filter; {found['anonymous'] / MIB:.2f} MiB are no mapped file; after {LOOK_UPS:,} look-ups",
        parts=found,
    )


def _written(files: SegmentFiles, count: int) -> Sequence[SegmentRef]:
    """A base of random labels, of which only the reader is measured, and a delta upon it."""
    random_labels = random.Random(count)  # noqa: S311 - they need only be different
    record = secrets.token_bytes(SEALED_MIN)
    labels = sorted({random_labels.randbytes(LABEL_BYTES) for _ in range(count)})
    added = {random_labels.randbytes(LABEL_BYTES): record for _ in range(CHANGED // 2)}
    gone = dict.fromkeys(random_labels.sample(labels, min(CHANGED, count) // 2), "expired")
    return (
        files.write(lambda out: write_base(out, NAME, EPOCH, ((label, record) for label in labels), seed=count)),
        files.write(lambda out: write_delta(out, NAME, EPOCH, added, gone)),
    )


# -- within the process that is measured ---------------------------------------------------------------------------


@final
class _Folder:
    """`copies.Segments` out of the folder of the files."""

    def __init__(self, files: SegmentFiles) -> None:
        self._files = files

    async def segment(self, _owner: str, ref: SegmentRef, out: BinaryIO, *, offset: int, length: int) -> None:
        """Copy a part."""
        with self._files.path(ref.file_digest).open("rb") as file:
            file.seek(offset)
            out.write(file.read(length))


async def _opened(copies: Copies, refs: Sequence[SegmentRef]) -> ListView:
    moment = now()
    snapshot = SnapshotStatement(
        list_name=NAME,
        category="telecom_fraud",
        normalisation=1,
        epoch=EPOCH,
        version=1,
        previous=None,
        issued_at=moment,
        expires_at=moment + timedelta(hours=1),
        segments=tuple(refs),
        count=1,  # not verified: the buckets are not here
        canaries=(),
        labels=EPOCH,
    )
    await copies.fetch("bench", snapshot, ())
    return copies.view(snapshot, None)


def _look_up(view: ListView) -> None:
    """Look for what is not listed, and into the index for every bucket, as hits would."""
    base = view.base
    assert isinstance(base, BaseSegment)
    found = [view.find(secrets.token_bytes(LABEL_BYTES)) for _ in range(LOOK_UPS)]
    found += [view.find(base.first_label(number)) for number in range(base.buckets)]
    assert any(isinstance(each, NeedBucket) for each in found), "a first label is not in its filter"


def _resident(mapped: str = "") -> tuple[int, int]:
    """Resident bytes of this process, and those of them that are no file's; only of files whose path ends so."""
    total = anonymous = 0
    wanted = not mapped
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            wanted = line.endswith(mapped)
        elif wanted and name == "Rss":
            total += int(rest.split()[0]) * 1024
        elif wanted and name == "Anonymous":
            anonymous += int(rest.split()[0]) * 1024
    return total, anonymous


def _measured(folder: Path, lists: Sequence[Sequence[SegmentRef]]) -> Iterator[tuple[str, int]]:
    warm, large = lists
    rules = Rules(on_demand_by_default=True)
    copies = Copies(
        source=_Folder(SegmentFiles(folder / "published")), files=SegmentFiles(folder / "mirror"), rules=rules
    )
    small = asyncio.run(_opened(copies, warm))  # code, and what is there once however many lists there are
    _look_up(small)
    gc.collect()
    before, anonymous = _resident()
    view = asyncio.run(_opened(copies, large))
    _look_up(view)
    gc.collect()
    after, anonymous_after = _resident()
    assert view.base is not None
    yield "resident", after - before
    yield "anonymous", anonymous_after - anonymous
    # All of it has been read, to compare its digest: as much of the mapping as is resident is the filter's, at most.
    mapped, _ = _resident(large[0].file_digest.hex())
    yield "filter", min(mapped, view.base.header.sections["bloom"].length)


if __name__ == "__main__":
    _lists = [[SegmentRef.from_json(ref) for ref in refs] for refs in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(dict(_measured(Path(sys.argv[1]), _lists))))
