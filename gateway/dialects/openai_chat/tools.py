"""Tools, tool choice and structured output of chat requests. Schemas travel as the JSON text they were."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.chat import OutputFormat, Tool, ToolChoice
from gateway.dialects.json import text_of
from gateway.dialects.openai_chat.fields import Fields, wrong
from gateway.errors import BadRequest

NAME = "openai_chat"
LEGACY = "openai_functions"
"""`Tool.dialect` of tools that came as `functions`: they are rendered back as such (S16)."""


class _Function(Struct):
    parameters: Raw = Raw(b"")


class _Tool(Struct):
    function: _Function | None = None


class _Schema(Struct):
    schema: Raw = Raw(b"")


class _Format(Struct):
    json_schema: _Schema | None = None


class _Body(Struct):
    """Where a request's schemas are."""

    tools: list[_Tool] | None = None
    functions: list[_Function] | None = None
    response_format: _Format | None = None


_decode = msgspec.json.Decoder(_Body).decode


class Schemas:
    """The schemas of one body as they were written, read only when there are any."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes, fields: dict[str, Any]) -> None:
        self._body = _Body()
        if any(fields.get(name) for name in ("tools", "functions", "response_format")):
            try:
                self._body = _decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return  # a member of an odd type: whoever reads it says so

    def of_tool(self, number: int, value: object, at: str) -> str | None:
        tools = self._body.tools or []
        function = tools[number].function if number < len(tools) else None
        return schema_text(function.parameters if function else Raw(b""), value, at)

    def of_function(self, number: int, value: object, at: str) -> str | None:
        functions = self._body.functions or []
        return schema_text(functions[number].parameters if number < len(functions) else Raw(b""), value, at)

    def of_format(self, value: object, at: str) -> str | None:
        found = self._body.response_format
        schema = found.json_schema.schema if found and found.json_schema else Raw(b"")
        return schema_text(schema, value, at)


def schema_text(raw: Raw, value: object, at: str) -> str | None:
    """Return a schema's own text, None when it is absent. Raises: BadRequest when it is not an object."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong(at, "a JSON Schema, thus an object")
    data = bytes(raw)
    return data.decode() if data else text_of(value)


def parse_tools(fields: Fields, schemas: Schemas) -> tuple[Tool, ...]:
    """Return `tools` and the older `functions`. Raises: BadRequest."""
    tools = [_parse_tool(item, number, schemas) for number, item in enumerate(fields.items("tools"))]
    for number, item in enumerate(fields.items("functions")):
        at = f"functions.{number}"
        inner = Fields(item, at)
        tools.append(
            Tool(
                name=inner.needed("name"),
                description=inner.text("description"),
                parameters=schemas.of_function(number, inner.any("parameters"), f"{at}.parameters"),
                dialect=LEGACY,
                extra=inner.rest,
            )
        )
    return tuple(tools)


def _parse_tool(value: object, number: int, schemas: Schemas) -> Tool:
    at = f"tools.{number}"
    outer = Fields(value, at)
    kind = outer.text("type") or "function"
    inner = outer.object(kind) if kind in ("function", "custom") else None
    if kind == "custom" and inner is not None:
        name, description = inner.needed("name"), inner.text("description")
        inner.any("format")
        extra = {**outer.rest, **inner.rest}
        return Tool(name=name, description=description, kind="custom", dialect=NAME, value=value, extra=extra)
    if kind != "function":
        return Tool(name=kind, kind=kind, dialect=NAME, value=value)
    if inner is None:
        raise wrong(f"{at}.function", "an object")
    cache_control = outer.any("cache_control")
    name, description = inner.needed("name"), inner.text("description")
    strict = inner.boolean("strict")
    parameters = schemas.of_tool(number, inner.any("parameters"), f"{at}.function.parameters")
    extra = {**outer.rest, "function": inner.rest} if inner.rest else outer.rest
    return Tool(
        name=name,
        description=description,
        parameters=parameters,
        strict=strict,
        cache_control=cache_control,
        extra=extra,
    )


def parse_choice(fields: Fields) -> ToolChoice | None:
    """Return `tool_choice`, or the older `function_call`; one that no other dialect knows stays in `rest`."""
    name = "tool_choice" if fields.rest.get("tool_choice") is not None else "function_call"
    value = fields.any(name)
    if value is None:
        return None
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            raise wrong(name, "auto, none, required or an object")
        return ToolChoice(mode=value)  # type: ignore[arg-type]  # mypy does not narrow a string by `in`
    choice = Fields(value, name, fields.unread)
    if name == "function_call":
        chosen = choice.needed("name")
        choice.spent()
        return ToolChoice(mode="tool", name=chosen)
    kind = choice.text("type")
    if kind in ("function", "custom"):
        inner = choice.object(kind)
        if inner is None:
            raise wrong(f"{name}.{kind}", "an object")
        chosen = inner.needed("name")
        inner.spent()
        choice.spent()
        return ToolChoice(mode="tool", name=chosen)
    if kind == "allowed_tools":
        inner = choice.object("allowed_tools")
        if inner is None:
            raise wrong(f"{name}.allowed_tools", "an object")
        mode, names = inner.text("mode"), allowed_names(inner.items("tools"))
        inner.spent()
        choice.spent()
        return ToolChoice(mode="required" if mode == "required" else "auto", allowed=tuple(names))
    fields.rest[name] = value
    return None


def allowed_names(tools: list[Any]) -> list[str]:
    """Return the names in a list of tool references, chat's nested form and Responses' flat one."""
    names = []
    for tool in tools:
        if isinstance(tool, dict):
            inner = tool.get("function") or tool.get("custom") or tool
            if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                names.append(inner["name"])
    return names


def parse_format(fields: Fields, schemas: Schemas) -> OutputFormat | None:
    """Return `response_format`; `text` is the default and says nothing."""
    given = fields.rest.get("response_format")
    if given is None:
        fields.any("response_format")
        return None
    outer = Fields(given, "response_format", fields.unread)
    kind = outer.text("type")
    if kind not in ("text", "json_object", "json_schema"):
        return None  # stays in `rest`: a grammar of vLLM's and the like
    fields.any("response_format")
    if kind == "text":
        return None
    if kind == "json_object":
        outer.spent()
        return OutputFormat(kind="json_object")
    inner = outer.object("json_schema")
    if inner is None:
        raise BadRequest("response_format.json_schema is missing", param="response_format.json_schema")
    output = OutputFormat(
        kind="json_schema",
        name=inner.text("name"),
        description=inner.text("description"),
        strict=inner.boolean("strict"),
        schema=schemas.of_format(inner.any("schema"), "response_format.json_schema.schema"),
    )
    inner.spent()
    outer.spent()
    return output
