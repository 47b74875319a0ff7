"""A chat stream in neutral events.

The stop is held back until the stream's end, because usage comes after it (U07, A15); text, reasoning and calls go on
at once, in that order within a chunk (A12). What is no chunk is skipped and counted.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Event, Failure, Raw, ReasoningDelta, Start, Stop, TextDelta, Usage
from gateway.dialects.json import decode_event
from gateway.dialects.openai_chat.answer import NAME, pieces, stop_of
from gateway.dialects.openai_chat.calls import CallAssembler
from gateway.dialects.openai_chat.counts import count, later, usage_of
from gateway.dialects.openai_chat.failure import error_from, error_in
from gateway.dialects.openai_chat.thinking import reasonings_of
from gateway.dialects.sse import Piece, SseFramer, event_fields
from gateway.errors import UpstreamError


def failure_of(error: UpstreamError) -> Failure:
    """Return an error of the stream's own as an event."""
    return Failure(error.message, error.code, error.status)


TRUNCATED = Failure("the upstream's stream ended before its finish", "stream_truncated", 502)
TOO_LARGE = Failure("the upstream sent an event of more than 1 MiB", "event_too_large", 502)


class ChatStreamParser:
    """One per stream. `finished` is true once the stop is known; `skipped` counts events that were no chunk."""

    def __init__(self) -> None:
        self._framer = SseFramer()
        self._calls = CallAssembler()
        self._started = self._ended = self._refused = False
        self._finish: str | None = None
        self._sequence: str | None = None
        self._usage: Usage | None = None
        self._block = 0
        self._in_block = False
        self._block_text = False
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
            if not text:
                continue
            if text.strip() == b"[DONE]":
                self.finished = True
                self._close(out)
                break
            chunk = decode_event(text)
            if chunk is None:
                self.skipped += 1
                continue
            before = len(out)
            self._chunk(chunk, name, out)
            if len(out) == before and not chunk.get("choices") and not chunk.keys() <= _PLAIN:
                out.append(Raw(NAME, event))  # Azure's prompt_filter_results and the like
        return out

    def end(self) -> list[Event]:
        """Return what was held back, or a Failure when the finish was never seen (A17)."""
        out: list[Event] = []
        if not self._ended:
            if self.finished:
                self._close(out)
            else:
                self._fail(TRUNCATED, out)
        return out

    def _fail(self, failure: Failure, out: list[Event]) -> None:
        self._ended = True
        out.append(failure)

    def _close(self, out: list[Event]) -> None:
        self._ended = True
        self._start({}, out)
        out.extend(self._calls.close())
        if self._usage is not None:
            out.append(self._usage)
        stop = stop_of(self._finish, has_calls=bool(self._calls), refused=self._refused)
        out.append(Stop(stop, self._sequence, extra={NAME: {"finish_reason": self._finish}}))

    def _chunk(self, chunk: dict[str, Any], name: str, out: list[Event]) -> None:
        choices = chunk.get("choices")
        if name or not choices or "error" in chunk:
            error = error_in(chunk, name)
            if error is not None:
                self._fail(failure_of(error), out)
                return
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
                    self._choice(chunk, choice, out)
                    break
        given = chunk.get("usage")
        if given is None and "x_groq" in chunk:
            groq = chunk["x_groq"]
            given = groq.get("usage") if isinstance(groq, dict) else None
        usage = usage_of(given) if given else None
        if usage is not None and not self._ended:
            self._usage = later(self._usage, usage)
            out.append(self._usage)

    def _choice(self, chunk: dict[str, Any], choice: dict[str, Any], out: list[Event]) -> None:
        if not self._started:
            self._start(chunk, out)
        delta = choice.get("delta")
        if delta is None and isinstance(choice.get("message"), dict):
            delta = choice["message"]  # a server that streams a whole answer in one piece
        if isinstance(delta, dict):
            self._delta(delta, out)
        text = choice.get("text")
        if isinstance(text, str):
            self._text(text, out)
        if choice.get("finish_reason"):
            self._see_finish(choice, out)

    def _see_finish(self, choice: dict[str, Any], out: list[Event]) -> None:
        finish = choice.get("finish_reason")
        if finish == "error":
            self._fail(
                failure_of(error_from({"error": choice.get("error") or "the upstream failed"}, "error_event")), out
            )
        else:
            self._finish = str(finish)
            self.finished = True
            sequence = choice.get("stop_reason")
            self._sequence = sequence if finish == "stop" and isinstance(sequence, str) and sequence else None

    def _start(self, chunk: dict[str, Any], out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        chunk_id, model, created = chunk.get("id"), chunk.get("model"), count(chunk.get("created"))
        start = Start(chunk_id if isinstance(chunk_id, str) else "", model if isinstance(model, str) else "", created)
        self._calls.seed = f"{start.id} {created} {start.model}"
        out.append(start)

    def _delta(self, delta: dict[str, Any], out: list[Event]) -> None:
        content = delta.get("content")
        if len(delta) == 1 and isinstance(content, str):  # nearly every chunk
            self._text(content, out)
            return
        self._reasoning(delta, out)
        for kind, text in pieces(content):
            if kind == "thinking":
                self._think(text, out)
            else:
                self._text(text, out)
        annotations = delta.get("annotations")
        if isinstance(annotations, list) and annotations:
            out.append(TextDelta("", annotations=tuple(annotations)))
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._leave_block()
            self._refused = True
            out.append(TextDelta(refusal, refusal=True))
        calls = [*self._calls.feed(delta.get("tool_calls")), *self._calls.legacy(delta.get("function_call"))]
        if calls:
            self._leave_block()
            out.extend(calls)

    def _reasoning(self, delta: dict[str, Any], out: list[Event]) -> None:
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(text, str):
            self._think(text, out)
        blocks = delta.get("thinking_blocks")
        if not isinstance(blocks, list):
            return
        for part in reasonings_of({"thinking_blocks": blocks}):
            if not self._block_text and part.text:
                self._think(part.text, out)
            if part.signature or part.encrypted or part.id:
                self._in_block = True
                out.append(
                    ReasoningDelta(
                        block=self._block,
                        signature=part.signature,
                        encrypted=part.encrypted,
                        redacted=part.redacted,
                        id=part.id,
                        origin=part.origin,
                    )
                )
                self._leave_block()

    def _think(self, text: str, out: list[Event]) -> None:
        if text:
            self._in_block = self._block_text = True
            out.append(ReasoningDelta(text, self._block))

    def _text(self, text: str, out: list[Event]) -> None:
        if text:
            self._leave_block()
            out.append(TextDelta(text))

    def _leave_block(self) -> None:
        """What comes after text or a call is another block of reasoning (A13)."""
        if self._in_block:
            self._block += 1
            self._in_block = self._block_text = False


_PLAIN = frozenset(
    (
        *("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"),
        *("x_groq", "obfuscation", "provider"),
    )
)
"""Members that say nothing when a chunk has neither choices nor usage."""
