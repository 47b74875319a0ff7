"""A copy of a request goes to another target; who asked sees nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import ConfigErrors
from gateway.testing import (
    Gate,
    RunningGateway,
    ScriptedUpstream,
    Stall,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
GOOD = reply_json({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "real"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}})  # fmt: skip
DOWN = reply_json({"error": {"message": "boom"}}, 500)
SAID = {"id": "c", "choices": [{"index": 0, "delta": {"content": "real"}, "finish_reason": None}]}
STOP = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def config(
    a: ScriptedUpstream,
    b: ScriptedUpstream,
    shadow: str = "{target: b/next}",
    dialect: str = "openai",
    plugins: str = "",
) -> str:
    base = f"{b.url}/v1" if dialect == "openai" else b.url
    return f"""
plugins: [{plugins}]
ledger: none
providers:
  a: {{dialect: openai, base_url: "{a.url}/v1", api_key: key-of-a-0001}}
  b: {{dialect: {dialect}, base_url: "{base}", api_key: key-of-b-0001}}
  echo: {{}}
routes:
  - {{name: r, targets: [a/one], shadow: {shadow}}}
"""


async def line(gateway: RunningGateway) -> dict[str, Any]:
    """Return the log line of the one shadow, once there is one."""
    while not gateway.events("shadow"):
        await asyncio.sleep(0.001)
    (found,) = gateway.events("shadow")
    return found


async def test_copy_is_sent_with_its_own_model_and_changes_no_answer() -> None:
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream(GOOD) as b, running_gateway(config(a, b)) as gateway:
        got = await gateway.post(CHAT, ASK)
        sent = await b.wait_for_request()
        assert sent.json() == {**ASK, "model": "next"}
        assert sent.header("authorization") == "Bearer key-of-b-0001"
        assert (got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == ("a/one", "1")
        told = await line(gateway)
        assert (told["target"], told["status"], told["outcome"]) == ("b/next", 200, "completed")
        assert (told["prompt_tokens"], told["completion_tokens"]) == (5, 1)
        assert told["request_id"] == got.headers["x-request-id"]


async def test_shadow_that_hangs_delays_nothing_and_outlives_the_answer() -> None:
    gate = Gate()
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream([[gate, *GOOD]]) as b:
        async with running_gateway(config(a, b)) as gateway:
            assert (await gateway.post(CHAT, ASK)).status == 200
            assert gateway.events("shadow") == []
            gate.open()
            assert (await line(gateway))["status"] == 200


async def test_stream_is_read_to_its_end_and_thrown_away() -> None:
    stream = reply_sse([SAID, STOP, "[DONE]"])
    async with ScriptedUpstream(stream) as a, ScriptedUpstream(stream) as b:
        async with running_gateway(config(a, b)) as gateway:
            got = await gateway.post(CHAT, {**ASK, "stream": True})
            assert (got.body.count(b"real"), got.body.count(b"[DONE]")) == (1, 1)
            assert (await line(gateway))["outcome"] == "completed"


async def test_stream_that_is_cut_is_told() -> None:
    async with ScriptedUpstream(reply_sse([SAID, STOP, "[DONE]"])) as a, ScriptedUpstream(reply_sse([SAID])) as b:
        async with running_gateway(config(a, b)) as gateway:
            assert (await gateway.post(CHAT, {**ASK, "stream": True})).status == 200
            told = await line(gateway)
            assert (told["outcome"], told["error_code"]) == ("failed", "stream_truncated")


async def test_copy_is_rendered_in_the_shadows_dialect() -> None:
    reply = reply_json({"id": "m", "type": "message", "role": "assistant", "model": "next", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}})  # fmt: skip
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream(reply) as b:
        async with running_gateway(config(a, b, dialect="anthropic")) as gateway:
            got = await gateway.post(CHAT, {**ASK, "logit_bias": {"1": 1}})
            sent = await b.wait_for_request()
            assert (sent.path, sent.json()["model"]) == ("/v1/messages", "next")
            assert (await line(gateway))["completion_tokens"] == 2
            assert "x-gateway-dropped" not in got.headers


async def test_failing_shadow_touches_no_breaker_and_no_repeat() -> None:
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream(DOWN) as b:
        text = config(a, b, plugins="circuit_breaker: {failures: 1}")
        text = text.replace("routes:\n", "routes:\n  - {name: first, match: {model: s}, targets: [b/next]}\n", 1)
        async with running_gateway(text) as gateway:
            assert (await gateway.post(CHAT, ASK)).status == 200
            told = await line(gateway)
            assert (told["status"], told["outcome"], told["level"]) == (502, "failed", "info")
            assert len(b.requests) == 1
            health = gateway.core.snapshot.shared.health.of("b/next")
            assert (health.breaker.state, health.attempts, health.in_flight) == ("closed", 0, 0)
            assert gateway.events("attempt_failed") == []


async def test_client_that_leaves_does_not_cancel_the_shadow() -> None:
    gate, real = Gate(), Gate()
    async with ScriptedUpstream([[real, Stall()]]) as a, ScriptedUpstream([[gate, *GOOD]]) as b:
        async with running_gateway(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await asyncio.gather(gate.reached(), real.reached())
            asked.cancel()
            await a.wait_closed()
            gate.open()
            assert (await line(gateway))["outcome"] == "completed"


async def test_more_than_32_at_once_are_left_out_and_counted() -> None:
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream([[Stall()]]) as b:
        async with running_gateway(config(a, b)) as gateway:
            got = await asyncio.gather(*(gateway.post(CHAT, ASK) for _ in range(35)))
            assert {each.status for each in got} == {200}
            shadows = gateway.core.lasting.get("shadows", object)
            assert (shadows.in_flight, shadows.sent, shadows.left_out) == (32, 32, 3)


async def test_echo_serves_as_a_shadow() -> None:
    async with ScriptedUpstream(GOOD) as a, running_gateway(config(a, a, "{target: echo/echo}")) as gateway:
        assert (await gateway.post(CHAT, ASK)).status == 200
        assert ((await line(gateway))["target"], len(a.requests)) == ("echo/echo", 1)


async def test_own_deadline_ends_a_shadow_that_hangs() -> None:
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream([[Stall()]]) as b:
        async with running_gateway(config(a, b, plugins="timeouts: {total: 200ms}")) as gateway:
            assert (await gateway.post(CHAT, ASK)).status == 200
            assert (await line(gateway))["error_code"] == "timeout"
            await b.wait_closed()


async def test_drain_waits_for_shadows_as_long_as_the_grace() -> None:
    gate = Gate()
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream([[gate, *GOOD]]) as b:
        async with running_gateway(config(a, b)) as gateway:
            await gateway.post(CHAT, ASK)
            await gate.reached()
            stopping = asyncio.create_task(gateway.server.stop(lame_duck_s=0.0, grace_s=30.0))
            while gateway.core.phase != "draining":
                await asyncio.sleep(0)
            gate.open()
            await stopping
            assert (await line(gateway))["outcome"] == "completed"


async def test_shadow_leaves_a_row_of_its_own_with_its_parents_id() -> None:
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream(GOOD) as b:
        text = config(a, b).replace("ledger: none", "ledger: sqlite:ledger.db")
        async with running_gateway(text) as gateway:
            await gateway.post(CHAT, ASK)
            await line(gateway)
            ledger = gateway.core.snapshot.ledger
            assert ledger is not None
            await ledger.flush()
            rows = {row.target: row for row in await ledger.rows()}
            assert rows["b/next"].parent_id == rows["a/one"].exchange_id
            assert (rows["b/next"].prompt_tokens, rows["a/one"].prompt_tokens) == (5, 5)
            assert rows["a/one"].attempts == 1


@pytest.mark.parametrize(("percent", "share"), [("0", 0.0), ("0.5", 0.005), ("100", 1.0)])
async def test_percent_is_a_share_of_the_requests(percent: str, share: float) -> None:
    async with ScriptedUpstream(GOOD) as a, ScriptedUpstream(GOOD) as b:
        async with running_gateway(config(a, b, f"{{target: b/next, percent: {percent}}}")) as gateway:
            shadow = gateway.core.snapshot.routes[0].route.shadow
            assert shadow is not None and shadow.share == share
            await gateway.post(CHAT, ASK)
            assert gateway.core.lasting.get("shadows", object).sent == int(share)


MISTAKES = {
    "{target: ecco/echo}": 'routes[0].shadow: unknown provider "ecco"; did you mean "echo"?',
    "{target: echo/echo, percent: 101}": "routes[0].shadow.percent: must be 100 or less, not 101",
    "{target: echo/echo, percent: -1}": "must be 0 or more, not -1",
    "{percent: 5}": '"target"',
    "{target: mine/x}": 'provider "mine" has auth: passthrough, so that clients would pay for the copies; name a provider',
}


@pytest.mark.parametrize("shadow", MISTAKES)
async def test_mistake_is_told_with_its_cure(shadow: str) -> None:
    text = f"""
providers: {{echo: {{}}, mine: {{dialect: openai, base_url: "http://127.0.0.1:9", auth: passthrough}}}}
routes: [{{name: r, targets: [echo/a], shadow: {shadow}}}]
"""
    with pytest.raises(ConfigErrors) as caught:
        async with running_gateway(text):
            raise AssertionError("it runs")
    assert MISTAKES[shadow] in str(caught.value)
