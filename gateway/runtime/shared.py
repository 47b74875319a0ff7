"""What every plugin of every snapshot shares: state, ledger, prices, the health of upstreams. Made once a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import aiohttp

from gateway.ledger.opened import ledger_at
from gateway.plugin import Clock, Log
from gateway.pricing import Published
from gateway.runtime.config import Config
from gateway.runtime.plugin_times import PluginTimes
from gateway.runtime.pulse import Pulse
from gateway.state.memory import MemoryStore
from gateway.state.opened import store_at
from gateway.state.store import StateStore
from gateway.upstream.health import Health


class Kept(Protocol):
    """What outlives snapshots; see `runtime.gateway.Lasting`."""

    def get(self, name: str, factory: Callable[[], Any]) -> Any: ...


class Shared:
    """The shared things of one process. A reload finds the same ones: `state:` and `ledger:` cannot change in it."""

    def __init__(self, config: Config, clock: Clock, log: Log) -> None:
        self.health = Health(clock.monotonic)
        self.state: StateStore = store_at(config.state, config.home, now=clock.monotonic, warn=log.warning)
        self.local: StateStore = MemoryStore(clock.monotonic)
        kept = config.ledger
        self.ledger = ledger_at(kept.url.reveal(), config.home, keep_s=kept.keep_s, time=clock.time, log=log)
        self.published = Published()
        self.pulse = Pulse(clock.monotonic) if config.admin.listen is not None else None
        self.measured = clock.monotonic if config.admin.listen is not None else None
        """What plugins are timed by, None where nobody would see it."""
        self.plugin_times = PluginTimes()
        self.uptime_s = since(clock.monotonic)
        self.workers = config.server.workers
        self._session: aiohttp.ClientSession | None = None

    def http(self) -> aiohttp.ClientSession:
        """Return the plugins' client session."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def start(self) -> None:
        """Open what must be open before the first request. Raises: ConfigError."""
        await self.state.start()
        if self.ledger is not None:
            await self.ledger.start()

    async def close(self) -> None:
        """Write what is queued and let go of everything."""
        if self.ledger is not None:
            await self.ledger.close()
        await self.state.close()
        if self._session is not None:
            await self._session.close()


def since(now: Callable[[], float]) -> Callable[[], float]:
    """Return what tells how many seconds ago this was called."""
    began_at_s = now()
    return lambda: now() - began_at_s


def shared(config: Config, lasting: Kept, clock: Clock, log: Log) -> Shared:
    """Return the process's shared things."""
    made: Shared = lasting.get("shared", lambda: Shared(config, clock, log))
    return made
