"""What holds for every test."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from riskshare.logs import Bridge
from riskshare.store.embedded import EmbeddedServer
from tests.simulator.postgres import quick_server

# A shared machine is slow now and then: no test fails by the clock. CI tries the same examples
# each time, so that a change is judged by itself; everybody else tries new ones.
settings.register_profile("riskshare", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("riskshare")

# What a shell runs in its background ignores Ctrl-C, and so do its children: those of the tests must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are collected, and stay to the end: nobody looks for garbage among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_LOG = structlog.get_config()


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A test that sets up the log binds it to the stream of its own capture, which is closed when it ends.

    A fixture of a whole module may have done so before the test began: what is put back is the beginning of all tests.
    """
    root = logging.getLogger()
    handlers, level = [one for one in root.handlers if not isinstance(one, Bridge)], root.level
    structlog.configure(**_LOG)
    root.handlers[:] = handlers
    yield
    structlog.configure(**_LOG)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The PostgreSQL of this worker, with databases for all its tests; the folder is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    with quick_server(folder / "pg") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)
