"""Reading input items into messages.

What an assistant said in one turn is several items (reasoning, message, calls) and becomes one message; a call and its
output belong together by `call_id`, never by `id` (T16). An item's own id and status are book-keeping.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Message, Opaque, Part, Reasoning, Role, Text, ToolCall, ToolResult
from gateway.dialects.json import text_of
from gateway.dialects.openai_chat.fields import Fields, wrong
from gateway.dialects.openai_chat.thinking import summary_text
from gateway.dialects.openai_responses.carrier import ORIGIN, unpack
from gateway.dialects.openai_responses.content import NAME, parse_content
from gateway.errors import BadRequest

KEPT = "@item"
_ROLES: dict[str, Role] = {"user": "user", "system": "system", "developer": "developer", "assistant": "assistant"}


class ItemReader:
    """Collects the messages of one input."""

    def __init__(self, unread: list[str]) -> None:
        self.messages: list[Message] = []
        self._unread = unread
        self._turn: list[Part] = []
        self._extra: dict[str, Any] = {}
        self._spoke = False

    def read(self, items: list[Any]) -> tuple[Message, ...]:
        """Return the messages of a list of items. Raises: BadRequest."""
        for number, item in enumerate(items):
            self._item(item, f"input.{number}")
        self._end_turn()
        return tuple(self.messages)

    def _end_turn(self) -> None:
        if self._turn or self._spoke:
            self.messages.append(Message(role="assistant", parts=tuple(self._turn), extra=self._extra))
        self._turn, self._extra, self._spoke = [], {}, False

    def _item(self, value: object, at: str) -> None:
        if isinstance(value, str):
            value = {"role": "user", "content": value}
        fields = Fields(value, at, self._unread)
        kind = fields.any("type") or ("message" if "role" in fields.rest else None)
        match kind:
            case "message":
                self._message(fields)
            case "reasoning":
                self._turn.append(reasoning_of(fields))
            case "function_call" | "custom_tool_call":
                self._turn.append(call_of(fields, custom=kind == "custom_tool_call"))
            case "function_call_output" | "custom_tool_call_output":
                self._end_turn()
                self.messages.append(Message(role="tool", parts=(_result(fields, kind),)))
            case _ if isinstance(kind, str):
                opaque = Opaque(dialect=NAME, kind=kind, value=value)
                if kind.endswith("_call") or kind == "compaction":
                    self._turn.append(opaque)
                else:
                    self._end_turn()
                    self.messages.append(Message(role="user", parts=(opaque,)))
            case _:
                raise wrong(f"{at}.type", "a string")

    def _message(self, fields: Fields) -> None:
        given = fields.text("role") or ""
        role = _ROLES.get(given)
        if role is None:
            path = f"{fields.at}.role"
            raise BadRequest(f'{path}: "{given[:40]}" is not user, assistant, system or developer', param=path)
        parts = parse_content(fields.any("content"), f"{fields.at}.content", self._unread)
        extra = kept(fields)
        if role != "assistant":
            self._end_turn()
            self.messages.append(Message(role=role, parts=parts, extra=extra))
            return
        if self._spoke:
            self._end_turn()
        self._turn.extend(parts)
        self._extra, self._spoke = extra, True


def kept(fields: Fields) -> dict[str, Any]:
    """Return what is left of an item, its id and status under one name that no other dialect reports."""
    own = {name: value for name in ("id", "status") if (value := fields.any(name)) is not None}
    rest = {name: value for name, value in fields.rest.items() if value is not None}
    return {**rest, KEPT: own} if own else rest


def reasoning_of(fields: Fields) -> Reasoning:
    """Return a reasoning item; another vendor's, which the gateway packed into it, as that vendor's."""
    encrypted, item_id = fields.text("encrypted_content"), fields.text("id")
    summary, content = fields.any("summary"), fields.any("content")
    if encrypted is not None and (foreign := unpack(encrypted)) is not None:
        return foreign
    extra: dict[str, Any] = kept(fields)
    if isinstance(content, list) and content:
        extra["content"] = content
    if isinstance(summary, list) and len(summary) > 1:
        extra["summary"] = summary
    text = summary_text(summary) or summary_text(content)
    return Reasoning(text=text, encrypted=encrypted, id=item_id, origin=ORIGIN, extra=extra)


def call_of(fields: Fields, *, custom: bool) -> ToolCall:
    """Return a call item."""
    name, call_id = fields.needed("name"), fields.text("call_id") or fields.rest.get("id")
    arguments = fields.any("input" if custom else "arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = text_of(arguments)
    return ToolCall(
        id=call_id if isinstance(call_id, str) else "",
        name=name,
        arguments=arguments or "",
        custom=custom,
        extra=kept(fields),
    )


def _result(fields: Fields, kind: str) -> ToolResult:
    call_id, name = fields.text("call_id"), fields.text("name")
    if call_id is None:
        raise BadRequest(f"{fields.at}.call_id is missing; name the call this answers", param=f"{fields.at}.call_id")
    output = fields.any("output")
    if output is not None and not isinstance(output, str | list):
        output = text_of(output)
    parts = parse_content(output, f"{fields.at}.output", fields.unread)
    extra = kept(fields)
    if kind == "custom_tool_call_output":
        extra[KEPT] = {**extra.get(KEPT, {}), "type": kind}
    return ToolResult(call_id=call_id, parts=parts, name=name, extra=extra)


def plain_text(parts: tuple[Part, ...]) -> str | None:
    """Return the text of parts that are nothing else, None otherwise."""
    if all(isinstance(part, Text) and not part.extra for part in parts):
        return "\n\n".join(part.text for part in parts if isinstance(part, Text))
    return None
