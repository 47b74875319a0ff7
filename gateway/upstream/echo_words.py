"""How the echo provider counts and answers: pure functions of the request.

A token is up to 16 characters of a word, with the white space before them. It is what is streamed as one delta, what
`max_tokens` limits and what usage counts, so that every number can be checked by eye.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from gateway.chat import (
    ChatRequest,
    Document,
    Message,
    Part,
    Reasoning,
    Refusal,
    StopReason,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

_TOKEN = re.compile(r"\s*\S{1,16}|\s+")
_DEEPEST = 8
_MOST_ITEMS = 8
NOTHING_SAID = "(no text)"


class EchoAnswer(Struct, frozen=True, kw_only=True):
    """What the echo says: words, or one tool call; with what usage, and why it stops."""

    words: tuple[str, ...] = ()
    call: ToolCall | None = None
    stop: StopReason = "stop"
    sequence: str | None = None
    usage: Usage


def tokens(text: str) -> list[str]:
    """Return a text's tokens; joined they are the text."""
    return _TOKEN.findall(text)


def echo(chat: ChatRequest) -> EchoAnswer:
    """Return the answer: the last user message's text, or the last tool results'.

    A forced tool choice is answered with a call whose required arguments are filled in by type, unless the last
    message is a tool's result already: so a tool loop ends. Structured output gets an object that fits its schema.
    """
    prompt = max(1, sum(len(tokens(part)) for message in chat.messages for part in _texts(message.parts)))
    last = next((message for message in reversed(chat.messages) if message.role in ("user", "tool")), None)
    said = " ".join(_texts(last.parts)) if last is not None else ""
    said = said or NOTHING_SAID
    tool = None if _is_tool_result(last) else _forced_tool(chat)
    if tool is not None:
        custom = tool.kind == "custom"
        arguments = said if custom else _json(_sample(_schema(tool.parameters), said))
        call = ToolCall(id="call_echo", name=tool.name, arguments=arguments, custom=custom)
        usage = Usage(prompt_tokens=prompt, completion_tokens=len(tokens(arguments)))
        return EchoAnswer(call=call, stop="tool_calls", usage=usage)
    if chat.output is not None:
        schema = _schema(chat.output.schema) if chat.output.kind == "json_schema" else None
        said = _json(_sample(schema, said) if schema else {"echo": said})
    words, stop, sequence = cut(said, chat.stop, chat.max_tokens)
    usage = Usage(prompt_tokens=prompt, completion_tokens=len(words))
    return EchoAnswer(words=tuple(words), stop=stop, sequence=sequence, usage=usage)


def cut(text: str, stops: tuple[str, ...], max_tokens: int | None) -> tuple[list[str], StopReason, str | None]:
    """Return a text's tokens up to the first stop sequence or the limit, and which of the two it was."""
    found = min(((text.find(stop), stop) for stop in stops if stop and stop in text), default=None)
    words = tokens(text if found is None else text[: found[0]])
    if max_tokens is not None and 0 < max_tokens < len(words):
        return words[:max_tokens], "length", None
    return words, "stop", None if found is None else found[1]


def _texts(parts: tuple[Part, ...]) -> list[str]:
    found: list[str] = []
    for part in parts:
        match part:
            case Text() | Refusal() | Reasoning():
                found.append(part.text)
            case Document(text=str(text)):
                found.append(text)
            case ToolResult():
                found.extend(_texts(part.parts))
            case ToolCall():
                found.append(part.arguments)
    return [text for text in found if text]


def _is_tool_result(message: Message | None) -> bool:
    return message is not None and any(isinstance(part, ToolResult) for part in message.parts)


def _forced_tool(chat: ChatRequest) -> Tool | None:
    choice = chat.tool_choice
    if choice is None or choice.mode not in ("required", "tool"):
        return None
    callable_tools = [tool for tool in chat.tools if tool.kind in ("function", "custom") and tool.name]
    wanted = (choice.name,) if choice.mode == "tool" and choice.name else choice.allowed
    return next((tool for tool in callable_tools if not wanted or tool.name in wanted), None)


def _schema(text: str | None) -> dict[str, Any]:
    try:
        schema = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return schema if isinstance(schema, dict) else {}


def _sample(schema: Any, said: str, depth: int = 0) -> Any:
    """Return the plainest value that fits the common part of JSON Schema.

    Strings say what the user said, a list of strings says it line by line. A number is 1: most are shares, such as how
    sure a model is, and 0 would be the worst of answers.
    """
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return {}
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _sample(schema[key][0], said, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema or depth == 0 else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    match kind:
        case "object":
            properties, required = schema.get("properties"), schema.get("required")
            if not isinstance(properties, dict) or not isinstance(required, list):
                return {}
            return {name: _sample(properties.get(name, {}), said, depth + 1) for name in required if type(name) is str}
        case "array":
            return _list(schema, said, depth)
        case "integer" | "number":
            low = schema.get("minimum", 0 if kind == "integer" else min(1, schema.get("maximum", 1)))
            return low if isinstance(low, int | float) else 0
        case "boolean":
            return False
        case "null":
            return None
    return said


def _list(schema: dict[str, Any], said: str, depth: int) -> list[Any]:
    items = schema.get("items")
    fewest, most = (
        limit if isinstance(limit := schema.get(name), int) else default
        for name, default in (("minItems", 1), ("maxItems", _MOST_ITEMS))
    )
    is_text = isinstance(items, dict) and items.get("type") == "string"
    lines = [line.strip() for line in said.splitlines() if line.strip()] if is_text else []
    found = [_sample(items, line, depth + 1) for line in lines or [said]]
    return (found + found[:1] * fewest)[: min(max(fewest, len(found)), max(fewest, most), _MOST_ITEMS)]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
