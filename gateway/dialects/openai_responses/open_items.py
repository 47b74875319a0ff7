"""The output items of a stream while they are being written."""

from __future__ import annotations

from typing import Any

from gateway.chat import Reasoning, ReasoningDelta, ToolCallDelta
from gateway.dialects.openai_chat.answer import vendor_extra
from gateway.dialects.openai_responses.response import call_item, message_item, reasoning_item, text_part


class OpenMessage:
    """The message item that is open: its finished parts, and the one being written (`text`, None between two)."""

    __slots__ = ("_cited", "index", "item_id", "notes", "parts", "refusal", "text")

    def __init__(self, index: int, item_id: str) -> None:
        self.index, self.item_id = index, item_id
        self.parts: list[dict[str, Any]] = []
        self.text: list[str] | None = None
        self.refusal = False
        self.notes: list[dict[str, Any]] = []
        self._cited = (0, 0)

    @property
    def place(self) -> dict[str, Any]:
        """Where the part being written is."""
        return {"item_id": self.item_id, "output_index": self.index, "content_index": len(self.parts)}

    def part(self, text: str) -> dict[str, Any]:
        """Return the part being written, with this text."""
        return {"type": "refusal", "refusal": text} if self.refusal else text_part(text, self.notes)

    def cite(self, cited: int) -> tuple[int, int]:
        """Return what a citation that comes now is about: so many characters, or what came since the one before."""
        length = sum(map(len, self.text or ()))
        if cited:
            self._cited = (max(0, length - cited), length)
        elif self._cited[1] < length:
            self._cited = (self._cited[1], length)
        return self._cited

    def end_part(self, part: dict[str, Any]) -> None:
        self.parts.append(part)
        self.text, self.notes, self._cited = None, [], (0, 0)

    def item(self) -> dict[str, Any]:
        return message_item(self.item_id, self.parts)


class OpenThought:
    """The reasoning item that is open."""

    __slots__ = ("_last", "block", "index", "item_id", "text")

    def __init__(self, index: int, item_id: str, block: int) -> None:
        self.index, self.item_id, self.block = index, item_id, block
        self.text: list[str] = []
        self._last = ReasoningDelta()

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": self.index, "summary_index": 0}

    def sign(self, event: ReasoningDelta) -> None:
        """Keep what a delta carries beside text."""
        if event.signature is not None or event.encrypted is not None:
            self._last = event

    def item(self) -> dict[str, Any]:
        last = self._last
        reasoning = Reasoning(
            text="".join(self.text),
            signature=last.signature,
            encrypted=last.encrypted,
            redacted=last.redacted,
            origin=last.origin,
        )
        return reasoning_item(reasoning, self.item_id)


class OpenCall:
    """A call item that is open. `wrapped` says its arguments hold a custom tool's text, to be taken out at the end."""

    __slots__ = ("_extra", "arguments", "call_id", "custom", "index", "item_id", "name", "wrapped")

    def __init__(self, index: int, item_id: str, delta: ToolCallDelta, name: str, *, custom: bool) -> None:
        self.index, self.item_id, self.call_id, self.name = index, item_id, delta.id, name
        self.custom, self.wrapped = custom, custom and not delta.custom
        given = delta.extra or {}
        self._extra = vendor_extra(given)
        if "namespace" in given:
            self._extra["namespace"] = given["namespace"]
        self.arguments: list[str] = []

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": self.index}

    def item(self, text: str, status: str = "completed") -> dict[str, Any]:
        item = call_item(self.item_id, self.call_id, self.name, text, custom=self.custom, status=status)
        return {**item, **self._extra}
