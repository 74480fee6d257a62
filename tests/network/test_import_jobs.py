"""Files that programs send to a real peer to be imported into its lists."""

from __future__ import annotations

import asyncio
import http.client
import json
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
import pytest
from typer.testing import CliRunner

from riskshare.api_client import Client
from riskshare.cli import app
from riskshare.errors import InputError
from riskshare.generate import generate
from riskshare.loopback import Spec
from riskshare.store.connection import LIST_IMPORT_LOCKS
from tests.network.conftest import MakeNetwork
from tests.network.test_peers_crash import died, program
from tests.simulator.payments import till
from tests.simulator.running import Running, until

SHOP = Spec("shop", "Shop", "payment", settings={"publish": {"import_mib": 1}})
LISTED = [each.canonical for each in generate(601, 20, ("phone",))]
MANY = [each.canonical for each in generate(602, 8_000, ("phone",))]
CSV = "text/csv"
PATH = "/v1/lists/fraud/imports"

DIES_AFTER_ONE_PIECE = """
import os, signal
from riskshare.cli import main
from riskshare.store.imports import Staging

add_for_real = Staging.add
added = []

async def add(self, piece):
    if added:
        os.kill(os.getpid(), signal.SIGKILL)
    added.append(piece.rows)
    await add_for_real(self, piece)

Staging.add = add
if __name__ == "__main__":
    main()
"""


SWITCHED = """
import asyncio
from pathlib import Path
from riskshare.cli import main
from riskshare.server import imports
from riskshare.store.imports import Staging

switches = Path({switches!r})
add_for_real, finish_for_real, parts_for_real = Staging.add, Staging.finish, imports._parts

def on(name):
    return (switches / name).exists()

async def add(self, piece):
    await add_for_real(self, piece)
    while on("held"):
        await asyncio.sleep(0.01)

async def finish(self):
    if on("broken"):
        raise RuntimeError("phone:+8613800138000")
    await finish_for_real(self)

def parts(request):
    imports.STALL_SECONDS = 0.3 if on("stalls") else 30.0
    return parts_for_real(request)

Staging.add, Staging.finish, imports._parts = add, finish, parts
if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder; the shop's peer looks there what a test wants: `held`, `broken`, `stalls`."""
    return tmp_path_factory.mktemp("switches")


