"""Logs of ours, verified by a program that shares no code with us: Go's `sumdb/note` and `sumdb/tlog`, see `main.go`.

It needs Debian's packages `golang-go` and `golang-golang-x-mod-dev`, and downloads nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from riskshare.encoding import base64_text
from riskshare.ledger.export import export
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.proof import prove_consistency, prove_inclusion
from riskshare.ledger.tile import bundles_between, tiles_between
from riskshare.ledger.tlog_proof import make_proof
from riskshare.store.log_folder import LogFolder
from tests.simulator.log import SimulatedLog, make_log
from tests.simulator.tree import DefinedTree, entry

HERE = Path(__file__).parent
GO = shutil.which("go")
MODULE = Path("/usr/share/gocode/src/golang.org/x/mod")

pytestmark = pytest.mark.skipif(
    GO is None or not MODULE.is_dir(),
    reason="Go is not installed: apt install golang-go golang-golang-x-mod-dev",
)


@pytest.fixture(scope="module")
def interop(tmp_path_factory):
    """The program, compiled; call it with its arguments, and get its exit code, its JSON and its message."""
    folder = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOSUMDB": "off",
        "GOTOOLCHAIN": "local",
        "GOPATH": str(folder / "path"),
        "GOCACHE": str(folder / "cache"),
    }
    for name in ("main.go", "go.mod"):  # Go writes beside its sources
        shutil.copy(HERE / name, folder / name)
    subprocess.run([GO, "build", "-o", "interop", "."], cwd=folder, env=environment, check=True)

    def call(*words, lines=""):
        done = subprocess.run(
            [folder / "interop", *map(str, words)], input=lines, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    return call


def exported(log: SimulatedLog, folder: Path, **signed) -> Path:
    asyncio.run(export(log, log.signed(**signed), log.policy.to_bytes(), LogFolder(folder)))
    return folder


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 600, 65_536, 66_000])
def test_go_verifies_an_exported_log(interop, tmp_path, size):
    log = make_log(size)
    folder = exported(log, tmp_path / "log")
    code, found, message = interop("log", folder, folder / "policy")
    assert code == 0, message
    assert found == {
        "origin": "riskshare/simnet/a",
        "size": size,
        "cosigners": 4,
        "tiles": len([*tiles_between(0, size)]),
        "bundles": len([*bundles_between(0, size)]),
    }


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("tile/0/001", 700),
        ("tile/1/000.p/2", 33),
        ("tile/0/002.p/88", 0),
        ("tile/entries/000", 90),
        ("tile/entries/002.p/88", 1),
        ("checkpoint", 22),
        ("checkpoint", -5),
    ],
)
def test_go_refuses_it_when_a_byte_is_altered(interop, tmp_path, path, place):
    folder = exported(make_log(600), tmp_path / "log")
    data = bytearray((folder / path).read_bytes())
    data[place] ^= 1
    (folder / path).write_bytes(data)
    code, _, message = interop("log", folder, folder / "policy")
    assert code == 1
    assert message


def test_go_counts_the_quorum_of_the_policy(interop, tmp_path):
    log = make_log(600)
    for number, (cosigners, code) in enumerate([(("b", "c", "d"), 0), (("b", "c"), 1), ((), 1)]):
        folder = exported(log, tmp_path / str(number), cosigners=cosigners)
        found = interop("log", folder, folder / "policy")
        assert found[0] == code
        assert ("no quorum" in found[2]) == (code == 1)


@pytest.mark.parametrize("index", [0, 255, 256, 300])
def test_go_verifies_a_proof_file(interop, tmp_path, index):
    leaf = Leaf("check", bytes(16), b'{"a":1}' * (index + 1))
    entries = [entry(number) for number in range(301)]
    entries[index] = leaf.entry
    log = make_log(0)
    log.append(entries)
    hashes = [Leaf.from_bytes(leaf.to_bytes()).hash if n == index else leaf_of(n) for n in range(301)]
    tree = DefinedTree(301)
    tree.leaves = hashes
    file = tmp_path / "proof"
    file.write_bytes(make_proof(leaf, index, prove_inclusion(index, 301, tree.read), log.signed()).to_bytes())
    (tmp_path / "policy").write_bytes(log.policy.to_bytes())
    code, found, message = interop("proof", file, tmp_path / "policy")
    assert code == 0, message
    assert found == {"kind": "check", "index": index, "size": 301, "cosigners": 4}
    text = file.read_text()
    file.write_text(text.replace(f"index {index}\n", f"index {index + 1}\n"))
    assert interop("proof", file, tmp_path / "policy")[0] == 1


def leaf_of(number: int) -> bytes:
    return DEFINED.leaves[number]


DEFINED = DefinedTree(301)


def test_go_verifies_our_consistency_proofs_between_all_sizes_up_to_a_hundred(interop):
    def line(old: int, new: int) -> str:
        proof = prove_consistency(old, new, DEFINED.read)
        values = [str(old), base64_text(DEFINED.root(old)), str(new), base64_text(DEFINED.root(new))]
        return " ".join([*values, *map(base64_text, proof)])

    lines = [line(old, new) for new in range(1, 101) for old in range(1, new + 1)]
    code, found, message = interop("consistency", lines="\n".join(lines) + "\n")
    assert code == 0, message
    assert found == {"proofs": len(lines)}
    assert interop("consistency", lines=line(3, 7).rpartition(" ")[0] + "\n")[0] == 1
