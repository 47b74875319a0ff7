"""Rows, a log that is kept, and a ledger that is opened and closed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.ledger.ledger import Ledger, Row
from gateway.ledger.names import ROWS, SUMMED, TAGS
from gateway.ledger.opened import ledger_at

NOON = 1_795_305_600.0 + 43_200
"""A day's noon, UTC."""


def row(exchange_id: str, **facts: Any) -> Row:
    """Return a usual row; `facts` say what is not usual."""
    usual: dict[str, Any] = {
        "ts": NOON,
        "request_id": exchange_id,
        "principal": "team-a",
        "route": "smart",
        "dialect": "openai_chat",
        "endpoint": "/v1/chat/completions",
        "model_requested": "smart",
        "target": "openai/gpt-5",
        "attempts": 1,
        "status": 200,
        "outcome": "completed",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_usd": Decimal("0.001"),
        "duration_ms": 12.5,
    }
    return Row(exchange_id=exchange_id, **{**usual, **facts})


@dataclass
class KeptLog:
    """Keeps every line as (level, event, fields)."""

    lines: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, level: str) -> Callable[..., None]:
        if level not in ("debug", "info", "warning", "error", "critical"):
            raise AttributeError(level)
        return lambda event, **fields: self.lines.append((level, event, fields))

    def events(self, level: str = "") -> list[str]:
        return [event for at, event, _ in self.lines if level in ("", at)]


@dataclass(frozen=True)
class Place:
    """Where a test's ledger lies. It may be opened several times, at once too."""

    url: str
    home: Path
    log: KeptLog = field(default_factory=KeptLog)

    def make(self, *, keep_s: float | None = None, now: Callable[[], float] = time.time) -> Ledger:
        made = ledger_at(self.url, self.home, keep_s=keep_s, time=now, log=self.log)  # type: ignore[arg-type]
        assert made is not None
        return made

    @asynccontextmanager
    async def opened(self, **options: Any) -> AsyncIterator[Ledger]:
        ledger = self.make(**options)
        await ledger.start()
        try:
            yield ledger
        finally:
            await ledger.close()


async def recorded(ledger: Ledger, *rows: Row) -> None:
    """Record rows, and return when they are safe."""
    for each in rows:
        ledger.record(each)
    await ledger.flush()


def ids(rows: list[Row]) -> list[str]:
    return [each.exchange_id for each in rows]


async def until(holds: Callable[[], bool]) -> None:
    """Return when `holds`; what a test waits for is real."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, as a stuck process would."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


async def emptied(place: Place) -> None:
    """Take out all rows and sums: making a new place for each example would take longer than the example."""
    ledger = place.make()
    tables = [ROWS, *SUMMED, TAGS]
    await ledger._store.plain(lambda db: [db.change(f"DELETE FROM {table}") for table in tables], writes=True)  # type: ignore[attr-defined]
    await ledger._store.close()  # type: ignore[attr-defined]
