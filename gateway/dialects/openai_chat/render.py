"""Writing a chat request: the upstream body, and what it could not carry.

A request that came as chat is given back whole, fields without a neutral name included. Of other dialects'
requests only what every chat server takes is sent; what a provider takes beyond that its quirks say:

    max_tokens_field   the name of the token limit, `max_completion_tokens` or `max_tokens`
    developer_role     true: OpenAI proper, whose models that reason take the system prompt as role `developer` and
                       whose others refuse `reasoning_effort`
    reasoning_content  true: earlier reasoning goes back as `reasoning_content` (DeepSeek's thinking with tools)
    reasoning_effort   false: the provider refuses the field
    top_k              true: the provider takes it
    cache_control      true: the provider takes Anthropic's cache marks
    stream_usage       false: the provider refuses `stream_options`
"""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest, OutputFormat, Thinking
from gateway.dialects.json import decode_any, encode, raw
from gateway.dialects.names import wire_name
from gateway.dialects.notice import lost_names, thinking_losses
from gateway.dialects.openai_chat.messages import MessageRenderer
from gateway.dialects.openai_chat.models import cannot_reason, needs_newer_limit
from gateway.dialects.openai_chat.offer import ToolRenderer
from gateway.dialects.openai_chat.strict import is_strict
from gateway.dialects.protocol import Rendered, Target
from gateway.dialects.stored import refuse_stored
from gateway.errors import BadRequest

NAME = "openai_chat"
RESPONSES = "openai_responses"
OPENAI = (NAME, RESPONSES)
_STOPS = 4
_TIERS = frozenset(("auto", "default", "flex", "scale", "priority", "fast"))
_BUCKETS = ((1024, "minimal"), (2048, "low"), (8192, "medium"), (24576, "high"))


def render_request(chat: ChatRequest, target: Target) -> Rendered:
    """Return the upstream body. Raises: BadRequest for what chat cannot say at all."""
    own = chat.dialect == NAME
    refuse_stored(chat)
    dropped: list[str] = []
    body: dict[str, Any] = {"model": target.model}
    body["messages"] = MessageRenderer(chat, target, dropped).render()
    if not own and not body["messages"]:
        raise BadRequest("the request has no message; send at least one", param="messages")
    if chat.tools or own:
        body.update(ToolRenderer(chat, dropped).render())
    if chat.stream:
        body["stream"] = True
        if target.quirks.get("stream_usage") is not False and (chat.include_usage or not own):
            body["stream_options"] = {"include_usage": True}
    _limits(body, chat, target, dropped)
    _sampling(body, chat, target, dropped)
    if chat.output is not None:
        body["response_format"] = _format(chat.output, chat.dialect)
    if chat.thinking is not None:
        effort = effort_of(chat.thinking, own or chat.dialect == RESPONSES)
        if effort is not None and not own and not _takes_effort(target):
            dropped.append("reasoning_effort" if chat.dialect == RESPONSES else "thinking")
        elif effort is not None:
            body["reasoning_effort"] = effort
    _identity(body, chat, dropped)
    if own:
        for name, value in chat.extra.items():
            body[name] = {**body.get(name, {}), **value} if name == "stream_options" else value
    else:
        _foreign_extra(body, chat, dropped)
        dropped.extend(thinking_losses(chat))
    dropped.extend(chat.unread)
    return Rendered(body=encode(body), dropped=tuple(dict.fromkeys(dropped)))


def _takes_effort(target: Target) -> bool:
    if target.quirks.get("developer_role") and cannot_reason(target.model):
        return False
    return target.quirks.get("reasoning_effort") is not False


