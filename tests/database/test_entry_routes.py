"""The client API for entries, over HTTP and a real database."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import aiohttp
import pytest

from riskshare.api_client import Client
from riskshare.api_entries import EntryRequest
from riskshare.errors import AccessError, InputError
from riskshare.peer.entries import OwnEntries
from riskshare.sharing.entry import DataKey
from riskshare.sharing.never import exact_rule
from riskshare.sharing.never_kept import seal_rule
from tests.simulator.payments import till

KEY = DataKey(bytes(range(32)))
ONE, TWO, THREE = (f"phone:+861380013800{n}" for n in range(3))
PATH = "/v1/lists/fraud/entries"


class Desk:
    """The API as it is served, with a session of a publisher's program."""

    def __init__(self, api, store, most):
        self.api = api
        self.store = store
        self.most = most

    async def post(self, path, body, key="publish", **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.api.session.post(
            self.api.url + path,
            data=data,
            headers={"Content-Type": "application/json", **self.api.bearer(key), **names},
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def put(self, *entries, **options):
        given = [{"identifier": one} if isinstance(one, str) else one for one in entries]
        return await self.post(PATH, {"entries": given, **options})

    async def decide(self, action, *identifiers, reason="because", **options):
        return await self.post(f"{PATH}/{action}", {"identifiers": list(identifiers), "reason": reason, **options})

    def client(self):
        return Client(self.api.url, self.api.keys["publish"].secret)


def codes(body):
    return [(one["state"], one["code"]) for one in body["results"]]


@pytest.fixture
async def desk(store):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    most = {"telecom_fraud": 3650}
    entries = OwnEntries("jd", KEY, store, most.__getitem__)
    async with till(entries=entries, answered=store.idempotency) as api:
        yield Desk(api, store, most)


async def test_each_entry_is_answered_on_its_own(desk, sql):
    status, body = await desk.put(
        {"identifier": ONE, "level": "critical", "reason": "fraud", "case": "C-1", "days": 30},
        "phone:12",
        {"identifier": {"type": "phone", "value": "+86 138-0013-8001"}, "valid_until": "2020-01-01"},
        {"identifier": TWO},
        {"identifier": TWO, "level": "low"},
    )
    assert (status, body["list"], body["changed"]) == (200, "jd/fraud", 2)
    assert codes(body) == [
        ("listed", None),
        ("none", "no_country_code"),
        ("none", "valid_until_invalid"),
        ("none", "repeated"),
        ("listed", None),
    ]
    assert [one["done"] for one in body["results"]] == [True, False, False, False, True]
    change = await sql.fetchrow("select * from list_changes")
    assert (change["author"], change["action"], change["added"]) == ("key:publish", "upsert", 2)


async def test_what_stands_there_decides(desk):
    await desk.put(ONE, TWO, THREE)
    await desk.decide("dispute", TWO)
    await desk.decide("withdraw", THREE, reason="appeal_upheld")
    _, body = await desk.put(ONE, TWO, THREE)
    assert codes(body) == [("unchanged", "unchanged"), ("none", "entry_disputed"), ("none", "entry_barred")]
    await desk.decide("withdraw", TWO, reason="corrected")
    _, body = await desk.put({"identifier": ONE, "level": "low"}, TWO)
    assert codes(body) == [("replaced", None), ("relisted", None)]
    shown = (await desk.post("/v1/entries/show", {"identifier": ONE}))[1]["entries"]
    assert [(one["action"], one["level"]) for one in shown[0]["history"]] == [("upsert", "high"), ("upsert", "low")]


async def test_what_the_never_list_names_is_left_out(desk):
    rule = seal_rule(KEY, exact_rule(ONE, "our hotline"), "ops", row=uuid4(), nonce=b"n" * 12)
    await desk.store.never.add([rule])
    _, body = await desk.put(ONE, TWO)
    assert codes(body) == [("none", "never_listed"), ("listed", None)]
    assert "our hotline" in body["results"][0]["message"]


async def test_terms_are_those_of_the_registry(desk):
    desk.most["telecom_fraud"] = 90
    _, body = await desk.put({"identifier": ONE, "days": 91}, {"identifier": TWO, "days": 90}, THREE)
    assert codes(body) == [("none", "term_too_long"), ("listed", None), ("listed", None)]


async def test_atomic_entries_are_all_listed_or_none(desk, sql):
    await desk.put(ONE)
    await desk.decide("dispute", ONE)
    for bad in (ONE, "phone:12"):
        status, problem = await desk.put(TWO, bad, atomic=True)
        assert (status, problem["code"]) == (422, "entries_refused")
        assert [one["pointer"] for one in problem["errors"]] == ["#/entries/1"]
    assert await sql.fetchval("select count(*) from entries") == 1
    status, body = await desk.put(TWO, THREE, atomic=True)
    assert (status, body["changed"]) == (200, 2)


async def test_a_record_that_is_too_long_as_a_whole_names_no_column(desk):
    _, body = await desk.put({"identifier": ONE, "reason": "\u8bc8" * 100})
    assert codes(body) == [("none", "record_invalid")]
    assert body["results"][0]["message"].startswith("A record's reason")


async def test_what_is_named_twice_is_decided_and_counted_once(desk):
    await desk.put(ONE, TWO)
    status, body = await desk.decide("dispute", ONE, THREE, ONE, TWO, THREE)
    assert (status, body["changed"]) == (200, 2)
    done = [("disputed", None), ("none", "not_listed"), ("disputed", "unchanged")]
    assert codes(body) == [*done, ("disputed", None), ("none", "not_listed")]
    assert [one["done"] for one in body["results"]] == [True, False, True, True, False]


async def test_decisions_by_identifier_and_by_case(desk):
    await desk.put({"identifier": ONE, "case": "C"}, {"identifier": TWO, "case": "C"})
    status, body = await desk.decide("dispute", ONE, THREE)
    assert (status, codes(body)) == (200, [("disputed", None), ("none", "not_listed")])
    status, problem = await desk.decide("dispute", TWO, THREE, atomic=True)
    assert (status, problem["code"], problem["errors"][0]["pointer"]) == (422, "entries_refused", "#/identifiers/1")
    status, body = await desk.post(f"{PATH}/withdraw", {"case": "C", "reason": "appeal_upheld"})
    assert (status, body["changed"]) == (200, 2)
    status, body = await desk.decide("restore", ONE)
    assert codes(body) == [("restored", None)]
    status, problem = await desk.post(f"{PATH}/restore", {"case": "D", "reason": "x"})
    assert (status, problem["code"]) == (422, "unknown_case")


BAD = {
    "an unknown field": (PATH, {"entries": [{"identifier": ONE, "colour": 1}]}, 422, "invalid_input"),
    "no entries": (PATH, {"entries": []}, 422, "invalid_input"),
    "too many entries": (PATH, {"entries": [{"identifier": ONE}] * 1001}, 422, "invalid_input"),
    "an unknown level": (PATH, {"entries": [{"identifier": ONE, "level": "severe"}]}, 422, "invalid_input"),
    "days in words": (PATH, {"entries": [{"identifier": ONE, "days": "3"}]}, 422, "invalid_input"),
    "days beyond ten years": (PATH, {"entries": [{"identifier": ONE, "days": 3651}]}, 422, "invalid_input"),
    "a reason that is long": (PATH, {"entries": [{"identifier": ONE, "reason": "x" * 201}]}, 422, "invalid_input"),
    "atomic in words": (PATH, {"entries": [{"identifier": ONE}], "atomic": "yes"}, 422, "invalid_input"),
    "no list of that name": ("/v1/lists/none/entries", {"entries": [{"identifier": ONE}]}, 404, "not_found"),
    "a name that is none": ("/v1/lists/A%20B/entries", {"entries": [{"identifier": ONE}]}, 404, "not_found"),
    "neither identifiers nor case": (f"{PATH}/dispute", {"reason": "x"}, 422, "invalid_input"),
    "identifiers and case": (
        f"{PATH}/dispute",
        {"identifiers": [ONE], "case": "C", "reason": "x"},
        422,
        "invalid_input",
    ),
    "no reason": (f"{PATH}/dispute", {"identifiers": [ONE]}, 422, "invalid_input"),
    "a reason of two lines": (f"{PATH}/dispute", {"identifiers": [ONE], "reason": "a\nb"}, 422, "reason_invalid"),
    "a withdrawal without a word of the table": (
        f"{PATH}/withdraw",
        {"identifiers": [ONE], "reason": "because"},
        422,
        "invalid_input",
    ),
    "an identifier that is none": (
        f"{PATH}/restore",
        {"identifiers": [ONE, "phone:12"], "reason": "x"},
        422,
        "invalid_identifier",
    ),
    "to show what is no identifier": ("/v1/entries/show", {"identifier": "phone:12"}, 422, "invalid_identifier"),
    "to show of no list": ("/v1/entries/show", {"identifier": ONE, "list": "none"}, 404, "not_found"),
    "no JSON": (PATH, b'{"entries": [', 400, "malformed"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_bad_request_gets_a_problem_that_repeats_nothing(desk, sql, bad):
    path, body, status, code = bad
    found, problem = await desk.post(path, body)
    assert (found, problem["code"]) == (status, code)
    assert "138001" not in json.dumps(problem)
    assert await sql.fetchval("select count(*) from list_changes") == 0


@pytest.mark.parametrize("path", [PATH, f"{PATH}/withdraw", f"{PATH}/dispute", f"{PATH}/restore", "/v1/entries/show"])
async def test_the_scope_is_publish(desk, path):
    status, problem = await desk.post(path, {}, key="check")
    assert (status, problem["code"]) == (403, "forbidden")


# --- Idempotency-Key


async def test_a_repeated_request_is_answered_as_the_first_time_and_done_once(desk, sql):
    body = {"entries": [{"identifier": ONE}]}
    first = await desk.post(PATH, body, Idempotency_Key='"a"')
    assert first[0] == 200
    await desk.decide("withdraw", ONE, reason="corrected")
    assert await desk.post(PATH, body, Idempotency_Key='"a"') == first
    assert await sql.fetchval("select state from entries") == "withdrawn"
    status, problem = await desk.post(PATH, {"entries": [{"identifier": TWO}]}, Idempotency_Key='"a"')
    assert (status, problem["code"]) == (422, "idempotency_key_reused")
    # What differs in the path alone is another request, too.
    status, problem = await desk.post(f"{PATH}/restore", {"identifiers": [ONE], "reason": "x"}, Idempotency_Key='"a"')
    assert (status, problem["code"]) == (422, "idempotency_key_reused")


async def test_a_decision_that_changed_nothing_is_kept_too_and_a_refused_one_is_not(desk):
    asked = {"identifiers": [ONE], "reason": "x"}
    first = await desk.post(f"{PATH}/dispute", asked, Idempotency_Key='"b"')
    assert codes(first[1]) == [("none", "not_listed")]
    await desk.put(ONE)
    assert await desk.post(f"{PATH}/dispute", asked, Idempotency_Key='"b"') == first
    refused = await desk.post(f"{PATH}/dispute", {"case": "C", "reason": "x"}, Idempotency_Key='"c"')
    assert refused[0] == 422
    await desk.put({"identifier": TWO, "case": "C"})
    assert (await desk.post(f"{PATH}/dispute", {"case": "C", "reason": "x"}, Idempotency_Key='"c"'))[0] == 200


async def test_of_repetitions_at_once_one_is_done(desk, sql):
    body = {"entries": [{"identifier": ONE}]}
    answers = await asyncio.gather(*(desk.post(PATH, body, Idempotency_Key='"d"') for _ in range(8)))
    assert {status for status, _ in answers} <= {200, 409}
    assert 200 in {status for status, _ in answers}
    assert await sql.fetchval("select count(*) from list_changes") == 1


async def test_what_is_kept_of_a_response_shows_nothing(desk, sql):
    await desk.post(PATH, {"entries": [{"identifier": ONE, "case": "secret-case"}]}, Idempotency_Key='"e"')
    for table in ("idempotency", "list_changes", "entry_versions"):
        text = await sql.fetchval(f"select coalesce(string_agg(t::text, ' '), '') from {table} t")
        assert "secret-case" not in text
        assert "13800138000" not in text


# --- riskshare.Client


async def test_the_client_has_it_all(desk):
    async with desk.client() as client:
        done = await client.list_entries("fraud", [EntryRequest(identifier=ONE, case="C"), {"identifier": TWO}])
        assert (done.changed, [one.state for one in done.results]) == (2, ["listed", "listed"])
        assert (await client.dispute("fraud", [ONE], reason="says no")).changed == 1
        assert (await client.restore("fraud", [ONE], reason="says yes")).changed == 1
        assert (await client.withdraw("fraud", case="C", reason="appeal_upheld")).changed == 1
        [entry] = await client.show(ONE, "fraud")
        assert (entry.state, len(entry.history)) == ("withdrawn", 4)
        with pytest.raises(InputError) as refused:
            await client.list_entries("fraud", [{"identifier": "phone:12"}], atomic=True)
        assert refused.value.code == "entries_refused"
    async with Client(desk.api.url, desk.api.keys["check"].secret) as client:
        with pytest.raises(AccessError):
            await client.show(ONE)


@pytest.mark.parametrize("name", ["a b", "fraud?x=y", "fraud/entries#", "fr\u00e4ud", "../v1", "%66raud", "a\r\nb"])
async def test_the_client_names_just_the_list_that_it_was_given(desk, sql, name):
    async with desk.client() as client:
        with pytest.raises(InputError) as refused:
            await client.list_entries(name, [{"identifier": ONE}])
        assert refused.value.code == "not_found"
        with pytest.raises(InputError) as refused:
            await client.imports(name)
        assert refused.value.code == "not_found"
    assert await sql.fetchval("select count(*) from list_changes") == 0


async def test_a_thousand_entries_go_in_one_request(desk, sql):
    status, body = await desk.put(*(f"phone:+86138{n:08}" for n in range(1000)))
    assert (status, body["changed"]) == (200, 1000)
    assert await sql.fetchval("select added from list_changes") == 1000


async def test_who_goes_away_leaves_the_entries_listed_or_not_at_all(desk, sql):
    body = json.dumps({"entries": [{"identifier": ONE}]}).encode()
    for _ in range(3):
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(
                session.post(
                    desk.api.url + PATH,
                    data=body,
                    headers={
                        "Content-Type": "application/json",
                        "Idempotency-Key": '"f"',
                        **desk.api.bearer("publish"),
                    },
                )
            )
            await asyncio.sleep(0)
            asked.cancel()
    async with asyncio.timeout(20):
        while (await desk.post(PATH, json.loads(body), Idempotency_Key='"f"'))[0] != 200:
            pass
    assert await sql.fetchval("select count(*) from list_changes") == 1
