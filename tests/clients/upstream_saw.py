"""What an upstream was told of a tool's turn, read from its own dialect's request."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.clients.model import Dialect


@dataclass(slots=True)
class Saw:
    """The assistant's text and calls, and the results in order, as text; `errors` where the dialect has the flag."""

    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    errors: list[bool] = field(default_factory=list)


def results_in(target: Dialect, body: dict[str, Any]) -> Saw:
    """Read the one turn with tools in `body`, and hold its form: every result answers a call, right behind it."""
    return READ[target](body)


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or ())


def _chat(body: dict[str, Any]) -> Saw:
    at = next(n for n, one in enumerate(body["messages"]) if one["role"] == "assistant")
    assistant, after = body["messages"][at], body["messages"][at + 1 :]
    calls = assistant["tool_calls"]
    answers = after[: len(calls)]
    assert [one["role"] for one in answers] == ["tool"] * len(calls)
    assert [one["tool_call_id"] for one in answers] == [call["id"] for call in calls]
    return Saw(
        _texts(assistant["content"]),
        [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls],
        [_texts(one["content"]) for one in answers],
    )


def _messages(body: dict[str, Any]) -> Saw:
    at = next(n for n, one in enumerate(body["messages"]) if one["role"] == "assistant")
    blocks, after = body["messages"][at]["content"], body["messages"][at + 1]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert blocks[-len(calls) :] == calls, "the calls are last"
    assert after["role"] == "user"
    answers = after["content"][: len(calls)]
    assert [one.get("tool_use_id") for one in answers] == [call["id"] for call in calls]
    return Saw(
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        [(call["name"], call["input"]) for call in calls],
        [_texts(one["content"]) for one in answers],
        [one.get("is_error", False) for one in answers],
    )


def _responses(body: dict[str, Any]) -> Saw:
    items = body["input"]
    calls = [item for item in items if item.get("type") == "function_call"]
    answers = [item for item in items if item.get("type") == "function_call_output"]
    assert [one["call_id"] for one in answers] == [call["call_id"] for call in calls]
    assistant = [item for item in items if item.get("role") == "assistant"]
    return Saw(
        "".join(_texts(item["content"]) for item in assistant),
        [(call["name"], json.loads(call["arguments"])) for call in calls],
        [_texts(one["output"]) for one in answers],
    )


def _ollama(body: dict[str, Any]) -> Saw:
    at = next(n for n, one in enumerate(body["messages"]) if one["role"] == "assistant")
    assistant, after = body["messages"][at], body["messages"][at + 1 :]
    calls = assistant["tool_calls"]
    answers = after[: len(calls)]
    assert [one["role"] for one in answers] == ["tool"] * len(calls)
    assert [one["tool_name"] for one in answers] == [call["function"]["name"] for call in calls]
    return Saw(
        assistant["content"],
        [(call["function"]["name"], call["function"]["arguments"]) for call in calls],
        [one["content"] for one in answers],
    )


READ = {"C": _chat, "M": _messages, "R": _responses, "O": _ollama}
