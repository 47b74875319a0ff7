"""More than the gateway takes is refused at once, in the caller's dialect; what was taken is served."""

from __future__ import annotations

import asyncio

import pytest

from gateway.testing import (
    Answer,
    ClientAnswer,
    Gate,
    ReceivedRequest,
    ScriptedUpstream,
    Send,
    reply_json,
    running_gateway,
)
from tests.endure.kit import (  # fmt: skip
    NAMES,
    PATHS,
    TERMINATORS,
    TYPES,
    ask,
    code,
    config,
    plain_of,
    quiet,
    spoken_by,
    stream_of,
    told,
)

MOST = 20


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_three_times_what_is_taken_serves_all_that_was_and_refuses_the_rest_at_once(stream: bool) -> None:
    gate = Gate()

    def script(request: ReceivedRequest) -> Answer:
        name = spoken_by(request)
        if not stream:
            return [gate, *reply_json(plain_of(name))]
        first, *rest = stream_of(name)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[name]}\r\nconnection: close\r\n\r\n".encode()
        return [Send(head + first), gate, Send(b"".join(rest))]

    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(config(upstream.url, f"{{max_in_flight: {MOST}}}")) as gateway,
    ):

        async def one(client: str) -> tuple[str, ClientAnswer]:
            return client, await gateway.post(PATHS[client], body=ask(client, stream=stream))

        asked = [asyncio.create_task(one(NAMES[number % 4])) for number in range(3 * MOST)]
        for refused, done in enumerate(asyncio.as_completed(asked), 1):
            client, answer = await done  # nobody is let through the gate: whoever ends now was refused
            assert told(client, answer) == ((529, "overloaded_error") if client == "anthropic" else (503, code(client, "overloaded", "")))  # fmt: skip
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["x-gateway-error-source"] == "gateway"
            if refused == 2 * MOST:
                break
        assert (await gateway.get("/health")).status == (await gateway.get("/ready")).status == 200
        assert gateway.server.pipeline._dispatcher.in_flight == MOST
        gate.open()
        served = [answer for client, answer in await asyncio.gather(*asked) if answer.status == 200]
        assert len(served) == MOST == len(upstream.requests)
        if stream:
            assert all(any(mark in answer.body for mark in TERMINATORS.values()) for answer in served)
        await quiet(gateway)
        assert gateway.server.pipeline._dispatcher.in_flight == 0
        assert (await one("openai"))[1].status == 200
