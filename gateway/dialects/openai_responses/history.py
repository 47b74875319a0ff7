"""Writing messages as input items.

The leading system prompt is `instructions`; an assistant's turn is a reasoning item, a message and its calls, each an
item of its own, in the order they had (T17, K10).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest, Message, Opaque, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from gateway.dialects.names import wire_name
from gateway.dialects.notice import field_name, lost_names
from gateway.dialects.openai_chat.messages import TOOL_ERROR
from gateway.dialects.openai_responses.carrier import ORIGIN, is_carrier
from gateway.dialects.openai_responses.content import NAME, ContentRenderer, responses_annotations
from gateway.dialects.openai_responses.items import KEPT, plain_text
from gateway.dialects.pairing import paired


class ItemRenderer:
    """Writes one request's messages, and notes in `dropped` what they could not carry."""

    def __init__(self, chat: ChatRequest, dropped: list[str]) -> None:
        self._chat = chat
        self._own = chat.dialect == NAME
        self._dropped = dropped
        self._content = ContentRenderer(self._own, dropped)
        self._custom: set[str] = set()

    def render(self) -> tuple[str | None, list[dict[str, Any]]]:
        """Return instructions and input."""
        messages = list(self._chat.messages if self._own else paired(self._chat.messages))
        leading: list[str] = []
        while messages and messages[0].role in ("system", "developer"):
            text = plain_text(messages[0].parts)
            if text is None or (self._own and (leading or not self._chat.instructions)):
                break
            self._note(messages.pop(0))
            leading.append(text)
        items = [item for message in messages for item in self._message(message)]
        if self._own:
            return (leading[0] if leading else None), items
        return "\n\n".join(text for text in leading if text) or None, items

    def _note(self, message: Message) -> None:
        """Report what a system prompt loses when it becomes plain text."""
        if not self._own:
            if message.name is not None:
                self._dropped.append("name")
            self._dropped.extend(lost_names(message.extra))
            if any(isinstance(part, Text) and part.cache_control is not None for part in message.parts):
                self._dropped.append("cache_control")

    def _message(self, message: Message) -> list[dict[str, Any]]:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        out = [self._result(result) for result in results]
        if results and not self._own:
            self._dropped.extend(lost_names(message.extra))
        rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
        if message.role == "assistant":
            return out + self._turn(rest, message)
        whole = [part.value for part in rest if isinstance(part, Opaque) and self._is_item(part)]
        if whole:
            return out + whole
        if not rest and (results or not self._own):
            return out
        content: Any = self._content.render(rest)
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            content = content[0]["text"]
        if not self._own and not content:
            return out
        item = {"type": "message", "role": "user" if message.role == "tool" else message.role, "content": content}
        out.append(self._finish(item, message))
        return out

    def _is_item(self, part: Opaque) -> bool:
        """Return whether an opaque part is an item of the input; the others stand inside a message's content."""
        return self._own and part.dialect == NAME and not part.kind.startswith("input_")

    def _finish(self, item: dict[str, Any], message: Message) -> dict[str, Any]:
        if self._own:
            return {**item, **restored(message.extra)}
        if message.name is not None:
            self._dropped.append("name")
        self._dropped.extend(lost_names(message.extra))
        return item

    def _turn(self, parts: tuple[Part, ...], message: Message) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        said: list[Text | Refusal] = []
        said_at: int | None = None
        for part in parts:
            match part:
                case Text() | Refusal():
                    if said_at is None:
                        said_at = len(out)
                    said.append(part)
                case Reasoning():
                    if (item := self._reasoning(part)) is not None:
                        out.append(item)
                case ToolCall():
                    out.append(self._call(part))
                case Opaque() if self._is_item(part):
                    out.append(part.value)
                case _:
                    self._content.render((part,))
                    self._dropped.append(getattr(part, "kind", type(part).__name__.lower()))
        if not said and not self._own:
            self._dropped.extend(lost_names((("name", message.name), *message.extra.items())))
        elif said or message.extra:
            out.insert(said_at or 0, self._finish(self._said(said, message.extra), message))
        return out

    def _said(self, parts: list[Text | Refusal], extra: dict[str, Any]) -> dict[str, Any]:
        """Return an assistant's message: an output message when it has citations or refuses, else plain text."""
        item: dict[str, Any] = {"type": "message", "role": "assistant"}
        texts = [part for part in parts if isinstance(part, Text)]
        bare = len(parts) == 1 and bool(texts) and not texts[0].annotations and not texts[0].extra and KEPT not in extra
        if len(texts) == len(parts) and (bare or not self._own):
            item["content"] = "".join(part.text for part in parts)
            for text in texts if not self._own else ():
                self._dropped.extend(lost_names((*text.extra.items(), ("cache_control", text.cache_control))))
            return item
        content: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, Refusal):
                content.append({"type": "refusal", "refusal": part.text})
            else:
                notes = responses_annotations(part.annotations, 0, len(part.text))
                extra = part.extra if self._own else {}
                if not self._own:
                    self._dropped.extend(lost_names((*part.extra.items(), ("cache_control", part.cache_control))))
                content.append({"type": "output_text", "text": part.text, "annotations": notes, **extra})
        item["content"] = content
        return item

    def _reasoning(self, part: Reasoning) -> dict[str, Any] | None:
        """Return the item of OpenAI's own reasoning; another vendor's, or bare text, cannot be sent (K09)."""
        if part.origin != ORIGIN or is_carrier(part.encrypted) or not (part.encrypted or (self._own and part.id)):
            self._dropped.append(field_name("thinking", self._chat.dialect))
            return None
        item: dict[str, Any] = {"type": "reasoning"}
        if part.id is not None:
            item["id"] = part.id
        from_content = "content" in part.extra
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text and not from_content else []
        if part.encrypted is not None:
            item["encrypted_content"] = part.encrypted
        return {**item, **restored(part.extra)}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        name = call.name if self._own else wire_name(call.name)
        if call.custom:
            self._custom.add(call.id)
            item = {"type": "custom_tool_call", "call_id": call.id, "name": name, "input": call.arguments}
        else:
            arguments = call.arguments if call.arguments.strip() or self._own else "{}"
            item = {"type": "function_call", "call_id": call.id, "name": name, "arguments": arguments}
        if self._own:
            return {**item, **restored(call.extra)}
        self._dropped.extend(lost_names(call.extra))
        if call.cache_control is not None:
            self._dropped.append("cache_control")
        return item

    def _result(self, result: ToolResult) -> dict[str, Any]:
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        text = plain_text(result.parts) if all(isinstance(part, Text) for part in result.parts) else None
        output: Any
        if text is not None and (self._own is False or len(result.parts) < 2):
            output = (TOOL_ERROR if result.is_error else "") + text
        else:
            output = self._content.render(result.parts)
            if result.is_error:
                output.insert(0, {"type": "input_text", "text": TOOL_ERROR.strip()})
        item: dict[str, Any] = {"type": kind, "call_id": result.call_id, "output": output}
        if self._own:
            if result.name is not None:
                item["name"] = result.name
            return {**item, **restored(result.extra)}
        if result.cache_control is not None:
            self._dropped.append("cache_control")
        self._dropped.extend(lost_names(result.extra))
        return item


def restored(extra: dict[str, Any]) -> dict[str, Any]:
    """Return an item's own members, its id and status among them."""
    kept = extra.get(KEPT)
    rest = {name: value for name, value in extra.items() if name != KEPT}
    return {**kept, **rest} if isinstance(kept, dict) else rest
