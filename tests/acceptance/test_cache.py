"""The cache: what is the same request, who gets the answer again, and what is never kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest

from gateway.errors import ConfigError
from gateway.testing import (
    Gate,
    ManualClock,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)

WHO = """
    from gateway.plugin import Plugin, Principal

    class Who(Plugin):
        async def identify(self, request):
            return Principal(request.headers.get("x-who", "ann"))
"""
CONFIG = """
plugins: [who, session, cache: {options}]
providers: {{up: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
routes:
  - {{name: other, match: {{model: other}}, targets: [up/m]}}
  - {{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}
"""
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PLAIN = {
    "id": "c",
    "object": "chat.completion",
    "model": "m",
    "unknown_field": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello there"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def chunks(*words: str, finish: bool = True) -> list[Any]:
    found: list[Any] = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
        for word in words
    ]
    if finish:
        found.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return found


def answer(request: ReceivedRequest) -> Any:
    if json.loads(request.body).get("stream"):
        return reply_sse([*chunks("hello ", "there"), "[DONE]"])
    return reply_json(PLAIN)


@asynccontextmanager
async def running(
    script: Any = answer, options: str = "{}", clock: Any = None
) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(CONFIG.format(url=upstream.url, options=options), plugins={"who": WHO}, clock=clock) as gateway,
    ):
        yield gateway, upstream


async def ask(gateway: RunningGateway, headers: dict[str, str] | None = None, **more: Any) -> tuple[str | None, bytes]:
    got = await gateway.post("/v1/chat/completions", {**CHAT, **more}, headers=headers)
    await gateway.settled()
    return got.headers.get("x-gateway-cache"), got.body


async def test_the_same_request_again_gets_the_same_bytes_and_none_is_sent() -> None:
    async with running() as (gateway, upstream):
        first, second = await ask(gateway), await ask(gateway)
        assert (first[0], second[0]) == ("miss", "hit")
        assert first[1] == second[1]
        assert json.loads(second[1])["unknown_field"] == 1
        assert len(upstream.requests) == 1


async def test_a_hit_says_whose_answer_it_is_and_costs_no_attempt() -> None:
    async with running() as (gateway, _):
        await ask(gateway)
        got = await gateway.post("/v1/chat/completions", CHAT)
        names = ("x-gateway-route", "x-gateway-target", "x-gateway-attempts", "x-gateway-cache", "x-gateway-cost-usd")
        assert [got.headers[name] for name in names] == ["all", "up/m", "0", "hit", "0"]


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"x-who": "bob"}, {}),
        ({}, {"model": "other"}),
        ({}, {"temperature": 0.5}),
        ({}, {"messages": [{"role": "user", "content": "hi!"}]}),
        ({"anthropic-beta": "x"}, {}),
    ],
)
async def test_another_caller_route_body_or_beta_is_another_request(
    headers: dict[str, str], more: dict[str, Any]
) -> None:
    async with running() as (gateway, upstream):
        await ask(gateway)
        assert (await ask(gateway, headers, **more))[0] == "miss"
        assert len(upstream.requests) == 2


async def test_the_order_of_members_and_white_space_between_them_do_not_matter() -> None:
    async with running() as (gateway, upstream):
        await ask(gateway)
        body = b'{ "messages": [{"role": "user", "content": "hi"}],  "model":"m"}'
        got = await gateway.post("/v1/chat/completions", body=body)
        assert (got.headers["x-gateway-cache"], len(upstream.requests)) == ("hit", 1)


async def test_plain_and_streamed_answers_serve_one_another() -> None:
    async with running() as (gateway, upstream):
        client = openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="k")
        await ask(gateway)
        text, finish = "", None
        async for chunk in await client.chat.completions.create(**CHAT, stream=True):  # type: ignore[call-overload]
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        assert (text, finish) == ("hello there", "stop")
        assert len(upstream.requests) == 1
        await client.close()
    async with running() as (gateway, upstream):
        streamed = await ask(gateway, stream=True)
        assert streamed[0] == "miss"
        plain = await ask(gateway)
        assert plain[0] == "hit"
        assert json.loads(plain[1])["choices"][0]["message"]["content"] == "hello there"
        again = await ask(gateway, stream=True)
        assert again[0] == "hit"
        assert again[1].endswith(b"data: [DONE]\n\n")
        assert len(upstream.requests) == 1


async def test_another_dialect_is_another_request_and_is_kept_in_its_own_words() -> None:
    async with running() as (gateway, upstream):
        client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="k")
        for _ in range(2):
            async with client.messages.stream(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
            ) as stream:
                assert await stream.get_final_text() == "hello there"
            await gateway.settled()
        message = await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert message.stop_reason == "end_turn"
        assert len(upstream.requests) == 1
        await client.close()


async def test_equal_requests_at_the_same_time_are_sent_once() -> None:
    gate = Gate()
    async with running([gate, *reply_json(PLAIN)]) as (gateway, upstream):
        asking = [asyncio.create_task(ask(gateway, stream=False)) for _ in range(20)]
        await upstream.wait_for_request(0)
        gate.open()
        answers = await asyncio.gather(*asking)
        assert sorted(str(how) for how, _ in answers) == ["hit"] * 19 + ["miss"]
        assert len({body for _, body in answers}) == 1
        assert len(upstream.requests) == 1


async def test_those_who_waited_for_one_that_failed_are_sent_themselves() -> None:
    async with running(reply_json({"error": {"message": "no"}}, status=500)) as (gateway, upstream):
        answers = await asyncio.gather(*(gateway.post("/v1/chat/completions", CHAT) for _ in range(10)))
        assert {each.status for each in answers} == {502}
        assert len(upstream.requests) == 10


@pytest.mark.parametrize(
    "script",
    [
        reply_json({"error": {"message": "no"}}, status=400),
        reply_sse(chunks("half", finish=False)),
        reply_sse([*chunks("half", finish=False), {"error": {"message": "broke"}}]),
    ],
    ids=["refused", "cut", "error event"],
)
async def test_what_is_not_whole_is_never_kept(script: Any) -> None:
    async with running(script) as (gateway, upstream):
        for _ in range(2):
            assert (await ask(gateway, stream=True))[0] != "hit"
        assert len(upstream.requests) == 2


async def test_no_store_leaves_a_request_alone() -> None:
    async with running() as (gateway, upstream):
        for _ in range(2):
            assert (await ask(gateway, {"x-gateway-cache": "no-store"}))[0] is None
        assert (await ask(gateway))[0] == "miss"
        assert (await ask(gateway, {"x-gateway-cache": "no-store"}))[0] is None
        assert len(upstream.requests) == 4


async def test_an_answer_is_kept_for_its_time_and_the_oldest_go_first() -> None:
    clock = ManualClock()
    config = (
        "plugins: [cache: {{ttl: 60s{more}}}]\nproviders: {{echo: {{}}}}\nroutes: [{{name: a, targets: [echo/echo]}}]"
    )
    async with running_gateway(config.format(more=""), clock=clock) as gateway:
        assert [(await ask(gateway))[0] for _ in range(2)] == ["miss", "hit"]
        clock.advance(61)
        assert (await ask(gateway))[0] == "miss"
    async with running_gateway(config.format(more=", max_entries: 2"), clock=clock) as gateway:
        asked = [(await ask(gateway, model=name))[0] for name in ("a", "b", "c", "c", "b", "a")]
        assert asked == ["miss", "miss", "miss", "hit", "hit", "miss"]
    async with running_gateway(config.format(more=", max_entry: 10B"), clock=clock) as gateway:
        assert [(await ask(gateway))[0] for _ in range(2)] == ["miss", "miss"]


async def test_a_session_is_part_of_the_request_and_keeps_a_hit_as_a_turn() -> None:
    async with running() as (gateway, upstream):
        for _ in range(2):
            id = (await gateway.post("/v1/sessions")).json()["id"]
            assert (await ask(gateway, session_id=id))[0] in ("miss", "hit")
            shown = (await gateway.get(f"/v1/sessions/{id}")).json()["messages"]
            assert [message["content"] for message in shown] == ["hi", "hello there"]
            await ask(gateway, session_id=id)
            assert len((await gateway.get(f"/v1/sessions/{id}")).json()["messages"]) == 4
        assert len(upstream.requests) == 2


async def test_a_streamed_answer_of_several_choices_is_not_kept() -> None:
    async with running() as (gateway, upstream):
        for _ in range(2):
            assert (await ask(gateway, stream=True, n=2))[0] is None
        assert len(upstream.requests) == 2


async def test_a_ttl_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="ttl is 0, which keeps no answer; take the plugin out"):
        async with running_gateway("plugins: [{cache: {ttl: 0s}}]\nroutes: [{name: e, targets: [echo/echo]}]"):
            pass
