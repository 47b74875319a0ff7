"""Silence ends in time: another target, a 504, or the error event; the gateway's own keep-alives change nothing in it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gateway.testing import ScriptedUpstream, Send, Stall, reply_bytes, running_gateway
from tests.endure.kit import (
    NAMES,
    PATHS,
    TYPES,
    LoopClock,
    ask,
    code,
    config,
    error_at_the_end,
    hurried,
    quiet,
    spoken_by,
    stream_of,
    told,
    until_word,
)  # fmt: skip

KEEP_ALIVES = {"openai": b": ", "anthropic": b"event: ping", "responses": b": ", "ollama": b" "}


def head(name: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[name]}\r\n\r\n".encode()


@pytest.mark.parametrize("client", NAMES)
def test_silence_before_the_first_event_is_an_error_event_behind_keep_alives(client: str) -> None:
    """With the defaults: 15 s until the head goes out with a keep-alive, 30 s until the first token is late."""

    async def main() -> None:
        async with (
            ScriptedUpstream([Stall()]) as upstream,
            running_gateway(config(upstream.url), clock=LoopClock()) as gateway,
        ):
            answer = await gateway.post(PATHS[client], body=ask(client))
            assert answer.status == 200 and answer.body.startswith(KEEP_ALIVES[client])
            assert error_at_the_end(client, answer.body) == code(client, "timeout", "timeout_error")
            await upstream.wait_closed()
            await quiet(gateway)
            (line,) = gateway.events("request")
            assert (line["outcome"], line["error_code"]) == ("failed", "timeout")

    hurried(main)


@pytest.mark.parametrize("client", NAMES)
def test_keep_alives_do_not_put_off_the_idle_timeout(client: str) -> None:
    """With the defaults: keep-alives every 15 s, and after 60 s without a byte from upstream the end."""

    async def main() -> None:
        said: list[Any] = [Send(head(client) + b"".join(until_word(client, 2))), Stall()]
        async with (
            ScriptedUpstream(said) as upstream,
            running_gateway(config(upstream.url), clock=LoopClock()) as gateway,
        ):
            answer = await gateway.post(PATHS[client], body=ask(client))
            whole = b"".join(until_word(client, 2))
            assert answer.body.startswith(whole)
            rest = answer.body[len(whole) :]
            assert error_at_the_end(client, rest) == code(client, "timeout", "timeout_error")
            if client == "ollama":
                assert rest[:3].isspace()
            else:
                assert sum(event.startswith(KEEP_ALIVES[client]) for event in rest.split(b"\n\n")) >= 3
            await upstream.wait_closed()

    hurried(main)


@pytest.mark.parametrize("client", NAMES)
def test_a_silent_target_gives_way_to_the_next_even_behind_keep_alives(client: str) -> None:
    async def main() -> None:
        good = reply_bytes(b"".join(stream_of(client)), 200, [("content-type", TYPES[client])])
        async with ScriptedUpstream([Stall()]) as silent, ScriptedUpstream([good]) as upstream:
            text = config(silent.url).replace(
                f"targets: [{client}_up/real]", f"targets: [{client}_up/real, other/real]"
            )
            line = next(line for line in text.splitlines() if line.startswith(f"  {client}_up:"))
            other = line.replace(f"{client}_up", "other").replace(silent.url, upstream.url)
            text = text.replace("routes:", f"{other}\nroutes:")
            async with running_gateway(text, clock=LoopClock()) as gateway:
                answer = await gateway.post(PATHS[client], body=ask(client))
                assert answer.status == 200
                assert answer.body.lstrip().endswith(b"".join(stream_of(client)))
                assert answer.body.startswith(KEEP_ALIVES[client])
                assert len(silent.requests) == len(upstream.requests) == 1
                await silent.wait_closed()

    hurried(main)


@pytest.mark.parametrize("what", ["first_token", "total"])
async def test_silence_is_a_504_in_every_dialect(what: str) -> None:
    plugins = f"access_log, {{timeouts: {{{what}: 60ms}}}}"
    async with (
        ScriptedUpstream([Stall()]) as upstream,
        running_gateway(config(upstream.url, plugins=plugins)) as gateway,
    ):
        for client in NAMES:
            for stream in (True, False) if what == "total" else (True,):
                answer = await gateway.post(PATHS[client], body=ask(client, stream=stream))
                assert told(client, answer) == (504, code(client, "timeout", "timeout_error"))


async def test_a_stalled_stream_ends_with_the_error_event_in_every_pair() -> None:
    plugins = "access_log, {timeouts: {idle: 80ms}}"
    async with (
        ScriptedUpstream(
            lambda request: [Send(head(spoken_by(request)) + b"".join(until_word(spoken_by(request), 3))), Stall()]
        ) as upstream,
        running_gateway(config(upstream.url, plugins=plugins)) as gateway,
    ):
        pairs = [(client, target) for client in NAMES for target in NAMES]
        answers = await asyncio.gather(
            *(gateway.post(PATHS[client], body=ask(client, target)) for client, target in pairs)
        )
        for (client, _), answer in zip(pairs, answers, strict=True):
            assert error_at_the_end(client, answer.body) == code(client, "timeout", "timeout_error")
            assert "wörd2" in answer.body.replace(b"\\u00f6", "ö".encode()).decode()
        await quiet(gateway)
        for number in range(len(upstream.connections)):
            await upstream.wait_closed(number)


async def test_an_upstream_that_accepts_and_never_shakes_hands_is_told_in_time_without_its_name() -> None:
    plugins = "access_log, {timeouts: {connect: 100ms}}"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        async with running_gateway(config(url, plugins=plugins)) as gateway:
            for client in NAMES:
                status, name = told(client, await gateway.post(PATHS[client], body=ask(client)))
                assert status in (502, 504) and name in ("timeout", "timeout_error", "")
