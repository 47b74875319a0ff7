"""Messages requests: read into neutral words, given back whole, refused by the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.chat import (
    OutputFormat,
)
from gateway.errors import BadRequest
from tests.dialects.messages_requests import (
    DIALECT,
    parse,
    render,
    result,
    user,
)

EVERYTHING: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "image", "source": {"type": "hologram", "x": 1}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                    "title": "t",
                    "context": "c",
                    "citations": {"enabled": True},
                },
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
                {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
                {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
                {
                    "type": "search_result",
                    "source": "https://x",
                    "title": "found",
                    "content": [{"type": "text", "text": "body"}],
                    "citations": {"enabled": False},
                },
                {"type": "container_upload", "file_id": "f"},
            ],
        },
        {"role": "system", "content": "from now on in French"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "  hm\n", "signature": "EqQ+/=="},
                {"type": "redacted_thinking", "data": "b64+/=="},
                {"type": "text", "text": "so", "citations": [{"type": "char_location", "cited_text": "x"}]},
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1.0, "a": 12345678901234567890}},
                {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}, "caller": {"type": "direct"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1", "is_error": True},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        {"type": "tool_reference", "tool_name": "h"},
                    ],
                    "cache_control": {"type": "ephemeral"},
                },
                {"type": "text", "text": "go on"},
            ],
        },
    ],
    "stream": True,
    "tools": [
        {
            "name": "f",
            "description": "d",
            "input_schema": {"type": "object", "$defs": {"x": {"enum": [1.0, None]}}, "additionalProperties": False},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
            "defer_loading": True,
            "input_examples": [{"a": 1}],
            "eager_input_streaming": False,
        },
        {"name": "g", "input_schema": {"type": "object"}, "strict": False},
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 3},
        {"type": "bash_20250124", "name": "bash"},
    ],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "stop_sequences": ["END", " "],
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}, "new": 1},
    "metadata": {"user_id": "someone@example.com", "new": 2},
    "service_tier": "standard_only",
    "cache_control": {"type": "ephemeral"},
    "container": {"id": "c"},
    "context_management": {"edits": []},
    "inference_geo": "eu",
    "speed": "fast",
    "mcp_servers": [{"type": "url"}],
    "unheard_of": {"deep": [1.0, 2e30]},
}


def test_a_messages_request_is_given_back_whole() -> None:
    rendered = render(DIALECT.parse_request(json.dumps(EVERYTHING).encode()), "claude-x")
    assert json.loads(rendered.body) == EVERYTHING
    assert rendered.dropped == () and rendered.headers == {}, "the client's own version goes upstream"
    assert b'"b":1.0' in rendered.body and b"12345678901234567890" in rendered.body


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "adaptive"},
        {"type": "adaptive", "display": "summarized"},
        {"type": "disabled"},
        {"type": "between_tools"},
        {"type": "hologram", "x": 1},
        None,
    ],
)
@pytest.mark.parametrize("config", [None, {"effort": "low"}])
def test_every_way_to_think_is_given_back(thinking: Any, config: Any) -> None:
    members = {"thinking": thinking, "output_config": config}
    wire = json.loads(render(parse(**members), "m").body)
    assert (wire.get("thinking"), wire.get("output_config")) == (thinking, config)


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "f"}])
@pytest.mark.parametrize("serial", [{}, {"disable_parallel_tool_use": True}])
def test_every_tool_choice_is_given_back(choice: dict[str, Any], serial: dict[str, Any]) -> None:
    serial = serial if choice["type"] != "none" else {}
    wire = json.loads(render(parse(tools=[{"name": "f", "input_schema": {}}], tool_choice=choice | serial), "m").body)
    assert wire["tool_choice"] == choice | serial


def test_results_come_before_other_parts_and_apart_in_neutral_words() -> None:
    content = [
        {"type": "text", "text": "first"},
        {"type": "tool_result", "tool_use_id": "a"},
        {"type": "tool_result", "tool_use_id": "b", "content": "x", "is_error": True},
    ]
    messages = parse(messages=[{"role": "user", "content": content}]).messages
    assert messages == (result("a"), result("b", "x", is_error=True), user("first"))


def test_legacy_output_format_is_understood() -> None:
    chat = parse(output_format={"type": "json_schema", "schema": {"type": "object"}})
    assert chat.output == OutputFormat(kind="json_schema", schema='{"type":"object"}')
    assert json.loads(render(chat, "m").body)["output_config"]["format"]["schema"] == {"type": "object"}


def test_leading_assistant_and_consecutive_turns_stay_as_they_are() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b "}]
    assert json.loads(render(parse(messages=messages), "m").body)["messages"] == messages


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 3000, None),
        (b'{"messages":[]}', "model"),
        (b'{"model":7,"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":{}}', "messages"),
        (b'{"model":"m","messages":[1]}', "messages"),
        (b'{"model":"m","messages":[{"role":"user"}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"robot","content":""}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":7}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}', "messages[0].content[0].type"),
        (
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":7}]}]}',
            "messages[0].content[0].text",
        ),
        (b'{"model":"m","messages":[{"role":"user","content":[{"type":"image"}]}]}', "messages[0].content[0].source"),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', None),
        (b'{"model":"m","messages":[],"max_tokens":"x"}', "max_tokens"),
        (b'{"model":"m","messages":[],"max_tokens":1.5}', "max_tokens"),
        (b'{"model":"m","messages":[],"temperature":1e999}', "temperature"),
        (b'{"model":"m","messages":[],"stop_sequences":[1]}', "stop_sequences"),
        (b'{"model":"m","messages":[],"tools":[{"type":"custom"}]}', "tools[0].name"),
        (b'{"model":"m","messages":[],"tool_choice":"auto"}', "tool_choice"),
        (b'{"model":"m","messages":[],"tool_choice":{"type":"x"}}', "tool_choice.type"),
        (b'{"model":"m","messages":[],"system":7}', "system"),
        (b'{"model":"m","messages":[],"thinking":1}', "thinking"),
        (b'{"model":"m","messages":[],"stream":"yes"}', "stream"),
    ],
)
def test_odd_requests_are_refused_by_the_name_of_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        DIALECT.parse_request(body)
    assert caught.value.param == param
    assert param is None or param in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("depth", [100, 400, 700, 800, 850, 900, 920, 940, 960, 980, 1000, 5000])
def test_json_of_any_depth_is_taken_or_refused(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    body = b'{"model":"m","messages":[{"role":"user","content":[{"type":"new","x":' + deep + b'}]}],"y":' + deep + b"}"
    try:
        render(DIALECT.parse_request(body))
    except BadRequest as error:
        assert error.message


@given(st.dictionaries(st.sampled_from(sorted(EVERYTHING)), JSON, max_size=4))
def test_random_json_in_any_field_is_taken_or_refused(members: dict[str, Any]) -> None:
    try:
        render(DIALECT.parse_request(json.dumps(EVERYTHING | members).encode()))
    except BadRequest as error:
        assert error.message


@given(
    st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result", "new"]),
    st.data(),
)
def test_random_json_in_any_block_is_taken_or_refused(kind: str, data: st.DataObject) -> None:
    keys = (
        "text",
        "source",
        "input",
        "id",
        "name",
        "content",
        "citations",
        "signature",
        "thinking",
        "is_error",
        "title",
    )
    block = data.draw(st.dictionaries(st.sampled_from(keys), JSON, max_size=5)) | {"type": kind}
    try:
        parsed = parse(messages=[{"role": "user", "content": [block]}])
    except BadRequest as error:
        assert error.message
    else:
        render(parsed)
        render(replace(parsed, dialect="openai_chat"))
