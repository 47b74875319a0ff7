"""Forgetting: old rows and old sums go in small batches, so that no write waits long for the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import DBAPIError

from gateway.ledger.batch import Run
from gateway.ledger.schema import DAY_S, ROWS, SUMMED, TAGS

if TYPE_CHECKING:
    from gateway.plugin import Log

SUMS_KEPT_S: Final = 730.0 * DAY_S
"""Sums outlive their rows: two years, or `keep` when that is longer."""
AT_ONCE: Final = 500
BETWEEN_S: Final = 0.1
EVERY_S: Final = 600.0
FIRST_S: Final = 30.0
"""Not while the gateway starts."""


def _forget_rows(conn: Connection, before: float) -> int:
    oldest = select(ROWS.c.exchange_id).where(ROWS.c.ts < before).order_by(ROWS.c.ts).limit(AT_ONCE)
    return conn.execute(delete(ROWS).where(ROWS.c.exchange_id.in_(oldest))).rowcount


def _forget_sums(conn: Connection, before: float) -> None:
    for table in (*SUMMED.values(), TAGS):
        conn.execute(delete(table).where(table.c.start < before))


async def forget(run: Run, keep_s: float, now: float) -> int:
    """Delete what is older than `keep_s`, and return how many rows that were."""
    gone = 0
    while True:
        count = await run(lambda conn: _forget_rows(conn, now - keep_s), writes=True)
        gone += count
        if count < AT_ONCE:
            break
        await asyncio.sleep(BETWEEN_S)
    await run(lambda conn: _forget_sums(conn, now - max(keep_s, SUMS_KEPT_S)), writes=True)
    return gone


async def keep_forgetting(
    run: Run, keep_s: float, time: Callable[[], float], log: Log, first_s: float = FIRST_S
) -> None:
    """Forget every ten minutes, until cancelled. A store that is out of reach is left alone until the next time."""
    await asyncio.sleep(first_s)
    while True:
        try:
            gone = await forget(run, keep_s, time())
            if gone:
                log.info("ledger_rows_forgotten", rows=gone)
        except (DBAPIError, OSError) as error:
            log.debug("ledger_not_forgotten", error=type(error).__name__)
        await asyncio.sleep(EVERY_S)
