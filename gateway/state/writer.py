"""The thread that holds a process's connection to the SQLite file; it does what is queued, many in one transaction."""

from __future__ import annotations

import asyncio
import math
import queue
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from gateway.state.boot import BootClock
from gateway.state.breaker import GRACE_S, TIMEOUT_S, Breaker
from gateway.state.tables import SCHEMA, VERSION, get, items, names, sweep

AT_ONCE: Final = 128
"""Operations in one transaction; more would keep the other processes waiting too long for the file."""
QUEUED: Final = 20_000
IDLE_S: Final = 1.0
"""How often a thread looks for what is over, and for a file that somebody replaced."""
STARTED_WITHIN_S: Final = 4.0
SWEPT_AT_ONCE: Final = 500
CHECKPOINT_PAGES: Final = 20_000
"""Where SQLite itself would move the log into the file, within a commit; the second thread does so long before."""
_READING: Final = (get, items, names)

Step = Callable[..., Any]


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another process holds the file, which passes."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Job:
    """An operation on its way. `orphan` gets the result when nobody waits for it any more."""

    __slots__ = ("args", "deadline", "error", "future", "orphan", "result", "step")

    def __init__(
        self, future: asyncio.Future[Any], deadline: float, step: Step, args: tuple[Any, ...], orphan: Any
    ) -> None:
        self.future, self.deadline, self.step, self.args, self.orphan = future, deadline, step, args, orphan
        self.result: Any = None
        self.error: Exception | None = None


