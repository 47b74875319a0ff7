"""What the dashboard counts of the last five minutes: each request once, in the second of its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.admin import measured
from gateway.runtime.clock import SystemClock
from gateway.runtime.pulse import COUNTS, TARGET_COUNTS, Pulse, ms_of, step_of
from gateway.testing import (
    Reset,
    RunningGateway,
    ScriptedUpstream,
    Stall,
    reply_json,
    running_gateway,
)

MESSAGES = [{"role": "user", "content": "one two three"}]
ANSWER = {
    "id": "x", "object": "chat.completion", "model": "m", "created": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}  # fmt: skip


def config(url: str, targets: str = "[up/m]", admin: str = "{}") -> str:
    return f"""
        admin: {admin}
        plugins: [circuit_breaker]
        providers: {{up: {{dialect: openai, base_url: "{url}/v1", api_key: k}}, echo: {{}}}}
        routes:
          - {{name: r, match: {{model: m}}, targets: {targets}, retry: {{attempts: 1}}}}
          - {{name: e, match: {{model: echo}}, targets: [echo/echo]}}
    """


class Shifted(SystemClock):
    """Time that goes on and can be moved forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def advance(self, seconds: float) -> None:
        self.ahead_s += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


async def told(gateway: RunningGateway, points: int = 300) -> dict[str, Any]:
    await gateway.settled()
    [pulse] = await gateway.core.group.gather("pulse", points)
    known: dict[str, Any] = json.loads(json.dumps(pulse))  # as another process gets it
    return known


def counted(pulse: dict[str, Any]) -> dict[str, int]:
    return dict(zip(COUNTS, pulse["five_minutes"][0], strict=True))


def of_target(pulse: dict[str, Any], route: str, target: str) -> dict[str, int]:
    return dict(zip(TARGET_COUNTS, pulse["targets"][route][target][0], strict=True))


async def ask(gateway: RunningGateway, model: str = "m", **more: Any) -> int:
    return (await gateway.post("/v1/chat/completions", {"model": model, "messages": MESSAGES, **more})).status


async def test_requests_errors_and_tokens_are_counted_by_their_end() -> None:
    # The last one is the request's own fault: no target is told of as failing for it.
    answers = iter([reply_json(ANSWER), *(reply_json({"error": {}}, status=status) for status in (503, 429, 400))])
    async with ScriptedUpstream(lambda _: next(answers)) as up:
        clock = Shifted()
        async with running_gateway(config(up.url), clock=clock) as gateway:
            assert [await ask(gateway) for _ in range(4)] == [200, 503, 429, 400]
            assert await ask(gateway, "nobody") == 404
            assert (await gateway.get("/health")).status == 200
            clock.advance(1)
            pulse = await told(gateway)
            found = counted(pulse)
            assert (found["requests"], found["errors_5xx"], found["errors_4xx"], found["disconnects"]) == (5, 1, 3, 0)
            assert (found["tokens_in"], found["tokens_out"]) == (11, 7)
            target = of_target(pulse, "r", "up/m")
            assert (target["attempts"], target["errors"], target["too_many"]) == (4, 2, 1)
            assert sum(pulse["five_minutes"][1].values()) == 5  # the time added, of each


async def test_a_fallback_is_two_attempts_and_one_request() -> None:
    async with ScriptedUpstream([Reset()]) as up:
        clock = Shifted()
        async with running_gateway(config(up.url, "[up/m, echo/echo]"), clock=clock) as gateway:
            assert await ask(gateway) == 200
            clock.advance(1)
            pulse = await told(gateway)
            assert counted(pulse)["requests"] == 1 and counted(pulse)["errors_5xx"] == 0
            assert of_target(pulse, "r", "up/m")["errors"] == 1
            assert of_target(pulse, "r", "echo/echo")["errors"] == 0


