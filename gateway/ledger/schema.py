"""The ledger's tables, and the way from any older version of them to this one.

    ledger_meta    one number a name: `schema`, the version; `keys`, raised whenever a key changes
    ledger_rows    one row an exchange; beside the columns here it has cost_usd, made of cost_nano_usd by the store
    ledger_hours   sums a UTC hour, by all that a total may be grouped by; ledger_days the same a UTC day
    ledger_*_who   the same by principal and model alone, ledger_*_how by target, route, status and outcome alone:
                   few rows, however many callers use however many targets
    ledger_tags    sums an hour, by principal and one tag: what a budget of a tag asks for
    ledger_keys    virtual keys

Sums are changed in the transaction that writes their rows. Money is whole billionths of a dollar, time whole
microseconds: sums of both are exact in any order. In the sums '' stands for NULL, which could not be part of a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    text,
)

from gateway.errors import ConfigError
from gateway.ledger.steps import STEPS

VERSION: Final = max(STEPS)
USUAL_STATUS: Final = 200
USUAL_OUTCOME: Final = "completed"
_LOCK: Final = 7_203_145_508
"""Any number: two processes that start at once take turns over it (PostgreSQL)."""

TABLES: Final = MetaData()
META: Final = Table(
    "ledger_meta", TABLES, Column("name", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)
ROWS: Final = Table(
    "ledger_rows",
    TABLES,
    Column("exchange_id", Text, primary_key=True),
    Column("ts", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("parent_id", Text),
    Column("principal", Text),
    Column("tags", Text, nullable=False),
    Column("session", Text),
    Column("route", Text),
    Column("dialect", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model_requested", Text, nullable=False),
    Column("target", Text),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost_nano_usd", BigInteger),
    Column("estimated", Boolean, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("ttft_ms", Double),
    Column("overhead_ms", Double),
    Column("error_code", Text),
    Column("tries", Text, nullable=False),
)
_C = ROWS.c
UNUSUAL: Final[Mapping[str, Any]] = {
    "status": _C.status != text(str(USUAL_STATUS)),
    "outcome": _C.outcome != text(f"'{USUAL_OUTCOME}'"),
    "request_id": _C.request_id != _C.exchange_id,
}
"""Which rows the index of a column holds: a query must say the same, or the index is not used."""

GROUPS: Final = ("principal", "model", "target", "route", "status", "outcome")
"""What sums are kept by, beside the time; a provider is the first part of a target."""
WHO: Final = ("principal", "model")
HOW: Final = ("target", "route", "status", "outcome")
SUMS: Final = (
    "requests",
    "failed",
    "unpriced",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "duration_us",
    "ttft_us",
    "ttft_count",
)


def _sums_table(name: str, keys: Sequence[str]) -> Table:
    whole = {"start": BigInteger, "status": Integer}
    return Table(
        name,
        TABLES,
        *(Column(key, whole.get(key, Text), primary_key=True, nullable=False, autoincrement=False) for key in keys),
        *(Column(each, BigInteger, nullable=False) for each in SUMS),
    )


HOUR_S: Final = 3_600
DAY_S: Final = 86_400
SUMMED: Final[Mapping[tuple[int, tuple[str, ...]], Table]] = {
    (seconds, groups): _sums_table(f"ledger_{span}{suffix}", ("start", *groups))
    for seconds, span in ((HOUR_S, "hours"), (DAY_S, "days"))
    for groups, suffix in ((HOW, "_how"), (WHO, "_who"), (GROUPS, ""))
}
"""The tables of sums, by the seconds of a span and what they are kept by; the smallest of a span first."""
TAGS: Final = _sums_table("ledger_tags", ("tag", "value", "start", "principal"))
KEYS: Final = Table(
    "ledger_keys",
    TABLES,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("facts", Text, nullable=False),
)


def migrate(conn: Connection) -> None:
    """Bring the tables up to VERSION, all in the transaction of `conn`; one process at a time.

    Raises: ConfigError when a later gateway has been here.
    """
    if conn.dialect.name == "postgresql":  # SQLite's transaction began with the lock on the whole file
        conn.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    found = 0
    if inspect(conn).has_table(META.name):
        found = conn.execute(select(META.c.value).where(META.c.name == "schema")).scalar_one_or_none() or 0
    if found > VERSION:
        raise ConfigError(
            f"the ledger's tables are of version {found}, this gateway knows {VERSION}",
            path="ledger",
            cure="run the newer gateway, or give this one a ledger of its own",
        )
    for version in range(found + 1, VERSION + 1):
        for statement in STEPS[version](conn.dialect.name):
            conn.exec_driver_sql(statement)
    if found != VERSION:
        conn.execute(META.update().where(META.c.name == "schema").values(value=VERSION))
