"""Requests that are read without aiohttp get the answers that they would get from it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from gateway.server.connection import Connection
from gateway.server.quick import Head, split
from gateway.testing import Gate, RunningGateway, ScriptedUpstream, reply_json, reply_sse, running_gateway
from tests.server.conftest import OPENAI
from tests.server.raw import RawAnswer, RawClient, raw_client

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
CONFIG = 'providers: {{up: {{dialect: openai, base_url: "{url}/v1", api_key: k}}}}\nroutes: [{{name: all, targets: ["up/*"]}}]\n'
EACH_TIME = {"date", "x-request-id", "request-id", "server-timing", "content-length"}
NEW_IDS = re.compile(rb'[0-9a-f]{32}|_duration":\d+|created_at":"[^"]*')


def request(*lines: str, body: bytes = BODY, path: str = "/v1/chat/completions", length: int | None = None) -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: gateway",
        f"Content-Length: {len(body) if length is None else length}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def read(data: bytes, known: Head | None = None) -> tuple[Head, bytes]:
    found = split(data, known)
    assert found is not None
    return found


def test_a_request_that_came_whole_is_read() -> None:
    head, body = read(request("Authorization:\t Bearer k ", "X-Empty:", "accept: */*"))
    assert (head.path, body, head.length) == ("/v1/chat/completions", BODY, len(BODY))
    assert head.headers == {
        "Host": "gateway", "Content-Length": str(len(BODY)), "Authorization": "Bearer k", "X-Empty": "", "accept": "*/*",
    }  # fmt: skip


def test_the_same_head_again_is_recognised_with_another_length() -> None:
    head, _ = read(request("X-A: 1"))
    longer = BODY + b" " * 100
    again, body = read(request("X-A: 1", body=longer), head)
    assert again is head
    assert body == longer
    other, _ = read(request("X-A: 2"), head)
    assert (other is head, other.headers["x-a"]) == (False, "2")


@pytest.mark.parametrize(
    "data",
    [
        request()[:-1],  # not whole
        request() + b"P",  # more than whole
        request(length=len(BODY) + 1),
        request(path="/v1/models"),
        request(path="/v1/chat/completions?x=1"),
        request(path="/nowhere"),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request().replace(b"POST", b"post"),
        request().replace(b"POST ", b"POST  "),
        request().replace(b"Host: gateway\r\n", b""),
        request("Host: other"),
        request(f"Content-Length: {len(BODY)}"),
        request("content-type: a/b", "Content-Type: a/c"),
        request("Transfer-Encoding: chunked"),
        request("Transfer-Encoding : chunked"),
        request("Expect: 100-continue"),
        request("Upgrade: websocket"),
        request("Connection: close"),
        request("Connection: keep-alive, x-a"),
        request("Content-Encoding: gzip"),
        request("X-A: \x01"),
        request("X-A: \xe9"),
        request("X-A: 1\r\n folded"),
        request("X A: 1"),
        request(": 1"),
        request("X-A"),
        request("X-A: 1\nX-B: 2"),
        request("X-A: 1\rX-B: 2"),
        request(*(f"X-{n}: 1" for n in range(100))),
        request("X-A: " + "a" * 8192),
        request().replace(b"Content-Length: ", b"Content-Length: +"),
        request().replace(b"Content-Length: ", b"Content-Length: 0x"),
        b"\r\n" + request(),
        b"",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_left_to_aiohttp(data: bytes) -> None:
    assert split(data, None) is None
    known, _ = read(request())
    assert split(data, known) is None


async def ask(gateway: RunningGateway, *pieces: bytes) -> RawAnswer:
    async with raw_client(gateway) as client:
        await client.send(*pieces)
        answer = await client.answer()
    assert answer is not None
    return answer


def alike(answer: RawAnswer) -> tuple[int, dict[str, str], bytes]:
    return answer.status, {n: v for n, v in answer.headers.items() if n not in EACH_TIME}, NEW_IDS.sub(b"", answer.body)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat", "/v1/embeddings"]
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [{"model": "m"}, {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, []])
async def test_an_answer_is_the_same_however_its_request_was_read(path: str, stream: bool, body: object) -> None:
    events = [{"id": "c", "choices": [{"index": 0, "delta": {"content": word}}]} for word in ("a", "b")]
    last = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    upstream = ScriptedUpstream(reply_sse([*events, last, "[DONE]"]) if stream else reply_json(OPENAI))
    async with upstream, running_gateway(CONFIG.format(url=upstream.url)) as gateway:
        given = json.dumps({**body, "stream": stream} if isinstance(body, dict) else body).encode()
        data = request("x-request-id: one", "accept: */*", body=given, path=path)
        whole = await ask(gateway, data)
        assert split(data, None) is not None
        assert alike(await ask(gateway, data[:40], data[40:])) == alike(whole)
        sent = [
            (r.method, r.path, r.body, {n.lower(): v for n, v in r.headers if n != "traceparent"})
            for r in upstream.requests
        ]
        assert len(sent) % 2 == 0 and sent[: len(sent) // 2] == sent[len(sent) // 2 :]


async def test_one_connection_may_send_both_kinds(upstream: ScriptedUpstream) -> None:
    async with running_gateway(CONFIG.format(url=upstream.url)) as gateway, raw_client(gateway) as client:
        for pieces in (
            [request()],
            [request()[:9], request()[9:]],
            [request()],
            [request("Expect: 100-continue")],
            [request()],
        ):
            await client.send(*pieces)
            answer = await client.answer()
            if answer is not None and answer.status == 100:
                answer = await client.answer()
            assert answer is not None and answer.status == 200


async def test_what_is_asked_before_the_answer_waits_its_turn() -> None:
    gate = Gate()
    first, second = {**OPENAI, "id": "first"}, {**OPENAI, "id": "second"}
    async with ScriptedUpstream([[gate, *reply_json(first)], reply_json(second), reply_json(second)]) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url)) as gateway, raw_client(gateway) as client:
            await client.send(request())
            await upstream.wait_for_request()
            await client.send(request(), request()[:20], request()[20:])
            await asyncio.sleep(0)
            assert len(upstream.requests) == 1
            gate.open()
            ids = [(await whole(client)).json()["id"] for _ in range(3)]
    assert ids == ["first", "second", "second"]


async def test_what_comes_in_the_moment_after_an_answer_stays_behind_what_came_before_it() -> None:
    """The loop may bring the next bytes before those that waited have had their turn."""
    gate = Gate()
    answers = [{**OPENAI, "id": id} for id in ("first", "second")]
    async with ScriptedUpstream([[gate, *reply_json(answers[0])], reply_json(answers[1])]) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url)) as gateway, raw_client(gateway) as client:
            [connection] = await connections(gateway, client)
            await upstream.wait_for_request()
            second = request()
            connection.data_received(second[:20])
            gate.open()
            while connection._asked is not None:
                await asyncio.sleep(0)
            assert connection._later == second[:20]  # it has been answered, and what waited still waits
            connection.data_received(second[20:])
            assert [(await whole(client)).json()["id"] for _ in answers] == ["first", "second"]


async def connections(gateway: RunningGateway, client: RawClient) -> list[Connection]:
    """Ask, and return the gateway's side of the connections that are open."""
    await client.send(request())
    return gateway.server._acceptor.open


BROKEN = """
from gateway.plugin import Plugin

class Broken(Plugin):
    async def handle(self, exchange, call_next):
        reply = await call_next(exchange)
        reply.headers["x-two"] = "a\\r\\nx-smuggled: 1"
        return reply
"""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_head_that_cannot_be_written_is_a_500_also_of_a_stream(stream: bool) -> None:
    last = {"id": "c", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
    upstream = ScriptedUpstream(reply_sse([last, "[DONE]"]) if stream else reply_json(OPENAI))
    text = "plugins: [broken]\n" + CONFIG
    async with upstream, running_gateway(text.format(url=upstream.url), plugins={"broken": BROKEN}) as gateway:
        body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
        answer = await ask(gateway, request(body=body))
        assert (answer.status, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "x-smuggled" not in answer.headers


async def whole(client: RawClient) -> RawAnswer:
    answer = await client.answer()
    assert answer is not None
    return answer