class Writer:
    """Does the operations of one process on `path`, in their order. `now` is for tests; None takes time from the file's
    own clock, which all processes of the machine read alike."""

    def __init__(self, path: Path, breaker: Breaker, now: Callable[[], float] | None) -> None:
        self._path, self._breaker, self._given_now = path, breaker, now
        self._now = now or time.monotonic
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._pending: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._late: Job | None = None
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._clock: BootClock | None = None
        self._wrote = False

    # --- the loop's side -----------------------------------------------------------------------------

    async def do(self, step: Step, *args: Any, orphan: Callable[[Any], None] | None = None) -> Any:
        """Return what `step(db, now, *args)` returns. Raises: StateLost."""
        self._breaker.check()
        return await self.try_to(step, *args, orphan=orphan)

    async def try_to(self, step: Step, *args: Any, orphan: Callable[[Any], None] | None = None) -> Any:
        """As `do`, also while the breaker is open. Raises: StateLost."""
        if self._loop is None:
            self._begin_threads()
        loop = self._loop
        assert loop is not None
        if len(self._pending) >= QUEUED:
            raise self._breaker.failed("too many operations wait")
        job = Job(loop.create_future(), time.monotonic() + TIMEOUT_S - GRACE_S, step, args, orphan)
        self._pending.append(job)
        self._jobs.put(job)
        if self._timer is None:
            self._timer = loop.call_later(TIMEOUT_S - GRACE_S, self._overdue)
        return await job.future

    async def start(self) -> None:
        """Open the file, or make it. Raises: sqlite3.Error."""
        if self._db is None and self._loop is None:
            await asyncio.to_thread(self._opened, time.monotonic() + STARTED_WITHIN_S)

    async def close(self) -> None:
        """Do what is queued, then let go of the file."""
        if self._loop is None:
            return
        self._stop.set()
        self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 5.0)
        if self._timer is not None:
            self._timer.cancel()

    def _begin_threads(self) -> None:
        self._loop = asyncio.get_running_loop()
        for work in (self._work, self._checkpoint):
            thread = threading.Thread(target=work, name=f"state{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _overdue(self) -> None:
        """Give up on the operations whose time is over; they are passed over by the thread."""
        assert self._loop is not None
        self._timer = None
        now = time.monotonic()
        if self._pending and self._pending[0].deadline <= now and self._pending[0] is not self._late:
            # Perhaps it was this loop that stood still, and the result is on its way.
            self._late = self._pending[0]
            self._timer = self._loop.call_later(GRACE_S, self._overdue)
            return
        while self._pending and (self._pending[0].future.done() or self._pending[0].deadline <= now):
            job = self._pending.popleft()
            if not job.future.done():
                job.future.set_exception(self._breaker.failed("the file was busy for too long"))
        if self._pending:
            self._timer = self._loop.call_later(self._pending[0].deadline - now, self._overdue)

    def _deliver(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.future.done():
                if job.orphan is not None and job.error is None:
                    job.orphan(job.result)
            elif job.error is None:
                self._breaker.succeeded()
                job.future.set_result(job.result)
            elif isinstance(job.error, sqlite3.Error):
                job.future.set_exception(self._breaker.failed(str(job.error)))
            else:
                job.future.set_exception(job.error)
        while self._pending and self._pending[0].future.done():
            self._pending.popleft()

    # --- the thread's side ---------------------------------------------------------------------------

    def _work(self) -> None:
        last_tick = time.monotonic()
        is_open = True
        while is_open:
            jobs = []
            try:
                job = self._jobs.get(timeout=IDLE_S)
                while job is not None:
                    if not job.future.done():
                        jobs.append(job)
                    if len(jobs) >= AT_ONCE:
                        break
                    job = self._jobs.get_nowait()
                is_open = job is not None
            except queue.Empty:
                pass
            if jobs:
                self._do(jobs)
                self._hand_back(jobs)
            if time.monotonic() - last_tick >= IDLE_S:
                self._tick()
                last_tick = time.monotonic()
        if self._db is not None:
            self._db.close()

    def _hand_back(self, jobs: list[Job]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver, jobs)
        except RuntimeError:
            pass  # the loop is closed: nobody waits

    def _do(self, jobs: list[Job]) -> None:
        """Do the jobs in one transaction. One that fails for a reason of its own leaves the others as they are."""
        todo = jobs
        while todo:
            try:
                self._once(todo)
                return
            except sqlite3.Error as error:
                self._undo(error)
                # Who came later may still have time to wait for the other process.
                over = time.monotonic() if is_busy(error) else math.inf
                for job in todo:
                    job.error = error if job.deadline <= over else None
                todo = [job for job in todo if job.error is None]
            except Exception as error:  # a value that SQLite cannot hold: that caller's fault alone
                self._undo(None)
                wrong = next(job for job in todo if job.result is todo)
                wrong.error = error
                todo = [job for job in todo if job is not wrong]

    def _once(self, jobs: list[Job]) -> None:
        db = self._opened(jobs[0].deadline)
        reads = all(job.step in _READING for job in jobs)
        self._locked(db, "BEGIN" if reads else "BEGIN IMMEDIATE", jobs[0].deadline)
        now = self._now()
        for job in jobs:
            job.result = jobs  # being done
            job.result = job.step(db, now, *job.args)
        if not reads:
            self._wrote = True
            if self._clock is not None:
                self._clock.note(db, now)
        db.execute("COMMIT")

    def _locked(self, db: sqlite3.Connection, sql: str, deadline: float) -> None:
        """Execute what may have to wait for another process. SQLite's own waiting sleeps up to 100 ms at a time."""
        while True:
            try:
                db.execute(sql)
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(0.0001, 0.0008))

    def _undo(self, error: sqlite3.Error | None) -> None:
        """Leave no transaction open; let go of a file that went wrong, to open it anew."""
        if self._db is None:
            return
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as also:
            error = also
        if error is not None and not is_busy(error):
            self._db.close()
            self._db = None

    def _opened(self, deadline: float) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # `start` opens the file before there is a thread for it.
                db = sqlite3.connect(self._path, isolation_level=None, timeout=0.0, check_same_thread=False)
                try:
                    self._prepare(db, deadline)
                    self._inode = self._path.stat().st_ino
                except BaseException:
                    db.close()
                    raise
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
            self._db = db
        return self._db

    def _prepare(self, db: sqlite3.Connection, deadline: float) -> None:
        self._locked(db, "PRAGMA journal_mode = WAL", deadline)
        # A commit is safe from the end of the process, not from that of the machine: nothing waits for the disk.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._locked(db, "BEGIN IMMEDIATE", deadline)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"the file has version {version}, this program reads {VERSION}")
        if self._given_now is None:
            self._clock = BootClock.of(db)
            self._now = self._clock.now
        db.execute("COMMIT")

    def _tick(self) -> None:
        """Sweep, a little at a time; notice a file that was replaced."""
        try:
            if self._db is None or self._path.stat().st_ino != self._inode:
                raise FileNotFoundError
            self._locked(self._db, "BEGIN IMMEDIATE", time.monotonic() + 0.01)
            sweep(self._db, self._now(), SWEPT_AT_ONCE)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)
        except OSError:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _checkpoint(self) -> None:
        """Move the log into the file beside the work: this waits for the disk."""
        while not self._stop.wait(IDLE_S):
            if not self._wrote:
                continue
            self._wrote = False
            try:
                with closing(sqlite3.connect(self._path, isolation_level=None, timeout=0.0)) as db:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except sqlite3.Error:
                self._wrote = True  # another process does it; look again
