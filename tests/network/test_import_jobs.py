"""Files that programs send to a real peer to be imported into its lists."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
import pytest

from riskshare.generate import generate
from riskshare.loopback import Spec
from riskshare.store.connection import LIST_IMPORT_LOCKS
from tests.network.conftest import MakeNetwork
from tests.network.test_peers_crash import died, program
from tests.simulator.payments import till
from tests.simulator.running import Running, until

SHOP = Spec("shop", "Shop", "payment", settings={"publish": {"import_mib": 1}})
LISTED = [each.canonical for each in generate(601, 20, ("phone",))]
MANY = [each.canonical for each in generate(602, 16_000, ("phone",))]
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


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Iterator[Running]:
    """A shop with a list of its own."""
    network = make_network(SHOP)
    network.publish("shop", "fraud", generate(600, 1, ("phone",)))
    network.publish("shop", "whole", generate(600, 10, ("phone",)))
    network.publish("shop", "long", generate(600, 1, ("phone",)))
    network.start("shop")
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


def send(network: Running, body: bytes, of: str = "fraud", **query: str) -> dict[str, Any]:
    """Send a file, and wait until its job is over."""
    path = f"/v1/lists/{of}/imports?{urlencode(query)}"
    status, headers, begun = ask(network, "POST", path, body)
    assert status == 202, begun
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
    member = network.members["shop"]
    slow = [http.client.HTTPConnection(urlsplit(member.urls["clients"]).netloc, timeout=60) for _ in range(2)]
    for connection in slow:
        connection.putrequest("POST", PATH)
        for name, value in ("Authorization", f"Bearer {member.api_key}"), ("Content-Type", CSV), ("Content-Length", 99):
            connection.putheader(name, str(value))
        connection.endheaders(b"identifier")
    path = f"{PATH}?dry_run=true"
    until(lambda: refused(network, lines(LISTED[0]), path) == (503, "imports_busy"), "both are being taken in")
    status, headers, _ = ask(network, "POST", path, lines(LISTED[0]))
    assert (status, headers["Retry-After"]) == (503, "1")
    for connection in slow:
        connection.close()
    until(lambda: ask(network, "POST", path, lines(LISTED[0]))[0] == 202, "their places are free again")


async def test_a_key_without_the_scope_is_refused() -> None:
    async with till() as api:
        headers = {**api.bearer("check"), "Content-Type": CSV}
        for method, path in ("POST", PATH), ("GET", PATH), ("DELETE", f"{PATH}/00000000-0000-7000-8000-000000000000"):
            async with api.session.request(method, api.url + path, data=b"x", headers=headers) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (403, "forbidden")


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
