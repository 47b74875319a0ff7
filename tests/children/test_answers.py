"""What clients get that a plugin answers with what it asked: the official packages see no difference, errors included."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.dialects.table import DIALECTS as PARSERS
from gateway.testing import Gate, ReceivedRequest, Reset, ScriptedUpstream, Step, reply_json, reply_sse, running_gateway
from tests.accounting.endings import EVENTS, PATHS, body_of
from tests.children.flows import ASKED, CHAT, ONCE
from tests.clients.beside import NAMES, config
from tests.clients.model import DIALECTS, Call, Dialect, Said, answer
from tests.clients.sdks import SDKS, Ask, Got, Tool
from tests.endure.kit import LoopClock, hurried

SAID = Said(text="Grüße 🚀", calls=(Call("call_1", "get_weather", {"city": "Bern"}),), prompt=120, completion=30)
WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
ONE = """
    plugins: [{plugins}]
    providers: {{up: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
    routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""
HELLO = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}}]}
START = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
TERMINATORS = {"openai": b"[DONE]", "anthropic": b"message_stop", "responses": b"response.completed", "ollama": b'"done":true'}  # fmt: skip
"""What a client of each dialect takes for the end of a whole answer."""
SAYS = """
    import asyncio
    from gateway.plugin import Plugin, Start, Stop, TextDelta, Usage, answer_events

    class Says(Plugin):
        '''Answer with events of its own, as the header x-says has it.'''
        async def handle(self, exchange, call_next):
            if exchange.route is None:
                return await call_next(exchange)
            self.closed = self.services.lasting("closed", asyncio.Event)
            events = self.events(exchange.request.headers["x-says"])
            return await answer_events(exchange, events, self.services.clock.time())

        async def complete(self, exchange):
            if exchange.request.headers["x-says"] == "incomplete":
                raise RuntimeError("not stored")

        async def events(self, says):
            try:
                yield Start()
                if says == "raises first":
                    raise RuntimeError("lost")
                if says == "waits":
                    await asyncio.sleep(40)
                yield TextDelta("one")
                if says == "raises later":
                    raise RuntimeError("lost")
                if says == "waits later":
                    await asyncio.sleep(40)
                if says == "stalls":
                    await asyncio.Event().wait()
                if says == "much":
                    for _ in range(20_000):
                        yield TextDelta("x" * 1000)
                if says != "just ends":
                    yield Usage(prompt_tokens=3, completion_tokens=2)
                    yield Stop("stop")
            finally:
                self.closed.set()
"""


async def got(client: Dialect, target: Dialect, stream: bool, plugin: str) -> tuple[Got, ReceivedRequest]:
    ask = Ask(stream=stream, system="Be short.", tools=(WEATHER,))
    async with ScriptedUpstream(lambda request: answer(request, SAID)) as upstream:
        text = config(upstream.url, target).replace("[access_log]", f"[access_log{plugin}]")
        async with running_gateway(text, plugins={"once": ONCE}) as gateway:
            heard = await SDKS[client].ask(gateway.url, SDKS[client].user("hi"), ask)
        [sent] = upstream.requests
        return heard, sent


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize(("stream", "plugin"), [(False, ", once"), (True, ", once: {inside: true}")])
async def test_a_package_hears_the_same_and_upstream_gets_the_same(client: Dialect, stream: bool, plugin: str) -> None:
    other: Dialect = "M" if client == "C" else "C"
    for target in (client, other):
        without, sent_without = await got(client, target, stream, "")
        heard, sent = await got(client, target, stream, plugin)
        assert (heard.text, heard.stop, heard.usage) == (without.text, without.stop, without.usage)
        assert [call[1:] for call in heard.calls] == [call[1:] for call in without.calls] != []
        read = PARSERS[NAMES[target]].parse_request
        asked, asked_without = (read(each.body) for each in (sent, sent_without))
        assert replace(asked, include_usage=False) == replace(asked_without, include_usage=False)
        names = [{name.lower() for name, _ in each.headers} for each in (sent, sent_without)]
        assert names[0] == names[1]


def refusal(request: ReceivedRequest) -> list[bytes | Step]:
    return reply_json({"error": {"message": "no such thing", "type": "invalid_request_error", "code": "odd"}}, 404)


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstreams_refusal_of_a_child_is_told_in_the_clients_own_dialect(client: str, stream: bool) -> None:
    ask = """
        from gateway.plugin import ChatRequest, Plugin, answer, answer_events

        class Asks(Plugin):
            async def handle(self, exchange, call_next):
                if exchange.route is None or exchange.parent is not None:
                    return await call_next(exchange)
                return await answer_events(exchange, self.events(exchange), self.services.clock.time())

            async def events(self, exchange):
                chat = ChatRequest(dialect="openai_chat", model="m", messages=exchange.chat.messages, stream=True)
                async with self.services.gateway.child(exchange, chat) as child:
                    async for event in child.events():
                        yield event
    """
    async with ScriptedUpstream(refusal) as upstream:
        text = ONE.format(url=upstream.url, plugins="asks")
        async with running_gateway(text, plugins={"asks": ask}) as gateway:
            heard = await gateway.post(PATHS[client], body_of(client, "m", stream))
    error = heard.json()["error"]
    assert heard.status == 404 and heard.headers["x-gateway-error-source"] == "upstream"
    assert heard.headers["content-type"] == "application/json"
    if client == "ollama":
        assert error == "no such thing"
    else:
        assert error["message"] == "no such thing"
        assert ("code" in error) == (client != "anthropic") and (client == "anthropic") == ("type" in heard.json())


