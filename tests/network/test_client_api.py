"""The client API over HTTP: keys, checks, problems, idempotency."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from riskshare.api_client import Client, question
from riskshare.api_models import AuditModel, AuditsResponse, CheckResponse, ListModel, LogModel, ProblemModel
from riskshare.errors import (
    AccessError,
    IdempotencyError,
    InputError,
    PeerDown,
    PeerGarbage,
    PeerLate,
    StoreError,
)
from tests.simulator.payments import NOW, Till, till

PHONE = "phone:+8613800138000"
ASKED = {"identifiers": [PHONE], "purpose": "payment"}


@pytest.fixture
async def api() -> AsyncIterator[Till]:
    async with till() as made:
        yield made


async def post(api: Till, body: object, path: str = "/v1/check", key: str = "check", **headers: str) -> Any:
    """Status, JSON and headers of a POST."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    async with api.session.post(
        api.url + path, data=data, headers={"Content-Type": "application/json", **api.bearer(key), **names}
    ) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def get(api: Till, path: str, key: str = "check") -> Any:
    async with api.session.get(api.url + path, headers=api.bearer(key)) as answer:
        return answer.status, await answer.json(content_type=None)


# -- one check ----------------------------------------------------------------------------------------------------


async def test_a_check_is_answered(api: Till) -> None:
    status, body, headers = await post(
        api, {**ASKED, "reference": "txn-1", "categories": ["telecom_fraud"], "deadline_ms": 500}
    )
    assert (status, body["verdict"], body["complete"]) == (200, "clear", True)
    assert CheckResponse.model_validate(body).hits == ()
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    [asked] = api.checks.questions
    assert [identifier.canonical for identifier in asked.identifiers] == [PHONE]
    assert (asked.purpose, asked.reference, asked.deadline) == ("payment", "txn-1", 0.5)
    assert asked.categories == {"telecom_fraud"}


async def test_identifiers_are_texts_or_objects_and_are_normalised(api: Till) -> None:
    given = ["phone: +86 138-0013-8000", {"type": "bank_card", "value": "4111 1111 1111 1111"}]
    assert (await post(api, {**ASKED, "identifiers": given}))[0] == 200
    assert [found.canonical for found in api.checks.questions[0].identifiers] == [PHONE, "bank_card:4111111111111111"]


async def test_one_text_in_place_of_several_is_not_taken_apart() -> None:
    async with Client("http://127.0.0.1:1", "rk_none") as client:
        for call in (client.check, lambda one, **_: client.withdraw("fraud", one, reason="corrected")):
            with pytest.raises(TypeError, match="list of texts"):
                await call("phone:+8613800138000", purpose="payment")
    with pytest.raises(TypeError, match="list of texts"):
        question(["phone:+8613800138000"], purpose="payment", categories="telecom_fraud")


async def test_without_a_deadline_the_configured_one_holds(api: Till) -> None:
    await post(api, ASKED)
    assert api.checks.questions[0].deadline == 0.15


async def test_checks_are_counted(api: Till) -> None:
    await post(api, ASKED)
    text = api.metrics.render().decode()
    assert 'riskshare_check_seconds_count{verdict="clear"} 1.0' in text
    assert 'route="/v1/check",status="200"' in text


# -- what is refused ----------------------------------------------------------------------------------------------

BAD = {
    "an unknown field": ({**ASKED, PHONE: 1}, 422, "invalid_input"),
    "no identifiers": ({**ASKED, "identifiers": []}, 422, "invalid_input"),
    "an identifier that is none": ({**ASKED, "identifiers": [PHONE + "9999999"]}, 422, "invalid_identifier"),
    "an unknown type": ({**ASKED, "identifiers": ["passport:X123"]}, 422, "invalid_identifier"),
    "a canary": ({**ASKED, "identifiers": ["canary:" + "0" * 32]}, 422, "invalid_identifier"),
    "too many identifiers": ({**ASKED, "identifiers": [PHONE] * 5}, 422, "too_many_identifiers"),
    "an unknown purpose": ({**ASKED, "purpose": "curiosity"}, 422, "unknown_purpose"),
    "an unknown category": ({**ASKED, "categories": ["gossip"]}, 422, "unknown_category"),
    "a deadline of zero": ({**ASKED, "deadline_ms": 0}, 422, "invalid_input"),
    "a deadline of six seconds": ({**ASKED, "deadline_ms": 6000}, 422, "invalid_input"),
    "a deadline in words": ({**ASKED, "deadline_ms": "150"}, 422, "invalid_input"),
    "no object": ([ASKED], 422, "invalid_input"),
    "no JSON": (b'{"identifiers": ["phone:+8613800138000"', 400, "malformed"),
    "not UTF-8": (b'{"purpose": "\xff"}', 400, "malformed"),
    "nothing": (b"", 400, "malformed"),
    "a field twice": (
        b'{"identifiers": ["phone:+8613800138000"], "identifiers": ["phone:+8613800138001"], "purpose": "payment"}',
        400,
        "malformed",
    ),
    "too long": (b" " * (1024 * 1024 + 1), 413, "body_too_large"),
}


