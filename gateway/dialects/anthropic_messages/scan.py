"""Watching a verbatim Messages stream: where content begins, whether it finished, what it used.

This runs once per event of every stream that passes through unchanged. After the first content only the few
events outside the blocks are decoded; the many `content_block_*` ones cost a comparison.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.anthropic_messages.counts import UsageReader
from gateway.dialects.anthropic_messages.failure import parse_stream_error, render_error_event
from gateway.dialects.sse import event_fields
from gateway.errors import GatewayError, UpstreamError

STOP_EVENT = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


_ABSENT = Raw(b"null")


class _Block(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class _Message(Struct):
    content: list[Raw] | None = None
    usage: Raw = _ABSENT


class _Event(Struct):
    type: str = ""
    delta: _Block | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_decode = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode
_BLOCK_EVENTS = (b"event: content_block_", b'data: {"type":"content_block_', b'data: {"type": "content_block_')
_EMPTY_BLOCKS = frozenset(("text", "thinking"))


class AnthropicScanner:
    """A `StreamScanner`. A start that carries content and no stop reason counts as finished at message_stop."""

    __slots__ = ("_reader", "content", "error", "finished", "quiet", "terminated", "terminator", "usage")

    def __init__(self) -> None:
        self.content = self.finished = self.terminated = self.quiet = False
        self.error: UpstreamError | None = None
        self.usage: Usage | None = None
        self.terminator = STOP_EVENT
        self._reader = UsageReader()

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the error event that ends this stream."""
        return render_error_event(error, request_id)

    def see(self, event: bytes) -> None:
        """Take in one framed event; what cannot be read is passed over."""
        self.quiet = self.content and event.startswith(_BLOCK_EVENTS)
        if self.quiet:
            return
        data = event_data(event)
        if not data:
            return
        try:
            self._take(_decode(data))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._take_odd(data)

    def _take(self, event: _Event) -> None:
        match event.type:
            case "content_block_delta":
                delta = event.delta
                if delta is not None and (delta.text or delta.thinking or delta.partial_json or delta.signature):
                    self.content = True
            case "content_block_start":
                block = event.content_block
                if block is not None and (block.type not in _EMPTY_BLOCKS or block.text or block.thinking):
                    self.content = True
            case "message_start":
                if event.message is not None:
                    self._add(event.message.usage)
                    self.content = self.content or bool(event.message.content)
            case "message_delta":
                self._add(event.usage)
                if event.delta is not None and event.delta.stop_reason:
                    self.content = self.finished = True
            case "message_stop":
                self.content = self.finished = self.terminated = True
            case "error":
                self.error = parse_stream_error(event.error)

    def _take_odd(self, data: bytes) -> None:
        """Take in an event with a member of an unexpected kind: only what its type alone says."""
        try:
            event = _decode_any(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "content_block_delta":
            self.content = True
        elif kind == "error":
            self.error = parse_stream_error(Raw(msgspec.json.encode(event.get("error"))))
        elif kind in ("message_start", "message_delta"):
            within = event.get("message") if kind == "message_start" else event
            if isinstance(within, dict):
                self._reader.add(within.get("usage"))
                self.usage = self._reader.usage
            delta = event.get("delta")
            if kind == "message_delta" and isinstance(delta, dict) and delta.get("stop_reason"):
                self.content = self.finished = True

    def _add(self, usage: Raw) -> None:
        self._reader.add(_decode_any(usage))
        self.usage = self._reader.usage


def event_data(event: bytes) -> bytes:
    """Return an event's data; the usual two-line shape is cut without splitting lines."""
    if event.startswith(b"event: "):
        at = event.find(b"\ndata: ")
        if at > 0 and event.find(b"\n", at + 7) == len(event) - 2 and b"\r" not in event:
            return event[at + 7 : -2]
    return event_fields(event)[1]
