"""What a session holds, and how its messages are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.plugin import Message, Reasoning, Refusal, Text, ToolCall, ToolResult


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session beside its messages. Times are Unix seconds."""

    principal: str | None
    created_at: float
    ttl_s: float
    context: dict[str, Any]


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it is kept. `at` is when its turn was stored."""

    at: float
    message: Message


encode = msgspec.json.encode
decode_meta = msgspec.json.Decoder(Meta).decode
decode_stored = msgspec.json.Decoder(Stored).decode


def whole_turns(messages: Sequence[Message], at_most: int) -> list[Message]:
    """Return the last `at_most` messages at the most, begun with a user's own words.

    So no call is parted from its result: what a tool returned stands after the call it belongs to, and both after the
    user's message that led to them.
    """
    kept = list(messages[-at_most:]) if at_most else []
    for start, message in enumerate(kept):
        if message.role == "user" and not any(isinstance(part, ToolResult) for part in message.parts):
            return kept[start:]
    return []


def shown(message: Message) -> Mapping[str, Any]:
    """Return a message as OpenAI's chat writes it; parts with no place there by their kind."""
    text: list[str] = []
    other: list[Mapping[str, Any]] = []
    calls: list[Mapping[str, Any]] = []
    found: dict[str, Any] = {"role": message.role}
    for part in message.parts:
        match part:
            case Text() | Refusal():
                text.append(part.text)
            case ToolCall():
                calls.append(
                    {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
                )
            case ToolResult():
                found["role"], found["tool_call_id"] = "tool", part.call_id
                text += [inner.text for inner in part.parts if isinstance(inner, Text)]
            case Reasoning():
                if part.text:
                    found["reasoning_content"] = part.text
            case _:
                other.append({"type": type(part).__name__.lower()})
    words = "".join(text)
    found["content"] = [*([{"type": "text", "text": words}] if words else []), *other] if other else words
    if calls:
        found["tool_calls"] = calls
    return found
