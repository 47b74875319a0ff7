"""Gateways on one state stop sending to a target together, and try it again with one request in all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.testing import (
    Answer,
    Gate,
    ManualClock,
    RunningGateway,
    ScriptedUpstream,
    Stall,
    reply_json,
    running_gateway,
)

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
GOOD = reply_json({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})  # fmt: skip
DOWN = reply_json({"error": {"message": "boom", "type": "server_error"}}, 500)


def config(upstream: ScriptedUpstream, state: str) -> str:
    return f"""
state: "{state}"
plugins: [circuit_breaker: {{failures: 3, open_for: 30s, share: true}}]
providers: {{a: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: key-of-a-0001}}}}
routes: [{{name: r, targets: [a/one], retry: {{attempts: 1}}}}]
"""


@asynccontextmanager
async def pair(
    script: list[Answer], folder: Path
) -> AsyncIterator[tuple[RunningGateway, RunningGateway, ScriptedUpstream, ManualClock]]:
    """Run two gateways on one state, whose breakers go by one clock, and one upstream."""
    clock = ManualClock(monotonic=asyncio.get_running_loop().time())
    async with ScriptedUpstream(script) as upstream:
        text = config(upstream, f"sqlite:{folder}/state.db")
        async with running_gateway(text, clock=clock) as one, running_gateway(text, clock=clock) as two:
            yield one, two, upstream, clock


async def ask(gateway: RunningGateway, times: int = 1) -> list[int]:
    return [(await gateway.post(CHAT, ASK)).status for _ in range(times)]


def state(gateway: RunningGateway) -> str:
    return gateway.core.snapshot.shared.health.of("a/one").breaker.state


async def test_opening_is_seen_by_the_other_within_a_second(tmp_path: Path) -> None:
    async with pair([GOOD, DOWN], tmp_path) as (one, two, upstream, clock):
        assert await ask(two) == [200]  # has just looked
        await ask(one, 3)
        clock.advance(0.5)
        assert await ask(two) == [502]
        clock.advance(0.5)
        got = await two.post(CHAT, ASK)
        assert (got.status, got.json()["error"]["code"], got.headers["retry-after"]) == (503, "circuit_open", "29")
        assert len(upstream.requests) == 5
        (line,) = two.events("breaker_opened")
        assert (line["target"], line["why"], line["probe_in_s"]) == ("a/one", "500: boom", 29.0)


async def test_fleet_sends_one_probe_at_a_time(tmp_path: Path) -> None:
    gate = Gate()
    async with pair([DOWN, DOWN, DOWN, [gate, *GOOD], GOOD], tmp_path) as (one, two, upstream, clock):
        await ask(one, 3)
        assert await ask(two) == [503]
        clock.advance(30)
        probe = asyncio.create_task(one.post(CHAT, ASK))
        await gate.reached()
        assert await ask(two, 5) == [503] * 5
        assert len(upstream.requests) == 4
        gate.open()
        assert (await probe).status == 200
        assert await ask(two) == [200]
        assert (state(one), state(two)) == ("closed", "closed")
        assert len(two.events("breaker_closed")) == 1


async def test_probe_that_fails_opens_for_all(tmp_path: Path) -> None:
    async with pair([DOWN], tmp_path) as (one, two, upstream, clock):
        await ask(one, 3)
        await ask(two)
        clock.advance(30)
        assert await ask(one) == [502]
        assert await ask(two) == [503]
        assert len(upstream.requests) == 4
        assert (state(one), state(two)) == ("open", "open")


async def test_probe_that_is_given_up_frees_the_fleets_place(tmp_path: Path) -> None:
    gate = Gate()
    async with pair([DOWN, DOWN, DOWN, [gate, Stall()], GOOD], tmp_path) as (one, two, upstream, clock):
        await ask(one, 3)
        await ask(two)
        clock.advance(30)
        probe = asyncio.create_task(one.post(CHAT, ASK))
        await gate.reached()
        probe.cancel()
        while one.core.live:
            await asyncio.sleep(0.001)
        await one.settled()
        assert await ask(two) == [200]
        assert len(upstream.requests) == 5


async def test_gateway_that_starts_later_knows_of_the_opening(tmp_path: Path) -> None:
    async with pair([DOWN], tmp_path) as (one, _, upstream, clock):
        await ask(one, 3)
        text = config(upstream, f"sqlite:{tmp_path}/state.db")
        async with running_gateway(text, clock=clock) as late:
            assert await ask(late) == [503]
            assert len(upstream.requests) == 3


async def test_lost_state_leaves_each_to_its_own_view() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    clock = ManualClock(monotonic=asyncio.get_running_loop().time())
    async with ScriptedUpstream([DOWN, DOWN, DOWN, GOOD]) as upstream:
        async with running_gateway(config(upstream, f"redis://127.0.0.1:{nobody}"), clock=clock) as gateway:
            assert await ask(gateway, 4) == [502, 502, 502, 503]
            clock.advance(30)
            assert await ask(gateway) == [200]
            assert state(gateway) == "closed"
