"""A streamed Messages answer, read into neutral events."""

from __future__ import annotations

from typing import Any

from gateway.chat import Event, Failure, Raw, ReasoningDelta, Start, Stop, TextDelta, ToolCallDelta
from gateway.dialects.anthropic_messages.blocks import DIALECT
from gateway.dialects.anthropic_messages.carrier import unpack
from gateway.dialects.anthropic_messages.compose import HIDDEN_TOOL
from gateway.dialects.anthropic_messages.counts import UsageReader
from gateway.dialects.anthropic_messages.failure import error_of
from gateway.dialects.anthropic_messages.reply import CARRIED, stop_of
from gateway.dialects.anthropic_messages.scan import event_data
from gateway.dialects.json import decode_event, text_of
from gateway.dialects.names import made_id
from gateway.dialects.sse import SseFramer


class _Block:
    """A content block that was started: what it is, and its place among its like."""

    __slots__ = ("citations", "got_input", "kind", "length", "place")

    def __init__(self, kind: str, place: int) -> None:
        self.kind, self.place = kind, place
        self.got_input = False
        self.citations: list[Any] = []
        self.length = 0


class AnthropicParser:
    """A `StreamParser`. Deltas are believed even without their block's start, a second start is not begun again."""

    __slots__ = ("_blocks", "_calls", "_done", "_framer", "_id", "_started", "_stopped", "_thoughts", "_usage")

    def __init__(self) -> None:
        self._framer = SseFramer()
        self._blocks: dict[int, _Block] = {}
        self._calls = self._thoughts = 0
        self._started = self._stopped = self._done = False
        self._id = ""
        self._usage = UsageReader()

    def feed(self, data: bytes) -> list[Event]:
        """Return the events now complete."""
        out: list[Event] = []
        for event in self._framer.feed(data):
            if self._done:
                break
            if self._framer.overflow:
                self._fail(out, Failure("the upstream sent an event above 1 MiB", "event_too_large"))
                break
            wire = decode_event(event_data(event))
            if wire is not None:
                self._take(wire, event, out)
        return out

    def end(self) -> list[Event]:
        """Return a Failure when no stop reason was seen."""
        if self._stopped or self._done:
            return []
        self._done = True
        return [Failure("the upstream's stream ended before its finish", "stream_truncated")]

    def _take(self, wire: dict[str, Any], event: bytes, out: list[Event]) -> None:
        match wire.get("type"):
            case "content_block_delta":
                self._delta(wire, event, out)
            case "content_block_start":
                self._block_start(wire, event, out)
            case "content_block_stop":
                self._block_stop(wire, event, out)
            case "message_start":
                self._message_start(wire.get("message"), out)
            case "message_delta":
                self._message_delta(wire, out)
            case "message_stop":
                if not self._stopped:
                    self._stopped = True
                    out.append(Stop(stop_of(None, self._calls > 0)[0]))
                self._done = True
            case "error":
                error = error_of("error_event", wire.get("error"))
                self._fail(out, Failure(error.message, error.code, error.status))
            case "ping":
                pass
            case str():
                out.append(Raw(DIALECT, event))

    def _fail(self, out: list[Event], failure: Failure) -> None:
        self._done = True
        out.append(failure)

    def _message_start(self, message: object, out: list[Event]) -> None:
        if not isinstance(message, dict):
            return
        if not self._started:
            self._started = True
            self._id = _text(message, "id")
            out.append(Start(self._id, _text(message, "model")))
        self._count(message.get("usage"), out)
        # Some servers splice a whole message in here; each of its blocks is a block that starts and stops at once.
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            at = {"index": -1 - index}
            self._block_start(at | {"content_block": block}, b"", out)
            self._block_stop(at, b"", out)

    def _message_delta(self, wire: dict[str, Any], out: list[Event]) -> None:
        self._count(wire.get("usage"), out)
        delta = wire.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        if not isinstance(delta, dict) or not reason or self._stopped:
            return
        self._stopped = True
        if reason == "tool_use" and not self._calls:
            reason = "end_turn"  # only the hidden tool was called, and its input is the answer itself
        stop, extra = stop_of(reason, self._calls > 0)
        extra |= {key: found for key in CARRIED if (found := delta.get(key, wire.get(key))) is not None}
        sequence = delta.get("stop_sequence")
        out.append(Stop(stop, sequence if isinstance(sequence, str) else None, extra))

    def _count(self, usage: object, out: list[Event]) -> None:
        if isinstance(usage, dict):
            self._usage.add(usage)
            if self._usage.usage is not None:
                out.append(self._usage.usage)

    def _block_start(self, wire: dict[str, Any], event: bytes, out: list[Event]) -> None:
        block, index = wire.get("content_block"), wire.get("index")
        if not isinstance(block, dict) or not isinstance(index, int):
            return
        kind = block.get("type")
        if kind == "text":
            self._blocks[index] = _Block("text", 0)
            citations = block.get("citations")
            if isinstance(citations, list):
                self._blocks[index].citations += citations
            if text := _text(block, "text"):
                self._blocks[index].length += len(text)
                out.append(TextDelta(text))
        elif kind in ("thinking", "redacted_thinking"):
            self._blocks[index] = _Block("thinking", self._thoughts)
            self._thoughts += 1
            if kind == "redacted_thinking":
                data = _text(block, "data")
                out.append(ReasoningDelta("", self._thoughts - 1, None, data, True, None, DIALECT))
            else:
                self._think(index, _text(block, "thinking"), _text(block, "signature"), out)
        elif kind == "tool_use" and block.get("name") == HIDDEN_TOOL:
            self._blocks[index] = _Block("hidden", 0)
            if block.get("input"):
                out.append(TextDelta(text_of(block["input"])))
        elif kind == "tool_use" and (name := _text(block, "name")):
            found = self._blocks[index] = _Block("tool_use", self._calls)
            self._calls += 1
            given = block.get("input")
            found.got_input = bool(given)
            arguments = text_of(given) if given else ""
            id = _text(block, "id") or made_id(self._id, found.place, name)
            out.append(ToolCallDelta(found.place, id, name, arguments))
        else:
            self._blocks[index] = _Block("opaque", 0)
            if event:
                out.append(Raw(DIALECT, event))

    def _block_stop(self, wire: dict[str, Any], event: bytes, out: list[Event]) -> None:
        index = wire.get("index")
        block = self._blocks.pop(index, None) if isinstance(index, int) else None
        if block is None:
            return
        if block.citations:  # they come before the text they are about, or after it
            out.append(TextDelta("", False, tuple(block.citations), block.length))
        if block.kind == "tool_use" and not block.got_input:
            out.append(ToolCallDelta(block.place, arguments="{}"))
        elif block.kind == "opaque" and event:
            out.append(Raw(DIALECT, event))

    def _delta(self, wire: dict[str, Any], event: bytes, out: list[Event]) -> None:
        delta, index = wire.get("delta"), wire.get("index")
        if not isinstance(delta, dict) or not isinstance(index, int):
            return
        block = self._blocks.get(index)
        if block is not None and block.kind == "opaque":
            out.append(Raw(DIALECT, event))
            return
        match delta.get("type"):
            case "text_delta":
                if text := _text(delta, "text"):
                    if block is not None:
                        block.length += len(text)
                    out.append(TextDelta(text))
            case "input_json_delta":
                self._input(block, _text(delta, "partial_json"), out)
            case "thinking_delta":
                self._think(index, _text(delta, "thinking"), "", out)
            case "signature_delta":
                self._think(index, "", _text(delta, "signature"), out)
            case "citations_delta" if block is not None:
                block.citations.append(delta.get("citation"))

    def _input(self, block: _Block | None, piece: str, out: list[Event]) -> None:
        if block is None or not piece:
            return
        if block.kind == "hidden":
            out.append(TextDelta(piece))
        elif block.kind == "tool_use":
            block.got_input = True
            out.append(ToolCallDelta(block.place, arguments=piece))

    def _think(self, index: int, text: str, signature: str, out: list[Event]) -> None:
        if not text and not signature:
            return
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block("thinking", self._thoughts)
            self._thoughts += 1
        if not signature:
            out.append(ReasoningDelta(text, block.place, origin=DIALECT))
            return
        own = unpack("", signature)
        out.append(ReasoningDelta(text, block.place, own.signature, own.encrypted, own.redacted, own.id, own.origin))


def _text(members: dict[str, Any], key: str) -> str:
    value = members.get(key)
    return value if isinstance(value, str) else ""
