"""One batch of rows into the store: rows and sums in one transaction, each exchange once however often it is tried."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway.ledger.ledger import Row
from gateway.ledger.schema import ROWS, SUMS
from gateway.ledger.written import COLUMNS, Sums, clean_tags, encoded, sums_of, text

T = TypeVar("T")
MOST_AT_ONCE: Final = 256
"""Rows of one statement: SQLite takes 32,766 values in one, and a row has 28."""
_OURS: Final = (ValueError, TypeError, OverflowError, ArithmeticError)
"""What only a row itself can cause (UnicodeError is a ValueError, InvalidOperation an ArithmeticError)."""


class Run(Protocol):
    """Runs work on a connection, in a transaction of its own."""

    def __call__(self, work: Callable[[Connection], T], *, writes: bool = False) -> Awaitable[T]: ...


def _insert_values(conn: Connection, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
    """Run `head VALUES (…) tail` for every row; parameters go to the driver as they are: SQLAlchemy's own handling of
    them cost three times the encoding.

    SQLite takes many rows in one statement: between two statements its thread has to wait for the interpreter, which a
    busy loop gives up every half millisecond at best; a row each, and it fell behind 1,000 requests a second.
    """
    width = len(rows[0])
    if conn.dialect.name == "postgresql":
        places = ", ".join(f"${number + 1}" for number in range(width))
        conn.exec_driver_sql(f"{head} VALUES ({places}){tail}", list(rows))
        return
    places = f"({', '.join('?' * width)})"
    at = 0
    while at < len(rows):  # by powers of two, so that there are few statements and the driver knows them all
        count = min(MOST_AT_ONCE, 1 << (len(rows) - at).bit_length() - 1)
        chunk = rows[at : at + count]
        sql = f"{head} VALUES {', '.join([places] * count)}{tail}"
        conn.exec_driver_sql(sql, tuple(itertools.chain.from_iterable(chunk)))
        at += count


def _insert(conn: Connection, rows: Sequence[tuple[Any, ...]], tags: Sequence[Any]) -> None:
    _insert_values(conn, f"INSERT INTO {ROWS.name} ({', '.join(COLUMNS)})", rows)
    for table, sums in sums_of(rows, tags).items():
        _add_sums(conn, table, sums)


def _add_sums(conn: Connection, table: Table, sums: Sums) -> None:
    if not sums:
        return
    keys = [column.name for column in table.primary_key]
    changes = ", ".join(f"{each} = {table.name}.{each} + excluded.{each}" for each in SUMS)
    _insert_values(
        conn,
        f"INSERT INTO {table.name} ({', '.join([*keys, *SUMS])})",
        # In order: two processes that changed the same sums crosswise would lock one another out.
        [(*key, *sums[key]) for key in sorted(sums)],
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}",
    )


def _unknown(conn: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the store does not have, each once."""
    by_id = {text(row.exchange_id): row for row in rows}
    known = conn.execute(select(ROWS.c.exchange_id).where(ROWS.c.exchange_id.in_(list(by_id)))).scalars()
    for one in known:
        del by_id[one]
    return list(by_id.values())


async def write(run: Run, rows: Sequence[Row]) -> list[Row]:
    """Write `rows`; return those that no store would take.

    The insert itself finds that a row is there already, which happens when a commit's answer was lost; only then is
    it asked which. Raises: what the driver raises when the store is out of reach.
    """
    try:
        await run(lambda conn: _insert_rows(conn, rows), writes=True)
    except IntegrityError:
        await run(lambda conn: _insert_rows(conn, _unknown(conn, rows)), writes=True)
    except Exception as error:  # told apart below, and raised again unless it is a row's own
        if not _is_of_a_row(error):
            raise
        if len(rows) == 1:
            return list(rows)
        refused = []
        for row in rows:
            refused += await write(run, [row])
        return refused
    return []


def _insert_rows(conn: Connection, rows: Sequence[Row]) -> None:
    if rows:
        tags = [clean_tags(row.tags) if row.tags else row.tags for row in rows]
        _insert(conn, [encoded(row, of) for row, of in zip(rows, tags, strict=True)], tags)


def _is_of_a_row(error: Exception) -> bool:
    """Whether a value in a row caused it: the driver could not write it down, or the server would not (class 22)."""
    if isinstance(error, _OURS):
        return True
    if not isinstance(error, DBAPIError):
        return isinstance(error.__cause__, _OURS)
    state = getattr(error.orig, "sqlstate", None)
    return (isinstance(state, str) and state.startswith("22")) or isinstance(
        getattr(error.orig, "__cause__", None), _OURS
    )
