"""The ledger as any other program reads it: its tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.fleet.kit import until


def rows(home: Path, columns: str = "*", more: str = "") -> list[tuple[Any, ...]]:
    """Return rows of a home's ledger."""
    connection = sqlite3.connect(f"file:{home}/var/ledger.db?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(f"SELECT {columns} FROM ledger_rows {more}").fetchall()
    finally:
        connection.close()


async def written(home: Path, count: int) -> None:
    """Return once so many rows are there."""

    async def are_there() -> bool:
        return bool(rows(home, "count(*)")[0][0] >= count)

    await until(are_there)
