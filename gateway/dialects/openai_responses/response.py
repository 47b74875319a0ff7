"""The response object that plain answers and streams share: what it echoes, and its output items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.chat import ChatRequest, Reasoning, StopReason, Usage
from gateway.dialects.openai_chat.counts import responses_usage
from gateway.dialects.openai_responses.carrier import pack
from gateway.dialects.openai_responses.content import NAME
from gateway.dialects.openai_responses.render import settings
from gateway.dialects.protocol import AnswerContext

_REASONS = {"length": "max_output_tokens", "refusal": "content_filter"}


def response_head(context: AnswerContext, response_id: str = "", created_s: int = 0, model: str = "") -> dict[str, Any]:
    """Return the response as it begins: every member the package wants, the client's own settings echoed (F10)."""
    return {
        "id": response_id or f"resp_{context.id}",
        "object": "response",
        "created_at": created_s or int(context.now_s),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": context.model or model,
        "output": [],
        "usage": None,
        **_echo(context.request),
    }


def _echo(request: ChatRequest | None) -> dict[str, Any]:
    echo: dict[str, Any] = {
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": None,
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
    if request is None or request.dialect != NAME:
        return echo
    given = settings(request, [])
    for name, value in request.extra.items():
        if name in _ECHOED:
            given[name] = {**given.get(name, {}), **value} if name == "text" and isinstance(value, dict) else value
    if isinstance(given.get("text"), dict) and "format" not in given["text"]:
        given["text"] = {"format": {"type": "text"}, **given["text"]}
    if "reasoning" in given:
        given["reasoning"] = {**echo["reasoning"], **given["reasoning"]}
    for tool in given.get("tools", ()):
        if tool.get("type") == "function":
            tool.setdefault("strict", True)
            tool.setdefault("parameters", None)
    if request.instructions and request.messages:
        given["instructions"] = "".join(getattr(part, "text", "") for part in request.messages[0].parts)
    return echo | given


_ECHOED = frozenset(
    (
        *("store", "truncation", "previous_response_id", "max_tool_calls", "text", "tool_choice", "top_logprobs"),
        *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "conversation"),
    )
)


def finish(head: dict[str, Any], stop: StopReason, output: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
    """Return the response as it ends: completed, or incomplete and why (F05, R07)."""
    reason = _REASONS.get(stop)
    return {
        **head,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": responses_usage(usage) if usage is not None else None,
    }


def stop_status(stop: StopReason, extra: Mapping[str, Any]) -> StopReason:
    """Return the stop that decides the status: a refusal that a chat server ended with `stop` is a complete answer."""
    own = extra.get("openai_chat")
    if stop == "refusal" and isinstance(own, dict) and own.get("finish_reason") == "stop":
        return "stop"
    if stop == "refusal" and NAME in extra:
        return "stop" if extra[NAME].get("status") == "completed" else stop
    return stop


def reasoning_item(reasoning: Reasoning, item_id: str) -> dict[str, Any]:
    """Return a reasoning item; another vendor's signature travels in `encrypted_content` (K11)."""
    item: dict[str, Any] = {"id": item_id, "type": "reasoning"}
    item["summary"] = [{"type": "summary_text", "text": reasoning.text}] if reasoning.text else []
    encrypted = pack(reasoning)
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def message_item(item_id: str, content: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def call_item(
    item_id: str, call_id: str, name: str, arguments: str, *, custom: bool, status: str = "completed"
) -> dict[str, Any]:
    if custom:
        kind, field = "custom_tool_call", "input"
    else:
        kind, field = "function_call", "arguments"
    return {"id": item_id, "type": kind, "status": status, "call_id": call_id, "name": name, field: arguments}
