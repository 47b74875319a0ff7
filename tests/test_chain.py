"""The plugin chain as operators meet it: order, fail closed, exactly one finish, watching and rewriting."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import ConfigErrors
from gateway.testing import Gate, Reset, ScriptedUpstream, Send, reply_bytes, reply_json, running_gateway

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
GOOD = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "secret word"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
SSE = [("content-type", "text/event-stream")]
STREAM = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"secret"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
TRACE = """
from gateway.plugin import *

class Trace(Plugin):
    options_schema = {"type": "object", "properties": {"tag": {"type": "string", "default": "t"}}}
    async def handle(self, exchange, call_next):
        self.services.log.info("down", tag=self.options["tag"], request_id=exchange.id)
        reply = await call_next(exchange)
        self.services.log.info("up", tag=self.options["tag"], request_id=exchange.id)
        return reply
    async def attempt(self, attempt, call_next):
        self.services.log.info("try", tag=self.options["tag"], number=attempt.number)
        return await call_next(attempt)
    async def finish(self, exchange):
        self.services.log.info("end", tag=self.options["tag"], outcome=exchange.outcome, status=exchange.status)
"""


def config(upstream: ScriptedUpstream, plugins: str, route: str = "") -> str:
    return f"""
version: 1
plugins: {plugins}
providers:
  up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: key-of-up-0001}}
routes:
  - {{name: r, targets: ["up/*"]{route}}}
"""


async def test_chain_goes_down_in_order_and_back_up_in_reverse_route_plugins_inside() -> None:
    inner = TRACE.replace("class Trace", "class Inner")
    async with (
        ScriptedUpstream(reply_json(GOOD)) as upstream,
        running_gateway(
            config(upstream, "[{outer: {tag: a}}, {middle: {tag: b}}]", ", plugins: [{inner: {tag: c}}]"),
            plugins={"outer": TRACE, "middle": TRACE, "inner": inner},
        ) as gateway,
    ):
        await gateway.post(CHAT, ASK)
        await gateway.settled()
        seen = [(line["event"], line["tag"]) for line in gateway.log if line["event"] in ("down", "try", "up", "end")]
        assert seen == [
            ("down", "a"), ("down", "b"), ("down", "c"), ("try", "a"), ("try", "b"), ("try", "c"),
            ("up", "c"), ("up", "b"), ("up", "a"), ("end", "a"), ("end", "b"), ("end", "c"),
        ]  # fmt: skip


async def test_plugin_named_again_on_a_route_keeps_its_place_and_off_takes_it_out() -> None:
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        plugins = "[{one: {tag: a}}, {two: {tag: b}}]"
        files = {"one": TRACE, "two": TRACE.replace("Trace", "Two")}
        async with running_gateway(
            config(upstream, plugins, ", plugins: [{one: {tag: changed}}]"), plugins=files
        ) as gateway:
            await gateway.post(CHAT, ASK)
            assert [line["tag"] for line in gateway.events("down")] == ["changed", "b"]
        async with running_gateway(config(upstream, plugins, ", plugins: [{one: off}]"), plugins=files) as gateway:
            await gateway.post(CHAT, ASK)
            assert [line["tag"] for line in gateway.events("down")] == ["b"]


@pytest.mark.parametrize("hook", ["handle", "attempt", "complete", "transform", "identify"])
async def test_plugin_that_raises_is_a_500_that_names_it_in_the_log_only(hook: str) -> None:
    bodies = {
        "handle": "async def handle(self, exchange, call_next):",
        "attempt": "async def attempt(self, attempt, call_next):",
        "complete": "async def complete(self, exchange):",
        "transform": "async def transform(self, exchange, events):",
        "identify": "async def identify(self, request):",
    }
    text = f"""
from gateway.plugin import *

class Broken(Plugin):
    {bodies[hook]}
        raise ValueError("inner secret")
        yield
"""
    if hook != "transform":
        text = text.replace("        yield\n", "")
    async with ScriptedUpstream(reply_json(GOOD)) as upstream, running_gateway(config(upstream, "[broken]"), plugins={"broken": text}) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.json()["error"]["code"]) == (500, "internal_error")
        assert b"inner secret" not in got.body
        line = gateway.events("request_failed")[0]
        assert line["plugin"] == "broken"
        assert "inner secret" in line["cause"]


async def test_finish_and_observe_errors_are_logged_and_passed_over() -> None:
    text = """
from gateway.plugin import *

class Broken(Plugin):
    async def finish(self, exchange):
        raise ValueError("in finish")
    def observe(self, exchange, event):
        raise ValueError("in observe")
"""
    async with ScriptedUpstream([reply_bytes(STREAM, 200, SSE)]) as upstream, running_gateway(config(upstream, "[broken, {two: {}}]"), plugins={"broken": text, "two": TRACE}) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, {**ASK, "stream": True})
        assert (got.status, got.body) == (200, STREAM)
        await gateway.settled()
        assert gateway.events("plugin_finish_failed")[0]["plugin"] == "broken"
        assert gateway.events("plugin_observe_failed")[0]["plugin"] == "broken"
        assert len(gateway.events("end")) == 1


WATCH = """
from gateway.plugin import *

