"""Reading a Responses request into neutral words."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.chat import ChatRequest, Message, OutputFormat, Text, Thinking, Tool, ToolChoice
from gateway.dialects.json import decode_object
from gateway.dialects.openai_chat.fields import Fields, wrong
from gateway.dialects.openai_chat.tools import allowed_names, schema_text
from gateway.dialects.openai_responses.content import NAME
from gateway.dialects.openai_responses.items import ItemReader


class _Tool(Struct):
    parameters: Raw = Raw(b"")


class _Format(Struct):
    schema: Raw = Raw(b"")


class _Text(Struct):
    format: _Format | None = None


class _Body(Struct):
    """Where a request's schemas are."""

    tools: list[_Tool] | None = None
    text: _Text | None = None


_decode = msgspec.json.Decoder(_Body).decode


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in neutral words. Raises: BadRequest, with `param` naming the field."""
    decoded = decode_object(body)
    fields = Fields(decoded)
    schemas = _Body()
    if decoded.get("tools") or decoded.get("text"):
        try:
            schemas = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # a member of an odd type: whoever reads it says so
    model = fields.needed("model")
    given, instructions = fields.any("input"), fields.text("instructions")
    if given is not None and not isinstance(given, str | list):
        raise wrong("input", "a string or a list of items")
    messages = ItemReader(fields.unread).read([given] if isinstance(given, str) else given or [])
    if instructions is not None:
        messages = (Message(role="system", parts=(Text(text=instructions),)), *messages)
    text, reasoning = fields.object("text"), fields.object("reasoning")
    safety = fields.rest.get("safety_identifier")
    chat = ChatRequest(
        dialect=NAME,
        model=model,
        messages=messages,
        stream=bool(fields.boolean("stream")),
        instructions=instructions is not None,
        tools=_tools(fields, schemas),
        tool_choice=_choice(fields),
        parallel_tool_calls=fields.boolean("parallel_tool_calls"),
        max_tokens=fields.integer("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        output=_format(text, schemas) if text is not None else None,
        thinking=_thinking(reasoning) if reasoning is not None else None,
        user=fields.text("user") or (safety if isinstance(safety, str) else None),
        metadata=fields.any("metadata"),
        service_tier=fields.text("service_tier"),
    )
    extra = {name: value for name, value in fields.rest.items() if value is not None}
    if text is not None and any(value is not None for value in text.rest.values()):
        extra["text"] = {name: value for name, value in text.rest.items() if value is not None}
    return replace(chat, extra=extra, unread=tuple(fields.unread))


def _tools(fields: Fields, schemas: _Body) -> tuple[Tool, ...]:
    raws = schemas.tools or []
    out = []
    for number, value in enumerate(fields.items("tools")):
        at = f"tools.{number}"
        tool = Fields(value, at)
        kind = tool.needed("type")
        if kind == "custom":
            name, description = tool.needed("name"), tool.text("description")
            tool.any("format")
            out.append(Tool(name=name, description=description, kind=kind, dialect=NAME, value=value, extra=tool.rest))
        elif kind != "function":
            name = tool.any("name")
            out.append(Tool(name=name if isinstance(name, str) else kind, kind=kind, dialect=NAME, value=value))
        else:
            raw = raws[number].parameters if number < len(raws) else Raw(b"")
            out.append(
                Tool(
                    name=tool.needed("name"),
                    description=tool.text("description"),
                    parameters=schema_text(raw, tool.any("parameters"), f"{at}.parameters"),
                    strict=tool.boolean("strict"),
                    extra={name: value for name, value in tool.rest.items() if value is not None},
                )
            )
    return tuple(out)


def _choice(fields: Fields) -> ToolChoice | None:
    value = fields.rest.get("tool_choice")
    if value in ("auto", "none", "required"):
        fields.any("tool_choice")
        return ToolChoice(mode=value)
    if value is None or not isinstance(value, dict):
        fields.any("tool_choice")
        if value is not None:
            raise wrong("tool_choice", "auto, none, required or an object")
        return None
    choice = Fields(value, "tool_choice", fields.unread)
    kind = choice.text("type")
    if kind in ("function", "custom"):
        fields.any("tool_choice")
        chosen = choice.needed("name")
        choice.spent()
        return ToolChoice(mode="tool", name=chosen)
    if kind == "allowed_tools":
        references = choice.items("tools")
        names = allowed_names(references)
        if len(names) == len(references) and names:
            fields.any("tool_choice")
            mode = choice.text("mode")
            choice.spent()
            return ToolChoice(mode="required" if mode == "required" else "auto", allowed=tuple(names))
    return None  # a built-in tool's own: it stays in `extra`


def _format(text: Fields, schemas: _Body) -> OutputFormat | None:
    inner = text.object("format")
    if inner is None:
        return None
    kind = inner.text("type")
    if kind == "json_object":
        inner.spent()
        return OutputFormat(kind="json_object")
    if kind != "json_schema":
        if kind != "text":
            text.rest["format"] = {"type": kind, **inner.rest}
        return None
    raw = schemas.text.format.schema if schemas.text and schemas.text.format else Raw(b"")
    output = OutputFormat(
        kind="json_schema",
        name=inner.text("name"),
        description=inner.text("description"),
        strict=inner.boolean("strict"),
        schema=schema_text(raw, inner.any("schema"), "text.format.schema"),
    )
    inner.spent()
    return output


def _thinking(reasoning: Fields) -> Thinking | None:
    """Return how much to reason; what else `reasoning` says stays in `value` for the same dialect."""
    effort = reasoning.text("effort")
    rest: dict[str, Any] = {name: value for name, value in reasoning.rest.items() if value is not None}
    if effort is None and not rest:
        return None
    shown = rest.get("summary") or rest.get("generate_summary")
    return Thinking(
        mode="disabled" if effort == "none" else "effort",
        effort=effort,
        display="summarized" if shown else None,
        value=rest or None,
    )
