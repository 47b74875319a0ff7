"""Targets in order, fallback and retry until the commit point, and what the client is told when nothing is left."""

from __future__ import annotations

import asyncio
import json
from email.utils import formatdate

import pytest

from gateway.testing import (
    Close,
    Gate,
    ManualClock,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    reply_bytes,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip

CHAT = "/v1/chat/completions"
GOOD = {"id": "x", "object": "chat.completion", "model": "b", "choices": [{"index": 0, "message": {"role": "assistant", "content": "from b"}, "finish_reason": "stop"}]}  # fmt: skip
SSE = [("content-type", "text/event-stream")]
STREAM = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"from b"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def config(
    a: ScriptedUpstream,
    b: ScriptedUpstream | None = None,
    route: str = "",
    a_keys: str = "api_key: key-of-a-0001",
    more: str = "",
) -> str:
    providers = f'  a: {{dialect: openai, base_url: "{a.url}/v1", {a_keys}}}\n'
    targets = "[a/one]"
    if b is not None:
        providers += f'  b: {{dialect: openai, base_url: "{b.url}/v1", api_key: key-of-b-0001}}\n'
        targets = "[a/one, b/two]"
    return f"version: 1\nplugins: [access_log{more}]\nproviders:\n{providers}routes:\n  - {{name: r, targets: {targets}{route}}}\n"


FAILURES = {
    "500": reply_json({"error": {"message": "boom", "type": "server_error"}}, 500),
    "503": reply_json({"error": {"message": "busy"}}, 503),
    "429": reply_json({"error": {"message": "slow down"}}, 429, [("retry-after", "30")]),
    "401": reply_json({"error": {"message": "bad key"}}, 401),
    "reset": [Reset()],
    "close": [Close()],
    "html": reply_bytes(b"<html>sorry</html>", 200, [("content-type", "text/html")]),
    "empty": reply_bytes(b"", 200, [("content-type", "application/json")]),
    "no content": [Send(b"HTTP/1.1 204 No Content\r\n\r\n")],
    "error in 200": reply_json({"error": {"message": "really not", "code": 503}}),
    "not json": reply_bytes(b"{", 200, [("content-type", "application/json")]),
    "redirect": reply_bytes(b"", 302, [("location", "http://127.0.0.1:1/")]),
    "short": reply_bytes(b'{"id":1', 200, [("content-type", "application/json")], content_length=100, close=True),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_before_the_first_byte_goes_to_the_next_target(name: str) -> None:
    async with ScriptedUpstream([FAILURES[name]]) as a, ScriptedUpstream([reply_json(GOOD)]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.json()) == (200, GOOD)
        assert got.headers["x-gateway-target"] == "b/two"
        assert got.headers["x-gateway-attempts"] == "2"
        assert b.requests[0].json()["model"] == "two"
        assert [line["target"] for line in gateway.events("attempt_failed")] == ["a/one"]


async def test_connection_refused_goes_to_the_next_target() -> None:
    async with ScriptedUpstream([reply_json(GOOD)]) as b:
        async with ScriptedUpstream([reply_json(GOOD)]) as a:
            text = config(a, b)
        async with running_gateway(text) as gateway:
            assert (await gateway.post(CHAT, ASK)).headers["x-gateway-target"] == "b/two"


STREAM_FAILURES = {
    "error event first": reply_bytes(
        b'data: {"error":{"message":"overloaded","code":503}}\n\ndata: [DONE]\n\n', 200, SSE
    ),
    "cut in the preamble": [Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM[:90]), Reset()],
    "clean end without a finish": reply_bytes(STREAM.split(b"\n\n")[0] + b"\n\n", 200, SSE),
    "json where a stream was asked": reply_json({"error": {"message": "no"}}),
    "500": FAILURES["500"],
}


@pytest.mark.parametrize("name", STREAM_FAILURES)
async def test_stream_that_fails_before_content_falls_back_unseen(name: str) -> None:
    async with ScriptedUpstream([STREAM_FAILURES[name]]) as a, ScriptedUpstream([reply_bytes(STREAM, 200, SSE)]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, {**ASK, "stream": True})
        assert (got.status, got.body) == (200, STREAM)
        assert got.headers["x-gateway-target"] == "b/two"


async def test_after_the_first_content_no_other_target_is_tried() -> None:
    part = STREAM.split(b"data: {", 3)
    sent = b"data: {" + part[1] + b"data: {" + part[2]
    gate = Gate()
    answer = [Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + sent), gate, Reset()]
    async with ScriptedUpstream([answer]) as a, ScriptedUpstream([reply_bytes(STREAM, 200, SSE)]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        async with gateway.session.post(gateway.url + CHAT, json={**ASK, "stream": True}) as response:
            first = await response.content.readany()
            gate.open()
            got = first + await response.content.read()
        assert got.startswith(sent)
        assert json.loads(got[len(sent) :].removeprefix(b"data: "))["error"]["code"] == "stream_truncated"
        assert b.requests == []
        await gateway.settled()
        line = gateway.events("request")[0]
        assert (line["outcome"], line["error_code"], line["status"]) == ("failed", "stream_truncated", 200)


@pytest.mark.parametrize(("status", "seen"), [(400, 400), (404, 404), (413, 413), (422, 422), (409, 409)])
async def test_client_errors_pass_as_they_are_and_are_not_retried(status: int, seen: int) -> None:
    error = {
        "error": {"message": "your fault", "type": "invalid_request_error", "param": "x", "code": "bad_x", "extra": 1.0}
    }
    async with ScriptedUpstream([reply_json(error, status)]) as a, ScriptedUpstream([reply_json(GOOD)]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.json()) == (seen, error)
        assert got.headers["x-gateway-error-source"] == "upstream"
        assert (len(a.requests), len(b.requests)) == (1, 0)


async def test_last_error_is_the_clients_with_its_retry_after_and_no_retries_of_its_own() -> None:
    answer = reply_json(
        {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate"}}, 429, [("retry-after", "30")]
    )
    async with ScriptedUpstream([answer]) as a, running_gateway(config(a)) as gateway:
        got = await gateway.post(CHAT, ASK)
        assert got.status == 429
        assert got.headers["retry-after"] == "30"
        assert got.headers["x-should-retry"] == "false"
        assert len(a.requests) == 1


async def test_retry_after_that_fits_is_waited_for() -> None:
    busy = reply_json({"error": {"message": "slow down"}}, 429, [("retry-after-ms", "1")])
    async with ScriptedUpstream([busy, busy, reply_json(GOOD)]) as a, running_gateway(config(a)) as gateway:
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["x-gateway-attempts"]) == (200, "3")


async def test_retry_after_is_obeyed_under_a_short_backoff_too() -> None:
    busy = reply_json({"error": {"message": "slow down"}}, 429, [("retry-after-ms", "30")])
    async with ScriptedUpstream([busy, reply_json(GOOD)]) as a, running_gateway(config(a, route=", retry: {backoff: 1ms..2ms}")) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["x-gateway-attempts"]) == (200, "2")