@pytest.mark.parametrize(("body", "status", "code"), BAD.values(), ids=BAD)
async def test_a_bad_request_gets_a_problem_that_repeats_nothing(
    api: Till, body: object, status: int, code: str
) -> None:
    found, problem, headers = await post(api, body)
    assert (found, problem["status"], problem["code"]) == (status, status, code)
    assert headers["Content-Type"] == "application/problem+json"
    assert ProblemModel.model_validate(problem).detail
    assert "138001" not in json.dumps(problem)
    assert api.checks.questions == []


async def test_every_bad_identifier_is_named_by_its_place(api: Till) -> None:
    _, problem, _ = await post(api, {**ASKED, "identifiers": ["phone:1", PHONE, {"type": "ip", "value": "x"}]})
    found = [(item["pointer"], item["identifier_type"]) for item in problem["errors"]]
    assert found == [("#/identifiers/0", "phone"), ("#/identifiers/2", "ip")]
    assert all(item["reason"] for item in problem["errors"])


async def test_a_purpose_that_the_registry_does_not_allow_this_member(api: Till) -> None:
    api.view._network.change("icbc", purposes=("marketing",))
    api.view.update()
    status, problem, _ = await post(api, ASKED)
    assert (status, problem["code"]) == (403, "purpose_not_allowed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/cbor"])
async def test_another_media_type_is_refused(api: Till, content_type: str) -> None:
    status, problem, _ = await post(api, ASKED, Content_Type=content_type)
    assert (status, problem["code"]) == (415, "unsupported_media_type")


async def test_an_encoded_body_is_refused(api: Till) -> None:
    assert (await post(api, b"\x1f\x8b", Content_Encoding="gzip"))[0] == 415


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/check", 405, "method_not_allowed"),
        ("DELETE", "/v1/lists", 405, "method_not_allowed"),
        ("GET", "/v1/phone:+8613800138000", 404, "not_found"),
        ("GET", "/v1/receipts/8613800138000", 404, "not_found"),
        ("GET", "/v1/checks/8613800138000", 404, "not_found"),
    ],
)
async def test_paths_and_methods_that_do_not_exist(api: Till, method: str, path: str, status: int, code: str) -> None:
    async with api.session.request(method, api.url + path, headers=api.bearer()) as answer:
        problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["code"]) == (status, code)
    assert "138001" not in json.dumps(problem) + api.metrics.render().decode()


async def test_without_a_store_there_is_no_verdict(api: Till) -> None:
    api.checks.error = StoreError("The record could not be made durable. Try again.")
    status, problem, headers = await post(api, ASKED)
    assert (status, problem["code"], headers["Retry-After"]) == (503, "store_unavailable", "1")


async def test_a_mistake_of_ours_tells_nothing(api: Till) -> None:
    api.checks.error = ValueError(PHONE)
    status, problem, _ = await post(api, ASKED)
    assert (status, problem["code"]) == (500, "internal")
    assert "138001" not in json.dumps(problem)


# -- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic {0}", "{0}", "Bearer {0}x", "Bearer rs_x_y", "Bearer ñ",
                                    "Bearer {0} {0}", "Bearer " + "x" * 5000])  # fmt: skip
async def test_a_key_that_is_missing_or_wrong(api: Till, header: str) -> None:
    value = header.format(api.keys["check"].secret)
    status, problem, headers = await post(api, ASKED, Authorization=value)
    assert (status, problem["code"]) == (401, "unauthenticated")
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert api.keys["check"].secret not in json.dumps(problem)


async def test_the_scheme_is_read_without_case(api: Till) -> None:
    assert (await post(api, ASKED, Authorization="bearer " + api.keys["check"].secret))[0] == 200


async def test_a_key_of_a_known_id_with_another_secret_is_wrong(api: Till) -> None:
    forged = "rs_check_" + api.keys["near"].secret[-43:]
    assert (await post(api, ASKED, Authorization=f"Bearer {forged}"))[0] == 401


