"""SQLAlchemy over the connections of a SQLite store: what questions are asked through."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")


class SqliteEngine:
    """Runs work in a transaction. What it raises of the driver's is the driver's own."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], connections: int) -> None:
        url = URL.create("sqlite", database=str(path))
        self._engine = create_engine(url, creator=connect, pool_size=connections)
        event.listen(self._engine, "begin", _begin)

    def run(self, work: Callable[[Connection], T], writes: bool) -> T:
        """Return what `work` returns. Raises: sqlite3.Error."""
        try:
            with self._engine.connect() as plain:
                conn = plain.execution_options(writes=writes)
                with conn.begin():
                    return work(conn)
        except DBAPIError as error:
            if error.orig is None:
                raise
            raise error.orig from error

    def close(self) -> None:
        """Close the connections that nobody works with."""
        self._engine.dispose()


def _begin(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("writes") else "BEGIN")
