"""What MCP servers may do that the `mcp` package's own does not: pages, questions, odd answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.testing import Answer, ReceivedRequest, ScriptedUpstream, reply_bytes, reply_json, reply_sse
from tests.tools.kit import executed, running

ADD = {"name": "add", "inputSchema": {"type": "object"}}
Said = Callable[[dict[str, Any]], Answer]


def answered(message: dict[str, Any], result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def server(
    said: Said, tools: list[Any] | None = None, version: str = "2025-06-18"
) -> Callable[[ReceivedRequest], Answer]:
    """Return a server without sessions that lists `tools`; `said` answers calls."""

    def script(request: ReceivedRequest) -> Answer:
        if request.method == "GET":
            return reply_bytes(b"", 405)
        message = request.json()
        match message.get("method"):
            case "initialize":
                return reply_json(answered(message, {"protocolVersion": version, "capabilities": {}}))
            case "tools/list":
                return reply_json(answered(message, {"tools": [ADD] if tools is None else tools}))
            case "tools/call":
                return said(message)
        return reply_bytes(b"", 202)

    return script


async def ran(said: Said) -> tuple[dict[str, Any], ScriptedUpstream]:
    async with ScriptedUpstream(server(said)) as upstream:
        async with running(options=f'{{tools: [{{mcp: "{upstream.url}/mcp"}}]}}') as (gateway, _):
            return await executed(gateway, "add"), upstream


async def test_tools_on_several_pages_are_one_list() -> None:
    def script(request: ReceivedRequest) -> Answer:
        message = request.json() if request.body else {}
        if message.get("method") != "tools/list":
            return server(lambda _: reply_json(1))(request)
        cursor = message["params"].get("cursor")
        tool = {"name": f"t_{cursor or 'first'}", "inputSchema": {"type": "object"}}
        following = {None: "a", "a": "b"}.get(cursor)
        return reply_json(answered(message, {"tools": [tool], **({"nextCursor": following} if following else {})}))

    async with ScriptedUpstream(script) as upstream:
        async with running(options=f'{{tools: [{{mcp: "{upstream.url}/mcp"}}]}}') as (gateway, _):
            listed = (await gateway.get("/v1/tools")).json()["tools"]
            assert [tool["name"] for tool in listed] == ["t_first", "t_a", "t_b"]


async def test_a_server_that_was_started_anew_is_asked_again_what_it_has() -> None:
    tools = [ADD]

    def script(request: ReceivedRequest) -> Answer:
        method = request.json().get("method") if request.body else None
        if method == "initialize":
            body = answered(request.json(), {"protocolVersion": "2025-06-18", "capabilities": {}})
            return reply_json(body, headers=[("mcp-session-id", str(len(tools)))])
        if method == "tools/call" and request.header("mcp-session-id") != str(len(tools)):
            return reply_bytes(b"", 404)
        done = {"content": [{"type": "text", "text": "done"}]}
        return server(lambda message: reply_json(answered(message, done)), tools)(request)

    async with ScriptedUpstream(script) as upstream:
        options = f'{{refresh: 1h, tools: [{{mcp: "{upstream.url}/mcp"}}]}}'
        async with running(options=options) as (gateway, _):
            tools.append({**ADD, "name": "more"})
            assert (await executed(gateway, "add"))["result"] == "done"
            async with asyncio.timeout(5):
                while len(listed := (await gateway.get("/v1/tools")).json()["tools"]) < 2:
                    pass  # each time around is a request, so the listing gets its turn
            assert [tool["name"] for tool in listed] == ["add", "more"]


async def test_what_the_server_asks_in_between_is_answered_and_its_notes_are_passed_over() -> None:
    def said(message: dict[str, Any]) -> Answer:
        done = answered(message, {"content": [{"type": "text", "text": "done"}]})
        return reply_sse(
            [
                b": comment\n\n",
                "",
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}},
                {"jsonrpc": "2.0", "id": "s1", "method": "ping"},
                {"jsonrpc": "2.0", "id": "s2", "method": "sampling/createMessage", "params": {}},
                {"jsonrpc": "2.0", "id": 999, "result": {"content": []}},
                json.dumps(done).replace(" ", "\r\ndata: ", 1),
            ]
        )

    async with ScriptedUpstream(server(said)) as upstream:
        async with running(options=f'{{tools: [{{mcp: "{upstream.url}/mcp"}}]}}') as (gateway, _):
            assert (await executed(gateway, "add"))["result"] == "done"
            while len(told := [r.json() for r in upstream.requests if r.body and "method" not in r.json()]) < 2:
                await upstream.wait_for_request(len(upstream.requests))
            by_id = {message["id"]: message for message in told}
            assert by_id["s1"]["result"] == {}
            assert by_id["s2"]["error"]["code"] == -32601


async def test_the_agreed_version_goes_with_every_request_after_the_first() -> None:
    _, upstream = await ran(lambda message: reply_json(answered(message, {"content": []})))
    versions = [request.header("mcp-protocol-version") for request in upstream.requests if request.method == "POST"]
    assert versions[0] == ""
    assert set(versions[1:]) == {"2025-06-18"}
    assert upstream.requests[0].json()["params"]["protocolVersion"] == "2025-11-25"
    assert upstream.requests[0].header("accept") == "application/json, text/event-stream"


async def test_an_odd_answer_is_an_error_in_words() -> None:
    odd: list[tuple[Said, str]] = [
        (
            lambda m: reply_json({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -1, "message": "no\nluck"}}),
            "no luck",
        ),
        (lambda m: reply_json({"jsonrpc": "2.0", "error": {"code": -1, "message": "bad"}}, 400), "bad"),
        (lambda m: reply_json(answered(m, {"isError": True, "content": []})), "it failed and did not say why"),
        (lambda m: reply_json(answered(m, [])), "its server answered without a result"),
        (lambda m: reply_json({"jsonrpc": "2.0", "id": 77, "result": {}}), "its server ended without an answer"),
        (lambda m: reply_sse([{"jsonrpc": "2.0", "method": "x"}]), "its server ended without an answer"),
        (lambda m: reply_sse(["{no"]), "its server answered with what is not JSON"),
        (
            lambda m: reply_bytes(b"{", 200, [("content-type", "application/json")]),
            "its server answered with what is not",
        ),
        (lambda m: reply_bytes(b"", 401), "its server answered 401 with application/octet-stream"),
        (lambda m: reply_bytes(b"", 307, [("location", "http://127.0.0.1:1/")]), "its server answered 307"),
        (lambda m: reply_bytes(b"", 202), "its server answered 202"),
    ]
    answers = iter(odd)

    def following(message: dict[str, Any]) -> Answer:
        said, _ = next(answers)
        return said(message)

    async with ScriptedUpstream(server(following)) as upstream:
        async with running(options=f'{{tools: [{{mcp: "{upstream.url}/mcp"}}]}}') as (gateway, _):
            for _, error in odd:
                found = await executed(gateway, "add")
                assert (found["success"], found["error"][: len(error)]) == (False, error)


@pytest.mark.parametrize(
    ("tools", "version", "warning"),
    [
        ([{"name": "x" * 65, "inputSchema": {"type": "object"}}, ADD], "2025-06-18", "mcp_tool_left_out"),
        ([{"name": "bad", "inputSchema": {"type": "objekt"}}, ADD], "2025-06-18", "mcp_tool_left_out"),
        ([{"name": "bad", "inputSchema": 5}, "no tool", ADD], "2025-06-18", "mcp_tool_left_out"),
        ([ADD], "1999-01-01", "mcp_server_lost"),
    ],
)
async def test_what_cannot_be_offered_is_left_out_with_a_warning(tools: list[Any], version: str, warning: str) -> None:
    async with ScriptedUpstream(server(lambda _: reply_json(1), tools, version)) as upstream:
        async with running(options=f'{{tools: [{{mcp: "{upstream.url}/mcp"}}]}}') as (gateway, _):
            listed = (await gateway.get("/v1/tools")).json()["tools"]
            assert [tool["name"] for tool in listed] == (["add"] if warning == "mcp_tool_left_out" else [])
            assert len(gateway.events(warning)) == 1


async def test_a_schema_that_points_elsewhere_fetches_nothing() -> None:
    async with ScriptedUpstream(reply_json({"type": "object"})) as elsewhere:
        tool = {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"$ref": f"{elsewhere.url}/s"}}}}
        async with ScriptedUpstream(server(lambda _: reply_json(1), [tool])) as upstream:
            async with running(options=f'{{tools: [{{mcp: "{upstream.url}/mcp"}}]}}') as (gateway, _):
                call = {"name": "add", "arguments": {"a": 1}}
                answer = await gateway.post("/v1/tools/execute", call)
                assert answer.status == 400
                assert "schema cannot be followed" in answer.json()["error"]["message"]
        assert elsewhere.requests == []
