"""Writing a Responses stream for a client.

Events are numbered from 0 without gaps (R01). One message or reasoning item is open at a time; calls stay open until
the stop, because their pieces may come interleaved (R06). Every item that was added is done before the last event
(R05), whose `output` holds the same items under the same ids (R02).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Event, Failure, Raw, ReasoningDelta, Start, Stop, TextDelta, ToolCallDelta, Usage
from gateway.dialects.freeform import custom_names, unwrapped
from gateway.dialects.json import decode_event, encode
from gateway.dialects.names import original_names
from gateway.dialects.openai_chat.answer import refusal_text, refused_without_words
from gateway.dialects.openai_responses.content import NAME, responses_annotations
from gateway.dialects.openai_responses.failure import failed_event
from gateway.dialects.openai_responses.open_items import OpenCall, OpenMessage, OpenThought
from gateway.dialects.openai_responses.response import (
    finish,
    message_item,
    response_head,
    stop_status,
)
from gateway.dialects.protocol import AnswerContext
from gateway.dialects.sse import event_fields, sse
from gateway.errors import GatewayError, UpstreamError


class ResponsesStreamRenderer:
    """One per stream."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._names, self._custom = original_names(context.request), custom_names(context.request)
        self._number = 0
        self._head: dict[str, Any] = {}
        self._output: dict[int, dict[str, Any]] = {}
        self._next = 0
        self._message: OpenMessage | None = None
        self._thought: OpenThought | None = None
        self._calls: dict[int, OpenCall] = {}
        self._raw_indices: dict[int, int] = {}
        self._raw_items: dict[int, dict[str, Any]] = {}
        self._refused = self._over = False
        self._stop: Stop | None = None
        self._usage: Usage | None = None

    def render(self, event: Event) -> bytes:
        """Return the wire events of one event, possibly none."""
        if self._over or (self._stop is not None and not isinstance(event, Usage | Failure)):
            return b""
        match event:
            case TextDelta():
                return self._begin() + self._text(event)
            case ReasoningDelta():
                return self._begin() + self._reason(event)
            case ToolCallDelta():
                return self._begin() + self._call(event)
            case Start():
                return self._begin(event)
            case Usage():
                self._usage = event
            case Stop():
                return self._begin() + self._see_stop(event)
            case Failure():
                return self._fail(UpstreamError("error_event", event.message, status=event.status, code=event.code))
            case Raw() if event.dialect == NAME:
                return self._begin() + self._raw(event)
        return b""

    def end(self, duration_ns: int = 0) -> bytes:
        """Return what is still due, and the last event."""
        if self._over:
            return b""
        out = self._begin()
        if self._stop is None:
            out += self._see_stop(Stop("stop"))
        stop = self._stop or Stop("stop")
        if not self._output:
            out += self._open_text(refusal=False) + self._close_message()
        usage = self._usage or Usage(estimated=True)
        response = finish(self._head, stop_status(stop.reason, stop.extra), self._items(), usage)
        if response["status"] == "completed":
            response["completed_at"] = int(self._context.now_s)
        self._over = True
        return out + self._event(f"response.{response['status']}", response=response)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return `response.failed`; nothing may follow."""
        return b"" if self._over else self._fail(error)

    def _fail(self, error: GatewayError) -> bytes:
        out = self._begin()
        self._over = True
        return out + failed_event(error, {**self._head, "output": self._items()}, self._number)

    def _items(self) -> list[dict[str, Any]]:
        return [self._output[index] for index in sorted(self._output)]

    def _event(self, kind: str, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return sse(encode(body), kind)

    def _begin(self, event: Start | None = None) -> bytes:
        if self._head:
            return b""
        event = event or Start()
        own_id = event.id if event.id.startswith("resp") else ""
        self._head = response_head(self._context, own_id, event.created_s, event.model)
        created = self._event("response.created", response=self._head)
        return created + self._event("response.in_progress", response=self._head)

    def _take_index(self) -> int:
        self._next += 1
        return self._next - 1

    def _added(self, index: int, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", output_index=index, item=item)

    def _done(self, index: int, item: dict[str, Any]) -> bytes:
        self._output[index] = item
        return self._event("response.output_item.done", output_index=index, item=item)

    # --- text ------------------------------------------------------------------------------------

    def _text(self, event: TextDelta) -> bytes:
        out = b""
        if event.text:
            out += self._open_text(refusal=event.refusal)
            message = self._message
            assert message is not None and message.text is not None
            message.text.append(event.text)
            if event.refusal:
                self._refused = True
                out += self._event("response.refusal.delta", **message.place, delta=event.text)
            else:
                out += self._event("response.output_text.delta", **message.place, delta=event.text, logprobs=[])
        if event.annotations:
            out += self._annotate(event)
        return out

    def _open_text(self, *, refusal: bool) -> bytes:
        out = self._close_thought()
        message = self._message
        if message is None:
            index = self._take_index()
            message = self._message = OpenMessage(index, f"msg_{self._context.id}_{index}")
            out += self._added(index, message_item(message.item_id, [], "in_progress"))
        if message.text is not None and message.refusal != refusal:
            out += self._close_part(message)
        if message.text is None:
            message.text, message.refusal = [], refusal
            out += self._event("response.content_part.added", **message.place, part=message.part(""))
        return out

    def _annotate(self, event: TextDelta) -> bytes:
        message = self._message
        if message is None or message.text is None or message.refusal:
            return b""  # a citation of text that was never sent
        out = b""
        for note in responses_annotations(event.annotations, *message.cite(event.cited)):
            place = {**message.place, "annotation_index": len(message.notes)}
            message.notes.append(note)
            out += self._event("response.output_text.annotation.added", **place, annotation=note)
        return out

    def _close_part(self, message: OpenMessage) -> bytes:
        text = "".join(message.text or ())
        place, part = message.place, message.part(text)
        if message.refusal:
            out = self._event("response.refusal.done", **place, refusal=text)
        else:
            out = self._event("response.output_text.done", **place, text=text, logprobs=[])
        out += self._event("response.content_part.done", **place, part=part)
        message.end_part(part)
        return out

    def _close_message(self) -> bytes:
        message = self._message
        if message is None:
            return b""
        out = self._close_part(message) if message.text is not None else b""
        self._message = None
        return out + self._done(message.index, message.item())

    # --- reasoning -------------------------------------------------------------------------------

    def _reason(self, event: ReasoningDelta) -> bytes:
        out = self._close_message()
        thought = self._thought
        if thought is not None and thought.block != event.block:
            out += self._close_thought()
            thought = None
        if thought is None:
            index = self._take_index()
            thought = self._thought = OpenThought(index, event.id or f"rs_{self._context.id}_{index}", event.block)
            out += self._added(index, {"id": thought.item_id, "type": "reasoning", "summary": []})
        if event.text:
            if not thought.text:
                part = {"type": "summary_text", "text": ""}
                out += self._event("response.reasoning_summary_part.added", **thought.place, part=part)
            thought.text.append(event.text)
            out += self._event("response.reasoning_summary_text.delta", **thought.place, delta=event.text)
        thought.sign(event)
        return out

    def _close_thought(self) -> bytes:
        thought = self._thought
        if thought is None:
            return b""
        self._thought = None
        text = "".join(thought.text)
        out = b""
        if text:
            part = {"type": "summary_text", "text": text}
            out += self._event("response.reasoning_summary_text.done", **thought.place, text=text)
            out += self._event("response.reasoning_summary_part.done", **thought.place, part=part)
        return out + self._done(thought.index, thought.item())

    # --- calls -----------------------------------------------------------------------------------

    def _call(self, event: ToolCallDelta) -> bytes:
        call = self._calls.get(event.index)
        out = b""
        if call is None:
            out += self._close_thought() + self._close_message()
            name = self._names.get(event.name, event.name)
            custom = event.custom or name in self._custom
            index = self._take_index()
            item_id = f"{'ctc' if custom else 'fc'}_{self._context.id}_{index}"
            call = self._calls[event.index] = OpenCall(index, item_id, event, name, custom=custom)
            out += self._added(index, call.item("", "in_progress"))
        if event.arguments:
            call.arguments.append(event.arguments)
            if not call.wrapped:
                out += self._argument(call, event.arguments)
        return out

    def _argument(self, call: OpenCall, text: str) -> bytes:
        kind = "custom_tool_call_input" if call.custom else "function_call_arguments"
        return self._event(f"response.{kind}.delta", **call.place, delta=text)

    def _close_calls(self) -> bytes:
        out = b""
        for call in self._calls.values():
            text = "".join(call.arguments)
            if call.wrapped:
                text = unwrapped(text)
                out += self._argument(call, text) if text else b""
            elif not call.custom and not text.strip():
                out += self._argument(call, "{}")
                text += "{}"
            if call.custom:
                out += self._event("response.custom_tool_call_input.done", **call.place, input=text)
            else:
                done = {"name": call.name, "arguments": text}
                out += self._event("response.function_call_arguments.done", **call.place, **done)
            out += self._done(call.index, call.item(text))
        self._calls = {}
        return out

    # --- the end, and what has no neutral words ----------------------------------------------------

    def _see_stop(self, event: Stop) -> bytes:
        out = b""
        if not self._refused and refused_without_words(event.reason, event.extra):
            out += self._text(TextDelta(refusal_text(event.extra), refusal=True))
        out += self._close_thought() + self._close_message() + self._close_calls() + self._close_raw()
        self._stop = event
        return out

    def _raw(self, event: Raw) -> bytes:
        """Return an event of the same dialect with numbers that fit this stream. One of an item that was never added,
        or is done, is left out."""
        value = decode_event(event_fields(event.data)[1])
        kind = value.get("type") if value is not None else None
        if value is None or not isinstance(kind, str):
            return b""
        fields = {name: inner for name, inner in value.items() if name not in ("type", "sequence_number")}
        given, item = value.get("output_index"), value.get("item")
        if isinstance(given, int):
            if kind == "response.output_item.added" and isinstance(item, dict) and given not in self._raw_indices:
                self._raw_indices[given] = self._take_index()
                self._raw_items[given] = item
            elif given not in self._raw_items or kind == "response.output_item.added":
                return b""
            fields["output_index"] = index = self._raw_indices[given]
            if kind == "response.output_item.done":
                first = self._raw_items.pop(given)
                done = {**(item if isinstance(item, dict) else first), "id": first.get("id")}
                return self._done(index, done)
        return self._event(kind, **fields)

    def _close_raw(self) -> bytes:
        items, self._raw_items = self._raw_items, {}
        return b"".join(self._done(self._raw_indices[given], item) for given, item in items.items())
