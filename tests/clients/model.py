"""A model behind a server that speaks every dialect: it says the same thing in each, plain or streamed.

Written from the providers' own pages and packages (November 2026) and from nothing of the gateway's, so that what the
gateway makes of an answer is held against an independent hand. `Said` is what the model says; `answer` writes it for
the request that came, by its path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from gateway.testing import Answer, ReceivedRequest, reply_json, reply_sse

Dialect = Literal["C", "M", "R", "O"]
DIALECTS: tuple[Dialect, ...] = ("C", "M", "R", "O")
MODEL = "real-model"
VECTOR = (0.25, -1.5, 3.0)
"""What every text's embedding is: exact as 32-bit floats."""


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. `signature` is what only the provider can read of its thinking; counts are totals."""

    text: str = ""
    thinking: str = ""
    signature: str = "c2lnbmVkIGJ5IHRoZSBtb2RlbA=="
    calls: tuple[Call, ...] = ()
    refusal: str = ""
    stop: Literal["stop", "length", "refusal"] = "stop"
    prompt: int = 20
    cached: int = 0
    completion: int = 7
    reasoning: int = 0


def dialect_of(request: ReceivedRequest) -> Dialect:
    path = request.path.partition("?")[0]
    if path.endswith("/chat/completions"):
        return "C"
    if "/messages" in path:
        return "M"
    return "R" if "/responses" in path else "O"


def answer(request: ReceivedRequest, said: Said) -> Answer:
    """Write `said` as the request wants it: its dialect, plain or streamed, usage only when asked for."""
    asked = request.json()
    dialect = dialect_of(request)
    streamed = asked.get("stream", dialect == "O")
    if not streamed:
        plain = PLAIN[dialect](said)
        return reply_json(generated(plain) if request.path == "/api/generate" else plain)
    if dialect == "C":
        return reply_sse(chat_events(said, (asked.get("stream_options") or {}).get("include_usage", False)))
    if dialect == "O":
        lines = [
            json.dumps(generated(line) if request.path == "/api/generate" else line).encode() + b"\n"
            for line in ollama_lines(said)
        ]
        return reply_sse(lines, content_type="application/x-ndjson")
    events = messages_events(said) if dialect == "M" else responses_events(said)
    return reply_sse([(event["type"], event) for event in events])


def pieces(text: str) -> list[str]:
    """Cut `text` in three, as a stream does."""
    third = max(1, len(text) // 3)
    return [part for part in (text[:third], text[third : 2 * third], text[2 * third :]) if part]


# --- OpenAI chat -----------------------------------------------------------------------------------


def chat_usage(said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": said.prompt, "completion_tokens": said.completion,
        "total_tokens": said.prompt + said.completion,
        "prompt_tokens_details": {"cached_tokens": said.cached},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning},
    }  # fmt: skip


def chat_finish(said: Said) -> str:
    if said.stop == "stop":
        return "tool_calls" if said.calls else "stop"
    return {"length": "length", "refusal": "content_filter"}[said.stop]


def chat_calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in said.calls
    ]


def chat_plain(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": said.refusal or None}
    if said.thinking:
        message["reasoning_content"] = said.thinking
    if said.calls:
        message["tool_calls"] = chat_calls(said)
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_760_000_000, "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": chat_finish(said), "logprobs": None}],
        "usage": chat_usage(said),
    }  # fmt: skip


def chat_events(said: Said, usage: bool) -> list[Any]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": MODEL}
        return {**head, "choices": [choice]}

    events: list[Any] = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"reasoning_content": piece}) for piece in pieces(said.thinking)]
    events += [chunk({"content": piece}) for piece in pieces(said.text)]
    events += [chunk({"refusal": piece}) for piece in pieces(said.refusal)]
    for index, call in enumerate(chat_calls(said)):
        begun = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
        events.append(chunk({"tool_calls": [{"index": index, **begun}]}))
        for piece in pieces(call["function"]["arguments"]):
            events.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    events.append(chunk({}, chat_finish(said)))
    if usage:
        events.append({**chunk({}), "choices": [], "usage": chat_usage(said)})
    return [*events, "[DONE]"]


# --- Anthropic messages ----------------------------------------------------------------------------


def messages_usage(said: Said) -> dict[str, Any]:
    return {
        "input_tokens": said.prompt - said.cached, "cache_read_input_tokens": said.cached,
        "cache_creation_input_tokens": 0, "output_tokens": said.completion,
        "output_tokens_details": {"thinking_tokens": said.reasoning},
    }  # fmt: skip


def messages_stop(said: Said) -> str:
    if said.stop == "stop":
        return "tool_use" if said.calls else "end_turn"
    return {"length": "max_tokens", "refusal": "refusal"}[said.stop]


def messages_blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thinking:
        blocks.append({"type": "thinking", "thinking": said.thinking, "signature": said.signature})
    if said.text or said.refusal:
        blocks.append({"type": "text", "text": said.text or said.refusal})
    blocks += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in said.calls]
    return blocks


def messages_plain(said: Said) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": messages_blocks(said),
        "stop_reason": messages_stop(said), "stop_sequence": None, "usage": messages_usage(said),
    }  # fmt: skip


def messages_events(said: Said) -> list[dict[str, Any]]:
    begun = {**messages_plain(said), "content": [], "stop_reason": None}
    begun["usage"] = {**messages_usage(said), "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(messages_blocks(said)):
        deltas: list[dict[str, Any]]
        if block["type"] == "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "text":
            empty = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        else:
            empty = {**block, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": piece} for piece in pieces(json.dumps(block["input"]))
            ]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": messages_stop(said), "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": messages_usage(said)})
    return [*events, {"type": "message_stop"}]


# --- OpenAI Responses ------------------------------------------------------------------------------


def responses_items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thinking:
        summary = [{"type": "summary_text", "text": said.thinking}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": said.signature})
    content: list[dict[str, Any]] = []
    if said.text:
        content.append({"type": "output_text", "text": said.text, "annotations": [], "logprobs": []})
    if said.refusal:
        content.append({"type": "refusal", "refusal": said.refusal})
    if content:
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content})
    for number, call in enumerate(said.calls):
        arguments = json.dumps(call.arguments)
        head = {"type": "function_call", "id": f"fc_{number}", "status": "completed"}
        items.append({**head, "call_id": call.id, "name": call.name, "arguments": arguments})
    return items


def responses_plain(said: Said) -> dict[str, Any]:
    reason = {"length": "max_output_tokens", "refusal": "content_filter"}.get(said.stop)
    return {
        "id": "resp_1", "object": "response", "created_at": 1_760_000_000, "model": MODEL,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "error": None, "instructions": None, "metadata": {}, "output": responses_items(said),
        "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": said.prompt, "output_tokens": said.completion,
            "total_tokens": said.prompt + said.completion,
            "input_tokens_details": {"cached_tokens": said.cached, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": said.reasoning},
        },
    }  # fmt: skip


def _responses_item_events(item: dict[str, Any], index: int) -> list[dict[str, Any]]:
    at = {"item_id": item["id"], "output_index": index}
    added = {"type": "response.output_item.added", "output_index": index}
    events: list[dict[str, Any]] = []
    if item["type"] == "reasoning":
        text, at = item["summary"][0]["text"], {**at, "summary_index": 0}
        part = item["summary"][0]
        events = [
            {**added, "item": {**item, "summary": [], "encrypted_content": None}},
            {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}},
            *({"type": "response.reasoning_summary_text.delta", **at, "delta": piece} for piece in pieces(text)),
            {"type": "response.reasoning_summary_text.done", **at, "text": text},
            {"type": "response.reasoning_summary_part.done", **at, "part": part},
        ]
    elif item["type"] == "message":
        events = [{**added, "item": {**item, "status": "in_progress", "content": []}}]
        for number, part in enumerate(item["content"]):
            kind = "output_text" if part["type"] == "output_text" else "refusal"
            member = "text" if kind == "output_text" else "refusal"
            place = {**at, "content_index": number}
            logs = {"logprobs": []} if kind == "output_text" else {}
            events += [
                {"type": "response.content_part.added", **place, "part": {**part, member: ""}},
                *(
                    {"type": f"response.{kind}.delta", **place, "delta": piece, **logs}
                    for piece in pieces(part[member])
                ),
                {"type": f"response.{kind}.done", **place, member: part[member], **logs},
                {"type": "response.content_part.done", **place, "part": part},
            ]
    else:
        delta = "response.function_call_arguments.delta"
        events = [
            {**added, "item": {**item, "status": "in_progress", "arguments": ""}},
            *({"type": delta, **at, "delta": piece} for piece in pieces(item["arguments"])),
            {
                "type": "response.function_call_arguments.done",
                **at,
                "name": item["name"],
                "arguments": item["arguments"],
            },
        ]
    return [*events, {"type": "response.output_item.done", "output_index": index, "item": item}]


def responses_events(said: Said) -> list[dict[str, Any]]:
    whole = responses_plain(said)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for index, item in enumerate(whole["output"]):
        events += _responses_item_events(item, index)
    events.append({"type": f"response.{whole['status']}", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


# --- Ollama ----------------------------------------------------------------------------------------


def _ollama_line(message: dict[str, Any], done: bool = False) -> dict[str, Any]:
    head = {"model": MODEL, "created_at": "2025-10-09T08:53:20.000000Z"}
    return {**head, "message": {"role": "assistant", "content": "", **message}, "done": done}


def _ollama_end(said: Said) -> dict[str, Any]:
    return {
        "done_reason": "length" if said.stop == "length" else "stop",
        "total_duration": 500, "load_duration": 100, "prompt_eval_count": said.prompt, "prompt_eval_duration": 200,
        "eval_count": said.completion, "eval_duration": 200,
    }  # fmt: skip


def ollama_plain(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"content": said.text or said.refusal}
    if said.thinking:
        message["thinking"] = said.thinking
    if said.calls:
        message["tool_calls"] = [{"function": {"name": c.name, "arguments": c.arguments}} for c in said.calls]
    return {**_ollama_line(message, done=True), **_ollama_end(said)}


def ollama_lines(said: Said) -> list[dict[str, Any]]:
    lines = [_ollama_line({"thinking": piece}) for piece in pieces(said.thinking)]
    lines += [_ollama_line({"content": piece}) for piece in pieces(said.text or said.refusal)]
    for call in said.calls:
        lines.append(_ollama_line({"tool_calls": [{"function": {"name": call.name, "arguments": call.arguments}}]}))
    return [*lines, {**_ollama_line({}, done=True), **_ollama_end(said)}]


def generated(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of /api/chat as /api/generate has it."""
    rest = {name: value for name, value in line.items() if name != "message"}
    return {**rest, "response": line["message"]["content"]}


PLAIN = {"C": chat_plain, "M": messages_plain, "R": responses_plain, "O": ollama_plain}
STREAMED = {"C": lambda said: chat_events(said, True), "M": messages_events, "R": responses_events, "O": ollama_lines}
