"""The ledger's tables as SQLAlchemy knows them, for questions. `steps.py` makes them.

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
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from gateway.ledger import names
from gateway.ledger.names import DAY_S, GROUPS, HOUR_S, HOW, SUMS, WHO

__all__ = [
    "DAY_S", "GROUPS", "HOUR_S", "HOW", "KEYS", "META", "ROWS", "SUMMED", "SUMS", "TABLES", "TAGS", "UNUSUAL",
    "USUAL_OUTCOME", "USUAL_STATUS", "WHO",
]  # fmt: skip
USUAL_STATUS: Final = 200
USUAL_OUTCOME: Final = "completed"

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


def _sums_table(name: str, keys: Sequence[str]) -> Table:
    whole = {"start": BigInteger, "status": Integer}
    return Table(
        name,
        TABLES,
        *(Column(key, whole.get(key, Text), primary_key=True, nullable=False, autoincrement=False) for key in keys),
        *(Column(each, BigInteger, nullable=False) for each in SUMS),
    )


SUMMED: Final[Mapping[tuple[int, tuple[str, ...]], Table]] = {
    (seconds, groups): _sums_table(name, ("start", *groups)) for name, (seconds, groups) in names.SUMMED.items()
}
"""The tables of sums, by the seconds of a span and what they are kept by; the smallest of a span first."""
TAGS: Final = _sums_table(names.TAGS, names.TAG_KEYS)
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
