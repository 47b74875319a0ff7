"""A target that keeps failing is passed over, and tried again by one request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import ConfigErrors
from gateway.testing import (
    Answer,
    Close,
    Gate,
    ManualClock,
    RunningGateway,
    ScriptedUpstream,
    Stall,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
STREAMED = {**ASK, "stream": True}
GOOD = reply_json({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})  # fmt: skip
DOWN = reply_json({"error": {"message": "boom", "type": "server_error"}}, 500)
HELLO = {"id": "c", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
STOP = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
WHOLE = reply_sse([HELLO, STOP, "[DONE]"])
CUT = reply_sse([HELLO, Close()])


def config(a: ScriptedUpstream, b: ScriptedUpstream | None = None, options: str = "", more: str = "") -> str:
    providers = f'  a: {{dialect: openai, base_url: "{a.url}/v1", api_key: key-of-a-0001}}\n'
    targets = "[a/one]"
    if b is not None:
        providers += f'  b: {{dialect: openai, base_url: "{b.url}/v1", api_key: key-of-b-0001}}\n'
        targets = "[a/one, b/two]"
    return (
        f"plugins: [circuit_breaker: {{failures: 3, open_for: 30s{options}}}]\nproviders:\n{providers}"
        f"routes:\n{more}  - {{name: r, targets: {targets}, retry: {{attempts: 1}}}}\n"
    )


def clock() -> ManualClock:
    """Return a clock on the loop's time, for deadlines are in it; the breaker's time moves when a test says so."""
    return ManualClock(monotonic=asyncio.get_running_loop().time())


async def state(gateway: RunningGateway) -> str:
    """Return what the providers' list says of a."""
    listed = (await gateway.get("/v1/providers")).json()["data"]
    return next(str(each["breaker"]) for each in listed if each["name"] == "a")


async def fail(gateway: RunningGateway, times: int, body: Any = ASK) -> None:
    for _ in range(times):
        await gateway.post(CHAT, body)


async def test_breaker_opens_after_three_failures_in_a_row_and_says_so() -> None:
    async with ScriptedUpstream(DOWN) as a, running_gateway(config(a), clock=clock()) as gateway:
        await fail(gateway, 2)
        assert (await state(gateway), (await gateway.get("/ready")).json()["status"]) == ("closed", "ready")
        await fail(gateway, 1)
        assert await state(gateway) == "open"
        ready = await gateway.get("/ready")
        assert (ready.status, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["checks"]["breakers"] == "open: a/one"
        line = gateway.events("breaker_opened")[0]
        assert (line["level"], line["target"], line["probe_in_s"]) == ("warning", "a/one", 30.0)
        assert line["why"] == "500: boom"


async def test_open_breaker_answers_503_in_the_clients_dialect_without_calling_upstream() -> None:
    time = clock()
    async with ScriptedUpstream(DOWN) as a, running_gateway(config(a), clock=time) as gateway:
        await fail(gateway, 3)
        time.advance(10.5)
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.json()["error"]["code"]) == (503, "circuit_open")
        assert got.headers["retry-after"] == "19"  # the probe goes out in 19.5 s
        assert got.headers["x-gateway-attempts"] == "0"
        assert "x-gateway-target" not in got.headers
        body = {**ASK, "max_tokens": 5}
        claude = await gateway.post("/v1/messages", body, headers={"anthropic-version": "2023-06-01"})
        assert (claude.status, claude.json()["error"]["type"]) == (529, "overloaded_error")
        assert len(a.requests) == 3
        assert len(gateway.events("breaker_opened")) == 1


async def test_open_target_is_passed_over_and_is_no_try() -> None:
    async with ScriptedUpstream(DOWN) as a, ScriptedUpstream(GOOD) as b, running_gateway(config(a, b)) as gateway:
        await fail(gateway, 3)
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == (200, "b/two", "1")
        assert len(a.requests) == 3


async def test_target_that_was_passed_over_makes_no_room_for_a_repetition() -> None:
    async with ScriptedUpstream(DOWN) as a, ScriptedUpstream(DOWN) as b, running_gateway(config(a, b)) as gateway:
        gateway.core.snapshot.shared.health.of("a/one").breaker.open_for(30)
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["x-gateway-attempts"]) == (502, "1")
        assert (len(a.requests), len(b.requests)) == (0, 1)


async def test_real_failure_is_told_when_the_other_target_is_passed_over() -> None:
    async with ScriptedUpstream(DOWN) as a, running_gateway(config(a, a)) as gateway:
        await fail(gateway, 2)  # the second request opens nothing yet on b
        gateway.core.snapshot.shared.health.of("b/two").breaker.open_for(30)
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == (502, "a/one", "1")


