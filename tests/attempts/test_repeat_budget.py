"""How much is repeated when an upstream is in trouble."""

from __future__ import annotations

import asyncio

import pytest

from gateway.testing import (
    Answer,
    Gate,
    ManualClock,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip
from gateway.upstream.health import RepeatBudget

FAILS = reply_json({"error": {"message": "x", "type": "server_error"}}, 500)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
ANSWER = reply_json({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})  # fmt: skip


def config(upstream: ScriptedUpstream) -> str:
    return f"""
        providers: {{up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: k}}}}
        routes: [{{name: all, targets: [up/m], retry: {{attempts: 3, backoff: 1ms..2ms}}}}]
    """


async def ask(gateway: RunningGateway, times: int) -> list[int]:
    return [(await gateway.post("/v1/chat/completions", CHAT)).status for _ in range(times)]


@pytest.mark.parametrize("at_once", [1, 4, 50])
async def test_an_outage_of_a_thousand_requests_makes_at_most_1200_attempts_however_few_at_once(at_once: int) -> None:
    async with ScriptedUpstream(FAILS) as upstream, running_gateway(config(upstream), log_level="error") as gateway:
        told = await asyncio.gather(*[ask(gateway, 1000 // at_once) for _ in range(at_once)])
        assert {status for each in told for status in each} == {502}
        assert 1000 < len(upstream.requests) <= 1200


async def test_a_fifth_of_what_is_live_may_be_repeating_at_once() -> None:
    live, again = Gate(), Gate()
    seen: dict[str, int] = {}

    def script(request: ReceivedRequest) -> Answer:
        if request.json().get("stream"):
            return reply_sse([live])
        name = request.header("x-request-id")
        seen[name] = seen.get(name, 0) + 1
        return FAILS if seen[name] == 1 else [again, *ANSWER]

    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream), log_level="error") as gateway:
        streams = [
            asyncio.create_task(gateway.post("/v1/chat/completions", {**CHAT, "stream": True})) for _ in range(40)
        ]
        await upstream.wait_for_request(39)
        asked = [asyncio.create_task(ask(gateway, 1)) for _ in range(10)]
        await upstream.wait_for_request(59)
        again.open()
        assert await asyncio.gather(*asked) == [[200]] * 10
        live.open()
        await asyncio.gather(*streams)


async def test_repetitions_are_there_again_once_one_is_answered() -> None:
    async with ScriptedUpstream(FAILS) as upstream, running_gateway(config(upstream), log_level="error") as gateway:
        await ask(gateway, 100)
        upstream.requests.clear()
        await ask(gateway, 1)
        assert len(upstream.requests) <= 2
        upstream.script = [FAILS, ANSWER]
        while True:  # until a request is one of the few that are repeated
            upstream.requests.clear()
            if await ask(gateway, 1) == [200]:
                break
        upstream.script = FAILS
        upstream.requests.clear()
        await ask(gateway, 10)
        assert len(upstream.requests) == 30


def test_a_minute_without_repetitions_forgives_those_before() -> None:
    clock = ManualClock()
    budget = RepeatBudget((), clock.monotonic)
    while budget.try_take(first=False):
        budget.give_back()
    clock.advance(59)
    assert not budget.try_take(first=False)
    clock.advance(1)
    assert budget.try_take(first=False)


def test_at_least_three_repeat_at_once_and_a_place_given_back_is_taken_again() -> None:
    budget = RepeatBudget((), ManualClock().monotonic)
    assert [budget.try_take(first=True) for _ in range(4)] == [True, True, True, False]
    budget.give_back()
    assert budget.try_take(first=True)
