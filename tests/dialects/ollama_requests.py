"""Requests to and from Ollama in a few words."""

from __future__ import annotations

import json
from typing import Any

from gateway.chat import (
    ChatRequest,
    Message,
    Part,
    Text,
)
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.ollama_generate import OllamaGenerate
from gateway.dialects.protocol import Rendered, Target

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def parse(**members: Any) -> ChatRequest:
    base = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return CHAT.parse_request(json.dumps(base | members).encode())


def render(request: ChatRequest, model: str = "t", **quirks: Any) -> Rendered:
    return CHAT.render_request(request, Target(model=model, quirks=quirks))


def body_of(request: ChatRequest, model: str = "t", **quirks: Any) -> dict[str, Any]:
    wire: dict[str, Any] = json.loads(render(request, model, **quirks).body)
    return wire


def user(*parts: Part | str) -> Message:
    return Message(role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(dialect="openai_chat", model="asked", messages=messages or (user("hi"),), **fields)
