"""GET /v1/tools, GET /v1/tools/{name}, POST /v1/tools/execute."""

from __future__ import annotations

import json

from tests.tools.kit import executed, running

AUTH = '{auth: {keys: [{name: a, hash: "${HASH}"}], anonymous: never}}, '
HASH = "sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"  # of "alice"


async def test_the_list_has_name_description_and_parameters_of_every_tool() -> None:
    async with running() as (gateway, _):
        listed = (await gateway.get("/v1/tools")).json()
        assert [tool["name"] for tool in listed["tools"]] == ["add", "shout", "fail"]
        assert listed["tools"][0] == {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
                "required": ["a"],
                "additionalProperties": False,
            },
        }


async def test_one_tool_is_shown_by_its_name_and_an_unknown_one_is_404() -> None:
    async with running() as (gateway, _):
        shown = await gateway.get("/v1/tools/shout")
        assert (shown.status, shown.json()["name"]) == (200, "shout")
        missing = await gateway.get("/v1/tools/nothing")
        assert (missing.status, missing.json()["error"]["code"]) == (404, "not_found")


async def test_a_call_by_hand_answers_name_result_success_and_error() -> None:
    async with running() as (gateway, _):
        assert await executed(gateway, "add", a=2, b=3) == {"name": "add", "result": 5, "success": True, "error": None}
        assert await executed(gateway, "add", a=2) == {"name": "add", "result": 3, "success": True, "error": None}
        assert (await executed(gateway, "shout", text="ha"))["result"] == "HA"


async def test_a_tool_that_fails_is_an_answer_and_no_error() -> None:
    async with running() as (gateway, _):
        failed = await executed(gateway, "fail", why="no luck")
        assert failed == {"name": "fail", "result": None, "success": False, "error": "ValueError: no luck"}


async def test_a_call_that_cannot_be_made_is_refused() -> None:
    refused = [
        ('{"name": "add", "arguments": {"a": "x"}}', 400, "a: 'x' is not of type 'integer'"),
        ('{"name": "add", "arguments": {}}', 400, "'a' is a required property"),
        ('{"name": "add", "arguments": {"a": 1, "c": 2}}', 400, "'c' was unexpected"),
        ('{"name": "add", "arguments": [1]}', 400, "`arguments` must be an object"),
        ('{"name": 7}', 400, "`name` must be the name of a tool"),
        ('{"name": "add", "argument": {}}', 400, 'unknown field "argument"'),
        ('{"name": "add", "arguments": {"a": NaN}}', 400, "must be a JSON object"),
        ('{"name": "add", "name": "shout", "arguments": {"a": 1}}', 400, "each member once"),
        ('{"name": "add", "arguments": {"a": 1, "a": 2}}', 400, "each member once"),
        ("[]", 400, "must be a JSON object"),
        ("", 400, "`name` must be the name of a tool"),
        ('{"name": "nothing"}', 404, "no such tool"),
        ('{"name": "add", "arguments": {"a": 1}, "session_id": "sess_x"}', 404, "no sessions here"),
        ('{"name": "add", "arguments": {"a": 1}, "session_id": 5}', 400, "session_id must be a string"),
    ]
    async with running() as (gateway, _):
        for body, status, says in refused:
            answer = await gateway.post("/v1/tools/execute", body=body.encode())
            assert (answer.status, says in answer.json()["error"]["message"]) == (status, True), (body, answer.body)


async def test_only_who_the_chain_knows_may_list_and_call() -> None:
    async with running(before=AUTH, environ={"HASH": HASH}) as (gateway, _):
        key = {"authorization": "Bearer alice"}
        for path in ("/v1/tools", "/v1/tools/add"):
            assert (await gateway.get(path)).status == 401
            assert (await gateway.get(path, headers=key)).status == 200
        assert (await gateway.post("/v1/tools/execute", {"name": "add", "arguments": {"a": 1}})).status == 401
        assert (await executed(gateway, "add", headers=key, a=1))["result"] == 2


async def test_no_method_adds_or_changes_a_tool() -> None:
    async with running() as (gateway, _):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            body = {"name": "evil", "http": {"url": "http://127.0.0.1:1/"}}
            assert (await gateway.request(method, "/v1/tools", json_body=body)).status == 405
            assert (await gateway.request(method, "/v1/tools/add", json_body=body)).status == 405
        assert (await gateway.get("/v1/tools/execute")).status == 405
        assert len((await gateway.get("/v1/tools")).json()["tools"]) == 3


async def test_a_call_is_measured_and_leaves_a_row() -> None:
    async with running(before="metrics, ", top="ledger: sqlite:ledger.db") as (gateway, _):
        await executed(gateway, "add", a=1)
        await executed(gateway, "fail")
        await gateway.settled()
        text = (await gateway.get("/metrics")).body.decode()
        assert 'llm_gateway_tool_calls_total{outcome="ok",tool="add"} 1.0' in text
        assert 'llm_gateway_tool_calls_total{outcome="failed",tool="fail"} 1.0' in text
        ledger = gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        rows = await ledger.rows()
        assert sorted(one["name"] for row in rows for one in row.tries if one.get("kind") == "tool") == ["add", "fail"]


async def test_arguments_and_results_are_not_logged() -> None:
    async with running() as (gateway, _):
        await executed(gateway, "shout", text="whispered-secret")
        await executed(gateway, "fail", why="whispered-secret")
        assert [line["outcome"] for line in gateway.events("tool_called")] == ["ok", "failed"]
        told = json.dumps(gateway.log)
        assert "whispered-secret" not in told
        assert "WHISPERED-SECRET" not in told


async def test_a_list_of_no_tools_is_empty() -> None:
    async with running(options="{}") as (gateway, _):
        assert (await gateway.get("/v1/tools")).json() == {"tools": []}
