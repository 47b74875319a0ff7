"""Any client, any target: each of the sixteen pairs answers, streamed and plain, through a real gateway."""

from __future__ import annotations

import json

import pytest

from gateway.testing import Gate, Reset, ScriptedUpstream, Send, reply_bytes, reply_json, running_gateway
from tests.relay.test_verbatim import NAMES, PATHS, PLAIN, STREAM_TYPES, STREAMS

DIALECTS = {"openai": "openai_chat", "anthropic": "anthropic", "responses": "openai_responses", "ollama": "ollama"}
ANSWER = {
    **PLAIN,
    "responses": {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": []}]}],
        "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
    },
}  # fmt: skip


def config(upstream: ScriptedUpstream, dialect: str) -> str:
    base = upstream.url + ("/v1" if dialect.startswith("openai") else "")
    return f"""
version: 1
plugins: [access_log]
providers: {{up: {{dialect: {dialect}, base_url: "{base}", api_key: key-of-up-0001}}}}
routes: [{{name: r, targets: [up/real-model], retry: {{attempts: 1}}}}]
"""


def ask(client: str, stream: bool) -> dict[str, object]:
    if client == "responses":
        return {"model": "asked", "input": "x", "stream": stream}
    body: dict[str, object] = {"model": "asked", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    return {**body, "max_tokens": 50} if client == "anthropic" else body


def text_of(client: str, answer: dict[str, object]) -> str:
    match client:
        case "openai":
            return answer["choices"][0]["message"]["content"]  # type: ignore[index]
        case "anthropic":
            return "".join(block["text"] for block in answer["content"])  # type: ignore[attr-defined]
        case "responses":
            return answer["output"][0]["content"][0]["text"]  # type: ignore[index]
        case _:
            return answer["message"]["content"]  # type: ignore[index]


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("client", NAMES)
async def test_plain_answer_is_the_clients_dialect(client: str, target: str) -> None:
    async with ScriptedUpstream(reply_json(ANSWER[target])) as upstream, running_gateway(config(upstream, DIALECTS[target])) as gateway:  # fmt: skip
        got = await gateway.post(PATHS[client], ask(client, False))
        assert got.status == 200, got.body
        answer = got.json()
        assert text_of(client, answer) == "hi"
        if client != target:
            assert answer["model"] == "asked"
        assert upstream.requests[0].json()["model"] == "real-model"
        await gateway.settled()
        line = gateway.events("request")[0]
        assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 1)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("client", NAMES)
async def test_stream_is_the_clients_dialect(client: str, target: str) -> None:
    answer = reply_bytes(STREAMS[target], 200, [("content-type", STREAM_TYPES[target])])
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream, DIALECTS[target])) as gateway:
        got = await gateway.post(PATHS[client], ask(client, True))
        assert got.status == 200, got.body
        end = {
            "openai": b"data: [DONE]\n\n",
            "anthropic": b'{"type":"message_stop"}\n\n',
            "responses": b"\n\n",
            "ollama": b"}\n",
        }[client]
        assert got.body.endswith(end)
        text = got.body.decode()
        assert "hé" in text or "h\\u00e9" in text
        if client == "responses":
            assert '"response.completed"' in text
        await gateway.settled()
        line = gateway.events("request")[0]
        assert (line["outcome"], line["prompt_tokens"], line["completion_tokens"]) == ("completed", 7, 2)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("client", NAMES)
async def test_cut_stream_never_ends_cleanly_in_any_pair(client: str, target: str) -> None:
    mark = b"\n" if target == "ollama" else b"\n\n"
    events = [part + mark for part in STREAMS[target].split(mark) if part]
    content = next(at for at, event in enumerate(events) if b"h\xc3\xa9" in event)
    sent = b"".join(events[: content + 1])
    gate = Gate()
    answer = [
        Send(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n\r\n" % STREAM_TYPES[target].encode() + sent),
        gate,
        Reset(),
    ]
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream, DIALECTS[target])) as gateway:
        async with gateway.session.post(gateway.url + PATHS[client], json=ask(client, True)) as response:
            got = await response.content.readany()
            gate.open()
            got += await response.content.read()
        assert b"[DONE]" not in got and b"message_stop" not in got and b'"done":true' not in got
        assert b'"response.completed"' not in got
        assert b"error" in got


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("client", NAMES)
async def test_refusal_is_the_clients_dialect(client: str, target: str) -> None:
    errors = {
        "openai": {"error": {"message": "no such thing", "type": "invalid_request_error", "param": "x", "code": "bad"}},
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}},
        "ollama": {"error": "no such thing"},
    }
    body = errors.get(target, errors["openai"])
    async with ScriptedUpstream([reply_json(body, 400)]) as upstream, running_gateway(config(upstream, DIALECTS[target])) as gateway:  # fmt: skip
        got = await gateway.post(PATHS[client], ask(client, False))
        assert got.status == 400
        answer = json.loads(got.body)
        shown = answer["error"] if client == "ollama" else answer["error"]["message"]
        assert shown == "no such thing"
        if client == "anthropic":
            assert answer["type"] == "error"
