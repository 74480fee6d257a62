"""Real peers: an auditor collects the members' logs with their statements, and the members are told."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from riskshare.audit.access import KIND, AccessRequest
from riskshare.audit.collect import Collected, Missed, Wanted
from riskshare.audit.page import RANGE_FILE, STANDING, AuditRange, page_at
from riskshare.cli import app
from riskshare.cli.acting import opened
from riskshare.cli.auditing_collect import collect_members, member_folder, members_to_audit
from riskshare.cli.own_ledger import registry_in_force
from riskshare.cli.screen import Screen
from riskshare.generate import generate
from riskshare.ledger.audit import audit
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.policy import parse_policy
from riskshare.loopback import Spec
from riskshare.oversight import set_audit_rights
from riskshare.peer.opening import new_id, now
from riskshare.statement import sign
from riskshare.store.log_folder import LogFolder
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, TELECOM, Running, until

LISTED = generate(404, 20, ("phone",))
REGULATOR = Spec("regulator", "Regulator", "regulator", ("auditor", "querier"))
OTHERS = ["bank", "shop", "telecom"]


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    made = make_network(BANK, SHOP, TELECOM, REGULATOR)
    made.publish("shop", "fraud", LISTED)
    made.start(program=made.hurried())
    made.ready()
    for each in LISTED[:3]:
        made.check("bank", each)
    until(lambda: final(made, "bank") >= 6 and final(made, "shop") >= 4, "what was asked to be final")
    return made


def final(network: Running, name: str) -> int:
    [row] = network.rows(
        name, "select coalesce(max(size), 0) as size from ledger_checkpoints where final_at is not null"
    )
    return int(row["size"])


def wanted(**changes: object) -> Wanted:
    end = datetime.now(UTC).replace(microsecond=0)
    return Wanted(**{"opened": end - timedelta(days=1), "closed": end, "reason": "yearly audit", **changes})


def collect(
    network: Running, out: Path, wish: Wanted, *members: str, name: str = "regulator"
) -> list[Collected | Missed]:
    async def run() -> list[Collected | Missed]:
        async with opened(network.members[name].config_file, Screen(as_json=True)) as own:
            return await collect_members(own, out, members, wish)

    return asyncio.run(run())


def pages(folder: LogFolder, start: int, size: int) -> list:
    found, at = [], 0
    while at < size:
        page = page_at(folder.read, at, start, size)
        assert page is not None, at
        found.append(page)
        at = page.next
    return found


def test_a_case_holds_every_log_whole_with_what_its_entries_stand_for(network: Running, tmp_path: Path) -> None:
    found = collect(network, tmp_path / "case", wanted(), *OTHERS, "regulator")
    assert [each.member for each in found] == [*OTHERS, "regulator"]
    kinds = {}
    for each in found:
        assert isinstance(each, Collected), each
        folder = LogFolder(member_folder(tmp_path / "case", each.member))
        policy = parse_policy(folder.read("policy", 10**6) or b"")
        audited = asyncio.run(audit(folder, policy))
        assert audited.checkpoint.size == each.size > 0
        shown = AuditRange.from_bytes(folder.read(RANGE_FILE, 10**6) or b"")
        assert parse_signed(shown.checkpoint).checkpoint == audited.checkpoint
        assert (shown.start, each.start) == (0, 0)
        rows = [row for page in pages(folder, 0, each.size) for row in page.rows]
        assert [row.index for row in rows] == list(range(each.size))
        kinds[each.member] = {row.kind for row in rows}
    assert {"receipt", "check", "registry"} <= kinds["bank"]
    assert {"receipt", "epoch", "snapshot", "registry"} <= kinds["shop"]
    assert (tmp_path / "case").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "case" / "registry").iterdir()] == ["2.json"]


def test_what_is_there_and_right_is_not_fetched_again(network: Running, tmp_path: Path) -> None:
    """Under one request, whatever happened to the folder in between."""
    wish = wanted()
    [first] = collect(network, tmp_path, wish, "bank")
    assert isinstance(first, Collected)
    folder = LogFolder(member_folder(tmp_path, "bank"))
    [second] = collect(network, tmp_path, wish, "bank")
    assert isinstance(second, Collected)
    assert second.request == first.request
    # A page is altered, a tile and a page are lost, and somebody has put a page and half a page there.
    place = pages(folder, 0, second.size)[0].path
    page = member_folder(tmp_path, "bank") / place
    page.write_bytes(page.read_bytes()[:-1])
    folder.write("statements/000000999999.cbor", b"x")
    folder.write("statements/000000000000.cbor.new", b"x")
    folder.remove(next(path for path in whole_paths(folder) if path.startswith("tile/0/")))
    [third] = collect(network, tmp_path, wish, "bank")
    assert isinstance(third, Collected)
    assert third.fetched > 0
    left = [path.name for path in member_folder(tmp_path, "bank").rglob("*")]
    assert not any("999999" in name or name.endswith(".new") for name in left)
    asyncio.run(audit(folder, parse_policy(folder.read("policy", 10**6) or b"")))
    pages(folder, third.start, third.size)


def whole_paths(folder: LogFolder) -> list[str]:
    return sorted(folder.parts())


def test_a_member_that_is_down_is_missed_and_the_others_are_not(network: Running, tmp_path: Path) -> None:
    network.stop("telecom")
    try:
        found = collect(network, tmp_path, wanted(), "telecom", "bank")
    finally:
        network.start("telecom")
    assert isinstance(found[0], Missed)
    assert (found[0].member, found[0].error.code) == ("telecom", "peer_down")
    assert isinstance(found[1], Collected)


def test_both_sides_log_the_request_and_the_operators_are_told(network: Running, tmp_path: Path) -> None:
    [found] = collect(network, tmp_path, wanted(reason="case 7 of +8613800138000"), "bank")
    assert isinstance(found, Collected)
    for name in ("bank", "regulator"):
        [row] = network.rows(name, "select * from audits where digest = $1", found.request)
        assert (row["auditor"], row["member"], row["action"]) == ("regulator", "bank", "read")
        until(
            lambda name=name: network.rows(
                name, "select 1 from ledger_entries where kind = 'audit' and source = $1", found.request
            ),
            f"the request to stand in the log of {name}",
        )
    line = network.log("bank", "audit_access")[-1]
    assert (line["auditor"], line["action"], line["checks"], line["receipts"]) == ("regulator", "read", 0, 0)
    assert line["since"] < line["until"]
    assert "138" not in json.dumps(line).replace(line["time"], "")
    assert network.metric("bank", "audit_accesses_total", auditor="regulator", action="read") >= 1
    assert network.metric("bank", "audit_accesses_total", auditor="regulator", action="open") == 0
    for name in ("bank", "regulator"):
        result = CliRunner().invoke(
            app, ["audit", "accesses", "--json", "--config", str(network.members[name].config_file)]
        )
        assert result.exit_code == 0
        newest = json.loads(result.stdout)["audits"][0]
        assert (newest["audit"], newest["reason"]) == (found.request.hex(), "case 7 of +8613800138000")


def test_who_is_no_auditor_is_shown_nothing(network: Running, tmp_path: Path) -> None:
    [found] = collect(network, tmp_path, wanted(), "bank", name="telecom")
    assert isinstance(found, Missed)
    assert (found.error.code, getattr(found.error, "remote_code", "")) == ("peer_refused", "no_audit_right")
    assert not member_folder(tmp_path, "bank").exists()


def posted(network: Running, member: str, request: AccessRequest, signer: str = "regulator", path: str = "") -> tuple:
    key = network.member(signer).keys.identity
    signed = sign(KIND, request.network, request.body(), key)
    tls = network.tls(signer, member)
    answer = network.exchange(member, "/peer/v1/audits", method="POST", body=signed.wire(), tls=tls)
    if answer.status == 200 and path:
        answer = network.exchange(member, f"/peer/v1/audits/{signed.digest.hex()}{path}", tls=tls)
    return answer.status, None if answer.status == 200 else answer.problem["code"]


def made(**changes: object) -> AccessRequest:
    moment = now().replace(microsecond=0)
    fields = {
        "access": new_id(),
        "action": "read",
        "auditor": "regulator",
        "member": "bank",
        "network": "loopback",
        "registry": 2,
        "reason": "a test",
        "requested_at": moment,
        "start": moment - timedelta(days=1),
        "end": moment,
    }
    return AccessRequest(**fields | changes)


def test_what_is_refused_is_refused_by_name(network: Running) -> None:
    old = now().replace(microsecond=0) - timedelta(minutes=2)
    opening = {"action": "open", "start": None, "end": None}
    assert posted(network, "bank", made(), path="/range") == (200, None)
    assert posted(network, "bank", made(network="elsewhere")) == (400, "wrong_network")
    assert posted(network, "bank", made(member="shop")) == (400, "wrong_owner")
    assert posted(network, "bank", made(auditor="shop")) == (403, "wrong_member")
    assert posted(network, "bank", made(), "telecom") == (403, "wrong_member")
    assert posted(network, "bank", made(registry=99)) == (412, "registry_mismatch")
    assert posted(network, "bank", made(requested_at=old)) == (412, "clock_off")
    assert posted(network, "bank", made(requested_at=old - timedelta(days=1))) == (403, "access_expired")
    many = {**opening, "checks": tuple(new_id() for _ in range(1_000))}
    assert posted(network, "bank", made(**many)) == (200, None)
    assert posted(network, "bank", made(**opening, checks=(new_id(),))) == (429, "audit_quota")
    assert posted(network, "bank", made(**opening, checks=(new_id(),)), path="/range") == (429, "audit_quota")


def test_a_request_to_open_shows_no_log_and_one_that_nobody_sent_nothing(network: Running) -> None:
    request = made(member="shop", action="open", start=None, end=None, checks=(new_id(),))
    assert posted(network, "shop", request, path="/range") == (404, "unknown_access")
    assert posted(network, "shop", request, path="/statements?first=0&size=1") == (404, "unknown_access")
    answer = network.exchange("shop", f"/peer/v1/audits/{'00' * 32}/range", tls=network.tls("regulator", "shop"))
    assert (answer.status, answer.problem["code"]) == (404, "unknown_access")


def test_what_one_auditor_asked_another_member_does_not_read(network: Running) -> None:
    request = made(member="shop")
    assert posted(network, "shop", request) == (200, None)
    digest = sign(KIND, "loopback", request.body(), network.member("regulator").keys.identity).digest.hex()
    answer = network.exchange("shop", f"/peer/v1/audits/{digest}/range", tls=network.tls("bank", "shop"))
    assert (answer.status, answer.problem["code"]) == (404, "unknown_access")


@pytest.mark.parametrize("query", ["", "?first=0", "?first=0&size=x", "?first=-1&size=1"])
def test_a_page_is_named_by_numbers(network: Running, query: str) -> None:
    assert posted(network, "bank", made(), path=f"/statements{query}") == (422, "invalid_input")


@pytest.mark.parametrize("query", ["?first=1&size=1", "?first=0&size=0", "?first=0&size=999999999"])
def test_there_is_no_page_beyond_the_range(network: Running, query: str) -> None:
    assert posted(network, "bank", made(), path=f"/statements{query}") == (404, "not_found")


def test_what_a_member_exports_is_what_an_auditor_collects(network: Running, tmp_path: Path) -> None:
    wish = wanted(closed=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1))
    network.stop("telecom")  # so that the log does not grow between the two
    network.start("telecom")
    [found] = collect(network, tmp_path / "case", wish, "telecom")
    assert isinstance(found, Collected)
    words = ["ledger", "export", "--statements", "--json", "--out", str(tmp_path / "export")]
    words += ["--from", wish.opened.isoformat(), "--to", wish.closed.isoformat()]
    words += ["--config", str(network.members["telecom"].config_file)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["start"], told["pages"]) == (0, 1)
    collected = LogFolder(member_folder(tmp_path / "case", "telecom"))
    exported = LogFolder(tmp_path / "export")
    rows = [row for page in pages(collected, 0, found.size) for row in page.rows]
    again = [row for page in pages(exported, 0, told["size"]) for row in page.rows]
    assert again[: len(rows)] == rows
    assert (tmp_path / "export").stat().st_mode & 0o077 == 0
    result = CliRunner().invoke(app, words)
    assert json.loads(result.stdout)["pages_written"] <= 2


HIDDEN = generate(405, 1, ("phone",))
HIDING = """
create function hide() returns trigger language plpgsql as
'begin delete from ledger_pending where source = new.source; return null; end'
"""
HIDE = "create trigger hide after insert on ledger_pending for each row when (new.kind = 'snapshot') execute function hide()"


def command(network: Running, member: str, *words: object) -> dict:
    config = ["--config", network.members[member].config_file] if "reconcile" not in words else []
    result = CliRunner().invoke(app, [*map(str, [*words, "--json", *config])])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_what_an_owner_left_out_of_its_log_is_gathered_from_who_was_given_it(network: Running, tmp_path: Path) -> None:
    """The shop's database takes a snapshot that never comes to its log; the bank looks into it, and names it."""
    for statement in (HIDING, HIDE):
        network.rows("shop", statement)
    network.publish("shop", "fraud", HIDDEN)
    until(lambda: network.check("bank", *HIDDEN)["verdict"] == "hit", "the bank to have the new list")
    network.check("bank", *generate(406, 1, ("phone",)))  # of the others it knows the tokens, and asks no more
    network.rows("shop", "drop trigger hide on ledger_pending")
    receipts = [row["id"] for row in network.rows("bank", "select id from receipts where side = 'querier'")]
    until(
        lambda: network.rows(
            "bank",
            "select 1 from ledger_checkpoints where final_at is not null and size >"
            " all(select index from ledger_entries where source = any($1)) and $2 ="
            " (select count(*) from ledger_entries where source = any($1))",
            receipts,
            len(receipts),
        ),
        "what was asked to be final",
    )
    logged = {row["digest"] for row in network.rows("shop", "select source as digest from ledger_entries")}
    held = {
        row["digest"]
        for row in network.rows("bank", "select digest from held_snapshots where list_name = 'shop/fraud'")
    }
    [hidden] = held - logged
    out, name = tmp_path / "case", f"{hidden.hex()}.cbor"
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    period = ("--from", (end - timedelta(days=1)).isoformat(), "--to", end.isoformat())
    told = command(
        network, "regulator", "audit", "replay", *period, "--out", out, "--member", "bank", "--member", "shop"
    )
    figures = {figure["name"]: figure["value"] for figure in told["figures"]}
    assert figures["Snapshots on no owner's log, shown by members"] == "1 of 1"
    assert [path.name for path in (out / "held").iterdir()] == [name]
    assert (out / "held").stat().st_mode & 0o077 == 0
    # Within the grace it may still come: nobody is convicted, and nothing is left to be counted.
    reconciled = command(network, "regulator", "audit", "reconcile", "--out", out)
    assert "unknown_snapshot" not in {one["kind"] for one in reconciled["observations"]}
    assert not reconciled["findings"]
    # And so does what the bank exports, without anybody's peer.
    for member in ("bank", "shop"):
        export = command(network, member, "ledger", "export", "--statements", *period, "--out", tmp_path / member)
        assert export["held"] == len(list((tmp_path / member / "held").glob("*")))
    assert (tmp_path / "bank" / "held" / name).is_file()
    folders = ("--offline", tmp_path / "bank", tmp_path / "shop", "--network", out / "registry")
    command(network, "regulator", "audit", "replay", *period, "--out", tmp_path / "again", *folders)
    assert (tmp_path / "again" / "held" / name).read_bytes() == (out / "held" / name).read_bytes()


def test_a_right_that_is_taken_away_ends_what_was_admitted(network: Running, tmp_path: Path) -> None:
    wish = wanted()
    [found] = collect(network, tmp_path, wish, "shop")
    assert isinstance(found, Collected)
    set_audit_rights(network.directory, "regulator", now=datetime.now(UTC), members=["bank"])

    def refused() -> str | None:
        answer = network.exchange(
            "shop", f"/peer/v1/audits/{found.request.hex()}/range", tls=network.tls("regulator", "shop")
        )
        return None if answer.status == 200 else answer.problem["code"]

    assert until(refused, "the shop to have the new registry") == "no_audit_right"

    async def rights() -> list[str]:
        async with opened(network.members["regulator"].config_file, Screen(as_json=True)) as own:
            return members_to_audit(await registry_in_force(own), "regulator", ())

    assert asyncio.run(rights()) == ["bank", "regulator"]
    assert {"epoch", "registry"} == STANDING
