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

    @property
    def is_between(self) -> bool:
        """Whether what comes next is the beginning of an event."""
        return not self._tail and not self._inside

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events now complete; those above the limit come as several `Piece`s."""
        tail = self._tail
        if not tail and not self._inside:
            self.overflow = False
            if len(data) <= self._limit and (events := self._cut(data)) is not None:
                return events
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

    def _cut(self, data: bytes) -> list[bytes] | None:
        """Return the events of `data`, which begins with one and is no larger than the limit, and keep its tail; None
        when that takes a closer look. For speed alone."""
        raise AssertionError("a framing cuts what is simple")

    def _ends(self, data: bytearray, start: int, new: bytes) -> list[int]:
        raise AssertionError("a framing says where its events end")


class SseFramer(_Framer):
    """Whole Server-Sent Events, each with its blank line, comments included."""

    __slots__ = ("_returns",)

    def __init__(self, limit_bytes: int = LARGEST_EVENT_BYTES) -> None:
        super().__init__(limit_bytes)
        self._returns = False

    def _cut(self, data: bytes) -> list[bytes] | None:
        # A byte is looked for as a number: `bytes in bytes` first raises and drops a TypeError, ten times the cost, and
        # a search for two bytes goes one by one where that for a single one takes 32 at a time (CPython 3.11).
        if 13 in data:
            return None
        if data.find(10) == len(data) - 2 and data[-1] == 10:
            return [data]
        events = data.split(b"\n\n")
        self._tail += events.pop()
        return [event + b"\n\n" for event in events]

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

    def _cut(self, data: bytes) -> list[bytes] | None:
        if data.find(10) == len(data) - 1:
            return [data] if data else []
        lines = data.split(b"\n")
        self._tail += lines.pop()
        return [line + b"\n" for line in lines]

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
    if (data := one_line(event)) is not None:
        return "", data
    if event.startswith(BOM):
        event = event[3:]
    name, values = "", []
    for line in _LINE_END.split(event):
        field, colon, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            values.append(value)
        elif field == b"event" and colon:
            name = value.decode("utf-8", "replace")
    return name, values[0] if len(values) == 1 else b"\n".join(values)


def one_line(event: bytes) -> bytes | None:
    """Return the data of an event that is one line `data: …`, as nearly all are; None for any other."""
    data = event.removeprefix(b"data: ").removesuffix(b"\n\n")
    return data if len(event) - len(data) == 8 and 10 not in data and 13 not in data else None


def sse(data: bytes, name: str = "") -> bytes:
    """Return one event; `data` is compact JSON, thus a single line."""
    if name:
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
