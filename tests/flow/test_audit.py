"""Exporting a log and verifying it from outside: one thing is wrong at a time, and it is always named."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import DiskError, LedgerError
from riskshare.ledger.audit import AHEAD, Audited, audit
from riskshare.ledger.export import Exported, export
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.policy import network_policy
from riskshare.ledger.tile import Bundle, Tile, bundles_between, tiles_between
from riskshare.store.log_folder import LogFolder
from tests.simulator.log import SimulatedLog, make_log
from tests.simulator.tree import entry

SIZE = 600
LOG = make_log(SIZE)


def exported(log: SimulatedLog, folder: Path, **signed) -> Exported:
    return asyncio.run(export(log, log.signed(**signed), log.policy.to_bytes(), LogFolder(folder)))


def audited(folder: Path, log: SimulatedLog = LOG, **changes) -> Audited:
    return asyncio.run(audit(LogFolder(folder), changes.get("policy", log.policy), changes.get("progress")))


def refused(code: str, *words: str):
    return pytest.raises(
        LedgerError, check=lambda error: error.code == code and all(word in error.message for word in words)
    )


def flip(file: Path, place: int, mask: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= mask
    file.write_bytes(data)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "policy")


@pytest.fixture
def copy(tmp_path):
    exported(LOG, tmp_path / "log")
    return tmp_path / "log"


# --- What holds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 600, AHEAD * 256 + 1, 65_536, 65_537])
def test_an_exported_log_holds(tmp_path, size):
    log = make_log(size)
    done = exported(log, tmp_path)
    found = audited(tmp_path, log)
    assert found.checkpoint.size == size
    assert found.final.witnesses == ("witness/b", "witness/c", "witness/d", "witness/e")
    assert (found.bundles, found.tiles) == (len([*bundles_between(0, size)]), len([*tiles_between(0, size)]))
    assert done == Exported(found.bundles + found.tiles + 2, found.bundles + found.tiles + 2, 0)
    assert len(files(tmp_path)) == done.files - 1


def test_progress_ends_with_all(copy):
    told = []
    audited(copy, progress=lambda done, size: told.append((done, size)))
    assert told[-1] == (SIZE, SIZE)


def test_the_policy_beside_it_is_the_members_own(copy):
    assert (copy / "policy").read_bytes() == LOG.policy.to_bytes()


def test_the_memory_does_not_grow_with_the_log(tmp_path):
    def once(log: SimulatedLog, folder: Path) -> int:
        tracemalloc.start()
        audited(folder, log)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    def peak(size: int) -> int:
        """The least of three: what else has memory in this process can only add to it."""
        log = make_log(size)
        exported(log, tmp_path / str(size))
        return min(once(log, tmp_path / str(size)) for _ in range(3))

    assert peak(8 * AHEAD * 256) < 1.5 * peak(2 * AHEAD * 256)


# --- One byte --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "log"
    exported(LOG, folder)
    return folder


@given(st.data())
def test_any_byte_that_is_altered_anywhere_is_found(pristine, data):
    """But for the name or key ID of a cosignature beyond the quorum: that line is then of a witness nobody knows."""
    file = data.draw(st.sampled_from(files(pristine)))
    whole = file.read_bytes()
    place, mask = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    try:
        flip(file, place, mask)
        try:
            found = audited(pristine)
        except LedgerError:
            return
        assert file.name == "checkpoint"
        assert len(found.final.witnesses) == len(LOG.cosigners) - 1
    finally:
        file.write_bytes(whole)


def test_every_byte_of_the_checkpoint_by_itself(copy):
    """Exhaustively, for the file in which not every byte must be right."""
    ignored = set()
    whole = (copy / "checkpoint").read_bytes()
    for place in range(len(whole)):
        flip(copy / "checkpoint", place)
        try:
            assert len(audited(copy).final.witnesses) == len(LOG.cosigners) - 1
            ignored.add(place)
        except LedgerError:
            pass
        (copy / "checkpoint").write_bytes(whole)
    lines = whole.splitlines(keepends=True)
    start = len(b"".join(lines[:5]))
    expected, keys = set(), (LOG.policy.witnesses)
    for line, witness in zip(lines[5:], keys, strict=True):
        name = len("\u2014 ".encode())
        length = len(witness.key.name.encode())
        # The name; then four bytes of key ID, which are 5 letters of base64 and a part of the sixth.
        expected |= set(range(start + name, start + name + length))
        expected |= set(range(start + name + length + 1, start + name + length + 7))
        start += len(line)
    assert ignored <= expected


@pytest.mark.parametrize("index", [0, 255, 256, 599])
def test_an_altered_entry_is_named_with_its_bundle(copy, index):
    path = Bundle(index // 256, min(256, SIZE - index // 256 * 256)).path
    flip(copy / path, index % 256 * 34 + 10)
    with refused("wrong_bundle", f"Entry {index} in {path}", "stands in the log"):
        audited(copy)


@pytest.mark.parametrize("index", [0, 255, 256, 599])
def test_an_altered_hash_is_named_with_its_tile_and_its_entry(copy, index):
    path = Tile(0, index // 256, min(256, SIZE - index // 256 * 256)).path
    flip(copy / path, index % 256 * 32)
    with refused("wrong_tile", f"Hash {index % 256} of {path} is not that of entry {index}."):
        audited(copy)


def test_an_altered_hash_of_a_higher_level_is_named_with_all_entries_below_it(copy):
    flip(copy / "tile/1/000.p/2", 32)
    with refused("wrong_tile", "Hash 1 of tile/1/000.p/2 is not that of the entries 256 to 511."):
        audited(copy)


def test_an_altered_length_of_an_entry_is_named(copy):
    flip(copy / "tile/entries/001", 34 * 3)
    with refused("wrong_bundle", "Entry 259 in tile/entries/001"):
        audited(copy)


def test_an_entry_that_is_altered_together_with_its_tiles_does_not_lead_to_the_root(tmp_path):
    """Whoever serves a log can make its parts fit one another, but not the checkpoint that others cosigned."""
    forged = SimulatedLog(LOG.network, "a", [entry(n if n != 300 else 10_000) for n in range(SIZE)], LOG.cosigners)
    asyncio.run(export(forged, LOG.signed(), LOG.policy.to_bytes(), LogFolder(tmp_path)))
    with refused("wrong_tree", "600 entries"):
        audited(tmp_path)


# --- Missing, cut, added -----------------------------------------------------------------------------


def test_each_file_that_is_missing_is_named(copy):
    for file in files(copy):
        whole, path = file.read_bytes(), file.relative_to(copy).as_posix()
        file.unlink()
        with refused("missing_part", "checkpoint" if path == "checkpoint" else f"{path} is missing"):
            audited(copy)
        file.write_bytes(whole)


def test_each_file_that_is_cut_or_longer_is_named(copy):
    for file in files(copy):
        whole, path = file.read_bytes(), file.relative_to(copy).as_posix()
        for wrong in (b"", whole[:-1], whole + b"\x00", whole + whole):
            file.write_bytes(wrong)
            with pytest.raises(LedgerError) as caught:
                audited(copy)
            assert path in caught.value.message
        file.write_bytes(whole)


def test_a_checkpoint_that_is_none_is_said_to_be_unreadable(copy):
    (copy / "checkpoint").write_bytes(b"not a note\n")
    with refused("malformed_checkpoint", "checkpoint"):
        audited(copy)


def test_an_empty_folder_is_no_log(tmp_path):
    with refused("missing_part", "no checkpoint"):
        audited(tmp_path)


@pytest.mark.parametrize("path", ["tile/0/003", "tile/2/000.p/1", "tile/entries/002.p/80", "tile/0/000.p/7", "tile/x"])
def test_a_file_that_is_no_part_of_the_log_is_named(copy, path):
    (copy / path).parent.mkdir(parents=True, exist_ok=True)
    (copy / path).write_bytes(bytes(32))
    with refused("unexpected_part", path):
        audited(copy)


def test_a_folder_that_may_not_be_read_is_no_finding(copy):
    (copy / "checkpoint").unlink()
    (copy / "checkpoint").mkdir()
    with pytest.raises(DiskError):
        audited(copy)


# --- Another checkpoint, another policy -----------------------------------------------------------------


def test_an_old_checkpoint_beside_newer_tiles_is_named(tmp_path):
    log = make_log(300)
    exported(log, tmp_path)
    old = (tmp_path / "checkpoint").read_bytes()
    log.append(entry(index) for index in range(300, 310))
    exported(log, tmp_path)
    (tmp_path / "checkpoint").write_bytes(old)
    with refused("missing_part", "a log of 300 entries"):
        audited(tmp_path, log)


def test_an_old_checkpoint_whose_partial_parts_are_gone_is_read_from_the_full_ones(tmp_path):
    """tlog-tiles allows a server to delete a partial tile once the full one is there; a folder shows what is newer."""
    log = make_log(300)
    old = log.signed()
    log.append(entry(index) for index in range(300, 512))
    exported(log, tmp_path)
    (tmp_path / "checkpoint").write_bytes(old.note.to_bytes())
    with refused("missing_part", "tile/1/000.p/1"):
        audited(tmp_path, log)
    (tmp_path / "tile/1/000.p/1").write_bytes((tmp_path / "tile/1/000.p/2").read_bytes()[:32])
    with refused("unexpected_part", "older than the rest"):
        audited(tmp_path, log)


def test_the_checkpoint_of_another_log_is_not_believed(copy):
    other = SimulatedLog(LOG.network, "b", list(LOG.entries), ["a", "c", "d", "e"])
    (copy / "checkpoint").write_bytes(other.signed().note.to_bytes())
    with refused("unknown_log"):
        audited(copy)


def test_a_checkpoint_over_another_tree_is_not_believed_although_all_signed_it(tmp_path):
    exported(LOG, tmp_path, root=leaf_hash(b"another"))
    with refused("wrong_tree"):
        audited(tmp_path)


def test_fewer_cosignatures_than_the_quorum_are_not_final(tmp_path):
    exported(LOG, tmp_path, cosigners=["b", "c"])
    with refused("not_final"):
        audited(tmp_path)


def test_the_policy_of_another_network_does_not_know_the_log(copy):
    other = make_log(1, members=("p", "q", "r", "s", "t"))
    with refused("unknown_log"):
        audited(copy, policy=other.policy)


def test_a_policy_with_other_witnesses_has_no_quorum(copy):
    """The same log, cosigned by witnesses that this policy does not name."""
    network = LOG.network.registry
    alone = network_policy(network, "a", LOG.network.issued_at)
    strangers = make_log(1, members=("p", "q", "r", "s", "t")).policy
    with refused("not_final"):
        audited(copy, policy=type(alone)(alone.logs, strangers.witnesses, strangers.groups, strangers.quorum))


# --- Exporting again ------------------------------------------------------------------------------------


def test_a_second_export_writes_nothing(copy):
    before = {file: file.stat().st_mtime_ns for file in files(copy)}
    again = exported(LOG, copy)
    assert (again.written, again.removed) == (0, 0)
    assert {file: file.stat().st_mtime_ns for file in files(copy)} == before


def test_an_export_of_a_log_that_grew_writes_what_is_new_and_removes_what_was_partial(tmp_path):
    log = make_log(600)
    exported(log, tmp_path)
    log.append(entry(index) for index in range(600, 700))
    again = exported(log, tmp_path)
    assert again.written == 3  # bundle and tile of the right edge, checkpoint
    assert again.removed == 2
    assert audited(tmp_path, log).checkpoint.size == 700


def test_an_export_repairs_what_was_altered_or_lost(copy):
    flip(copy / "tile/0/001", 5)
    (copy / "tile/entries/000").unlink()
    assert exported(LOG, copy).written == 2
    audited(copy)


def test_an_export_that_was_interrupted_is_finished_by_the_next(tmp_path):
    class Full:
        """A disk that takes three files."""

        def __init__(self, folder: LogFolder) -> None:
            self.folder, self.left = folder, 3

        def __getattr__(self, name):
            return getattr(self.folder, name)

        def write(self, path: str, data: bytes) -> bool:
            if not self.left:
                raise DiskError("The disk is full.")
            self.left -= 1
            return self.folder.write(path, data)

    with pytest.raises(DiskError):
        asyncio.run(export(LOG, LOG.signed(), LOG.policy.to_bytes(), Full(LogFolder(tmp_path))))
    (tmp_path / "tile/entries/002.p/88.new").parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "tile/entries/002.p/88.new").write_bytes(b"half")
    with refused("missing_part"):
        audited(tmp_path)
    assert exported(LOG, tmp_path).removed == 1
    audited(tmp_path)


def test_a_folder_with_another_log_is_left_alone(copy):
    other = SimulatedLog(LOG.network, "b", list(LOG.entries), ["a", "c", "d", "e"])
    with refused("another_export", "Choose another folder"):
        exported(other, copy)
    audited(copy)


def test_a_folder_with_more_of_the_log_is_left_alone(copy):
    """An older backup must not write over what shows how much is lost."""
    restored = SimulatedLog(LOG.network, "a", [entry(index) for index in range(300)], LOG.cosigners)
    with refused("another_export", "more entries"):
        exported(restored, copy)
    audited(copy)


def test_a_folder_whose_checkpoint_cannot_be_read_is_left_alone(copy):
    (copy / "checkpoint").write_bytes(b"?")
    with refused("another_export"):
        exported(LOG, copy)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError):
        exported(LOG, tmp_path / "file")
