"""A Messages request in neutral words.

The top-level `system` comes first, as one system message; tool results become messages of role `tool`, before
whatever else stood in the same user message: Anthropic wants them first and every other dialect apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from gateway.chat import ChatRequest, Message, OutputFormat, Part, Role, Text, Thinking, Tool, ToolChoice, ToolResult
from gateway.dialects.anthropic_messages.blocks import DIALECT, parse_block, parse_content
from gateway.dialects.members import ODD_JSON, Members

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_FUNCTION_TYPES = (None, "custom")
_CHOICES = {
    "auto": ToolChoice(mode="auto"),
    "any": ToolChoice(mode="required"),
    "none": ToolChoice(mode="none"),
}
_NO_SYSTEM = (Text(text=""),)
_Said = tuple[str, tuple[Part, ...], dict[str, Any]]


class _Usual(Struct, forbid_unknown_fields=True, gc=False):
    """A message as nearly all are."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Raw]]


_decode_usual = msgspec.json.Decoder(list[_Usual]).decode


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in neutral words. Raises: BadRequest, naming the field."""
    top = Members.of_body(body)
    model = top.text("model")
    if not model:
        top.fail("model", "missing; name a model")
    messages = _messages(top)
    thinking, output, config = _thinking_and_output(top)
    choice, parallel = _tool_choice(top)
    user, metadata = _metadata(top)
    tools = tuple(_tool(tool) for tool in top.objects("tools"))
    return ChatRequest(
        dialect=DIALECT,
        model=model,
        messages=messages,
        stream=top.flag("stream") or False,
        include_usage=True,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=top.integer("max_tokens"),
        temperature=top.number("temperature"),
        top_p=top.number("top_p"),
        top_k=top.integer("top_k"),
        stop=top.texts("stop_sequences"),
        output=output,
        thinking=thinking,
        user=user,
        service_tier=top.text("service_tier"),
        extra=config | metadata | top.whole(),
        unread=tuple(top.unread),
    )


def _messages(top: Members) -> tuple[Message, ...]:
    if top.peek("messages") is None:
        top.fail("messages", "missing; send at least one message")
    out: list[Message] = []
    system = parse_content(top, "system")
    if system and system != _NO_SYSTEM:
        out.append(Message(role="system", parts=system))
    for role, parts, extra in _usual(top) or _any(top):
        results = [part for part in parts if isinstance(part, ToolResult)] if role == "user" else []
        rest: tuple[Part, ...] = tuple(part for part in parts if not isinstance(part, ToolResult)) if results else parts
        out += [Message(role="tool", parts=(result,)) for result in results]
        if results and not rest and extra:
            out[-1] = Message(role="tool", parts=(results[-1],), extra=extra)
        if rest or not results:
            out.append(Message(role=_ROLES[role], parts=rest, extra=extra))
    return tuple(out)


def _usual(top: Members) -> list[_Said] | None:
    """Return the messages when none has more than a role and content, read in one pass; None leaves all to `_any`."""
    try:
        messages = _decode_usual(top.peek("messages") or b"")
    except ODD_JSON:
        return None
    top.take("messages")
    out: list[_Said] = []
    for index, message in enumerate(messages):
        content = message.content
        if isinstance(content, str):
            out.append((message.role, (Text(text=content),), {}))
            continue
        at = f"messages[{index}].content"
        blocks = (Members(block, f"{at}[{number}]", top.unread) for number, block in enumerate(content))
        out.append((message.role, tuple(map(parse_block, blocks)), {}))
    return out


def _any(top: Members) -> Iterator[_Said]:
    for message in top.objects("messages"):
        role = message.text("role") or ""
        if role not in _ROLES:
            message.fail("role", f'"{role[:40]}" is not user, assistant or system')
        if message.peek("content") is None:
            message.fail("content", "missing; send text or a list of blocks")
        parts = parse_content(message, "content")
        yield role, parts, message.whole()


def _tool(tool: Members) -> Tool:
    kind = tool.text("type")
    name = tool.text("name") or ""
    if kind not in _FUNCTION_TYPES:
        value = {"type": kind} | ({"name": name} if name else {}) | tool.whole()
        return Tool(name=name, kind=str(kind), dialect=DIALECT, value=value, cache_control=value.get("cache_control"))
    if not name:
        tool.fail("name", "missing; a tool has one")
    return Tool(
        name=name,
        description=tool.text("description"),
        parameters=tool.json_text("input_schema"),
        strict=tool.flag("strict"),
        cache_control=tool.value("cache_control"),
        dialect=DIALECT,
        extra=tool.whole(),
    )


def _tool_choice(top: Members) -> tuple[ToolChoice | None, bool | None]:
    choice = top.object("tool_choice")
    if choice is None:
        return None, None
    serial = choice.flag("disable_parallel_tool_use")
    parallel = None if serial is None else not serial
    kind, name = choice.text("type"), choice.text("name")
    choice.spent()
    if kind == "tool":
        return ToolChoice(mode="tool", name=name or ""), parallel
    found = _CHOICES.get(kind or "")
    if found is None:
        choice.fail("type", f'"{str(kind)[:40]}" is not auto, any, tool or none')
    return found, parallel


def _thinking_and_output(top: Members) -> tuple[Thinking | None, OutputFormat | None, dict[str, Any]]:
    """Return both halves of what `thinking` and `output_config` say, and the rest of `output_config`."""
    config = top.object("output_config")
    legacy = top.object("output_format")
    effort = config.text("effort") if config is not None else None
    wanted = (config.object("format") if config is not None else None) or legacy
    rest = config.whole() if config is not None else {}
    return _thinking(top, effort), _output(wanted), {"output_config": rest} if rest else {}


def _thinking(top: Members, effort: str | None) -> Thinking | None:
    thinking = top.object("thinking")
    if thinking is None:
        return None if effort is None else Thinking(mode="effort", effort=effort)
    kind = thinking.text("type")
    display = thinking.text("display")
    match kind:
        case "enabled":
            budget = thinking.integer("budget_tokens")
            thinking.spent()
            return Thinking(mode="budget", budget_tokens=budget, effort=effort, display=display)
        case "disabled":
            thinking.spent()
            return Thinking(mode="disabled", effort=effort)
        case "adaptive":
            thinking.spent()
            return Thinking(mode="adaptive", effort=effort, display=display)
    # between_tools and whatever comes later: the model decides, and Anthropic gets the words it knows.
    value = {"type": kind} | ({"display": display} if display else {}) | thinking.whole()
    return Thinking(mode="adaptive", effort=effort, display=display, value=value)


def _output(wanted: Members | None) -> OutputFormat | None:
    if wanted is None:
        return None
    kind = wanted.text("type")
    if kind != "json_schema":
        wanted.fail("type", f'"{str(kind)[:40]}" is not json_schema')
    schema = wanted.json_text("schema")
    if schema is None:
        wanted.fail("schema", "missing; a json_schema format has one")
    wanted.spent()
    return OutputFormat(kind="json_schema", schema=schema)


def _metadata(top: Members) -> tuple[str | None, dict[str, Any]]:
    metadata = top.object("metadata")
    if metadata is None:
        return None, {}
    user = metadata.text("user_id")
    rest = metadata.whole()
    return user, {"metadata": rest} if rest else {}
