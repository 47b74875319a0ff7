"""What remains of limits and budgets, as the two plugins tell it: right, and nothing changes by looking."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.ledger.ledger import Row
from gateway.runtime.clock import SystemClock
from gateway.runtime.group import opened
from gateway.testing import Gate, ManualClock, RunningGateway, ScriptedUpstream, Send, reply_json, running_gateway

WHO = """
    from gateway.plugin import Plugin, Principal

    class Who(Plugin):
        async def identify(self, request):
            tags = {"team": request.headers["x-team"]} if "x-team" in request.headers else {}
            return Principal(request.headers.get("x-who", "ann"), tags)
"""
PLUGINS = {"who": WHO}
ECHO = """
plugins: [who, rate_limit: {options}]
providers: {{echo: {{}}}}
routes:
  - {{name: own, match: {{model: own}}, targets: [echo/echo], plugins: [rate_limit: {own}]}}
  - {{name: all, targets: [echo/echo]}}
"""
PAID = """
ledger: sqlite:var/ledger.db
plugins: [who, budget: {options}]
providers: {{up: {{dialect: openai, base_url: {url}/v1, api_key: k}}}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""
PRICES = {"config/prices.yaml": '"up/*": {input: 1000, output: 10000}\n'}
CHAT = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


async def remaining(gateway: RunningGateway, plugin: str, **given: Any) -> list[dict[str, Any]]:
    return list(opened(await gateway.core.group.ask(f"plugin {plugin}: remaining", given)))


async def ask(gateway: RunningGateway, model: str = "m", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await gateway.post("/v1/chat/completions", {**CHAT, "model": model}, headers=sent)).status


def limits(options: str, own: str = "{limits: []}") -> str:
    return ECHO.format(options=options, own=own)


async def test_each_limit_over_a_caller_is_told_with_what_is_left_and_looking_takes_nothing() -> None:
    clock = ManualClock()
    options = (
        "{limits: [{per: key, requests: 60/min, burst: 4}, {per: team, tokens: 100k/day}, {per: model, requests: 9/s}]}"
    )
    async with running_gateway(limits(options), plugins=PLUGINS, clock=clock) as gateway:
        assert [await ask(gateway, x_team="red") for _ in range(3)] == [200] * 3
        for _ in range(5):
            found = await remaining(gateway, "rate_limit", name="ann", tags={"team": "red"})
        by = {each["per"]: each for each in found}
        assert by["key"] == {
            "what": "requests", "per": "key", "limit": "60/min, burst 4", "amount": 4, "left": 1,
            "reset_s": 3.0, "route": None, "shadow": False,
        }  # fmt: skip
        assert by["team"]["limit"] == "100000/day" and 0 < 100_000 - by["team"]["left"] < 1000
        assert by["model"]["left"] is None and by["model"]["reset_s"] is None
        assert [each["per"] for each in await remaining(gateway, "rate_limit", name="ann")] == ["key", "model"]
        assert (await remaining(gateway, "rate_limit", name="bob"))[0]["left"] == 4
        assert [await ask(gateway) for _ in range(2)] == [200, 429]


async def test_limits_of_a_key_and_of_routes_stand_beside_the_global_ones() -> None:
    options = "{limits: [{per: key, requests: 5/min}]}"
    own = "{limits: [{per: key, requests: 2/min}, {per: route, requests: 7/min, shadow: true}, {per: key, requests: 5/min}]}"
    async with running_gateway(limits(options, own), plugins=PLUGINS, clock=ManualClock()) as gateway:
        assert [await ask(gateway, "own"), await ask(gateway)] == [200, 200]
        kept = {"requests": {"amount": 60, "period_s": 60.0}, "concurrency": 3, "burst": 6}
        found = await remaining(gateway, "rate_limit", name="ann", limits=kept)
        assert [(each["route"], each["what"], each["limit"], each["left"], each["shadow"]) for each in found] == [
            (None, "requests", "60/min, burst 6", 6, False),
            (None, "concurrency", "3 at once", 3, False),
            (None, "requests", "5/min", 3, False),
            ("own", "requests", "2/min", 1, False),
            ("own", "requests", "7/min", 6, True),
        ]


async def test_places_held_are_told_while_requests_run() -> None:
    gate = Gate()
    async with ScriptedUpstream([Send(b""), gate, *reply_json({})]) as upstream:
        config = PAID.format(url=upstream.url, options="{}").replace(
            "budget: {}", "rate_limit: {limits: [{per: key, concurrency: 2}]}"
        )
        async with running_gateway(config, plugins=PLUGINS) as gateway:
            running = [asyncio.create_task(ask(gateway)) for _ in range(2)]
            await upstream.wait_for_request(1)
            for _ in range(3):
                (one,) = await remaining(gateway, "rate_limit", name="ann")
                assert (one["amount"], one["left"]) == (2, 0)
            assert await ask(gateway) == 429
            gate.open()
            await asyncio.gather(*running)
            await gateway.settled()
            (one,) = await remaining(gateway, "rate_limit", name="ann")
            assert one["left"] == 2


async def test_a_reload_tells_the_new_limits_and_a_failed_one_the_old() -> None:
    async with running_gateway(limits("{limits: [{per: key, requests: 5/min}]}"), plugins=PLUGINS) as gateway:
        gateway.configure(limits("{limits: [{per: key, requests: 8/min}]}"))
        await gateway.reloader.reload("test")
        assert [each["amount"] for each in await remaining(gateway, "rate_limit", name="ann")] == [8]
        gateway.configure(
            limits("{limits: [{per: key, requests: 9/min}]}").replace("]\nproviders", ", late]\nproviders")
        )
        (gateway.home / "plugins/late.py").write_text(
            "from gateway.plugin import ConfigError, Plugin\n"
            "class Late(Plugin):\n    async def start(self):\n        raise ConfigError('no')\n"
        )
        await gateway.reloader.try_reload("test")
        gateway.core.last_reload_failed = False
        assert [each["amount"] for each in await remaining(gateway, "rate_limit", name="ann")] == [8]


def answered(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


async def test_budgets_are_told_to_the_billionth_and_looking_spends_nothing() -> None:
    async with ScriptedUpstream(reply_json(answered(10, 9))) as upstream:
        config = PAID.format(
            url=upstream.url, options="{limits: [{per: key, cost: $1/month}, {per: team, cost: $4/week}]}"
        )
        async with running_gateway(config, plugins=PLUGINS, files=PRICES) as gateway:
            assert [await ask(gateway, x_team="red") for _ in range(2)] == [200, 200]
            await gateway.settled()
            assert gateway.core.snapshot.ledger is not None
            await gateway.core.snapshot.ledger.flush()
            own = {"amount_usd": "0.5", "period": "day"}
            for _ in range(3):
                found = await remaining(gateway, "budget", name="ann", tags={"team": "red"}, budget=own)
            told = [(each["per"], each["who"], each["limit"], each["spent"], each["left"]) for each in found]
            assert told == [
                ("key", "ann", "$1/month", "0.2", "0.8"),
                ("team", "red", "$4/week", "0.2", "3.8"),
                ("key", "ann", "$0.5/day", "0.2", "0.3"),
            ]
            assert found[0]["share"] == 0.2 and 0 < found[0]["reset_s"] <= 31 * 86_400
            both = await remaining(
                gateway, "budget", principals=[{"name": "ann", "tags": {"team": "red"}}, {"name": "bob"}]
            )
            assert [(each["who"], each["left"]) for each in both] == [("ann", "0.8"), ("red", "3.8"), ("bob", "1")]
            assert await remaining(gateway, "budget") == []


async def test_what_was_spent_before_a_restart_is_told_before_the_first_request() -> None:
    clock = SystemClock()
    async with ScriptedUpstream(reply_json(answered(10, 9))) as upstream:
        config = PAID.format(url=upstream.url, options="{limits: [{per: key, cost: $1/month}]}")
        async with running_gateway(config, plugins=PLUGINS, files=PRICES, clock=clock) as gateway:
            ledger = gateway.core.snapshot.ledger
            assert ledger is not None
            ledger.record(
                Row(exchange_id="e", ts=clock.time(), request_id="r", principal="ann", cost_usd=Decimal("0.25"),
                    status=200, outcome="completed", prompt_tokens=1)
            )  # fmt: skip
            nobody = Row(exchange_id="n", ts=clock.time(), request_id="n", cost_usd=Decimal("0.5"), status=200)
            ledger.record(nobody)
            await ledger.flush()
            for _ in range(2):
                (one,) = await remaining(gateway, "budget", name="ann")
                assert (one["spent"], one["left"]) == ("0.25", "0.75")
            several = await remaining(gateway, "budget", principals=[{"name": each} for each in ("bob", "ann", "")])
            assert {each["who"]: each["spent"] for each in several} == {"bob": "0", "ann": "0.25", "": "0.5"}
            assert await ask(gateway) == 200
            await gateway.settled()
            (one,) = await remaining(gateway, "budget", name="ann")
            assert (one["spent"], one["left"]) == ("0.35", "0.65")


@pytest.mark.parametrize("plugin", ["rate_limit", "budget"])
async def test_a_lost_state_is_said_and_nothing_is_made_up(plugin: str) -> None:
    options = {
        "rate_limit": "{limits: [{per: key, requests: 5/min}]}",
        "budget": "{limits: [{per: key, cost: $1/day}]}",
    }
    config = f"""
        state: redis://127.0.0.1:1
        plugins: [{plugin}: {options[plugin]}]
        providers: {{echo: {{}}}}
        routes: [{{name: all, targets: [echo/echo]}}]
    """
    async with running_gateway(config) as gateway:
        with pytest.raises(GatewayError) as refused:
            await remaining(gateway, plugin, name="ann")
        assert (refused.value.status, refused.value.code) == (503, "state_unavailable")
