"""A member's running peer: the composition root. Only here does everybody know everyone.

Order of starting: keys and registry are read -> database opened and migrated -> what was published and trusted is taken
up -> listeners open -> background work begins. Order of stopping: listeners close and let running requests end ->
asks on their way end and what they brought is kept -> connections and database close.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import ssl
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from riskshare.client import NOT_MODIFIED, LedgerClient, PeerClient
from riskshare.config import Config
from riskshare.crew import Crew
from riskshare.errors import ConfigError, DiskError, RegistryError, SegmentError
from riskshare.governance import HISTORY, load_registry
from riskshare.logs import get_log
from riskshare.membership import oprf
from riskshare.metrics import Metrics
from riskshare.peer.accounting import Accounting
from riskshare.peer.adapters import PeerPublications, ReceiptPages, Registries
from riskshare.peer.appeals import AppealsSeen
from riskshare.peer.auditing import Auditing
from riskshare.peer.chores import Chore, Chores
from riskshare.peer.directory import Directory
from riskshare.peer.entries import OwnEntries
from riskshare.peer.freshness import gauge_lists
from riskshare.peer.health import Health
from riskshare.peer.importing import OwnImports
from riskshare.peer.ledger import LedgerWork, witness_of
from riskshare.peer.opening import now, opened_store, read_member
from riskshare.peer.parts import Lists, OwnerHalf, QuerierHalf, Shared, owner_half, querier_half
from riskshare.peer.readers import KEEP_SECONDS, Readers
from riskshare.peer.recovery import Recovery
from riskshare.peer.registry_term import RegistryTerm
from riskshare.peer.rekeying import lead
from riskshare.peer.settling import settling_of
from riskshare.peer.usage import Usage
from riskshare.peer.watching import WATCH_SECONDS, gauge_own_lists
from riskshare.registry.network import MAX_FILE
from riskshare.server.access import ApiKeys
from riskshare.server.clients import Limits, clients_application
from riskshare.server.gate import PeersTls
from riskshare.server.idempotency import Idempotency
from riskshare.server.listen import Strangers, listen
from riskshare.server.operations import operations_application
from riskshare.server.peers import peers_application
from riskshare.server.workers import Workers
from riskshare.sharing.forget import forget
from riskshare.store import notify
from riskshare.store.imports import KEEP_FAULTS, RESUME
from riskshare.store.leader import Leadership
from riskshare.threads import Threads
from riskshare.tls import public_server_context

REGISTRY_SECONDS: Final = 10.0
REGISTRY_GROWTH: Final = 256 * 1024
"""Bytes by which a new version may exceed twice the present one, to be taken from another member's peer."""

SETTLE_SECONDS: Final = 1.0
RESEND_SECONDS: Final = 5.0
PUBLISH_SECONDS: Final = 30.0
TIDY_SECONDS: Final = 3600.0
ADOPT_SECONDS: Final = 30.0
USAGE_SECONDS: Final = 5.0
USAGE_ALONE_SECONDS: Final = 60.0
GAUGES_SECONDS: Final = 5.0
IDEMPOTENCY_TERM: Final = timedelta(hours=24)


