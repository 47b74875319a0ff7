"""Writing the messages of a chat request.

Chat wants the results of an assistant's calls right after it, one `tool` message each, text only. Whatever stood
before or between them in another dialect (text, images a tool returned) follows as a user message (T12, T13).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest, Message, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from gateway.dialects.freeform import wrapped
from gateway.dialects.names import wire_name
from gateway.dialects.notice import lost_names
from gateway.dialects.openai_chat.answer import vendor_extra
from gateway.dialects.openai_chat.content import ContentRenderer
from gateway.dialects.openai_chat.models import cannot_reason
from gateway.dialects.openai_chat.thinking import block_of, carrier
from gateway.dialects.openai_chat.tools import LEGACY, NAME
from gateway.dialects.pairing import paired
from gateway.dialects.protocol import Target

TOOL_ERROR = "[tool error] "
FIRST_USER = "."
"""What stands in when nobody but the assistant has spoken (S13)."""


class MessageRenderer:
    """Writes one request's messages, and notes in `dropped` what they could not carry."""

    def __init__(self, chat: ChatRequest, target: Target, dropped: list[str]) -> None:
        self._chat = chat
        self._own = chat.dialect == NAME
        self._legacy = any(tool.dialect == LEGACY for tool in chat.tools)
        self._quirks = target.quirks
        develops = target.quirks.get("developer_role") and not cannot_reason(target.model)
        self._system: Role = "developer" if develops else "system"
        self._dropped = dropped
        self._content = ContentRenderer(chat.dialect, self._own or bool(target.quirks.get("cache_control")), dropped)
        self._names: dict[str, str] = {}
        self._pending: list[dict[str, Any]] = []

    def render(self) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for message in self._chat.messages if self._own else paired(self._chat.messages):
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            if not results:
                self._flush(out)
                wire = self._assistant(message) if message.role == "assistant" else self._other(message, message.parts)
                if wire is not None:
                    out.append(wire)
                continue
            out.extend(self._result(result, message) for result in results)
            rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
            wire = self._other(message, rest) if rest else None
            if wire is not None:
                self._pending.extend(_as_list(wire["content"]))
        self._flush(out)
        if out and not self._own and all(wire["role"] in ("assistant", "tool") for wire in out):
            out.insert(0, {"role": "user", "content": FIRST_USER})
        return out

    def _flush(self, out: list[dict[str, Any]]) -> None:
        if self._pending:
            out.append({"role": "user", "content": self._pending})
            self._pending = []

    def _other(self, message: Message, parts: tuple[Part, ...]) -> dict[str, Any] | None:
        role = message.role
        if not self._own:
            if role == "tool":
                role = "user"
            elif role in ("system", "developer"):
                role = self._system
        content = self._content.render(parts)
        if not self._own and content == "":
            return None
        if role in ("system", "developer") and not self._own and isinstance(content, list):
            texts = [part.get("text") for part in content]
            if all(set(part) == {"type", "text"} for part in content):
                content = "\n\n".join(str(text) for text in texts)
        wire: dict[str, Any] = {"role": role, "content": content}
        self._finish(wire, message)
        return wire

    def _finish(self, wire: dict[str, Any], message: Message) -> None:
        if message.name is not None:
            wire["name"] = message.name
        if self._own:
            wire.update(message.extra)
        else:
            self._dropped.extend(lost_names(message.extra))

    def _assistant(self, message: Message) -> dict[str, Any] | None:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        reasonings = [part for part in message.parts if isinstance(part, Reasoning)]
        refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
        rest = tuple(part for part in message.parts if not isinstance(part, ToolCall | Reasoning | Refusal))
        content: Any = self._content.render(rest)
        if not self._own and isinstance(content, list) and all(set(part) == {"type", "text"} for part in content):
            content = "".join(str(part["text"]) for part in content)
        wire: dict[str, Any] = {"role": "assistant", "content": content if content or not (calls or refusals) else None}
        if refusals:
            wire["refusal"] = "".join(refusals)
        if calls:
            self._names.update((call.id, call.name) for call in calls)
            if self._legacy:
                wire["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
            else:
                wire["tool_calls"] = [self._call(call) for call in calls]
        self._think(wire, reasonings)
        self._finish(wire, message)
        if not self._own and not content and not calls and not refusals:
            return None
        return wire

    def _think(self, wire: dict[str, Any], reasonings: list[Reasoning]) -> None:
        text = "".join(reasoning.text for reasoning in reasonings)
        if self._own:
            blocks = carrier(reasonings)
            if blocks:
                wire["thinking_blocks"] = blocks
            unsigned = "".join(reasoning.text for reasoning in reasonings if block_of(reasoning) is None)
            if unsigned:
                wire["reasoning_content"] = unsigned
        elif text and self._quirks.get("reasoning_content"):
            wire["reasoning_content"] = text
        elif reasonings:
            self._dropped.append("thinking" if self._chat.dialect != "openai_responses" else "reasoning")

    def _call(self, call: ToolCall) -> dict[str, Any]:
        if call.custom and self._own:
            wire: dict[str, Any] = {"id": call.id, "type": "custom"}
            wire["custom"] = {"name": call.name, "input": call.arguments}
        else:
            arguments = wrapped(call.arguments) if call.custom else call.arguments
            name = call.name if self._own else wire_name(call.name)
            wire = {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}
            if not self._own and not arguments.strip():
                wire["function"]["arguments"] = "{}"
        if self._own:
            wire.update(call.extra)
        else:
            kept = vendor_extra(call.extra)
            wire.update(kept)
            self._dropped.extend(name for name in lost_names(call.extra) if name not in kept)
            if call.cache_control is not None:
                self._dropped.append("cache_control")
        return wire

    def _result(self, result: ToolResult, message: Message) -> dict[str, Any]:
        if self._own:
            wire: dict[str, Any] = {"role": "tool", "content": self._content.render(result.parts)}
            if self._legacy:
                wire |= {"role": "function", "name": result.name or self._names.get(result.call_id, "")}
            else:
                wire["tool_call_id"] = result.call_id
                if result.name is not None:
                    wire["name"] = result.name
            if result.cache_control is not None:
                wire["cache_control"] = result.cache_control
            return {**wire, **message.extra}
        texts = [part for part in result.parts if isinstance(part, Text)]
        others = tuple(part for part in result.parts if not isinstance(part, Text))
        text = "\n".join(part.text for part in texts)
        carriers: list[Text | ToolResult] = [*texts, result]
        for part in carriers:
            if part.cache_control is not None:
                self._dropped.append("cache_control")
            self._dropped.extend(lost_names(part.extra))
        self._dropped.extend(lost_names(message.extra))
        shown = self._content.render(others) if others else ""
        if shown:
            label = {"type": "text", "text": f"Result of tool call {result.call_id}:"}
            self._pending.extend((label, *_as_list(shown)))
        if result.is_error:
            text = TOOL_ERROR + text
        return {"role": "tool", "tool_call_id": result.call_id, "content": text}


def _as_list(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
