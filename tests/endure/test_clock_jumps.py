"""The wall clock may jump by days either way: nothing times out, opens or ends that would not have anyway."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.testing import Answer, Gate, ReceivedRequest, ScriptedUpstream, Send, Stall, reply_json, running_gateway
from tests.endure.kit import (  # fmt: skip
    NAMES,
    PATHS,
    TYPES,
    ask,
    code,
    config,
    error_at_the_end,
    plain_of,
    spoken_by,
    stream_of,
    until_word,
)

TWO_DAYS_S = 2 * 24 * 3600.0


class JumpingClock:
    """The system's clock, whose wall reading a test moves."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return time.time() + self.jumped_s


@pytest.mark.parametrize("jump_s", [TWO_DAYS_S, -TWO_DAYS_S, 1.0], ids=["forward", "back", "a leap second"])
async def test_a_jump_of_the_wall_clock_ends_no_stream_and_puts_off_no_timeout(jump_s: float) -> None:
    gate = Gate()

    def script(request: ReceivedRequest) -> Answer:
        name = spoken_by(request)
        if b"true" not in request.body:
            return reply_json(plain_of(name))
        begun = until_word(name, 2)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[name]}\r\nconnection: close\r\n\r\n".encode()
        last = Stall() if b"stays" in request.body else Send(b"".join(stream_of(name)[len(begun) :]))
        return [Send(head + b"".join(begun)), gate, last]

    clock = JumpingClock()
    plugins = "access_log, circuit_breaker, {timeouts: {idle: 1500ms}}"
    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(config(upstream.url, plugins=plugins), clock=clock) as gateway,
    ):
        for name in NAMES:
            async with gateway.session.post(gateway.url + PATHS[name], data=ask(name)) as answer:
                first = await answer.content.readany()
                clock.jumped_s += jump_s
                gate.open()
                assert first + await answer.content.read() == b"".join(stream_of(name))
            assert (await gateway.post(PATHS[name], body=ask(name, stream=False))).status == 200
        asked = [gateway.post(PATHS[name], body=ask(name, text="stays")) for name in NAMES]
        for name, stalled in zip(NAMES, await asyncio.gather(*asked), strict=True):
            assert error_at_the_end(name, stalled.body) == code(name, "timeout", "timeout_error")
        await gateway.settled()
        lines = gateway.events("request")
        assert all(0 <= line["duration_ms"] < TWO_DAYS_S for line in lines)
        assert [line["outcome"] for line in lines] == ["completed"] * 8 + ["failed"] * 4
