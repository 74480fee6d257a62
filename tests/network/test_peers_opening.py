"""Real peers: an auditor replays their logs, has checks opened, and recomputes the verdicts; also of dishonest ones."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from riskshare.cli import app
from riskshare.encoding import cbor_decode, cbor_encode, sha256
from riskshare.generate import generate
from riskshare.ledger.sealed import open_hour_key, open_record, seal_record
from riskshare.loopback import Spec
from riskshare.peer.opening import opened_store
from riskshare.statement import sign
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, TELECOM, Running, until

LISTED = generate(404, 20, ("phone",))
UNLISTED = generate(405, 6, ("phone",), exclude=LISTED)
REGULATOR = Spec("regulator", "Regulator", "regulator", ("auditor", "querier"))


def riskshare(network: Running, *arguments: str, name: str = "regulator") -> tuple[int, Any, str]:
    """Run a command as the auditor would: exit code, JSON, messages."""
    config = str(network.members[name].config_file)
    done = CliRunner().invoke(app, [*arguments, "--json"], env={"RISKSHARE_CONFIG": config})
    return done.exit_code, json.loads(done.stdout.splitlines()[-1]) if done.stdout else None, done.stderr


def entries(network: Running, name: str) -> int:
    [row] = network.rows(
        name, "select coalesce(max(size), 0) as size from ledger_checkpoints where final_at is not null"
    )
    return int(row["size"])


def replay(network: Running, out: Path) -> Any:
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    code, report, messages = riskshare(network, "audit", "replay", "--from", day, "--to", day, "--out", str(out))
    assert code == 0, (messages, report)
    return report


def opened(network: Running, out: Path, *options: str) -> tuple[int, Any]:
    code, report, messages = riskshare(network, "audit", "open", "--out", str(out), "--member", "bank", *options)
    assert report is not None, messages
    return code, report


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    made = make_network(BANK, SHOP, TELECOM, REGULATOR)
    made.publish("shop", "fraud", LISTED)
    made.publish("telecom", "mules", LISTED[:5])
    made.start(program=made.hurried())
    made.ready()
    return made


@pytest.fixture(scope="module")
def checks(network: Running) -> list[str]:
    """A hit on two lists, a hit on one, a clear, one from the cache, one of several identifiers."""
    asked = [LISTED[0]], [LISTED[9]], [UNLISTED[0]], [UNLISTED[0]], [LISTED[1], UNLISTED[1], UNLISTED[2]]
    answers = [network.check("bank", *each) for each in asked]
    assert [each["verdict"] for each in answers] == ["hit", "hit", "clear", "clear", "hit"]
    return [each["check"] for each in answers]


@pytest.fixture(scope="module")
def case(network: Running, checks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("case") / "out"
    settle(network, len(checks))
    replay(network, out)
    return out


def settle(network: Running, count: int) -> None:
    """Wait until the bank's log, and those of the owners, are final with what was asked."""

    def final() -> bool:
        [row] = network.rows("bank", "select count(*) as n from checks")
        left = [network.rows(name, "select count(*) as n from ledger_pending")[0]["n"] for name in network.members]
        heads = [
            network.rows(
                name,
                "select count(*) as n from ledger_checkpoints where final_at is null and size > "
                f"{entries(network, name)}",
            )[0]["n"]
            for name in network.members
        ]
        return row["n"] >= count and not any(left) and not any(heads)

    until(final, "all logs to be final")


def test_honest_checks_are_recomputed_and_nobody_is_blamed(network: Running, case: Path, checks: list[str]) -> None:
    named = [option for check in checks for option in ("--check", check)]
    code, report = opened(network, case, *named)
    assert (code, report["clean"], report["complete"], report["findings"]) == (0, True, True, [])
    assert [step["outcome"] for step in report["steps"]] == ["holds"] * 8
    table = next(table for table in report["tables"] if table["title"] == "Checks")
    assert [row[4:6] for row in table["rows"]] == [["hit", "hit"]] * 2 + [["clear", "clear"]] * 2 + [["hit", "hit"]]
    for place in (case / "open.json", case / "open.html"):
        text = place.read_text()
        assert place.stat().st_mode & 0o077 == 0
        assert not any(each.value in text for each in (*LISTED, *UNLISTED))
    assert network.rows("bank", "select count(*) as n from audits where action = 'open'")[0]["n"] == 1
    assert network.rows("shop", "select count(*) as n from audits where action = 'prove'")[0]["n"] == 1


