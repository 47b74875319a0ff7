"""A plain Responses answer, read into neutral words and written from them."""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatReply, Opaque, Part, Reasoning, Refusal, StopReason, Text, ToolCall
from gateway.dialects.freeform import custom_names, unwrapped
from gateway.dialects.json import decode_answer, decode_event, encode
from gateway.dialects.names import original_names
from gateway.dialects.openai_chat.answer import refusal_text, refused_without_words, vendor_extra
from gateway.dialects.openai_chat.counts import count, usage_of
from gateway.dialects.openai_chat.failure import error_in
from gateway.dialects.openai_chat.fields import Fields
from gateway.dialects.openai_responses.content import NAME, responses_annotations
from gateway.dialects.openai_responses.failure import event_error
from gateway.dialects.openai_responses.items import call_of, reasoning_of
from gateway.dialects.openai_responses.response import (
    call_item,
    finish,
    message_item,
    reasoning_item,
    response_head,
    stop_status,
    text_part,
)
from gateway.dialects.protocol import AnswerContext
from gateway.errors import BadRequest, UpstreamError


def parse_reply(body: bytes) -> ChatReply:
    """Return a plain answer in neutral words. Raises: UpstreamError(bad_response | error_event)."""
    answer = decode_event(body) or decode_answer(body)
    if answer.get("status") in ("failed", "cancelled"):
        raise event_error({"response": answer})
    error = error_in(answer)
    if error is not None:
        raise error
    output = answer.get("output")
    if not isinstance(output, list):
        raise UpstreamError("bad_response", "the upstream's answer has no output")
    parts = tuple(part for item in output for part in parts_of(item))
    return ChatReply(
        id=answer["id"] if isinstance(answer.get("id"), str) else "",
        model=answer["model"] if isinstance(answer.get("model"), str) else "",
        created_s=count(answer.get("created_at")),
        parts=parts,
        stop=stop_of(answer, {type(part) for part in parts}),
        usage=usage_of(answer.get("usage")),
        extra={NAME: {"status": answer.get("status")}},
    )


def stop_of(response: dict[str, Any], kinds: set[type]) -> StopReason:
    """Return the neutral stop reason of a response whose parts have these types (F05)."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if response.get("status") == "incomplete":
        return "refusal" if reason == "content_filter" else "length"
    if ToolCall in kinds:
        return "tool_calls"
    return "refusal" if Refusal in kinds else "stop"


def parts_of(item: object) -> list[Part]:
    """Return an output item's parts; what cannot be read is passed over."""
    if not isinstance(item, dict):
        return []
    kind = item.get("type")
    try:
        match kind:
            case "reasoning":
                return [reasoning_of(Fields({key: value for key, value in item.items() if key != "type"}))]
            case "function_call" | "custom_tool_call":
                fields = Fields({key: value for key, value in item.items() if key != "type"})
                call = call_of(fields, custom=kind == "custom_tool_call")
                empty = not call.arguments and not call.custom
                return [ToolCall(id=call.id, name=call.name, arguments="{}", extra=call.extra) if empty else call]
            case "message":
                content = item.get("content")
                return [part for value in content if (part := _said(value))] if isinstance(content, list) else []
            case _ if isinstance(kind, str):
                return [Opaque(dialect=NAME, kind=kind, value=item)]
    except BadRequest:
        return []
    return []


def _said(value: object) -> Part | None:
    if not isinstance(value, dict):
        return None
    text, refusal, notes = value.get("text"), value.get("refusal"), value.get("annotations")
    if value.get("type") == "refusal" and isinstance(refusal, str):
        return Refusal(text=refusal)
    if value.get("type") in ("output_text", "text") and isinstance(text, str) and text:
        return Text(text=text, annotations=tuple(notes) if isinstance(notes, list) else ())
    return None


def render_reply(reply: ChatReply, context: AnswerContext) -> bytes:
    """Return the response for a client (F09, F10)."""
    own_id = reply.id if NAME in reply.extra else ""
    head = response_head(context, own_id, reply.created_s, reply.model)
    stop = stop_status(reply.stop, reply.extra)
    response = finish(head, stop, output_items(reply, context), reply.usage)
    return encode({**response, "completed_at": int(context.now_s)} if response["status"] == "completed" else response)


def output_items(reply: ChatReply, context: AnswerContext) -> list[dict[str, Any]]:
    """Return the items in the order of the parts; text that stands together is one message."""
    names, custom = original_names(context.request), custom_names(context.request)
    out: list[dict[str, Any]] = []
    said: dict[str, Any] | None = None
    parts: list[Part] = list(reply.parts)
    worded = any(isinstance(part, Refusal) for part in parts)
    if not worded and refused_without_words(reply.stop, reply.extra):
        parts.append(Refusal(text=refusal_text(reply.extra)))
    for part in parts:
        number = len(out)
        if isinstance(part, Text | Refusal):
            if said is None:
                said = message_item(f"msg_{context.id}_{number}", [])
                out.append(said)
            _say(said["content"], part)
            continue
        match part:
            case Reasoning():
                out.append(reasoning_item(part, part.id or f"rs_{context.id}_{number}"))
            case ToolCall():
                name = names.get(part.name, part.name)
                is_custom = part.custom or name in custom
                prefix = "ctc" if is_custom else "fc"
                text = part.arguments if part.custom or not is_custom else unwrapped(part.arguments)
                item_id = f"{prefix}_{context.id}_{number}"
                item = call_item(item_id, part.id, name, text if is_custom or text.strip() else "{}", custom=is_custom)
                if "namespace" in part.extra:
                    item["namespace"] = part.extra["namespace"]
                out.append({**item, **vendor_extra(part.extra)})
            case Opaque() if part.dialect == NAME:
                out.append(part.value)
            case _:
                continue
        said = None
    if not out:
        out.append(message_item(f"msg_{context.id}_0", [text_part("", [])]))
    return out


def _say(content: list[dict[str, Any]], part: Text | Refusal) -> None:
    """Add a part to a message; text goes on in the part before, as in a stream, where nothing parts the two."""
    if isinstance(part, Refusal):
        content.append({"type": "refusal", "refusal": part.text})
        return
    if not content or content[-1]["type"] != "output_text":
        content.append(text_part("", []))
    last = content[-1]
    start = len(last["text"])
    last["text"] += part.text
    last["annotations"] += responses_annotations(part.annotations, start, len(last["text"]))
