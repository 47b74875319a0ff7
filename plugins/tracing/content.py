"""What was said, as the GenAI conventions write it: only for spans of a plugin that was told `content: true`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.plugin import (
    ChatReply,
    Event,
    Exchange,
    GatewayError,
    Message,
    Part,
    Reasoning,
    Refusal,
    Start,
    Stop,
    Text,
    ToolCall,
    ToolResult,
    fold,
)  # fmt: skip

LONG_BYTES = 32 * 1024
"""A longer request is written down in a thread, so that the loop does not stand still for it."""
LONGEST_TEXT = 16 * 1024
MOST_MESSAGES = 100
MOST_EVENTS = 20_000
FINISH = {"tool_calls": "tool_call", "refusal": "content_filter"}
"""Reasons to stop that the conventions call otherwise."""


class Heard:
    """Collects the events of one answer."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, _: Exchange, event: Event) -> None:
        """Keep an event; those of an answer without end are not."""
        if len(self.events) < MOST_EVENTS:
            self.events.append(event)


async def content_of(exchange: Exchange, heard: Heard | None) -> Mapping[str, Any]:
    """Return what was asked and answered as attributes of a span; a request that nobody can read says nothing."""
    endpoint = exchange.request.endpoint
    attributes: dict[str, Any] = {}
    if endpoint is None or not endpoint.is_chat:
        return attributes
    try:
        if len(exchange.request.body) > LONG_BYTES:
            attributes |= await asyncio.to_thread(_asked, exchange)
        else:
            attributes |= _asked(exchange)
    except GatewayError:
        return attributes
    if heard is not None and heard.events:
        attributes |= _answered(heard.events)
    return attributes


def _asked(exchange: Exchange) -> dict[str, Any]:
    chat = exchange.chat
    system = [part for message in chat.messages if message.role in ("system", "developer") for part in message.parts]
    talk = [message for message in chat.messages if message.role not in ("system", "developer")][-MOST_MESSAGES:]
    said: dict[str, Any] = {"gen_ai.input.messages": _text([_message(each) for each in talk])}
    if system:
        said["gen_ai.system_instructions"] = _text([_part(each) for each in system])
    for name, value in (
        ("temperature", chat.temperature),
        ("top_p", chat.top_p),
        ("max_tokens", chat.max_tokens),
        ("seed", chat.seed),
    ):
        if value is not None:
            said[f"gen_ai.request.{name}"] = value
    return said


def _answered(events: Sequence[Event]) -> dict[str, Any]:
    start = next((event for event in events if isinstance(event, Start)), Start())
    whole = fold(ChatReply(id=start.id, model=start.model, created_s=start.created_s, parts=()), events)
    said: dict[str, Any] = {}
    answer: dict[str, Any] = {"role": "assistant", "parts": [_part(each) for each in whole.parts]}
    if any(isinstance(event, Stop) for event in events):
        reason = FINISH.get(whole.stop, whole.stop)
        answer["finish_reason"] = reason
        said["gen_ai.response.finish_reasons"] = [reason]
    said["gen_ai.output.messages"] = _text([answer])
    if start.model:
        said["gen_ai.response.model"] = start.model
    if start.id:
        said["gen_ai.response.id"] = start.id
    return said


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"type": "text", "content": part.text[:LONGEST_TEXT]}
        case Reasoning():
            return {"type": "reasoning", "content": part.text[:LONGEST_TEXT]}
        case ToolCall():
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments[:LONGEST_TEXT]}
        case ToolResult():
            texts = "".join(each.text for each in part.parts if isinstance(each, Text))
            return {"type": "tool_call_response", "id": part.call_id, "response": texts[:LONGEST_TEXT]}
        case _:
            return {"type": type(part).__name__.lower()}  # an image, a file: that it was there


def _text(value: Any) -> str:
    # SECURITY: a lone surrogate, which JSON may carry and protobuf may not, stays escaped.
    return json.dumps(value, ensure_ascii=True)
