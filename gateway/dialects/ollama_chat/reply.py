"""A plain answer of /api/chat or /api/generate, read into neutral words and written from them."""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatReply, Image, Part, Reasoning, Refusal, StopReason, Text, ToolCall
from gateway.dialects.arguments import object_of
from gateway.dialects.json import encode
from gateway.dialects.members import ODD_JSON
from gateway.dialects.names import original_names
from gateway.dialects.ollama_chat.counts import parse_usage, render_usage
from gateway.dialects.ollama_chat.images import data_of, image_of
from gateway.dialects.ollama_chat.line import calls_of, decode_line, seconds_of, stop_of, time_text
from gateway.dialects.ollama_chat.plain import answer_members
from gateway.dialects.ollama_chat.request import CHAT
from gateway.dialects.protocol import AnswerContext
from gateway.errors import UpstreamError


def parse_reply(body: bytes) -> ChatReply:
    """Return a plain answer in neutral words. Raises: UpstreamError(bad_response | error_event)."""
    members = answer_members(body)
    try:
        line = decode_line(body)
        calls = calls_of(line, 0)
    except ODD_JSON as error:
        raise UpstreamError("bad_response", f"the upstream's answer is not Ollama's: {error}") from None
    if line.message is None and line.response is None:
        raise UpstreamError("bad_response", "the upstream's answer has neither a message nor a response")
    stop = stop_of(line.done_reason, bool(calls))
    if stop is None:
        raise UpstreamError("bad_response", f'the upstream only did "{line.done_reason}" and answered nothing')
    said = line.said
    parts: list[Part] = []
    if said.thinking:
        parts.append(Reasoning(text=said.thinking, origin=CHAT))
    if said.content:
        parts.append(Text(text=said.content))
    parts += [image_of(data) for data in said.images or ()]
    return ChatReply(
        id="",
        model=line.model or "",
        created_s=seconds_of(line.created_at),
        parts=(*parts, *calls),
        stop=stop,
        usage=parse_usage(members),
        extra={"logprobs": members["logprobs"]} if members.get("logprobs") is not None else {},
    )


def render_chat(reply: ChatReply, context: AnswerContext) -> bytes:
    """Return the chat answer for a client."""
    names = original_names(context.request)
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    message: dict[str, Any] = {"role": "assistant", "content": _text(reply)}
    if thinking := _thinking(reply):
        message["thinking"] = thinking
    if images := [data for part in reply.parts if isinstance(part, Image) and (data := data_of(part))]:
        message["images"] = images
    if calls:
        message["tool_calls"] = [call_wire(call, index, names, context) for index, call in enumerate(calls)]
    return encode(head(context, reply.model) | {"message": message} | _end(reply, context))


def render_generate(reply: ChatReply, context: AnswerContext) -> bytes:
    """Return the generate answer for a client."""
    wire = head(context, reply.model) | {"response": _text(reply)}
    if thinking := _thinking(reply):
        wire["thinking"] = thinking
    return encode(wire | _end(reply, context))


def head(context: AnswerContext, model: str = "") -> dict[str, Any]:
    """Return the members that every answer and every line begins with; `model` is the upstream's own name."""
    return {"model": context.model or model, "created_at": time_text(context.now_s)}


def call_wire(call: ToolCall, index: int, names: dict[str, str], context: AnswerContext) -> dict[str, Any]:
    """Return a call; its id is made up when it has none, so that the client can hand it back."""
    function = {"index": index, "name": names.get(call.name, call.name), "arguments": object_of(call)}
    return {"id": call.id or f"call_{context.id}_{index}", "function": function}


def done_reason(stop: StopReason) -> str:
    """Return the word for a stop; Ollama's clients know only two."""
    return "length" if stop == "length" else "stop"


def _end(reply: ChatReply, context: AnswerContext) -> dict[str, Any]:
    wire: dict[str, Any] = {"done": True, "done_reason": done_reason(reply.stop)}
    if reply.extra.get("logprobs") is not None and _own(context):
        wire["logprobs"] = reply.extra["logprobs"]
    return wire | render_usage(reply.usage, context.duration_ns)


def _own(context: AnswerContext) -> bool:
    return context.request is not None and context.request.dialect.startswith(CHAT)


def _text(reply: ChatReply) -> str:
    return "".join(part.text for part in reply.parts if isinstance(part, Text | Refusal))


def _thinking(reply: ChatReply) -> str:
    return "\n\n".join(part.text for part in reply.parts if isinstance(part, Reasoning) and part.text)
