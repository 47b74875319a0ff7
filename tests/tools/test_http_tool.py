"""Tools that are web services: what goes out, what comes back, and what never does."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from gateway.testing import Answer, Close, Gate, ReceivedRequest, ScriptedUpstream, Stall, reply_bytes, reply_json
from tests.tools.kit import Model, Turn, call, chat, executed, results, running

TOOL = """{{timeout: 20s, tools: [{{name: search, description: d, parameters: {{type: object}}, {more}
  http: {{url: "{url}", {http}}}}}]}}"""
SECRET = "sk-tool-secret-12345"


async def run(
    answer: Answer, arguments: dict[str, Any], *, http: str = "", more: str = "", path: str = "/v1/search"
) -> tuple[dict[str, Any], ScriptedUpstream]:
    """Call a tool whose service answers so; return what the caller got, and the service."""
    async with ScriptedUpstream([answer]) as service:
        options = TOOL.format(url=service.url + path, http=http, more=more)
        async with running(options=options, environ={"KEY": SECRET}) as (gateway, _):
            found = await executed(gateway, "search", **arguments)
            assert SECRET not in json.dumps(found) + json.dumps(gateway.log)
            assert SECRET not in (await gateway.get("/v1/tools")).body.decode()
            return found, service


async def test_arguments_go_out_as_json_and_the_json_answer_is_the_result() -> None:
    found, service = await run(reply_json({"hits": [1, 2.0, None]}), {"query": "ä ✓", "n": 1.0})
    assert found == {"name": "search", "result": {"hits": [1, 2.0, None]}, "success": True, "error": None}
    [request] = service.requests
    assert (request.method, request.path) == ("POST", "/v1/search")
    assert request.json() == {"query": "ä ✓", "n": 1.0}
    assert request.header("content-type") == "application/json"
    assert len(request.header("x-request-id")) == 32


async def test_with_get_arguments_are_the_query_and_nothing_else() -> None:
    arguments = {"q": "a&b=c#d/../?e\r\nx: y", "many": ["1", 2], "on": True, "none": None, "deep": {"a": [1]}}
    found, service = await run(reply_json(1), arguments, http="method: GET", path="/s?fixed=1")
    assert found["success"]
    [request] = service.requests
    assert request.method == "GET"
    assert request.body == b""
    path, _, query = request.path.partition("?")
    assert path == "/s"
    assert parse_qsl(query) == [
        ("fixed", "1"), ("q", "a&b=c#d/../?e\r\nx: y"), ("many", "1"), ("many", "2"), ("on", "true"), ("deep", '{"a": [1]}')
    ]  # fmt: skip
    assert "\r" not in request.path
    assert request.header("x") == ""


async def test_what_the_configuration_fixed_in_a_query_no_argument_changes() -> None:
    found, service = await run(reply_json(1), {"tenant": "other"}, http="method: GET", path="/s?tenant=mine")
    assert found["error"] == 'the argument "tenant" is fixed by the configuration'
    assert service.requests == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_carry_a_body_too(method: str) -> None:
    _, service = await run(reply_json(1), {"a": 1}, http=f"method: {method}")
    assert (service.requests[0].method, service.requests[0].json()) == (method, {"a": 1})


async def test_configured_headers_go_out_and_are_read_nowhere() -> None:
    body = {"you_sent": f"Bearer {SECRET}", "key": SECRET}
    http = 'headers: {authorization: "Bearer ${KEY}", x-api-key: "${KEY}", x-team: platform, Content-Type: application/x+json}'
    found, service = await run(reply_json({**body, "team": "platform"}), {}, http=http)
    assert service.requests[0].header("authorization") == f"Bearer {SECRET}"
    assert service.requests[0].header("x-team") == "platform"
    assert service.requests[0].header("content-type") == "application/x+json"
    assert found["result"] == {"you_sent": "***", "key": "***", "team": "platform"}
    found, _ = await run(reply_json({"error": f"bad key {SECRET}"}, 401), {}, http=http)
    assert found["error"] == 'it answered 401: {"error":"bad key ***"}'


async def test_a_user_in_the_address_is_as_secret_as_a_header() -> None:
    def echo(request: ReceivedRequest) -> Answer:
        return reply_json({"you_sent": request.header("authorization"), "path": request.path})

    async with ScriptedUpstream(echo) as service:
        url = service.url.replace("http://", "http://me:secret@") + "/s"
        async with running(options=f'{{tools: [{{name: t, http: {{url: "{url}"}}}}]}}') as (gateway, _):
            assert (await executed(gateway, "t"))["result"] == {"you_sent": "***", "path": "/s"}
        assert service.requests[0].header("authorization") == "Basic bWU6c2VjcmV0"


async def test_a_service_that_fails_is_an_error_in_words() -> None:
    failing: list[tuple[Answer, str]] = [
        (reply_json({"error": "no such subject"}, 404), 'it answered 404: {"error":"no such subject"}'),
        (reply_bytes(b"<html>secret host</html>", 500, [("content-type", "text/html")]), "it answered 500"),
        (reply_bytes(b"x" * 5000, 503, [("content-type", "text/plain")]), "it answered 503: " + "x" * 299 + "…"),
        (reply_bytes(b"", 302, [("location", "http://169.254.169.254/latest")]), "it answered 302"),
        (reply_bytes(b"{no", 200, [("content-type", "application/json")]), "it answered with what is not JSON"),
        (
            reply_bytes(b"\xff\xfe", 200, [("content-type", "image/png")]),
            "it answered with image/png, which is no text",
        ),
        (reply_bytes(b"x", 200, [("content-encoding", "gzip")]), "it answered compressed, which was not asked for"),
        ([Close()], "it could not be reached (ServerDisconnectedError)"),
        (
            reply_bytes(b"{", 200, [("content-type", "application/json")], content_length=99, close=True),
            "it could not be reached (ClientPayloadError)",
        ),
        ([b"not http at all\r\n\r\n", Close()], "it could not be reached (ClientResponseError)"),
    ]
    async with ScriptedUpstream([answer for answer, _ in failing]) as service:
        async with running(options=TOOL.format(url=service.url, http="", more="")) as (gateway, _):
            for number, (_, error) in enumerate(failing, 1):
                found = await executed(gateway, "search", q=1)
                assert (found["success"], found["result"], found["error"]) == (False, None, error)
                assert len(service.requests) == number  # no redirect followed, nothing asked twice


async def test_text_stays_text_and_an_empty_answer_is_null_or_empty() -> None:
    plain = [("content-type", "text/plain; charset=utf-8")]
    told: list[tuple[Answer, Any]] = [
        (reply_bytes("größe: 5".encode(), 200, plain), "größe: 5"),
        (reply_bytes(b'{"a": 1}', 200, plain), '{"a": 1}'),
        (reply_bytes(b"", 204), ""),
        (reply_bytes(b"", 200, [("content-type", "application/json")]), None),
    ]
    async with ScriptedUpstream([answer for answer, _ in told]) as service:
        async with running(options=TOOL.format(url=service.url, http="", more="")) as (gateway, _):
            assert [(await executed(gateway, "search"))["result"] for _ in told] == [result for _, result in told]


async def test_a_result_over_the_cap_is_an_error_before_it_is_read_whole() -> None:
    chunks = [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"]
    chunks += [b"400\r\n" + b"x" * 1024 + b"\r\n"] * 8
    found, service = await run([*chunks, Stall()], {}, more="max_bytes: 4KiB,")
    assert found["error"] == "its result is over 4096 bytes, the most that is taken"
    await service.wait_closed()


async def test_a_service_that_does_not_answer_times_out() -> None:
    found, service = await run([Stall()], {}, http="timeout: 50ms")
    assert found["error"] == "it did not answer within 0.05 s"
    await service.wait_closed()


async def test_numbers_reach_the_model_as_the_service_wrote_them() -> None:
    text = b'{ "big": 12345678901234567890123, "float": 1.0, "escaped": "\\u00e9" }'
    answer = reply_bytes(text, 200, [("content-type", "application/vnd.x+json")])
    async with ScriptedUpstream([answer]) as service:
        options = TOOL.format(url=service.url, http="", more="")
        async with running(Model(Turn("", [call("search")]), Turn("x")), options) as (gateway, upstream):
            await chat(gateway)
            assert results(upstream.requests[1]) == ['{"big":12345678901234567890123,"float":1.0,"escaped":"\\u00e9"}']


async def test_calls_of_one_round_run_at_the_same_time() -> None:
    both = Gate()
    waiting: list[str] = []

    def serve(request: Any) -> Answer:
        waiting.append(request.json()["q"])
        if len(waiting) == 2:  # the first is answered only once the second has come
            both.open()
        return [both, *reply_json(request.json()["q"])]

    async with ScriptedUpstream(serve) as service:
        options = TOOL.format(url=service.url, http="", more="")
        model = Model(Turn("", [call("search", q="a"), call("search", q="b")]), Turn("x"))
        async with running(model, options) as (gateway, upstream):
            await chat(gateway)
            assert sorted(waiting) == ["a", "b"]
            assert results(upstream.requests[1]) == ['"a"', '"b"']


async def test_max_parallel_lets_no_more_run_at_the_same_time() -> None:
    running_now, most = 0, 0
    gates = [Gate() for _ in range(4)]

    def serve(request: Any) -> Answer:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        return [gates[request.json()["q"]], *reply_json(1)]

    async with ScriptedUpstream(serve) as service:
        options = "{max_parallel: 2, " + TOOL.format(url=service.url, http="", more="")[1:]
        model = Model(Turn("", [call("search", q=each) for each in range(4)]), Turn("x"))
        async with running(model, options) as (gateway, _):
            asking = asyncio.create_task(chat(gateway))
            for gate in gates:
                await gate.reached()
                running_now -= 1
                gate.open()
            await asking
            assert most == 2
