"""A process that is told to stop, killed or reconfigured under two hundred open streams."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from gateway.testing import Answer, Gate, ReceivedRequest, ScriptedUpstream, Send, Stall, reply_json
from tests.endure.kit import (
    NAMES,
    PATHS,
    TERMINATORS,
    TYPES,
    ask,
    code,
    config,
    error_at_the_end,
    plain_of,
    spoken_by,
    stream_of,
    until_word,
)  # fmt: skip
from tests.server.process import Process, process
from tests.server.raw import RawClient, post, raw_client

STREAMS = 200


class Said:
    """Streams that stop in the middle: those that fit go on when the gate opens, the others never do."""

    def __init__(self) -> None:
        self.gate = Gate()

    def __call__(self, request: ReceivedRequest) -> Answer:
        name = spoken_by(request)
        if b'"stream":false' in request.body.replace(b" ", b""):
            return reply_json(plain_of(name))
        begun = until_word(name, 2)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[name]}\r\nconnection: close\r\n\r\n".encode()
        rest = b"".join(stream_of(name)[len(begun) :])
        return [Send(head + b"".join(begun)), *([self.gate, Send(rest)] if b"fits" in request.body else [Stall()])]


def write(home: Path, url: str, server: str, more: str = "") -> Path:
    (home / "gateway.yaml").write_text(config(url, server) + more)
    return home


async def open_streams(gateway: Process) -> list[tuple[str, bool, RawClient]]:
    """Open the streams, every other one of which fits, and return when each has begun."""
    clients = []
    for number in range(STREAMS):
        client, fits = NAMES[number % 4], number % 8 < 4
        raw = RawClient(*await asyncio.open_connection("127.0.0.1", gateway.port))
        await raw.send(post(PATHS[client], ask(client, text="fits" if fits else "stays")))
        clients.append((client, fits, raw))
    for _, _, raw in clients:
        async with asyncio.timeout(20):
            while "wörd1 ".encode() not in raw.buffer:
                assert await raw._more()
    return clients


async def test_sigterm_with_two_hundred_streams_ends_each_truthfully_and_exits_0(tmp_path: Path) -> None:
    said = Said()
    async with ScriptedUpstream(said) as upstream:
        home = write(tmp_path, upstream.url, "{drain: {lame_duck: 2s, grace: 2500ms}}")
        async with process(home) as gateway:
            clients = await open_streams(gateway)
            gateway.process.send_signal(signal.SIGTERM)
            await gateway.log_line("lame_duck")
            assert (await gateway.get("/ready"))[0] == 503
            for client in NAMES:
                async with raw_client(gateway.port) as late:
                    await late.send(post(PATHS[client], ask(client, stream=False)))
                    answer = await late.answer()
                    assert answer is not None and answer.status == 200
            await gateway.log_line("draining")
            said.gate.open()
            for client, fits, raw in clients:
                answer = await raw.answer()
                assert answer is not None and answer.status == 200
                if fits:
                    assert answer.body == b"".join(stream_of(client))
                else:
                    begun = b"".join(until_word(client, 2))
                    assert answer.body.startswith(begun)
                    assert error_at_the_end(client, answer.body[len(begun) :]) == code(client, "overloaded", "overloaded_error")  # fmt: skip
            assert await gateway.ended() == 0
            for _, _, raw in clients:
                raw.reset()
        lines = [json.loads(line) for line in gateway.lines if '"event":"request"' in line]
        outcomes = [line["outcome"] for line in lines if line["route"]]
        assert (outcomes.count("completed"), outcomes.count("failed")) == (STREAMS // 2 + 4, STREAMS // 2)


async def test_a_killed_process_is_followed_at_once_by_another_on_its_port(tmp_path: Path) -> None:
    said = Said()
    async with ScriptedUpstream(said) as upstream:
        home = write(tmp_path, upstream.url, "{}")
        async with process(home) as first:
            clients = await open_streams(first)
            port = first.port
            first.process.kill()
            assert await first.ended() == -signal.SIGKILL
            for client, _, raw in clients:
                rest = await raw.rest()
                assert TERMINATORS[client] not in rest and not rest.endswith(b"0\r\n\r\n")
            async with process(home, "--listen", f"127.0.0.1:{port}") as second:
                assert second.port == port
                async with raw_client(port) as client_of_second:
                    await client_of_second.send(post(PATHS["openai"], ask("openai", stream=False)))
                    answer = await client_of_second.answer()
                    assert answer is not None and answer.status == 200


@pytest.mark.parametrize("bad", ["routes: [", "  - {name: x, match: {model: x}, targets: [nobody/x]}\n"], ids=["half-written", "bad value"])  # fmt: skip
async def test_a_bad_reload_under_two_hundred_streams_changes_nothing(tmp_path: Path, bad: str) -> None:
    said = Said()
    async with ScriptedUpstream(said) as upstream:
        home = write(tmp_path, upstream.url, "{drain: {lame_duck: 0s, grace: 100ms}}")
        async with process(home) as gateway:
            clients = await open_streams(gateway)
            digest = (await gateway.get("/api/status", gateway.admin))[1]["digest"]
            write(tmp_path, upstream.url, "{drain: {lame_duck: 0s, grace: 100ms}}", bad)
            for count in range(1, 6):
                gateway.process.send_signal(signal.SIGHUP)
                await gateway.log_line("reload_failed", count)
                status, told = await gateway.post("/api/reload", {}, gateway.admin)
                assert status == 400 and "gateway.yaml:" in told["error"]["message"]
            assert (await gateway.get("/api/status", gateway.admin))[1]["digest"] == digest
            assert (await gateway.get("/ready"))[1]["status"] == "degraded"
            said.gate.open()
            for client, fits, raw in clients:
                if fits:
                    answer = await raw.answer()
                    assert answer is not None and answer.body == b"".join(stream_of(client))
            assert (await gateway.post(PATHS["openai"], json.loads(ask("openai", stream=False))))[0] == 200
            for _, _, raw in clients:
                raw.reset()
        assert "key-of-the-upstream" not in "\n".join(gateway.lines)
