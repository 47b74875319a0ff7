"""Server-Timing: what an answer's head says of the time until it."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.testing import Gate, ManualClock, ScriptedUpstream, reply_json, reply_sse, running_gateway
from tests.tracing.kit import CHAT, asked
from tests.tracing.test_spans import FIRST, GOOD, LAST

CONFIG = """
plugins: {plugins}
providers: {{up: {{dialect: openai_chat, base_url: "{url}/v1", api_key: key-of-up-0001}}}}
routes: [{{name: all, match: {{model: m}}, targets: [up/big]}}]
"""
BOTH = re.compile(r"gateway;dur=(\d+\.\d), upstream;dur=(\d+\.\d)")
SLOW = """
from gateway.plugin import Plugin
class Slow(Plugin):
    async def handle(self, exchange, call_next):
        self.services.clock.advance(0.25)
        return await call_next(exchange)
"""


def config(url: str, plugins: str = "[]") -> str:
    return CONFIG.format(url=url, plugins=plugins)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_head_says_what_the_gateway_took_and_what_the_upstream_did(stream: bool) -> None:
    clock, gate = ManualClock(monotonic=asyncio.get_running_loop().time()), Gate()
    answer = [gate, *(reply_sse([FIRST, LAST, "[DONE]"]) if stream else reply_json(GOOD))]
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, "[slow]"), plugins={"slow": SLOW}, clock=clock) as gateway:
            asking = gateway.session.post(gateway.url + CHAT, json=asked(stream=stream))
            waiting = gateway.core.spawn(_head(asking))
            await upstream.wait_for_request()
            clock.advance(1.5)
            gate.open()
            assert await waiting == "gateway;dur=250.0, upstream;dur=1500.0"


TOOLS = "[slow, {tools: {tools: [{name: look, parameters: {type: object}, http: {url: 'http://127.0.0.1:9/'}}]}}]"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_plugin_asked_on_behalf_of_a_request_was_waited_for_too(stream: bool) -> None:
    clock, gate = ManualClock(monotonic=asyncio.get_running_loop().time()), Gate()
    answer = [gate, *(reply_sse([FIRST, LAST, "[DONE]"]) if stream else reply_json(GOOD))]
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, TOOLS), plugins={"slow": SLOW}, clock=clock) as gateway:
            asking = gateway.session.post(gateway.url + CHAT, json=asked(stream=stream))
            waiting = gateway.core.spawn(_head(asking))
            await upstream.wait_for_request()
            clock.advance(1.5)
            gate.open()
            assert await waiting == "gateway;dur=250.0, upstream;dur=1500.0"


async def _head(asking: object) -> str:
    async with asking as response:  # type: ignore[attr-defined]  # aiohttp's context manager of a response
        await response.read()
        return str(response.headers["server-timing"])


async def test_tries_that_failed_count_as_the_upstreams() -> None:
    refused = reply_json({"error": {"message": "no"}}, status=500)
    async with ScriptedUpstream([refused, reply_json(GOOD)]) as upstream:
        async with running_gateway(config(upstream.url)) as gateway:
            answer = await gateway.post(CHAT, asked())
    assert answer.headers["x-gateway-attempts"] == "2"
    found = BOTH.fullmatch(answer.headers["server-timing"])
    assert found
    assert float(found[2]) > 0


async def test_an_error_of_a_route_says_it_and_what_has_no_route_does_not() -> None:
    async with ScriptedUpstream(reply_json({"error": {"message": "no"}}, status=400)) as upstream:
        async with running_gateway(config(upstream.url)) as gateway:
            assert BOTH.fullmatch((await gateway.post(CHAT, asked())).headers["server-timing"])
            for path, model in ((CHAT, "unknown"), ("/nothing", "m")):
                assert "server-timing" not in (await gateway.post(path, asked(model))).headers
            assert "server-timing" not in (await gateway.get("/health")).headers


async def test_an_answer_without_an_upstream_names_none() -> None:
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(upstream.url, "[cache]")) as gateway:
            first = await gateway.post(CHAT, asked())
            again = await gateway.post(CHAT, asked())
    assert (first.headers["x-gateway-cache"], again.headers["x-gateway-cache"]) == ("miss", "hit")
    assert re.fullmatch(r"gateway;dur=\d+\.\d", again.headers["server-timing"])


async def test_the_upstreams_own_is_not_passed_on() -> None:
    reply = reply_json(GOOD, headers=[("server-timing", "db;dur=53"), ("timing-allow-origin", "*")])
    async with ScriptedUpstream(reply) as upstream:
        async with running_gateway(config(upstream.url)) as gateway:
            answer = await gateway.post(CHAT, asked())
    assert len(answer.headers.getall("server-timing")) == 1
    assert "db" not in answer.headers["server-timing"]
    assert "timing-allow-origin" not in answer.headers


async def test_a_page_that_may_call_may_read_it() -> None:
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(upstream.url, "[{cors: {origins: ['https://app.example']}}]")) as gateway:
            page = {"origin": "https://app.example"}
            allowed = await gateway.post(CHAT, asked(), headers=page)
            foreign = await gateway.post(CHAT, asked(), headers={"origin": "https://other.example"})
    assert "server-timing" in allowed.headers["access-control-expose-headers"].split(", ")
    assert allowed.headers["timing-allow-origin"] == "https://app.example"
    assert "timing-allow-origin" not in foreign.headers
