"""One HTTP/1.1 connection to an upstream: bytes in, one answer at a time out, to a reader or a sink.

The hot path of the gateway. What a plain answer costs: one parser call for its segment, a Python call a header, one
future. What a segment brings is handed on once, however many HTTP chunks it held.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import httptools

from gateway.errors import UpstreamError
from gateway.upstream.answer import (
    BODY,
    CLOSED,
    DONE,
    HEAD,
    IDLE,
    MAX_HEAD_BYTES,
    AnswerParser,
    KnownHeads,
    as_upstream_error,
    head_too_large,
    too_large,
)  # fmt: skip
from gateway.upstream.chunked import ends_chunk
from gateway.upstream.expiring import Expiry

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.upstream.transport import Sink

MAX_HELD_BYTES = 256 * 1024


class Connection(AnswerParser, asyncio.Protocol):
    """A connection and the answer on it. Its owner (`direct.Call`) is the only one to touch it while it is in use.

    `reused` says whether it served a request before; `uploading` that its request may not be out yet; `drained` is
    a future while upstream takes no more of it.
    """

    __slots__ = (
        "_framed", "_framing", "_limit", "_loop", "_on_idle_lost", "_read_paused",
        "_waiter", "drained", "expiry", "reused", "sink", "transport", "uploading",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_idle_lost: Callable[[Connection], None], known: KnownHeads
    ) -> None:
        super().__init__(known)
        self._loop = loop
        self._on_idle_lost = on_idle_lost
        self._waiter: asyncio.Future[None] | None = None
        self.expiry = Expiry(loop, self._expired)
        self.barren = self.held = self._counted = 0
        self._limit: int | None = None
        self._framed: Callable[[bytes], bool] | None = None
        self._framing: Callable[[bytes], bool] | None = None
        self.reused = self.uploading = self._read_paused = False
        self.sink: Sink | None = None
        self.drained: asyncio.Future[None] | None = None

    # --- the owner's side --------------------------------------------------------------------------

    def begin(self, method: str, expires: float) -> asyncio.Future[None]:
        """Expect an answer to a request of `method`; return the future that its head resolves."""
        self.state = HEAD
        self._method = method
        self.received = self._interim = 0
        expiry = self.expiry
        expiry.at = expires
        if expires < expiry.armed:
            expiry.move(expires)
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def ask(self, request: bytes, expires: float) -> asyncio.Future[None]:
        """Send a whole request of method POST on this idle connection; see `begin`."""
        waiter = self.begin("POST", expires)
        self.uploading = False
        self.transport.write(request)
        return waiter

    def at_hand(self) -> bytes | None:
        """Return the body when all of it lies here in one piece; None leaves it to `read`."""
        chunks = self._chunks
        return chunks[0] if self.state == DONE and len(chunks) == 1 and self.error is None else None

    async def read(self, limit: int, expires: float) -> bytes:
        """Return the rest of the body. Raises: UpstreamError; the connection is then closed."""
        if self.state == BODY:
            length = self.head.length
            if length is not None and length > limit:
                self.fail(too_large())
            else:
                self._limit = limit
                self.expiry.move(expires)
                self._resume()
                if self.held > limit:
                    self.fail(too_large())
                else:
                    self._waiter = self._loop.create_future()
                    await self._waiter
        if self.error is not None:
            raise self.error
        if self.state != DONE:
            raise UpstreamError("broken", "the answer was given up")
        body = self.taken()
        if len(body) > limit:
            self.reusable = False
            raise too_large()
        return body

    def start(self, sink: Sink) -> None:
        """Push what is held and all that comes into `sink`."""
        self.sink = sink
        self._framing = getattr(sink, "framed", None)
        self.expiry.at = math.inf
        self._resume()
        self._push()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.state == BODY and not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again, unless a full buffer that nobody has asked for says otherwise."""
        if self.sink is not None or self._limit is not None:
            self._resume()

    def rest(self, expires: float) -> None:
        """Go back to being idle: the answer is complete and the connection may be used again."""
        if self._read_paused:
            self._resume()
        self.state = IDLE
        self.reused = True
        self.sink = self._framed = self._framing = None
        self._limit = None
        self._chunks.clear()
        self.barren = self.held = self._counted = 0
        expiry = self.expiry
        expiry.at = expires
        if expires < expiry.armed:
            expiry.move(expires)

    def close(self) -> None:
        """Close in an orderly way; what was written still goes out. For idle connections."""
        self._forget()
        self.transport.close()

    def kill(self) -> None:
        """Close now, without a word to waiter or sink."""
        self._forget()
        self.transport.abort()

    def fail(self, error: BaseException) -> None:
        """Close now, and tell whoever waits why."""
        if self.state == CLOSED:
            return
        self.error = error
        waiter, sink = self._waiter, self.sink
        self._forget()
        self.transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        elif sink is not None:
            sink.end(as_upstream_error(error))

    @property
    def died_unanswered(self) -> bool:
        """Whether upstream had closed this kept-alive connection before the request could have reached it."""
        error = self.error
        return self.reused and self.received == 0 and isinstance(error, UpstreamError) and error.kind == "broken"

    # --- the loop's side ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream connection makes a stream transport

    def data_received(self, data: bytes) -> None:
        framed = self._framed
        if framed is not None and framed(data):
            return  # whole chunks, which the parser, between two of them, need not see
        state = self.state
        if state in (IDLE, DONE) or self._parser is None:
            # SECURITY: bytes nobody asked for would become the head of the next caller's answer.
            self.reusable = False
            if state == IDLE:
                self._lose_idle()
            return
        if not self.received and self.take_whole(data):
            self._wake()
            return
        self.received += len(data)
        error: BaseException | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as cause:
            if self.state == DONE:
                self.reusable = False
            else:
                error = self.error or UpstreamError("broken", "the upstream's answer is not valid HTTP")
                error.__cause__ = cause
        if self.state == HEAD:
            if error is None and self.received > MAX_HEAD_BYTES:
                error = head_too_large()
            if error is not None:
                self.fail(error)
            return
        if self.state == DONE and self.received == len(data) and self.reusable:
            self.learn(data)
        # Chunk extensions and trailers are bytes too: bound them as a head is.
        self.barren += len(data)
        if self._framing is not None:
            whole = self.state == BODY and ends_chunk(data, self._chunks)
            self._framed = self._framing if whole else None
        self._deliver(error)

    def eof_received(self) -> bool:
        if self.state == IDLE:
            self._lose_idle()
        elif self.state == BODY and not {"content-length", "transfer-encoding"} & {*map(str.lower, self.head.headers)}:
            # The end of the connection is the end of this body (RFC 9112 section 6.3, rule 8).
            self.state = DONE
            self._deliver(None)
        self.reusable = False
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)
        if self.state == IDLE:
            self._lose_idle()
        elif self.state == DONE:
            self.reusable = False
        elif self.state != CLOSED:
            when = "before its answer was complete" if self.received else "without an answer"
            error = UpstreamError("broken", f"the upstream closed the connection {when}")
            error.__cause__ = exc
            self.fail(error)
        self._parser = None  # it holds this object, and this object it

    def pause_writing(self) -> None:
        self.drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)
        self.drained = None

    # --- inside ------------------------------------------------------------------------------------

    def _deliver(self, error: BaseException | None) -> None:
        """Hand on what one segment brought: to the sink, or to whoever waits for head or body."""
        if self.sink is not None:
            self._push()
        elif self.state != DONE:
            self.hold()
            if self._limit is not None and self.held > self._limit:
                self.fail(too_large())
            elif self._limit is None and self.held > MAX_HELD_BYTES:
                self.pause()
        if error is None and self.barren > MAX_HEAD_BYTES and self.state == BODY:
            error = UpstreamError("broken", "the upstream sent framing without a body")
        if self.state == DONE or self._limit is None:
            # A good head goes to its waiter even before an error, which whoever reads the body will get.
            self._wake()
        if error is not None and self.state == BODY:
            self.fail(error)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _push(self) -> None:
        sink, chunks = self.sink, self._chunks
        if sink is None:
            return
        if chunks:
            self.barren = 0
            sink.data(self.taken())
            if self.sink is None:  # it aborted
                return
        if self.state == DONE or self.error is not None:
            self.sink = None
            sink.end(None if self.state == DONE or self.error is None else as_upstream_error(self.error))

    def _resume(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if self.state != CLOSED and not self.transport.is_closing():
                self.transport.resume_reading()

    def _expired(self) -> None:
        """Close what is idle, fail what is waited for."""
        if self.state == IDLE:
            self._lose_idle()
        elif self.state == HEAD:
            self.fail(UpstreamError("timeout", "the upstream did not answer in time"))
        elif self.state == BODY:
            self.fail(UpstreamError("timeout", "the upstream did not finish its answer in time"))

    def _lose_idle(self) -> None:
        self._on_idle_lost(self)
        self.close()

    def _forget(self) -> None:
        self.state = CLOSED
        self.sink = self._waiter = self._framed = self._framing = None
        self.expiry.stop()
