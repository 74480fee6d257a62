"""`audit open` writes evidence of what contradicts itself, and `audit evidence` convicts by it without the folder."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from riskshare.audit.evidence import read_evidence
from riskshare.audit.open_evidence import ASK_AGAIN, draft
from riskshare.audit.opened import read_check
from riskshare.encoding import format_time
from riskshare.keyterm import KeyTerm
from riskshare.statement import sign
from riskshare.store.case_folders import CaseFolders
from riskshare.store.open_folder import OpenFolder
from tests.simulator.casefolder import CaseNetwork
from tests.simulator.opening import BANK, LISTED, START, UNLISTED, Audit, Room
from tests.simulator.query import NETWORK, identity

NAMES = (BANK, "jd", "unionpay")
OPENED, CLOSED = START - timedelta(minutes=10), START + timedelta(hours=1)


def claims_another(parts: Any) -> None:
    parts["identifiers"] = [UNLISTED]
    parts["outcome"].update(hits=[], verdict="clear")


def says_clear(parts: Any) -> None:
    parts["outcome"].update(verdict="clear")


def says_another_purpose(parts: Any) -> None:
    parts["purpose"] = "marketing"


def hides_its_hits(parts: Any) -> None:
    parts["outcome"].update(hits=[], verdict="clear")


def stage(out: Path, change: Any, *, commit: bool = True) -> str:
    """A case folder with one check of a bank that sealed another record, opened; gives the id of the check."""
    room = Room()
    check = asyncio.run(room.check(LISTED)).check
    room.rewrite(check, change, commit=commit)
    asyncio.run(Audit(room, out).open(check))
    case = CaseNetwork(NAMES, start=START - timedelta(hours=1))
    for name in NAMES:
        terms = case.network.registry.members[name].identity
        own = KeyTerm(identity(name).public, case.start - timedelta(days=1))
        case.network.change(name, identity=(*terms, own))
    case.begin()
    case.step(hours=1, minutes=1)
    kept = room.bank.store.checks[check]
    stated = sign("check", NETWORK, json.loads(kept.statement), identity(BANK))
    assert stated.json == kept.statement
    case.logs[BANK].add("check", stated.json, case.now, signature=stated.signature)
    case.step(hours=2)
    case.checkpoint()
    case.write(out, OPENED, CLOSED)
    return str(check)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of stages that are opened already, with what came of it."""
    made: dict[Any, Any] = {}
    return made, lambda: tmp_path_factory.mktemp("case") / "out"


@pytest.fixture
def opened(run, answer, folders):
    """Open the check of a stage offline: the report's findings, and the paths of evidence of its own."""
    known, new = folders

    def call(change, *, commit=True, code=1):
        place = change, commit
        if place not in known:
            known[place] = play(new(), change, commit=commit, code=code)
        return known[place]

    def play(out, change, *, commit, code):
        check = stage(out, change, commit=commit)
        period = ("--from", format_time(OPENED), "--to", format_time(CLOSED))
        logs = [word for name in NAMES for word in ("--offline", out / "members" / name)]
        replayed = run("audit", "replay", *period, "--out", out, "--network", out / "registry", *logs)
        assert replayed.exit_code == 0, replayed.stdout + replayed.stderr
        came, [report] = answer("audit", "open", "--out", out, "--member", BANK, "--check", check, "--offline")
        assert came == code, report
        paths = [each["path"] for one in report["findings"] for each in one["evidence"]]
        return out, report["findings"], sorted(path for path in set(paths) if path.endswith(".json"))

    return call


