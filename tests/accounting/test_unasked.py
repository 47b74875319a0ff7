"""A stream's usage is asked for where somebody needs it, and its client sees what it would have seen without (P14)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.relay.unasked import without_null_usage
from gateway.testing import RunningGateway, ScriptedUpstream, Send, reply_bytes, reply_sse, running_gateway

CHAT = "/v1/chat/completions"
USED = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
NEEDS_USAGE = """
from gateway.plugin import Plugin

class Counts(Plugin):
    needs_usage = True
"""


def chunk(text: str, *, finish: str | None = None, null: bool) -> bytes:
    usage = b',"usage":null' if null else b""
    said, end = json.dumps(text).encode(), json.dumps(finish).encode()
    return (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","x_new":1.0,"choices":[{"index":0,'
        b'"delta":{"content":' + said + b'},"finish_reason":' + end + b"}]" + usage + b"}\n\n"
    )


def stream(*, asked: bool) -> bytes:
    events = [chunk("he", null=asked), chunk("llo", null=asked), chunk("", finish="stop", null=asked)]
    if asked:
        events.append(b'data: {"id":"c","choices":[],"usage":' + json.dumps(USED).encode() + b"}\n\n")
    return b": begins\n\n" + b"".join(events) + b"data: [DONE]\n\n"


def answers(request: Any) -> Any:
    """Answer as OpenAI does: usage only when it is asked for."""
    body = request.json()
    asked = (body.get("stream_options") or {}).get("include_usage") is True
    return reply_bytes(stream(asked=asked), headers=[("Content-Type", "text/event-stream")], chunked=[40, 3, 200, 1])


def config(url: str, *, ledger: bool = False, plugin: bool = False, more: str = "") -> str:
    return f"""
        {"ledger: sqlite:rows.db" if ledger else ""}
        plugins: [{"counts" if plugin else ""}]
        providers: {{up: {{dialect: openai, base_url: {url}/v1, api_key: k{more}}}}}
        routes: [{{name: all, targets: ["up/*"]}}]
    """


async def ask(gateway: RunningGateway, **more: Any) -> bytes:
    answer = await gateway.post(CHAT, {"model": "m", "stream": True, "messages": [], **more})
    assert answer.status == 200
    return answer.body


@pytest.mark.parametrize("needs", ["ledger", "plugin"])
@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_obfuscation": False}, "absent"], ids=str)
async def test_who_did_not_ask_sees_the_stream_it_would_have_seen(needs: str, options: Any) -> None:
    async with ScriptedUpstream(answers) as upstream:
        text = config(upstream.url, ledger=needs == "ledger", plugin=needs == "plugin")
        async with running_gateway(text, plugins={"counts": NEEDS_USAGE}) as gateway:
            more = {} if options == "absent" else {"stream_options": options}
            assert await ask(gateway, **more) == stream(asked=False)
        sent = upstream.requests[0].json()["stream_options"]
        kept = {"include_obfuscation": False} if options == {"include_obfuscation": False} else {}
        assert sent == {**kept, "include_usage": True}


async def test_who_asked_sees_the_upstreams_own_bytes() -> None:
    async with ScriptedUpstream(answers) as upstream, running_gateway(config(upstream.url, ledger=True)) as gateway:
        assert await ask(gateway, stream_options={"include_usage": True}) == stream(asked=True)
        assert b'"stream_options":{"include_usage": true}' in upstream.requests[0].body  # as the client wrote it


async def test_where_nobody_needs_it_nothing_is_asked() -> None:
    async with ScriptedUpstream(answers) as upstream, running_gateway(config(upstream.url)) as gateway:
        assert await ask(gateway) == stream(asked=False)
        assert "stream_options" not in upstream.requests[0].json()


async def test_an_upstream_that_refuses_the_field_is_not_sent_it() -> None:
    quirk = ", quirks: {stream_usage: false}"
    async with ScriptedUpstream(answers) as upstream:
        async with running_gateway(config(upstream.url, ledger=True, more=quirk)) as gateway:
            assert await ask(gateway) == stream(asked=False)
        assert "stream_options" not in upstream.requests[0].json()


async def test_options_that_only_the_upstream_can_judge_pass_as_they_are() -> None:
    async with ScriptedUpstream(reply_bytes(b"{}", 400)) as upstream:
        async with running_gateway(config(upstream.url, ledger=True)) as gateway:
            await gateway.post(CHAT, {"model": "m", "stream": True, "messages": [], "stream_options": 7})
        assert upstream.requests[0].json()["stream_options"] == 7


async def test_plain_requests_are_not_touched() -> None:
    async with ScriptedUpstream() as upstream, running_gateway(config(upstream.url, ledger=True)) as gateway:
        await gateway.post(CHAT, {"model": "m", "messages": []})
        assert "stream_options" not in upstream.requests[0].json()


async def test_a_route_that_rewrites_asks_too_and_its_client_sees_no_usage() -> None:
    rewriting = """
