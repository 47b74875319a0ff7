"""Writing a Responses request: the upstream body, and what it could not carry.

A request that came as Responses is given back whole. Others are sent stateless: `store` is false unless the client said
otherwise, and reasoning comes back encrypted so that the next turn can return it (K10).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest, OutputFormat, Tool, ToolChoice
from gateway.dialects.json import decode_any, encode, raw
from gateway.dialects.names import wire_name
from gateway.dialects.notice import field_name, lost_names, thinking_losses
from gateway.dialects.openai_chat.models import needs_newer_limit
from gateway.dialects.openai_chat.render import effort_of, format_name
from gateway.dialects.openai_chat.strict import is_strict
from gateway.dialects.openai_responses.content import NAME
from gateway.dialects.openai_responses.history import ItemRenderer
from gateway.dialects.protocol import Rendered, Target
from gateway.errors import BadRequest

CHAT = "openai_chat"
_SMALLEST_LIMIT = 16
_TIERS = frozenset(("auto", "default", "flex", "scale", "priority", "fast"))
_SHARED = frozenset(
    ("store", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "moderation")
)
"""Fields that chat and Responses have in common, by the same name and meaning."""
_ENCRYPTED = "reasoning.encrypted_content"
_EMPTY_SCHEMA = '{"type":"object","properties":{}}'


def render_request(chat: ChatRequest, target: Target) -> Rendered:
    """Return the upstream body. Raises: BadRequest for what Responses cannot say at all."""
    dropped: list[str] = []
    own = chat.dialect == NAME
    items = ItemRenderer(chat, dropped)
    instructions, input_items = items.render()
    body: dict[str, Any] = {"model": target.model}
    if instructions is not None:
        body["instructions"] = instructions
    if input_items or not own:
        body["input"] = input_items
    if chat.stream:
        body["stream"] = True
    body.update(settings(chat, dropped))
    if own:
        for name, value in chat.extra.items():
            body[name] = {**body.get(name, {}), **value} if name == "text" and isinstance(value, dict) else value
    else:
        _stateless(body, chat, target, dropped)
    dropped.extend(chat.unread)
    return Rendered(body=encode(body), dropped=tuple(dict.fromkeys(dropped)))


def settings(chat: ChatRequest, dropped: list[str]) -> dict[str, Any]:
    """Return tools, limits, sampling, format and reasoning in Responses' words; an answer echoes the same (F10)."""
    own = chat.dialect == NAME
    body: dict[str, Any] = {}
    tools = [tool for offered in chat.tools if (tool := _tool(offered, own, dropped)) is not None]
    if tools:
        body["tools"] = tools
    if chat.tool_choice is not None and (tools or own):
        choice = _choice(chat.tool_choice, chat, own)
        if choice is not None:
            body["tool_choice"] = choice
        else:
            dropped.append("tool_choice")
    elif chat.tools and chat.tool_choice is not None and chat.tool_choice.mode in ("required", "tool"):
        dropped.append("tool_choice")
    if chat.parallel_tool_calls is not None and (tools or own):
        body["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.max_tokens is not None:
        if chat.max_tokens < 1 and not own:
            name = chat.max_tokens_name or field_name("limit", chat.dialect)
            raise BadRequest(f"{name} must be at least 1 for this target", param=name)
        body["max_output_tokens"] = chat.max_tokens if own else max(chat.max_tokens, _SMALLEST_LIMIT)
    if chat.temperature is not None:
        body["temperature"] = chat.temperature
    if chat.top_p is not None:
        body["top_p"] = chat.top_p
    _unsayable(chat, dropped)
    if chat.output is not None:
        body["text"] = {"format": _format(chat.output, own)}
    if (reasoning := _reasoning(chat, own)) is not None:
        body["reasoning"] = reasoning
    if chat.user is not None and chat.extra.get("safety_identifier") != chat.user:
        body["user"] = chat.user
    if chat.metadata is not None:
        if own or chat.dialect == CHAT:
            body["metadata"] = chat.metadata
        else:
            dropped.append("metadata")
    if chat.service_tier is not None:
        tier = {"standard_only": "default"}.get(chat.service_tier, chat.service_tier)
        if own or tier in _TIERS:
            body["service_tier"] = chat.service_tier if own else tier
        else:
            dropped.append("service_tier")
    return body


def _unsayable(chat: ChatRequest, dropped: list[str]) -> None:
    if chat.stop:
        dropped.append("stop_sequences" if chat.dialect == "anthropic" else "stop")
    if chat.n is not None and chat.n > 1:
        raise BadRequest("n: this target gives one answer a request; send n requests instead", param="n")
    for name in ("top_k", "seed", "frequency_penalty", "presence_penalty"):
        if getattr(chat, name) is not None:
            dropped.append(name)


def _tool(tool: Tool, own: bool, dropped: list[str]) -> dict[str, Any] | None:
    if tool.kind != "function":
        if tool.dialect == NAME and isinstance(tool.value, dict):
            return tool.value
        if tool.kind == "custom":
            dropped.extend(lost_names(tool.extra))
            return _custom(tool)
        dropped.append(tool.kind)
        return None
    wire: dict[str, Any] = {"type": "function", "name": tool.name if own else wire_name(tool.name)}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.parameters is not None or not own:
        wire["parameters"] = raw(tool.parameters or _EMPTY_SCHEMA)
    if tool.strict is not None or not own:
        wire["strict"] = bool(tool.strict)  # T04: its absence would mean true here
    if own:
        return {**wire, **tool.extra}
    dropped.extend(lost_names(tool.extra))
    if tool.cache_control is not None:
        dropped.append("cache_control")
    return wire


def _custom(tool: Tool) -> dict[str, Any]:
    """Return chat's nested custom tool in Responses' flat form."""
    wire: dict[str, Any] = {"type": "custom", "name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    inner = tool.value.get("custom") if isinstance(tool.value, dict) else None
    given = inner.get("format") if isinstance(inner, dict) else None
    if isinstance(given, dict):
        grammar = given.get("grammar")
        wire["format"] = {"type": "grammar", **grammar} if isinstance(grammar, dict) else given
    return wire


def _choice(choice: ToolChoice, chat: ChatRequest, own: bool) -> str | dict[str, Any] | None:
    kinds = {tool.name: tool.kind for tool in chat.tools}

    def reference(name: str) -> dict[str, Any]:
        kind = "custom" if kinds.get(name) == "custom" else "function"
        return {"type": kind, "name": name if own else wire_name(name)}

    if choice.allowed:
        return {"type": "allowed_tools", "mode": choice.mode, "tools": [reference(name) for name in choice.allowed]}
    if choice.mode != "tool":
        return choice.mode
    if not own and kinds.get(choice.name or "") not in ("function", "custom"):
        return None
    return reference(choice.name or "")


def _format(output: OutputFormat, own: bool) -> dict[str, Any]:
    if output.kind == "json_object":
        return {"type": "json_object"}
    schema = decode_any(output.schema) if output.schema else {}
    name = output.name or ("" if own else format_name(schema))
    wire: dict[str, Any] = {"type": "json_schema", "name": name if own else wire_name(name)}
    if output.description is not None:
        wire["description"] = output.description
    if output.schema is not None or not own:
        wire["schema"] = raw(output.schema or "{}")
    if output.strict is not None:
        wire["strict"] = output.strict
    elif not own:
        wire["strict"] = is_strict(schema)  # J03: strict would make every property required
    return wire


def _reasoning(chat: ChatRequest, own: bool) -> dict[str, Any] | None:
    thinking = chat.thinking
    if thinking is None:
        return None
    if own:
        rest = thinking.value if isinstance(thinking.value, dict) else {}
        return {**({"effort": thinking.effort} if thinking.effort is not None else {}), **rest}
    effort = effort_of(thinking, chat.dialect == CHAT)
    if effort is None:
        return None
    if chat.dialect == "anthropic" and thinking.display != "omitted":
        return {"effort": effort, "summary": "auto"}  # without a summary Anthropic's client would see no thinking
    return {"effort": effort}


def _stateless(body: dict[str, Any], chat: ChatRequest, target: Target, dropped: list[str]) -> None:
    body["store"] = False
    for name, value in chat.extra.items():
        if chat.dialect == CHAT:
            if name in _SHARED:
                body[name] = value
                continue
            if name == "verbosity":
                body["text"] = {**body.get("text", {}), "verbosity": value}
                continue
            if name == "stream_options" and isinstance(value, dict) and set(value) == {"include_obfuscation"}:
                body["stream_options"] = value
                continue
        dropped.extend(lost_names(((name, value),)))
    dropped.extend(thinking_losses(chat, shown="reasoning" not in body or "summary" in body["reasoning"]))
    thought = any(item["type"] == "reasoning" for item in body["input"])
    if thought or "reasoning" in body or needs_newer_limit(target.model):
        body["include"] = [_ENCRYPTED]
