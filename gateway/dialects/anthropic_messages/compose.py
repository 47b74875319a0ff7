"""A Messages request from neutral words."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from gateway.chat import ChatRequest, OutputFormat, Tool, ToolChoice
from gateway.dialects.anthropic_messages import thinking
from gateway.dialects.anthropic_messages.blocks import DIALECT
from gateway.dialects.anthropic_messages.history import HistoryWriter
from gateway.dialects.anthropic_messages.render_blocks import Block
from gateway.dialects.anthropic_messages.traits import Traits, traits_of
from gateway.dialects.freeform import as_function
from gateway.dialects.json import decode_event, raw
from gateway.dialects.members import body_bytes
from gateway.dialects.names import wire_name
from gateway.dialects.notice import Dropped, field_name, foreign_extra, thinking_losses
from gateway.dialects.protocol import Rendered, Target
from gateway.dialects.stored import refuse_stored
from gateway.errors import BadRequest

HIDDEN_TOOL = "gateway_structured_answer"
"""The tool that older models answer through when a schema was asked for; no client ever sees it."""
EMPTY_SCHEMA = '{"type":"object","properties":{}}'
JSON_ONLY = "Answer with one JSON object and nothing else: no explanation, no code fence."
MOST_BREAKPOINTS = 4
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_PERSONAL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|\+?[\d\s().-]{7,}")
LONGEST_USER = 256


def render_request(chat: ChatRequest, target: Target) -> Rendered:
    """Return the upstream request. Raises: BadRequest for what Anthropic cannot be asked."""
    own = chat.dialect == DIALECT
    refuse_stored(chat)
    dropped = Dropped()
    traits = traits_of(target.model, target.quirks)
    if chat.n is not None and chat.n > 1:
        raise BadRequest("n: this target gives one answer a request; send n requests instead", param="n")
    if chat.max_tokens is not None and chat.max_tokens < 1 and not own:
        name = chat.max_tokens_name or field_name("limit", chat.dialect)
        raise BadRequest(f"{name} must be at least 1 for this target", param=name)
    system, messages = HistoryWriter(traits, dropped, chat.dialect).write(chat.messages)
    default = target.params.get("max_tokens")
    most = default if isinstance(default, int) and default > 0 else traits.max_output_tokens
    body: dict[str, Any] = {"model": target.model, "max_tokens": chat.max_tokens or most}
    if own and chat.max_tokens == 0:
        body["max_tokens"] = 0
    if system:
        body["system"] = system
    body["messages"] = messages
    if chat.stream:
        body["stream"] = True
    _write_tools(body, chat, own, dropped)
    _write_sampling(body, chat, traits, own, dropped)
    thinking.write_thinking(body, chat, traits, own, dropped)
    if not own:
        thinking.yields(body, dropped)
        _limit_breakpoints(body, dropped)
    if chat.output is not None:
        _write_output(body, chat.output, traits, own, dropped)
    _write_rest(body, chat, own, dropped)
    dropped.add(*chat.unread)
    # A Messages client's own version goes upstream with its other headers; only a translation has none.
    headers = {} if own else {"anthropic-version": traits.version}
    return Rendered(body=body_bytes(body), headers=headers, dropped=dropped.names)


def _write_tools(body: dict[str, Any], chat: ChatRequest, own: bool, dropped: Dropped) -> None:
    allowed = set(chat.tool_choice.allowed) if chat.tool_choice is not None else set()
    tools = [tool for tool in chat.tools if not allowed or tool.name in allowed]
    written = [block for tool in tools if (block := _tool(tool, own, dropped)) is not None]
    if not written:
        if chat.tools and chat.tool_choice is not None and chat.tool_choice.mode in ("required", "tool"):
            dropped.add("tool_choice")
        return
    body["tools"] = written
    choice = _tool_choice(chat.tool_choice, own)
    if chat.parallel_tool_calls is False and (choice is None or choice["type"] != "none"):
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(tool: Tool, own: bool, dropped: Dropped) -> Block | None:
    if tool.kind == "custom":
        tool = as_function(tool)
    elif tool.kind != "function":
        if tool.dialect == DIALECT and own:
            return dict(tool.value)
        dropped.add(tool.kind)
        return None
    block: Block = {"name": tool.name if own else wire_name(tool.name)}
    if tool.description is not None:
        block["description"] = tool.description
    block["input_schema"] = raw(tool.parameters or EMPTY_SCHEMA) if own else raw(object_schema(tool.parameters))
    if tool.strict is not None and (own or tool.strict):
        block["strict"] = tool.strict
    if tool.cache_control is not None:
        block["cache_control"] = tool.cache_control
    if own:
        block |= tool.extra
    else:
        dropped.add_set(tool.extra)
    return block


def object_schema(parameters: str | None) -> str:
    """Return a tool's schema whole; Anthropic wants its `type` to be said, which OpenAI lets one leave out."""
    if parameters is None or parameters in ("", "{}", "null"):
        return EMPTY_SCHEMA
    schema = decode_event(parameters.encode("utf-8", "replace"))
    if schema is None or "type" in schema:
        return parameters
    inner = parameters.strip()[1:]
    return '{"type":"object"' + ("" if inner.strip() == "}" else ",") + inner