def test_the_folder_is_verified_again_without_any_peer(network: Running, case: Path, checks: list[str]) -> None:
    named = [option for check in checks for option in ("--check", check)]
    opened(network, case, *named)
    requests = network.rows("regulator", "select count(*) as n from audits")[0]["n"]
    code, report = opened(network, case, *named, "--offline")
    assert (code, report["findings"]) == (0, [])
    assert network.rows("regulator", "select count(*) as n from audits")[0]["n"] == requests


def test_a_sample_is_drawn_by_the_seed_and_states_its_probability(network: Running, case: Path) -> None:
    seed = "ab" * 32
    code, report = opened(network, case, "--sample", "3", "--seed", seed)
    assert (code, report["findings"]) == (0, [])
    again = opened(network, case, "--sample", "3", "--seed", seed, "--offline")[1]
    checks = [next(t for t in each["tables"] if t["title"] == "Checks")["rows"] for each in (report, again)]
    assert len(checks[0]) == 3
    assert checks[0] == checks[1]
    assert any("a single one of the 5 checks (1)" in limit for limit in report["limits"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "one of the two"),
        (("--sample", "3", "--check", "019391a0-0000-7000-8000-000000000001"), "one of the two"),
        (("--check", "12"), "no id of a check"),
        (("--sample", "3", "--seed", "12"), "32 bytes in hex"),
        (("--sample", "3", "--from", "2026-01-01"), "both --from and --to"),
        (("--check", "019391a0-0000-7000-8000-000000000001", "--seed", "ab" * 32), "belong to a sample"),
        (("--sample", "3", "--from", "2020-01-01", "--to", "2020-01-02"), "no check in that period"),
        (("--sample", "3", "--member", "shop2"), "was not replayed"),
    ],
)
def test_options_that_are_refused(network: Running, case: Path, options: tuple[str, ...], says: str) -> None:
    code, report = opened(network, case, *options, "--offline")
    assert code == 2
    assert says in report["error"]["message"]


def test_a_folder_without_a_case_is_refused(network: Running, tmp_path: Path) -> None:
    code, report = opened(network, tmp_path, "--sample", "3")
    assert code == 2
    assert "audit replay" in report["error"]["message"]


def test_a_check_that_nobody_logged_is_told_and_blames_nobody(network: Running, case: Path) -> None:
    code, report = opened(network, case, "--check", "019391a0-0000-7000-8000-000000000001")
    assert (code, report["findings"]) == (3, [])
    assert report["steps"][0]["outcome"] == "skipped"


def test_an_owner_that_is_down_leaves_a_gap(network: Running, case: Path) -> None:
    check = network.check("bank", UNLISTED[4])["check"]
    settle(network, 6)
    replay(network, case)
    network.stop("shop")
    try:
        code, report = opened(network, case, "--check", check)
        assert (code, report["findings"]) == (3, [])
        assert {step["number"] for step in report["steps"] if step["outcome"] == "skipped"} >= {"5"}
    finally:
        network.start("shop")
        network.ready()
    code, report = opened(network, case, "--check", check)
    assert (code, report["findings"]) == (0, [])


def test_snapshots_and_segments_of_former_versions_are_had(network: Running, tmp_path: Path) -> None:
    """The list changes after the check: what it looked into then is what counts."""
    check = network.check("bank", LISTED[3])["check"]
    network.publish("shop", "fraud", generate(406, 5, ("phone",), exclude=[*LISTED, *UNLISTED]))
    until(lambda: network.check("bank", LISTED[3])["owners"][0]["lists"]["shop/fraud"] > 1, "the change")
    settle(network, 7)
    replay(network, tmp_path / "out")
    code, report = opened(network, tmp_path / "out", "--check", check)
    assert (code, report["findings"]) == (0, [])