async def test_half_open_breaker_lets_one_request_through_and_closes_when_it_succeeds() -> None:
    time, gate = clock(), Gate()
    script: list[Answer] = [DOWN, DOWN, DOWN, [gate, *GOOD], GOOD]
    async with ScriptedUpstream(script) as a, running_gateway(config(a), clock=time) as gateway:
        await fail(gateway, 3)
        time.advance(30)
        assert await state(gateway) == "half_open"
        probe = asyncio.create_task(gateway.post(CHAT, ASK))
        await gate.reached()
        others = await asyncio.gather(*(gateway.post(CHAT, ASK) for _ in range(100)))
        assert {each.status for each in others} == {503}
        assert len(a.requests) == 4
        gate.open()
        assert (await probe).status == 200
        assert await state(gateway) == "closed"
        assert (await gateway.post(CHAT, ASK)).status == 200
        told = [line["event"] for line in gateway.log if line["event"].startswith("breaker_")]
        assert told == ["breaker_opened", "breaker_half_open", "breaker_closed"]


async def test_hundred_at_once_send_one_probe() -> None:
    time, gate = clock(), Gate()
    script: list[Answer] = [DOWN, DOWN, DOWN, [gate, *GOOD]]
    async with ScriptedUpstream(script) as a, ScriptedUpstream(GOOD) as b:
        async with running_gateway(config(a, b), clock=time) as gateway:
            await fail(gateway, 3)
            time.advance(31)
            asked = [asyncio.create_task(gateway.post(CHAT, ASK)) for _ in range(100)]
            await gate.reached()
            _, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            while len(waiting) > 1:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert len(a.requests) == 4
            gate.open()
            assert {(await each).status for each in asked} == {200}


async def test_probe_that_fails_opens_again() -> None:
    time = clock()
    async with ScriptedUpstream(DOWN) as a, running_gateway(config(a), clock=time) as gateway:
        await fail(gateway, 3)
        time.advance(30)
        await fail(gateway, 2)
        assert len(a.requests) == 4
        assert await state(gateway) == "open"
        assert len(gateway.events("breaker_opened")) == 2


async def test_probe_that_is_given_up_frees_its_place() -> None:
    time, gate = clock(), Gate()
    script: list[Answer] = [DOWN, DOWN, DOWN, [gate, Stall()], GOOD]
    async with ScriptedUpstream(script) as a, running_gateway(config(a), clock=time) as gateway:
        await fail(gateway, 3)
        time.advance(30)
        probe = asyncio.create_task(gateway.post(CHAT, ASK))
        await gate.reached()
        probe.cancel()
        await asyncio.wait([probe])
        while gateway.core.live:
            await asyncio.sleep(0)
        await gateway.settled()
        assert await state(gateway) == "half_open"
        assert (await gateway.post(CHAT, ASK)).status == 200
        assert await state(gateway) == "closed"


async def test_streams_that_always_die_half_way_open_the_breaker() -> None:
    async with ScriptedUpstream(CUT) as a, running_gateway(config(a)) as gateway:
        for _ in range(3):
            got = await gateway.post(CHAT, STREAMED)
            assert (got.status, b"stream_truncated" in got.body) == (200, True)
        await gateway.settled()
        assert await state(gateway) == "open"


async def test_stream_that_completes_ends_the_row_of_failures() -> None:
    async with ScriptedUpstream([CUT, CUT, WHOLE, CUT, CUT]) as a, running_gateway(config(a)) as gateway:
        await fail(gateway, 5, STREAMED)
        await gateway.settled()
        assert await state(gateway) == "closed"


async def test_streamed_probe_closes_at_its_first_content() -> None:
    time, gate = clock(), Gate()
    script: list[Answer] = [DOWN, DOWN, DOWN, reply_sse([HELLO, gate, STOP, "[DONE]"])]
    async with ScriptedUpstream(script) as a, running_gateway(config(a), clock=time) as gateway:
        await fail(gateway, 3)
        time.advance(30)
        async with gateway.session.post(gateway.url + CHAT, json=STREAMED) as response:
            assert await response.content.readany()
            assert await state(gateway) == "closed"
            gate.open()
            assert b"[DONE]" in await response.content.read()


async def test_stream_that_the_client_leaves_proves_nothing() -> None:
    gates = [Gate() for _ in range(4)]
    script: list[Answer] = [reply_sse([HELLO, gate, Stall()]) for gate in gates]
    async with ScriptedUpstream(script) as a, running_gateway(config(a)) as gateway:
        for gate in gates:
            async with gateway.session.post(gateway.url + CHAT, json=STREAMED) as response:
                await gate.reached()
                assert await response.content.readany()
                response.close()
        while gateway.core.live:
            await asyncio.sleep(0)
        await gateway.settled()
        assert await state(gateway) == "closed"


