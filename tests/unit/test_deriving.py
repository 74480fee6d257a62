"""A log derived in parts holds exactly when it holds in order."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.audit import deriving
from riskshare.audit.deriving import assemble, derive_part, is_part, parts_of
from riskshare.ledger.audit import audit
from riskshare.ledger.export import export
from riskshare.store.log_folder import LogFolder
from tests.simulator.log import make_log


def derived(folder, checkpoint):
    files = LogFolder(folder)
    return assemble(files, checkpoint, map(derive_part, parts_of(files, checkpoint.size)))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600, 16_384, 16_385, 65_536, 65_537])
def test_a_log_of_any_size_holds(tmp_path, size, monkeypatch):
    monkeypatch.setattr(deriving, "TOGETHER", 3)
    log = make_log(size)
    signed = log.signed()
    asyncio.run(export(log, signed, log.policy.to_bytes(), LogFolder(tmp_path)))
    found = asyncio.run(audit(LogFolder(tmp_path), log.policy))
    assert derived(tmp_path, signed.checkpoint) == found.tiles


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    log = make_log(70_000)
    signed = log.signed()
    asyncio.run(export(log, signed, log.policy.to_bytes(), LogFolder(folder)))
    return folder, signed.checkpoint


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_byte_flipped_is_found(written, data):
    folder, checkpoint = written
    file = data.draw(st.sampled_from(sorted(path for path in (folder / "tile").rglob("*") if path.is_file())))
    good = file.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    altered = bytearray(good)
    altered[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.booleans())
    file.write_bytes(good[:-1] if cut else bytes(altered))
    try:
        assert derived(folder, checkpoint) is None
    finally:
        file.write_bytes(good)


def test_a_missing_file_is_found(written, tmp_path):
    folder, checkpoint = written
    for path in ("tile/0/000", "tile/1/000", "tile/entries/001", "tile/2/000.p/1"):
        copy = shutil.copytree(folder, tmp_path / path.replace("/", "-"))
        (copy / path).unlink()
        assert derived(copy, checkpoint) is None


def test_what_is_no_part_of_a_log_is_told():
    assert is_part("tile/0/000", size=600)
    assert not is_part("tile/0/002", size=600)
    assert is_part("tile/0/002.p/88", size=600)
    assert not is_part("tile/0/../x", size=600)
