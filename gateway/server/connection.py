"""One client connection: aiohttp's request handler with the limits it lacks.

aiohttp (3.14) has no header timeout and no write timeout, answers parse errors in text/plain, does not tell a relay
that its client stopped reading, and cancels a handler that is only telling its plugins how the exchange ended. This
subclass mends those; everything else is aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.runtime.config import ServerConfig
from gateway.server import quick
from gateway.server.quick import Head

Refuse = Callable[[web.BaseRequest, bytes, str], Awaitable[web.StreamResponse]]
"""Answers what is not HTTP: the request (empty), what is known of its head, and what is wrong with it."""
Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers a request and says whether the connection may be used again."""
GetLimits = Callable[[], ServerConfig]
"""The limits in force: asked for anew each time, so that a reload reaches open connections too."""

ESCAPED = b'{"error":{"message":"internal error","type":"server_error","param":null,"code":"internal_error"}}'
LONGEST_HINT = 8192
MOST_LATER_BYTES = 64 * 1024
"""What a client may send ahead of the answer to its last request before it is read no further."""
LINGER_S = 1.0
"""How long the rest of a body that was refused is read and dropped, so that its sender gets to see the refusal."""


class Connection(RequestHandler):
    """A client connection with a header timeout, a write timeout, and word of its client's reading pace.

    `task` serves the quick requests; `begun` is set once bytes of the answer to one are out; `finishing` while an
    exchange tells its plugins how it ended: a client that leaves just then cancels nothing.
    """

    __slots__ = (
        "_asked", "_get_limits", "_head", "_head_timer", "_known", "_later", "_malformed", "_refuse", "_rest", "_serve",
        "_wire", "_write_timer", "begun", "finishing", "on_flow", "task",
    )  # fmt: skip

    def __init__(
        self, manager: Any, *, limits: GetLimits, refuse: Refuse, serve: Serve | None = None, **options: Any
    ) -> None:
        super().__init__(
            manager,
            keepalive_timeout=limits().keep_alive_s,
            lingering_time=LINGER_S,
            auto_decompress=False,  # aiohttp takes a gzip body without its checksum for whole; see body.read_body
            **options,
        )
        self._get_limits = limits
        self._refuse = refuse
        self._serve = serve
        self.task: asyncio.Task[None] | None = None
        self._asked: quick.Quick | None = None
        self._rest: asyncio.Future[None] | None = None
        self._known: Head | None = None
        self._head = self._malformed = self._later = b""
        self._wire: asyncio.Transport | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self.begun = self.finishing = False
        self.on_flow: Callable[[bool], None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being handled or waiting to be."""
        if self._messages or self._asked is not None or self._later:
            return False
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first request's head."""
        self._wire = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that stays incomplete runs into its timeout."""
        if self._asked is not None or self._later:  # asked before it was answered: it waits its turn
            self._later += data
            if len(self._later) > MOST_LATER_BYTES and self._wire is not None:
                self._wire.pause_reading()
            return
        if self._serve is not None and not self._head and self.is_idle and not self._force_close:
            split = quick.split(data, self._known)
            if split is not None:
                self._known, body = split
                self._begin(body)
                return
        count = self._request_count
        super().data_received(data)
        if self._request_count != count:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            if self._messages and not hasattr(self._messages[-1][0], "headers"):  # aiohttp's note of a parse error
                self._malformed = self._head + data[:LONGEST_HINT]
            self._head = b""
        elif self.is_idle:
            self._head += data[: LONGEST_HINT - len(self._head)]
            if self._head_timer is None:
                self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clocks. The handler is cancelled, unless its exchange is over but for the plugins' `finish`."""
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._write_timer = self._wire = None
        if self.finishing:
            self._task_handler = None
        elif self.task is not None:
            self.task.cancel()
        super().connection_lost(exc)

    def _begin(self, body: bytes) -> None:
        """Serve a request that was read without aiohttp. One task does that for all of a connection's: making one is a
        twentieth of what a request costs."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        assert self._known is not None and self._wire is not None
        self._asked = quick.Quick(self._known, body, self, self._wire)
        self.begun = False
        if self._rest is not None:
            self._rest.set_result(None)
        else:
            self.task = self._loop.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """See quick requests through one after the other, as aiohttp does the others."""
        serve = self._serve
        assert serve is not None
        try:
            while (asked := self._asked) is not None:
                response = await serve(asked)  # type: ignore[arg-type]  # it has what the pipeline asks of one
                self._asked = None
                if not response.keep_alive or self._close or self._wire is None:  # lost while plugins were finishing
                    break
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                if self._later:
                    self._loop.call_soon(self._go_on)
                self._rest = self._loop.create_future()
                await self._rest
                self._rest = None
        except ConnectionError:
            pass  # the client left
        except Exception:  # what escaped the pipeline, which nothing should and which it has logged
            self._escaped()
        finally:
            self._asked = self._rest = self.task = None
            self.force_close()

    def _escaped(self) -> None:
        """Answer bare; where an answer has begun, drop the connection: nobody may take what there is for the whole."""
        if self.begun:
            self.abort()
        elif self._wire is not None:
            head = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self._wire.write(head + b"content-length: %d\r\n\r\n%b" % (len(ESCAPED), ESCAPED))

    def _go_on(self) -> None:
        """Take what the client sent before its last request was answered."""
        later, self._later = self._later, b""
        if self._wire is not None and later:
            self._wire.resume_reading()
            self.data_received(later)

    def _process_keepalive(self) -> None:
        """Close a connection that has been idle for too long; one that is answering is not."""
        if self._asked is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading. aiohttp calls this after every body read, and would run its parser over nothing each time."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        """The client does not read: pause its upstream, and give it the write timeout to go on."""
        super().pause_writing()
        self._await_write()
        if self.on_flow is not None:
            self.on_flow(True)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        if self.on_flow is not None:
            self.on_flow(False)

    def force_close(self) -> None:
        """Close, giving what is still unsent the write timeout to get out."""
        super().force_close()
        self._await_last_bytes()

    async def start(self) -> None:
        """Serve requests one after the other until the connection closes."""
        await super().start()
        self._await_last_bytes()

    def abort(self) -> None:
        """Drop the connection and whatever it has not sent."""
        if self._wire is not None:
            self._wire.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what escaped the pipeline, which nothing should and the pipeline has logged: bare, and close.

        Raises: ConnectionError when an answer has begun: a second one would stand in its body and make it look whole.
        """
        if request.writer.output_size > 0:
            self.abort()
            raise ConnectionError("an answer has begun already")
        response = web.Response(status=status, body=ESCAPED, content_type="application/json")
        response.force_close()
        return response

    def _make_error_handler(self, err_info: Any) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """Answer what is not HTTP in the caller's dialect and close; aiohttp would in text/plain."""

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            return await self._refuse(request, self._malformed, str(err_info.message or "malformed HTTP"))

        return handler

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._get_limits().headers_timeout_s, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.force_close()

    def _await_write(self) -> None:
        if self._write_timer is None:
            self._write_timer = self._loop.call_later(self._get_limits().write_timeout_s, self.abort)

    def _await_last_bytes(self) -> None:
        """A closed transport keeps its unsent bytes for as long as the client likes; we do not."""
        wire = self._wire
        if wire is not None and wire.is_closing() and wire.get_write_buffer_size() > 0:
            self._await_write()


class Acceptor(web.Server):
    """Makes the connections of a listener, and keeps them below the descriptor limit.

    A connection above 85 % of the limit, or one with which clients and exchanges (each may hold an upstream
    connection) would come close to it, gets a bare 503 and is closed: out of descriptors, nothing works any more.
    """

    REFUSAL = (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b"
    )
    BODY = b'{"error":{"message":"too many connections","type":"server_error","param":null,"code":"overloaded"}}'

    def __init__(
        self, handler: Any, *, limits: GetLimits, refuse: Refuse, descriptors: int, live: Sized, **options: Any
    ) -> None:
        super().__init__(handler, handler_cancellation=True, **options)
        self._limits, self._refuse = limits, refuse
        self._most_clients = int(descriptors * 0.85)
        self._most_descriptors = int(descriptors * 0.97) - 32
        self._live = live

    @property
    def open(self) -> list[Connection]:
        """The connections that are open now."""
        return [connection for connection in self.connections if isinstance(connection, Connection)]

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, or refuse it when there are too many."""
        super().connection_made(handler, transport)
        count = len(self._connections)
        if count > self._most_clients or count + len(self._live) > self._most_descriptors:
            transport.write(self.REFUSAL % (len(self.BODY), self.BODY))
            handler.force_close()

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(
            self,
            loop=self._loop,
            limits=self._limits,
            refuse=self._refuse,
            serve=self.request_handler,
            access_log=None,
            **self._kwargs,
        )
