"""One process that does everything: what `server.workers: 1` runs."""

from __future__ import annotations

from gateway.runtime.gateway import Gateway
from gateway.runtime.reload import Reloader, Source
from gateway.supervisor.front import Front
from gateway.supervisor.life import Life, Read
from gateway.telemetry import Logger


class Single(Life):
    """Serves, watches, reloads itself and answers its own admin listener."""

    def __init__(self, source: Source, log: Logger, read: Read, front: Front) -> None:
        super().__init__(source, log, read)
        self._front = front

    async def began(self, gateway: Gateway, reloader: Reloader) -> None:
        self.hangup = lambda: gateway.spawn(reloader.try_reload("SIGHUP"))
        await self._front.start(gateway, reloader, self.clock)
        self._front.announce(gateway, self.log)

    def leaving(self) -> None:
        super().leaving()
        self._front.stop_watching()

    async def ended(self) -> None:
        await self._front.stop()
