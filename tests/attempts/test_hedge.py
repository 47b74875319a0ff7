"""A stream whose first token is late gets a second attempt beside it; one of them is the answer, whole and alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import ConfigErrors, RateLimited
from gateway.testing import (
    Gate,
    RunningGateway,
    ScriptedUpstream,
    Send,
    Stall,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
ROLE = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
STOP = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
DOWN = reply_json({"error": {"message": "boom"}}, 500)
HEAD = Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
WATCH = """
    from gateway.plugin import Plugin
    class Watch(Plugin):
        async def handle(self, exchange, call_next):
            exchange.notes["texts"] = []
            return await call_next(exchange)
        def observe(self, exchange, event):
            if getattr(event, "text", ""):
                exchange.notes["texts"].append(event.text)
        async def complete(self, exchange):
            self.services.log.info("completed_once", texts=exchange.notes["texts"])
        async def finish(self, exchange):
            self.services.log.info(
                "tries",
                outcome=exchange.outcome,
                tries=[
                    [each.number, each.target.name, each.error.code if each.error else None, each.ended_at_s is not None]
                    for each in exchange.attempts
                ],
                in_flight=[each.in_flight for each in self.services.health],
            )
"""


def said(text: str) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def whole(text: str, *before: Any) -> Any:
    return reply_sse([*before, ROLE, said(text), STOP, "[DONE]"])


def config(
    a: ScriptedUpstream, b: ScriptedUpstream, hedge: str = "{after: 5ms, budget: 100%}", plugins: str = ""
) -> str:
    return f"""
plugins: [watch{plugins}]
providers:
  a: {{dialect: openai, base_url: "{a.url}/v1", api_key: key-of-a-0001}}
  b: {{dialect: openai, base_url: "{b.url}/v1", api_key: key-of-b-0001}}
routes:
  - {{name: r, targets: [a/one, b/two], hedge: {hedge}, retry: {{backoff: 0ms}}}}
"""


def gateway_on(text: str) -> Any:
    return running_gateway(text, plugins={"watch": WATCH})


async def tries(gateway: RunningGateway) -> list[Any]:
    """Return number, target, error code and whether it ended of the only exchange's attempts."""
    while gateway.core.live:
        await asyncio.sleep(0)
    await gateway.settled()
    (line,) = gateway.events("tries")
    assert set(line["in_flight"]) == {0}
    found: list[Any] = line["tries"]
    return found


