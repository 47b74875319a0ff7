"""One batch of rows into the store: rows and sums in one transaction, each exchange once however often it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.ledger.ledger import Row
from gateway.ledger.names import COLUMNS, ROWS, SUMMED, SUMS, TAG_KEYS, TAGS
from gateway.ledger.store import Plain, Store
from gateway.ledger.written import Batch, text

_OURS: Final = (ValueError, TypeError, OverflowError, ArithmeticError)
"""What only a row itself can cause (UnicodeError is a ValueError, InvalidOperation an ArithmeticError)."""
_CHANGES: Final = ", ".join(f"{each} = {{table}}.{each} + excluded.{each}" for each in SUMS)
_INSERT_ROWS: Final = f"INSERT INTO {ROWS} ({', '.join(COLUMNS)})"


def _sums_sql(table: str, keys: Sequence[str]) -> tuple[str, str]:
    """Return what stands before the values and what behind them."""
    head = f"INSERT INTO {table} ({', '.join([*keys, *SUMS])})"
    return head, f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {_CHANGES.format(table=table)}"


_ADD_SUMS: Final = {
    TAGS: _sums_sql(TAGS, TAG_KEYS),
    **{table: _sums_sql(table, ("start", *groups)) for table, (_, groups) in SUMMED.items()},
}


def _insert_rows(db: Plain, rows: Sequence[Row]) -> None:
    if not rows:
        return
    batch = Batch(rows)
    db.insert(_INSERT_ROWS, batch.columns)
    # In order: two processes that changed the same sums crosswise would lock one another out.
    for table, sums in batch.sums().items():
        if sums:
            head, tail = _ADD_SUMS[table]
            db.insert(head, sums, tail)


def _unknown(db: Plain, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the store does not have, each once."""
    by_id = {text(row.exchange_id): row for row in rows}
    ask = f"SELECT exchange_id FROM {ROWS} WHERE exchange_id = :id"
    return [row for id, row in by_id.items() if not db.rows(ask, {"id": id})]


async def write(store: Store, rows: Sequence[Row]) -> list[Row]:
    """Write `rows`; return those that no store would take.

    The insert itself finds that a row is there already, which happens when a commit's answer was lost; only then is
    it asked which. Raises: what the driver raises when the store is out of reach.
    """
    try:
        await store.plain(lambda db: _insert_rows(db, rows), writes=True)
    except store.collision:
        await store.plain(lambda db: _insert_rows(db, _unknown(db, rows)), writes=True)
    except Exception as error:  # told apart below, and raised again unless it is a row's own
        if not _is_of_a_row(error):
            raise
        if len(rows) == 1:
            return list(rows)
        refused = []
        for row in rows:
            refused += await write(store, [row])
        return refused
    return []


def _is_of_a_row(error: Exception) -> bool:
    """Whether a value in a row caused it: the driver could not write it down, or the server would not (class 22)."""
    if isinstance(error, _OURS):
        return True
    told: Any = getattr(error, "orig", None)  # SQLAlchemy's errors have the driver's there
    if told is None:
        return isinstance(error.__cause__, _OURS)
    state = getattr(told, "sqlstate", None)
    return (isinstance(state, str) and state.startswith("22")) or isinstance(told.__cause__, _OURS)