@pytest.fixture
def convicts(answer):
    def call(file, network):
        code, [told] = answer("audit", "evidence", file, "--network", network)
        return code, told

    return call


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (claims_another, "other_identifier", "is not that of the identifier in its record"),
        (says_clear, "wrong_verdict", "does not follow from the hits and owners recorded"),
        (says_another_purpose, "wrong_verdict", "The record says marketing"),
    ],
)
def test_a_check_that_contradicts_itself_convicts_by_the_registry_alone(opened, convicts, change, kind, says):
    out, findings, [path] = opened(change)
    assert {(one["kind"], one["accused"]) for one in findings} == {(kind, BANK)}
    assert (out / path).stat().st_mode & 0o077 == 0
    code, told = convicts(out / path, out / "registry")
    assert (code, told["accused"], told["kind"]) == (0, BANK, kind)
    assert says in told["sentence"]


def test_what_takes_lists_to_see_has_no_file(opened):
    _, findings, paths = opened(hides_its_hits, code=3)  # nor do these logs hold the epochs
    assert (findings, paths) == ([], [])


def test_a_record_that_is_not_the_one_committed_to_has_no_file(opened):
    """Nobody signed what was shown: whoever says that it was could have made it."""
    _, findings, paths = opened(hides_its_hits, commit=False)
    assert ({one["kind"] for one in findings}, paths) == ({"rewritten_check"}, [])


def honest(_: Any) -> None:
    pass


def forged_batch(shown):
    batch = shown.batches[0]
    return replace(shown, batches=(replace(batch, elements=batch.evaluated, evaluated=batch.elements),))


def other_record(shown):
    return replace(shown, record=shown.record[:-1] + b"\x00")


def nothing(shown):
    return replace(shown, state="sealed", record=b"", batches=())


def no_batches(shown):
    return replace(shown, batches=())


@pytest.mark.parametrize("kind", ["other_identifier", "wrong_verdict"])
@pytest.mark.parametrize("spoil", [forged_batch, other_record, nothing, no_batches])
def test_whoever_carries_an_honest_check_convicts_nobody(opened, convicts, tmp_path, kind, spoil):
    """Made over with what an auditor could leave out, swap or make up."""
    out, _, _ = opened(honest, code=3)
    folders = CaseFolders(out)
    index, row = next((at, row) for at in range(50) if (row := folders.row(BANK, at)) and row.kind == "check")
    shown = OpenFolder(out).check(BANK, UUID(json.loads(row.statement)["check"]))
    for made in (shown, spoil(shown), spoil(replace(shown, batches=shown.batches[::-1]))):
        forged = tmp_path / "forged.json"
        forged.write_bytes(draft(kind, BANK, NETWORK, folders, index, made))
        code, told = convicts(forged, out / "registry")
        assert (code, told["convicts"]) == (1, False)


@pytest.mark.parametrize("spoil", [forged_batch, other_record, nothing, no_batches])
def test_of_what_convicts_every_part_is_needed(opened, convicts, tmp_path, spoil):
    out, _, [path] = opened(claims_another)
    file = read_evidence((out / path).read_bytes())
    for made in (
        replace(file, shown=spoil(replace_batches(file.shown)).to_bytes()),
        replace(file, entries=(replace(file.entries[0], signature=bytes(64)),)),
        replace(file, entries=(replace(file.entries[0], salt=bytes(16)),)),
        replace(file, entries=()),
        replace(file, accused="jd"),
    ):
        forged = tmp_path / "forged.json"
        forged.write_bytes(made.to_bytes())
        assert convicts(forged, out / "registry")[0] == 1


def replace_batches(shown: bytes):
    """Only the first batch: it alone would convict."""
    check = read_check(shown)
    return replace(check, batches=check.batches[:1])


@pytest.mark.parametrize("kind", sorted(ASK_AGAIN))
def test_of_what_nobody_signed_no_file_convicts_and_it_is_said_why(opened, convicts, tmp_path, kind):
    out, _, [path] = opened(claims_another)
    file = replace(read_evidence((out / path).read_bytes()), kind=kind)
    forged = tmp_path / "forged.json"
    forged.write_bytes(file.to_bytes())
    code, told = convicts(forged, out / "registry")
    assert (code, told["why"]) == (1, ASK_AGAIN[kind])
