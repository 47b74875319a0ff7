"""How bytes reach an upstream: the protocol that `direct`, `http` and `echo` implement.

    async with transport.send(request, deadline=deadline) as response:
        response.status, response.headers
        body = await response.read(limit)          # plain: the whole body
        response.start(sink)                       # streamed: pushed into the sink as it arrives

Leaving the block lets go of the connection: back to its pool when the answer was read to its end and
may be kept alive, closed at once otherwise. A transport raises UpstreamError only (and lets
CancelledError and a body iterator's own errors through; InternalError is for a request that cannot be written as HTTP:
a line break in a header); it never retries except once on a fresh connection when a reused one died
before any byte of an answer came. Redirects are not followed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct
from multidict import CIMultiDict

from gateway.errors import UpstreamError


class UpstreamRequest(Struct, kw_only=True):
    """One HTTP request to an upstream.

    `path` is origin-form with its query and already holds the provider's base path. `headers` are
    complete but for `host`, `content-length` and `transfer-encoding`, which the transport writes.
    `body` is bytes, or an async iterator (sent chunked, never retried). Times are seconds:
    `connect_s` bounds name lookup, TCP and TLS together; `head_s` the wait for the response's head once the
    request is sent (0: only the deadline bounds it).

    `head` is the whole head, written before, for a transport that has a `request_tail`; it then stands for method,
    path, headers and framing.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes | AsyncIterator[bytes] = b""
    connect_s: float = 5.0
    head_s: float = 0.0
    head: bytes | None = None
    is_sent: bool = False
    """Set by the transport once it has a connection: what is given up before that used nothing."""


class AnswerHead:
    """The head of an answer. `length` is its content-length, None where it has none or more than one; `is_shared` says
    that it stands for every head of the same bytes.

    `read_as` is for whoever reads it: what was found out of a head that comes again need not be found out again.
    """

    __slots__ = ("_headers", "is_shared", "length", "read_as", "status")

    def __init__(self, status: int, headers: CIMultiDict[str]) -> None:
        self.status, self._headers = status, headers
        self.is_shared = False
        self.read_as: object = None
        lengths = headers.getall("content-length", None)
        self.length = int(lengths[0]) if lengths is not None and len(lengths) == 1 and lengths[0].isdecimal() else None

    @property
    def headers(self) -> CIMultiDict[str]:
        """The upstream's own headers, the caller's to change: of a head that may come again, a copy."""
        return CIMultiDict(self._headers) if self.is_shared else self._headers

    def share(self) -> AnswerHead:
        """Return it as one that stands for every head of the same bytes."""
        self.is_shared = True
        return self


class Sink(Protocol):
    """Takes a streamed body. Both methods are called from the event loop and must not block or raise."""

    def data(self, chunk: bytes) -> None:
        """Take the next piece of the body (transfer framing removed, content encoding kept)."""

    def end(self, error: UpstreamError | None) -> None:
        """The body is over: None when the transfer ended as HTTP says it must, else what broke.
        Called exactly once, and last."""


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. `headers` are upstream's own, hop-by-hop ones included; `head` has both, None
    in a transport that does not keep heads."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> CIMultiDict[str]: ...

    @property
    def head(self) -> AnswerHead | None: ...

    def at_hand(self) -> bytes | None:
        """Return the whole body where it has come already; None leaves it to `read`."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises: UpstreamError(broken) when it ends early, (timeout) at the
        deadline, (bad_response) when it exceeds `limit` bytes."""

    def start(self, sink: Sink) -> None:
        """Push what has arrived and all that comes into `sink`. Not with `read`. The caller bounds the
        time between pieces; the transport bounds nothing once started."""

    def pause(self) -> None:
        """Stop reading from upstream (back-pressure) until `resume`. At most one read's worth still comes."""

    def resume(self) -> None: ...

    def abort(self) -> None:
        """Close the connection now; no further sink call is made."""


class Transport(Protocol):
    """The way to one provider. `deadline` is absolute, in the event loop's time; every wait ends there.

    `request_tail` is the end of a request's first line and its host line, where the transport writes them itself.
    """

    @property
    def request_tail(self) -> str | None: ...

    def send(self, request: UpstreamRequest, *, deadline: float) -> AbstractAsyncContextManager[UpstreamResponse]: ...

    async def close(self) -> None:
        """Close idle connections; those in use close when let go of."""