async def test_retry_after_as_a_date_needs_no_date_beside_it() -> None:
    clock = ManualClock(monotonic=asyncio.get_running_loop().time())
    later = formatdate(clock.time() + 3600, usegmt=True)
    busy = reply_json({"error": {"message": "slow down"}}, 429, [("retry-after", later)])
    async with ScriptedUpstream([busy]) as a, running_gateway(config(a), clock=clock) as gateway:
        got = await gateway.post(CHAT, ASK)
        assert got.status == 429 and 3599 <= int(got.headers["retry-after"]) <= 3601


async def test_repeats_are_at_most_the_retry_attempts() -> None:
    async with ScriptedUpstream([FAILURES["500"]]) as a, running_gateway(config(a, route=", retry: {attempts: 2, backoff: 1ms..2ms}")) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.json()["error"]["code"]) == (502, "upstream_error")
        assert len(a.requests) == 2


async def test_failure_kind_left_out_of_retry_on_stands() -> None:
    async with ScriptedUpstream([FAILURES["500"]]) as a, ScriptedUpstream([reply_json(GOOD)]) as b, running_gateway(config(a, b, ", retry: {on: [connect]}")) as gateway:  # fmt: skip
        assert (await gateway.post(CHAT, ASK)).status == 502
        assert b.requests == []


async def test_refused_key_rests_and_its_sibling_works() -> None:
    keys = 'api_keys: ["key-number-1", "key-number-2"]'
    async with ScriptedUpstream(lambda request: FAILURES["401"] if "key-number-1" in request.header("authorization") else reply_json(GOOD)) as a, running_gateway(config(a, a_keys=keys)) as gateway:  # fmt: skip
        for _ in range(4):
            assert (await gateway.post(CHAT, ASK)).status == 200
        assert [request.header("authorization") for request in a.requests].count("Bearer key-number-1") == 1


