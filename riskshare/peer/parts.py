"""Building the parts of a peer: what both halves share, the owner's half, the querier's half."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import final

from riskshare.api_models import ListModel, RefusedModel
from riskshare.client import PeerClient
from riskshare.config import Config
from riskshare.cores import BACKGROUND, CORES
from riskshare.crew import Crew
from riskshare.errors import ConfigError
from riskshare.ledger.receipt import KeptReceipt, UnansweredAsk
from riskshare.membership import oprf
from riskshare.membership.group import is_element
from riskshare.metrics import Metrics
from riskshare.peer.adapters import MirrorSource, TrustState, Watch
from riskshare.peer.building import BuildingWatch
from riskshare.peer.directory import Directory
from riskshare.peer.opening import Member, now
from riskshare.query.adopt import Adopter
from riskshare.query.answer import SMALL, Answerer, Clock
from riskshare.query.ask import Asker
from riskshare.query.awake import Awake
from riskshare.query.check import Checker
from riskshare.query.holdings import Holdings
from riskshare.query.hours import HourKeys
from riskshare.query.message import ELEMENT_BYTES
from riskshare.query.quota import Quotas
from riskshare.query.tokens import TokenCache
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.composing import Builders
from riskshare.sharing.copies import Rules
from riskshare.sharing.mirror import Mirror
from riskshare.sharing.publish import Publisher, Terms
from riskshare.sharing.published import Published
from riskshare.sharing.standing import ListStanding, Status
from riskshare.sharing.subscribe import Subscriber
from riskshare.sharing.trusted import TrustedSnapshots
from riskshare.store.buildings import Buildings
from riskshare.store.exchange import OwnerCommits, QuerierCommits
from riskshare.store.files import SegmentFiles
from riskshare.store.store import Store
from riskshare.threads import Threads


@dataclass(frozen=True, slots=True)
class Shared:
    """What both halves use."""

    member: Member
    store: Store
    directory: Directory
    metrics: Metrics
    client: PeerClient
    threads: Threads
    crew: Crew
    workers: int

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.member.config


@dataclass(frozen=True, slots=True)
class OwnerHalf:
    """A member as publisher and answerer."""

    published: Published
    publisher: Publisher
    quotas: Quotas
    commits: OwnerCommits
    answerer: Answerer
    files: SegmentFiles


@dataclass(frozen=True, slots=True)
class QuerierHalf:
    """A member as subscriber and asker."""

    mirror: Mirror
    subscriber: Subscriber
    holdings: Holdings
    commits: QuerierCommits
    asker: Asker
    checker: Checker
    cache: TokenCache
    adopter: Adopter


def terms_of(config: Config) -> Terms:
    """The terms of publishing that the configuration names."""
    return Terms(
        epoch=timedelta(days=config.epoch.term_days),
        changeover=timedelta(hours=config.epoch.changeover_hours),
        snapshot=timedelta(hours=config.publish.snapshot_term_h),
        reissue=timedelta(minutes=config.publish.reissue_m),
        filter_rate=2.0**config.publish.filter_rate_log2,
        deltas=config.publish.compact_deltas,
        delta_share=config.publish.compact_percent / 100,
    )


def builders_of(member: Member, *, engine: str = "", scheduler: str = "") -> Builders:
    """What computes whole lists: the engine that the configuration names, or another one.

    Raises:
        ConfigError: the engine cannot be used as it is configured; `scheduler_not_tls`.

    """
    publish = member.config.publish
    if (engine or publish.engine) == "local":
        if scheduler:
            raise ConfigError("A scheduler is of use with --engine dask only.")
        return ProcessBuilders(member.data_key, nice=BACKGROUND)
    ca, certificate, key = publish.scheduler_ca, publish.scheduler_cert, publish.scheduler_key
    if ca is None or certificate is None or key is None:
        raise ConfigError("The engine dask needs scheduler_ca, scheduler_cert and scheduler_key in [publish].")
    try:
        from riskshare.client.cluster import Cluster  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as error:
        raise ConfigError("The engine dask is not installed. Install it: pip install 'riskshare[dask]'.") from error
    cluster = Cluster(scheduler or publish.scheduler, ca, certificate, key)
    return ProcessBuilders(member.data_key, engine=cluster.start)


def rules_of(config: Config) -> Rules:
    """How lists are followed by the configuration."""
    default = config.subscribe.mode == "on_demand"
    exceptions = config.subscribe.replicate if default else config.subscribe.on_demand
    return Rules(
        hold_seconds=config.subscribe.poll_hold_s,
        on_demand=frozenset(exceptions),
        on_demand_by_default=default,
        owner_bytes=config.subscribe.owner_gib * 2**30,
        delta_entries=config.subscribe.delta_entries,
    )


def owner_half(shared: Shared) -> OwnerHalf:
    """Build the owner's half."""
    member, store, directory = shared.member, shared.store, shared.directory
    files = SegmentFiles(member.segments)
    published = Published(
        member=member.name,
        network=directory.network,
        identity=member.keys.identity,
        data_key=member.data_key,
        lists=store.lists,
        grants=store.grants,
        shelf=store.publications,
        files=files,
        now=now,
    )
    publisher = Publisher(
        member=member.name,
        network=directory.network,
        identity=member.keys.identity,
        data_key=member.data_key,
        lists=store.lists,
        shelf=store.publications,
        files=files,
        buildings=Buildings(member.building),
        builders=ProcessBuilders(member.data_key, nice=BACKGROUND),
        engine=builders_of(member),
        terms=terms_of(shared.config),
        now=now,
        random=secrets.token_bytes,
        most_days=directory.most_days,
        watch=BuildingWatch(shared.metrics, time.monotonic),
    )
    quotas = Quotas(share=1 / shared.workers)
    commits = OwnerCommits(store, watch=partial(shared.metrics.committed, "owner"))

    async def evaluate(key: oprf.SecretKey, elements: bytes) -> bytes:
        if len(elements) > SMALL * ELEMENT_BYTES:
            return await shared.crew.spread(key.export(), elements, ELEMENT_BYTES)
        return await shared.threads.spread(partial(oprf.evaluate_many, key), elements, ELEMENT_BYTES)

    answerer = Answerer(
        owner=member.name,
        identity=member.keys.identity,
        members=directory,
        keys=published,
        quotas=quotas,
        receipts=commits,
        evaluate=evaluate,
        clock=Clock(now, time.monotonic),
        random=secrets.token_bytes,
    )
    return OwnerHalf(published, publisher, quotas, commits, answerer, files)