@contextmanager
def switched(switches: Path, name: str) -> Iterator[None]:
    (switches / name).touch()
    try:
        yield
    finally:
        (switches / name).unlink()


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork, switches: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A shop with lists of its own."""
    network = make_network(SHOP)
    network.publish("shop", "fraud", generate(600, 1, ("phone",)))
    network.publish("shop", "whole", generate(600, 10, ("phone",)))
    network.publish("shop", "long", generate(600, 1, ("phone",)))
    network.publish("shop", "mapped", generate(600, 1, ("phone",)))
    text = SWITCHED.format(switches=str(switches))
    network.start("shop", program=program(tmp_path_factory.mktemp("program"), text))
    return network


def ask(
    network: Running, method: str, path: str, body: bytes | None = None, kind: str = CSV
) -> tuple[int, dict[str, str], Any]:
    """One request to the shop's client API."""
    member = network.members["shop"]
    connection = http.client.HTTPConnection(urlsplit(member.urls["clients"]).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {member.api_key}"} | ({} if body is None else {"Content-Type": kind})
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, dict(answer.getheaders()), found


@contextmanager
def unended(network: Running) -> Iterator[http.client.HTTPConnection]:
    """A file on its way to the shop of which only the first bytes come."""
    member = network.members["shop"]
    connection = http.client.HTTPConnection(urlsplit(member.urls["clients"]).netloc, timeout=60)
    with closing(connection):
        connection.putrequest("POST", PATH)
        for name, value in ("Authorization", f"Bearer {member.api_key}"), ("Content-Type", CSV), ("Content-Length", 99):
            connection.putheader(name, str(value))
        connection.endheaders(b"identifier")
        yield connection


def accepted(network: Running, path: str, body: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Send a file, again for as long as the last ones of others are on their way; headers, and how its job began."""

    def answered() -> tuple[int, dict[str, str], Any] | None:
        found = ask(network, "POST", path, body)
        return None if (found[0], found[2].get("code")) == (503, "imports_busy") else found

    status, headers, begun = until(answered, "there is a place for one more")
    assert status == 202, begun
    return headers, begun


def send(network: Running, body: bytes, of: str = "fraud", **query: str) -> dict[str, Any]:
    """Send a file, and wait until its job is over."""
    path = f"/v1/lists/{of}/imports?{urlencode(query)}"
    headers, begun = accepted(network, path, body)
    assert headers["Location"] == f"/v1/lists/{of}/imports/{begun['import']}"

    def over() -> dict[str, Any] | None:
        _, _, found = ask(network, "GET", headers["Location"])
        return None if found["state"] in ("reading", "read") else found

    found: dict[str, Any] = until(over, "the job is over")
    return found


def refused(network: Running, body: bytes, path: str = PATH, **options: str) -> tuple[int, str]:
    status, _, problem = ask(network, "POST", path, body, **options)
    return status, problem["code"]


def lines(*rows: str) -> bytes:
    return "\n".join(["identifier", *rows]).encode()


def test_bad_rows_are_refused_told_page_by_page_and_then_skipped(network: Running) -> None:
    body = lines(*LISTED, "phone:12", "phone:0013", "card:1")
    found = send(network, body)
    assert (found["state"], found["code"], found["rows"], found["good"]) == ("refused", "bad_rows", 23, 20)
    assert sum(found["bad"].values()) == 3
    assert found["counts"]["new"] == 20
    assert "bad_rows=skip" in found["message"]
    place = f"{PATH}/{found['import']}/errors"
    _, _, page = ask(network, "GET", f"{place}?limit=2")
    assert [one["line"] for one in page["errors"]] == [22, 23]
    _, _, rest = ask(network, "GET", f"{place}?limit=2&after={page['after']}")
    assert ([one["line"] for one in rest["errors"]], rest["after"]) == ([24], None)
    assert rest["errors"][0]["expected"]
    assert not any("0013" in json.dumps(one) for one in page["errors"])
    assert ask(network, "GET", f"{place}?limit=1001")[0] == 422
    again = send(network, body, bad_rows="skip")
    assert (again["import"], again["state"], again["counts"]["new"]) == (found["import"], "committed", 20)
    assert again["author"].startswith("key:")
    _, _, every = ask(network, "GET", PATH)
    assert every["imports"][0] == again
    assert (ask(network, "DELETE", f"{PATH}/{again['import']}")[2])["code"] == "import_over"


def test_a_dry_run_changes_nothing_and_can_be_cancelled(network: Running) -> None:
    body = lines(*[each.canonical for each in generate(603, 5, ("phone",))])
    before = network.rows("shop", "select count(*) as n from entries")[0]["n"]
    found = send(network, body, dry_run="true")
    assert (found["state"], found["counts"]["new"], found["message"][:7]) == ("dry_run", 5, "Nothing")
    assert network.rows("shop", "select count(*) as n from entries")[0]["n"] == before
    status, _, gone = ask(network, "DELETE", f"{PATH}/{found['import']}")
    assert (status, gone["state"]) == (200, "cancelled")


def test_a_replacement_that_withdraws_much_is_refused_and_then_forced(network: Running) -> None:
    body = lines(*LISTED[:2])
    found = send(network, body, "whole", mode="replace")
    assert (found["state"], found["code"]) == ("refused", "replace_too_large")
    found = send(network, body, "whole", mode="replace", force="true")
    assert (found["state"], found["counts"]["withdrawn"], found["counts"]["new"]) == ("committed", 10, 2)


def test_a_file_that_cannot_be_read_is_refused_at_once(network: Running) -> None:
    assert refused(network, b"\x1f\x8b packed") == (422, "file_packed")
    assert refused(network, lines(LISTED[0]), f"{PATH}?column=number") == (422, "no_column")
    assert refused(network, lines(LISTED[0]), f"{PATH}?map=level") == (422, "mapping_invalid")
    assert refused(network, lines(LISTED[0]), kind="application/json") == (415, "unsupported_media_type")


def test_a_file_without_rows_ends_as_refused(network: Running) -> None:
    found = send(network, b"identifier\n")
    assert (found["state"], found["code"]) == ("refused", "file_empty")


def test_a_body_that_is_too_long_is_refused(network: Running) -> None:
    assert refused(network, b"identifier\n" + b" " * (1 << 20)) == (413, "too_large")
    folder = network.members["shop"].config.paths.data_dir
    assert not [each for each in folder.iterdir() if each.name.startswith("tmp")]


def test_names_and_parameters_that_are_unknown_are_refused(network: Running) -> None:
    assert refused(network, lines(LISTED[0]), "/v1/lists/none/imports") == (404, "not_found")
    assert refused(network, lines(LISTED[0]), f"{PATH}?{LISTED[0]}=1") == (400, "unknown_parameter")
    assert refused(network, lines(LISTED[0]), f"{PATH}?mode=add&mode=add") == (400, "unknown_parameter")
    assert refused(network, lines(LISTED[0]), f"{PATH}?days=0") == (422, "invalid_input")
    assert ask(network, "GET", f"{PATH}/00000000-0000-7000-8000-000000000000")[0] == 404


def test_one_import_at_a_time_works_on_a_list(network: Running) -> None:
    """Another process, such as the command, holds the lock that an import takes."""
    [of] = network.rows("shop", "select id from lists where name = 'fraud'")

    async def meanwhile() -> tuple[int, str]:
        connection = await asyncpg.connect(network.dsn("shop"))
        try:
            await connection.execute("select pg_advisory_lock($1, $2)", LIST_IMPORT_LOCKS, of["id"])
            return await asyncio.to_thread(refused, network, lines(LISTED[0]))
        finally:
            await connection.close()

    assert asyncio.run(meanwhile()) == (409, "import_running")


def test_no_more_than_two_files_are_taken_at_once(network: Running) -> None:
    """Three bodies that never end: it is not known which of them comes too late, but one is told at once."""
    with ExitStack() as stack:
        slow = [stack.enter_context(unended(network)) for _ in range(3)]
        answered, _, _ = select.select([connection.sock for connection in slow], [], [], 20)
        late = next(connection for connection in slow if connection.sock in answered)
        with late.getresponse() as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert json.loads(answer.read())["code"] == "imports_busy"
    assert send(network, lines(LISTED[0]), dry_run="true")["state"] == "dry_run", "their places are free again"


async def test_a_key_without_the_scope_is_refused() -> None:
    async with till() as api:
        headers = {**api.bearer("check"), "Content-Type": CSV}
        for method, path in ("POST", PATH), ("GET", PATH), ("DELETE", f"{PATH}/00000000-0000-7000-8000-000000000000"):
            async with api.session.request(method, api.url + path, data=b"x", headers=headers) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (403, "forbidden")


def test_the_saved_mapping_is_used_and_kept(network: Running) -> None:
    body = b"Nummer,Risiko\n4155550101,low\n"
    given = {"type": "phone", "column": "Nummer", "region": "US", "map": "level=Risiko"}
    assert send(network, body, "mapped", **given, dry_run="true")["state"] == "dry_run"
    found = send(network, body, "mapped")
    assert (found["state"], found["bad"], found["saved_mapping"]) == ("refused", {"no_type": 2}, None)
    first = send(network, body, "mapped", **given)
    assert (first["state"], first["saved_mapping"]) == ("committed", None)
    second = send(network, body, "mapped")
    assert (second["state"], second["counts"]["same"]) == ("committed", 1)
    saved = second["saved_mapping"]
    assert saved | {"saved_at": None} == given | {"map": ["level=Risiko"], "author": first["author"], "saved_at": None}
    assert send(network, body, "mapped", saved_mapping="false")["bad"] == {"no_type": 2}
    path = "/v1/lists/mapped/imports"
    status, _, problem = ask(network, "POST", path, lines(LISTED[0]))
    assert (status, problem["code"]) == (422, "no_column")
    assert "saved_mapping" in problem["detail"]
    assert ask(network, "POST", f"{path}?saved_mapping=no", body)[0] == 422


def test_the_mapping_of_a_program_serves_the_command_too(network: Running, tmp_path: Path) -> None:
    send(network, b"Nummer\n4155550102\n", "mapped", type="phone", column="Nummer", region="US")
    file = tmp_path / "more.csv"
    file.write_bytes(b"Nummer\n4155550103\n")
    done = CliRunner().invoke(app, command(network, "list", "import", "mapped", str(file), "--json"))
    assert (done.exit_code, json.loads(done.stdout)["new"]) == (0, 1)
    assert "Columns as in the import by key:" in done.stderr
    shown = CliRunner().invoke(app, command(network, "list", "imports", "mapped", "--json"))
    assert json.loads(shown.stdout.splitlines()[0])["saved_mapping"] == "type phone, column Nummer, region US"


def command(network: Running, *words: str) -> list[str]:
    return [*words, "--config", str(network.members["shop"].config_file)]


async def test_the_client_has_it_all(network: Running, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps({"number": one.rpartition(":")[2]}) + "\n" for one in [*LISTED, "12"]))
    member = network.members["shop"]
    async with Client(member.urls["clients"], member.api_key) as client:
        asked: dict[str, Any] = {"type": "phone", "column": "number", "days": 30}
        begun = await client.begin_import("whole", file, **asked)
        found = await client.wait_for_import("whole", begun.id)
        assert (found.id, found.format, found.state, found.good) == (begun.id, "jsonl", "refused", 20)
        assert [one.line async for one in client.import_errors("whole", begun.id)] == [21]
        assert [one.line async for one in client.import_errors("whole", begun.id, after=21)] == []
        begun = await client.begin_import("whole", file.read_bytes(), format="jsonl", **asked, dry_run=True, map={})
        assert (await client.wait_for_import("whole", begun.id)).counts is not None
        assert (await client.cancel_import("whole", begun.id)).state == "cancelled"
        with pytest.raises(InputError) as refused_:
            await client.cancel_import("whole", begun.id)
        assert refused_.value.code == "import_over"
        begun = await client.begin_import(
            "whole", streamed(file.read_bytes()), format="jsonl", bad_rows="skip", **asked
        )
        found = await client.wait_for_import("whole", begun.id)
        assert (await client.imports("whole"))[0] == found == await client.find_import("whole", begun.id)
        assert found.state == "committed"
        for wrong, options, code in [
            (b"\x1f\x8b", {}, "file_packed"),
            (b"identifier\n", {"format": "xml"}, "file_format"),
            (b"identifier\n", {"days": 0}, "invalid_input"),
            (b"identifier\n", {"nonsense": 1}, "unknown_parameter"),
            (b"identifier\n", {"map": {"level": "x"}}, "no_column"),
            (b"identifier\n", {"map": ["level"]}, "mapping_invalid"),
            (b"identifier\n" + b" " * (2 << 20), {}, "too_large"),
        ]:
            with pytest.raises(InputError) as refused_:
                await client.begin_import("whole", wrong, **options)
            assert refused_.value.code == code
        with pytest.raises(FileNotFoundError):
            await client.begin_import("whole", tmp_path / "none.csv")


async def streamed(file: bytes) -> AsyncIterator[bytes]:
    for line in file.splitlines(keepends=True):
        yield line


def test_a_job_that_is_running_can_be_cancelled(network: Running, switches: Path) -> None:
    before = entries(network, "long"), tables(network)
    with switched(switches, "held"):
        begun, place = begin(network, MANY, "long")
        until(lambda: ask(network, "GET", place)[2]["rows"], "some rows are stored")
        status, _, gone = ask(network, "DELETE", place)
        assert (status, gone["state"], gone["counts"]) == (200, "cancelled", None)
        assert ask(network, "DELETE", place)[2]["code"] == "import_over"
    told = {"import_id": begun["import"], "code": "import_cancelled"}
    until(lambda: any(told.items() <= line.items() for line in network.log("shop", "import_failed")), "its end")
    assert ask(network, "GET", place)[2]["state"] == "cancelled"
    assert (entries(network, "long"), tables(network)) == before
    again = send(network, lines(LISTED[0]), "long", dry_run="true")
    assert again["state"] == "dry_run"
    ask(network, "DELETE", f"/v1/lists/long/imports/{again['import']}")


def test_a_fault_of_ours_ends_a_job_and_tells_so(network: Running, switches: Path) -> None:
    before = entries(network, "long"), tables(network)
    body = lines(*LISTED)
    with switched(switches, "broken"):
        found = send(network, body, "long")
    assert (found["state"], found["code"]) == ("refused", "internal")
    assert "made a mistake" in found["message"]
    assert (entries(network, "long"), tables(network)) == before
    [line] = network.log("shop", "import_broken")
    assert (line["import_id"], line["error"]) == (found["import"], "RuntimeError")
    assert "13800138000" not in network.log_file("shop").read_text()
    again = send(network, body, "long", dry_run="true")
    assert (again["state"], again["import"] != found["import"]) == ("dry_run", True)


def test_an_upload_that_stalls_is_given_up_and_leaves_its_place(network: Running, switches: Path) -> None:
    with switched(switches, "stalls"):
        for _ in range(3):
            with unended(network) as connection, connection.getresponse() as answer:
                assert (answer.status, json.loads(answer.read())["code"]) == (408, "upload_stalled")
    assert send(network, lines(LISTED[0]), dry_run="true")["state"] == "dry_run"


def test_a_peer_that_is_stopped_in_mid_job_goes_on_with_the_same_file(network: Running, switches: Path) -> None:
    """SIGTERM, as of an operator who brings a new version."""
    body = lines(*MANY)
    process = network.process("shop")
    with switched(switches, "held"):
        begun, place = begin(network, MANY, "fraud")
        until(lambda: ask(network, "GET", place)[2]["rows"], "some rows are stored")
        network.stop("shop")
    assert process.returncode == 0
    network.start("shop")
    _, _, left = ask(network, "GET", place)
    assert (left["state"], 0 < left["rows"] < len(MANY)) == ("interrupted", True)
    before = entries(network, "fraud")
    found = send(network, body)
    assert (found["import"], found["state"], found["rows"]) == (begun["import"], "committed", len(MANY))
    counts = found["counts"]
    assert (counts["new"] + counts["same"], counts["repeated"]) == (len(MANY), 0)
    assert entries(network, "fraud") == before + counts["new"]


def begin(network: Running, identifiers: list[str], of: str) -> tuple[dict[str, Any], str]:
    """Send a file; how its job began, and where it is told."""
    headers, begun = accepted(network, f"/v1/lists/{of}/imports", lines(*identifiers))
    assert begun["state"] == "reading"
    return begun, headers["Location"]


def entries(network: Running, of: str) -> int:
    """How many entries a list has, whatever their state."""
    query = "select count(*) as n from entries e join lists l on l.id = e.list_id where l.name = "
    return int(network.rows("shop", f"{query}'{of}'")[0]["n"])


def tables(network: Running) -> int:
    """How many imports still have rows of their own."""
    query = r"select count(*) as n from pg_class where relkind = 'r' and relname ~ '^import_rows_\d'"
    return int(network.rows("shop", query)[0]["n"])


def test_a_peer_that_is_killed_goes_on_with_the_same_file(network: Running, tmp_path: Path) -> None:
    body = lines(*MANY)
    network.stop("shop")
    network.start("shop", program=program(tmp_path, DIES_AFTER_ONE_PIECE))
    status, headers, begun = ask(network, "POST", "/v1/lists/long/imports", body)
    assert status == 202
    until(lambda: died(network, "shop"), "the peer's end")
    network.start("shop")
    _, _, left = ask(network, "GET", headers["Location"])
    assert left["state"] == "interrupted"
    assert 0 < left["rows"] < len(MANY)
    assert "goes on" in left["message"]
    found = send(network, body, "long")
    assert (found["import"], found["state"], found["rows"]) == (begun["import"], "committed", len(MANY))
    assert (found["counts"]["new"], found["counts"]["repeated"]) == (len(MANY), 0)
    [kept] = network.rows(
        "shop", "select count(*) as n from entries e join lists l on l.id = e.list_id where l.name = 'long'"
    )
    assert kept["n"] == len(MANY) + 1
    log = network.log_file("shop").read_text()
    assert "import_over" in log
    assert not [each for each in (*LISTED, *MANY) if each.partition(":+")[2] in log]
