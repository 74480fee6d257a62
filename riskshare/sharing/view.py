"""What a list holds now: a base and the deltas behind it, looked at as one.

The newest segment that names a label decides. The labels that deltas name are joined once into one sorted
array (32 bytes a label), so that a look-up costs one search of it and one of the base, however many deltas there are.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

from riskshare.errors import SegmentError
from riskshare.membership.bloom import LABEL_BYTES
from riskshare.sharing.segment import Directory
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, NeedBucket

MAX_DELTAS: Final = 2**16
_WITHDRAWN: Final = 2**32 - 1
"""In place of a position: the delta withdraws the label. Positions are below DELTA_ENTRIES."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a snapshot says of a list: how many labels it holds, and the SHA-256 of them all, sorted."""

    count: int
    labels: bytes


@final
class ListView:
    """One list at one version: `base` (None for a list that has only deltas) and `deltas`, oldest first.

    Raises:
        SegmentError: code `segment_mixed`, segments of several lists or epochs.

    """

    __slots__ = ("_labels", "_places", "base", "deltas")

    def __init__(self, base: BaseSegment | None, deltas: Sequence[DeltaSegment] = ()) -> None:
        self.base = base
        self.deltas = tuple(deltas)
        headers = [segment.header for segment in (base, *deltas) if segment is not None]
        if len({(header.list_name, header.epoch) for header in headers}) > 1 or len(deltas) > MAX_DELTAS:
            raise SegmentError("A snapshot mixes segments of several lists or epochs.", code="segment_mixed")
        newest: dict[bytes, int] = {}
        for number, delta in enumerate(self.deltas):
            newest.update((label, number << 32 | position) for position, label in enumerate(delta.added))
            newest.update((label, number << 32 | _WITHDRAWN) for label in delta.withdrawn)
        labels = sorted(newest)
        self._labels = Directory(b"".join(labels))
        self._places = array("Q", map(newest.__getitem__, labels))

    def find(self, label: bytes) -> bytes | NeedBucket | None:
        """The sealed record of `label`; None if it is not listed; NeedBucket if a bucket must be fetched to tell.

        What is found is a hit only if it opens under the record key.

        Raises:
            SegmentError: as `BaseSegment.find`.

        """
        if self._places:
            position = self._labels.find(label)
            if position >= 0:
                return self._record(position)
        return None if self.base is None else self.base.find(label)

    def withdrawal(self, label: bytes) -> str | None:
        """The reason for which the newest delta that names `label` withdraws it; None if none does."""
        position = self._labels.find(label)
        if position < 0 or self._places[position] & _WITHDRAWN != _WITHDRAWN:
            return None
        return self.deltas[self._places[position] >> 32].withdrawn[label]

    def _record(self, position: int) -> bytes | None:
        place = self._places[position]
        at = place & _WITHDRAWN
        return None if at == _WITHDRAWN else self.deltas[place >> 32].added.at(at)

    def _spans(self) -> Iterator[tuple[int | None, int, int]]:
        """Walk the buckets in order: (bucket, from, to), where from:to are the deltas' labels that fall into it.

        Without buckets, one span of all the deltas' labels, with bucket None.
        """
        total = len(self._places)
        if self.base is None or not self.base.buckets:
            yield None, 0, total
            return
        start = 0
        for bucket in range(self.base.buckets):
            stop = total
            if start < total and bucket + 1 < self.base.buckets:
                stop = self._labels.below(self.base.first_label(bucket + 1))
            yield bucket, start, stop
            start = stop

    def labels(self) -> Iterator[bytes | memoryview]:
        """All current labels, sorted, joined into runs; a bucket that no delta touches is one slice of the file.

        Raises:
            ValueError: the base is kept on demand, without its buckets.

        """
        for bucket, start, stop in self._spans():
            there = self.base.bucket_labels(bucket) if self.base is not None and bucket is not None else b""
            if start == stop:
                yield there
                continue
            yield self._spliced(bytes(there), start, stop)

    def _spliced(self, there: bytes, start: int, stop: int) -> bytes:
        """The labels of a bucket with what the deltas' labels start:stop change: most of it is copied in runs."""

        def at_place(place: int) -> bytes:
            return there[LABEL_BYTES * place : LABEL_BYTES * (place + 1)]

        places = range(len(there) // LABEL_BYTES)
        runs = []
        done = 0
        for position in range(start, stop):
            label = self._labels[position]
            at = bisect_left(places, label, done, key=at_place)
            runs.append(there[LABEL_BYTES * done : LABEL_BYTES * at])
            if self._places[position] & _WITHDRAWN != _WITHDRAWN:
                runs.append(label)
            done = at + (at_place(at) == label)
        return b"".join((*runs, there[LABEL_BYTES * done :]))

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """All current (label, sealed record) pairs, sorted: the rows of a merged base. No group operation is needed.

        Raises:
            ValueError: the base is kept on demand, without its buckets.

        """
        for bucket, start, stop in self._spans():
            there = self.base.bucket_rows(bucket) if self.base is not None and bucket is not None else iter(())
            if start == stop:
                yield from there
                continue
            current = dict(there)
            for position in range(start, stop):
                sealed = self._record(position)
                if sealed is None:
                    current.pop(self._labels[position], None)
                else:
                    current[self._labels[position]] = sealed
            yield from sorted(current.items())


def summary(view: ListView) -> Summary:
    """Count and hash all current labels.

    Raises:
        ValueError: the base is kept on demand.

    """
    whole = hashlib.sha256()
    length = 0
    for run in view.labels():
        whole.update(run)
        length += len(run)
    return Summary(length // LABEL_BYTES, whole.digest())


def merge(view: ListView) -> Iterator[tuple[bytes, bytes]]:
    """The rows for `segment_build.write_base` of a base that replaces base and deltas of `view`."""
    return view.rows()