@pytest.mark.parametrize("client", PATHS)
async def test_an_answer_that_breaks_after_its_first_content_has_an_error_event_and_no_terminator(client: str) -> None:
    async with ScriptedUpstream(reply_sse([HELLO, Reset()])) as upstream:
        text = ONE.format(url=upstream.url, plugins="once: {inside: true}")
        async with running_gateway(text, plugins={"once": ONCE}) as gateway:
            heard = await gateway.post(PATHS[client], body_of(client, "m", True))
    assert heard.status == 200 and b"Hello" in heard.body and b"error" in heard.body
    assert TERMINATORS[client] not in heard.body


async def test_the_preamble_waits_for_the_first_content_and_then_events_go_as_they_come() -> None:
    before, after = Gate(), Gate()
    begin, words, end = EVENTS["openai"](told=True)
    script = [*reply_sse([*begin, before, words[0], after, words[1], *end])]
    async with ScriptedUpstream(script) as upstream:
        text = ONE.format(url=upstream.url, plugins="once")
        async with running_gateway(text, plugins={"once": ONCE}) as gateway:
            body = {**ASKED, "model": "m", "stream": True}
            asking = asyncio.create_task(gateway.session.post(gateway.url + CHAT, json=body).__aenter__())
            await before.reached()
            [exchange] = gateway.core.live
            assert not exchange.committed
            before.open()
            response = await asking
            assert b"Hello" in await response.content.readuntil(b"Hello")
            assert not after._open.is_set()
            after.open()
            rest = await response.content.read()
            response.close()
    assert b"world!" in rest and b"[DONE]" in rest


async def says(what: str, stream: bool = True) -> tuple[Any, list[Any]]:
    async with running_gateway(ONE.format(url="http://127.0.0.1:9", plugins="says"), plugins={"says": SAYS}) as gateway:
        heard = await gateway.post(CHAT, {**ASKED, "model": "m", "stream": stream}, headers={"x-says": what})
        return heard, gateway.events("request_failed")


@pytest.mark.parametrize("stream", [False, True])
async def test_events_of_a_plugins_own_are_an_answer(stream: bool) -> None:
    heard, failed = await says("all", stream)
    assert heard.status == 200 and b'"one"' in heard.body and not failed
    assert heard.body.endswith(b"data: [DONE]\n\n") if stream else heard.json()["usage"]["total_tokens"] == 5


async def test_what_a_plugin_raises_before_its_first_content_is_a_plain_500_that_names_it() -> None:
    heard, [line] = await says("raises first")
    assert heard.status == 500 and heard.json()["error"]["code"] == "internal_error"
    assert (line["plugin"], line["cause"]) == ("says", "RuntimeError: lost")


@pytest.mark.parametrize("what", ["raises later", "just ends", "incomplete"])
async def test_an_answer_that_is_not_whole_never_looks_whole(what: str) -> None:
    heard, [line] = await says(what)
    assert heard.status == 200 and b'"one"' in heard.body and b"internal_error" in heard.body
    assert b"[DONE]" not in heard.body
    assert line["error_code"] == "internal_error"
    plain, _ = await says(what, stream=False)
    assert plain.status == 500


async def test_a_client_that_leaves_closes_a_plugins_events() -> None:
    async with running_gateway(ONE.format(url="http://127.0.0.1:9", plugins="says"), plugins={"says": SAYS}) as gateway:
        body, headers = {**ASKED, "model": "m", "stream": True}, {"x-says": "stalls"}
        async with gateway.session.post(gateway.url + CHAT, json=body, headers=headers) as response:
            await response.content.readuntil(b"one")
            response.close()
        async with asyncio.timeout(5):
            await gateway.core.lasting.get("plugin says: closed", asyncio.Event).wait()


async def test_a_client_that_does_not_read_holds_a_plugins_events_back() -> None:
    async with running_gateway(ONE.format(url="http://127.0.0.1:9", plugins="says"), plugins={"says": SAYS}) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        body = json.dumps({**ASKED, "model": "m", "stream": True})
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-says: much\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        writer.write(head.encode())
        await reader.readuntil(b"one")
        [exchange] = gateway.core.live
        while all(vars(each)["_may_write"].is_set() for each in exchange.sources):
            await asyncio.sleep(0)
        assert not gateway.core.lasting.get("plugin says: closed", asyncio.Event).is_set()
        writer.close()
        await gateway.settled()


def test_silence_is_filled_with_keep_alives_before_and_after_the_first_content() -> None:
    async def main() -> None:
        text = ONE.format(url="http://127.0.0.1:9", plugins="says")
        async with running_gateway(text, plugins={"says": SAYS}, clock=LoopClock()) as gateway:
            for what, kept in (("waits", 1), ("waits later", 2)):  # what was held went out with the head
                body = {**ASKED, "model": "m", "stream": True}
                heard = await gateway.post(CHAT, body, headers={"x-says": what})
                assert heard.status == 200 and heard.body.endswith(b"data: [DONE]\n\n")
                assert heard.body.count(b": keep-alive\n\n") == kept

    hurried(main)


def test_an_answer_ends_at_its_deadline_whatever_its_events_wait_for() -> None:
    async def main() -> None:
        text = ONE.format(url="http://127.0.0.1:9", plugins="timeouts: {total: 30s}, says")
        async with running_gateway(text, plugins={"says": SAYS}, clock=LoopClock()) as gateway:
            body = {**ASKED, "model": "m", "stream": True}
            heard = await gateway.post(CHAT, body, headers={"x-says": "stalls"})
            assert heard.status == 200 and b'"timeout"' in heard.body and b"[DONE]" not in heard.body

    hurried(main)
