"""Watching a verbatim Responses stream with as little decoding as it needs."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.json import decode_event
from gateway.dialects.openai_chat.counts import usage_of
from gateway.dialects.openai_responses.failure import event_error, failed_event
from gateway.dialects.sse import Piece, event_fields
from gateway.errors import GatewayError, UpstreamError


class _Event(Struct):
    type: str = ""
    delta: Raw = Raw(b"")


_decode = msgspec.json.Decoder(_Event).decode
_EMPTY = frozenset((b"", b"null", b'""', b"{}"))
_ENDS = frozenset(("response.completed", "response.incomplete"))
_FAILURES = frozenset(("response.failed", "response.cancelled", "error"))


class ResponsesScanner:
    """One per stream. The finish is `response.completed` or `response.incomplete`, which is also the terminator."""

    __slots__ = ("_events", "_response", "content", "error", "finished", "terminated", "usage")

    quiet = False  # every event is counted
    terminator = b""

    def __init__(self) -> None:
        self.content = self.finished = self.terminated = False
        self.error: UpstreamError | None = None
        self.usage: Usage | None = None
        self._events = 0
        self._response: dict[str, Any] = {}

    def see(self, event: bytes) -> None:
        """Look at one event; never raises."""
        if self.content and event.startswith(b"event: response.") and event.find(b".delta\n", 0, 64) > 0:
            self._events += 1
            return
        if type(event) is Piece:
            self.content = True
            return
        name, data = event_fields(event)
        if not data:
            return
        self._events += 1
        try:
            head = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if name in _FAILURES and self.error is None:
                self.error = event_error(decode_event(data) or {})
            return
        kind = head.type or name
        if kind.endswith(".delta"):
            self.content = self.content or bytes(head.delta) not in _EMPTY
        elif kind in _ENDS:
            self._see_end(decode_event(data) or {})
        elif kind in _FAILURES:
            self.error = self.error or event_error(decode_event(data) or {})
        elif kind == "response.created":
            response = (decode_event(data) or {}).get("response")
            self._response = response if isinstance(response, dict) else {}
        elif not self.content and kind in _ITEMS:
            item = (decode_event(data) or {}).get("item")
            self.content = isinstance(item, dict) and _is_content(item)
        elif not head.type and not name:
            value = decode_event(data) or {}
            if value.get("error"):
                self.error = self.error or event_error(value)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the event that ends this stream as failed, with the response's own id and the next number."""
        return failed_event(error, self._response or {"id": f"resp_{request_id}"}, self._events)

    def _see_end(self, event: dict[str, Any]) -> None:
        response = event.get("response")
        fields = response if isinstance(response, dict) else {}
        self.usage = usage_of(fields.get("usage")) or self.usage
        if fields.get("status") == "failed":
            self.error = self.error or event_error(event)
            return
        self.content = self.finished = self.terminated = True


_ITEMS = frozenset(("response.output_item.added", "response.output_item.done"))


def _is_content(item: dict[str, Any]) -> bool:
    """Return whether an item is more than an announcement: a call, or text that came without deltas."""
    kind = item.get("type")
    if isinstance(kind, str) and kind.endswith("_call"):
        return True
    for key in ("content", "summary"):
        parts = item.get(key)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and (part.get("text") or part.get("refusal")):
                return True
    return False
