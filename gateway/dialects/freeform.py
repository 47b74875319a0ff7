"""Custom tools, whose input is free text, for targets that know only functions with JSON arguments (T05).

A custom tool is offered as a function with one string, `input`; a call's arguments are turned back into the text.
Nothing needs remembering between requests: which tools are custom stands in the client's own request. In neutral
words a custom ToolCall carries the free text itself in `arguments`.
"""

from __future__ import annotations

from msgspec.structs import replace

from gateway.chat import ChatRequest, Tool
from gateway.dialects.json import decode_event, text_of

PARAMETERS = (
    '{"type":"object","properties":{"input":{"type":"string","description":"The tool\'s whole input, as free text."}},'
    '"required":["input"],"additionalProperties":false}'
)


def as_function(tool: Tool) -> Tool:
    """Return a custom tool as a function of one string; a grammar it had is told in its description."""
    value = tool.value if isinstance(tool.value, dict) else {}
    inner = value.get("custom")
    fields = inner if isinstance(inner, dict) else value
    grammar = fields.get("format")
    words = [tool.description or ""]
    if isinstance(grammar, dict) and grammar.get("type") == "grammar":
        words.append(f"The input must follow this grammar: {text_of(grammar.get('grammar') or grammar)}")
    description = "\n\n".join(word for word in words if word)
    function = Tool(name=tool.name, description=description or None, parameters=PARAMETERS, strict=False)
    return replace(function, extra=tool.extra, cache_control=tool.cache_control)


def wrapped(text: str) -> str:
    """Return a custom call's text as a function's arguments."""
    return text_of({"input": text})


def unwrapped(arguments: str) -> str:
    """Return the free text of a function call's arguments; arguments of another form are the text themselves."""
    value = decode_event(arguments.encode("utf-8", "replace"))
    if value is not None and isinstance(value.get("input"), str) and len(value) == 1:
        return str(value["input"])
    return arguments


def custom_names(request: ChatRequest | None) -> frozenset[str]:
    """Return the names of the tools that the client itself declared as custom."""
    return frozenset(tool.name for tool in request.tools if tool.kind == "custom") if request else frozenset()