def querier_half(shared: Shared, owner: OwnerHalf) -> QuerierHalf:
    """Build the querier's half; its own lists come from the owner's half."""
    member, store, directory, config = shared.member, shared.store, shared.directory, shared.config
    source, watch = MirrorSource(shared.client), Watch(shared.metrics)
    mirror = Mirror(
        trusted=TrustedSnapshots(
            directory.network,
            member.name,
            directory.key_terms,
            is_element=is_element,
            stale_after=timedelta(seconds=config.subscribe.stale_after_s),
            most_lists=config.subscribe.owner_lists,
        ),
        source=source,
        files=SegmentFiles(member.mirror),
        state=TrustState(store.trust, now),
        rules=rules_of(config),
        observer=watch,
        now=now,
    )
    subscriber = Subscriber(
        mirror=mirror,
        owners=directory.other_owners,
        source=source,
        rules=rules_of(config),
        observer=watch,
        now=now,
        jitter=random.SystemRandom().random,
    )
    holdings = Holdings(
        member=member.name,
        owners=directory.owners,
        expired=directory.expired,
        mirror=mirror,
        published=owner.published,
        unreachable=lambda: frozenset(subscriber.unreachable),
        buckets=source,
    )
    commits = QuerierCommits(store, watch=partial(shared.metrics.committed, "querier"))
    asker = asker_of(shared, commits, coalesce=config.check.coalescing)
    cache = TokenCache(config.check.token_cache_entries, config.check.token_cache_seconds)
    checker = checker_of(shared, holdings, asker, commits, cache)
    adopter = Adopter(
        querier=member.name,
        network=directory.network,
        own_keys=lambda: [term.public for term in directory.current().identity_keys(member.name)],
        pages=shared.client,
        kept=_Kept(store, commits),
        verified=asker.verified,
        now=now,
    )
    return QuerierHalf(mirror, subscriber, holdings, commits, asker, checker, cache, adopter)


