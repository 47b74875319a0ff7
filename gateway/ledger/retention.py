"""Forgetting: old rows and old sums go in small batches, so that no write waits long for the store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.ledger.names import DAY_S, ROWS, SUMMED, TAGS
from gateway.ledger.store import Plain, Store

if TYPE_CHECKING:
    from gateway.plugin import Log

SUMS_KEPT_S: Final = 730.0 * DAY_S
"""Sums outlive their rows: two years, or `keep` when that is longer."""
AT_ONCE: Final = 500
BETWEEN_S: Final = 0.1
EVERY_S: Final = 600.0
FIRST_S: Final = 30.0
"""Not while the gateway starts."""


def _forget_rows(db: Plain, before: float) -> int:
    oldest = f"SELECT exchange_id FROM {ROWS} WHERE ts < :before ORDER BY ts LIMIT {AT_ONCE}"
    return db.change(f"DELETE FROM {ROWS} WHERE exchange_id IN ({oldest})", {"before": before})


def _forget_sums(db: Plain, before: float) -> None:
    for table in (*SUMMED, TAGS):
        db.change(f"DELETE FROM {table} WHERE start < :before", {"before": math.ceil(before)})


async def forget(store: Store, keep_s: float, now: float) -> int:
    """Delete what is older than `keep_s`, and return how many rows that were."""
    gone = 0
    while True:
        count = await store.plain(lambda db: _forget_rows(db, now - keep_s), writes=True)
        gone += count
        if count < AT_ONCE:
            break
        await asyncio.sleep(BETWEEN_S)
    await store.plain(lambda db: _forget_sums(db, now - max(keep_s, SUMS_KEPT_S)), writes=True)
    return gone


async def keep_forgetting(
    store: Store, keep_s: float, time: Callable[[], float], log: Log, first_s: float = FIRST_S
) -> None:
    """Forget every ten minutes, until cancelled. A store that is out of reach is left alone until the next time."""
    await asyncio.sleep(first_s)
    while True:
        try:
            gone = await forget(store, keep_s, time())
            if gone:
                log.info("ledger_rows_forgotten", rows=gone)
        except store.failures as error:
            log.debug("ledger_not_forgotten", error=type(error).__name__)
        await asyncio.sleep(EVERY_S)
