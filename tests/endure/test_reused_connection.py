"""A kept-alive connection that dies as it is used again costs nobody an answer; a fresh one that dies is a failure."""

from __future__ import annotations

import pytest

from gateway.testing import (  # fmt: skip
    Answer,
    Close,
    ReceivedRequest,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    reply_json,
    running_gateway,
)
from tests.endure.kit import NAMES, PATHS, ask, code, config, plain_of, quiet, spoken_by, told

ENDS: dict[str, list[bytes | Send | Close | Reset | Stall]] = {
    "closed": [Close()],
    "reset": [Reset()],
}


@pytest.mark.parametrize("how", ENDS)
async def test_an_upstream_that_closes_right_after_each_answer_fails_no_request(how: str) -> None:
    """Every second request meets the end of the connection that the first one left in the pool."""

    def script(request: ReceivedRequest) -> Answer:
        nth = upstream.connections[request.connection].requests
        return reply_json(plain_of(spoken_by(request))) if nth == 1 else ENDS[how]

    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url)) as gateway:
        for _ in range(10):
            for client in NAMES:
                answer = await gateway.post(PATHS[client], body=ask(client, stream=False))
                assert answer.status == 200 and answer.headers["x-gateway-attempts"] == "1"
        await quiet(gateway)
        assert not gateway.events("attempt_failed")
        assert len(upstream.requests) > 60


@pytest.mark.parametrize("how", ENDS)
async def test_a_fresh_connection_that_dies_unanswered_is_a_502_at_once(how: str) -> None:
    async with ScriptedUpstream([ENDS[how]]) as upstream, running_gateway(config(upstream.url)) as gateway:
        for number, client in enumerate(NAMES, 1):
            answer = await gateway.post(PATHS[client], body=ask(client, stream=False))
            assert told(client, answer) == (502, code(client, "upstream_error", "api_error"))
            assert len(upstream.requests) == number


async def test_a_reused_connection_that_dies_within_an_answer_is_not_asked_twice() -> None:
    def script(request: ReceivedRequest) -> Answer:
        nth = upstream.connections[request.connection].requests
        return reply_json(plain_of(spoken_by(request))) if nth == 1 else [Send(b"HTTP/1.1 200 OK\r\ncont"), Close()]

    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url)) as gateway:
        for client in NAMES:
            before = len(upstream.requests)
            statuses = [(await gateway.post(PATHS[client], body=ask(client, stream=False))).status for _ in range(2)]
            assert statuses == [200, 502] and len(upstream.requests) == before + 2
