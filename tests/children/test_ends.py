"""A child ends once and never outlives its parent: clients that leave, deadlines, aborts, reloads, the gateway's stop."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.testing import Gate, ScriptedUpstream, Stall, reply_json, reply_sse, running_gateway
from tests.accounting.endings import PRICES, answer, rows_of, whole
from tests.children.flows import ASKED, CHAT, FLOW, ONCE, family

CONFIG = """
    ledger: sqlite:rows.db
    plugins: [{plugins}]
    providers: {{openai: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
    routes: [{{name: all, match: {{model: "openai-*"}}, targets: ["openai/*"], retry: {{attempts: 1}}}}]
"""
HELLO = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}}]}
LEAKS = """
    import asyncio
    from gateway.plugin import ChatRequest, Plugin, Reply

    class Leaks(Plugin):
        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.parent is not None:
                return await call_next(exchange)
            self.leaked = asyncio.create_task(self.ask(exchange))
            await self.services.lasting("go", asyncio.Event).wait()
            return Reply(200, {"content-type": "application/json"}, b"{}")

        async def ask(self, exchange):
            chat = ChatRequest(dialect="openai_chat", model="openai-never", messages=exchange.chat.messages)
            async with self.services.gateway.child(exchange, chat) as child:
                try:
                    await child.reply()
                except Exception as error:
                    self.services.log.info("leak_ended", error=type(error).__name__)
                    raise
"""
PICKY = """
    from gateway.plugin import ChatRequest, Plugin, Stop, TextDelta, answer_events

    class Picky(Plugin):
        '''Take a child's events up to the first text, or up to the Stop; or ask it nothing, or twice.'''
        models = ("picky",)

        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.route.name != "picky":
                return await call_next(exchange)
            return await answer_events(exchange, self.events(exchange), self.services.clock.time())

        async def events(self, exchange):
            until = {"text": TextDelta, "stop": Stop}.get(exchange.request.headers["x-until"])
            chat = ChatRequest(
                dialect="openai_chat", model="openai-whole", messages=exchange.chat.messages, stream=True
            )
            async with self.services.gateway.child(exchange, chat) as child:
                if until is not None:
                    async for event in child.events():
                        if isinstance(event, until):
                            break
            if exchange.request.headers["x-until"] == "twice":
                async with self.services.gateway.child(exchange, chat) as child:
                    await child.reply()
                    await child.reply()
            yield TextDelta("enough")
            yield Stop("stop")
"""
PLUGINS = {"flow": FLOW, "once": ONCE, "leaks": LEAKS, "picky": PICKY}


def config(url: str, plugins: str = "access_log, flow") -> str:
    return CONFIG.format(url=url, plugins=plugins)


async def arrived(upstream: ScriptedUpstream, count: int = 1) -> None:
    while len(upstream.requests) < count:
        await asyncio.sleep(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_takes_all_running_children_with_it(stream: bool) -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-a+openai-b+openai-c,openai-d"}
            asking = asyncio.create_task(gateway.post(CHAT, {**ASKED, "stream": stream}, headers=headers))
            await arrived(upstream, 3)
            asking.cancel()
            async with asyncio.timeout(5):
                await asyncio.gather(*(each.peer_closed.wait() for each in upstream.connections))
            parent, children = await family(gateway)
    assert [(row.outcome, row.status, row.error_code) for row in (parent, *children)] == [
        ("disconnected", 499, "client_left")
    ] * 4
    assert {row.model_requested for row in children} == {"openai-a", "openai-b", "openai-c"}


async def test_a_client_that_leaves_a_stream_takes_the_step_that_streams_with_it() -> None:
    async with ScriptedUpstream([reply_json(whole("openai", True)), reply_sse([HELLO, Stall()])]) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            body, headers = {**ASKED, "stream": True}, {"x-ask": "openai-a,openai-b"}
            async with gateway.session.post(gateway.url + CHAT, json=body, headers=headers) as response:
                assert b"Hello" in await response.content.readuntil(b"Hello")
                response.close()
            async with asyncio.timeout(5):
                await upstream.connections[-1].peer_closed.wait()
            parent, children = await family(gateway)
    assert [(row.outcome, row.status) for row in children] == [("completed", 200), ("disconnected", 499)]
    assert (children[1].completion_tokens, children[1].estimated) == (2, True)
    assert (parent.outcome, parent.prompt_tokens, parent.completion_tokens) == ("disconnected", 0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_step_has_no_longer_than_its_own_time(stream: bool) -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-a", "x-step-timeout": "0.05"}
            got = await gateway.post(CHAT, {**ASKED, "stream": stream}, headers=headers)
            parent, (child,) = await family(gateway)
    assert got.status == 504 and got.json()["error"]["code"] == "timeout"
    assert got.headers["x-gateway-error-source"] == "upstream"
    assert [(row.status, row.outcome, row.error_code) for row in (child, parent)] == [(504, "failed", "timeout")] * 2


async def test_a_stream_that_runs_into_its_steps_time_ends_with_an_error_event() -> None:
    async with ScriptedUpstream(reply_sse([HELLO, Stall()])) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-a", "x-step-timeout": "0.2"}
            got = await gateway.post(CHAT, {**ASKED, "stream": True}, headers=headers)
            parent, (child,) = await family(gateway)
    assert got.status == 200 and b'"Hello"' in got.body and b"[DONE]" not in got.body
    assert json.loads(got.body.strip().splitlines()[-1].removeprefix(b"data: "))["error"]["code"] == "timeout"
    assert [(row.status, row.outcome, row.error_code) for row in (child, parent)] == [(200, "failed", "timeout")] * 2


async def test_children_keep_to_their_clients_deadline() -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-a", "x-step-timeout": "60", "x-gateway-timeout": "0.05"}
            got = await gateway.post(CHAT, ASKED, headers=headers)
    assert got.status == 504 and got.json()["error"]["code"] == "timeout"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_aborted_parent_answers_with_the_error_and_its_children_fail_with_it(stream: bool) -> None:
    script = reply_sse([HELLO, Stall()]) if stream else Stall()
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            body, headers = {**ASKED, "stream": stream}, {"x-ask": "openai-a"}
            asking = asyncio.create_task(gateway.post(CHAT, body, headers=headers))
            await arrived(upstream)
            [exchange] = gateway.core.live
            while stream and not exchange.committed:
                await asyncio.sleep(0)
            exchange.abort(Unavailable("no more"))
            got = await asking
            parent, (child,) = await family(gateway)
    assert got.status == (200 if stream else 503) and b"no more" in got.body and b"[DONE]" not in got.body
    assert [(row.outcome, row.error_code) for row in (child, parent)] == [("failed", "overloaded")] * 2


async def test_a_child_that_is_aborted_raises_in_who_asked() -> None:
    abort = """
        from gateway.plugin import Plugin, QuotaSpent

        class Stops(Plugin):
            async def attempt(self, attempt, call_next):
                attempt.exchange.abort(QuotaSpent("stop here"))
                return await call_next(attempt)
    """
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "access_log, flow, stops")
        async with running_gateway(text, files=PRICES, plugins={**PLUGINS, "stops": abort}) as gateway:
            got = await gateway.post(CHAT, ASKED, headers={"x-ask": "openai-plain"})
            parent, (child,) = await family(gateway)
    assert got.status == 402 and "stop here" in got.json()["error"]["message"]
    assert (child.status, child.outcome, parent.status) == (402, "failed", 402)


async def test_a_reload_leaves_running_parents_and_the_children_they_still_ask_for_on_the_old_routes() -> None:
    gate = Gate()
    script: list[Any] = [[gate, *reply_json(whole("openai", True))], reply_json(whole("openai", True))]
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            old = gateway.core.generation
            asking = asyncio.create_task(gateway.post(CHAT, ASKED, headers={"x-ask": "openai-a,openai-b"}))
            await arrived(upstream)
            gateway.configure(config(upstream.url).replace('"openai-*"', '"other-*"'))
            await gateway.reloader.reload("test")
            assert gateway.core.generation is not old and old.live == 1
            gate.open()
            assert (await asking).status == 200
            parent, children = await family(gateway)
            assert not old.live
            got = await gateway.post(CHAT, ASKED, headers={"x-ask": "openai-a"})
    assert [row.status for row in (parent, *children)] == [200, 200, 200]
    assert got.status == 404 and got.json()["error"]["code"] == "model_not_found"


async def test_a_stop_waits_for_parents_and_their_children() -> None:
    gate = Gate()
    script: list[Any] = [[gate, *reply_json(whole("openai", True))], reply_json(whole("openai", True))]
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            asking = asyncio.create_task(gateway.post(CHAT, ASKED, headers={"x-ask": "openai-a,openai-b"}))
            await arrived(upstream)
            stopping = asyncio.create_task(gateway.server.stop(lame_duck_s=0, grace_s=30))
            while gateway.core.phase != "draining":
                await asyncio.sleep(0)
            gate.open()
            assert (await asking).status == 200
            await stopping
            parent, children = await family(gateway)
    assert [row.outcome for row in (parent, *children)] == ["completed"] * 3


async def test_a_stop_without_grace_tells_the_client_and_ends_the_children() -> None:
    async with ScriptedUpstream(reply_sse([HELLO, Stall()])) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, plugins=PLUGINS) as gateway:
            body, headers = {**ASKED, "stream": True}, {"x-ask": "openai-a"}
            async with gateway.session.post(gateway.url + CHAT, json=body, headers=headers) as response:
                await response.content.readuntil(b"Hello")
                await gateway.server.stop(lame_duck_s=0, grace_s=0)
                rest = await response.content.read()
            parent, (child,) = await family(gateway)
    assert b"overloaded" in rest and b"[DONE]" not in rest
    assert [(row.outcome, row.error_code) for row in (child, parent)] == [("failed", "overloaded")] * 2


async def test_a_child_that_nobody_waits_for_ends_with_its_parent() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "access_log, leaks")
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            asking = asyncio.create_task(gateway.post(CHAT, {**ASKED, "model": "openai-plain"}))
            await arrived(upstream)
            gateway.core.lasting.get("plugin leaks: go", asyncio.Event).set()
            assert (await asking).status == 200
            parent, children = await family(gateway)
            assert gateway.core.generation.live == 0
            await upstream.connections[0].peer_closed.wait()
            [line] = gateway.events("leak_ended")
            assert line["error"] == "ClientLeft"
    assert parent.outcome == "completed" and [row.outcome for row in children] == ["disconnected"]


@pytest.mark.parametrize(
    ("until", "outcome", "tokens"), [("text", "disconnected", (None, 2)), ("stop", "completed", (10, 4))]
)
async def test_events_that_are_not_read_to_their_end_are_accounted_for(
    until: str, outcome: str, tokens: tuple[int | None, int]
) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "access_log, picky")
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, {**ASKED, "model": "picky"}, headers={"x-until": until})
            _, (child,) = await family(gateway)
    assert got.json()["choices"][0]["message"]["content"] == "enough"
    assert (child.outcome, child.completion_tokens) == (outcome, tokens[1])
    assert tokens[0] is None or child.prompt_tokens == tokens[0]


async def test_a_child_that_is_asked_nothing_leaves_nothing_and_one_asked_twice_is_the_plugins_fault() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "access_log, picky")
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, {**ASKED, "model": "picky"}, headers={"x-until": "nothing"})
            assert got.status == 200 and len(await rows_of(gateway)) == 1 and upstream.requests == []
            got = await gateway.post(CHAT, {**ASKED, "model": "picky"}, headers={"x-until": "twice"})
            assert got.status == 500
            [line] = gateway.events("request_failed")
    assert "asked for its answer once" in line["cause"]
