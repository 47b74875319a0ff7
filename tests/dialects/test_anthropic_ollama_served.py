"""The official anthropic and ollama packages against a running gateway whose upstream speaks the other's dialect."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import ollama
import pytest

from gateway.testing import ScriptedUpstream, reply_bytes, reply_json, running_gateway

AT = "2026-11-01T10:00:00Z"
NDJSON = [("content-type", "application/x-ndjson")]
SSE = [("content-type", "text/event-stream")]


def config(dialect: str, upstream: ScriptedUpstream, model: str = "up") -> str:
    provider = f'{{dialect: {dialect}, base_url: "{upstream.url}", api_key: key-of-up-0001}}'
    return f"version: 1\nproviders:\n  up: {provider}\nroutes:\n  - {{name: r, targets: [up/{model}]}}\n"


def line(message: dict[str, Any], **members: Any) -> bytes:
    said = {"role": "assistant", "content": "", **message}
    return json.dumps({"model": "up", "created_at": AT, "message": said, "done": False} | members).encode() + b"\n"


def sse(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


OLLAMA_STREAM = (
    line({"thinking": "hm"})
    + line({"content": "Grüße "})
    + line({"content": "🌍"})
    + line({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]})
    + line({}, done=True, done_reason="stop", prompt_eval_count=7, eval_count=9)
)
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "up",
    "content": [],
    "stop_reason": None,
}
USAGE = {"input_tokens": 7, "output_tokens": 9}
ANTHROPIC_STREAM = (
    sse("message_start", message=MESSAGE | {"usage": {"input_tokens": 7, "output_tokens": 1}})
    + sse("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "Grüße "})
    + sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "🌍"})
    + sse("content_block_stop", index=0)
    + sse("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE)
    + sse("message_stop")
)


async def test_the_anthropic_package_streams_from_an_ollama_upstream() -> None:
    async with (
        ScriptedUpstream([reply_bytes(OLLAMA_STREAM, 200, NDJSON)]) as upstream,
        running_gateway(config("ollama", upstream)) as gateway,
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client,
    ):
        tools: Any = [{"name": "f", "input_schema": {"type": "object"}}]
        question: Any = [{"role": "user", "content": "hi"}]
        async with client.messages.stream(model="asked", max_tokens=50, messages=question, tools=tools) as stream:
            message = await stream.get_final_message()
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
        assert message.content[1].to_dict()["text"] == "Grüße 🌍"
        assert message.content[2].to_dict()["input"] == {"a": 1}
        assert (message.stop_reason, message.model) == ("tool_use", "asked")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 9)
        sent = upstream.requests[0].json()
        assert (sent["model"], sent["stream"], sent["options"]) == ("up", True, {"num_predict": 50})


async def test_the_anthropic_package_raises_what_an_ollama_upstream_refuses() -> None:
    refusal = reply_json({"error": "model 'up' not found"}, 404)
    async with (
        ScriptedUpstream([refusal]) as upstream,
        running_gateway(config("ollama", upstream)) as gateway,
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.NotFoundError, match="model 'up' not found"):
            await client.messages.create(model="asked", max_tokens=5, messages=[{"role": "user", "content": "hi"}])


async def test_the_ollama_package_chats_with_an_anthropic_upstream() -> None:
    async with (
        ScriptedUpstream([reply_bytes(ANTHROPIC_STREAM, 200, SSE)]) as upstream,
        running_gateway(config("anthropic", upstream)) as gateway,
    ):
        client = ollama.AsyncClient(host=gateway.url)
        parts = [part async for part in await client.chat("asked", [{"role": "user", "content": "hi"}], stream=True)]
        assert "".join(part.message.content or "" for part in parts) == "Grüße 🌍"
        assert (parts[-1].done_reason, parts[-1].prompt_eval_count, parts[-1].eval_count) == ("stop", 7, 9)
        assert ("anthropic-version", "2023-06-01") in [
            (name.lower(), value) for name, value in upstream.requests[0].headers
        ]


async def test_the_ollama_package_generates_with_an_anthropic_upstream() -> None:
    answer = MESSAGE | {"content": [{"type": "text", "text": "because"}], "stop_reason": "end_turn", "usage": USAGE}
    async with (
        ScriptedUpstream([reply_json(answer)]) as upstream,
        running_gateway(config("anthropic", upstream)) as gateway,
    ):
        got = await ollama.AsyncClient(host=gateway.url).generate("asked", "why?", system="brief", stream=False)
        assert (got.response, got.done_reason, got.eval_count) == ("because", "stop", 9)
        sent = upstream.requests[0].json()
        assert sent["messages"] == [{"role": "user", "content": "why?"}]
        assert sent["system"] == [{"type": "text", "text": "brief"}]


@pytest.mark.parametrize(
    ("signature", "model", "kept"),
    [("", "claude-sonnet-4-5", False), ("EqQBCg==", "claude-sonnet-4-5", True), ("", "kimi-k2", True)],
)
async def test_thinking_of_another_vendor_does_not_go_to_claude(signature: str, model: str, kept: bool) -> None:
    answer = MESSAGE | {"content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", "usage": USAGE}
    block = {"type": "thinking", "thinking": "x", "signature": signature}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "r"},
    ]
    async with (
        ScriptedUpstream([reply_json(answer)]) as upstream,
        running_gateway(config("anthropic", upstream, model)) as gateway,
    ):
        got = await gateway.post("/v1/messages", {"model": "asked", "max_tokens": 5, "messages": history})
        assert got.status == 200
        assert ("thinking" in json.dumps(upstream.requests[0].json()["messages"][1])) is kept
        assert got.headers.get("x-gateway-dropped") == (None if kept else "thinking")
