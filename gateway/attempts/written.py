"""The head of an upstream request, written once for a client's head that comes again on its connection.

Only the request's id, its trace and the length of its body differ from one request to the next. All else was written,
and checked, the first time; see `upstream.head`.
"""

from __future__ import annotations

from typing import Final

from gateway.trace import made_for

MOST_KEPT: Final = 16
"""So many targets and keys a connection's head is written for before it is forgotten and begun anew."""


class WrittenHead:
    """A head but for what differs. `traced`: the gateway makes its trace out of the id. `is_short`: see `short`."""

    __slots__ = ("_after", "_before", "_traced", "is_short")

    def __init__(self, before: bytes, after: bytes, *, traced: bool) -> None:
        self._before, self._after, self._traced = before, after, traced
        self.is_short = False

    def head(self, request_id: str, length: int) -> bytes | None:
        """Return the head of a request; None for an id that is not one line of ASCII."""
        # SECURITY: a plugin may give a request any id it likes.
        if not (request_id.isascii() and request_id.isprintable()):
            return None
        shown = request_id if not self._traced else f"{request_id}\r\ntraceparent: {made_for(request_id)}"
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (self._before, shown.encode(), self._after, length)


def learn(head: bytes, request_id: str) -> WrittenHead | None:
    """Return what `head`, written for `request_id`, has in common with the next; None where that cannot be told."""
    named = f"\r\nx-request-id: {request_id}\r\n"
    traced = f"{named}traceparent: {made_for(request_id)}\r\n".encode()
    mark = traced if traced in head else named.encode()
    before, found, after = head.partition(mark)
    after, framed, _ = after.rpartition(b"content-length: ")
    if not found or not framed or mark in after:
        return None
    return WrittenHead(before + b"\r\nx-request-id: ", b"\r\n" + after, traced=mark is traced)
