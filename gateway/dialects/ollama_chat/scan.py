"""Watching a verbatim NDJSON stream of /api/chat or /api/generate: content, finish, usage.

After the first content a line is decoded only when it may be the last one or an error: every line that says
`done: true` contains `true`, and quotation marks inside a JSON string are escaped, so `"error"` cannot be text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.chat import Usage
from gateway.dialects.json import decode_any
from gateway.dialects.ollama_chat.counts import parse_usage
from gateway.dialects.ollama_chat.failure import error_of, render_error_event
from gateway.errors import GatewayError, UpstreamError

_MESSAGE = ("content", "thinking", "tool_calls", "images")
_FLAT = ("response", "thinking", "image")


class OllamaScanner:
    """A `StreamScanner`. The `done` line is finish and terminator in one, so none is ever supplied."""

    quiet = False  # every line has its own time
    __slots__ = ("content", "error", "finished", "terminated", "terminator", "usage")

    def __init__(self) -> None:
        self.content = self.finished = self.terminated = False
        self.error: UpstreamError | None = None
        self.usage: Usage | None = None
        self.terminator = b""

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the error event that ends this stream."""
        return render_error_event(error, request_id)

    def see(self, event: bytes) -> None:
        """Take in one line; what is not a JSON object is passed over."""
        if self.content and event.find(b"true") < 0 and event.find(b'"error"') < 0:
            return
        try:
            line = decode_any(event)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        if isinstance(line, dict):
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("error"):
            self.error = error_of("error_event", line["error"])
            return
        message = line.get("message")
        if not self.content:
            has_message = isinstance(message, dict) and any(message.get(key) for key in _MESSAGE)
            self.content = has_message or any(line.get(key) for key in _FLAT)
        if line.get("done") is True:
            self.content = self.finished = self.terminated = True
            self.usage = parse_usage(line) or self.usage
