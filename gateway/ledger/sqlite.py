"""The ledger's tables in a SQLite file.

It works in threads of its own, one that writes and two that read: an asyncio driver costs the event loop 2 ms a batch
of 64 rows where a thread costs it 0.2 ms (measured November 2026). What is written and what every second asks goes
through the standard library's driver as it is; questions go through SQLAlchemy, imported with the first of them.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import itertools
import operator
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.ledger.store import NOTHING, Plain

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
BUSY_S: Final = 1.0
"""How long a write waits for another process's before it counts as failed, and is tried again."""
_READERS: Final = 2
CHECKPOINT_EVERY_S: Final = 0.5
MOST_PAGES: Final = 20_000
"""How long the log may get, in pages of 4 KiB, before the writing thread itself moves it into the file: that waits for
the disk, half a second when others keep it busy, and rows would not be safe in time."""
MOST_AT_ONCE: Final = 256
"""Rows of one statement: SQLite takes 32,766 values in one, and a row has 28."""
_SETTINGS: Final = (
    "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16384", f"wal_autocheckpoint={MOST_PAGES}",
    "mmap_size=1073741824",
)  # fmt: skip

# The driver takes these as they are in any case, but looks first, and long, for a way to adapt each: that was a third
# of what a row cost to write (Python 3.11). Both functions return what they are given.
sqlite3.register_adapter(bool, operator.index)
sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]  # it may return None


class SqliteStore:
    """A file in WAL mode, which several processes may write.

    `synchronous=NORMAL`: a commit survives the process in any case; when the machine itself stops, the last ones may be
    lost, and the file is whole.
    """

    at_once = 512
    is_remote = False
    failures: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
    collision: type[Exception] = sqlite3.IntegrityError

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        self._path, self._busy_s = path, busy_s
        self._writer = ThreadPoolExecutor(1, "ledger-write")
        self._readers = ThreadPoolExecutor(_READERS, "ledger-read")
        self._checkpointer = ThreadPoolExecutor(1, "ledger-checkpoint")
        self._idle: dict[bool, list[PlainSqlite]] = {True: [], False: []}
        """Connections of this `_age`, by whether they write; there is one at most that does."""
        self._age = 0
        self._opening = threading.Lock()
        self._engine: Any = None
        self._moved_at_s = time.monotonic()
        self._moving: Future[None] | None = None

    async def prepare(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._make_folder)

    def _make_folder(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    async def plain(self, work: Callable[[Plain], T], *, writes: bool = False) -> T:
        job = functools.partial(self._plainly, work, writes)
        return await asyncio.get_running_loop().run_in_executor(self._writer if writes else self._readers, job)

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        job = functools.partial(self._asked, work, writes)
        return await asyncio.get_running_loop().run_in_executor(self._writer if writes else self._readers, job)

    def _plainly(self, work: Callable[[Plain], T], writes: bool) -> T:
        if writes:
            self._follow()
        done = self._using(self._idle[writes], lambda plain: plain.transaction(work, writes))
        if writes:
            self._move_soon()
        return done

    def _using(self, idle: list[PlainSqlite], use: Callable[[PlainSqlite], T]) -> T:
        age = self._age
        try:
            plain = idle.pop()
        except IndexError:
            plain = PlainSqlite(self._connect(), self._path.stat().st_ino)
        try:
            return use(plain)
        finally:
            if age == self._age and not plain.is_open:  # one that could not be rolled back would refuse the next
                idle.append(plain)
            else:
                plain.close()

    def _asked(self, work: Callable[[Connection], T], writes: bool) -> T:
        if writes:
            self._follow()
        with self._opening:
            if self._engine is None:
                made = importlib.import_module("gateway.ledger.engine")
                self._engine = made.SqliteEngine(self._path, self._connect, _READERS + 1)
        done: T = self._engine.run(work, writes)
        return done

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None: the driver begins no transactions of its own.
        db = sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        try:
            for setting in _SETTINGS:
                db.execute(f"PRAGMA {setting}")
        except BaseException:
            db.close()
            raise
        return db

    def _move_soon(self) -> None:
        """Have the log moved into the file beside the writing, now and then."""
        now = time.monotonic()
        if now - self._moved_at_s >= CHECKPOINT_EVERY_S and (self._moving is None or self._moving.done()):
            self._moved_at_s = now
            try:
                self._moving = self._checkpointer.submit(self._move)
            except RuntimeError:
                return  # it is being closed, which moves the log too

    def _move(self) -> None:
        try:
            self._using(self._idle[False], lambda plain: plain.rows("PRAGMA wal_checkpoint(PASSIVE)"))
        except self.failures:
            return  # another process does it, or the file is gone, which the next write tells

    def _follow(self) -> None:
        """Let go of a file that was removed or replaced: what is written to it would be lost without a word.

        Raises: FileNotFoundError when it is gone; the next `open` makes a new one.
        """
        if not self._idle[True]:
            return
        try:
            inode = self._path.stat().st_ino
        except OSError:
            inode = 0
        if inode != self._idle[True][0].inode:
            self._let_go()
            raise FileNotFoundError(f"{self._path.name} was removed or replaced")

    def _let_go(self) -> None:
        """Close the connections that nobody works with; the others are closed when that is done."""
        self._age += 1
        if self._engine is not None:
            self._engine.close()
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    async def close(self) -> None:
        # The last connection checkpoints the log, which waits for the disk.
        await asyncio.get_running_loop().run_in_executor(self._writer, self._let_go)
        self._checkpointer.shutdown(wait=False)
        self._writer.shutdown(wait=False)
        self._readers.shutdown(wait=False)


class PlainSqlite:
    """See `Plain`."""

    dialect = "sqlite"

    def __init__(self, db: sqlite3.Connection, inode: int) -> None:
        self._db, self.inode = db, inode
        self._known: dict[tuple[str, int, int, str], str] = {}

    @property
    def is_open(self) -> bool:
        """Whether a transaction is."""
        return self._db.in_transaction

    def transaction(self, work: Callable[[Plain], T], writes: bool) -> T:
        """Run `work`; what it did holds when it returns, and not when it raises."""
        db = self._db
        # IMMEDIATE takes the write lock before anything is read: one that is asked for later is refused, not waited for
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            done = work(self)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return done

    def rows(self, sql: str, facts: Mapping[str, Any] = NOTHING) -> Sequence[Sequence[Any]]:
        return self._db.execute(sql, facts).fetchall()

    def change(self, sql: str, facts: Mapping[str, Any] = NOTHING) -> int:
        return self._db.execute(sql, facts).rowcount

    def insert(self, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
        """Many rows are one statement: between two of them this thread has to wait for the interpreter, which a busy
        loop gives up every half millisecond at best; a row each, and it fell behind 1,000 requests a second."""
        width, at = len(rows[0]), 0
        while at < len(rows):  # by powers of two, so that there are few statements and the driver knows them all
            count = min(MOST_AT_ONCE, 1 << (len(rows) - at).bit_length() - 1)
            sql = self._known.get((head, width, count, tail))
            if sql is None:
                values = f"({', '.join('?' * width)})"
                sql = self._known[head, width, count, tail] = f"{head} VALUES {', '.join([values] * count)}{tail}"
            self._db.execute(sql, tuple(itertools.chain.from_iterable(rows[at : at + count])))
            at += count

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
