"""A streamed Messages answer, written from neutral events.

Anthropic's grammar knows one open block at a time: start, deltas, stop, then the next. Other dialects interleave
(two tool calls, text between the pieces of a call), so what does not belong to the open block waits behind it.
A text or thinking block ends when anything else begins; a call when its arguments are whole.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import (
    Event,
    Failure,
    Raw,
    ReasoningDelta,
    Start,
    Stop,
    StopReason,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from gateway.dialects.anthropic_messages.blocks import DIALECT
from gateway.dialects.anthropic_messages.carrier import pack
from gateway.dialects.anthropic_messages.counts import render_usage
from gateway.dialects.anthropic_messages.failure import render_error_event
from gateway.dialects.anthropic_messages.render_blocks import Block
from gateway.dialects.anthropic_messages.reply import CARRIED, call_id, head, is_citation, stop_name
from gateway.dialects.anthropic_messages.scan import STOP_EVENT, event_data
from gateway.dialects.arguments import object_of
from gateway.dialects.json import decode_event, encode, text_of, valid_json
from gateway.dialects.names import original_names
from gateway.dialects.protocol import AnswerContext
from gateway.dialects.sse import sse
from gateway.errors import GatewayError, UpstreamError

_DELTA_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens_details",
    "server_tool_use",
)
_MOST_CHECKS = 32


class _Pending:
    """A block that is open or waits: its start, and the deltas not yet written.

    `arguments` are a call's pieces so far, whether written or not; `whole` says that nothing more can come; a
    `mended` call's are written at its end, as an object.
    """

    __slots__ = ("arguments", "checks", "custom", "deltas", "id", "key", "kind", "mended", "start", "whole")

    def __init__(self, kind: str, key: int, start: Block) -> None:
        self.kind, self.key, self.start = kind, key, start
        self.deltas: list[dict[str, Any]] = []
        self.arguments: list[str] = []
        self.checks = 0
        self.custom = self.mended = self.whole = False
        self.id: str | None = None

    def is_whole(self) -> bool:
        """Return whether the block may be closed as soon as another wants to be open."""
        if self.kind != "tool_use" or self.whole:
            return self.whole or self.kind != "opaque"
        # Each look reads all the arguments: their number is limited, so that interleaving stays linear.
        if self.arguments and self.arguments[-1].rstrip().endswith("}") and self.checks < _MOST_CHECKS:
            self.checks += 1
            self.whole = not self.custom and valid_json("".join(self.arguments))
        return self.whole


class AnthropicWriter:
    """A `StreamRenderer`. message_start waits for the first thing after the usage that may follow a Start, and
    message_delta for `end`: other dialects send their usage after the stop."""

    __slots__ = (
        "_calls",
        "_context",
        "_done",
        "_index",
        "_model",
        "_model",
        "_names",
        "_queue",
        "_refused",
        "_started",
        "_stop",
        "_usage",
    )

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._names = original_names(context.request)
        self._queue: list[_Pending] = []
        self._calls: dict[int, _Pending] = {}
        self._index = 0
        self._model = ""
        self._usage: Usage | None = None
        self._stop: Stop | None = None
        self._started = self._done = self._refused = False

    def render(self, event: Event) -> bytes:
        """Return the wire bytes for one event."""
        if self._done:
            return b""
        match event:
            case Start():
                self._model = event.model
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolCallDelta():
                return self._call(event)
            case Usage():
                self._usage = event
            case Stop():
                self._stop = self._stop or event
            case Raw():
                return self._raw(event)
            case Failure():
                error = UpstreamError("error_event", event.message, code=event.code, status=event.status)
                return self.fail(error, f"req_{self._context.id}")
        return b""

    def end(self, duration_ns: int = 0) -> bytes:
        """Return the open and waiting blocks, message_delta and message_stop."""
        if self._done:
            return b""
        out = [self._start()]
        while self._queue:
            out.append(self._close())
        self._done = True
        stop = self._stop or Stop("stop")
        reason: StopReason = "refusal" if self._refused and stop.reason == "stop" else stop.reason
        delta = {
            "stop_reason": stop_name(reason, stop.sequence, bool(self._calls), stop.extra),
            "stop_sequence": stop.sequence,
        } | {key: stop.extra[key] for key in CARRIED if key in stop.extra}
        usage = render_usage(self._usage)
        usage = {key: usage[key] for key in _DELTA_USAGE if key in usage}
        out.append(_event("message_delta", {"delta": delta, "usage": usage}))
        out.append(STOP_EVENT)
        return b"".join(out)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the error event; nothing follows it."""
        self._done = True
        return render_error_event(error, request_id)

    # --- neutral events ----------------------------------------------------------------------------

    def _text(self, event: TextDelta) -> bytes:
        self._refused = self._refused or event.refusal
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": event.text}] if event.text else []
        deltas += [{"type": "citations_delta", "citation": note} for note in event.annotations if is_citation(note)]
        if not deltas:
            return b""
        block = self._last("text", 0) or self._new(_Pending("text", 0, {"type": "text", "text": ""}))
        block.deltas += deltas
        return self._advance()

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        if event.redacted and event.origin == DIALECT:
            self._new(_Pending("redacted", event.block, {"type": "redacted_thinking", "data": event.encrypted or ""}))
            return self._advance()
        signature = ""
        block = self._last("thinking", event.block)
        if event.signature or event.encrypted:
            id = event.id or (block.id if block is not None else None)
            signature = pack(event.signature, event.encrypted, event.redacted, id, event.origin)
        if not event.text and not signature:
            if block is not None:
                block.id = event.id or block.id
            return b""
        if block is None:
            start = {"type": "thinking", "thinking": "", "signature": ""}
            block = self._new(_Pending("thinking", event.block, start))
        block.id = event.id or block.id
        if event.text:
            block.deltas.append({"type": "thinking_delta", "thinking": event.text})
        if signature:
            block.deltas.append({"type": "signature_delta", "signature": signature})
        return self._advance()

    def _call(self, event: ToolCallDelta) -> bytes:
        block = self._calls.get(event.index)
        if block is None:
            name = self._names.get(event.name, event.name)
            id = call_id(event.id, self._context, event.index)
            start = {"type": "tool_use", "id": id, "name": name, "input": {}}
            block = self._calls[event.index] = self._new(_Pending("tool_use", event.index, start))
            block.custom = event.custom
        if event.arguments and block in self._queue:
            first = not any(map(str.strip, block.arguments))
            block.arguments.append(event.arguments)
            if first and event.arguments.strip() and not event.arguments.lstrip().startswith("{"):
                block.mended = True  # JSON that is no object: `input` must be one, so it waits to be wrapped (G10)
            if not (block.custom or block.mended):
                block.deltas.append({"type": "input_json_delta", "partial_json": event.arguments})
        return self._advance()

    def _raw(self, event: Raw) -> bytes:
        """Pass on an event of Anthropic's own; one that belongs to a block takes that block's new index."""
        if event.dialect != DIALECT:
            return b""
        wire = decode_event(event_data(event.data))
        if wire is None:
            return b""
        if not isinstance(wire.get("index"), int):
            return self._start() + event.data
        key = wire["index"]
        if wire.get("type") == "content_block_start" and isinstance(wire.get("content_block"), dict):
            self._new(_Pending("opaque", key, wire["content_block"]))
            return self._advance()
        block = next((found for found in self._queue if found.kind == "opaque" and found.key == key), None)
        if block is None:
            return b""
        if wire.get("type") == "content_block_stop":
            block.whole = True
        elif isinstance(wire.get("delta"), dict):
            block.deltas.append(wire["delta"])
        return self._advance()

    # --- blocks ------------------------------------------------------------------------------------

    def _last(self, kind: str, key: int) -> _Pending | None:
        """Return the newest block when it is of this kind and key."""
        newest = self._queue[-1] if self._queue else None
        return newest if newest is not None and newest.kind == kind and newest.key == key else None

    def _new(self, block: _Pending) -> _Pending:
        self._queue.append(block)
        return block

    def _advance(self) -> bytes:
        """Return what the open block has to say, and close it while another waits and it is whole."""
        out = [self._start(), self._flush()]
        while len(self._queue) > 1 and self._queue[0].is_whole():
            out += (self._close(), self._flush())
        return b"".join(out)

    def _flush(self) -> bytes:
        """Return the open block's start, if not yet written, and its deltas."""
        block = self._queue[0]
        out: list[bytes] = []
        if block.start:
            out.append(_event("content_block_start", {"index": self._index, "content_block": block.start}))
            block.start = {}
        out += [_event("content_block_delta", {"index": self._index, "delta": delta}) for delta in block.deltas]
        block.deltas = []
        return b"".join(out)

    def _close(self) -> bytes:
        block = self._queue[0]
        if block.custom or block.mended:
            call = ToolCall(id="", name="", arguments="".join(block.arguments), custom=block.custom)
            block.deltas.append({"type": "input_json_delta", "partial_json": text_of(object_of(call))})
        out = self._flush() + _event("content_block_stop", {"index": self._index})
        del self._queue[0]
        self._index += 1
        return out

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        message = head(self._context, self._model) | {"content": [], "stop_reason": None, "stop_sequence": None}
        return _event("message_start", {"message": message | {"usage": render_usage(self._usage)}})


def _event(kind: str, members: dict[str, Any]) -> bytes:
    return sse(encode({"type": kind} | members), kind)
