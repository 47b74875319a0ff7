"""A plain Messages answer, read into neutral words and written from them."""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatReply, Part, Reasoning, Refusal, StopReason, Text, ToolCall
from gateway.dialects.anthropic_messages.blocks import parse_block
from gateway.dialects.anthropic_messages.carrier import pack
from gateway.dialects.anthropic_messages.compose import HIDDEN_TOOL
from gateway.dialects.anthropic_messages.counts import parse_usage, render_usage
from gateway.dialects.anthropic_messages.failure import error_of
from gateway.dialects.anthropic_messages.render_blocks import Block
from gateway.dialects.arguments import object_of
from gateway.dialects.json import encode
from gateway.dialects.members import Members
from gateway.dialects.names import made_id, original_names, wire_id
from gateway.dialects.protocol import AnswerContext
from gateway.errors import BadRequest, UpstreamError

_STOPS: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}
_NAMES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "pause": "pause_turn",
}
_BARE_TEXT = {"type", "text"}
CARRIED = ("stop_details", "container", "context_management", "diagnostics")
"""Members of an answer that only Anthropic's clients understand; they come and go through `extra`."""


def stop_of(reason: object, has_calls: bool) -> tuple[StopReason, dict[str, Any]]:
    """Return the neutral stop reason, and in `extra` the wire's word where the neutral one says less.

    A reason that is not known yet, or none, ends the turn as its content suggests.
    """
    stop = _STOPS.get(reason) if isinstance(reason, str) else None
    if stop is None:
        return ("tool_calls" if has_calls else "stop"), {}
    return stop, ({"stop_reason": reason} if reason == "model_context_window_exceeded" else {})


def stop_name(stop: StopReason, sequence: str | None, has_calls: bool, extra: dict[str, Any]) -> str:
    """Return the wire's stop reason. Many servers say `stop` after a tool call: the call decides."""
    if stop == "stop" and has_calls:
        return "tool_use"
    if stop == "stop" and sequence is not None:
        return "stop_sequence"
    own = extra.get("stop_reason")
    return own if isinstance(own, str) and _STOPS.get(own) == stop else _NAMES[stop]


def parse_reply(body: bytes) -> ChatReply:
    """Return a plain answer in neutral words; a block that cannot be read is left out.

    Raises: UpstreamError(bad_response | error_event).
    """
    try:
        wire = Members.of_body(body)
        kind, error = wire.text("type"), wire.value("error")
        if kind == "error" or error:
            raise error_of("error_event", error)
        if wire.peek("content") is None:
            raise UpstreamError("bad_response", "the upstream's answer is not a message: it has no content")
        blocks = wire.objects("content")
        id, model = wire.text("id") or "", wire.text("model") or ""
        reason, sequence = wire.value("stop_reason"), wire.text("stop_sequence")
        usage, extra = wire.value("usage"), {key: value for key in CARRIED if (value := wire.value(key)) is not None}
    except BadRequest as error:
        raise UpstreamError("bad_response", f"the upstream's answer is not a message: {error.message}") from None
    calls = [block for block in blocks if block.peek("type") == b'"tool_use"']
    for index, block in enumerate(calls):
        if block.peek("id") is None:
            block.put("id", encode(made_id(id, index, _name(block))))
    parts = tuple(part for block in blocks if (part := _part(block)) is not None)
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    if reason == "tool_use" and not has_calls:
        reason = "end_turn"  # only the hidden tool was called, and its input is the answer itself
    stop, words = stop_of(reason, has_calls)
    return ChatReply(
        id=id,
        model=model,
        created_s=0,
        parts=parts,
        stop=stop,
        stop_sequence=sequence,
        usage=parse_usage(usage),
        extra=extra | words,
    )


def _name(block: Members) -> str:
    raw = block.peek("name")
    return bytes(raw).decode("utf-8", "replace").strip('"') if raw is not None else ""


def _part(block: Members) -> Part | None:
    try:
        part = parse_block(block)
    except BadRequest:
        return None
    if isinstance(part, ToolCall) and part.name == HIDDEN_TOOL:
        return Text(text=part.arguments)
    return part


def render_reply(reply: ChatReply, context: AnswerContext) -> bytes:
    """Return the message for a client; without content it is an empty list, never an empty text."""
    names = original_names(context.request)
    blocks: list[Block] = []
    for part in reply.parts:
        block = answer_block(part, names)
        if block is not None and blocks and block.keys() == blocks[-1].keys() == _BARE_TEXT:
            blocks[-1]["text"] += block["text"]  # as in a stream, where nothing parts the two
        elif block is not None:
            blocks.append(block)
    for index, block in enumerate(blocks):
        if block["type"] == "tool_use":
            block["id"] = call_id(block["id"], context, index)
    has_calls = any(isinstance(part, ToolCall) for part in reply.parts)
    refused = any(isinstance(part, Refusal) for part in reply.parts)
    stop: StopReason = "refusal" if refused and reply.stop == "stop" else reply.stop
    message = head(context, reply.model) | {
        "content": blocks,
        "stop_reason": stop_name(stop, reply.stop_sequence, has_calls, reply.extra),
        "stop_sequence": reply.stop_sequence,
        "usage": render_usage(reply.usage),
    }
    return encode(message | {key: reply.extra[key] for key in CARRIED if key in reply.extra})


def head(context: AnswerContext, model: str) -> dict[str, Any]:
    """Return the members that every message of an answer begins with; `model` is the upstream's own name."""
    return {"id": f"msg_{context.id}", "type": "message", "role": "assistant", "model": context.model or model}


def call_id(given: str, context: AnswerContext, index: int) -> str:
    """Return a call's id in plain characters, so that a later turn may go to Anthropic; made up when absent."""
    return wire_id(given or f"toolu_{context.id}_{index}")


def answer_block(part: Part, names: dict[str, str]) -> Block | None:
    """Return a part as a content block of an answer, None for what a message cannot hold."""
    match part:
        case Text():
            if not part.text and not part.extra:
                return None
            block: Block = {"type": "text", "text": part.text}
            citations = [note for note in part.annotations if is_citation(note)]
            return block | ({"citations": citations} if citations else {}) | part.extra
        case Refusal():
            return {"type": "text", "text": part.text} if part.text else None
        case Reasoning():
            return thinking_block(part)
        case ToolCall():
            name = names.get(part.name, part.name)
            block = {"type": "tool_use", "id": part.id, "name": name, "input": object_of(part)}
            return block | {key: part.extra[key] for key in ("caller", "toolset_name") if key in part.extra}
    value = getattr(part, "value", None)
    return value if isinstance(value, dict) and getattr(part, "dialect", "") == "anthropic" else None


def thinking_block(part: Reasoning) -> Block | None:
    """Return reasoning as a thinking block, another vendor's cipher text packed into its signature; None when empty."""
    if part.redacted and part.origin == "anthropic":
        return {"type": "redacted_thinking", "data": part.encrypted or ""}
    signature = pack(part.signature, part.encrypted, part.redacted, part.id, part.origin)
    if not part.text and not signature:
        return None
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def is_citation(note: object) -> bool:
    """Return whether an annotation is one of Anthropic's: another dialect's has a form clients cannot read."""
    kind = note.get("type") if isinstance(note, dict) else None
    return isinstance(kind, str) and kind.endswith("_location")
