"""Ollama requests: read into neutral words, given back whole, refused by the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.chat import (
    Image,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gateway.dialects.protocol import Target
from gateway.errors import BadRequest
from tests.dialects.ollama_requests import CHAT, GENERATE, PNG, body_of, parse, render

EVERYTHING: dict[str, Any] = {
    "model": "t",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "look", "images": [PNG]},
        {
            "role": "assistant",
            "content": "so",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"b": 1.0, "a": 12345678901234567890}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "c1"},
        {"role": "tool", "content": "2", "tool_name": "g", "tool_call_id": "c2"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "$defs": {"x": {"enum": [1.0, None]}}},
                "new": 1,
            },
        }
    ],
    "stream": True,
    "format": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "think": "high",
    "options": {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "num_predict": 9,
        "seed": 3,
        "stop": ["a"],
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "num_ctx": 100,
        "mirostat": 2,
        "unheard_of": {"deep": 1.0},
    },
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 3,
    "unheard_of": [1],
}


def test_a_chat_request_is_given_back_whole() -> None:
    rendered = render(CHAT.parse_request(json.dumps(EVERYTHING).encode()))
    assert json.loads(rendered.body) == EVERYTHING
    assert rendered.dropped == () and b'"b":1.0' in rendered.body and b"12345678901234567890" in rendered.body


def test_a_generate_request_is_given_back_whole() -> None:
    asked = {
        "model": "t",
        "prompt": "why",
        "suffix": "x",
        "system": "s",
        "template": "t",
        "context": [1, 2],
        "raw": True,
        "images": [PNG],
        "stream": False,
        "format": "json",
        "think": False,
        "options": {"num_ctx": 3},
        "keep_alive": 0,
    }
    chat = GENERATE.parse_request(json.dumps(asked).encode())
    rendered = GENERATE.render_request(chat, Target(model="t"))
    assert json.loads(rendered.body) == asked and rendered.dropped == ()
    assert render(chat).dropped == ("suffix", "template", "context", "raw")


def test_an_absent_stream_means_yes() -> None:
    assert parse().stream and parse(stream=None).stream and not parse(stream=False).stream


def test_results_find_their_calls_by_name_and_order_when_there_are_no_ids() -> None:
    calls: list[Any] = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g", "f")]
    results = [
        {"role": "tool", "tool_name": name, "content": text} for name, text in (("g", "2"), ("f", "1"), ("f", "3"))
    ]
    messages = parse(messages=[{"role": "assistant", "tool_calls": calls}, *results]).messages
    ids = [part.id for part in messages[0].parts if isinstance(part, ToolCall)]
    assert ids == ["call_0", "call_1", "call_2"]
    found = {
        part.call_id: part.parts for message in messages[1:] for part in message.parts if isinstance(part, ToolResult)
    }
    assert [found[id] for id in ids] == [(Text(text="1"),), (Text(text="2"),), (Text(text="3"),)]


def test_a_result_without_a_name_belongs_to_the_first_open_call() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"a": 1}'}}]
    messages = parse(messages=[{"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": "1"}]).messages
    assert messages[0].parts == (ToolCall(id="call_0", name="f", arguments='{"a": 1}'),)
    assert messages[1].parts == (ToolResult(call_id="call_0", parts=(Text(text="1"),), name="f"),)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        ("/9j/4AAQ", "image/jpeg"),
        ("R0lGODlh", "image/gif"),
        ("UklGRg==", "image/webp"),
        ("data:image/bmp;base64,Qk0=", "image/bmp"),
    ],
)
def test_images_are_known_by_their_first_bytes(data: str, kind: str) -> None:
    image = parse(messages=[{"role": "user", "content": "", "images": [data]}]).messages[0].parts[0]
    assert isinstance(image, Image) and image.media_type == kind and image.data == data.rpartition(",")[2]


@pytest.mark.parametrize(
    ("think", "thinking"),
    [
        (True, Thinking(mode="adaptive")),
        (False, Thinking(mode="disabled")),
        ("low", Thinking(mode="effort", effort="low")),
        (None, None),
    ],
)
def test_every_way_to_think_is_read_and_given_back(think: Any, thinking: Thinking | None) -> None:
    request = parse(think=think)
    assert request.thinking == thinking and body_of(request).get("think") == think


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"messages":[]}', "model"),
        (b'{"model":"m","messages":7}', "messages"),
        (b'{"model":"m","messages":[{"role":"robot"}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":[1]}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"user","images":[1]}]}', "messages[0].images"),
        (b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{}]}]}', "messages[0].tool_calls[0].function"),
        (b'{"model":"m","tools":[{"type":"function","function":{}}]}', "tools[0].function.name"),
        (b'{"model":"m","options":7}', "options"),
        (b'{"model":"m","options":{"num_predict":"x"}}', "options.num_predict"),
        (b'{"model":"m","options":{"stop":[1]}}', "options.stop"),
        (b'{"model":"m","format":"yaml"}', "format"),
        (b'{"model":"m","think":7}', "think"),
        (b'{"model":"m","stream":"no"}', "stream"),
    ],
)
def test_odd_requests_are_refused_by_the_name_of_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.parse_request(body)
    assert caught.value.param == param and (param is None or param in caught.value.message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EVERYTHING, "prompt", "system", "images", "raw"]), JSON, max_size=4))
def test_random_json_in_any_field_is_taken_or_refused(members: dict[str, Any]) -> None:
    body = json.dumps(EVERYTHING | members).encode()
    for dialect in (CHAT, GENERATE):
        try:
            request = dialect.parse_request(body)
        except BadRequest as error:
            assert error.message
            continue
        dialect.render_request(request, Target(model="t"))
        dialect.render_request(replace(request, dialect="openai_chat"), Target(model="t"))


@given(
    st.dictionaries(
        st.sampled_from(["role", "content", "images", "tool_calls", "thinking", "tool_name", "x"]), JSON, max_size=6
    )
)
def test_random_json_in_any_message_is_taken_or_refused(message: dict[str, Any]) -> None:
    try:
        render(parse(messages=[message, {"role": "assistant", **message}, {"role": "tool", **message}]))
    except BadRequest as error:
        assert error.message
