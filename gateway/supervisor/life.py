"""The life of one process that serves: start, announce, serve, and stop as the signals say.

SIGTERM: lame duck, then grace. SIGINT: grace only. A second of either: now, exit 1.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from gateway.plugin import Clock
from gateway.runtime.clock import SystemClock
from gateway.runtime.config import Config
from gateway.runtime.gateway import Gateway
from gateway.runtime.plugins import Catalog
from gateway.runtime.reload import Reloader, Source, first
from gateway.server import Server
from gateway.server.listener import descriptor_limit
from gateway.telemetry import FLUSH_S, Logger

Read = tuple[Config, Catalog]
"""What a source has read."""
CLEAN, FAILED, MISCONFIGURED = 0, 1, 2
SWITCH_S = 0.0005
"""How long a thread keeps the interpreter while another waits for it, a tenth of Python's own. The ledger's and the
state's threads ask for it at every statement, the loop while a thread translates a long body: each would wait 5 ms."""
CLOSING_S = 0.5
"""How long plugins and pools may take to close; with what `Server.stop` takes, less than two seconds."""


class Life:
    """One serving process. What it does beside serving its data listener is told by a subclass: `began` and `ended`."""

    tells = True
    """Whether it logs the configuration's warnings and its reloads."""

    def __init__(self, source: Source, log: Logger, read: Read) -> None:
        self.source, self.log, self._read = source, log, read
        self.clock: Clock = SystemClock()
        self.hangup: Callable[[], object] = lambda: None
        self._signals = 0
        self._lame_duck = True
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()

    def made(self, gateway: Gateway) -> None:
        """Prepare `gateway`, before its first request."""

    async def began(self, gateway: Gateway, reloader: Reloader) -> None:
        """Do what follows once requests are taken."""

    def leaving(self) -> None:
        """Hear the first signal to stop: reload no more."""
        self.hangup = lambda: None

    async def ended(self) -> None:
        """Let go of what `began` took, once the data listener has stopped."""

    async def main(self, data: socket.socket) -> int:
        """Serve and return the exit code. Raises: ConfigError when a plugin refuses to start."""
        sys.setswitchinterval(SWITCH_S)
        loop = asyncio.get_running_loop()
        # Before anything else: a signal that comes during the start must not end the process the kernel's way.
        loop.add_signal_handler(signal.SIGTERM, self.signalled, True)
        loop.add_signal_handler(signal.SIGINT, self.signalled, False)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        self.log.batch_with(lambda flush: loop.call_later(FLUSH_S, flush))
        try:
            gateway = await first(self.source, self.log, self.clock, read=self._read, warn=self.tells)
            self.made(gateway)
            return await self._serve(gateway, data)
        finally:
            self.log.batch_with(None)

    def _hung_up(self) -> None:
        self.hangup()

    def signalled(self, lame_duck: bool) -> None:
        """Stop; the second time at once."""
        self._signals += 1
        if self._signals == 1:
            self._lame_duck = lame_duck
            self._stopping.set()
        else:
            self._now.set()

    async def _serve(self, gateway: Gateway, data: socket.socket) -> int:
        reloader = Reloader(self.source, gateway, self.clock, tells=self.tells)
        server = Server(gateway, self.clock, descriptor_limit())
        await server.start([data])
        await self.began(gateway, reloader)
        gc.collect()
        gc.freeze()  # what exists now lives as long as the process: the collector need not look at it again
        await self._stopping.wait()
        self.leaving()
        code = await self._stop(gateway, server)
        await self.ended()
        await server.close()
        try:
            async with asyncio.timeout(CLOSING_S):
                await gateway.snapshot.close(self.log)
                await gateway.lasting.close()
        except TimeoutError:
            self.log.error("close_hangs", seconds=CLOSING_S)
        self.log.info("stopped", exit_code=code)
        return code

    async def _stop(self, gateway: Gateway, server: Server) -> int:
        config = gateway.snapshot.config.server
        stopping = asyncio.ensure_future(
            server.stop(lame_duck_s=config.lame_duck_s if self._lame_duck else 0.0, grace_s=config.grace_s)
        )
        now = asyncio.ensure_future(self._now.wait())
        await asyncio.wait({stopping, now}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            self.log.warning("stopped_at_once", in_flight=len(gateway.live))
            return FAILED
        now.cancel()
        stopping.result()
        return CLEAN


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on a loop of its own and return its exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
