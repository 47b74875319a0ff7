"""What a connection, a body and a slow client may take; what happens when it is more."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from gateway.testing import (
    Gate,
    RunningGateway,
    ScriptedUpstream,
    Send,
    reply_json,
    reply_sse,
    running_gateway,
)
from tests.server.conftest import OPENAI
from tests.server.raw import RawClient, chat, chunked, post, raw_client

DELTA = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "x" * 1000}}]}


def config(url: str, server: str) -> str:
    return f"""
        server: {server}
        plugins: [security_headers]
        providers:
          up: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
          claude: {{dialect: anthropic, base_url: "{url}", api_key: k}}
        routes:
          - {{name: all, match: {{model: m}}, targets: ["up/*"]}}
          - {{name: claude, match: {{model: claude}}, targets: ["claude/*"]}}
    """


async def idle_answer(client: RawClient) -> None:
    await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
    answer = await client.answer()
    assert answer is not None and answer.status == 200


@pytest.mark.parametrize(
    "piece", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nX-A: "], ids=["nothing", "half a head"]
)
async def test_connection_without_a_whole_head_is_closed(piece: bytes, upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{timeouts: {headers: 200ms}}")) as gateway:
        async with raw_client(gateway) as client:
            await client.send(piece)
            assert await client.rest() == b""
        assert not upstream.requests


async def test_head_that_drips_is_closed_on_a_kept_alive_connection_too(upstream: ScriptedUpstream) -> None:
    async with (
        running_gateway(config(upstream.url, "{timeouts: {headers: 200ms}}")) as gateway,
        raw_client(gateway) as client,
    ):
        await idle_answer(client)
        closed = asyncio.create_task(client.rest())
        await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\nX-A: ")
        while not closed.done():
            await client.send(b"a")
            await asyncio.wait([closed], timeout=0.01)
        assert await closed == b""


async def test_kept_alive_connection_is_not_closed_by_the_head_timeout(upstream: ScriptedUpstream) -> None:
    gate = Gate()
    upstream.script = [gate, *reply_json(OPENAI)]
    limits = "{timeouts: {headers: 50ms, body: 5s}}"
    async with running_gateway(config(upstream.url, limits)) as gateway, raw_client(gateway) as client:
        body = chat()
        await client.send(
            post("/v1/chat/completions", body, f"Content-Length: {len(body)}", length=False)[: -len(body)]
        )
        async with raw_client(gateway) as other:  # closed after the head timeout: so long has the first one waited too
            assert await other.rest() == b""
        await client.send(body[:5], body[5:])
        await gate.reached()
        async with raw_client(gateway) as other:
            assert await other.rest() == b""
        gate.open()
        answer = await client.answer()
        assert answer is not None and answer.status == 200
        async with raw_client(gateway) as other:
            assert await other.rest() == b""
        await idle_answer(client)


async def test_idle_connection_is_closed_after_the_keep_alive_time(upstream: ScriptedUpstream) -> None:
    async with (
        running_gateway(config(upstream.url, "{timeouts: {keep_alive: 100ms}}")) as gateway,
        raw_client(gateway) as client,
    ):
        await idle_answer(client)
        assert await client.rest() == b""


async def test_slow_body_is_408_in_the_callers_dialect_and_closes(upstream: ScriptedUpstream) -> None:
    async with (
        running_gateway(config(upstream.url, "{timeouts: {body: 100ms}}")) as gateway,
        raw_client(gateway) as client,
    ):
        await client.send(post("/v1/messages", b'{"model":', "Content-Length: 999", length=False))
        answer = await client.answer()
        assert answer is not None and answer.status == 408
        assert answer.json()["error"]["type"] == "timeout_error"
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
        assert not upstream.requests


async def test_a_reload_changes_the_limits_of_open_connections(upstream: ScriptedUpstream) -> None:
    async with (
        running_gateway(config(upstream.url, "{timeouts: {headers: 1h, body: 1h}}")) as gateway,
        raw_client(gateway) as client,
    ):
        await idle_answer(client)
        gateway.configure(config(upstream.url, "{timeouts: {headers: 50ms, body: 50ms}}"))
        await gateway.reloader.reload("test")
        await client.send(b"GET /hea")
        assert await client.rest() == b""


async def flood(upstream: ScriptedUpstream, gateway: RunningGateway, client: RawClient, stream: bool) -> None:
    """Ask for more than any buffer holds and read nothing."""
    await client.send(post("/v1/chat/completions", chat(stream=stream)))
    await upstream.wait_for_request()
    await upstream.wait_closed()
    await gateway.settled()


async def test_slow_reader_of_a_stream_is_cut_and_its_upstream_closed() -> None:
    events = [Send(b"%x\r\n%b\r\n" % (len(e), e)) for e in [b"data: " + json.dumps(DELTA).encode() + b"\n\n"] * 20_000]
    async with ScriptedUpstream([*reply_sse([], terminated=False), *events]) as upstream:
        limits = "{timeouts: {write: 200ms}}"
        async with running_gateway(config(upstream.url, limits)) as gateway, raw_client(gateway, limit=1024) as client:
            await flood(upstream, gateway, client, stream=True)
            assert not gateway.core.live
            await idle_check(gateway)


async def test_slow_reader_of_a_plain_answer_is_cut() -> None:
    big = {**OPENAI, "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 30_000_000}}]}
    async with ScriptedUpstream(reply_json(big)) as upstream:
        limits = "{timeouts: {write: 200ms}}"
        async with running_gateway(config(upstream.url, limits)) as gateway, raw_client(gateway, limit=1024) as client:
            await client.send(post("/v1/chat/completions", chat()))
            await upstream.wait_for_request()
            async with asyncio.timeout(10):
                while not gateway.core.live:
                    await asyncio.sleep(0)
                while gateway.core.live:
                    await asyncio.sleep(0.01)
            await idle_check(gateway)


async def idle_check(gateway: RunningGateway) -> None:
    assert (await gateway.get("/health")).status == 200


async def test_reader_who_pauses_and_goes_on_gets_everything() -> None:
    events = [{**DELTA, "pad": "x" * 200_000, "n": n} for n in range(100)]
    finish = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    async with ScriptedUpstream(reply_sse([*events, finish, "[DONE]"])) as upstream:
        async with running_gateway(config(upstream.url, "{}")) as gateway, raw_client(gateway, limit=1024) as client:
            await client.send(post("/v1/chat/completions", chat(stream=True)))
            connection = next(iter(gateway.server._acceptor.open))
            async with asyncio.timeout(10):
                while not connection.writing_paused:
                    await asyncio.sleep(0)
            answer = await client.answer()
            assert answer is not None and answer.status == 200
            assert answer.body.count(b"data: ") == 102 and answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "headers", "length"),
    [
        (b"", ("Content-Length: 2000",), False),
        (chunked(b" " * 600, b" " * 600), ("Transfer-Encoding: chunked",), False),
        (gzip.compress(b" " * 5_000_000)[:4900], ("Content-Encoding: gzip",), True),
        (gzip.compress(b" " * 1001), ("Content-Encoding: gzip",), True),
    ],
    ids=["content-length", "chunked", "compressed and long", "compressed and short"],
)
async def test_body_over_the_limit_is_413_and_closes(
    body: bytes, headers: tuple[str, ...], length: bool, upstream: ScriptedUpstream
) -> None:
    limit = "{max_body: 5000B}" if len(body) > 4000 else "{max_body: 1000B}"
    async with running_gateway(config(upstream.url, limit)) as gateway, raw_client(gateway) as client:
        await client.send(post("/v1/messages", body, *headers, length=length))
        answer = await client.answer()
        assert answer is not None and answer.status == 413, answer
        assert answer.json()["error"]["type"] == "request_too_large"
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b"" and not upstream.requests


async def test_body_of_exactly_the_limit_is_taken(upstream: ScriptedUpstream) -> None:
    body = chat(pad="")
    body = chat(pad="x" * (1000 - len(body)))
    async with running_gateway(config(upstream.url, "{max_body: 1000B}")) as gateway:
        for framed in (
            post(body=body),
            post("/v1/chat/completions", chunked(body), "Transfer-Encoding: chunked", length=False),
        ):
            async with raw_client(gateway) as client:
                await client.send(framed)
                answer = await client.answer()
                assert answer is not None and answer.status == 200
        assert [request.json() for request in upstream.requests] == [json.loads(body)] * 2


async def test_what_is_sent_after_a_413_is_dropped_and_not_held(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{max_body: 1KiB}")) as gateway, raw_client(gateway) as client:
        await client.send(post("/v1/chat/completions", b"", "Transfer-Encoding: chunked", length=False))
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        try:
            for _ in range(200):
                await client.send(piece)
        except ConnectionError:
            return  # the server has stopped listening: as good an answer to 13 MB
        answer = await client.answer()
        assert answer is None or answer.status == 413


async def test_above_max_in_flight_is_503_at_once_and_health_stays_reachable() -> None:
    gate = Gate()
    async with ScriptedUpstream([gate, *reply_json(OPENAI)]) as upstream:
        async with running_gateway(config(upstream.url, "{max_in_flight: 1}")) as gateway:
            first = asyncio.create_task(gateway.post("/v1/chat/completions", body=chat()))
            await gate.reached()
            refused = await gateway.post("/v1/chat/completions", body=chat())
            assert refused.status == 503 and refused.json()["error"]["code"] == "overloaded"
            assert refused.headers["retry-after"] == "1" and refused.headers["x-content-type-options"] == "nosniff"
            anthropic = await gateway.post("/v1/messages", body=chat("claude", max_tokens=5))
            assert anthropic.status == 529 and anthropic.json()["error"]["type"] == "overloaded_error"
            assert anthropic.headers["retry-after"] == "1"
            for path in ("/health", "/ready", "/v1/models", "/docs"):
                assert (await gateway.get(path)).status == 200
            gate.open()
            assert (await first).status == 200
            await gateway.settled()
            assert (await gateway.post("/v1/chat/completions", body=chat())).status == 200
            assert len(upstream.requests) == 2


async def test_expect_100_continue_is_answered_before_the_body_comes(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{}")) as gateway, raw_client(gateway) as client:
        request = post("/v1/chat/completions", chat(), "Expect: 100-continue")
        head, _, body = request.partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        interim = await client.answer()
        assert interim is not None and interim.status == 100
        await client.send(body)
        answer = await client.answer()
        assert answer is not None and answer.status == 200
        assert not upstream.requests[0].header("expect")


async def test_expect_100_continue_for_too_much_is_413_and_no_100(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{max_body: 1KiB}")) as gateway, raw_client(gateway) as client:
        await client.send(
            post("/v1/chat/completions", b"", "Expect: 100-continue", "Content-Length: 2000", length=False)
        )
        answer = await client.answer()
        assert answer is not None and answer.status == 413
        assert await client.rest() == b""


async def test_expect_100_continue_without_a_key_or_route_asks_for_no_body(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{}")) as gateway, raw_client(gateway) as client:
        await client.send(post("/nowhere", b"", "Expect: 100-continue", "Content-Length: 20", length=False))
        answer = await client.answer()
        assert answer is not None and answer.status == 404


async def test_pipelined_requests_are_answered_each_in_its_turn(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{}")) as gateway, raw_client(gateway) as client:
        wanted = [f"id-{n}" for n in range(100)]
        await client.send(
            b"".join(post("/v1/chat/completions", chat(user=name), f"x-request-id: {name}") for name in wanted)
        )
        got = []
        for _ in wanted:
            answer = await client.answer()
            assert answer is not None and answer.status == 200
            got.append(answer.headers["x-request-id"])
        assert got == wanted
        assert [request.json()["user"] for request in upstream.requests] == wanted


async def test_pipelined_request_behind_a_broken_one_is_not_served(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url, "{}")) as gateway, raw_client(gateway) as client:
        await client.send(post())
        first = await client.answer()
        assert first is not None and first.status == 200
        await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nBad Header: 1\r\n\r\n" + post())
        second = await client.answer()
        assert second is not None and second.status == 400
        assert await client.rest() == b""
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(("version", "header", "stays"), [("HTTP/1.1", "X-A: b", True), ("HTTP/1.1", "Connection: close", False), ("HTTP/1.0", "X-A: b", False), ("HTTP/1.0", "Connection: keep-alive", True)])  # fmt: skip
async def test_connection_stays_as_its_version_and_header_say(
    version: str, header: str, stays: bool, upstream: ScriptedUpstream
) -> None:
    async with running_gateway(config(upstream.url, "{}")) as gateway, raw_client(gateway) as client:
        await client.send(post("/v1/chat/completions", chat(), header, version=version))
        answer = await client.answer()
        assert answer is not None and answer.status == 200
        if stays:
            await idle_answer(client)
        else:
            assert answer.headers.get("connection") == "close" and await client.rest() == b""
