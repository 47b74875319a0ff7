"""The echo answers on every path as the real provider's packages read it."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount
from ollama import ChatResponse, EmbedResponse, GenerateResponse, ShowResponse
from openai.types import Completion, CreateEmbeddingResponse, ModerationCreateResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from gateway.chat import Stop, TextDelta, ToolCallDelta, Usage
from gateway.dialects.endpoints import ENDPOINTS
from gateway.dialects.table import DIALECTS
from gateway.errors import UpstreamError
from gateway.upstream.echo import EchoTransport
from gateway.upstream.echo_words import tokens
from tests.upstream.kit import Collector, soon
from tests.upstream.kit import post as request_of

SAID = "The quick brown fox."
MESSAGES = [
    {"role": "user", "content": "before"},
    {"role": "assistant", "content": "x"},
    {"role": "user", "content": SAID},
]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "days", "unit"],
}
OPENAI_TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}

CHATS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": MESSAGES}, {"max_tokens": 2}),
    "openai_responses": ("/v1/responses", {"input": MESSAGES}, {"max_output_tokens": 2}),
    "anthropic": ("/v1/messages", {"messages": MESSAGES, "max_tokens": 100}, {"max_tokens": 2}),
    "ollama": ("/api/chat", {"messages": MESSAGES, "stream": False}, {"options": {"num_predict": 2}}),
    "ollama_generate": ("/api/generate", {"prompt": SAID, "stream": False}, {"options": {"num_predict": 2}}),
}
FORCED: dict[str, dict[str, Any]] = {
    "openai_chat": {"tools": [OPENAI_TOOL], "tool_choice": "required"},
    "openai_responses": {
        "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}],
        "tool_choice": {"type": "function", "name": "weather"},
    },
    "anthropic": {
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "weather"},
    },
}
TYPES: dict[str, Any] = {
    "openai_chat": ChatCompletion, "openai_responses": Response, "anthropic": Message, "ollama": ChatResponse,
    "ollama_generate": GenerateResponse,
}  # fmt: skip


async def call(path: str, body: Any, transport: EchoTransport | None = None, method: str = "POST") -> tuple[int, Any]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = request_of(sent, path, method=method)
    async with (transport or EchoTransport()).send(request, deadline=soon()) as response:
        assert response.headers["content-type"] == "application/json"
        return response.status, json.loads(await response.read(1 << 20))


async def chat(dialect: str, **extra: Any) -> Any:
    path, body, _ = CHATS[dialect]
    status, answer = await call(path, {"model": "echo", **body, **extra})
    assert status == 200, answer
    TYPES[dialect].model_validate(answer)
    return DIALECTS[dialect].parse_reply(json.dumps(answer).encode())


async def events(dialect: str, **extra: Any) -> tuple[list[bytes], list[Any]]:
    path, body, _ = CHATS[dialect]
    sent = json.dumps({"model": "echo", **body, "stream": True, **extra}).encode()
    async with EchoTransport().send(request_of(sent, path), deadline=soon()) as response:
        assert response.status == 200
        assert response.headers["content-type"] == DIALECTS[dialect].stream_type
        sink = Collector()
        response.start(sink)
        assert await sink.ended() is None
    parser = DIALECTS[dialect].stream_parser()
    return sink.chunks, parser.feed(sink.body) + parser.end()


@pytest.mark.parametrize("dialect", CHATS)
async def test_a_plain_answer_says_what_the_user_said_last_and_counts_it(dialect: str) -> None:
    reply = await chat(dialect)
    assert [part.text for part in reply.parts] == [SAID]
    assert (reply.stop, reply.model, reply.usage.completion_tokens) == ("stop", "echo", 4)
    assert reply.usage.prompt_tokens == (4 if dialect == "ollama_generate" else 6)


@pytest.mark.parametrize("dialect", CHATS)
async def test_a_stream_brings_it_word_by_word_with_usage_and_a_stop(dialect: str) -> None:
    extra = {"stream_options": {"include_usage": True}} if dialect == "openai_chat" else {}
    chunks, found = await events(dialect, **extra)
    words = [event.text for event in found if isinstance(event, TextDelta) and event.text]
    assert words == ["The", " quick", " brown", " fox."]
    assert len(chunks) > 4
    assert [event.reason for event in found if isinstance(event, Stop)] == ["stop"]
    usage = [event for event in found if isinstance(event, Usage)][-1]
    assert usage.completion_tokens == 4
    scanner, framer = DIALECTS[dialect].scanner(), DIALECTS[dialect].framer()
    for event in framer.feed(b"".join(chunks)):
        scanner.see(event)
    assert scanner.finished
    assert scanner.terminated


@pytest.mark.parametrize("dialect", CHATS)
async def test_max_tokens_cuts_and_says_length(dialect: str) -> None:
    limit = CHATS[dialect][2]
    reply = await chat(dialect, **limit)
    assert [part.text for part in reply.parts] == ["The quick"]
    assert (reply.stop, reply.usage.completion_tokens) == ("length", 2)
    _, found = await events(dialect, **limit)
    assert [event.reason for event in found if isinstance(event, Stop)] == ["length"]


@pytest.mark.parametrize("dialect", FORCED)
async def test_a_forced_tool_is_called_with_arguments_that_fit(dialect: str) -> None:
    reply = await chat(dialect, **FORCED[dialect])
    (made,) = [part for part in reply.parts if type(part).__name__ == "ToolCall"]
    assert made.name == "weather"
    assert json.loads(made.arguments) == {"city": SAID, "days": 0, "unit": "c"}
    assert reply.stop == "tool_calls"
    _, found = await events(dialect, **FORCED[dialect])
    deltas = [event for event in found if isinstance(event, ToolCallDelta)]
    assert deltas[0].name == "weather"
    assert json.loads("".join(delta.arguments for delta in deltas)) == {"city": SAID, "days": 0, "unit": "c"}
    assert [event.reason for event in found if isinstance(event, Stop)] == ["tool_calls"]


async def test_after_a_tool_result_the_result_is_said_so_that_loops_end() -> None:
    asked = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    reply = await chat("openai_chat", messages=messages, **FORCED["openai_chat"])
    assert [part.text for part in reply.parts] == ["sunny"]


async def test_structured_output_fits_its_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    reply = await chat("openai_chat", response_format=form)
    assert json.loads(reply.parts[0].text) == {"city": SAID, "days": 0, "unit": "c"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number"}, 1),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "number", "minimum": 0}, 0),
        ({"type": "integer"}, 0),
        ({"type": "array", "items": {"type": "string"}}, ["one", "two"]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["one"]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 3}, ["one", "two", "one"]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "array", "items": {"enum": ["a"]}}, ["a"]),
    ],
)
async def test_structured_output_says_a_list_line_by_line_and_is_sure_of_a_number(schema: Any, value: Any) -> None:
    whole = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": whole}}
    reply = await chat("openai_chat", response_format=form, messages=[{"role": "user", "content": "one\n two\n"}])
    assert json.loads(reply.parts[0].text) == {"x": value}


async def test_a_stop_sequence_ends_the_answer() -> None:
    reply = await chat("anthropic", stop_sequences=["brown", "zzz"])
    assert reply.parts[0].text == "The quick "
    assert (reply.stop, reply.stop_sequence) == ("stop", "brown")


def test_tokens_join_to_the_text_and_are_short() -> None:
    for text in ("", "one", " a  b\n\nc ", "x" * 50, "日本語" * 10):
        assert "".join(tokens(text)) == text
        assert all(len(token.strip()) <= 16 for token in tokens(text))


async def test_token_counts_are_the_chats_own() -> None:
    status, counted = await call("/v1/messages/count_tokens", {"model": "echo", "messages": [MESSAGES[-1]]})
    MessageTokensCount.model_validate(counted)
    assert (status, counted["input_tokens"] >= 4) == (200, True)
    status, counted = await call("/v1/responses/input_tokens", {"model": "echo", "input": SAID})
    assert (status, counted) == (200, {"object": "response.input_tokens", "input_tokens": 4})


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2], [[1, 2], [3]]])
async def test_embeddings_are_unit_vectors_in_either_encoding(given: Any) -> None:
    status, answer = await call("/v1/embeddings", {"model": "e", "input": given, "dimensions": 8})
    CreateEmbeddingResponse.model_validate(answer)
    vector = answer["data"][0]["embedding"]
    assert (status, len(vector)) == (200, 8)
    assert sum(value * value for value in vector) == pytest.approx(1)
    again = (await call("/v1/embeddings", {"input": given, "dimensions": 8, "encoding_format": "base64"}))[1]
    packed = base64.b64decode(again["data"][0]["embedding"])
    assert struct.unpack("<8f", packed) == pytest.approx(vector)


async def test_ollamas_other_paths_answer() -> None:
    embedded = (await call("/api/embed", {"model": "e", "input": ["a", "b"]}))[1]
    assert len(EmbedResponse.model_validate(embedded).embeddings) == 2
    assert len((await call("/api/embeddings", {"model": "e", "prompt": "a"}))[1]["embedding"]) > 0
    shown = ShowResponse.model_validate((await call("/api/show", {"model": "e"}))[1])
    assert "tools" in (shown.capabilities or [])


async def test_legacy_completions_answer_plain_and_streamed() -> None:
    status, answer = await call("/v1/completions", {"model": "e", "prompt": ["a b c", "d"], "max_tokens": 2})
    texts = [(choice.text, choice.finish_reason) for choice in Completion.model_validate(answer).choices]
    assert (status, texts) == (200, [("a b", "length"), ("d", "stop")])
    body = {"model": "e", "prompt": "a b", "stream": True, "stream_options": {"include_usage": True}}
    request = request_of(json.dumps(body).encode(), "/v1/completions")
    async with EchoTransport().send(request, deadline=soon()) as response:
        assert response.headers["content-type"] == "text/event-stream"
        lines = (await response.read(10_000)).split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    last = json.loads(lines[-3].removeprefix(b"data: "))
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


async def test_moderations_and_rerank_answer() -> None:
    moderated = (await call("/v1/moderations", {"input": "x"}))[1]
    assert ModerationCreateResponse.model_validate(moderated).results[0].flagged is False
    ranked = (await call("/v1/rerank", {"query": "red fox", "documents": ["blue", "a red fox", {"text": "red"}]}))[1]
    assert [each["index"] for each in ranked["results"]] == [1, 2, 0]


@pytest.mark.parametrize(
    ("path", "body", "status", "read"),
    [
        ("/v1/images/generations", {}, 404, lambda answer: answer["error"]["code"]),
        ("/v1/audio/speech", {}, 404, lambda answer: answer["error"]["code"]),
        ("/v1/messages/batches", {}, 404, lambda answer: answer["error"]["type"]),
        ("/nowhere", {}, 404, lambda answer: answer["error"]["message"]),
        ("/v1/chat/completions", b"{", 400, lambda answer: answer["error"]["code"]),
        ("/v1/messages", {"model": "m"}, 400, lambda answer: answer["error"]["type"]),
        ("/api/chat", b"[]", 400, lambda answer: answer["error"]),
        ("/v1/embeddings", {"model": "m"}, 400, lambda answer: answer["error"]["param"]),
    ],
)
async def test_what_it_cannot_do_is_an_error_in_the_paths_dialect(
    path: str, body: Any, status: int, read: Callable[[Any], Any]
) -> None:
    got, answer = await call(path, body)
    assert (got, bool(read(answer))) == (status, True)


async def test_a_wrong_method_is_405() -> None:
    assert (await call("/v1/chat/completions", {}, method="GET"))[0] == 405


def test_every_endpoint_of_the_table_has_an_answer_or_a_clear_refusal() -> None:
    for endpoint in ENDPOINTS:
        status, _, _ = EchoTransport().answer(request_of(path=endpoint.path), b'{"model": "m"}')
        assert status in (200, 400, 404), endpoint.name


@pytest.mark.parametrize(("dialect", "status"), [("openai_chat", 503), ("anthropic", 529), ("ollama", 503)])
async def test_it_fails_exactly_as_often_as_it_is_told_to(dialect: str, status: int) -> None:
    drawn = iter([0.0, 0.29, 0.3, 0.99])
    transport = EchoTransport(fail=0.3, random=lambda: next(drawn))
    path, body, _ = CHATS[dialect]
    got = [(await call(path, {"model": "echo", **body}, transport))[0] for _ in range(4)]
    assert got == [status, status, 200, 200]


async def test_a_delay_is_waited_before_the_answer_and_bounded_by_the_deadline() -> None:
    path, body, _ = CHATS["openai_chat"]
    sent = request_of(json.dumps({"model": "m", **body}).encode(), path)
    with pytest.raises(UpstreamError) as caught:
        async with EchoTransport(delay_s=60).send(sent, deadline=soon(0.02)):
            pass
    assert caught.value.kind == "timeout"


async def test_a_delay_is_waited_between_the_words_of_a_stream() -> None:
    path, body, _ = CHATS["openai_chat"]
    sent = request_of(json.dumps({"model": "m", "stream": True, **body}).encode(), path)
    async with EchoTransport(delay_s=0.03).send(sent, deadline=soon()) as response:
        sink = Collector()
        response.start(sink)
        await sink.changed()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(sink.chunks) == 1
        assert await sink.ended() is None
        assert len(sink.chunks) > 4


async def test_pause_stops_a_stream_and_abort_ends_it_silently() -> None:
    path, _, _ = CHATS["openai_chat"]
    long = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "word " * 5000}]}
    async with EchoTransport().send(request_of(json.dumps(long).encode(), path), deadline=soon()) as response:
        sink = Collector()
        response.start(sink)
        await sink.changed()
        response.pause()
        for _ in range(5):
            await asyncio.sleep(0)
        stopped_at = len(sink.chunks)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(sink.chunks) == stopped_at < 5000
        response.resume()
        while len(sink.chunks) < stopped_at + 100:
            await sink.changed()
        response.abort()
        stopped_at = len(sink.chunks)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (len(sink.chunks), sink.ends) == (stopped_at, [])


async def test_the_same_clock_gives_the_same_time_but_never_the_same_id() -> None:
    transport = EchoTransport(clock=lambda: 1_800_000_000.0)
    path, body, _ = CHATS["openai_chat"]
    first = (await call(path, {"model": "m", **body}, transport))[1]
    second = (await call(path, {"model": "m", **body}, transport))[1]
    assert first["created"] == second["created"] == 1_800_000_000
    assert first["id"] != second["id"]
