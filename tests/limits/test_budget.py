"""Budgets: what is reserved, what is settled, who is refused, and what a restart remembers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.errors import ConfigErrors
from gateway.testing import RunningGateway, ScriptedUpstream, reply_json, reply_sse, running_gateway

WHO = """
    from decimal import Decimal
    from gateway.plugin import MoneyRate, Plugin, Principal

    class Who(Plugin):
        async def identify(self, request):
            name = request.headers.get("x-who", "ann")
            tags = {"team": request.headers["x-team"]} if "x-team" in request.headers else {}
            own = MoneyRate(Decimal("0.002"), "month") if name == "poor" else None
            return Principal(name, tags, budget=own)
"""
PLUGINS = {"who": WHO}
# A thousandth of a dollar a prompt token, a hundredth a token of the answer.
PRICES = {"config/prices.yaml": '"up/*": {input: 1000, output: 10000}\n'}
CONFIG = """
plugins: [who, budget: {options}]
providers:
  up: {{dialect: openai, base_url: {url}/v1, api_key: k}}
  odd: {{dialect: openai, base_url: {url}/v1, api_key: k}}
  echo: {{}}
routes:
  - {{name: echo, match: {{model: echo}}, targets: [echo/echo]}}
  - {{name: odd, match: {{model: odd}}, targets: [odd/never-heard-of]}}
  - {{name: either, match: {{model: either}}, targets: [odd/never-heard-of, up/m]}}
  - {{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}
"""
CHAT = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


def answered(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def config(upstream: ScriptedUpstream, options: str) -> str:
    return CONFIG.format(url=upstream.url, options=options)


async def ask(gateway: RunningGateway, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, Any]:
    answer = await gateway.post("/v1/chat/completions", {**CHAT, **more}, headers=headers)
    return answer.status, answer.json()


async def test_a_budget_is_spent_by_what_answers_cost_and_then_402() -> None:
    # Each costs 10 × 0.001 + 9 × 0.01 = $0.10 and reserves some $0.12.
    async with (
        ScriptedUpstream(reply_json(answered(10, 9))) as upstream,
        running_gateway(
            config(upstream, "{limits: [{per: key, cost: $1/month}]}"), plugins=PLUGINS, files=PRICES
        ) as gateway,
    ):
        statuses = [(await ask(gateway))[0] for _ in range(12)]
        assert statuses == [200] * 9 + [402] * 3
        status, told = await ask(gateway)
        now = datetime.now(UTC)
        end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
        assert status == 402
        assert told["error"] == {
            "message": f"the budget of $1 a month is spent until {end:%Y-%m-%dT%H:%M:%SZ}",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
        assert len(upstream.requests) == 9
        assert (await ask(gateway, {"x-who": "bob"}))[0] == 200


@pytest.mark.parametrize("prompt", [1000, 1500], ids=["all", "more than all"])
async def test_what_is_free_may_be_had_when_all_is_spent(prompt: int) -> None:
    async with (
        ScriptedUpstream(reply_json(answered(prompt, 0))) as upstream,
        running_gateway(
            config(upstream, "{limits: [{per: key, cost: $1/day}]}"), plugins=PLUGINS, files=PRICES
        ) as gateway,
    ):
        assert (await ask(gateway))[0] == 200
        assert (await ask(gateway))[0] == 402
        assert (await ask(gateway, model="echo"))[0] == 200


async def test_a_reload_that_changes_the_amount_keeps_what_was_spent() -> None:
    options = "{limits: [{per: key, cost: $1/day}]}"
    async with (
        ScriptedUpstream(reply_json(answered(0, 60))) as upstream,  # $0.60
        running_gateway(config(upstream, options), plugins=PLUGINS, files=PRICES) as gateway,
    ):
        assert (await ask(gateway))[0] == 200
        for cost, status in (("$0.65", 402), ("$0.80", 200), ("$1.20", 402), ("$1.40", 200)):
            gateway.configure(config(upstream, options.replace("$1", cost)))
            await gateway.reloader.reload("test")
            assert (await ask(gateway))[0] == status, cost


async def test_of_two_budgets_for_the_same_the_smaller_holds_and_each_dollar_counts_once() -> None:
    two = "{limits: [{per: key, cost: $0.90/day}, {per: key, cost: $0.50/day}, {per: key, cost: $5/month}]}"
    async with (
        ScriptedUpstream(reply_json(answered(10, 9))) as upstream,  # $0.10, reserves some $0.12
        running_gateway(config(upstream, two), plugins=PLUGINS, files=PRICES) as gateway,
    ):
        assert [(await ask(gateway))[0] for _ in range(6)] == [200] * 4 + [402] * 2
        assert len(upstream.requests) == 4


async def test_parallel_requests_spend_at_most_the_budget_and_what_is_reserved() -> None:
    async with (
        ScriptedUpstream(reply_json(answered(10, 9))) as upstream,
        running_gateway(
            config(upstream, "{limits: [{per: key, cost: $1/day}]}"), plugins=PLUGINS, files=PRICES
        ) as gateway,
    ):
        statuses = [status for status, _ in await asyncio.gather(*(ask(gateway) for _ in range(200)))]
        assert set(statuses) <= {200, 402}
        spent = Decimal("0.1") * len(upstream.requests)
        assert statuses.count(200) == len(upstream.requests)
        assert Decimal("0.7") <= spent <= Decimal(1)


async def test_a_try_that_failed_costs_nothing() -> None:
    async with (
        ScriptedUpstream(
            [reply_json({"error": {"message": "no"}}, status=500)] * 20 + [reply_json(answered(1, 1))]
        ) as up,
        running_gateway(config(up, "{limits: [{per: key, cost: $0.2/day}]}"), plugins=PLUGINS, files=PRICES) as gateway,
    ):
        assert {(await ask(gateway))[0] for _ in range(20)} == {502}
        assert (await ask(gateway))[0] == 200


async def test_a_key_and_a_team_have_budgets_of_their_own() -> None:
    async with (
        ScriptedUpstream(reply_json(answered(1, 1))) as upstream,
        running_gateway(
            config(upstream, "{limits: [{per: team, cost: $0.15/day}]}"), plugins=PLUGINS, files=PRICES
        ) as gateway,
    ):
        red = {"x-team": "red", "x-who": "ann"}
        assert (await ask(gateway, red))[0] == 200
        assert (await ask(gateway, {**red, "x-who": "bob"}, max_tokens=13))[0] == 402  # 0.011 spent, 0.15 asked
        assert (await ask(gateway, {"x-team": "blue"}))[0] == 200
        assert (await ask(gateway, {"x-who": "poor"}))[0] == 402


async def test_a_target_without_a_price_is_refused_or_passed_over() -> None:
    async with (
        ScriptedUpstream(reply_json(answered(1, 1))) as upstream,
        running_gateway(
            config(upstream, "{limits: [{per: key, cost: $1/day}]}"), plugins=PLUGINS, files=PRICES
        ) as gateway,
    ):
        status, told = await ask(gateway, model="odd")
        assert (status, told["error"]["code"]) == (402, "unknown_price")
        assert "odd/never-heard-of" in told["error"]["message"]
        answer = await gateway.post("/v1/chat/completions", {**CHAT, "model": "either"})
        assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/m")
    async with (
        ScriptedUpstream(reply_json(answered(1, 1))) as upstream,
        running_gateway(
            config(upstream, "{when_price_is_unknown: allow, limits: [{per: key, cost: $1/day}]}"),
            plugins=PLUGINS,
            files=PRICES,
        ) as gateway,
    ):
        assert (await ask(gateway, model="odd"))[0] == 200


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


async def test_a_stream_that_outgrows_the_budget_is_ended_with_an_error() -> None:
    # 1,000 tokens are reserved for $10; the answer is four times as long as what $15 pay for.
    words = [chunk({"content": "abcdefgh" * 50}) for _ in range(60)]
    async with (
        ScriptedUpstream(reply_sse([*words, chunk({}, "stop"), "[DONE]"])) as upstream,
        running_gateway(
            config(upstream, "{limits: [{per: key, cost: $15/day}]}"), plugins=PLUGINS, files=PRICES
        ) as gateway,
    ):
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        answer = await gateway.post("/v1/chat/completions", body)
        assert answer.status == 200
        assert b"[DONE]" not in answer.body
        assert b"insufficient_quota" in answer.body.rstrip().rpartition(b"data: ")[2]
        assert 10 <= answer.body.count(b"abcdefgh" * 50) < 60


async def test_a_restart_remembers_what_the_ledger_holds(tmp_path: Any) -> None:
    ledger = f"ledger: sqlite:{tmp_path}/ledger.db\n"
    async with ScriptedUpstream(reply_json(answered(10, 9))) as upstream:
        text = ledger + config(upstream, "{limits: [{per: key, cost: $1/month}]}")
        async with running_gateway(text, plugins=PLUGINS, files=PRICES) as gateway:
            assert [(await ask(gateway))[0] for _ in range(5)] == [200] * 5
        async with running_gateway(text, plugins=PLUGINS, files=PRICES) as gateway:
            statuses = [status for status, _ in await asyncio.gather(*(ask(gateway) for _ in range(50)))]
            assert statuses.count(200) <= 5
            assert (await ask(gateway, {"x-who": "bob"}))[0] == 200


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("{limits: [{per: model, cost: $1/day}]}", 'no budget is kept per "model"; write key, user, team or tag:NAME'),
        ("{limits: [{per: key, cost: 5}]}", "5"),
        ("{limits: [{per: key}]}", "cost"),
    ],
)
async def test_a_wrong_budget_is_refused_with_its_place(options: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        async with running_gateway(
            f"plugins: [budget: {options}]\nproviders: {{echo: {{}}}}\nroutes: [{{name: a, targets: [echo/echo]}}]"
        ):
            pass
    assert problem in str(refused.value)
    assert "gateway.yaml:2:" in str(refused.value)
