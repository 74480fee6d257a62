"""Every Prometheus metric of a peer, with its help.

Each peer has a registry of its own (several run in one process in the demo and in tests). Labels are names
from the signed network registry, route templates and our own codes: never anything that a client sent.

Observing is on the path of every check, where a microsecond counts: what happens there goes into a `Tally`, which is
turned into a metric only when it is scraped. A peer observes from its event loop alone, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from riskshare.errors import PeerError, PeerRefused
from riskshare.query.verdict import Verdict

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

CHECK_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0)
COMMIT_SECONDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@final
class Tally:
    """Observations of one labelled child: how many fell up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@final
class Tallies(Collector):
    """A Prometheus histogram made of one `Tally` for each tuple of label values."""

    def __init__(self, name: str, help_: str, bounds: Sequence[float], labels: Sequence[str]) -> None:
        self._name = name
        self._help = help_
        self._labels = labels
        self._bounds = bounds
        self._tallies: dict[tuple[str, ...], Tally] = {}

    def labels(self, *values: str) -> Tally:
        """The tally of these label values."""
        tally = self._tallies.get(values)
        if tally is None:
            tally = self._tallies[values] = Tally(self._bounds)
        return tally

    def collect(self) -> Iterable[Metric]:
        """What Prometheus scrapes."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for values, tally in self._tallies.items():
            family.add_metric(values, list(zip(names, accumulate(tally.counts), strict=True)), tally.total)
        yield family


Families = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]
"""Metrics in a form that JSON has: name, help, type, and the samples with their names, labels and values."""


class _Gathered(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render_workers(told: Mapping[int, Families | None]) -> bytes:
    """The metrics of several workers in one text, each sample labelled with its worker; None of one that is silent."""
    up = Metric("riskshare_worker_up", "1 if a worker answered this scrape, 0 if its samples are missing.", "gauge")
    found = {up.name: up}
    for number, families in sorted(told.items()):
        worker = {"worker": str(number)}
        up.add_sample(up.name, worker, float(families is not None))
        for name, help_, kind, samples in families or ():
            metric = found.setdefault(name, Metric(name, help_, kind))
            for sample, labels, value in samples:
                metric.add_sample(sample, labels | worker, value)
    return generate_latest(_Gathered(found.values()))


class Metrics:
    """The metrics of one peer. Attributes are the bare metrics; methods observe what happens on the hot paths."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._querier()
        self._owner()
        self._lists()
        self._ledger()
        self._accounting()
        self._audit()
        self._peer()

    def render(self) -> bytes:
        """The text that Prometheus scrapes; its content type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def families(self) -> Families:
        """All of them as they stand now, for another worker to render."""
        return [
            (
                each.name,
                each.documentation,
                each.type,
                [(one.name, dict(one.labels), one.value) for one in each.samples],
            )
            for each in self.registry.collect()
        ]

    def checked(self, verdict: Verdict) -> None:
        """Count a check that has its verdict."""
        self.check_seconds.labels(verdict.word).observe(verdict.ms / 1000)
        for owner in verdict.owners:
            self.owner_statuses.labels(owner.owner, owner.status).inc()

    def ask_answered(self, owner: str, seconds: float) -> None:
        """Count an ask that another owner answered, `seconds` after it was sent."""
        self.ask_seconds.labels(owner).observe(seconds)

    def ask_failed(self, owner: str, error: PeerError) -> None:
        """Count an ask that got no answer; the code of a refusal is the remote one where we know it."""
        outcome = type(error).__name__.removeprefix("Peer").lower()
        code = error.remote_code if isinstance(error, PeerRefused) else error.code
        self.ask_failures.labels(owner, outcome, code).inc()

    def ask_served(self, member: str, elements: int, seconds: float) -> None:
        """Count an answer that this peer gave to `member` within `seconds`."""
        self.answer_seconds.labels(member).observe(seconds)
        self.answer_elements.labels(member).observe(elements)

    def responded(self, listener: str, route: str, status: int, seconds: float) -> None:
        """Count a response; `route` is the template, or a word where no route matched."""
        self.request_seconds.labels(listener, route, str(status)).observe(seconds)

    def committed(self, side: str, seconds: float, rows: int) -> None:
        """Observe a group commit of `rows` units on the side `owner` or `querier`."""
        self.commit_seconds.labels(side).observe(seconds)
        self.commit_rows.labels(side).observe(rows)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"riskshare_{name}", help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"riskshare_{name}", help_, labels, registry=self.registry)

    def _tallies(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Tallies:
        tallies = Tallies(f"riskshare_{name}", help_, buckets, labels)
        self.registry.register(tallies)
        return tallies

    def _querier(self) -> None:
        self.check_seconds = self._tallies(
            "check_seconds", "Seconds from a check's question to its verdict, by verdict.", CHECK_SECONDS, "verdict"
        )
        self.owner_statuses = self._counter(
            "check_owners", "How owners took part in checks, by owner and status.", "owner", "status"
        )
        self.ask_seconds = self._tallies(
            "ask_seconds", "Seconds from sending an ask to having its answer, by owner.", CHECK_SECONDS, "owner"
        )
        self.ask_failures = self._counter(
            "ask_failures", "Asks that got no answer, by owner, outcome and code.", "owner", "outcome", "code"
        )
        self.cached_tokens = self._gauge("cached_tokens", "Tokens in the cache.")
        self.unanswered = self._gauge("unanswered_asks", "Asks without an answer that are being sent again.")
        self.adopted = self._counter("adopted_receipts", "Receipts adopted from owners after a crash.")

    def _owner(self) -> None:
        self.answer_seconds = self._tallies(
            "answer_seconds", "Seconds from an ask's arrival to its answer, by member.", CHECK_SECONDS, "member"
        )
        self.answer_elements = self._tallies(
            "answer_elements",
            "Elements evaluated in one answer, by member; the sum is all of them.",
            BATCH_SIZES,
            "member",
        )
        self.refusals = self._counter("ask_refusals", "Asks that this owner refused, by code.", "code")
        self.commit_seconds = self._tallies("commit_seconds", "Seconds of one group commit.", COMMIT_SECONDS, "side")
        self.commit_rows = self._tallies(
            "commit_rows",
            "Answers (side owner) or checks (side querier) made durable by one group commit; the sum is all of them.",
            BATCH_SIZES,
            "side",
        )

    def _lists(self) -> None:
        self.list_age = self._gauge(
            "list_age_seconds", "Seconds since a subscribed list was last confirmed by its owner.", "list"
        )
        self.list_current = self._gauge(
            "list_current", "1 if a subscribed list may give a clear, 0 if it is stale, expired or missing.", "list"
        )
        self.list_version = self._gauge("list_version", "Version of the snapshot held of a list.", "list")
        self.list_entries = self._gauge("list_entries", "Entries of a list, by the snapshot held.", "list")
        self.list_expires = self._gauge("list_expires_timestamp_seconds", "When the snapshot held expires.", "list")
        self.list_refused = self._gauge(
            "list_refused_timestamp_seconds",
            "Since when the newest snapshot of a list has been refused, by code; absent if it is not.",
            "list",
            "code",
        )
        self.building_rows = self._gauge(
            "building_rows", "Rows computed of an own list that is being published under a new epoch.", "list", "epoch"
        )
        self.building_share = self._gauge(
            "building_share", "The part of that list that is computed, from 0 to 1.", "list", "epoch"
        )
        self.own_entries = self._gauge(
            "own_list_entries", "Entries that stand on an own list, disputed ones too.", "list"
        )
        self.own_published = self._gauge(
            "own_list_published_timestamp_seconds", "When the newest snapshot of an own list was issued.", "list"
        )
        self.own_waiting = self._gauge(
            "own_list_waiting_seconds",
            "Age of the oldest change of an own list that no snapshot shows; 0: none.",
            "list",
        )
        self.own_behind = self._gauge(
            "own_list_readers_behind",
            "Members that follow an own list, asked within the hour, and hold an older snapshot than the newest.",
            "list",
        )
        self.own_import = self._gauge(
            "own_list_import_timestamp_seconds", "When the last import into an own list last moved.", "list", "state"
        )
        self.own_import_bad = self._gauge(
            "own_list_import_bad_rows", "Bad rows of the last import into an own list.", "list"
        )
        self.mirror_bytes = self._gauge(
            "mirror_bytes", "Bytes of the files of an owner's lists, held or being fetched.", "owner"
        )
        self.mirror_bytes_limit = self._gauge(
            "mirror_bytes_limit", "Most bytes of the files of one owner's lists (subscribe.owner_gib)."
        )
        self.sync_failures = self._counter(
            "subscription_failures", "Failed attempts to follow an owner, by owner and code.", "owner", "code"
        )

    def _ledger(self) -> None:
        self.ledger_size = self._gauge("ledger_size", "Entries of this member's log.")
        self.ledger_pending = self._gauge("ledger_pending", "What is kept and not in the log yet.")
        self.ledger_final_size = self._gauge("ledger_final_size", "Entries under the newest final checkpoint.")
        self.ledger_final_age = self._gauge(
            "ledger_final_age_seconds", "Seconds since the newest final checkpoint had its quorum."
        )
        self.ledger_halted = self._gauge("ledger_halted", "1 if the log signs nothing more until an operator acts.")
        self.ledger_cosigned = self._counter(
            "ledger_cosigned", "Offers of a checkpoint to a witness, by what came of it.", "witness", "code"
        )
        self.witnessed = self._counter(
            "witnessed", "Requests to this member as witness, by the member whose log it is and code.", "log", "code"
        )
        self.fraud_proofs = self._gauge(
            "fraud_proofs", "Evidence kept that a member contradicted itself, by member and kind.", "member", "kind"
        )

    def _accounting(self) -> None:
        self.ledger_missing = self._gauge(
            "ledger_missing", "Receipts and statements that a member has not accounted for in time.", "member"
        )
        self.ledger_stalled = self._gauge(
            "ledger_stalled", "1 if a member is not answered because its log does not grow.", "member"
        )
        self.ledger_doubts = self._counter(
            "ledger_doubts", "What did not hold of a member's log or of what it told, by code.", "member", "code"
        )

    def _audit(self) -> None:
        self.audit_accesses = self._counter(
            "audit_accesses",
            "Requests of auditors that this member admitted, by auditor and action.",
            "auditor",
            "action",
        )

    def _peer(self) -> None:
        self.request_seconds = self._tallies(
            "http_request_seconds",
            "Seconds to answer a request, by listener, route template and status.",
            CHECK_SECONDS,
            "listener",
            "route",
            "status",
        )
        self.registry_version = self._gauge("registry_version", "Version of the network's registry in force.")
        self.registry_days = self._gauge("registry_days_left", "Days until the registry in force expires.")
        self.build = self._gauge("build_info", "1, labelled with the version of riskshare.", "version")
        self.build.labels(version("riskshare")).set(1)
