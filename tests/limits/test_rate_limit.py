"""Requests, tokens and concurrency: what is admitted, what the client is told, what is given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from gateway.errors import ConfigErrors
from gateway.testing import (
    Gate,
    ManualClock,
    RunningGateway,
    ScriptedUpstream,
    Send,
    reply_json,
    reply_sse,
    running_gateway,
)

CONFIG = """
plugins: [who, rate_limit: {options}]
providers: {{echo: {{}}}}
routes: [{{name: all, targets: [echo/echo]}}]
"""
WHO = """
    from gateway.plugin import Plugin, Principal, Rate

    class Who(Plugin):
        async def identify(self, request):
            name = request.headers.get("x-who", "ann")
            limits = {"requests": Rate(2, 60.0)} if name == "tight" else {}
            tags = {"team": request.headers["x-team"]} if "x-team" in request.headers else {}
            return Principal(name, tags, limits=limits)
"""
PLUGINS = {"who": WHO}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


def config(options: str) -> str:
    return CONFIG.format(options=options)


async def ask(gateway: RunningGateway, headers: dict[str, str] | None = None, **more: Any) -> int:
    return (await gateway.post("/v1/chat/completions", {**CHAT, **more}, headers=headers)).status


async def test_a_burst_passes_then_one_request_a_period() -> None:
    clock = ManualClock()
    async with running_gateway(
        config("{limits: [{per: key, requests: 60/min, burst: 3}]}"), plugins=PLUGINS, clock=clock
    ) as gateway:
        assert [await ask(gateway) for _ in range(5)] == [200, 200, 200, 429, 429]
        clock.advance(1.0)
        assert [await ask(gateway) for _ in range(2)] == [200, 429]
        clock.advance(3600.0)
        assert [await ask(gateway) for _ in range(4)] == [200, 200, 200, 429]


async def test_without_a_burst_a_whole_period_passes_at_once() -> None:
    async with running_gateway(
        config("{limits: [{per: key, requests: 4/min}]}"), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        assert [await ask(gateway) for _ in range(6)] == [200] * 4 + [429] * 2


async def test_the_refusal_names_the_limit_and_when_to_come_back() -> None:
    async with running_gateway(
        config("{limits: [{per: key, requests: 2/min}]}"), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        for _ in range(2):
            await ask(gateway)
        answer = await gateway.post("/v1/chat/completions", CHAT)
        assert answer.status == 429
        assert answer.headers["retry-after"] == "30"
        assert answer.json()["error"] == {
            "message": "the limit of 2 requests per minute per key is reached; try again in 30 s",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert answer.headers["x-ratelimit-reset-requests"] == "1m0s"


async def test_the_sdks_understand_the_refusal() -> None:
    async with running_gateway(
        config("{limits: [{per: key, requests: 1/min}]}"), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        await ask(gateway)
        client = openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="k", max_retries=0)
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert refused.value.code == "rate_limit_exceeded"
        other = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="k", max_retries=0)
        with pytest.raises(anthropic.RateLimitError) as told:
            await other.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert told.value.response.headers["anthropic-ratelimit-requests-limit"] == "1"
        assert told.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert told.value.response.headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:01:00Z"
        await client.close()
        await other.close()


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("key", {"x-who": "ann"}, {"x-who": "bob"}),
        ("user", {"x-who": "ann"}, {"x-who": "bob"}),
        ("team", {"x-team": "red", "x-who": "ann"}, {"x-team": "blue", "x-who": "ann"}),
        ("tag:team", {"x-team": "red"}, {"x-team": "{red}"}),
        ("header:x-app", {"x-app": "one"}, {"x-app": "one two\N{LATIN SMALL LETTER E WITH ACUTE}"}),
    ],
)
async def test_each_subject_is_counted_for_itself(per: str, same: dict[str, str], other: dict[str, str]) -> None:
    async with running_gateway(
        config(f'{{limits: [{{per: "{per}", requests: 1/min}}]}}'), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        assert [await ask(gateway, same), await ask(gateway, other)] == [200, 200]
        assert [await ask(gateway, same), await ask(gateway, other)] == [429, 429]


async def test_models_routes_and_addresses_are_counted_too() -> None:
    limits = "[{per: model, requests: 1/min}, {per: route, requests: 3/min}, {per: ip, requests: 4/min}]"
    async with running_gateway(config(f"{{limits: {limits}}}"), plugins=PLUGINS, clock=ManualClock()) as gateway:
        assert [await ask(gateway, model=name) for name in ("a", "a", "b", "c", "d")] == [200, 429, 200, 200, 429]


async def test_leaving_the_header_out_lifts_no_limit_and_having_no_tag_does() -> None:
    async with running_gateway(
        config('{limits: [{per: "header:x-app", requests: 1/min}]}'), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        assert [await ask(gateway), await ask(gateway)] == [200, 429]
    async with running_gateway(
        config("{limits: [{per: team, requests: 1/min}]}"), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        assert [await ask(gateway), await ask(gateway)] == [200, 200]


async def test_a_request_that_one_limit_refuses_takes_nothing_from_the_others() -> None:
    clock = ManualClock()
    limits = "[{per: key, requests: 2/min}, {per: model, requests: 1/min}]"
    async with running_gateway(config(f"{{limits: {limits}}}"), plugins=PLUGINS, clock=clock) as gateway:
        assert [await ask(gateway, model=name) for name in ("a", "a", "a", "b")] == [200, 429, 429, 200]


async def test_limits_beside_a_key_hold() -> None:
    async with running_gateway(config("{}"), plugins=PLUGINS, clock=ManualClock()) as gateway:
        tight = {"x-who": "tight"}
        assert [await ask(gateway, tight) for _ in range(3)] == [200, 200, 429]
        assert [await ask(gateway) for _ in range(3)] == [200, 200, 200]


async def test_a_shadow_limit_refuses_nobody_and_says_who_it_would_have() -> None:
    async with running_gateway(
        config("{shadow: true, limits: [{per: key, requests: 1/min}]}"), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        assert [await ask(gateway) for _ in range(3)] == [200, 200, 200]
        assert [line["who"] for line in gateway.events("rate_limit_would_refuse")] == ["ann", "ann"]


async def test_health_and_lists_are_never_limited() -> None:
    async with running_gateway(
        config("{limits: [{per: key, requests: 1/min}]}"), plugins=PLUGINS, clock=ManualClock()
    ) as gateway:
        await ask(gateway)
        assert await ask(gateway) == 429
        assert [(await gateway.get(path)).status for path in ("/health", "/ready", "/v1/models")] == [200, 200, 200]


# --- tokens ------------------------------------------------------------------------------------------

# A real upstream is waited for on the real clock; a day is long enough for nothing to come back meanwhile.
UP = """
plugins: [who, rate_limit: {{limits: [{{per: key, tokens: 1000/day}}]}}]
providers: {{up: {{dialect: openai, base_url: {url}/v1, api_key: k}}}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""


def answered(tokens: int) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }


