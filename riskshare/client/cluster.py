"""Computing rows on a cluster of Dask (`distributed`): the one job that outgrows a machine.

What goes to the cluster, over TLS only: the epoch's key, and the identifiers and records of the list. So whoever runs
its scheduler or a worker can read them; docs/epochs.md says what that means. The member's data key stays here: entries
are opened before they go. What comes back are labels and sealed records, which will be published anyway.

Key and rows travel inside the arguments of each task, in an object whose `repr` shows neither: the cluster forgets them
with the task, also when we are killed, and a worker that joins later needs nothing else. Dask computes anew what a lost
worker had; each task is given out under a name of its own, and its result is taken once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, final

from distributed import Client, Future, Security
from distributed.client import FutureCancelledError

from riskshare.errors import ConfigError, RiskshareError
from riskshare.membership.oprf import SecretKey
from riskshare.sharing.build import Chunk, Part, compute_part, open_rows
from riskshare.sharing.entry import DataKey
from riskshare.sharing.packed import PackedRows

CONNECT_SECONDS: Final = 10.0
WORKERS_SECONDS: Final = 30.0
RESULT_SECONDS: Final = 300.0
"""How long a part may take that needs less than a second, workers that are lost and come back included."""

AHEAD: Final = 4
"""Parts under way for each thread of the cluster: so many wait while one is computed."""

COUNT_EVERY: Final = 256
"""After so many parts the threads of the cluster are counted anew."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster is, and who we are there. `scheduler` is tls://HOST:PORT; the files are PEM."""

    scheduler: str
    ca: Path
    certificate: Path
    key: Path = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what would send a key in the clear. Raises ConfigError `scheduler_not_tls`."""
        if not self.scheduler.startswith("tls://"):
            raise ConfigError(
                "The scheduler's URL does not begin with tls://, and the epoch key goes there: start scheduler and"
                " workers with TLS, and name it as tls://HOST:PORT.",
                code="scheduler_not_tls",
            )

    def start(self, data_key: DataKey, key: SecretKey) -> ClusterPool:
        """Connect. Blocking.

        Raises:
            ConfigError: a certificate or key cannot be read.
            RiskshareError: `engine_unreachable`, no scheduler, or no worker; `scheduler_not_tls`, a worker without TLS.

        """
        for file in (self.ca, self.certificate, self.key):
            if not file.is_file():
                raise ConfigError(f"There is no {file}, which publish.scheduler_ca, _cert and _key name.")
        security = Security(
            require_encryption=True,
            tls_ca_file=str(self.ca),
            tls_client_cert=str(self.certificate),
            tls_client_key=str(self.key),
        )
        try:
            client = Client(self.scheduler, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            raise _unreachable("cannot be reached, or does not take our certificate") from error
        pool = ClusterPool(client, data_key, key)
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
            pool.count_threads()
        except TimeoutError as error:
            pool.close()
            raise _unreachable("has no workers") from error
        except BaseException:
            pool.close()
            raise
        return pool


@final
class ClusterPool:
    """`builders.Pool` over a cluster that is connected."""

    def __init__(self, client: Any, data_key: DataKey, key: SecretKey) -> None:
        self._client = client
        self._data_key = data_key
        self._key = key
        self._threads = 1

    def map(self, chunks: Iterable[Chunk]) -> Iterator[PackedRows]:
        """For each chunk its rows, in the order of the chunks. Blocking; few chunks are read ahead.

        Raises:
            OpenError: an entry does not open.
            RiskshareError: `engine_lost`, the cluster gave no result, or another error than ours;
                `scheduler_not_tls`.

        """
        source, pending = iter(chunks), deque[Future[PackedRows]]()
        try:
            for number in count():
                if number % COUNT_EVERY == 0:
                    self.count_threads()
                pending.extend(map(self._submit, islice(source, AHEAD * self._threads - len(pending))))
                if not pending:
                    return
                yield self._result(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def _submit(self, chunk: Chunk) -> Any:
        list_name, rows = chunk
        part = Part(list_name, self._key, open_rows(list_name, self._data_key, rows))
        return self._client.submit(compute_part, part, pure=False)

    def _result(self, future: Any) -> PackedRows:
        try:
            error = future.exception(timeout=RESULT_SECONDS)
            if error is None:
                rows: PackedRows = future.result(timeout=RESULT_SECONDS)
                return rows
        except (TimeoutError, OSError, FutureCancelledError) as lost:
            raise _lost(type(lost).__name__) from lost
        raise error if isinstance(error, RiskshareError) else _lost(type(error).__name__)

    def count_threads(self) -> None:
        """See how many threads the cluster has, and that all its workers speak TLS. Raises RiskshareError."""
        found = self._client.nthreads()
        if not all(address.startswith("tls://") for address in found):
            raise RiskshareError(
                "A worker of the cluster does not speak TLS, and the epoch key goes there: start all with TLS.",
                code="scheduler_not_tls",
            )
        self._threads = max(1, sum(found.values()))

    def close(self) -> None:
        """Leave the cluster, which then forgets what it had of us."""
        self._client.close(timeout=CONNECT_SECONDS)


def _unreachable(why: str) -> RiskshareError:
    return RiskshareError(
        f"The cluster's scheduler {why}. Look whether it runs, and at publish.scheduler; or take the engine local.",
        code="engine_unreachable",
    )


def _lost(kind: str) -> RiskshareError:
    return RiskshareError(
        f"The cluster gave no result ({kind}). Look at its workers, which need the same version of riskshare; what is"
        " computed is kept.",
        code="engine_lost",
    )
