"""Cutting a stream into whole events: Server-Sent Events and newline-delimited JSON.

A framer never changes a byte: joining what it returned and its tail gives the input. An SSE event ends at a
blank line; lines end in LF, CRLF or CR (WHATWG HTML, section 9.2, read 2026-11). Of the pairs of line ends only
CR CR LF is taken as event, then an empty line, so that where a chunk was cut never changes the events.
"""

from __future__ import annotations

import re

BOM = b"\xef\xbb\xbf"
LARGEST_EVENT_BYTES = 1 << 20
"""An event above this is not kept in memory: it is handed on in pieces, unparsed."""

_BLANK_LINE = re.compile(rb"\n\n|\r\r|\n\r\n|\n\r(?=[^\n])")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Piece(bytes):
    """A part of an event that is too large to keep; it is passed on and never parsed."""

    __slots__ = ()


class _Framer:
    """What both framings share: the tail, and giving up on an event that does not end.

    `overflow` is true when the last `feed` returned a Piece, or ended inside an oversized event.
    """

    __slots__ = ("_inside", "_limit", "_tail", "overflow")

    def __init__(self, limit_bytes: int = LARGEST_EVENT_BYTES) -> None:
        self._tail = bytearray()
        self._limit = limit_bytes
        self._inside = False
        self.overflow = False

    @property
    def tail(self) -> bytes:
        """The bytes after the last whole event."""
        return bytes(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events now complete; those above the limit come as several `Piece`s."""
        tail = self._tail
        if not tail and not self._inside:
            self.overflow = False
            if len(data) <= self._limit and self._is_whole(data):
                return [data]
        searched = len(tail)
        tail += data
        self.overflow = self._inside
        out: list[bytes] = []
        start = 0
        for end in self._ends(tail, max(0, searched - 2), data):
            event = bytes(tail[start:end])
            if self._inside or end - start > self._limit:
                self.overflow, self._inside = True, False
                event = Piece(event)
            out.append(event)
            start = end
        if start:
            del tail[:start]
        if self._inside or len(tail) > self._limit:
            self.overflow = self._inside = True
            # The last two bytes may be half of the blank line that ends the event.
            if len(tail) > 2:
                out.append(Piece(tail[:-2]))
                del tail[:-2]
        return out

    def _is_whole(self, data: bytes) -> bool:
        raise AssertionError("a framing says what a whole event is")

    def _ends(self, data: bytearray, start: int, new: bytes) -> list[int]:
        raise AssertionError("a framing says where its events end")


class SseFramer(_Framer):
    """Whole Server-Sent Events, each with its blank line, comments included."""

    __slots__ = ("_returns",)

    def __init__(self, limit_bytes: int = LARGEST_EVENT_BYTES) -> None:
        super().__init__(limit_bytes)
        self._returns = False

    def _is_whole(self, data: bytes) -> bool:
        return data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data

    def _ends(self, data: bytearray, start: int, new: bytes) -> list[int]:
        # Only what is new is looked at: an event of 1 MB that comes in small pieces must not be read again and again.
        self._returns = self._returns or b"\r" in new
        if self._returns:
            return [match.end() for match in _BLANK_LINE.finditer(data, start)]
        ends = []
        at = data.find(b"\n\n", start)
        while at >= 0:
            ends.append(at + 2)
            at = data.find(b"\n\n", at + 2)
        return ends


class NdjsonFramer(_Framer):
    """Whole lines, each with its newline."""

    __slots__ = ()

    def _is_whole(self, data: bytes) -> bool:
        return data.endswith(b"\n") and data.find(b"\n") == len(data) - 1

    def _ends(self, data: bytearray, start: int, new: bytes) -> list[int]:
        ends = []
        at = data.find(b"\n", start)
        while at >= 0:
            ends.append(at + 1)
            at = data.find(b"\n", at + 1)
        return ends


def event_fields(event: bytes) -> tuple[str, bytes]:
    """Return the event's name ("" when it has none) and its data, `data:` lines joined by newlines.

    A comment, a ping without data and a blank line give ("", b"").
    """
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return "", event[6:-2]
    if event.startswith(BOM):
        event = event[3:]
    name, data = "", []
    for line in _LINE_END.split(event):
        field, colon, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event" and colon:
            name = value.decode("utf-8", "replace")
    return name, data[0] if len(data) == 1 else b"\n".join(data)


def sse(data: bytes, name: str = "") -> bytes:
    """Return one event; `data` is compact JSON, thus a single line."""
    if name:
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