async def remaining(gateway: RunningGateway, **more: Any) -> int:
    answer = await gateway.post("/v1/chat/completions", {**CHAT, "max_tokens": 0, **more})
    return int(answer.headers["x-ratelimit-remaining-tokens"])


async def test_tokens_are_reserved_from_body_and_max_tokens_and_settled_to_what_was_used() -> None:
    async with (
        ScriptedUpstream(reply_json(answered(700))) as upstream,
        running_gateway(UP.format(url=upstream.url), plugins=PLUGINS) as gateway,
    ):
        body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}'
        first = await gateway.post("/v1/chat/completions", body=body)
        assert first.status == 200
        assert first.headers["x-ratelimit-remaining-tokens"] == str(1000 - 100 - -(-len(body) // 4))
        second = await gateway.post("/v1/chat/completions", body=body)
        assert second.headers["x-ratelimit-remaining-tokens"] == str(1000 - 700 - 100 - -(-len(body) // 4))
        third = await gateway.post("/v1/chat/completions", body=body)  # 1,400 are used: the bucket is overdrawn
        assert third.status == 429
        assert third.headers["x-ratelimit-remaining-tokens"] == "0"
        assert int(third.headers["retry-after"]) == pytest.approx((400 + 100 + -(-len(body) // 4)) * 86.4, rel=0.01)


async def test_a_request_that_failed_before_an_answer_gives_its_tokens_back() -> None:
    refused = reply_json({"error": {"message": "no"}}, status=400)
    async with (
        ScriptedUpstream(refused) as upstream,
        running_gateway(UP.format(url=upstream.url), plugins=PLUGINS) as gateway,
    ):
        before = await remaining(gateway)
        assert await remaining(gateway) == before


async def test_a_stream_settles_to_its_usage() -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
    events = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]},
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage},
    ]
    async with (
        ScriptedUpstream([reply_sse([*events, "[DONE]"]), reply_json(answered(0))]) as upstream,
        running_gateway(UP.format(url=upstream.url), plugins=PLUGINS) as gateway,
    ):
        answer = await gateway.post("/v1/chat/completions", {**CHAT, "stream": True})
        assert answer.status == 200
        own = -(
            -len(b'{"model": "m", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 0}') // 4
        )
        assert await remaining(gateway) == 1000 - 60 - own


@pytest.mark.parametrize(("asked", "reserved"), [({}, 1000), ({"max_tokens": 50_000}, 1000), ({"max_tokens": 7}, 7)])
async def test_an_answer_reserves_at_most_a_thousand_tokens(asked: dict[str, int], reserved: int) -> None:
    roomy = config("{limits: [{per: key, tokens: 100k/min}]}")
    async with running_gateway(roomy, plugins=PLUGINS, clock=ManualClock()) as gateway:
        body = {**CHAT, **asked}
        answer = await gateway.post("/v1/chat/completions", body)
        size = len(json.dumps(body))
        assert answer.headers["x-ratelimit-remaining-tokens"] == str(100_000 - reserved - -(-size // 4))


async def test_a_burst_beside_tokens_alone_is_the_tokens() -> None:
    roomy = config("{limits: [{per: key, tokens: 100k/min, burst: 2000}]}")
    async with running_gateway(roomy, plugins=PLUGINS, clock=ManualClock()) as gateway:
        answer = await gateway.post("/v1/chat/completions", {**CHAT, "max_tokens": 10})
        assert answer.headers["x-ratelimit-limit-tokens"] == "2000"


# --- concurrency -------------------------------------------------------------------------------------


async def settled(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def test_places_are_freed_by_every_ending() -> None:
    gate = Gate()
    limited = UP.replace("tokens: 1000/day", "concurrency: 2")
    async with (
        ScriptedUpstream([Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"), gate, Send(b"{}")]) as upstream,
        running_gateway(limited.format(url=upstream.url), plugins=PLUGINS) as gateway,
    ):
        leaving = [asyncio.create_task(ask(gateway)) for _ in range(2)]
        await settled(lambda: len(upstream.requests) == 2)
        refused = await gateway.post("/v1/chat/completions", CHAT)
        # A place is free when any request ends, not when a lease does.
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        leaving[0].cancel()
        await settled(lambda: len(gateway.core.live) == 1)
        await gateway.settled()
        third = asyncio.create_task(ask(gateway))
        await settled(lambda: len(upstream.requests) == 3)
        assert await ask(gateway) == 429
        gate.open()
        assert (await leaving[1], await third) == (200, 200)
        assert await ask(gateway) == 200


# --- configuration -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("{limits: [{per: key}]}", "limits[0] limits nothing; add requests, tokens or concurrency"),
        ("{limits: [{per: planet, requests: 1/s}]}", 'nobody is counted per "planet"'),
        ("{limits: [{per: key, concurrency: 2, burst: 3}]}", "burst has no rate to belong to"),
        ("{limits: [{per: key, requests: fast}]}", "fast"),
        ("{limits: [{requests: 1/s}]}", "per"),
        ("{when_state_is_lost: maybe}", "maybe"),
    ],
)
async def test_a_wrong_limit_is_refused_with_its_place(options: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        async with running_gateway(config(options), plugins=PLUGINS):
            pass
    assert problem in str(refused.value)
    assert "gateway.yaml:3:" in str(refused.value)
