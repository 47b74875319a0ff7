"""The clock of a connection: one timer for all that it ever waits for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Expiry:
    """An end that moves; `ring` is called when it has come. Whoever moves it further away just sets `at`, in the loop's
    time.

    The timer is only ever moved closer: one that rings early looks again, so that a kept-alive connection arms about
    one timer per idle time, not one per request. `armed` is when it rings.
    """

    __slots__ = ("_loop", "_ring", "_timer", "armed", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._timer: asyncio.TimerHandle | None = None
        self.at = self.armed = math.inf

    def move(self, when: float) -> None:
        """Expire at `when`, sooner or later than before."""
        self.at = when
        if when < self.armed:
            if self._timer is not None:
                self._timer.cancel()
            self.armed = when
            self._timer = self._loop.call_at(when, self._look)

    def stop(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        self.armed = math.inf
        # uvloop's timers count whole milliseconds and may ring that much early.
        if self.at <= self._loop.time() + 0.002:
            self._ring()
        elif self.at != math.inf:
            self.move(self.at)
