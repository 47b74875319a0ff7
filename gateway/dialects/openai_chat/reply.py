"""A plain chat answer, read into neutral words and written from them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from gateway.chat import ChatReply, Part, Reasoning, Refusal, Text, ToolCall
from gateway.dialects.freeform import custom_names, unwrapped
from gateway.dialects.json import decode_answer, decode_event, encode, text_of
from gateway.dialects.names import made_id, original_names
from gateway.dialects.openai_chat.answer import (
    NAME,
    chat_annotations,
    finish_of,
    pieces,
    refusal_text,
    refused_without_words,
    stop_of,
    vendor_extra,
)
from gateway.dialects.openai_chat.counts import chat_usage, count, usage_of
from gateway.dialects.openai_chat.failure import error_from, error_in
from gateway.dialects.openai_chat.thinking import carrier, reasonings_of
from gateway.dialects.openai_chat.tools import LEGACY
from gateway.dialects.protocol import AnswerContext
from gateway.errors import UpstreamError

_BESIDE_TEXT = (
    *("tool_calls", "function_call", "refusal", "annotations"),
    *("reasoning_content", "reasoning", "thinking_blocks"),
)
_READ = frozenset(("id", "object", "created", "model", "choices", "usage", "error"))


def parse_reply(body: bytes) -> ChatReply:
    """Return a plain answer in neutral words. Raises: UpstreamError(bad_response | error_event)."""
    answer = decode_event(body) or decode_answer(body)
    error = error_in(answer)
    if error is not None:
        raise error
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        raise UpstreamError("bad_response", "the upstream's answer has no choices[0].message")
    finish = first.get("finish_reason")
    if finish == "error":
        raise error_from({"error": first.get("error") or "the upstream failed"}, "error_event")
    parts = _parts(message, body)
    kinds = {type(part) for part in parts}
    groq = answer.get("x_groq")
    counted = answer.get("usage") or (groq.get("usage") if isinstance(groq, dict) else None)
    sequence = first.get("stop_reason")
    own: dict[str, Any] = {
        "finish_reason": finish,
        "answer": {k: v for k, v in answer.items() if k not in _READ and v != ""},
    }
    own["choice"] = {k: v for k, v in first.items() if k not in ("index", "message", "finish_reason")}
    if isinstance(choices, list) and len(choices) > 1:
        own["choices"] = choices[1:]
    if message.get("audio"):
        own["audio"] = message["audio"]
    return ChatReply(
        id=_text(answer.get("id")),
        model=_text(answer.get("model")),
        created_s=count(answer.get("created")),
        parts=parts,
        stop=stop_of(finish, has_calls=ToolCall in kinds, refused=Refusal in kinds),
        stop_sequence=sequence if isinstance(sequence, str) and sequence and finish == "stop" else None,
        usage=usage_of(counted),
        extra={NAME: own},
    )


def _parts(message: dict[str, Any], body: bytes) -> tuple[Part, ...]:
    content = message.get("content")
    if isinstance(content, str) and content and not any(map(message.get, _BESIDE_TEXT)):
        return (Text(text=content),)
    out: list[Part] = list(reasonings_of(message))
    texts = []
    for kind, text in pieces(content):
        if kind == "thinking" and text:
            out.append(Reasoning(text=text, origin=NAME))
        elif text:
            texts.append(text)
    if texts:
        notes = message.get("annotations")
        out.append(Text(text="".join(texts), annotations=tuple(notes) if isinstance(notes, list) else ()))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        out.append(Refusal(text=refusal))
    calls = message.get("tool_calls")
    given = list(calls) if isinstance(calls, list) else []
    if message.get("function_call"):
        given.append({"function": message["function_call"]})
    index = 0
    for call in given:
        part = _call(call, index, body)
        if part is not None:
            out.append(part)
            index += 1
    return tuple(out)


def _call(call: object, index: int, body: bytes) -> ToolCall | None:
    if not isinstance(call, dict):
        return None
    function, custom = call.get("function"), call.get("custom")
    if isinstance(function, dict) and function.get("name"):
        name, arguments, is_custom = _text(function["name"]), function.get("arguments"), False
    elif isinstance(custom, dict) and custom.get("name"):
        name, arguments, is_custom = _text(custom["name"]), custom.get("input") or "", True
    else:
        return None
    if arguments is None or arguments == "":
        arguments = "" if is_custom else "{}"
    elif not isinstance(arguments, str):
        arguments = text_of(arguments)
    extra = {k: v for k, v in call.items() if k not in ("id", "type", "index", "function", "custom") and v is not None}
    call_id = _text(call.get("id")) or made_id(sha256(body).hexdigest(), index, name)
    return ToolCall(id=call_id, name=name, arguments=arguments, custom=is_custom, extra=extra)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def render_reply(reply: ChatReply, context: AnswerContext) -> bytes:
    """Return the answer for a client (F01, F03, F11)."""
    own = reply.extra.get(NAME)
    own = own if isinstance(own, dict) else {}
    message = _message(reply, context, own)
    has_calls = "tool_calls" in message or "function_call" in message
    finish = finish_of(reply.stop, reply.extra, has_calls=has_calls)
    if "function_call" in message and finish == "tool_calls":
        finish = "function_call"
    choice = {"index": 0, "message": message, "logprobs": None, **own.get("choice", {}), "finish_reason": finish}
    body: dict[str, Any] = {
        "id": reply.id if own and reply.id else f"chatcmpl-{context.id}",
        "object": "chat.completion",
        "created": reply.created_s or int(context.now_s),
        "model": context.model or reply.model,
        "choices": [choice, *own.get("choices", ())],
        **own.get("answer", {}),
    }
    if reply.usage is not None:
        body["usage"] = chat_usage(reply.usage)
    return encode(body)


def _message(reply: ChatReply, context: AnswerContext, own: dict[str, Any]) -> dict[str, Any]:
    names, custom = original_names(context.request), custom_names(context.request)
    texts: list[str] = []
    annotations: list[dict[str, Any]] = []
    for part in reply.parts:
        if isinstance(part, Text):
            start = sum(map(len, texts))
            annotations += chat_annotations(part.annotations, start, start + len(part.text))
            texts.append(part.text)
    refusal = "".join(part.text for part in reply.parts if isinstance(part, Refusal))
    if not refusal and refused_without_words(reply.stop, reply.extra):
        refusal = refusal_text(reply.extra)
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    text = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (calls or refusal) else None,
        "refusal": refusal or None,
    }
    reasonings = [part for part in reply.parts if isinstance(part, Reasoning)]
    reasoning = "".join(part.text for part in reasonings)
    if reasoning:
        message["reasoning_content"] = reasoning
    if blocks := carrier(reasonings):
        message["thinking_blocks"] = blocks
    if annotations:
        message["annotations"] = annotations
    if own.get("audio"):
        message["audio"] = own["audio"]
    wire = [_render_call(call, names.get(call.name, call.name), custom) for call in calls]
    if wire and is_legacy(context):
        message["function_call"] = wire[0].get("function")
    elif wire:
        message["tool_calls"] = wire
    return message


def _render_call(call: ToolCall, name: str, custom: frozenset[str]) -> dict[str, Any]:
    if call.custom or name in custom:
        text = call.arguments if call.custom else unwrapped(call.arguments)
        return {"id": call.id, "type": "custom", "custom": {"name": name, "input": text}}
    arguments = call.arguments if call.arguments.strip() else "{}"
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **vendor_extra(call.extra),
    }


def is_legacy(context: AnswerContext) -> bool:
    """Return whether the client asked in the older form, `functions`, and waits for a `function_call` (S16)."""
    return context.request is not None and any(tool.dialect == LEGACY for tool in context.request.tools)
