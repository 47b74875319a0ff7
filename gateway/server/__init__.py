"""1 accept: the data listener, its limits and its end.

`Server` takes sockets that are bound already (so that several workers can share one), serves them, and stops in two
phases: lame duck (still serving, no longer ready), then grace (nothing new, what runs may finish).
"""

from __future__ import annotations

import asyncio
import socket

from aiohttp import http_parser, web

from gateway.attempts.shadow import Shadows
from gateway.errors import ConfigError, Unavailable
from gateway.plugin import Clock
from gateway.runtime.gateway import Gateway
from gateway.server.connection import Acceptor
from gateway.server.dispatch import Dispatcher
from gateway.server.models import Models
from gateway.server.pages import Pages
from gateway.server.pipeline import Pipeline
from gateway.server.tickets import Tickets

CUT_S = 0.7
"""After the grace period: how long the error events of what still runs may take to be written."""
SETTLE_S = 0.4
"""How long plugins may take over `finish` once everything has been cut off."""


class Server:
    """The data listener of one process."""

    def __init__(self, gateway: Gateway, clock: Clock, descriptors: int) -> None:
        self._gateway = gateway
        tickets = Tickets(clock.monotonic)
        gateway.answers["ticket"] = tickets.issue
        dispatcher = Dispatcher(gateway, Pages(gateway, Models(clock, gateway.log)), tickets)
        self.pipeline = Pipeline(gateway, dispatcher, clock)
        loop = asyncio.get_running_loop()

        def request(message: object, payload: object, protocol: object, writer: object, task: object) -> web.Request:
            return web.Request(message, payload, protocol, writer, task, loop, client_max_size=0)  # type: ignore[arg-type]

        self._acceptor = Acceptor(
            self.pipeline,
            limits=lambda: gateway.snapshot.config.server,
            refuse=self.pipeline.refuse,
            descriptors=descriptors,
            live=gateway.live,
            request_factory=request,
        )
        self._listeners: list[asyncio.Server] = []

    async def start(self, sockets: list[socket.socket]) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            self._listeners.append(await loop.create_server(self._acceptor, sock=sock, backlog=128))
        self._gateway.watchdog.start()
        self._gateway.phase = "serving"

    async def stop(self, *, lame_duck_s: float, grace_s: float) -> None:
        """Stop in two phases. Cancelling it stops at once."""
        gateway = self._gateway
        if lame_duck_s > 0:
            gateway.phase = "lame_duck"
            gateway.log.info("lame_duck", seconds=lame_duck_s)
            await asyncio.sleep(lame_duck_s)
        gateway.phase = "draining"
        gateway.log.info("draining", in_flight=len(gateway.live), grace_s=grace_s)
        for listener in self._listeners:
            listener.close()
        for connection in self._acceptor.open:
            if connection.is_idle:
                connection.force_close()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_s
        await self._until_empty(grace_s)
        await gateway.lasting.get("shadows", Shadows).settle(end - loop.time())
        error = Unavailable("the gateway is stopping; try again elsewhere", code="overloaded", retry_after_s=1.0)
        for exchange in list(gateway.live):
            exchange.abort(error)
        await self._until_empty(CUT_S)
        for connection in self._acceptor.open:
            connection.force_close()
        await self._settle()

    async def close(self) -> None:
        """Let go of everything at once: the second signal, or the end of `stop`."""
        self._gateway.watchdog.stop()
        for listener in self._listeners:
            listener.close()
        for connection in self._acceptor.open:
            connection.abort()
        await self._settle()

    async def _settle(self) -> None:
        """Give what has been cut off the time to say so to its plugins; one that hangs does not hold up the end."""
        await self._until_empty(SETTLE_S)
        await self._gateway.settle(SETTLE_S)

    async def _until_empty(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._gateway.live and loop.time() < end:  # noqa: ASYNC110 — once a process, and no event on the hot path
            await asyncio.sleep(0.02)


def require_c_parser() -> None:
    """Refuse to run on aiohttp's pure-Python parser: it differs from the C one on requests that smuggle.

    Raises: ConfigError.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigError(
            "aiohttp's C HTTP parser is missing",
            cure="install aiohttp from a wheel or unset AIOHTTP_NO_EXTENSIONS; the pure-Python parser is not safe here",
        )