def _tool_choice(choice: ToolChoice | None, own: bool) -> Block | None:
    if choice is None:
        return None
    match choice.mode:
        case "auto":
            return {"type": "auto"}
        case "required":
            return {"type": "any"}
        case "none":
            return {"type": "none"}
        case "tool":
            name = choice.name or ""
            return {"type": "tool", "name": name if own else wire_name(name)}


def _write_sampling(body: dict[str, Any], chat: ChatRequest, traits: Traits, own: bool, dropped: Dropped) -> None:
    given = {"temperature": chat.temperature, "top_p": chat.top_p, "top_k": chat.top_k}
    wanted = {name: value for name, value in given.items() if value is not None}
    if not own and not traits.takes_sampling:
        dropped.add(*wanted)
        wanted = {}
    if not own:
        if "temperature" in wanted and not 0 <= (chat.temperature or 0) <= 1:
            wanted["temperature"] = min(1, max(0, chat.temperature or 0))
            dropped.add("temperature")
        if "temperature" in wanted and "top_p" in wanted and not traits.both_temperature_and_top_p:
            del wanted["top_p"]
            dropped.add("top_p")
    body |= wanted
    stop = [text for text in chat.stop if own or text.strip()]
    if len(stop) < len(chat.stop):
        dropped.add(field_name("stop", chat.dialect))
    if stop:
        body["stop_sequences"] = stop


def _write_output(body: dict[str, Any], output: OutputFormat, traits: Traits, own: bool, dropped: Dropped) -> None:
    if output.kind == "json_schema" and output.schema is not None:
        if own or traits.native_output:
            format = {"type": "json_schema", "schema": raw(output.schema)}
            body.setdefault("output_config", {})["format"] = format
            dropped.add_set({"description": output.description})
        else:
            _write_hidden_tool(body, output.schema, output.description)
    else:
        body["system"] = [*body.get("system", ()), {"type": "text", "text": JSON_ONLY}]


def _write_hidden_tool(body: dict[str, Any], schema: str, description: str | None) -> None:
    """Have the model answer through a tool of our own; beside the client's tools it may use those first."""
    hidden: Block = {
        "name": HIDDEN_TOOL,
        "description": f"Give the final answer through this tool. {description or ''}".strip(),
        "input_schema": raw(object_schema(schema)),
    }
    others = body.get("tools", [])
    body["tools"] = [*others, hidden]
    given = body.get("tool_choice", {})
    choice = given.get("type", "auto")
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        body["tool_choice"] = {**given, "type": "auto"}  # thinking excludes a forced tool
    elif not others or choice == "none":
        body["tool_choice"] = {"type": "tool", "name": HIDDEN_TOOL}
    elif choice == "auto":
        body["tool_choice"] = {**given, "type": "any"}


def _write_rest(body: dict[str, Any], chat: ChatRequest, own: bool, dropped: Dropped) -> None:
    metadata: dict[str, Any] = {}
    if chat.user is not None:
        metadata["user_id"] = chat.user if own else opaque_user(chat.user)
    if chat.service_tier is not None:
        tier = chat.service_tier if own else _TIERS.get(chat.service_tier)
        if tier is None:
            dropped.add("service_tier")
        else:
            body["service_tier"] = tier
    if own:
        extra = dict(chat.extra)
        metadata |= extra.pop("metadata", {})
        if "output_config" in extra:
            body["output_config"] = body.get("output_config", {}) | extra.pop("output_config")
        body |= extra
    else:
        dropped.add_set(foreign_extra(chat))
        dropped.add(*thinking_losses(chat))
        dropped.add_set({"metadata": chat.metadata, "seed": chat.seed})
        dropped.add_set(
            (name, value or None)
            for name, value in (
                ("frequency_penalty", chat.frequency_penalty),
                ("presence_penalty", chat.presence_penalty),
            )
        )
    if metadata:
        body["metadata"] = metadata


def opaque_user(user: str) -> str:
    """Return an end user's id as Anthropic wants it: no mail address, no telephone number, 256 characters at most."""
    if len(user) <= LONGEST_USER and not _PERSONAL.fullmatch(user.strip()):
        return user
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def _limit_breakpoints(body: dict[str, Any], dropped: Dropped) -> None:
    """Keep the last four cache breakpoints: a later one covers what stands before an earlier one."""
    marked = [block for block in _cacheable(body) if "cache_control" in block]
    for block in marked[:-MOST_BREAKPOINTS]:
        del block["cache_control"]
        dropped.add("cache_control")


def _cacheable(body: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for block in message["content"]:
                blocks.append(block)
                if block["type"] == "tool_result" and isinstance(block.get("content"), list):
                    blocks += block["content"]
    return blocks
