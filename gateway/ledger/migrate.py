"""The way from any older version of the tables to this one."""

from __future__ import annotations

from typing import Final

from gateway.errors import ConfigError
from gateway.ledger.steps import STEPS
from gateway.ledger.store import Plain

VERSION: Final = max(STEPS)
_LOCK: Final = 7_203_145_508
"""Any number: two processes that start at once take turns over it (PostgreSQL)."""
_IS_THERE: Final = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ledger_meta'",
    "postgresql": "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'ledger_meta'",
}


def migrate(db: Plain) -> None:
    """Bring the tables up to VERSION, all in the transaction of `db`; one process at a time.

    Raises: ConfigError when a later gateway has been here.
    """
    if db.dialect == "postgresql":  # SQLite's transaction began with the lock on the whole file
        db.rows(f"SELECT pg_advisory_xact_lock({_LOCK})")
    found = 0
    if db.rows(_IS_THERE[db.dialect]):
        found = next((value for (value,) in db.rows("SELECT value FROM ledger_meta WHERE name = 'schema'")), 0)
    if found > VERSION:
        raise ConfigError(
            f"the ledger's tables are of version {found}, this gateway knows {VERSION}",
            path="ledger",
            cure="run the newer gateway, or give this one a ledger of its own",
        )
    for version in range(found + 1, VERSION + 1):
        for statement in STEPS[version](db.dialect):
            db.change(statement)
    if found != VERSION:
        db.change("UPDATE ledger_meta SET value = :version WHERE name = 'schema'", {"version": VERSION})