class Watch(Plugin):
    def observe(self, exchange, event):
        self.services.log.info("saw", kind=type(event).__name__, text=getattr(event, "text", None))
"""


@pytest.mark.parametrize("stream", [True, False])
async def test_observer_sees_events_while_the_bytes_stay_verbatim(stream: bool) -> None:
    answer = reply_bytes(STREAM, 200, SSE) if stream else reply_json(GOOD)
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream, "[watch]"), plugins={"watch": WATCH}) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, {**ASK, "stream": stream})
        if stream:
            assert got.body == STREAM
        else:
            assert got.json() == GOOD
        texts = [line["text"] for line in gateway.events("saw") if line["kind"] == "TextDelta"]
        assert "".join(texts) == "secret word"
        assert gateway.events("saw")[-1]["kind"] in ("Stop", "Usage")


CENSOR = """
from gateway.plugin import *

class Censor(Plugin):
    async def transform(self, exchange, events):
        held = ""
        async for event in events:
            if isinstance(event, TextDelta):
                held += event.text
                continue
            if isinstance(event, Stop) and held:
                yield TextDelta(held.replace("secret", "******"))
                held = ""
            yield event
"""


@pytest.mark.parametrize("stream", [True, False])
async def test_transform_rewrites_what_the_client_gets_streamed_or_not(stream: bool) -> None:
    answer = reply_bytes(STREAM, 200, SSE) if stream else reply_json(GOOD)
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream, "[censor]"), plugins={"censor": CENSOR}) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, {**ASK, "stream": stream})
        assert got.status == 200
        assert b"****** word" in got.body
        assert b"secret" not in got.body
        assert got.body.endswith(b"data: [DONE]\n\n") is stream


async def test_exchange_transform_added_in_handle_rewrites_this_exchange_only() -> None:
    text = """
from gateway.plugin import *

async def shout(exchange, events):
    async for event in events:
        yield TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event

class Shout(Plugin):
    async def handle(self, exchange, call_next):
        if "x-shout" in exchange.request.headers:
            exchange.transform(shout)
        return await call_next(exchange)
"""
    async with ScriptedUpstream([reply_bytes(STREAM, 200, SSE)]) as upstream, running_gateway(config(upstream, "[shout]"), plugins={"shout": text}) as gateway:  # fmt: skip
        loud = await gateway.post(CHAT, {**ASK, "stream": True}, headers={"x-shout": "1"})
        calm = await gateway.post(CHAT, {**ASK, "stream": True})
        assert b"SECRET" in loud.body
        assert calm.body == STREAM


async def test_chat_assigned_in_handle_is_what_goes_upstream() -> None:
    text = """
import msgspec
from gateway.plugin import *

class Polite(Plugin):
    async def handle(self, exchange, call_next):
        exchange.chat = msgspec.structs.replace(exchange.chat, temperature=0.5)
        return await call_next(exchange)
"""
    async with ScriptedUpstream(reply_json(GOOD)) as upstream, running_gateway(config(upstream, "[polite]"), plugins={"polite": text}) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, {**ASK, "seed": 3, "unknown_to_all": {"a": 1.0}})
        assert got.status == 200
        sent = upstream.requests[0].json()
        assert (sent["temperature"], sent["seed"], sent["unknown_to_all"], sent["model"]) == (0.5, 3, {"a": 1.0}, "m")


async def test_plugin_answers_itself_by_not_calling_next() -> None:
    text = """
from gateway.plugin import *

class Short(Plugin):
    async def handle(self, exchange, call_next):
        if exchange.route is None:
            return await call_next(exchange)
        return Reply(202, {"x-short": "1"}, b"{}")
"""
    async with ScriptedUpstream(reply_json(GOOD)) as upstream, running_gateway(config(upstream, "[short]"), plugins={"short": text}) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["x-short"], upstream.requests) == (202, "1", [])


async def test_identify_names_the_principal_and_401_comes_before_404_but_not_before_health() -> None:
    text = """
from gateway.plugin import *

class Door(Plugin):
    async def identify(self, request):
        name = request.headers.get("x-api-key")
        if name is None:
            raise Unauthenticated("say who you are")
        return Principal(name, {"team": "a"})
"""
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        text_config = config(upstream, "[door, access_log]").replace(
            'name: r, targets: ["up/*"]', 'name: r, match: {key: ["ann"], tags: {team: a}}, targets: ["up/*"]'
        )
        async with running_gateway(text_config, plugins={"door": text}) as gateway:
            assert (await gateway.get("/nowhere")).status == 401
            assert (await gateway.post(CHAT, ASK)).status == 401
            assert (await gateway.get("/health")).status == 200
            assert (await gateway.get("/nowhere", headers={"x-api-key": "ann"})).status == 404
            assert (await gateway.post(CHAT, ASK, headers={"x-api-key": "bob"})).status == 404
            assert (await gateway.post(CHAT, ASK, headers={"x-api-key": "ann"})).status == 200
            await gateway.settled()
            assert gateway.events("request")[-1]["principal"] == "ann"


async def test_complete_runs_before_the_terminator_and_its_failure_leaves_the_stream_unfinished() -> None:
    text = """
