"""A streamed answer of /api/chat or /api/generate, read into neutral events and written from them."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.chat import Event, Failure, ReasoningDelta, Start, Stop, TextDelta, ToolCall, ToolCallDelta, Usage
from gateway.dialects.json import decode_event, encode
from gateway.dialects.members import ODD_JSON
from gateway.dialects.names import original_names
from gateway.dialects.ollama_chat.counts import parse_usage, render_usage
from gateway.dialects.ollama_chat.failure import error_of, render_error_event
from gateway.dialects.ollama_chat.line import Line, calls_of, decode_line, one_line, seconds_of, stop_of
from gateway.dialects.ollama_chat.reply import call_wire, done_reason, head
from gateway.dialects.ollama_chat.request import CHAT
from gateway.dialects.protocol import AnswerContext
from gateway.dialects.sse import NdjsonFramer
from gateway.errors import GatewayError, UpstreamError


class OllamaParser:
    """A `StreamParser` for both endpoints. A line that is no JSON object is passed over."""

    __slots__ = ("_block", "_calls", "_done", "_framer", "_started", "_thinking")

    def __init__(self) -> None:
        self._framer = NdjsonFramer()
        self._calls = 0
        self._block = -1
        self._started = self._thinking = self._done = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events now complete."""
        out: list[Event] = []
        for line in self._framer.feed(data):
            if self._done:
                break
            if self._framer.overflow:
                self._fail(out, Failure("the upstream sent a line above 1 MiB", "event_too_large"))
                break
            self._take(line, out)
        return out

    def end(self) -> list[Event]:
        """Return what a last line without its newline says, and a Failure when none was `done`."""
        out: list[Event] = []
        if not self._done:
            self._take(self._framer.tail, out)
        if not self._done:
            self._fail(out, Failure("the upstream's stream ended before its finish", "stream_truncated"))
        return out

    def _take(self, data: bytes, out: list[Event]) -> None:
        try:
            line = decode_line(data)
            calls = calls_of(line, self._calls)
        except ODD_JSON:
            members = decode_event(data)
            if members is not None and members.get("error"):
                self._error(members["error"], out)
            return
        error = msgspec.json.decode(line.error)
        if error:
            self._error(error, out)
            return
        if not self._started:
            self._started = True
            out.append(Start("", line.model or "", seconds_of(line.created_at)))
        self._say(line, calls, out)
        if line.done:
            self._finish(line, data, out)

    def _say(self, line: Line, calls: list[ToolCall], out: list[Event]) -> None:
        said = line.said
        if said.thinking:
            if not self._thinking:
                self._block += 1
                self._thinking = True
            out.append(ReasoningDelta(said.thinking, self._block, origin=CHAT))
        if said.content:
            self._thinking = False
            out.append(TextDelta(said.content))
        for call in calls:
            self._thinking = False
            out.append(ToolCallDelta(self._calls, call.id, call.name, call.arguments))
            self._calls += 1

    def _finish(self, line: Line, data: bytes, out: list[Event]) -> None:
        stop = stop_of(line.done_reason, self._calls > 0)
        if stop is None:
            words = f'the upstream only did "{line.done_reason}" and answered nothing'
            self._fail(out, Failure(words, "bad_upstream_response"))
            return
        self._done = True
        usage = parse_usage(decode_event(data) or {})
        if usage is not None:
            out.append(usage)
        out.append(Stop(stop))

    def _error(self, error: object, out: list[Event]) -> None:
        found = error_of("error_event", error)
        self._fail(out, Failure(found.message, found.code, found.status))

    def _fail(self, out: list[Event], failure: Failure) -> None:
        self._done = True
        out.append(failure)


class OllamaWriter:
    """A `StreamRenderer`. Ollama's calls are whole objects: they wait until the end, in the order they began."""

    __slots__ = ("_calls", "_context", "_done", "_head", "_names", "_stop", "_usage")

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._head = head(context) | {"done": False}
        self._names = original_names(context.request)
        self._calls: dict[int, tuple[ToolCallDelta, list[str]]] = {}
        self._usage: Usage | None = None
        self._stop: Stop | None = None
        self._done = False

    def render(self, event: Event) -> bytes:
        """Return the wire bytes for one event."""
        if self._done:
            return b""
        match event:
            case Start():
                self._head["model"] = self._context.model or event.model
            case TextDelta():
                return self._line(self._said(event.text, "")) if event.text else b""
            case ReasoningDelta():
                return self._line(self._said("", event.text)) if event.text else b""
            case ToolCallDelta():
                self._calls.setdefault(event.index, (event, []))[1].append(event.arguments)
            case Usage():
                self._usage = event
            case Stop():
                self._stop = self._stop or event
            case Failure():
                error = UpstreamError("error_event", event.message, code=event.code, status=event.status)
                return self.fail(error, "")
        return b""

    def end(self, duration_ns: int = 0) -> bytes:
        """Return the calls and the `done` line."""
        if self._done:
            return b""
        self._done = True
        end: dict[str, Any] = {"done": True, "done_reason": done_reason((self._stop or Stop("stop")).reason)}
        end |= render_usage(self._usage, duration_ns or self._context.duration_ns)
        return self._call_line() + self._line(self._said("", "") | end)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the error line; nothing follows it."""
        self._done = True
        return render_error_event(error, request_id)

    def _said(self, text: str, thinking: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text} | ({"thinking": thinking} if thinking else {})}

    def _call_line(self) -> bytes:
        if not self._calls:
            return b""
        calls = [
            call_wire(
                ToolCall(id=first.id, name=first.name, arguments="".join(pieces), custom=first.custom),
                index,
                self._names,
                self._context,
            )
            for index, (first, pieces) in enumerate(self._calls.values())
        ]
        return self._line({"message": {"role": "assistant", "content": "", "tool_calls": calls}})

    def _line(self, members: dict[str, Any]) -> bytes:
        return one_line(encode(self._head | members)) + b"\n"


class OllamaGenerateWriter(OllamaWriter):
    """The same for /api/generate, which has no calls."""

    __slots__ = ()

    def _said(self, text: str, thinking: str) -> dict[str, Any]:
        return {"response": text} | ({"thinking": thinking} if thinking else {})

    def _call_line(self) -> bytes:
        return b""
