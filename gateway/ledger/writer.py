"""The queue between the request's path and the store: one task writes what is there, in batches, and never gives up
while the queue holds."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from gateway.ledger.ledger import Row

if TYPE_CHECKING:
    from gateway.plugin import Log

CAPACITY: Final = 50_000
"""Rows that wait for a store at most: about 50 MiB."""
WAIT_S: Final = 0.05
"""How long a row waits for company; with the write itself it is safe well within the 200 ms that are promised."""
ENOUGH: Final = 256
"""So many rows do not wait, or as many as the store takes at once."""
RETRY_S: Final = (0.1, 2.0)
"""The pause after a failed write: the first, and the longest."""
LOG_EVERY_S: Final = 10.0
CLOSING_S: Final = 0.4


class Writer:
    """`open` makes the store ready (again), `write` puts rows into it and returns those that no store would take."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[None]],
        write: Callable[[Sequence[Row]], Awaitable[Sequence[Row]]],
        *,
        at_once: int,
        log: Log,
        capacity: int = CAPACITY,
        closing_s: float = CLOSING_S,
    ) -> None:
        self._open, self._write, self._log = open_store, write, log
        self._at_once, self._enough, self._capacity, self._closing_s = (
            at_once,
            min(ENOUGH, at_once),
            capacity,
            closing_s,
        )
        self._queue: deque[Row] = deque()
        self._due = asyncio.Event()
        self._closing = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recorded = self._ended = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._logged_at = float("-inf")
        self.rows_total = 0
        self.dropped_total = 0
        self.is_lost = False

    def record(self, row: Row) -> None:
        """Queue a row; see `Ledger.record`."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._capacity or self._closing.is_set():
            self._drop(1, "the queue is full" if waiting else "the ledger is closed")
            return
        queue.append(row)
        self._recorded += 1
        if waiting == 0:
            self._arm()
        elif waiting == self._enough - 1:
            self._due.set()

    def start(self, *, is_lost: bool) -> None:
        """Begin to write; `is_lost` when the store could not be opened yet."""
        self._loop = asyncio.get_running_loop()
        self.is_lost = is_lost
        if is_lost:
            self._due.set()
        elif self._queue:
            self._arm()
        self._task = self._loop.create_task(self._run(), name="ledger-writer")

    async def flush(self) -> None:
        """Return when every row recorded before is safe, or was refused as no row."""
        if self._ended >= self._recorded or self._task is None:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._recorded, done))
        self._due.set()
        await done

    async def close(self) -> None:
        """Write what is queued, for `closing_s` at most; what is left then is counted as dropped."""
        if self._task is None or self._closing.is_set():
            return
        self._closing.set()
        self._due.set()
        done, _ = await asyncio.wait({self._task}, timeout=self._closing_s)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._timer is not None:
            self._timer.cancel()
        if self._queue:
            self._log.error("ledger_rows_lost", rows=len(self._queue), why="the store did not take them in time")
            self.dropped_total += len(self._queue)
            self._end(len(self._queue))

    async def _run(self) -> None:
        pause_s = RETRY_S[0]
        while True:
            await self._wait_until_due()
            if not self._queue and self._closing.is_set():
                return
            batch = list(itertools.islice(self._queue, self._at_once))
            try:
                if self.is_lost:
                    await self._open()
                refused = await self._write(batch) if batch else ()
            except Exception as error:  # whatever the store met: rows stay queued, and are tried again
                self._lose(error)
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, RETRY_S[1])
                continue
            pause_s = RETRY_S[0]
            self.rows_total += len(batch) - len(refused)
            self._end(len(batch))
            if refused:
                self._drop(len(refused), "no store takes these rows")
            if self.is_lost:
                self.is_lost = False
                self._log.info("ledger_recovered", rows_waiting=len(self._queue), dropped_total=self.dropped_total)

    async def _wait_until_due(self) -> None:
        """Return when there are rows enough, the oldest has waited long enough, or somebody waits for them."""
        if self.is_lost or self._closing.is_set() or self._waiting or len(self._queue) >= self._enough:
            return
        self._due.clear()
        if self._queue:  # rows that came while others were written: nothing has been armed for them
            self._arm()
        await self._due.wait()

    def _arm(self) -> None:
        if self._loop is None or self._due.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(WAIT_S, self._due.set)

    def _end(self, count: int) -> None:
        """Take the oldest `count` rows out, and tell those who waited for them."""
        for _ in range(count):
            self._queue.popleft()
        self._ended += count
        for waiting in [each for each in self._waiting if each[0] <= self._ended]:
            self._waiting.remove(waiting)
            if not waiting[1].done():
                waiting[1].set_result(None)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, self._closing_s / 4) if self._closing.is_set() else seconds):
                if self._closing.is_set():
                    await asyncio.Event().wait()
                await self._closing.wait()
        except TimeoutError:
            return

    def _lose(self, error: Exception) -> None:
        self.is_lost = True
        if self._may_log():
            what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self._log.error("ledger_lost", error=what, rows_waiting=len(self._queue), dropped_total=self.dropped_total)

    def _drop(self, count: int, why: str) -> None:
        self.dropped_total += count
        if self._may_log():
            self._log.error("ledger_rows_dropped", why=why, dropped_total=self.dropped_total)

    def _may_log(self) -> bool:
        loop = self._loop
        if loop is None:
            return True
        now = loop.time()
        if now - self._logged_at < LOG_EVERY_S:
            return False
        self._logged_at = now
        return True
