"""A lost store costs the first few requests up to 100 ms each, the others nothing; its return is noticed by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import StateLost

TIMEOUT_S: Final = 0.1
"""What one operation may take, from its call to its answer."""
GRACE_S: Final = 0.005
"""The last part of TIMEOUT_S, in which a loop that stood still reads what has long come."""
FAILURES: Final = 5
"""So many in a row open the breaker."""
PROBE_EVERY_S: Final = 0.5
LOG_EVERY_S: Final = 10.0

Warn = Callable[..., None]
"""`log.warning`: an event and its fields."""


def lost(why: str) -> StateLost:
    """Return what callers of a store that cannot be reached get. `why` is for the log; a client is told nothing."""
    error = StateLost("the shared state cannot be reached", retry_after_s=1.0)
    error.__cause__ = ConnectionError(why)
    return error


class Breaker:
    """Counts failures in a row. Open, it refuses at once and probes in the background until the store is back.

    `probe` does one whole operation; it raises StateLost, which is not counted again. `where` names the store in the
    log, without credentials.
    """

    def __init__(self, where: str, warn: Warn, probe: Callable[[], Awaitable[None]]) -> None:
        self.where, self._warn, self._probe = where, warn, probe
        self.errors = 0
        self.is_open = False
        self._failures = 0
        self._since_line = 0
        self._told_at = -LOG_EVERY_S
        self._told_lost = False
        self._probing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Return when an operation may be tried. Raises: StateLost."""
        if self.is_open:
            self.errors += 1
            self._since_line += 1
            raise lost("its breaker is open")

    def succeeded(self) -> None:
        """An operation was answered."""
        if self._failures:
            self._close()

    def failed(self, why: str) -> StateLost:
        """Count a failure and return what to raise."""
        self.errors += 1
        self._failures += 1
        self._tell_lost(why)
        if self._failures >= FAILURES:
            self.open()
        return lost(why)

    def open(self) -> None:
        """Refuse from now on, and look for the store's return."""
        self._failures = max(self._failures, FAILURES)
        if not self.is_open:
            self.is_open = True
            self._probing = asyncio.get_running_loop().create_task(self._until_back())

    async def close(self) -> None:
        """Stop looking for the store."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
            self._probing = None

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            try:
                await self._probe()
            except StateLost as error:
                self._tell_lost(str(error.__cause__))
            else:
                self._close()
                return

    def _close(self) -> None:
        self._failures = 0
        self.is_open = False
        if self._told_lost:
            self._told_lost = False
            self._warn("state_back", state=self.where, failed=self._since_line)
            self._since_line = 0

    def _tell_lost(self, why: str) -> None:
        """Write a line, one in LOG_EVERY_S at most; a store that comes and goes writes no more than that."""
        self._since_line += 1
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= LOG_EVERY_S:
            self._told_at, self._told_lost = now, True
            self._warn("state_lost", state=self.where, reason=why, failed=self._since_line)
            self._since_line = 0
