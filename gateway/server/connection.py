"""One client connection: aiohttp's request handler with the limits it lacks.

aiohttp has no header timeout, answers parse errors in text/plain and does not tell a relay that its client stopped
reading. This subclass adds those; everything else is aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

Refuse = Callable[[web.BaseRequest, int, str], Awaitable[web.StreamResponse]]

ESCAPED = b'{"error":{"message":"internal error","type":"server_error","param":null,"code":"internal_error"}}'


@dataclass(slots=True)
class Limits:
    """What a connection may take, in seconds; changed in place by a reload, so that open connections obey too."""

    headers_s: float
    write_s: float
    keep_alive_s: float


class Connection(RequestHandler):
    """A client connection with a header timeout, a write timeout, and word of its client's reading pace."""

    __slots__ = ("_head_timer", "_limits", "_refuse", "_write_timer", "on_flow")

    def __init__(self, manager: Any, *, limits: Limits, refuse: Refuse, **options: Any) -> None:
        super().__init__(manager, **options)
        self._limits = limits
        self._refuse = refuse
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self.on_flow: Callable[[bool], None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being handled or waiting to be."""
        return not self._request_in_progress and not self._messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first request's head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that stays incomplete runs into its timeout."""
        count = self._request_count
        super().data_received(data)
        if self._request_count != count:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None and self.is_idle:
            self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clocks."""
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._write_timer = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: pause its upstream, and give it `write_s` to go on."""
        super().pause_writing()
        self._write_timer = self._loop.call_later(self._limits.write_s, self._write_late)
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

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what escaped the pipeline, which nothing should: bare, and the connection closes."""
        response = web.Response(
            status=status,
            body=ESCAPED,
            content_type="application/json",
        )
        response.force_close()
        return response

    def _make_error_handler(self, err_info: Any) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """Answer what is not HTTP in JSON; aiohttp would in text/plain."""

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            response = await self._refuse(request, err_info.status, str(err_info.message or "malformed HTTP"))
            response.force_close()
            return response

        return handler

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._limits.headers_s, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.force_close()

    def _write_late(self) -> None:
        self._write_timer = None
        if self.transport is not None:
            self.transport.abort()


class Acceptor(web.Server):
    """Makes the connections of a listener, and keeps them below the descriptor limit.

    A connection above 85 % of the limit, or one with which clients and exchanges (each may hold an upstream
    connection) would come close to it, gets a bare 503 and is closed: out of descriptors, nothing works any more.
    """

    REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
    BODY = b'{"error":{"message":"too many connections","type":"server_error","param":null,"code":"overloaded"}}'

    def __init__(
        self, handler: Any, *, limits: Limits, refuse: Refuse, descriptors: int, live: Sized, **options: Any
    ) -> None:
        super().__init__(handler, handler_cancellation=True, **options)
        self._limits, self._refuse = limits, refuse
        self._most_clients = int(descriptors * 0.85)
        self._most_descriptors = int(descriptors * 0.97) - 32
        self._live = live

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
            self, loop=self._loop, limits=self._limits, refuse=self._refuse, keepalive_timeout=self._limits.keep_alive_s, access_log=None,
            **self._kwargs,
        )  # fmt: skip
