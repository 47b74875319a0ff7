"""One answer of Ollama's, or one line of a streamed one, of either endpoint."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.chat import StopReason, ToolCall

_NOTHING = Raw(b"{}")


class Function(Struct):
    name: str = ""
    arguments: Raw = _NOTHING


class Call(Struct):
    function: Function | None = None
    id: str | None = None


class Said(Struct):
    """What a line says, wherever it stands: `message` of a chat, the line itself of a generate."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None
    images: list[str] | None = None


class Line(Struct):
    model: str | None = None
    created_at: str | None = None
    message: Said | None = None
    response: str | None = None
    thinking: str | None = None
    image: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    error: Raw = Raw(b"null")

    @property
    def said(self) -> Said:
        """Return what the line says."""
        if self.message is not None:
            return self.message
        return Said(content=self.response, thinking=self.thinking, images=[self.image] if self.image else None)


decode_line = msgspec.json.Decoder(Line).decode


def calls_of(line: Line, before: int) -> list[ToolCall]:
    """Return a line's calls. One without an id gets one made of the time the server gave the line, its place
    and its words: the same answer gives the same id, another turn another. A call without a name is none."""
    found: list[ToolCall] = []
    for number, call in enumerate(line.said.tool_calls or (), before):
        function = call.function or Function()
        if not function.name:
            continue
        arguments = _arguments(function.arguments)
        seed = f"{line.model} {line.created_at} {number} {function.name} {arguments}"
        id = call.id or f"call_{sha256(seed.encode('utf-8', 'replace')).hexdigest()[:20]}"
        found.append(ToolCall(id=id, name=function.name, arguments=arguments))
    return found


def _arguments(raw: Raw) -> str:
    text = msgspec.json.format(bytes(raw), indent=-1).decode("utf-8", "replace")
    if text.startswith('"'):
        # Some compatible servers spell the object as a string, as OpenAI does.
        decoded: Any = msgspec.json.decode(raw)
        return str(decoded) or "{}"
    return "{}" if text == "null" else text


def stop_of(reason: str | None, has_calls: bool) -> StopReason | None:
    """Return the neutral stop reason, None for `load` and `unload`, which answer nothing."""
    if reason in ("load", "unload"):
        return None
    if has_calls:
        return "tool_calls"
    return "length" if reason == "length" else "stop"


def seconds_of(created_at: str | None) -> int:
    """Return an RFC 3339 time as Unix seconds, 0 when it is none."""
    try:
        return int(datetime.fromisoformat(created_at or "").timestamp())
    except (ValueError, OverflowError):
        return 0


def time_text(now_s: float) -> str:
    """Return Unix time as RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def one_line(encoded: bytes) -> bytes:
    """Return JSON that no reader takes for several lines.

    httpx, under the ollama package, ends a line at U+2028, U+2029 and U+0085 too; in JSON they stand only inside
    strings, where an escape says the same.
    """
    if b"\xe2\x80" in encoded or b"\xc2\x85" in encoded:
        encoded = encoded.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
        encoded = encoded.replace(b"\xc2\x85", rb"\u0085")
    return encoded
