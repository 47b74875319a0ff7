"""Watching a verbatim chat stream, and reading a plain answer's usage, with as little decoding as they need."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.json import decode_any, decode_event, encode
from gateway.dialects.openai_chat.counts import later, usage_of
from gateway.dialects.openai_chat.failure import error_in, render_error_event
from gateway.dialects.sse import Piece, event_fields, one_line
from gateway.errors import GatewayError, UpstreamError

_EMPTY = frozenset((b"", b"null", b'""', b"[]", b"{}", b"false"))
_NONE = Raw(b"")
_NULL = b"null"
_BRACE = 0x7B


class _Delta(Struct):
    """What makes a chunk content; each left as bytes, since most chunks only need to know that it is not empty."""

    content: Raw = _NONE
    reasoning_content: Raw = _NONE
    reasoning: Raw = _NONE
    refusal: Raw = _NONE
    tool_calls: Raw = _NONE
    function_call: Raw = _NONE
    audio: Raw = _NONE


class _Choice(Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: _Delta | None = None
    text: Raw = _NONE  # /v1/completions


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: Raw = _NONE
    x_groq: Raw = _NONE
    error: Raw = _NONE


class _LaterChoice(Struct):
    index: int = 0
    finish_reason: str | None = None


class _LaterChunk(Struct):
    """A chunk after the first content: nobody asks for its delta any more."""

    choices: list[_LaterChoice] | None = None
    usage: Raw = _NONE
    x_groq: Raw = _NONE
    error: Raw = _NONE


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_later = msgspec.json.Decoder(_LaterChunk).decode


class ChatScanner:
    """One per stream. Finished means every choice that began has its finish_reason, or `[DONE]` came (A16, W01).

    `usage_only` says that the event just seen was nothing but the usage: what is taken out again when the gateway
    asked for it and the client did not (P14).
    """

    __slots__ = ("_closed", "_open", "content", "error", "finished", "quiet", "terminated", "usage", "usage_only")

    terminator = b"data: [DONE]\n\n"

    def __init__(self) -> None:
        self.content = self.finished = self.terminated = self.quiet = self.usage_only = False
        self.error: UpstreamError | None = None
        self.usage: Usage | None = None
        self._open: set[int] = set()
        self._closed: set[int] = set()

    def see(self, event: bytes) -> None:
        """Look at one event; never raises."""
        self.quiet = self.usage_only = False
        if type(event) is Piece:
            self.content = True
            return
        name, data = "", one_line(event)
        if data is None:
            name, data = event_fields(event)
        if not data:
            return
        if data == b"[DONE]" or (data[0] != _BRACE and data.strip() == b"[DONE]"):
            self.content = self.finished = self.terminated = True
            return
        begun = self.content
        try:
            chunk = _decode_later(data) if begun else _decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._see_odd(data, name)
            return
        if name or chunk.error or not chunk.choices:
            self._see_choiceless(data, name)
        if chunk.choices:
            stays = self._see_choices(chunk.choices)
            self.quiet = begun and stays and not name and not chunk.error and not chunk.x_groq
        if chunk.usage and bytes(chunk.usage) != _NULL:
            self._count(decode_any(chunk.usage))
            self.quiet, self.usage_only = False, chunk.choices == []
        elif chunk.x_groq:
            groq = decode_any(chunk.x_groq)
            self._count(groq.get("usage") if isinstance(groq, dict) else None)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the event that ends this stream as failed."""
        return render_error_event(error)

    def _see_choices(self, choices: list[_Choice] | list[_LaterChoice]) -> bool:
        """Return whether none of them ends."""
        stays = True
        for choice in choices:
            if choice.finish_reason:
                stays = False
                self._closed.add(choice.index)
                self._open.discard(choice.index)
                self.content = True
            elif choice.index not in self._closed:
                self._open.add(choice.index)
            if not self.content and type(choice) is _Choice:
                delta = choice.delta
                self.content = (bool(choice.text) and _has_text(choice.text)) or (
                    delta is not None and _is_content(delta)
                )
        self.finished = self.terminated or (bool(self._closed) and not self._open)
        return stays

    def _see_choiceless(self, data: bytes, name: str) -> None:
        if self.error is None and (value := decode_event(data)) is not None:
            self.error = error_in(value, name)

    def _see_odd(self, data: bytes, name: str) -> None:
        """A chunk whose fields have types nobody should send: read it patiently, or leave it be."""
        value = decode_event(data)
        if value is None:
            return
        self.error = self.error or error_in(value, name)
        self._count(value.get("usage"))
        choices = value.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._see_choices([_patiently(choice)])

    def _count(self, value: object) -> None:
        usage = usage_of(value)
        if usage is not None:
            self.usage = later(self.usage, usage)


def _patiently(choice: dict[str, Any]) -> _Choice:
    index, finish, delta = choice.get("index"), choice.get("finish_reason"), choice.get("delta")
    fields = delta if isinstance(delta, dict) else {}
    known = {key: Raw(encode(fields[key])) for key in _Delta.__struct_fields__ if key in fields}
    return _Choice(
        index=index if isinstance(index, int) else 0,
        finish_reason=str(finish) if finish else None,
        delta=_Delta(**known),
        text=Raw(encode(choice.get("text"))),
    )


def _has_text(value: Raw) -> bool:
    data = bytes(value)
    if data in _EMPTY:
        return False
    if data[:1] != b"[":
        return True
    parts = decode_any(data)  # Mistral's list of parts
    return any((isinstance(part, str) and part) or (isinstance(part, dict) and _part_has_text(part)) for part in parts)


def _part_has_text(part: dict[str, object]) -> bool:
    thinking = part.get("thinking")
    if isinstance(thinking, list):
        return any(isinstance(inner, dict) and bool(inner.get("text")) for inner in thinking)
    return bool(part.get("text") or thinking)


def _is_content(delta: _Delta) -> bool:
    for words in (delta.content, delta.reasoning_content, delta.reasoning):
        if words and _has_text(words):
            return True
    if delta.refusal and bytes(delta.refusal) not in _EMPTY:
        return True
    for raw in (delta.tool_calls, delta.function_call, delta.audio):  # noqa: SIM110 — per event, a generator costs more
        if raw and _has_value(raw):
            return True
    return False


def _has_value(raw: Raw) -> bool:
    """Return whether a call is more than a shell of empty members."""
    if bytes(raw) in _EMPTY:
        return False
    return _is_filled(decode_any(raw))


def _is_filled(value: object) -> bool:
    if isinstance(value, dict):
        return any(_is_filled(inner) for key, inner in value.items() if key not in ("index", "type"))
    if isinstance(value, list):
        return any(_is_filled(inner) for inner in value)
    return bool(value)