def _limits(body: dict[str, Any], chat: ChatRequest, target: Target, dropped: list[str]) -> None:
    if chat.max_tokens is None:
        return
    if chat.max_tokens < 1 and chat.dialect != NAME:
        raise BadRequest("max_tokens must be at least 1 for this target", param="max_tokens")
    name = target.quirks.get("max_tokens_field")
    if chat.max_tokens_name and chat.dialect == NAME and name is None:
        name = chat.max_tokens_name
    if name is None:
        name = "max_completion_tokens" if needs_newer_limit(target.model) else "max_tokens"
    body[str(name)] = chat.max_tokens


def _sampling(body: dict[str, Any], chat: ChatRequest, target: Target, dropped: list[str]) -> None:
    for name in ("temperature", "top_p", "n", "seed", "frequency_penalty", "presence_penalty"):
        value = getattr(chat, name)
        if value is not None:
            body[name] = value
    if chat.top_k is not None:
        if chat.dialect == NAME or target.quirks.get("top_k"):
            body["top_k"] = chat.top_k
        else:
            dropped.append("top_k")
    if chat.stop:
        stops = list(chat.stop)
        if chat.dialect != NAME and len(stops) > _STOPS:
            stops = stops[:_STOPS]
            dropped.append("stop_sequences" if chat.dialect == "anthropic" else "stop")
        body["stop"] = stops


def _format(output: OutputFormat, said_by: str) -> dict[str, Any]:
    if output.kind == "json_object":
        return {"type": "json_object"}
    own = said_by == NAME
    schema = decode_any(output.schema) if output.schema else {}
    inner: dict[str, Any] = {"name": output.name or ("" if own else format_name(schema))}
    if not own:
        inner["name"] = wire_name(inner["name"])
    if output.description is not None:
        inner["description"] = output.description
    if output.schema is not None:
        inner["schema"] = raw(output.schema)
    if output.strict is not None:
        inner["strict"] = output.strict
    elif said_by not in OPENAI:
        # J03: strict makes every property required, so only a schema that already is may say so.
        inner["strict"] = is_strict(schema)
    return {"type": "json_schema", "json_schema": inner}


def format_name(schema: object) -> str:
    """Return a name for a schema that came without one: its title, else `answer`."""
    title = schema.get("title") if isinstance(schema, dict) else None
    return wire_name(title.strip().replace(" ", "_")) if isinstance(title, str) and title.strip() else "answer"


def effort_of(thinking: Thinking, openai: bool) -> str | None:
    """Return OpenAI's effort word (K02). None leaves the model's default, also where thinking is switched off by a
    client of another vendor: only some models take `none`, and every one of the others would refuse it."""
    match thinking.mode:
        case "disabled":
            return "none" if openai else None
        case "budget":
            budget = thinking.budget_tokens or 0
            return next((word for limit, word in _BUCKETS if budget <= limit), "xhigh")
        case "adaptive":
            return thinking.effort or "medium"
    return thinking.effort


def _identity(body: dict[str, Any], chat: ChatRequest, dropped: list[str]) -> None:
    own = chat.dialect == NAME
    if chat.user is not None and not (own and chat.extra.get("safety_identifier") == chat.user):
        body["user"] = chat.user
    if chat.metadata is not None:
        if own:
            body["metadata"] = chat.metadata
        else:
            dropped.append("metadata")
    if chat.service_tier is not None:
        tier = {"standard_only": "default"}.get(chat.service_tier, chat.service_tier)
        if own:
            body["service_tier"] = chat.service_tier
        elif tier in _TIERS:
            body["service_tier"] = tier
        else:
            dropped.append("service_tier")


def _foreign_extra(body: dict[str, Any], chat: ChatRequest, dropped: list[str]) -> None:
    """Carry what chat knows by the same meaning of a Responses request; note the rest."""
    for name, value in chat.extra.items():
        rest = value
        if chat.dialect == RESPONSES and name == "text" and isinstance(value, dict) and "verbosity" in value:
            body["verbosity"] = value["verbosity"]
            rest = {key: member for key, member in value.items() if key != "verbosity"}
        dropped.extend(lost_names(((name, rest),)))
