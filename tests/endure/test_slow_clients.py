"""Three hundred clients that are slow in every way there is are all cut; a good client is served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from pathlib import Path

import pytest

from gateway.testing import Answer, ReceivedRequest, ScriptedUpstream, Send, reply_json, running_gateway
from tests.endure.kit import PATHS, TYPES, ask, config, plain_of, quiet, stream_of
from tests.server.process import process
from tests.server.raw import port_of, post, raw_client

LIMITS = "{timeouts: {headers: 3s, body: 3s, write: 1s}}"
EACH = 100


def script(request: ReceivedRequest) -> Answer:
    if b"true" not in request.body:
        return reply_json(plain_of("openai"))
    piece = stream_of("openai")[1].replace(b"w", b"w" * 4000)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES['openai']}\r\n\r\n".encode()
    return [Send(head), *(Send(piece * 50) for _ in range(20)), Send(b"".join(stream_of("openai")))]


async def test_three_hundred_slow_clients_are_cut_and_a_good_one_is_served() -> None:
    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url, LIMITS)) as gateway:

        async def slow_head() -> None:
            async with raw_client(gateway) as client:
                await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nX-A: ")
                assert await client.rest() == b""

        async def slow_body() -> None:
            async with raw_client(gateway) as client:
                await client.send(post(PATHS["openai"], b'{"mod', "Content-Length: 99", length=False))
                answer = await client.answer()
                assert answer is not None and answer.status == 408 and answer.json()["error"]["code"] == "timeout"
                assert await client.rest() == b""

        async def slow_reader() -> None:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            with sock:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, ("127.0.0.1", port_of(gateway)))
                await loop.sock_sendall(sock, post(PATHS["openai"], ask("openai")))
                await ended.wait()

        ended = asyncio.Event()
        crowd = [asyncio.create_task(slow()) for _ in range(EACH) for slow in (slow_head, slow_body)]
        readers = [asyncio.create_task(slow_reader()) for _ in range(EACH)]
        for _ in range(20):
            answer = await gateway.post(PATHS["openai"], body=ask("openai", stream=False))
            assert answer.status == 200
        await asyncio.gather(*crowd)
        await quiet(gateway)
        ended.set()
        await asyncio.gather(*readers)
        outcomes = [line["outcome"] for line in gateway.events("request") if line["status"] != 408]
        assert outcomes.count("completed") == 20 and outcomes.count("disconnected") == EACH


@pytest.mark.parametrize(
    "piece", [b"", b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "], ids=["nothing", "half"]
)
async def test_the_admin_listener_waits_no_longer_for_a_head(tmp_path: Path, piece: bytes) -> None:
    (tmp_path / "gateway.yaml").write_text(config("http://127.0.0.1:9", "{timeouts: {headers: 500ms}}"))
    async with process(tmp_path) as gateway:
        port = int(gateway.admin.rpartition(":")[2])
        async with raw_client(port) as client:
            await client.send(piece)
            assert await client.rest() == b""
        async with raw_client(port) as client:
            await client.send(b"GET / HTTP/9.9\r\nHost: a b\r\n\r\n")
            answer = await client.answer()
            assert answer is not None and answer.status == 400 and "message" in json.loads(answer.body)["error"]
            assert "server" not in answer.headers and await client.rest() == b""
        assert (await gateway.get("/api/status", gateway.admin))[0] == 200


async def test_a_crowd_at_the_admin_listener_takes_no_descriptors_from_requests(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(config("http://127.0.0.1:9"))
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))  # noqa: E731
    async with process(tmp_path, prepare=few) as gateway, contextlib.AsyncExitStack() as stack:
        port = int(gateway.admin.rpartition(":")[2])
        crowd = [await stack.enter_async_context(raw_client(port)) for _ in range(200)]
        assert await crowd[0].rest() == b""  # who has asked for nothing for longest makes room
        for _ in range(20):
            async with raw_client(gateway.port) as client:
                await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
                answer = await client.answer()
                assert answer is not None and answer.status == 200
        await crowd[-1].send(b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = await crowd[-1].answer()
        assert answer is not None and answer.status == 200
