"""A Responses stream in neutral events.

Items are told apart by `output_index`: some servers change an item's id in mid-stream (W11). What an item's deltas left
out its `done` event supplies; what the items left out the last event's `output` does (R09, R10).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import (
    Event,
    Failure,
    Opaque,
    Raw,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Start,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from gateway.dialects.json import decode_event
from gateway.dialects.names import made_id
from gateway.dialects.openai_chat.counts import count, usage_of
from gateway.dialects.openai_chat.stream import TOO_LARGE, TRUNCATED, failure_of
from gateway.dialects.openai_responses.content import NAME
from gateway.dialects.openai_responses.failure import event_error
from gateway.dialects.openai_responses.reply import parts_of, stop_of
from gateway.dialects.sse import Piece, SseFramer, event_fields


class _Item:
    """What was passed on of one output item so far."""

    __slots__ = ("arguments", "block", "call", "custom", "id", "source", "text")

    def __init__(self) -> None:
        self.id = self.source = ""
        self.call: int | None = None
        self.block: int | None = None
        self.custom = False
        self.arguments = ""
        self.text = False


class ResponsesStreamParser:
    """One per stream. `finished` is true once the finish was seen; `skipped` counts events that were no JSON."""

    def __init__(self) -> None:
        self._framer = SseFramer()
        self._items: dict[int, _Item] = {}
        self._started = self._ended = False
        self._id = ""
        self._calls = self._blocks = 0
        self._kinds: set[type] = set()
        self.finished = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[Event]:
        """Return the events now complete."""
        out: list[Event] = []
        for event in self._framer.feed(data):
            if self._ended:
                break
            if type(event) is Piece:
                self._fail(TOO_LARGE, out)
                break
            name, text = event_fields(event)
            if not text or text.strip() == b"[DONE]":
                continue
            value = decode_event(text)
            if value is None:
                self.skipped += 1
            else:
                kind = value.get("type")
                self._event(kind if isinstance(kind, str) else name, value, event, out)
        return out

    def end(self) -> list[Event]:
        """Return a Failure when the finish was never seen."""
        out: list[Event] = []
        if not self._ended:
            self._fail(TRUNCATED, out)
        return out

    def _fail(self, failure: Failure, out: list[Event]) -> None:
        self._ended = True
        out.append(failure)

    def _event(self, kind: str, value: dict[str, Any], event: bytes, out: list[Event]) -> None:
        delta = value.get("delta")
        text = delta if isinstance(delta, str) else ""
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                self._start(value.get("response"), out)
            case "response.completed" | "response.incomplete":
                self._finish(value.get("response"), out)
            case "response.failed" | "response.cancelled" | "error":
                self._fail(failure_of(event_error(value)), out)
            case "response.output_text.delta" | "response.refusal.delta":
                self._say(self._item(value), text, kind == "response.refusal.delta", out)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._think(self._item(value), text, kind, out)
            case "response.reasoning_summary_part.added":
                item = self._item(value)
                if item.text and value.get("summary_index"):
                    self._think(item, "\n\n", "response.reasoning_summary_text.delta", out)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                item = self._item(value)
                self._argue(item, text, out)
            case "response.function_call_arguments.done" | "response.custom_tool_call_input.done":
                item = self._item(value)
                whole = value.get("arguments" if "function" in kind else "input")
                if item.call is not None and isinstance(whole, str):
                    self._complete(item, whole, out)
            case "response.output_text.done" | "response.refusal.done":
                item, refused = self._item(value), kind == "response.refusal.done"
                whole = value.get("refusal" if refused else "text")
                if not item.text and isinstance(whole, str):  # a server that sends no deltas
                    self._say(item, whole, refused, out)
            case "response.output_item.added" | "response.output_item.done":
                self._see_item(value, event, done=kind.endswith("done"), out=out)
            case _ if kind in _PLAIN:
                pass
            case _ if kind.startswith("response."):
                self._start(None, out)
                out.append(Raw(NAME, event))
            case _ if value.get("error"):
                self._fail(failure_of(event_error(value)), out)

    def _start(self, response: object, out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        fields = response if isinstance(response, dict) else {}
        response_id, model = fields.get("id"), fields.get("model")
        self._id = response_id if isinstance(response_id, str) else ""
        out.append(
            Start(
                self._id,
                model if isinstance(model, str) else "",
                count(fields.get("created_at")),
            )
        )

    def _item(self, value: dict[str, Any]) -> _Item:
        index = value.get("output_index")
        if not isinstance(index, int):
            index = max(self._items, default=0)
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = _Item()
        return item

    def _say(self, item: _Item, text: str, refusal: bool, out: list[Event]) -> None:
        if text:
            self._start(None, out)
            item.text = True
            self._kinds.add(Refusal if refusal else Text)
            out.append(TextDelta(text, refusal=refusal))

    def _think(self, item: _Item, text: str, source: str, out: list[Event]) -> None:
        """Pass on the summary or the text itself, whichever came first: a server that sends both says it twice."""
        if not text or (item.source and item.source != source):
            return
        self._start(None, out)
        item.source = source
        first = item.block is None
        item.text = True
        out.append(ReasoningDelta(text, self._block(item), id=item.id or None if first else None))

    def _block(self, item: _Item) -> int:
        if item.block is None:
            item.block = self._blocks
            self._blocks += 1
        return item.block

    def _announce(self, item: _Item, value: dict[str, Any], out: list[Event]) -> None:
        name, call_id = value.get("name"), value.get("call_id") or value.get("id")
        if item.call is None and isinstance(name, str) and name:
            self._start(None, out)
            self._kinds.add(ToolCall)
            item.call, item.custom = self._calls, value.get("type") == "custom_tool_call"
            self._calls += 1
            extra = {"namespace": value["namespace"]} if value.get("namespace") else None
            call_id = call_id if isinstance(call_id, str) else made_id(self._id, item.call, name)
            out.append(ToolCallDelta(item.call, id=call_id, name=name, custom=item.custom, extra=extra))

    def _argue(self, item: _Item, text: str, out: list[Event]) -> None:
        if text and item.call is not None:
            item.arguments += text
            out.append(ToolCallDelta(item.call, arguments=text, custom=item.custom))

    def _complete(self, item: _Item, whole: str, out: list[Event]) -> None:
        """Pass on what of a call's whole arguments no delta brought."""
        if whole.startswith(item.arguments):
            self._argue(item, whole[len(item.arguments) :], out)

    def _see_item(self, value: dict[str, Any], event: bytes, *, done: bool, out: list[Event]) -> None:
        wire = value.get("item")
        if not isinstance(wire, dict):
            return
        kind = wire.get("type")
        if kind not in ("message", "reasoning", "function_call", "custom_tool_call"):
            self._item(value)
            self._start(None, out)
            out.append(Raw(NAME, event))
            return
        item = self._item(value)
        if kind in ("function_call", "custom_tool_call"):
            self._announce(item, wire, out)
        elif kind == "reasoning" and isinstance(wire.get("id"), str):
            item.id = item.id or wire["id"]
        if done:
            self._take_rest(item, wire, out)

    def _take_rest(self, item: _Item, wire: dict[str, Any], out: list[Event]) -> None:
        for part in parts_of(wire):
            match part:
                case ToolCall():
                    self._announce(item, wire, out)
                    self._complete(item, part.arguments, out)
                case Text():
                    if not item.text:
                        self._start(None, out)
                        self._kinds.add(Text)
                        out.append(TextDelta(part.text))
                    if part.annotations:
                        out.append(TextDelta("", annotations=part.annotations))
                case Refusal() if not item.text:
                    self._say_once(part, out)
                case Reasoning():
                    self._reason_rest(item, part, out)
        item.text = True

    def _say_once(self, part: Refusal, out: list[Event]) -> None:
        self._start(None, out)
        self._kinds.add(Refusal)
        out.append(TextDelta(part.text, refusal=True))

    def _reason_rest(self, item: _Item, part: Reasoning, out: list[Event]) -> None:
        text = "" if item.text else part.text
        if text or part.encrypted or part.signature:
            self._start(None, out)
            out.append(
                ReasoningDelta(
                    text,
                    self._block(item),
                    signature=part.signature,
                    encrypted=part.encrypted,
                    redacted=part.redacted,
                    id=item.id or part.id,
                    origin=part.origin,
                )
            )

    def _finish(self, response: object, out: list[Event]) -> None:
        fields = response if isinstance(response, dict) else {}
        if fields.get("status") == "failed":
            self._fail(failure_of(event_error({"response": fields})), out)
            return
        self._start(fields, out)
        output = fields.get("output")
        if not self._items and isinstance(output, list):
            for index, wire in enumerate(output):
                if isinstance(wire, dict) and not isinstance(next(iter(parts_of(wire)), None), Opaque):
                    item = self._item({"output_index": index})
                    self._take_rest(item, wire, out)
        for item in self._items.values():
            if item.call is not None and not item.arguments and not item.custom:
                self._argue(item, "{}", out)
        usage = usage_of(fields.get("usage"))
        if usage is not None:
            out.append(usage)
        self.finished = self._ended = True
        out.append(Stop(stop_of(fields, self._kinds), extra={NAME: {"status": fields.get("status")}}))


_PLAIN = frozenset(
    (
        *("response.content_part.added", "response.content_part.done"),
        *("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
        *("response.reasoning_text.done", "response.output_text.annotation.added"),
    )
)
"""Events that say again what deltas said, or what the item's own end will."""
