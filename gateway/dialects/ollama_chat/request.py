"""An /api/chat or /api/generate request in neutral words.

Ollama's calls have no ids (newer servers give them). They are numbered through the request, and a result belongs
to the first call of its name that has none yet; the same history thus always gets the same ids.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import (
    ChatRequest,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.members import Members
from gateway.dialects.ollama_chat.images import image_of
from gateway.dialects.ollama_chat.options import read_options

CHAT = "ollama"
GENERATE = "ollama_generate"
DIALECTS = (CHAT, GENERATE)
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def parse_chat(body: bytes) -> ChatRequest:
    """Return a chat request in neutral words. Raises: BadRequest, naming the field."""
    top = Members.of_body(body)
    reader = _Reader()
    messages = tuple(reader.message(message) for message in top.objects("messages"))
    tools = tuple(_tool(tool) for tool in top.objects("tools"))
    return _request(top, CHAT, messages, tools)


def parse_generate(body: bytes) -> ChatRequest:
    """Return a generate request in neutral words: its system text, and its prompt as the user's one message."""
    top = Members.of_body(body)
    messages: list[Message] = []
    if system := top.text("system"):
        messages.append(Message(role="system", parts=(Text(text=system),)))
    prompt: tuple[Part, ...] = (Text(text=top.text("prompt") or ""),)
    messages.append(Message(role="user", parts=prompt + tuple(image_of(data) for data in top.texts("images"))))
    return _request(top, GENERATE, tuple(messages), ())


def _request(top: Members, dialect: str, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> ChatRequest:
    model = top.text("model")
    if not model:
        top.fail("model", "missing; name a model")
    stream = top.flag("stream")
    neutral, extra = read_options(top)
    output, thinking = _output(top), _thinking(top)
    return ChatRequest(
        dialect=dialect,
        model=model,
        messages=messages,
        stream=stream is not False,
        include_usage=True,
        tools=tools,
        output=output,
        thinking=thinking,
        extra=extra | top.whole(),
        unread=tuple(top.unread),
        **neutral,
    )


class _Reader:
    """Reads messages in order; remembers the calls that still want a result."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[ToolCall] = []

    def message(self, message: Members) -> Message:
        role = message.text("role") or ""
        if role not in _ROLES:
            message.fail("role", f'"{role[:40]}" is not system, user, assistant or tool')
        content = message.text("content") or ""
        if role == "tool":
            return self._result(message, content)
        parts: list[Part] = []
        if thinking := message.text("thinking"):
            parts.append(Reasoning(text=thinking, origin=CHAT))
        if content:
            parts.append(Text(text=content))
        parts += [image_of(data) for data in message.texts("images")]
        calls = [self._call(call) for call in message.objects("tool_calls")]
        if role == "assistant":
            self._open = [*self._open, *calls] if calls else self._open
        return Message(role=_ROLES[role], parts=(*parts, *calls), extra=message.whole())

    def _call(self, call: Members) -> ToolCall:
        function = call.object("function")
        if function is None:
            call.fail("function", "missing; a tool call has one")
        id = call.text("id") or f"call_{self._count}"
        self._count += 1
        raw = function.peek("arguments")
        spelled = raw is not None and bytes(memoryview(raw)[:1]) == b'"'
        arguments = function.text("arguments") if spelled else function.json_text("arguments")
        name = function.text("name")
        for known in ("index", "description"):  # what the ollama packages put there, and no server reads
            function.take(known)
        for members in (function, call):
            members.take("type")
            members.spent()
        return ToolCall(id=id, name=name or "", arguments=arguments or "{}")

    def _result(self, message: Members, content: str) -> Message:
        name, given = message.text("tool_name") or message.text("name"), message.text("tool_call_id")
        found = next((call for call in self._open if given is not None and call.id == given), None)
        if found is None:
            found = next((call for call in self._open if name is None or call.name == name), None)
        if found is not None:
            self._open.remove(found)
        call_id = found.id if found is not None else given or f"call_{name or 'unknown'}"
        parts: tuple[Part, ...] = (Text(text=content),) if content else ()
        parts += tuple(image_of(data) for data in message.texts("images"))
        result = ToolResult(call_id=call_id, parts=parts, name=name or (found.name if found else None))
        return Message(role="tool", parts=(result,), extra=message.whole())


def _tool(tool: Members) -> Tool:
    function = tool.object("function")
    if function is None:
        kind = tool.text("type") or "function"
        return Tool(name="", kind=kind, dialect=CHAT, value={"type": kind} | tool.whole())
    name = function.text("name")
    if not name:
        function.fail("name", "missing; a tool has one")
    tool.take("type")
    tool.spent()
    return Tool(
        name=name,
        description=function.text("description"),
        parameters=function.json_text("parameters"),
        dialect=CHAT,
        extra=function.whole(),
    )


def _output(top: Members) -> OutputFormat | None:
    raw = top.peek("format")
    if raw is None:
        return None
    if bytes(memoryview(raw)[:1]) == b"{":
        return OutputFormat(kind="json_schema", schema=top.json_text("format"))
    word = top.text("format")
    if word not in ("", "json"):
        top.fail("format", f'"{str(word)[:40]}" is not json or a JSON Schema')
    return OutputFormat(kind="json_object") if word else None


def _thinking(top: Members) -> Thinking | None:
    raw = top.peek("think")
    if raw is None:
        return None
    if bytes(memoryview(raw)[:1]) == b'"':
        word = top.text("think") or "medium"
        return Thinking(mode="effort", effort=word)
    return Thinking(mode="adaptive" if top.flag("think") else "disabled")


def fields_of(chat: ChatRequest) -> dict[str, Any]:
    """Return the request's fields that are Ollama's own and stand outside `options`."""
    return {name: value for name, value in chat.extra.items() if name != "options"}
