"""What stands beside the data listener once in a group of processes: admin listener, file watcher, the ready line."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import sys
from typing import Any, cast

from aiohttp import web
from multidict import CIMultiDict

from gateway.plugin import Clock
from gateway.relay.whole import send_whole
from gateway.runtime.gateway import Gateway
from gateway.runtime.reload import Reloader, Source
from gateway.server.connection import Acceptor, Connection
from gateway.server.listener import BACKLOG, address_of
from gateway.telemetry import Logger

MOST_CONNECTIONS = 64
"""To the admin listener at once: they take descriptors that requests need, and nobody has shown a token yet."""


class AdminConnection(Connection):
    """A connection to the admin listener. Above the most there may be, the oldest that waits for its client makes room,
    so that whoever opens many and sends nothing, or a body by drops, keeps no operator out; where none does, this one
    is refused."""

    __slots__ = ("_most",)

    def __init__(self, manager: Any, *, most: int, **options: Any) -> None:
        super().__init__(manager, **options)
        self._most = most

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its client: for a request, or for the rest of one's body."""
        request = self._current_request
        return self.is_idle or (request is not None and not request.content.is_eof())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it."""
        super().connection_made(transport)
        manager = self._manager
        if manager is None or len(manager.connections) <= self._most:
            return
        # Those that are closed already are still counted until the loop has told them.
        others = [each for each in manager.connections if each is not self and each.transport is not None]
        if len(others) < self._most:
            return
        waiting = next((each for each in others if isinstance(each, AdminConnection) and each.is_waiting), None)
        if waiting is not None:
            waiting.force_close()
            return
        cast("asyncio.Transport", transport).write(Acceptor.REFUSAL % (len(Acceptor.BODY), Acceptor.BODY))
        self.force_close()


class Front:
    """`data` is the address of the data listener, `admin` the admin listener's socket, None when it is off; to it at
    most `most` connections."""

    def __init__(
        self, source: Source, data: str, admin: socket.socket | None, *, watch: bool, most: int = MOST_CONNECTIONS
    ) -> None:
        self._most = most
        self._source, self._data, self._admin, self._watch = source, data, admin, watch
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self, gateway: Gateway, reloader: Reloader, clock: Clock) -> None:
        """Open the admin listener, begin to watch."""
        if self._admin is not None:
            desk = importlib.import_module("gateway.admin.desk").Desk(
                gateway, reloader, self._source, clock, self._data
            )
            self._runner = web.AppRunner(
                importlib.import_module("gateway.admin").application(desk),
                access_log=None,
                handle_signals=False,
                shutdown_timeout=0.2,  # aiohttp's minute would outlast the promise of when a SIGTERM ends
            )
            await self._runner.setup()
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: self._connection(gateway), sock=self._admin, backlog=BACKLOG
            )
        if self._watch:
            self._watcher = asyncio.ensure_future(self._watch_files(reloader, gateway.log))

    def announce(self, gateway: Gateway, log: Logger) -> None:
        """Log the start, and write the one plain line that programs wait for."""
        config = gateway.snapshot.config
        log.info(
            "started",
            home=config.home.name,
            digest=config.digest,
            workers=config.server.workers,
            routes=len(config.routes),
            providers=sum(each.enabled for each in config.providers),
        )
        log.flush()
        admin = f"admin {address_of(self._admin)}" if self._admin is not None else "admin off"
        sys.stderr.write(f"ready: {self._data} ({admin})\n")
        sys.stderr.flush()

    def stop_watching(self) -> None:
        """Reload no more."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def stop(self) -> None:
        """Close the admin listener."""
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _connection(self, gateway: Gateway) -> AdminConnection:
        """Return a connection with the data listener's limits: here too, a client that drips would hold its place."""
        assert self._runner is not None
        return AdminConnection(
            self._runner.server,
            most=self._most,
            loop=asyncio.get_running_loop(),
            limits=lambda: gateway.snapshot.config.server,
            refuse=_refuse,
            access_log=None,
        )

    async def _watch_files(self, reloader: Reloader, log: Logger) -> None:
        try:
            await reloader.watch()
        except Exception as error:  # no inotify left, say: SIGHUP still works, and that must be known
            log.warning("watch_failed", error=f"{type(error).__name__}: {error}", cure="reload with SIGHUP")


async def _refuse(http: web.BaseRequest, head: bytes, message: str) -> web.StreamResponse:
    """Answer what is not HTTP."""
    headers = CIMultiDict({"content-type": "application/json"})
    body = json.dumps({"error": {"message": f"malformed HTTP: {' '.join(message.split())[:200]}"}}).encode()
    return cast(web.StreamResponse, await send_whole(http, 400, headers, body, keep_alive=False))
