"""Reading a chat request into neutral words."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gateway.chat import ChatRequest, Message, Part, Refusal, Role, Thinking, ToolCall, ToolResult
from gateway.dialects.json import decode_object, text_of
from gateway.dialects.openai_chat.content import NAME, parse_content
from gateway.dialects.openai_chat.fields import Fields, wrong
from gateway.dialects.openai_chat.thinking import reasonings_of
from gateway.dialects.openai_chat.tools import Schemas, parse_choice, parse_format, parse_tools
from gateway.errors import BadRequest

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in neutral words. Raises: BadRequest, with `param` naming the field."""
    decoded = decode_object(body)
    fields = Fields(decoded)
    schemas = Schemas(body, decoded)
    model = fields.needed("model")
    if not isinstance(decoded.get("messages"), list):
        raise wrong("messages", "a list of messages")
    reader = _Messages(fields.unread)
    messages = tuple(reader.read(item, number) for number, item in enumerate(fields.items("messages")))
    limit = "max_completion_tokens" if fields.rest.get("max_completion_tokens") is not None else "max_tokens"
    max_tokens = fields.integer(limit)
    options = fields.object("stream_options")
    safety = fields.rest.get("safety_identifier")
    chat = ChatRequest(
        dialect=NAME,
        model=model,
        messages=messages,
        stream=bool(fields.boolean("stream")),
        include_usage=bool(options and options.boolean("include_usage")),
        tools=parse_tools(fields, schemas),
        tool_choice=parse_choice(fields),
        parallel_tool_calls=fields.boolean("parallel_tool_calls"),
        max_tokens=max_tokens,
        max_tokens_name=limit if max_tokens is not None else "",
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=fields.strings("stop"),
        n=fields.integer("n"),
        seed=fields.integer("seed"),
        frequency_penalty=fields.number("frequency_penalty"),
        presence_penalty=fields.number("presence_penalty"),
        output=parse_format(fields, schemas),
        thinking=_thinking(fields.text("reasoning_effort")),
        user=fields.text("user") or (safety if isinstance(safety, str) else None),
        metadata=fields.any("metadata"),
        service_tier=fields.text("service_tier"),
    )
    extra = _present(fields.rest)
    if options is not None and options.rest:
        extra["stream_options"] = options.rest
    return replace(chat, extra=extra, unread=tuple(fields.unread))


def _thinking(effort: str | None) -> Thinking | None:
    if effort is None:
        return None
    return Thinking(mode="disabled" if effort == "none" else "effort", effort=effort)


class _Messages:
    """Reads messages in order; remembers the last legacy `function_call`, whose result has no id of its own."""

    def __init__(self, unread: list[str]) -> None:
        self._calls: dict[str, str] = {}
        self._unread = unread

    def read(self, value: object, number: int) -> Message:
        at = f"messages.{number}"
        fields = Fields(value, at, self._unread)
        role = _ROLES.get(str(fields.any("role")))
        if role is None:
            raise BadRequest(
                f"{at}.role must be system, developer, user, assistant or tool",
                param=f"{at}.role",
                code="invalid_request",
            )
        legacy_result = fields.rest.get("tool_call_id") is None and role == "tool"
        name = fields.text("name")
        parts = parse_content(fields.any("content"), f"{at}.content", self._unread)
        if role == "assistant":
            parts = self._assistant(fields, parts, number)
        elif role == "tool":
            call_id = fields.text("tool_call_id")
            if legacy_result:
                call_id = self._calls.get(name or "") or f"call_{name or number}"
            result = ToolResult(
                call_id=call_id or "", parts=parts, name=name, cache_control=fields.any("cache_control")
            )
            return Message(role=role, parts=(result,), extra=_present(fields.rest))
        return Message(role=role, parts=parts, name=name, extra=_present(fields.rest))

    def _assistant(self, fields: Fields, content: tuple[Part, ...], number: int) -> tuple[Part, ...]:
        parts: list[Part] = [*reasonings_of(fields.rest), *content]
        if any(fields.rest.get(name) for name in ("thinking_blocks", "reasoning_content", "reasoning")):
            for name in ("thinking_blocks", "reasoning_content"):
                fields.any(name)
            if isinstance(fields.rest.get("reasoning"), str):
                fields.any("reasoning")
        refusal = fields.text("refusal")
        if refusal:
            parts.append(Refusal(text=refusal))
        for index, call in enumerate(fields.items("tool_calls")):
            parts.append(_call(call, f"{fields.at}.tool_calls.{index}", self._unread))
        legacy = fields.object("function_call")
        if legacy is not None and legacy.rest.get("name"):
            name = legacy.needed("name")
            self._calls[name] = f"call_{number}_{name}"
            parts.append(ToolCall(id=self._calls[name], name=name, arguments=legacy.text("arguments") or ""))
            legacy.spent()
        return tuple(parts)


def _call(value: object, at: str, unread: list[str]) -> ToolCall:
    fields = Fields(value, at, unread)
    kind = fields.text("type")
    fields.any("index")  # of the stream the client accumulated; the list says it already
    custom = fields.object("custom")
    if kind == "custom" and custom is not None:
        name, text = custom.needed("name"), custom.text("input")
        custom.spent()
        return ToolCall(
            id=fields.text("id") or "", name=name, arguments=text or "", custom=True, extra=_present(fields.rest)
        )
    function = fields.object("function")
    if function is None:
        raise wrong(f"{at}.function", "an object")
    arguments = function.any("arguments")
    if arguments is not None and not isinstance(arguments, str):  # some clients send the object itself
        arguments = text_of(arguments)
    name = function.needed("name")
    function.spent()
    return ToolCall(id=fields.text("id") or "", name=name, arguments=arguments or "", extra=_present(fields.rest))


def _present(rest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rest.items() if value is not None}