async def test_credential_refused_everywhere_is_a_502_that_names_the_provider() -> None:
    async with ScriptedUpstream([reply_json({"error": {"message": "Incorrect API key provided: key-of-a-0001"}}, 401)]) as a, running_gateway(config(a)) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert got.status == 502
        assert got.json()["error"]["provider"] == "a"
        assert b"key-of-a" not in got.body
        assert "key-of-a" not in json.dumps(gateway.log)
        assert len(a.requests) == 1


async def test_passthrough_credentials_are_the_clients_business() -> None:
    async with (
        ScriptedUpstream([FAILURES["401"]]) as a,
        running_gateway(config(a, a_keys="auth: passthrough")) as gateway,
    ):
        got = await gateway.post(CHAT, ASK, headers={"authorization": "Bearer mine"})
        assert got.status == 401
        assert a.requests[0].header("authorization") == "Bearer mine"


async def test_targets_without_a_key_are_skipped_and_none_left_is_a_503() -> None:
    async with ScriptedUpstream([reply_json(GOOD)]) as a, ScriptedUpstream([reply_json(GOOD)]) as b:
        async with running_gateway(config(a, b, a_keys='api_key: "${NONE:-}"')) as gateway:
            assert (await gateway.post(CHAT, ASK)).headers["x-gateway-target"] == "b/two"
        async with running_gateway(config(a, a_keys='api_key: "${NONE:-}"')) as gateway:
            got = await gateway.post(CHAT, ASK)
            assert (got.status, got.json()["error"]["code"]) == (503, "provider_disabled")
            assert len([line for line in gateway.log if line["level"] == "warning"]) == 1


async def test_context_overflow_has_fallbacks_of_its_own() -> None:
    overflow = reply_json(
        {"error": {"message": "This model's maximum context length is 8 tokens", "code": "context_length_exceeded"}},
        400,
    )
    async with ScriptedUpstream([overflow]) as a, ScriptedUpstream([reply_json(GOOD)]) as b:
        text = config(a, b).replace("targets: [a/one, b/two]", "targets: [a/one], fallbacks: {context_length: [b/two]}")
        async with running_gateway(text) as gateway:
            assert (await gateway.post(CHAT, ASK)).headers["x-gateway-target"] == "b/two"


@pytest.mark.parametrize(("what", "answer"), [("first_token", [Stall()]), ("idle", [Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\n"), Stall()]), ("total", [Stall()])])  # fmt: skip
async def test_silence_is_a_504_in_time(what: str, answer: list[object]) -> None:
    async with ScriptedUpstream([answer]) as a, running_gateway(config(a, more=f", {{timeouts: {{{what}: 50ms}}}}", route=", retry: {attempts: 1}")) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, {**ASK, "stream": True})
        assert (got.status, got.json()["error"]["code"]) == (504, "timeout")
        await a.wait_closed(0)


async def test_idle_time_after_content_ends_the_stream_with_an_error() -> None:
    sent = STREAM.split(b'data: {"id":"c","choices":[{"index":0,"delta":{},')[0]
    answer = [Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + sent), Stall()]
    async with (
        ScriptedUpstream([answer]) as a,
        running_gateway(config(a, more=", {timeouts: {idle: 50ms}}")) as gateway,
    ):
        got = await gateway.post(CHAT, {**ASK, "stream": True})
        assert json.loads(got.body.removeprefix(sent).removeprefix(b"data: "))["error"]["code"] == "timeout"


async def test_client_may_shorten_the_deadline_only() -> None:
    async with ScriptedUpstream([[Stall()]]) as a, running_gateway(config(a, more=", timeouts")) as gateway:
        got = await gateway.post(CHAT, ASK, headers={"x-gateway-timeout": "0.05"})
        assert (got.status, got.json()["error"]["code"]) == (504, "timeout")
        bad = await gateway.post(CHAT, ASK, headers={"x-gateway-timeout": "soon"})
        assert bad.status == 400


async def test_client_that_leaves_cancels_a_silent_upstream() -> None:
    async with ScriptedUpstream([[Stall()]]) as a, running_gateway(config(a)) as gateway:
        asking = asyncio.ensure_future(gateway.post(CHAT, {**ASK, "stream": True}))
        await a.wait_for_request()
        asking.cancel()
        await a.wait_closed(0)
        await gateway.settled()
        line = gateway.events("request")[0]
        assert (line["outcome"], line["status"]) == ("disconnected", 499)


async def test_sse_reply_of_the_kit_is_relayed() -> None:
    events = [{"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}]
    async with ScriptedUpstream([reply_sse([*events, "[DONE]"])]) as a, running_gateway(config(a)) as gateway:
        got = await gateway.post(CHAT, {**ASK, "stream": True})
        assert got.body.endswith(b"data: [DONE]\n\n")
