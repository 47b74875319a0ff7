"""Children of children, answers that plugins give to children, and readers that are slow."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.testing import ScriptedUpstream, Stall, reply_sse, running_gateway
from tests.accounting.endings import IN, OUT, PRICES, answer, rows_of
from tests.children.flows import ASKED, CHAT, ONCE

NEST = """
    from gateway.plugin import BadRequest, ChatRequest, Plugin, Reply, answer, answer_events

    class Nest(Plugin):
        '''outer asks middle, middle asks inner, inner asks the model of x-ask; each answers as x-how says.'''
        models = ("outer", "middle", "inner", "refuses", "bytes")

        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.route.name not in self.models:
                return await call_next(exchange)
            name = exchange.route.name
            if name == "refuses":
                return Reply(429, {"retry-after": "7"}, b'{"error": {"message": "full", "code": "full"}}')
            if name == "bytes":
                choice = b'{"index": 0, "message": {"role": "assistant", "content": "as bytes"}, "finish_reason": "stop"}'
                return Reply(200, {"content-type": "application/json"}, b'{"id": "b", "choices": [%b]}' % choice)
            asks = {"outer": "middle", "middle": "inner"}.get(name, exchange.request.headers["x-ask"])
            chat = ChatRequest(
                dialect="openai_chat", model=asks, messages=exchange.chat.messages, stream=exchange.request.stream
            )
            now = self.services.clock.time()
            if exchange.request.headers.get("x-how") == "whole":
                async with self.services.gateway.child(exchange, chat, step=asks) as child:
                    return answer(exchange, await child.reply(), now)
            return await answer_events(exchange, self.events(exchange, chat), now)

        async def events(self, exchange, chat):
            async with self.services.gateway.child(exchange, chat, step=chat.model) as child:
                async for event in child.events():
                    yield event
"""
PLUGINS = {"nest": NEST, "once": ONCE}


def config(url: str, plugins: str) -> str:
    return f"""
        ledger: sqlite:rows.db
        plugins: [access_log, {plugins}]
        providers: {{openai: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
        routes: [{{name: all, match: {{model: "openai-*"}}, targets: ["openai/*"], retry: {{attempts: 1}}}}]
    """


@pytest.mark.parametrize("how", ["whole", "events"])
@pytest.mark.parametrize("stream", [False, True])
async def test_children_of_children_are_a_tree_whose_leaves_have_the_tokens(how: str, stream: bool) -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, "nest"), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-whole" if stream else "openai-plain", "x-how": how}
            got = await gateway.post(CHAT, {**ASKED, "model": "outer", "stream": stream}, headers=headers)
            rows = {row.route: row for row in await rows_of(gateway)}
            [line] = gateway.events("request")
    assert got.status == 200 and b"world!" in got.body and (not stream or b"[DONE]" in got.body)
    assert got.headers["x-gateway-attempts"] == "1"
    assert stream or got.headers["x-gateway-cost-usd"] == "0.000018"
    above = [rows[name].parent_id for name in ("outer", "middle", "inner", "all")]
    assert above == [None, *(rows[name].exchange_id for name in ("outer", "middle", "inner"))]
    assert [rows[name].prompt_tokens for name in ("outer", "middle", "inner", "all")] == [0, 0, 0, IN]
    assert sum((row.cost_usd or Decimal(0) for row in rows.values()), Decimal(0)) == Decimal("0.000018")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (IN, OUT)
    assert {row.outcome for row in rows.values()} == {"completed"}


@pytest.mark.parametrize("how", ["whole", "events"])
async def test_a_client_that_leaves_takes_the_whole_tree_with_it(how: str) -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        async with running_gateway(config(upstream.url, "nest"), files=PRICES, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-never", "x-how": how}
            asking = asyncio.create_task(gateway.post(CHAT, {**ASKED, "model": "outer"}, headers=headers))
            while not upstream.requests:
                await asyncio.sleep(0)
            asking.cancel()
            async with asyncio.timeout(5):
                await upstream.connections[0].peer_closed.wait()
            rows = await rows_of(gateway)
    assert [(row.outcome, row.status) for row in rows] == [("disconnected", 499)] * 4


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_plugin_answers_as_bytes_is_read_and_what_it_refuses_is_raised(stream: bool) -> None:
    async with running_gateway(config("http://127.0.0.1:9", "nest"), plugins=PLUGINS) as gateway:
        body = {**ASKED, "model": "inner", "stream": stream}
        got = await gateway.post(CHAT, body, headers={"x-ask": "bytes"})
        assert got.status == 200 and b"as bytes" in got.body
        refused = await gateway.post(CHAT, body, headers={"x-ask": "refuses"})
    assert (refused.status, refused.headers["retry-after"]) == (429, "7")
    assert refused.headers["x-gateway-error-source"] == "gateway"
    assert refused.json()["error"]["message"] == "full"


async def test_a_client_that_does_not_read_holds_the_upstream_of_a_child_back() -> None:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * 4000}}]}
    async with ScriptedUpstream(reply_sse([chunk] * 4_000)) as upstream:
        text = config(upstream.url, "once: {inside: true}")
        async with running_gateway(text, files=PRICES, plugins=PLUGINS, log_level="error") as gateway:
            host, port = gateway.url.removeprefix("http://").split(":")
            body = json.dumps({**ASKED, "model": "openai-m", "stream": True})
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
            await reader.readuntil(b"xxx")
            [parent] = gateway.core.live
            child: Any = next(each for each in parent.sources if hasattr(each, "exchange"))
            while not (sources := child.exchange.sources) or not sources[0].reader_is_behind:
                await asyncio.sleep(0)
            for _ in range(2_000):  # in which all that upstream has would have come
                await asyncio.sleep(0)
            assert len(vars(sources[0])["_events_out"]) < 600
            writer.close()
            rows = await rows_of(gateway)
    assert [row.outcome for row in rows] == ["disconnected"] * 2


@pytest.mark.parametrize("inside", ["false", "true"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_of_generate_are_answered_by_children_too(inside: str, stream: bool) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, f"once: {{inside: {inside}}}")
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            model = "openai-whole" if stream else "openai-plain"
            got = await gateway.post("/api/generate", {"model": model, "prompt": "hi", "stream": stream})
    lines = [json.loads(line) for line in got.body.splitlines()]
    assert "".join(line["response"] for line in lines) == "Hello world!" and lines[-1]["done"]
    assert lines[-1]["prompt_eval_count"] == IN