async def test_second_attempt_answers_when_the_first_is_late() -> None:
    async with ScriptedUpstream([[Stall()]]) as a, ScriptedUpstream(whole("from b")) as b:
        async with gateway_on(config(a, b, "{after: 200ms, budget: 5%}")) as gateway:
            got = await gateway.post(CHAT, ASK)
            assert (got.status, got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == (
                200,
                "b/two",
                "2",
            )
            assert (got.body.count(b"from b"), got.body.count(b"[DONE]")) == (1, 1)
            await a.wait_closed()
            assert await tries(gateway) == [[1, "a/one", "hedge_lost", True], [2, "b/two", None, True]]
            assert [line["texts"] for line in gateway.events("completed_once")] == [["from b"]]
            assert gateway.events("attempt_failed") == []


async def test_first_attempt_still_wins_when_it_has_content_first() -> None:
    gate, late = Gate(), Gate()
    async with ScriptedUpstream([[gate, *whole("from a")]]) as a, ScriptedUpstream([[HEAD, late, Stall()]]) as b:
        async with gateway_on(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await late.reached()
            gate.open()
            got = await asked
            assert (got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == ("a/one", "2")
            assert got.body.count(b"from a") == 1
            await b.wait_closed()
            assert await tries(gateway) == [[2, "b/two", "hedge_lost", True], [1, "a/one", None, True]]


async def test_what_the_loser_could_not_take_is_not_told_of_the_winner() -> None:
    gate, late = Gate(), Gate()
    async with ScriptedUpstream([[gate, *whole("from a")]]) as a, ScriptedUpstream([[late, Stall()]]) as b:
        text = config(a, b).replace(
            f'dialect: openai, base_url: "{b.url}/v1"', f'dialect: anthropic, base_url: "{b.url}"'
        )
        async with gateway_on(text) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, {**ASK, "logit_bias": {"1": 1}}))
            await late.reached()
            (exchange,) = gateway.core.live
            assert exchange.headers["x-gateway-dropped"] == "logit_bias"
            gate.open()
            assert "x-gateway-dropped" not in (await asked).headers


async def test_preamble_is_no_content() -> None:
    async with ScriptedUpstream([reply_sse([ROLE, Stall()])]) as a, ScriptedUpstream(whole("from b")) as b:
        async with gateway_on(config(a, b)) as gateway:
            got = await gateway.post(CHAT, ASK)
            assert got.headers["x-gateway-target"] == "b/two"
            assert got.body.count(b'"role"') == 1


async def test_prompt_first_token_sends_no_second_attempt() -> None:
    async with ScriptedUpstream(whole("from a")) as a, ScriptedUpstream(whole("from b")) as b:
        async with gateway_on(config(a, b, "{after: 30s, budget: 100%}")) as gateway:
            assert (await gateway.post(CHAT, ASK)).headers["x-gateway-attempts"] == "1"
            assert b.requests == []


async def test_plain_request_is_not_hedged() -> None:
    gate = Gate()
    good = reply_json({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})  # fmt: skip
    async with ScriptedUpstream([[gate, *good]]) as a, ScriptedUpstream(good) as b:
        async with gateway_on(config(a, b, "{after: 0.001ms, budget: 100%}")) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, {**ASK, "stream": False}))
            await gate.reached()
            await gateway.get("/health")
            gate.open()
            assert (await asked).headers["x-gateway-target"] == "a/one"
            assert b.requests == []