from gateway.plugin import *

class Store(Plugin):
    options_schema = {"type": "object", "properties": {"fail": {"type": "boolean", "default": False}}}
    async def complete(self, exchange):
        if self.options["fail"]:
            raise Unavailable("cannot store")
        exchange.headers["x-late"] = "1"
        self.services.log.info("stored")
"""
    async with ScriptedUpstream([reply_bytes(STREAM, 200, SSE)]) as upstream:
        async with running_gateway(config(upstream, "[store]"), plugins={"store": text}) as gateway:
            assert (await gateway.post(CHAT, {**ASK, "stream": True})).body == STREAM
            assert len(gateway.events("stored")) == 1
        async with running_gateway(config(upstream, "[{store: {fail: true}}]"), plugins={"store": text}) as gateway:
            got = await gateway.post(CHAT, {**ASK, "stream": True})
            assert b"[DONE]" not in got.body
            assert b"cannot store" in got.body


async def test_exactly_one_finish_for_every_ending() -> None:
    gate = Gate()
    cut = [Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM[:200]), Reset()]
    held = [
        Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM.split(b"\n\n")[0] + b"\n\n"),
        gate,
    ]
    script = [reply_json(GOOD), reply_json({"error": {"message": "no"}}, 400), reply_bytes(STREAM, 200, SSE), cut, held]
    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream, "[{one: {}}]", ", retry: {attempts: 1}"), plugins={"one": TRACE}) as gateway:  # fmt: skip
        for stream in (False, False, True, True):
            await gateway.post(CHAT, {**ASK, "stream": stream})
        async with gateway.session.post(gateway.url + CHAT, json={**ASK, "stream": True}) as response:
            await response.content.readany()
            response.close()
        await upstream.wait_closed(upstream.requests[-1].connection)
        await gateway.settled()
        ends = [(line["outcome"], line["status"]) for line in gateway.events("end")]
        assert ends == [("completed", 200), ("failed", 400), ("completed", 200), ("failed", 200), ("disconnected", 499)]


async def test_plugins_own_paths_stand_inside_the_plugins_before_it() -> None:
    text = """
from gateway.plugin import *

class Pages(Plugin):
    def http_routes(self):
        async def hello(request):
            return web.json_response({"hello": request.match_info["name"]})
        return [web.get("/hello/{name}", hello)]
"""
    async with ScriptedUpstream(reply_json(GOOD)) as upstream, running_gateway(config(upstream, "[security_headers, pages]"), plugins={"pages": text}) as gateway:  # fmt: skip
        got = await gateway.get("/hello/ann")
        assert (got.status, got.json()) == (200, {"hello": "ann"})
        assert got.headers["x-frame-options"] == "DENY"
        assert (await gateway.post("/hello/ann", {})).status == 405


async def test_option_that_a_plugin_refuses_is_told_with_its_line() -> None:
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        with pytest.raises(ConfigErrors, match=r"gateway.yaml:3:\d+: .*connect is 0"):
            async with running_gateway(config(upstream, "[{timeouts: {connect: 0s}}]")):
                pass


async def test_abort_ends_a_running_stream_with_its_error() -> None:
    text = """
from gateway.plugin import *

class Stopper(Plugin):
    def observe(self, exchange, event):
        if isinstance(event, TextDelta) and "word" in event.text:
            exchange.abort(QuotaSpent("that is enough"))
"""
    gate = Gate()
    first = STREAM.split(b"\n\n")[0] + b"\n\n"
    answer = [
        Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + first),
        gate,
        Send(STREAM[len(first) :]),
    ]
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream, "[stopper]"), plugins={"stopper": text}) as gateway:  # fmt: skip
        async with gateway.session.post(gateway.url + CHAT, json={**ASK, "stream": True}) as response:
            got = await response.content.readany()
            gate.open()
            got += await response.content.read()
        assert b"that is enough" in got
        assert b"[DONE]" not in got


async def test_concurrent_exchanges_keep_their_ids() -> None:
    async with ScriptedUpstream(reply_json(GOOD)) as upstream, running_gateway(config(upstream, "[request_id, {one: {}}]"), plugins={"one": TRACE}) as gateway:  # fmt: skip
        ids = [f"id-{number}" for number in range(40)]
        answers = await asyncio.gather(*(gateway.post(CHAT, ASK, headers={"x-request-id": each}) for each in ids))
        assert [answer.headers["x-request-id"] for answer in answers] == ids
        assert sorted(line["request_id"] for line in gateway.events("up")) == sorted(ids)
        assert sorted(request.header("x-request-id") for request in upstream.requests) == sorted(ids)