def asker_of(shared: Shared, commits: QuerierCommits, *, coalesce: bool) -> Asker:
    """What asks owners."""
    return Asker(
        querier=shared.member.name,
        identity=shared.member.keys.identity,
        owners=shared.directory,
        transport=shared.client,
        kept=commits,
        now=now,
        random=secrets.token_bytes,
        in_flight=shared.config.check.asks_in_flight,
        coalesce=coalesce,
    )


def checker_of(shared: Shared, holdings: Holdings, asker: Asker, commits: QuerierCommits, cache: TokenCache) -> Checker:
    """What answers the questions of this member's payment systems."""
    member = shared.member
    return Checker(
        member=member.name,
        network=shared.directory.network,
        identity=member.keys.identity,
        holdings=holdings,
        asking=asker,
        records=commits,
        cache=cache,
        hours=HourKeys(member.name, member.keys.sealing.public_key(), secrets.token_bytes),
        awake=Awake(shared.config.check.busy_poll_us / 1e6 if CORES > 1 else 0.0, time.monotonic),
        now=now,
        monotonic=time.monotonic,
        random=secrets.token_bytes,
    )


@final
class _Kept:
    """`adopt.Kept` over records and commits."""

    def __init__(self, store: Store, commits: QuerierCommits) -> None:
        self.last_kept = store.records.last_kept
        self.begin_adoption = store.records.begin_adoption
        self.move_adoption = store.records.move_adoption
        self.end_adoption = store.records.end_adoption
        self.known_batches = store.records.known_batches
        self._commits = commits

    async def keep_receipts(self, receipts: Sequence[KeptReceipt], unanswered: Sequence[UnansweredAsk] = ()) -> None:
        await self._commits.keep_receipts(receipts, unanswered)


@final
class Lists:
    """`server.clients.Lists`: what this peer holds of all lists, and how fresh it is."""

    def __init__(self, shared: Shared, owner: OwnerHalf, querier: QuerierHalf) -> None:
        self._shared = shared
        self._owner = owner
        self._querier = querier

    async def lists(self) -> Sequence[ListModel]:
        """Every list that a check would consult, this member's own first."""
        return [*self._own(), *self._followed()]

    def _own(self) -> list[ListModel]:
        return [
            ListModel(
                list=each.name,
                owner=self._shared.member.name,
                category=each.row.category,
                own=True,
                mode="own",
                status="current",
                version=each.snapshot.version,
                entries=each.count,
                issued_at=each.snapshot.issued_at,
                expires_at=each.snapshot.expires_at,
            )
            for lists in self._owner.published.own_lists().values()
            for each in lists
        ]

    def _followed(self) -> list[ListModel]:
        moment = now()
        mirror = self._querier.mirror
        trusted = mirror.trusted
        found = []
        for owner in self._shared.directory.other_owners():
            ended = [entry for entry in trusted.catalogue(owner) or () if entry.ended]
            gone = [ListStanding(entry, Status.UNLISTED, None) for entry in ended]
            for standing in [*mirror.standing(owner, moment).lists, *gone]:
                held, refusal = standing.held, standing.refusal
                following = mirror.following(held.snapshot.list_name, held.snapshot.epoch) if held else None
                snapshot = following.snapshot if following else None
                confirmed_at = trusted.confirmed_at(snapshot.list_name, snapshot.epoch) if snapshot else None
                found.append(
                    ListModel(
                        list=standing.entry.list_name,
                        owner=owner,
                        category=standing.entry.category,
                        own=False,
                        mode=self._shared.config.subscribe.mode_of(standing.entry.list_name),
                        status="ended" if standing.entry.ended else standing.status.value,
                        version=snapshot.version if snapshot else None,
                        entries=snapshot.count if snapshot else None,
                        issued_at=snapshot.issued_at if snapshot else None,
                        expires_at=snapshot.expires_at if snapshot else None,
                        confirmed_at=confirmed_at,
                        refused=RefusedModel(code=refusal.code, since=refusal.since) if refusal else None,
                    )
                )
        return found