async def test_a_client_that_leaves_is_no_error() -> None:
    async with ScriptedUpstream([Stall()]) as up:
        clock = Shifted()
        async with running_gateway(config(up.url), clock=clock) as gateway:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(gateway), 0.2)
            while gateway.core.live:
                await asyncio.sleep(0.001)
            clock.advance(1)
            found = counted(await told(gateway))
            assert (found["requests"], found["disconnects"], found["errors_5xx"], found["errors_4xx"]) == (1, 1, 0, 0)


async def test_what_is_five_minutes_old_is_forgotten_and_a_second_is_told_once_it_is_over() -> None:
    clock = Shifted()
    async with running_gateway(config("http://127.0.0.1:1"), clock=clock) as gateway:
        assert await ask(gateway, "echo", stream=True) == 200
        clock.advance(1)
        pulse = await told(gateway)
        assert sum(row[0][0] for row in pulse["seconds"].values()) == 1 and sum(pulse["minute"][2].values()) == 1
        clock.advance(60)
        pulse = await told(gateway, 2)
        assert pulse["minute"][0][0] == 0 and counted(pulse)["requests"] == 1 and pulse["seconds"] == {}
        clock.advance(240)
        assert counted(await told(gateway))["requests"] == 0


async def test_without_an_admin_listener_nothing_is_counted() -> None:
    async with running_gateway(
        config("http://127.0.0.1:1", admin='"off"').replace('"off"', '{listen: "off"}')
    ) as gateway:
        assert await ask(gateway, "echo") == 200
        assert gateway.core.snapshot.shared.pulse is None and await gateway.core.group.gather("pulse", 1) == [None]


async def test_many_requests_are_folded_before_anybody_asks() -> None:
    clock = Shifted()
    async with running_gateway(config("http://127.0.0.1:1"), clock=clock) as gateway:
        pulse = gateway.core.snapshot.shared.pulse
        assert isinstance(pulse, Pulse)
        for _ in range(300):
            await ask(gateway, "echo")
        await gateway.settled()
        assert len(pulse._noted) < 256
        clock.advance(1)
        assert counted(await told(gateway))["requests"] == 300


@pytest.mark.parametrize("seconds", [1e-6, 0.00034, 0.001, 0.0105, 0.4, 7.0, 600.0])
def test_a_time_is_told_to_within_a_twentieth(seconds: float) -> None:
    assert abs(ms_of(step_of(seconds)) / (seconds * 1000) - 1) < 0.05


def test_processes_add_up() -> None:
    one = {"now": 10.0, "seconds": {"9": [[1] * len(COUNTS), {"80": 1}, {}]}, "minute": [[1] * len(COUNTS), {"80": 1}, {}],
           "five_minutes": [[1] * len(COUNTS), {"80": 1}, {}], "targets": {"r": {"a/b": [[1, 0, 0, 2, 3], {}]}}}  # fmt: skip
    other = {**one, "now": 11.0, "seconds": {"10": [[5] * len(COUNTS), {"90": 1}, {}]}}
    whole = measured.together([one, other])
    assert whole["now"] == 11.0 and set(whole["seconds"]) == {"9", "10"}
    assert whole["targets"]["r"]["a/b"][0] == [2, 0, 0, 4, 6] and whole["minute"][1] == {"80": 2}
    series = measured.series(whole, 11.0, 1000.0, 3)
    assert series["at"] == [1008, 1009, 1010] and series["requests"] == [0, 1, 5]
    assert series["overhead_p50_ms"][0] is None and series["overhead_p50_ms"][1] == pytest.approx(1.04, abs=0.01)


def test_quantiles_are_those_of_what_came() -> None:
    histogram = {str(step_of(ms / 1000)): 1 for ms in (1, 10, 100)}
    histogram[str(step_of(0.001))] = 98
    found = measured.quantiles(histogram)
    assert found["count"] == 100 and found["p50"] == pytest.approx(1, rel=0.05)
    assert found["p99"] == pytest.approx(10, rel=0.05)
    assert measured.quantiles({}) == {"p50": None, "p95": None, "p99": None, "count": 0}
