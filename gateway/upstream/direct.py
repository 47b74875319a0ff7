"""The lean transport: HTTP/1.1 over kept-alive connections, as few microseconds of Python as it takes.

Why not aiohttp's client: it costs 190 to 310 µs a request where this costs a tenth (see design.md, "Two speeds,
one path"). What it leaves out on purpose: proxies, redirects, cookies, decompression; `http.py` has the first.

An answer that breaks HTTP is never repaired: both lengths at once, a bare CR or NUL in a header, two lengths, a head
over 64 KiB, more than 16 interim answers, a transfer coding other than chunked, bytes behind the answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import TracebackType

from multidict import CIMultiDict

from gateway.errors import UpstreamError
from gateway.upstream.answer import CLOSED, DONE, IDLE, KnownHeads
from gateway.upstream.connect import connect, origin_of
from gateway.upstream.connection import Connection
from gateway.upstream.head import head_bytes
from gateway.upstream.transport import AnswerHead, Sink, UpstreamRequest

ONE_WRITE_BYTES = 64 * 1024  # above it, joining head and body costs more than a second write


class DirectTransport:
    """A pool of connections to one origin. Belongs to one event loop.

    `base_url` gives scheme, host and port (its path is the caller's business); `tls` a context for https, None for the
    system's certificates. An idle connection is closed after `idle_s` seconds; at most `max_idle` are kept, the
    least recently used go first; 0 keeps none. `retry_reused` False turns off the one retry of a request whose reused
    connection died before any byte of an answer.

    `opened`, `reused` and `replaced` count connections made, requests on a kept one, and such retries.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        idle_s: float = 60.0,
        max_idle: int = 256,
        retry_reused: bool = True,
    ) -> None:
        self.origin = origin_of(base_url, tls)
        self.idle_s, self.max_idle, self.retry_reused = idle_s, max_idle, retry_reused
        self.opened = self.reused = self.replaced = 0
        self.idle: list[Connection] = []
        self.closed = False
        self._known = KnownHeads()
        self.request_tail = f" HTTP/1.1\r\nhost: {self.origin.host_header}\r\n"

    def send(self, request: UpstreamRequest, *, deadline: float) -> Call:
        """Return the exchange as a context manager; see `transport.Transport`."""
        return Call(self, request, deadline)

    async def close(self) -> None:
        """Close idle connections; those in use close when let go of."""
        self.closed = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()

    def take(self) -> Connection | None:
        """Return the idle connection used last, which is the likeliest to live, None when there is none."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.state == IDLE:
                self.reused += 1
                return connection
        return None

    async def open(self, until: float) -> Connection:
        """Return a new connection. Raises: UpstreamError(connect | timeout)."""
        loop = asyncio.get_running_loop()
        connection = await connect(self.origin, lambda: Connection(loop, self._drop, self._known), until)
        self.opened += 1
        return connection

    def give_back(self, connection: Connection, now: float) -> None:
        """Keep a connection for the next request, or close it when there are enough."""
        if self.closed or self.max_idle == 0:
            connection.close()
            return
        connection.rest(now + self.idle_s)
        self.idle.append(connection)
        if len(self.idle) > self.max_idle:
            self.idle.pop(0).close()

    def let_go(self, connection: Connection, now: float) -> None:
        """Keep a connection whose answer is complete, or close it where it cannot carry another."""
        if connection.reusable:
            self.give_back(connection, now)
        else:
            connection.kill()

    def _drop(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)


class Call:
    """One request and its answer: the context manager that `send` returns, and the response inside it."""

    __slots__ = ("_connection", "_deadline", "_loop", "_owner", "_request", "_upload", "head")

    def __init__(self, owner: DirectTransport, request: UpstreamRequest, deadline: float) -> None:
        self._owner, self._request, self._deadline = owner, request, deadline
        self._connection: Connection | None = None
        self._upload: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.head: AnswerHead

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> CIMultiDict[str]:
        return self.head.headers

    async def __aenter__(self) -> Call:
        request, owner = self._request, self._owner
        body = request.body
        head = request.head or head_bytes(request, owner.request_tail)
        connection = owner.take()
        if connection is None:
            connection = await owner.open(min(self._deadline, self._loop.time() + request.connect_s))
        request.is_sent = True
        try:
            await self._ask(connection, head, body)
        except BaseException as error:
            connection = await self._replaced(connection, head, error)
        return self.hold(connection)

    def hold(self, connection: Connection) -> Call:
        """Take over a connection on which the head of this request's answer has come."""
        connection.expiry.at = self._deadline
        self._connection = connection
        self.head = connection.head
        return self

    async def mend(self, connection: Connection, error: BaseException) -> Call:
        """Go on after `error` met a request that somebody else sent on a kept connection, with its `head`. Raises: it,
        unless the request may be sent once more and was answered then."""
        assert self._request.head is not None
        return self.hold(await self._replaced(connection, self._request.head, error))

    async def _replaced(self, connection: Connection, head: bytes, error: BaseException) -> Connection:
        """Return the connection on which the request was answered after all. Raises: `error` when that may not be."""
        request, owner = self._request, self._owner
        await self._give_up(connection)
        if not (
            isinstance(error, UpstreamError)
            and owner.retry_reused
            and connection.died_unanswered
            and isinstance(request.body, bytes)
        ):
            try:
                raise error
            finally:
                del error  # it holds this frame, and this frame it
        owner.replaced += 1
        connection = await owner.open(min(self._deadline, self._loop.time() + request.connect_s))
        try:
            await self._ask(connection, head, request.body)
        except BaseException:
            await self._give_up(connection)
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        if self._upload is not None and not self._upload.done():
            connection.kill()
            await _stop(self._upload)
        elif connection.state == DONE and connection.reusable and not (connection.uploading and _unsent(connection)):
            self._owner.give_back(connection, self._loop.time())
        else:
            connection.kill()

    def _ask(self, connection: Connection, head: bytes, body: bytes | AsyncIterator[bytes]) -> asyncio.Future[None]:
        """Send the request and return the future of the answer's head. Raises: UpstreamError."""
        if connection.state != IDLE:
            raise UpstreamError("broken", "the upstream closed the connection without an answer")
        request = self._request
        expires = self._deadline
        if isinstance(body, bytes):
            if request.head_s:
                expires = min(expires, self._loop.time() + request.head_s)
            waiter = connection.begin(request.method, expires)
            if len(body) <= ONE_WRITE_BYTES:
                connection.uploading = False
                connection.transport.write(head + body)
            else:
                connection.uploading = True
                connection.transport.write(head)
                connection.transport.write(body)
            return waiter
        waiter = connection.begin(request.method, expires)
        connection.uploading = True
        connection.transport.write(head)
        self._upload = self._loop.create_task(self._send_pieces(connection, body))
        self._upload.add_done_callback(lambda task: _uploaded(task, connection))
        return waiter

    async def _give_up(self, connection: Connection) -> None:
        connection.kill()
        if self._upload is not None:
            await _stop(self._upload)

    async def _send_pieces(self, connection: Connection, body: AsyncIterator[bytes]) -> None:
        """Send an iterator's pieces chunked, no faster than upstream takes them. An early answer does not stop it:
        that is for whoever reads the answer to decide, by leaving the block."""
        write = connection.transport.write
        try:
            async for piece in body:
                if connection.state == CLOSED:
                    return
                if piece:
                    write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if connection.drained is not None:
                    await connection.drained
            write(b"0\r\n\r\n")
            if self._request.head_s and self._connection is None:
                connection.expiry.move(min(self._deadline, self._loop.time() + self._request.head_s))
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    def at_hand(self) -> bytes | None:
        connection = self._connection
        return None if connection is None else connection.at_hand()

    async def read(self, limit: int) -> bytes:
        connection = self._connection
        if connection is None:
            raise UpstreamError("broken", "the answer was given up")
        try:
            return await connection.read(limit, self._deadline)
        except asyncio.CancelledError:
            connection.kill()
            raise

    def start(self, sink: Sink) -> None:
        connection = self._connection
        if connection is not None:
            connection.start(sink)

    def pause(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.kill()


def _unsent(connection: Connection) -> bool:
    return connection.transport.get_write_buffer_size() > 0


def _uploaded(task: asyncio.Task[None], connection: Connection) -> None:
    """Hand the caller the error that its own iterator raised."""
    if not task.cancelled() and (error := task.exception()) is not None:
        connection.fail(error)


async def _stop(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