def test_what_is_opened_is_for_its_auditor_and_its_request_alone(
    network: Running, case: Path, checks: list[str]
) -> None:
    opened(network, case, "--check", checks[0])
    rows = network.rows("bank", "select digest, action from audits where action in ('open', 'read')")
    [opening, reading] = [next(row["digest"] for row in rows if row["action"] == action) for action in ("open", "read")]
    shown = network.rows("shop", "select digest from audits where action = 'prove'")[0]["digest"]

    def get(member: str, path: str, name: str = "regulator") -> tuple[int, str]:
        found = network.exchange(member, f"/peer/v1/audits/{path}", tls=network.tls(name, member))
        return found.status, "" if found.status == 200 else str(found.problem["code"])

    assert get("bank", f"{opening.hex()}/opened?first=0") == (200, "")
    assert get("shop", f"{shown.hex()}/proofs?first=0") == (200, "")
    for member, digest, place in (("bank", opening, "opened"), ("shop", shown, "proofs")):
        assert get(member, f"{digest.hex()}/{place}?first=1000") == (404, "not_found")
        assert get(member, f"{digest.hex()}/{place}?first=x")[0] == 422
        assert get(member, f"{digest.hex()}/{place}")[0] == 422
        assert get(member, f"{digest.hex()}/{place}?first=0", "telecom")[1] == "unknown_access"
        assert get(member, f"{'00' * 32}/{place}?first=0")[1] == "unknown_access"
        assert get(member, f"{digest.hex()[:-2]}/{place}?first=0")[0] == 404
    assert get("bank", f"{reading.hex()}/opened?first=0")[1] == "unknown_access"
    assert get("bank", f"{opening.hex()}/proofs?first=0")[1] == "unknown_access"
    text = network.log_file("bank").read_text()
    assert not any(each.value in text for each in (*LISTED, *UNLISTED))
    assert not any(check in text for check in checks)


async def _rewrite(network: Running, check: UUID, change: Callable[[Any], object]) -> None:
    """The bank seals another record from the beginning, and signs the statement of that one."""
    member = network.member("bank")
    async with opened_store(member.config) as store:
        kept = await store.records.check(check)
        assert kept is not None
        found = await store.records.hour_key(kept.hour_key)
        assert found is not None
        key = open_hour_key(found[2], member.keys.sealing, member="bank", id=found[0], hour=found[1])
        parts = cbor_decode(open_record(kept.record, key, member="bank", check=check), limit=2**20)
        change(parts)
        plaintext = cbor_encode(parts)
        body = json.loads(kept.statement) | {"record": sha256(plaintext).hex()}
        signed = sign("check", member.registry.network, body, member.keys.identity)
        sealed = seal_record(plaintext, key, secrets.token_bytes(12), member="bank", check=check)
        async with store.pool.acquire() as connection:
            await connection.execute(
                "update checks set record = $2, statement = $3, signature = $4 where id = $1",
                check,
                sealed,
                signed.json,
                signed.signature,
            )


def test_a_hidden_hit_and_a_changed_identifier_are_found(network: Running, tmp_path: Path) -> None:
    """A dishonest bank rewrites its records after the log is final: its own log convicts it."""
    hit, other = (network.check("bank", each)["check"] for each in (LISTED[6], LISTED[7]))
    settle(network, 9)
    replay(network, tmp_path / "out")

    def hide(parts: Any) -> None:
        parts["outcome"].update(hits=[], verdict="clear")

    asyncio.run(_rewrite(network, UUID(hit), hide))
    code, report = opened(network, tmp_path / "out", "--check", hit, "--check", other)
    assert code == 1
    assert {(one["kind"], one["accused"]) for one in report["findings"]} == {("rewritten_check", "bank")}
    assert [one["about"]["check"] for one in report["findings"]] == [hit]
    assert (tmp_path / "out" / report["findings"][0]["evidence"][0]["path"]).exists()