NEUTRAL = {
    "400": reply_json({"error": {"message": "no such field"}}, 400),
    "401": reply_json({"error": {"message": "bad key"}}, 401),
    "404": reply_json({"error": {"message": "no such model"}}, 404),
    "429": reply_json({"error": {"message": "slow down"}}, 429, [("retry-after", "9")]),
}
FAULTS: dict[str, Answer] = {
    "529": reply_json({"error": {"message": "overloaded"}}, 529),
    "nothing": [Close()],
    "html": reply_json("<html>", 200, [("content-type", "text/html")]),
    "error in 200": reply_json({"error": {"message": "busy", "code": 503}}),
}


@pytest.mark.parametrize("name", NEUTRAL)
async def test_refusal_of_the_request_or_its_key_opens_nothing(name: str) -> None:
    async with ScriptedUpstream(NEUTRAL[name]) as a, running_gateway(config(a)) as gateway:
        await fail(gateway, 5)
        assert await state(gateway) == "closed"


@pytest.mark.parametrize("name", FAULTS)
async def test_fault_of_the_target_opens(name: str) -> None:
    async with ScriptedUpstream(FAULTS[name]) as a, running_gateway(config(a)) as gateway:
        await fail(gateway, 3)
        assert await state(gateway) == "open"


async def test_error_event_in_a_stream_opens_when_it_is_the_targets_fault() -> None:
    busy = reply_sse([HELLO, {"error": {"message": "overloaded", "type": "server_error", "code": 503}}])
    async with ScriptedUpstream(busy) as a, running_gateway(config(a)) as gateway:
        await fail(gateway, 3, STREAMED)
        await gateway.settled()
        assert await state(gateway) == "open"


async def test_clients_own_short_deadline_is_not_the_targets_fault() -> None:
    async with ScriptedUpstream([Stall()]) as a, running_gateway(config(a)) as gateway:
        for _ in range(4):
            got = await gateway.post(CHAT, ASK, headers={"x-gateway-timeout": "0.05"})
            assert got.status == 504
        assert await state(gateway) == "closed"


async def test_routes_own_timeout_is_the_targets_fault() -> None:
    async with ScriptedUpstream([Stall()]) as a:
        text = config(a).replace("plugins: [", "plugins: [timeouts: {total: 50ms}, ")
        async with running_gateway(text) as gateway:
            await fail(gateway, 3)
            assert await state(gateway) == "open"


async def test_plugins_own_error_opens_nothing() -> None:
    broken = """
        from gateway.plugin import Plugin
        class Broken(Plugin):
            async def attempt(self, attempt, call_next):
                raise ValueError("mine")
    """
    async with ScriptedUpstream(GOOD) as a:
        text = config(a).replace("}]", "}, broken]", 1)
        async with running_gateway(text, plugins={"broken": broken}) as gateway:
            await fail(gateway, 4)
            assert await state(gateway) == "closed"


async def test_open_breaker_survives_a_reload_with_other_options() -> None:
    async with ScriptedUpstream(DOWN) as a, running_gateway(config(a), clock=clock()) as gateway:
        await fail(gateway, 3)
        gateway.configure(config(a).replace("failures: 3", "failures: 9"))
        await gateway.reloader.reload("test")
        assert (await gateway.post(CHAT, ASK)).json()["error"]["code"] == "circuit_open"
        assert len(gateway.events("breaker_opened")) == 1


async def test_route_without_the_plugin_is_not_stopped() -> None:
    own = "  - {name: bare, match: {model: bare}, targets: [a/one], plugins: [{circuit_breaker: off}]}\n"
    async with ScriptedUpstream([DOWN, DOWN, DOWN, GOOD]) as a, running_gateway(config(a, more=own)) as gateway:
        await fail(gateway, 3)
        assert (await gateway.post(CHAT, ASK)).status == 503
        assert (await gateway.post(CHAT, {**ASK, "model": "bare"})).status == 200
        assert await state(gateway) == "open"


async def test_zero_open_for_is_refused_at_its_place() -> None:
    with pytest.raises(ConfigErrors, match=r"gateway.yaml:2:\d+: .*open_for is 0, which would stop nothing"):
        async with running_gateway("plugins: [circuit_breaker: {open_for: 0s}]\nproviders: {echo: {}}"):
            raise AssertionError("it runs")
