"""Networks of real peers in the PostgreSQL of this worker, which end with their tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from riskshare.loopback import GENEROUS, Spec
from riskshare.registry import Quota
from riskshare.store.embedded import EmbeddedServer
from tests.simulator.running import Running

MakeNetwork = Callable[..., Running]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def make_network(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeNetwork]:
    """Makes networks, whose peers are stopped after the module; a test may stop them earlier."""
    with ExitStack() as stack:

        def make(*specs: Spec, quota: Quota | None = GENEROUS, own: EmbeddedServer | None = None) -> Running:
            directory = tmp_path_factory.mktemp("network")
            return stack.enter_context(Running.make(directory, own or server, specs, quota=quota))

        yield make