from gateway.plugin import Plugin, TextDelta

class Counts(Plugin):
    needs_usage = True

    async def transform(self, exchange, events):
        async for event in events:
            yield TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event
"""
    async with ScriptedUpstream(answers) as upstream:
        async with running_gateway(config(upstream.url, plugin=True), plugins={"counts": rewriting}) as gateway:
            body = await ask(gateway)
        assert b"HE" in body and b"usage" not in body
        assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}


async def test_observers_see_the_usage_that_the_client_does_not() -> None:
    watching = """
from gateway.plugin import Plugin, Usage

class Counts(Plugin):
    needs_usage = True

    def observe(self, exchange, event):
        if isinstance(event, Usage):
            self.services.log.info("seen", tokens=event.prompt_tokens)
"""
    async with ScriptedUpstream(answers) as upstream:
        async with running_gateway(config(upstream.url, plugin=True), plugins={"counts": watching}) as gateway:
            assert await ask(gateway) == stream(asked=False)
            assert {line["tokens"] for line in gateway.events("seen")} == {7}


async def test_a_stream_that_comes_byte_by_byte_loses_the_same_bytes() -> None:
    events = reply_sse([Send(b"")])[0]
    assert isinstance(events, Send)
    body = stream(asked=True)
    async with ScriptedUpstream(
        [events, Send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), each_byte=True)]
    ) as upstream:
        async with running_gateway(config(upstream.url, ledger=True)) as gateway:
            assert await ask(gateway) == stream(asked=False)


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b'data: {"a":1,"usage":null}\n\n', b'data: {"a":1}\n\n'),
        (b'data: {"a":1, "usage": null, "b":2}\r\n\r\n', b'data: {"a":1, "b":2}\r\n\r\n'),
        (b'data: {"usage":null,"a":1.0}\n\n', b'data: {"a":1.0}\n\n'),
        (b'data: {"a":"\\"usage\\":null"}\n\n', b'data: {"a":"\\"usage\\":null"}\n\n'),
        (b'data: {"x":{"b":1,"usage":null}}\n\n', b'data: {"x":{"b":1,"usage":null}}\n\n'),
        (b'data: {"x":{"b":1,"usage":null},"usage":null,"c":1.0}\n\n', b'data: {"x":{"b":1,"usage":null},"c":1.0}\n\n'),
        (b'data: {"a":1,"usage":{"prompt_tokens":1}}\n\n', b'data: {"a":1,"usage":{"prompt_tokens":1}}\n\n'),
        (b'data: "usage" no json\n\n', b'data: "usage" no json\n\n'),
        (b": usage\n\n", b": usage\n\n"),
    ],
)
def test_only_the_chunks_own_null_goes(event: bytes, left: bytes) -> None:
    assert without_null_usage(event) == left


LIMITED_KEY = """
from gateway.plugin import Plugin, Principal, Rate

class Counts(Plugin):
    async def identify(self, request):
        return Principal("ann", limits={"tokens": Rate(1000, 86400.0)} if "x-limited" in request.headers else {})
"""


async def test_a_limit_of_tokens_beside_the_key_asks_for_the_usage_of_that_key_alone() -> None:
    async with (
        ScriptedUpstream(answers) as upstream,
        running_gateway(config(upstream.url, plugin=True), plugins={"counts": LIMITED_KEY}) as gateway,
    ):
        for headers, asked in (({"x-limited": "1"}, True), ({}, False)):
            body = {"model": "m", "stream": True, "messages": []}
            answer = await gateway.post(CHAT, body, headers=headers)
            assert answer.body == stream(asked=False)
            assert ("stream_options" in upstream.requests[-1].json()) is asked
