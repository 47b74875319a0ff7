"""From `ledger:` to a ledger. A store is imported when there is one to keep: PostgreSQL's takes 0.3 s."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError
from gateway.ledger.ledger import Ledger
from gateway.ledger.url import NONE, SQLITE

if TYPE_CHECKING:
    from gateway.plugin import Log


def ledger_at(url: str, home: Path, *, keep_s: float | None, time: Callable[[], float], log: Log) -> Ledger | None:
    """Return the ledger that `url` names, not started, None for `none`. A file is relative to `home`.

    Raises: ConfigError when PostgreSQL is asked for and its driver is not installed.
    """
    if url == NONE:
        return None
    sql = importlib.import_module("gateway.ledger.sql")
    made: Ledger = sql.SqlLedger(_store(url, home), keep_s=keep_s, time=time, log=log)
    return made


def _store(url: str, home: Path) -> Any:
    if url.startswith(SQLITE):
        return importlib.import_module("gateway.ledger.sqlite").SqliteStore(home / url.removeprefix(SQLITE))
    try:
        return importlib.import_module("gateway.ledger.postgres").PostgresStore(url)
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a ledger in PostgreSQL needs asyncpg", path="ledger", cure='pip install "llm-gateway[postgres]"'
        ) from error