async def test_failure_of_the_first_lets_the_second_go_on() -> None:
    gate, other = Gate(), Gate()
    async with ScriptedUpstream([[gate, *DOWN]]) as a, ScriptedUpstream([[other, *whole("from b")]]) as b:
        async with gateway_on(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await other.reached()
            gate.open()
            while not gateway.events("attempt_failed"):
                await asyncio.sleep(0)
            other.open()
            got = await asked
            assert (got.status, got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == (
                200,
                "b/two",
                "2",
            )
            assert [line["target"] for line in gateway.events("attempt_failed")] == ["a/one"]
            assert await tries(gateway) == [[1, "a/one", "upstream_error", True], [2, "b/two", None, True]]


async def test_failure_of_both_goes_on_with_the_plan() -> None:
    gate, other = Gate(), Gate()
    async with ScriptedUpstream([[gate, *DOWN]]) as a, ScriptedUpstream([[other, *DOWN], whole("again")]) as b:
        async with gateway_on(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await other.reached()
            other.open()
            while not gateway.events("attempt_failed"):
                await asyncio.sleep(0)
            gate.open()
            got = await asked
            assert (got.status, got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == (
                200,
                "b/two",
                "3",
            )
            assert [line["target"] for line in gateway.events("attempt_failed")] == ["b/two", "a/one"]


async def test_requests_own_fault_ends_both_at_once() -> None:
    gate, other = Gate(), Gate()
    bad = reply_json({"error": {"message": "no such field"}}, 400)
    async with ScriptedUpstream([[gate, *bad]]) as a, ScriptedUpstream([[other, Stall()]]) as b:
        async with gateway_on(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await other.reached()
            gate.open()
            got = await asked
            assert (got.status, got.headers["x-gateway-target"]) == (400, "a/one")
            await b.wait_closed()


async def test_client_that_leaves_cancels_both() -> None:
    one, two = Gate(), Gate()
    async with ScriptedUpstream([[one, Stall()]]) as a, ScriptedUpstream([[two, Stall()]]) as b:
        one.open()
        two.open()
        async with gateway_on(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await two.reached()
            asked.cancel()
            await asyncio.gather(a.wait_closed(), b.wait_closed())
            assert sorted(await tries(gateway)) == [[1, "a/one", None, True], [2, "b/two", None, True]]
            assert gateway.events("tries")[0]["outcome"] == "disconnected"


async def test_deadline_ends_both() -> None:
    async with ScriptedUpstream([[Stall()]]) as a, ScriptedUpstream([[Stall()]]) as b:
        async with gateway_on(config(a, b)) as gateway:
            got = await gateway.post(CHAT, ASK, headers={"x-gateway-timeout": "0.2"})
            assert (got.status, got.json()["error"]["code"]) == (504, "timeout")
            await asyncio.gather(a.wait_closed(), b.wait_closed())


async def test_aborted_exchange_ends_both() -> None:
    gate = Gate()
    stalled = reply_sse([ROLE, Stall()])
    async with ScriptedUpstream([stalled]) as a, ScriptedUpstream([reply_sse([ROLE, gate, Stall()])]) as b:
        async with gateway_on(config(a, b, "{after: 200ms}")) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await gate.reached()
            (exchange,) = gateway.core.live
            exchange.abort(RateLimited("enough"))
            got = await asked
            assert (got.status, got.json()["error"]["message"]) == (429, "enough")
            await asyncio.gather(a.wait_closed(), b.wait_closed())


async def test_budget_bounds_the_extra_calls() -> None:
    gates = [Gate() for _ in range(8)]
    async with (
        ScriptedUpstream([[gate, *whole("from a")] for gate in gates]) as a,
        ScriptedUpstream(whole("from b")) as b,
    ):
        async with gateway_on(config(a, b, "{after: 5ms, budget: 20%}")) as gateway:
            for gate in gates:
                asked = asyncio.create_task(gateway.post(CHAT, ASK))
                await gate.reached()
                if len(b.requests) < 2:
                    await asyncio.wait([asked], timeout=0.05)
                gate.open()
                assert (await asked).status == 200
            assert len(b.requests) <= 1 + 0.2 * len(gates)
            assert len(b.requests) >= 1


async def test_percentile_waits_for_twenty_samples() -> None:
    gate = Gate()
    script = [*(whole("from a") for _ in range(20)), [gate, Stall()]]
    async with ScriptedUpstream(script) as a, ScriptedUpstream(whole("from b")) as b:
        async with gateway_on(config(a, b, "{after: p95, budget: 5%}")) as gateway:
            health = gateway.core.snapshot.shared.health.of("a/one")
            for seen in range(20):
                assert (health.quantile_s(0.95), len(health.recent_s)) == (None, seen)
                await gateway.post(CHAT, ASK)
            assert b.requests == []
            assert (await gateway.post(CHAT, ASK)).headers["x-gateway-target"] == "b/two"
            assert len(health.recent_s) == 21  # the one that was given up was late, and counts


async def test_open_breaker_of_the_second_is_passed_over() -> None:
    gate = Gate()
    async with ScriptedUpstream([[gate, *whole("from a")]]) as a, ScriptedUpstream(whole("from b")) as b:
        async with gateway_on(config(a, b, plugins=", circuit_breaker")) as gateway:
            gateway.core.snapshot.shared.health.of("b/two").breaker.open_for(30)
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await gate.reached()
            await asyncio.wait([asked], timeout=0.05)
            gate.open()
            got = await asked
            assert (got.headers["x-gateway-target"], got.headers["x-gateway-attempts"]) == ("a/one", "1")
            assert b.requests == []


async def test_losing_counts_for_no_breaker() -> None:
    async with ScriptedUpstream([[Stall()]]) as a, ScriptedUpstream(whole("from b")) as b:
        async with gateway_on(config(a, b, plugins=", circuit_breaker: {failures: 1}")) as gateway:
            assert (await gateway.post(CHAT, ASK)).status == 200
            await gateway.settled()
            assert gateway.core.snapshot.shared.health.of("a/one").breaker.state == "closed"


async def test_both_in_one_moment_leave_one_answer() -> None:
    one, two = Gate(), Gate()
    async with ScriptedUpstream([[one, *whole("from a")]]) as a, ScriptedUpstream([[two, *whole("from b")]]) as b:
        async with gateway_on(config(a, b)) as gateway:
            asked = asyncio.create_task(gateway.post(CHAT, ASK))
            await two.reached()
            one.open()
            two.open()
            got = await asked
            texts = gateway.events("completed_once")[0]["texts"]
            assert texts in (["from a"], ["from b"])
            assert (got.body.count(b"from"), got.body.count(b"[DONE]")) == (1, 1)
            assert texts[0].encode() in got.body
            winner = {"from a": "a/one", "from b": "b/two"}[texts[0]]
            assert got.headers["x-gateway-target"] == winner
            assert (await tries(gateway))[-1][1] == winner


MISTAKES = {
    "{after: p0}": 'routes[0].hedge.after: "p0" is not a percentile between p0 and p100; write p95, or a duration',
    "{after: p100}": '"p100" is not a percentile',
    "{after: soon}": '"soon" is neither a percentile nor a duration; write p95',
    "{after: 0s}": 'after "0s" every stream would be late',
    "{budget: 0%}": "routes[0].hedge.budget: a budget of 0% would never hedge; write 5%, or remove hedge",
    "{budget: 101%}": '"101%" is not a percentage',
    "{at: p95}": 'unknown key "at"',
}


@pytest.mark.parametrize("hedge", MISTAKES)
async def test_mistake_is_told_with_its_cure(hedge: str) -> None:
    text = f"providers: {{echo: {{}}}}\nroutes: [{{name: r, targets: [echo/a, echo/b], hedge: {hedge}}}]"
    with pytest.raises(ConfigErrors) as caught:
        async with running_gateway(text):
            raise AssertionError("it runs")
    assert MISTAKES[hedge] in str(caught.value)


async def test_route_with_one_target_cannot_hedge() -> None:
    text = "providers: {echo: {}}\nroutes: [{name: r, targets: [echo/a, echo/a], hedge: {after: p95}}]"
    with pytest.raises(ConfigErrors, match=r"yaml:3:\d+: routes\[0\].hedge: the route has no second target to hedge"):
        async with running_gateway(text):
            raise AssertionError("it runs")


@pytest.mark.parametrize("status", [400, 404, 413])
async def test_what_the_second_target_refuses_the_first_may_still_answer(status: int) -> None:
    gate = Gate()
    refused = reply_json({"error": {"message": "not known here", "type": "invalid_request_error"}}, status)
    async with ScriptedUpstream([[gate, *whole("from a")]]) as a, ScriptedUpstream([refused]) as b, gateway_on(config(a, b)) as gateway:  # fmt: skip
        answer = asyncio.create_task(gateway.post(CHAT, ASK))
        await b.wait_for_request()
        while not gateway.events("attempt_failed"):
            assert not answer.done()
            await asyncio.sleep(0)
        gate.open()
        got = await answer
        assert got.status == 200 and b"from a" in got.body and got.headers["x-gateway-target"] == "a/one"
        await gateway.settled()
        assert gateway.events("tries")[0]["tries"][0][1] == "b/two"


async def test_what_the_first_target_refuses_is_the_answer_while_a_second_runs() -> None:
    gate = Gate()
    refused = reply_json({"error": {"message": "bad field", "type": "invalid_request_error"}}, 400)
    async with ScriptedUpstream([[gate, *refused]]) as a, ScriptedUpstream([Stall()]) as b, gateway_on(config(a, b)) as gateway:  # fmt: skip
        answer = asyncio.create_task(gateway.post(CHAT, ASK))
        await b.wait_for_request()
        gate.open()
        assert (await answer).status == 400
        await b.wait_closed()
