"""Requests in a few words, for the tests of what Anthropic's and Ollama's renderers make of them."""

from __future__ import annotations

import json
from typing import Any

from anthropic.types import MessageParam
from msgspec.structs import replace
from pydantic import TypeAdapter

from gateway.chat import (
    ChatRequest,
    Message,
    Part,
    Text,
    ToolResult,
)
from gateway.dialects.anthropic_messages import AnthropicMessages
from gateway.dialects.protocol import Rendered, Target

DIALECT = AnthropicMessages()
OLD, MIDDLE, NEW = "claude-sonnet-4-20250514", "claude-sonnet-4-5", "claude-opus-4-8"
MESSAGE: TypeAdapter[Any] = TypeAdapter(MessageParam)


def user(*parts: Part | str) -> Message:
    return Message(role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: Part | str) -> Message:
    return replace(user(*parts), role="assistant")


def result(id: str, *parts: Part | str, is_error: bool = False) -> Message:
    return Message(role="tool", parts=(ToolResult(call_id=id, parts=user(*parts).parts, is_error=is_error),))


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(dialect="openai_chat", model="asked", messages=messages or (user("hi"),), **fields)


def render(request: ChatRequest, model: str = MIDDLE, **quirks: Any) -> Rendered:
    return DIALECT.render_request(request, Target(model=model, quirks=quirks))


def body_of(request: ChatRequest, model: str = MIDDLE, **quirks: Any) -> dict[str, Any]:
    wire: dict[str, Any] = json.loads(render(request, model, **quirks).body)
    for message in wire["messages"]:
        MESSAGE.validate_python(message)
    return wire


def parse(**members: Any) -> ChatRequest:
    base = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    return DIALECT.parse_request(json.dumps(base | members).encode())
