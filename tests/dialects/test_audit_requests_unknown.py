"""G01: a member that no dialect knows, put anywhere into a request, is reported and never sent to another dialect.

Each body below has one object of every kind its dialect knows; the member goes into each of them in turn.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.dialects.protocol import Target
from gateway.dialects.table import DIALECTS

PNG = "iVBORw0KGgo="
MARK = "zz_unknown"
PLACES_OF_THEIR_OWN = frozenset(("input_schema", "parameters", "schema", "arguments", "logit_bias"))
"""Where any member is the client's own and travels as it is."""
Path = tuple[str | int, ...]

IMAGE_URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
AUDIO = {"type": "input_audio", "input_audio": {"format": "wav", "data": "AA"}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USER = [{"role": "user", "content": "q"}]
B64 = {"type": "base64", "media_type": "image/png", "data": PNG}
TEXT_SOURCE = {"type": "text", "media_type": "text/plain", "data": "t"}
FLAT_FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}

BODIES: dict[str, list[dict[str, Any]]] = {
    "openai_chat": [
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s"}]},
                {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE_URL, FILE, AUDIO]},
                {"role": "developer", "content": "mid"},
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "no"}],
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "c2", "type": "custom", "custom": {"name": "z", "input": "i"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "r"}]},
                {"role": "tool", "tool_call_id": "c2", "content": "r2"},
                *USER,
            ],
            "tools": [FUNCTION, {"type": "custom", "custom": {"name": "z"}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "stream_options": {"include_usage": True},
        },
        {"messages": USER, "tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {
            "messages": USER,
            "tools": [FUNCTION],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            "response_format": {"type": "json_object"},
        },
        {
            "messages": [
                *USER,
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "x"},
            ],
            "functions": [{"name": "f", "parameters": {"type": "object"}}],
            "function_call": {"name": "f"},
        },
    ],
    "anthropic": [
        {
            "max_tokens": 4096,
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image", "source": B64},
                        {"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}},
                        {"type": "document", "source": {**B64, "media_type": "application/pdf"}},
                        {"type": "document", "source": TEXT_SOURCE},
                        {
                            "type": "document",
                            "source": {"type": "content", "content": [{"type": "text", "text": "z"}]},
                        },
                        {
                            "type": "search_result",
                            "source": "x",
                            "title": "t",
                            "content": [{"type": "text", "text": "y"}],
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "sig"},
                        {"type": "redacted_thinking", "data": "x"},
                        {"type": "text", "text": "b"},
                        {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [{"type": "text", "text": "y"}, {"type": "image", "source": B64}],
                        }
                    ],
                },
                {"role": "system", "content": "mid"},
                *USER,
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "tool", "name": "f"},
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        },
        {
            "max_tokens": 9,
            "messages": USER,
            "thinking": {"type": "adaptive"},
            "output_format": {"type": "json_schema", "schema": {"type": "object"}},
        },
        {"max_tokens": 9, "messages": USER, "thinking": {"type": "disabled"}},
    ],
    "openai_responses": [
        {
            "instructions": "i",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "a"},
                        {"type": "input_image", "image_url": "data:image/png;base64," + PNG},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
                        AUDIO,
                    ],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "id": "m1",
                    "status": "completed",
                    "content": [
                        {"type": "output_text", "text": "b", "annotations": []},
                        {"type": "refusal", "refusal": "no"},
                    ],
                },
                {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "custom_tool_call", "id": "ct_1", "call_id": "c2", "name": "z", "input": "i"},
                {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "r"}]},
                {"type": "custom_tool_call_output", "call_id": "c2", "output": "r2"},
                {"role": "developer", "content": "mid"},
                *USER,
            ],
            "tools": [FLAT_FUNCTION, {"type": "custom", "name": "z"}],
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        },
        {
            "input": "x",
            "text": {"format": {"type": "json_object"}},
            "tools": [FLAT_FUNCTION],
            "tool_choice": {"type": "function", "name": "f"},
        },
    ],
    "ollama": [
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "a", "images": [PNG]},
                {
                    "role": "assistant",
                    "content": "b",
                    "thinking": "t",
                    "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
                },
                {"role": "tool", "content": "r", "tool_name": "f"},
            ],
            "tools": [FUNCTION],
            "options": {"temperature": 0.5},
            "think": True,
        }
    ],
}


def objects(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every object whose members its dialect names."""
    if isinstance(value, dict):
        yield path
        for name, member in value.items():
            if name not in PLACES_OF_THEIR_OWN and not (name == "input" and isinstance(member, dict)):
                yield from objects(member, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from objects(item, (*path, number))


def marked(body: dict[str, Any], path: Path) -> bytes:
    """Return the body with the unknown member in the object at `path`."""
    body = copy.deepcopy({"model": "m", **body})
    at: Any = body
    for step in path:
        at = at[step]
    at[MARK] = "x"
    return json.dumps(body).encode()


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("source", BODIES)
def test_unknown_member_is_reported_wherever_it_stands(source: str, target: str) -> None:
    if source == target or target == "ollama_generate":
        return
    where = Target(model="claude-sonnet-4-5" if target == "anthropic" else "m")
    for body in BODIES[source]:
        for path in objects(body):
            rendered = DIALECTS[target].render_request(DIALECTS[source].parse_request(marked(body, path)), where)
            assert MARK.encode() not in rendered.body, path
            assert MARK in rendered.dropped, path