class Peer:
    """One process of one member. `start`, then `run` or use its parts, then `stop`.

    `shared`, `owner` and `querier` are its parts; `urls` says where its listeners are.
    """

    shared: Shared
    owner: OwnerHalf
    querier: QuerierHalf

    def __init__(self, config: Config, *, workers: Workers | None = None) -> None:
        """`workers` are those whom this one shares its ports with, if it is one of several."""
        self.config = config
        self.urls: dict[str, str] = {}
        self._among = workers
        self._workers = 1 if workers is None else workers.count
        self._stack = AsyncExitStack()
        self._chores = Chores()
        self._leadership: Leadership | None = None
        self._registry_trouble = ""
        self._registry_term = RegistryTerm()

    # -- life ------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything; if anything fails, what was started is stopped again.

        Raises:
            ConfigError: keys, configuration, a port that is taken.
            RegistryError: the registry is not the one that was pinned, or is broken.
            StoreError: PostgreSQL cannot be had.

        """
        try:
            await self._open()
            await self._take_up()
            await self._listen()
            await self._begin_chores()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop everything, in the order that the module tells."""
        await self._stack.aclose()

    async def run(self, supervisor: int | None = None) -> None:
        """Wait until the process is told to end: SIGTERM, SIGINT, or the descriptor `supervisor` becomes readable."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        if supervisor is not None:
            loop.add_reader(supervisor, ended.set)
        await ended.wait()
        if supervisor is not None:
            loop.remove_reader(supervisor)

    @staticmethod
    def now() -> datetime:
        """The clock that all parts read."""
        return now()

    async def _open(self) -> None:
        member = read_member(self.config)
        if member.registry.member(member.name) is None:
            raise ConfigError(
                f"The registry names no member {member.name}. Send join.json to the governors, and put the new"
                " registry that they give out in place of the old one."
            )
        store = await self._stack.enter_async_context(opened_store(self.config, member.data_key))
        directory = Directory(member.name, member.registry, now)
        threads = Threads()
        self._stack.callback(threads.close)
        crew = Crew(oprf.evaluate_exported)
        self._stack.callback(crew.close)
        metrics = Metrics()
        keys = member.keys
        client = PeerClient(
            registries=directory, certificate=keys.tls_certificate_file, key=keys.tls_key_file, now=now, metrics=metrics
        )
        self._stack.push_async_callback(client.close)
        logs = LedgerClient(registries=directory, certificate=keys.tls_certificate_file, key=keys.tls_key_file, now=now)
        self._stack.push_async_callback(logs.close)
        self.shared = Shared(member, store, directory, metrics, client, threads, crew, self._workers)
        self._ledger = LedgerWork(self.shared, logs, self._chores)
        self.owner = owner_half(self.shared)
        self._stack.push_async_callback(self.owner.commits.close)
        self.querier = querier_half(self.shared, self.owner)
        self._stack.push_async_callback(self.querier.commits.close)
        self._stack.push_async_callback(self.querier.asker.close)
        self._accounting = Accounting(self.shared, self.owner, self.querier, logs, self._chores)
        self._stack.push_async_callback(self._accounting.client.close)
        self._auditing = Auditing(self.shared)
        self._readers = Readers(store.history)
        self._usage = Usage(
            self.owner.quotas,
            store.records,
            epochs=store.publications.epochs,
            bounded=lambda: any(each.quota.per_epoch is not None for each in directory.current().members.values()),
        )

        async def fetch(name: str, version: int | None) -> bytes | None:
            if version is not None:
                return await client.registry(name, version)
            current = directory.current()
            # A registry grows by some members at a time; whoever sends much more is not worth the reading.
            limit = min(MAX_FILE, 2 * len(current.to_file()) + REGISTRY_GROWTH)
            newer = await client.newer_registry(name, current.digest, limit=limit)
            return None if newer is NOT_MODIFIED else newer

        directory.connect(fetch, store.trust, self.querier.holdings.snapshots)

    async def _take_up(self) -> None:
        """What was there before the restart."""
        directory = self.shared.directory
        await directory.restore()
        trusted = self.querier.mirror.trusted
        trusted.update_keys(directory.key_terms)
        directory.on_change(lambda: trusted.update_keys(directory.key_terms))
        directory.on_change(self.querier.subscriber.owners_changed)
        self._recovery = Recovery(self.shared, self.querier)
        await self._recovery.begin(directory.others())
        await self._usage.follow()
        self._stack.push_async_callback(self.owner.published.stop)
        try:
            await self.owner.published.load()
        except (SegmentError, DiskError) as error:
            # The publisher replaces what is damaged; meanwhile those lists are named, and not to be had.
            get_log().error("list_damaged", code=error.code, detail=error.message)
        await self.querier.mirror.restore(directory.other_owners())
        await self.owner.commits.warm()
        await self.querier.commits.warm()

    async def _listen(self) -> None:
        shared, member = self.shared, self.shared.member
        registries = Registries(shared.directory, shared.store.trust)
        tls = PeersTls(registries, member.keys.tls_certificate_file, member.keys.tls_key_file, now)
        peers = peers_application(
            member=member.name,
            registries=registries,
            answering=self.owner.answerer,
            publications=PeerPublications(self.owner.published),
            receipts=ReceiptPages(shared.store.records),
            log=shared.store.ledger,
            witness=witness_of(shared),
            accounting=self._accounting.shown,
            auditing=self._auditing.pages,
            settling=settling_of(shared),
            metrics=shared.metrics,
            now=now,
            open_log=self.config.listen.peers.log_readers == "anyone",
            saw=self._readers.saw,
        )
        clients = clients_application(
            member=member.name,
            checking=self.querier.checker,
            lists=Lists(shared, self.owner, self.querier),
            kept=shared.store.records,
            logs=self._accounting,
            audits=self._auditing,
            registries=registries,
            keys=ApiKeys(self.config.api_keys, now),
            idempotency=Idempotency(shared.store.idempotency, member.keys.data, secrets.token_bytes),
            metrics=shared.metrics,
            limits=Limits(self.config.check.deadline_ms, self.config.check.max_identifiers),
            entries=OwnEntries(member.name, member.data_key, shared.store, shared.directory.most_days),
            imports=self._imports(),
        )
        health = Health(shared, self.owner, self.querier, self._ledger, self._chores)
        operations = operations_application(
            metrics=shared.metrics, health=health.alive(), readiness=health.ready(), workers=self._among
        )
        at = self.config.listen
        client_tls = _client_tls(self.config)
        for name, app, section, context in (
            ("peers", peers, at.peers, tls.context),
            ("clients", clients, at.clients, client_tls),
            ("operations", operations, at.operations, None),
        ):
            listening = await listen(
                app,
                section.host,
                section.port,
                name=name,
                tls=context,
                plain_anywhere=name == "operations",
                reuse_port=self._workers > 1,
                strangers=Strangers() if name == "peers" else None,
            )
            self._stack.push_async_callback(listening.close)
            self.urls[name] = f"{'https' if context else 'http'}://{_host(listening.host)}:{listening.port}"
        get_log().info("listening", member=member.name, url=self.urls["peers"])

    def _imports(self) -> OwnImports:
        """Imports for programs; made before the listener, so that they are stopped after it."""
        imports = OwnImports(self.shared.member, self.shared.store, self.shared.directory.most_days)
        self._stack.push_async_callback(imports.stop)
        return imports

    # -- background work -------------------------------------------------------------

    async def _begin_chores(self) -> None:
        published, querier = self.owner.published, self.querier
        publish = Chore("publish", self.owner.publisher.refresh, PUBLISH_SECONDS)

        async def load_published() -> None:
            try:
                await published.load(whole=False)
            except SegmentError:
                publish.wake()  # which replaces what is lost or damaged
                raise

        load = Chore("load", load_published, PUBLISH_SECONDS)
        registry = Chore("registry", self._poll_registry, REGISTRY_SECONDS)
        chores = [
            load,
            registry,
            Chore("lead", partial(self._lead, publish), SETTLE_SECONDS),
            Chore("subscribe", querier.subscriber.run, SETTLE_SECONDS),
            Chore("settle", querier.asker.settle, SETTLE_SECONDS),
            Chore("resend", self._recovery.resend, RESEND_SECONDS),
            Chore("adopt", self._recovery.adopt, ADOPT_SECONDS),
            Chore("judge", self._accounting.judge, GAUGES_SECONDS),
            Chore("tidy", self._tidy, TIDY_SECONDS),
            Chore("sweep", querier.mirror.sweep, TIDY_SECONDS),
            Chore("appeals", AppealsSeen(self.shared.member.mirror, self.shared.store.appeals).gather, SETTLE_SECONDS),
            Chore("readers", self._readers.keep, KEEP_SECONDS),
            Chore("gauges", self._gauges, GAUGES_SECONDS),
            Chore("watch", self._watch, WATCH_SECONDS),
            # A process that is alone knows all that it has answered; but another may have been started beside it.
            Chore("usage", self._usage.follow, USAGE_SECONDS if self._workers > 1 else USAGE_ALONE_SECONDS),
        ]

        def heard(channel: str, payload: str) -> None:
            if channel in {notify.LISTS, notify.EPOCHS, notify.RECONNECTED}:
                publish.wake()
                self.owner.publisher.stir()
            if channel != notify.LISTS or not published.knows(payload):
                load.wake()
            if channel == notify.REGISTRY:
                registry.wake()

        channels = (notify.LISTS, notify.GRANTS, notify.SNAPSHOTS, notify.EPOCHS, notify.REGISTRY)
        listener = await self.shared.store.listen(channels, heard)
        self._stack.push_async_callback(listener.close)
        self._leadership = Leadership(self.shared.store)
        self._stack.push_async_callback(self._leadership.release)
        self._stack.push_async_callback(self._chores.stop)
        self._chores.watch(publish)
        for chore in chores:
            self._chores.start(chore)

    async def _lead(self, publish: Chore) -> None:
        """Publish and grow the log while this process leads; wait as a worker while another one does."""
        assert self._leadership is not None
        leadership = self._leadership
        while True:
            await lead(leadership, self.shared.store, self.shared.member.data_key)
            get_log().info("leading", member=self.shared.member.name)
            task = asyncio.ensure_future(self._leading(publish))
            try:
                await leadership.lost.wait()
            finally:
                publish.failures = 0
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _leading(self, publish: Chore) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(publish.run())
            group.create_task(self._ledger.lead())
            group.create_task(self._accounting.lead())

    async def _poll_registry(self) -> None:
        """Look for a newer registry: in the database, in the local file, at the others; tell if it ends soon."""
        directory = self.shared.directory
        await directory.restore()
        try:
            for version in await asyncio.to_thread(self._newer_files, directory.version()):
                await directory.take(version)
        except (ConfigError, RegistryError) as error:
            if error.message != self._registry_trouble:
                get_log().warning("registry_file", code=error.code, detail=error.message)
            self._registry_trouble = error.message
        else:
            self._registry_trouble = ""
        await asyncio.gather(*(directory.fetch_from(member) for member in directory.others()))
        self._registry_term.look(directory.current(), now())

    def _newer_files(self, than: int) -> list[bytes]:
        """The local file, if it is newer, after the versions between that lie beside it."""
        path = self.config.member.network_file
        newest = load_registry(path, self.config.registry_digest)
        between = [path.parent / HISTORY / f"{number}.json" for number in range(than + 1, newest.version)]
        if newest.version <= than or not all(file.exists() for file in between):
            return []
        return [*(file.read_bytes() for file in between), newest.to_file()]

    async def _tidy(self) -> None:
        """Forget what has had its time: replies, imports left behind, snapshots and segments that no audit needs."""
        store = self.shared.store
        await store.imports.drop_stale(now() - RESUME)
        await store.imports.forget_faults(now() - KEEP_FAULTS)
        await store.idempotency.forget(now() - IDEMPOTENCY_TERM)
        window = timedelta(days=self.config.audit.window_days)
        await store.trust.forget_held(now() - window)
        await forget(store.publications, self.owner.files, now(), window)

    async def _gauges(self) -> None:
        metrics, directory, moment = self.shared.metrics, self.shared.directory, now()
        registry = directory.current()
        metrics.registry_version.set(registry.version)
        metrics.registry_days.set((registry.expires_at - moment).total_seconds() / 86_400)
        metrics.cached_tokens.set(len(self.querier.cache))
        metrics.unanswered.set(await self.shared.store.records.count_open_asks())
        await self._ledger.gauges(moment)
        await self._accounting.gauges()
        self._auditing.gauges()
        gauge_lists(self.shared, self.querier.mirror, moment)

    async def _watch(self) -> None:
        await gauge_own_lists(self.shared.store, self.shared.metrics, self.shared.member.name, now())


def _client_tls(config: Config) -> ssl.SSLContext | None:
    clients = config.listen.clients
    if clients.tls_certificate is None or clients.tls_key is None:
        return None
    return public_server_context(clients.tls_certificate, clients.tls_key)


def _host(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
