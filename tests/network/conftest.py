"""One PostgreSQL for all networks of real peers in this worker, and networks that end with their tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from riskshare.loopback import GENEROUS, Spec
from riskshare.registry import Quota
from riskshare.store.embedded import EmbeddedServer, start_server
from tests.simulator.running import Running

MakeNetwork = Callable[..., Running]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """A server that runs as long as the tests, so that no peer waits for its start."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    with start_server(folder / "pg") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def make_network(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeNetwork]:
    """Makes networks, whose peers are stopped after the module; a test may stop them earlier."""
    with ExitStack() as stack:

        def make(*specs: Spec, quota: Quota | None = GENEROUS, server: EmbeddedServer | None = None) -> Running:
            directory = tmp_path_factory.mktemp("network")
            return stack.enter_context(Running.make(directory, server or postgres, specs, quota=quota))

        yield make
