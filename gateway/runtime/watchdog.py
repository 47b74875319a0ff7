"""The watchdog: how late the event loop is, and what kept it.

One process serves on one loop; whoever holds it holds every stream. A timer notes ten times a second how late it was
called, and a thread, which sleeps otherwise, writes down the loop's stack when the timer is late.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import FrameType

from gateway.plugin import Log

TICK_S = 0.1
LATE_S = 0.1
"""A loop that is this late is reported."""
LOG_EVERY_S = 10.0
KEPT = 600
"""Ticks remembered: a minute of them."""
DEEPEST = 25
JOIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the loop was over the last minute, in seconds."""

    p50_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0

    def in_ms(self) -> dict[str, float]:
        """Return the figures as JSON has them: milliseconds."""
        return {"p50": round(self.p50_s * 1000, 3), "p99": round(self.p99_s * 1000, 3),
                "max": round(self.max_s * 1000, 3)}  # fmt: skip


class Watchdog:
    """Measures the loop it is started on. Costs it ten calls a second and, late or not, the thread's ten awakenings.

    A stack is taken from another thread, which needs the interpreter's lock for it: code that never lets go of the lock
    (a long call into C) is measured and reported without one.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._late: deque[float] = deque(maxlen=KEPT)
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._stack: list[str] = []
        self._logged_at = -LOG_EVERY_S
        self._unlogged = 0

    @property
    def lag(self) -> Lag:
        """How late the loop was over the last minute."""
        late = sorted(self._late)
        if not late:
            return Lag()
        return Lag(late[len(late) // 2], late[min(len(late) - 1, len(late) * 99 // 100)], late[-1])

    def start(self) -> None:
        """Begin to watch the running loop. Once only."""
        self._loop = asyncio.get_running_loop()
        self._arm()
        watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, args=(watched,), name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; again does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread is not None:
            self._ended.set()
            self._thread.join(JOIN_S)
            self._thread = None

    def _arm(self) -> None:
        assert self._loop is not None
        self._due_at = time.monotonic() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        late_s = max(0.0, time.monotonic() - self._due_at)
        self._late.append(late_s)
        stack, self._stack = self._stack, []
        if late_s >= LATE_S:
            self._report(late_s, stack)
        self._arm()

    def _report(self, late_s: float, stack: list[str]) -> None:
        now = time.monotonic()
        if now - self._logged_at < LOG_EVERY_S:
            self._unlogged += 1
            return
        self._logged_at = now
        self._log.warning("loop_stalled", ms=round(late_s * 1000), stack=stack, unlogged_before=self._unlogged)
        self._unlogged = 0

    def _watch(self, watched: int) -> None:
        """Sleep until the timer should have been called long ago; if it has not been, look at what runs instead."""
        while not self._ended.wait(max(0.0, self._due_at + LATE_S - time.monotonic())):
            due_at = self._due_at
            if time.monotonic() < due_at + LATE_S:
                continue  # it was called meanwhile
            frame = sys._current_frames().get(watched)
            stack = stack_of(frame)
            del frame  # a thread that holds a frame holds all its variables
            if self._due_at == due_at:
                self._stack = stack
            while self._due_at == due_at and not self._ended.wait(TICK_S):
                pass  # once a stall: what it was found in first tells the most


def stack_of(frame: FrameType | None) -> list[str]:
    """Return `file:function:line` of `frame` and its callers, innermost first; never a path or a value."""
    lines: list[str] = []
    while frame is not None and len(lines) < DEEPEST:
        code = frame.f_code
        parts = code.co_filename.split("/")
        file = "/".join(parts[-2:]) if parts[-1] == "__init__.py" else parts[-1]
        lines.append(f"{file}:{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return lines