async def test_a_key_expires(api: Till) -> None:
    assert (await post(api, ASKED))[0] == 200
    api.time[0] = NOW + timedelta(days=1)
    status, problem, _ = await post(api, ASKED)
    assert (status, problem["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(("key", "status"), [("check", 200), ("publish", 403), ("audit", 403)])
async def test_checking_needs_its_scope(api: Till, key: str, status: int) -> None:
    assert (await post(api, ASKED, key=key))[0] == status
    assert (await post(api, [ASKED], "/v1/checks", key=key))[0] == status


async def test_a_key_may_be_bound_to_addresses(api: Till) -> None:
    status, problem, _ = await post(api, ASKED, key="far")
    assert (status, problem["code"]) == (403, "forbidden")
    assert (await post(api, ASKED, key="near"))[0] == 200


async def test_no_header_changes_the_address(api: Till) -> None:
    claims = {"X_Forwarded_For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "X_Real_IP": "192.0.2.1"}
    assert (await post(api, ASKED, key="far", **claims))[0] == 403


# -- many checks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [True, False])
async def test_each_of_many_is_answered_on_its_own(api: Till, bare: bool) -> None:
    items = [ASKED, {**ASKED, "identifiers": ["phone:1"]}, "x", {**ASKED, "purpose": "curiosity"}, ASKED]
    status, body, _ = await post(api, items if bare else {"checks": items}, "/v1/checks")
    results = body if bare else body["results"]
    assert status == 200
    assert [item.get("verdict", item.get("code")) for item in results] == [
        "clear", "invalid_identifier", "invalid_input", "unknown_purpose", "clear",
    ]  # fmt: skip
    assert results[1]["errors"][0]["pointer"] == "#/identifiers/0"


async def test_an_outage_in_the_middle_concerns_those_checks_alone(api: Till) -> None:
    api.checks.error = StoreError("Away.")
    status, body, _ = await post(api, [ASKED, ASKED], "/v1/checks")
    assert (status, [item["status"] for item in body]) == (200, [503, 503])


@pytest.mark.parametrize(
    "body", [[], {}, {"checks": []}, {"checks": [ASKED], "x": 1}, {"checks": {}}, "x", None, [ASKED] * 1001]
)
async def test_what_is_not_1_to_1000_checks_is_refused(api: Till, body: object) -> None:
    status, problem, _ = await post(api, body, "/v1/checks")
    assert (status, problem["code"]) == (422, "invalid_input")


async def test_a_thousand_checks_run_some_at_once(api: Till) -> None:
    status, body, _ = await post(api, [ASKED] * 1000, "/v1/checks")
    assert (status, len(body)) == (200, 1000)
    assert 1 < api.checks.most <= 64
    assert len({item["check"] for item in body}) == 1000


# -- Idempotency-Key ----------------------------------------------------------------------------------------------

KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'


async def test_a_repeated_request_gets_the_same_answer_and_is_checked_once(api: Till) -> None:
    first = await post(api, ASKED, Idempotency_Key=KEY)
    again = await post(api, ASKED, Idempotency_Key=KEY)
    assert first[:2] == again[:2]
    assert len(api.checks.questions) == 1


async def test_white_space_and_order_do_not_make_another_request(api: Till) -> None:
    first = await post(api, ASKED, Idempotency_Key=KEY)
    again = await post(api, json.dumps(dict(reversed(ASKED.items())), indent=3).encode(), Idempotency_Key=KEY)
    assert first[:2] == again[:2]


async def test_a_key_used_for_another_request_is_refused(api: Till) -> None:
    await post(api, ASKED, Idempotency_Key=KEY)
    status, problem, _ = await post(api, {**ASKED, "reference": "other"}, Idempotency_Key=KEY)
    assert (status, problem["code"]) == (422, "idempotency_key_reused")


async def test_a_request_that_is_being_worked_on_is_not_begun_again(api: Till) -> None:
    api.checks.go.clear()
    first = asyncio.ensure_future(post(api, ASKED, Idempotency_Key=KEY))
    await api.checks.began.wait()
    status, problem, _ = await post(api, ASKED, Idempotency_Key=KEY)
    assert (status, problem["code"]) == (409, "idempotency_key_in_use")
    api.checks.go.set()
    assert (await first)[0] == 200
    assert len(api.checks.questions) == 1


@pytest.mark.parametrize("key", ["", '""', '"open', "a b", '"ü"', '"' + "x" * 256 + '"', '"a"; p=1', '"a", "b"', "{1}"])
async def test_a_malformed_key_is_refused(api: Till, key: str) -> None:
    status, problem, _ = await post(api, ASKED, Idempotency_Key=key)
    assert (status, problem["code"]) == (400, "idempotency_key_malformed")


async def test_two_clients_may_use_the_same_key(api: Till) -> None:
    await post(api, ASKED, Idempotency_Key=KEY)
    assert (await post(api, {**ASKED, "reference": "mine"}, key="near", Idempotency_Key=KEY))[0] == 200


async def test_a_check_that_may_stand_a_moment_later_is_not_asked_again_meanwhile(api: Till) -> None:
    """The commit went on when its time was over: its verdict is the one that this key gets, and nobody pays twice."""
    api.checks.error = StoreError("Not known to be durable.", in_doubt=True)
    status, problem, _ = await post(api, ASKED, Idempotency_Key=KEY)
    assert (status, problem["code"]) == (503, "store_unavailable")
    asked = len(api.checks.questions)
    status, problem, _ = await post(api, ASKED, Idempotency_Key=KEY)
    assert (status, problem["code"]) == (409, "idempotency_key_in_use")
    assert len(api.checks.questions) == asked


async def test_a_request_that_failed_may_be_tried_again(api: Till) -> None:
    api.checks.error = StoreError("Too much waits.", code="overloaded")
    assert (await post(api, ASKED, Idempotency_Key=KEY))[0] == 503
    api.checks.error = None
    assert (await post(api, ASKED, Idempotency_Key=KEY))[0] == 200


async def test_an_invalid_request_claims_nothing(api: Till) -> None:
    await post(api, {**ASKED, "identifiers": ["phone:1"]}, Idempotency_Key=KEY)
    assert api.replies.rows == {}


async def test_without_a_store_a_key_cannot_be_honoured(api: Till) -> None:
    api.replies.down = True
    assert (await post(api, ASKED, Idempotency_Key=KEY))[0] == 503
    assert api.checks.questions == []


async def test_nothing_that_is_kept_can_be_read_or_guessed(api: Till) -> None:
    await post(api, {**ASKED, "reference": "txn-1"}, Idempotency_Key='"txn-1"')
    stored = b"".join(key[1] + row[0] + (row[1] or b"") for key, row in api.replies.rows.items())
    assert b"txn-1" not in stored
    assert b"clear" not in stored


async def test_a_repeated_request_of_many_repeats_only_what_failed(api: Till) -> None:
    items = [ASKED, {**ASKED, "reference": "2"}, ASKED]
    first = await post(api, items, "/v1/checks", Idempotency_Key=KEY)
    api.replies.rows.pop(next(iter(api.replies.rows)))
    again = await post(api, items, "/v1/checks", Idempotency_Key=KEY)
    assert [a == b for a, b in zip(first[1], again[1], strict=True)] == [False, True, True]
    assert len(api.checks.questions) == 4
    assert (await post(api, items[:2], "/v1/checks", Idempotency_Key=KEY))[0] == 422


# -- the others ---------------------------------------------------------------------------------------------------


async def test_lists_and_members(api: Till) -> None:
    api.kept.held = [
        ListModel(
            list="jd/a",
            owner="jd",
            category="telecom_fraud",
            own=False,
            mode="replicate",
            status="current",
            version=3,
            issued_at=NOW,
        )
    ]
    assert (await get(api, "/v1/lists"))[1]["lists"][0]["issued_at"] == "2026-11-22T08:30:00.000Z"
    status, body = await get(api, "/v1/members", "publish")
    assert (status, [member["member"] for member in body["members"]]) == (200, ["icbc", "jd", "unionpay"])
    assert [member["log"] for member in body["members"]] == [None, None, None]


async def test_what_is_known_of_the_members_logs(api: Till) -> None:
    api.kept.known = {"jd": LogModel(size=7, final_size=5, grown_at=NOW, missing=2), "unionpay": LogModel(stalled=True)}
    logs = {member["member"]: member["log"] for member in (await get(api, "/v1/members"))[1]["members"]}
    assert logs["icbc"] is None
    assert logs["jd"] == {
        "size": 7,
        "final_size": 5,
        "grown_at": "2026-11-22T08:30:00.000Z",
        "stalled": False,
        "missing": 2,
    }
    assert logs["unionpay"]["stalled"] is True


async def test_receipts_and_checks_that_are_not_there(api: Till) -> None:
    assert (await get(api, "/v1/receipts/" + "0" * 64))[0] == 404
    assert (await get(api, "/v1/checks/01939100-0000-7000-8000-000000000001", "audit"))[0] == 404
    assert (await get(api, "/v1/receipts/" + "0" * 64, "publish"))[0] == 403


async def test_the_description_needs_no_key(api: Till) -> None:
    async with api.session.get(api.url + "/openapi.json") as answer:
        assert (await answer.json())["openapi"].startswith("3.1")


@pytest.mark.parametrize("given", ["0" * 32, "01939100-0000-7000-8000-000000000001"])
async def test_a_request_id_is_taken_over(api: Till, given: str) -> None:
    assert (await post(api, ASKED, X_Request_Id=given))[2]["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["8613800138000", "x" * 32, "", "6222021234567894123"])
async def test_a_request_id_that_might_be_anything_is_not(api: Till, given: str) -> None:
    found = (await post(api, ASKED, X_Request_Id=given))[2]["X-Request-Id"]
    assert found != given
    assert len(found) == 32


async def test_the_access_log_has_the_template_and_nothing_of_the_client(api: Till) -> None:
    with structlog.testing.capture_logs() as lines:
        await get(api, "/v1/receipts/" + "0" * 64 + "?phone=8613800138000")
        await get(api, "/v1/phone:+8613800138000")
    routes = [line["route"] for line in lines]
    assert routes == ["/v1/receipts/{receipt}", "unmatched"]
    assert "138001" not in json.dumps(lines)


async def test_a_check_is_finished_when_the_client_has_gone(api: Till) -> None:
    api.checks.go.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    body = json.dumps(ASKED).encode()
    head = f"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + f"Authorization: {api.bearer()['Authorization']}\r\n\r\n".encode() + body)
    await api.checks.began.wait()
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    api.checks.go.set()
    await api.checks.finished.wait()


# -- riskshare.Client ---------------------------------------------------------------------------------------------


def client(api: Till, key: str = "check", **options: Any) -> Client:
    return Client(api.url, api.keys[key].secret, **options)


async def test_the_client_checks(api: Till) -> None:
    async with client(api) as till_client:
        verdict = await till_client.check([PHONE, ("ip", "192.0.2.1")], purpose="payment", deadline_ms=500)
        assert (verdict.verdict, verdict.complete) == ("clear", True)
        good, bad = await till_client.checks([question([PHONE], purpose="payment"), question(["x"], purpose="payment")])
        assert isinstance(good, CheckResponse)
        assert isinstance(bad, ProblemModel)
        assert await till_client.lists() == ()


async def test_the_client_tries_again_with_the_same_key(api: Till) -> None:
    api.checks.error = StoreError("Away.")
    async with client(api, attempts=2) as till_client:
        with pytest.raises(StoreError):
            await till_client.check([PHONE], purpose="payment")
        assert len(api.checks.questions) == 2
        api.checks.error = None
        first = await till_client.check([PHONE], purpose="payment", idempotency_key="k")
        assert await till_client.check([PHONE], purpose="payment", idempotency_key="k") == first
        with pytest.raises(IdempotencyError):
            await till_client.check([PHONE], purpose="withdrawal", idempotency_key="k")


async def test_the_client_says_what_is_wrong(api: Till) -> None:
    async with client(api) as till_client:
        with pytest.raises(InputError, match="#/identifiers/0") as caught:
            await till_client.check(["phone:138"], purpose="payment")
        assert caught.value.code == "invalid_identifier"
    async with client(api, "publish") as till_client:
        with pytest.raises(AccessError, match="scope"):
            await till_client.check([PHONE], purpose="payment")


async def test_the_client_has_a_deadline(api: Till) -> None:
    api.checks.go.clear()
    async with client(api, timeout=0.1, attempts=1) as till_client:
        with pytest.raises(PeerLate):
            await till_client.check([PHONE], purpose="payment", deadline_ms=1)
    api.checks.go.set()


async def test_the_client_says_that_its_peer_is_not_there(unused_tcp_port: int) -> None:
    async with Client(f"http://127.0.0.1:{unused_tcp_port}", "rs_x_y", attempts=1) as till_client:
        with pytest.raises(PeerDown):
            await till_client.lists()


async def test_the_client_does_not_believe_everything(api: Till) -> None:
    async with Client(api.url + "/openapi.json#", "rs_x_y", attempts=1) as till_client:
        with pytest.raises(PeerGarbage):
            await till_client.lists()


# -- who saw what ---------------------------------------------------------------------------------------------------


async def test_who_may_audit_sees_who_saw_what(api: Till) -> None:
    asked = AuditModel(
        audit="ab" * 32,
        auditor="regulator",
        member="icbc",
        action="open",
        reason="case 7",
        requested_at=NOW,
        kept_at=NOW,
        checks=3,
        sampled_of=90,
    )
    api.kept.asked = [asked]
    status, body = await get(api, "/v1/audits", "audit")
    assert status == 200
    assert AuditsResponse.model_validate(body).audits == (asked,)
    for key in ("check", "publish"):
        status, problem = await get(api, "/v1/audits", key)
        assert (status, problem["code"]) == (403, "forbidden")
