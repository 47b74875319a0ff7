"""Limits and budgets count each token once, whichever way a child went, and children are no requests."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.runtime.group import opened
from gateway.testing import Gate, RunningGateway, ScriptedUpstream, Step, reply_json, running_gateway
from tests.accounting.endings import IN, OUT, PRICES, answer, rows_of, whole
from tests.children.flows import ASKED, CHAT, FLOW, ONCE

PLUGINS = {
    "flow": FLOW,
    "once": ONCE,
    "who": """
        from gateway.plugin import Plugin, Principal

        class Who(Plugin):
            async def identify(self, request):
                return Principal("ann", {})
    """,
    "twice": """
        from gateway.plugin import Plugin, answer

        class Twice(Plugin):
            async def handle(self, exchange, call_next):
                if exchange.route is None or exchange.parent is not None:
                    return await call_next(exchange)
                for _ in range(2):
                    async with self.services.gateway.child(exchange, exchange.chat, through=call_next) as child:
                        reply = await child.reply()
                return answer(exchange, reply, self.services.clock.time())
    """,
    "guard": """
        from gateway.plugin import ChatRequest, Plugin

        class Guard(Plugin):
            async def handle(self, exchange, call_next):
                if exchange.route is not None and exchange.parent is None:
                    chat = ChatRequest(dialect="openai_chat", model="openai-plain", messages=exchange.chat.messages)
                    async with self.services.gateway.child(exchange, chat, step="guard") as child:
                        await child.reply()
                return await call_next(exchange)
    """,
}
PLAIN = {**ASKED, "model": "openai-plain", "max_tokens": 50}


def config(url: str, *plugins: str) -> str:
    return f"""
        ledger: sqlite:rows.db
        plugins: [access_log, metrics, who, {", ".join(plugins)}]
        providers: {{openai: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
        routes: [{{name: all, match: {{model: "openai-*"}}, targets: ["openai/*"], retry: {{attempts: 1}}}}]
    """


async def left(gateway: RunningGateway, plugin: str) -> list[Any]:
    await gateway.settled()
    told = opened(await gateway.core.group.ask(f"plugin {plugin}: remaining", {"name": "ann"}))
    return [Decimal(each["spent"]) if plugin == "budget" else each["left"] for each in told]


MANY, MANY_STREAMED = "openai-plain+openai-plain,openai-plain", "openai-plain+openai-plain,openai-whole"
# How a plugin asks: the plugins after the limit, the request, its headers, and how many answers upstream gives for it.
WAYS: dict[str, tuple[str, dict[str, Any], dict[str, str], int]] = {
    "routed": ("flow", ASKED, {"x-ask": MANY}, 3),
    "inside": ("once: {inside: true}", PLAIN, {}, 1),
    "same route": ("once", PLAIN, {}, 1),
    "beside its own": ("guard", PLAIN, {}, 2),
    "inside beside a step": ("guard, once: {inside: true}", PLAIN, {}, 2),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_limit_a_budget_and_the_ledger_count_each_token_once(way: str) -> None:
    plugins, body, headers, answers = WAYS[way]
    streamed = {**body, "stream": True, **({"model": "openai-whole"} if body is PLAIN else {})}
    asked = [(body, headers), (streamed, dict.fromkeys(headers, MANY_STREAMED))]
    limits = "rate_limit: {limits: [{per: key, tokens: 20000/week}]}"
    budget = "budget: {limits: [{per: key, cost: $9/month}]}"
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, limits, budget, plugins)
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            for number, each in enumerate(asked, start=1):
                got = await gateway.post(CHAT, each[0], headers=each[1])
                assert got.status == 200 and b"world!" in got.body
                rows = await rows_of(gateway)
                assert len(upstream.requests) == number * answers
                tokens = sum((row.prompt_tokens or 0) + (row.completion_tokens or 0) for row in rows)
                assert tokens == number * answers * (IN + OUT)
                assert await left(gateway, "rate_limit") == [20_000 - tokens]
                assert await left(gateway, "budget") == [Decimal("0.000018") * number * answers]
            scraped = (await gateway.get("/metrics")).body.decode()
    counted = [line for line in scraped.splitlines() if line.startswith("llm_gateway_tokens_total")]
    assert counted == [
        f'llm_gateway_tokens_total{{direction="input",provider="openai"}} {2 * answers * IN}.0',
        f'llm_gateway_tokens_total{{direction="output",provider="openai"}} {2 * answers * OUT}.0',
    ]
    tried = [line for line in scraped.splitlines() if line.startswith("llm_gateway_provider_requests_total{")]
    assert tried == [f'llm_gateway_provider_requests_total{{provider="openai"}} {2 * answers}.0']
    requests = [line for line in scraped.splitlines() if line.startswith("llm_gateway_requests_total{")]
    assert len(requests) == 1 and requests[0].endswith(" 2.0")


async def test_children_take_no_request_limit_no_place_and_are_not_in_flight() -> None:
    gate = Gate()
    held: list[bytes | Step] = [gate, *reply_json(whole("openai", told=True))]
    limits = "rate_limit: {limits: [{per: key, requests: 2/week, concurrency: 1}]}"
    async with ScriptedUpstream(lambda _: held) as upstream:
        text = config(upstream.url, limits, "flow") + "\n        server: {max_in_flight: 1}"
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-plain+openai-plain+openai-plain,openai-plain"}
            asking = asyncio.create_task(gateway.post(CHAT, ASKED, headers=headers))
            while len(upstream.requests) < 3:
                await asyncio.sleep(0)
            assert len(gateway.core.live) == 1
            assert b"llm_gateway_in_flight 1.0" in (await gateway.get("/metrics")).body
            gate.open()
            assert (await asking).status == 200
            assert [(await gateway.post(CHAT, ASKED, headers=headers)).status for _ in range(2)] == [200, 429]
            assert len(await rows_of(gateway)) == 2 * 5 + 1


@pytest.mark.parametrize("order", ["{}, {}", "{1}, {0}"], ids=["before", "after"])
async def test_a_request_is_counted_once_wherever_the_limit_stands(order: str) -> None:
    limits = "rate_limit: {limits: [{per: key, requests: 3/week, concurrency: 1}, {per: key, tokens: 20000/week}]}"
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, order.format(limits, "twice"))
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            got = [await gateway.post(CHAT, PLAIN) for _ in range(4)]
            rows = await rows_of(gateway)
            assert await left(gateway, "rate_limit") == [0, 1, 20_000 - 6 * (IN + OUT)]
    assert [each.status for each in got] == [200, 200, 200, 429]
    assert [each.headers["x-ratelimit-remaining-requests"] for each in got] == ["2", "1", "0", "0"]
    assert len(upstream.requests) == 6 and sum(row.parent_id is None for row in rows) == 4


async def test_who_is_served_by_a_plugin_reserves_no_tokens_beside_its_children() -> None:
    limits = "rate_limit: {limits: [{per: key, tokens: 150/week}]}"  # one child's reservation, hardly more
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, limits, "flow"), files=PRICES, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, {**ASKED, "max_tokens": 1000}, headers={"x-ask": "openai-plain"})
            assert got.status == 200


async def test_a_child_that_a_token_limit_refuses_refuses_its_parent() -> None:
    limits = "rate_limit: {limits: [{per: key, tokens: 150/week}]}"
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, limits, "flow"), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-plain+openai-plain,openai-plain"}
            got = await gateway.post(CHAT, ASKED, headers=headers)
            rows = await rows_of(gateway)
            scraped = (await gateway.get("/metrics")).body
    assert got.status == 429 and got.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(got.headers["retry-after"]) > 0 and got.headers["x-gateway-error-source"] == "gateway"
    assert sorted(row.parent_id is None for row in rows if row.status == 429) == [False, True]  # its sibling may go on
    assert b'llm_gateway_rate_limited_total{limit="key:tokens"} 1.0' in scraped


async def test_a_budget_that_is_spent_ends_what_a_child_streams() -> None:
    budget = "budget: {limits: [{per: key, cost: $0.000001/month}]}"
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, budget, "flow"), files=PRICES, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, {**ASKED, "stream": True}, headers={"x-ask": "openai-whole"})
            child, parent = await rows_of(gateway)
            assert upstream.requests == []
    assert got.status == 402 and got.json()["error"]["code"] == "insufficient_quota"
    assert (child.status, parent.status, child.parent_id) == (402, 402, parent.exchange_id)
