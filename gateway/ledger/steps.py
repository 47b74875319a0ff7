"""What makes each version of the ledger's tables of the one before, as SQL that both stores take.

A released step is never changed: a new one is added, and `schema.py` says what the tables are after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

_SUMS: Final = """
    requests BIGINT NOT NULL, failed BIGINT NOT NULL, unpriced BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL, cost_nano_usd BIGINT NOT NULL, duration_us BIGINT NOT NULL,
    ttft_us BIGINT NOT NULL, ttft_count BIGINT NOT NULL"""


def _first(dialect: str) -> list[str]:
    is_sqlite = dialect == "sqlite"
    # Compared byte by byte, as SQLite does: a provider's targets are a range.
    text = "TEXT" if is_sqlite else 'TEXT COLLATE "C"'
    # The table is its key's index: a span of time lies together.
    clustered = " WITHOUT ROWID" if is_sqlite else ""
    who = f"principal {text} NOT NULL, model {text} NOT NULL"
    how = f"target {text} NOT NULL, route {text} NOT NULL, status INTEGER NOT NULL, outcome {text} NOT NULL"
    groups = {
        "_how": (how, "target, route, status, outcome"),
        "_who": (who, "principal, model"),
        "": (f"{who}, {how}", "principal, model, target, route, status, outcome"),
    }
    return [
        "CREATE TABLE ledger_meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
        "INSERT INTO ledger_meta (name, value) VALUES ('schema', 1), ('keys', 0)",
        f"""CREATE TABLE ledger_rows (
    exchange_id {text} PRIMARY KEY, ts DOUBLE PRECISION NOT NULL, request_id {text} NOT NULL, parent_id {text},
    principal {text}, tags TEXT NOT NULL, session {text}, route {text}, dialect {text} NOT NULL,
    endpoint {text} NOT NULL, model_requested {text} NOT NULL, target {text}, attempts INTEGER NOT NULL,
    status INTEGER NOT NULL, outcome {text} NOT NULL, stream BOOLEAN NOT NULL, prompt_tokens BIGINT,
    cached_tokens BIGINT, cache_write_tokens BIGINT, completion_tokens BIGINT, reasoning_tokens BIGINT,
    cost_nano_usd BIGINT, estimated BOOLEAN NOT NULL, duration_ms DOUBLE PRECISION NOT NULL,
    ttft_ms DOUBLE PRECISION, overhead_ms DOUBLE PRECISION, error_code {text}, tries TEXT NOT NULL)""",
        # Every filter of the dashboard, newest first. What is rare is indexed only where it is there, and the usual
        # status and outcome not at all: the newest rows hold enough of them.
        "CREATE INDEX ledger_rows_ts ON ledger_rows (ts)",
        *(
            f"CREATE INDEX ledger_rows_{column} ON ledger_rows ({column}, ts)"
            for column in ("principal", "model_requested", "route", "target")
        ),
        *(
            f"CREATE INDEX ledger_rows_{column} ON ledger_rows ({column}, ts) WHERE {column} IS NOT NULL"
            for column in ("session", "error_code", "parent_id")
        ),
        "CREATE INDEX ledger_rows_status ON ledger_rows (status, ts) WHERE status != 200",
        "CREATE INDEX ledger_rows_outcome ON ledger_rows (outcome, ts) WHERE outcome != 'completed'",
        "CREATE INDEX ledger_rows_request_id ON ledger_rows (request_id, ts) WHERE request_id != exchange_id",
        *(
            f"CREATE TABLE ledger_{span}{name} "
            f"(start BIGINT NOT NULL, {columns},{_SUMS}, PRIMARY KEY (start, {key})){clustered}"
            for span in ("hours", "days")
            for name, (columns, key) in groups.items()
        ),
        f"""CREATE TABLE ledger_tags (
    tag {text} NOT NULL, value {text} NOT NULL, start BIGINT NOT NULL, principal {text} NOT NULL,{_SUMS},
    PRIMARY KEY (tag, value, start, principal)){clustered}""",
        f"""CREATE TABLE ledger_keys (
    hash {text} PRIMARY KEY, name {text} NOT NULL, created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION, revoked_at DOUBLE PRECISION, facts TEXT NOT NULL)""",
    ]


def _second(dialect: str) -> list[str]:
    # For people and their tools: the contract calls it cost_usd. The gateway counts in cost_nano_usd alone.
    if dialect == "sqlite":  # no decimals there: the nearest float, computed when it is read
        return ["ALTER TABLE ledger_rows ADD COLUMN cost_usd REAL GENERATED ALWAYS AS (cost_nano_usd / 1e9) VIRTUAL"]
    exact = "NUMERIC(28, 9) GENERATED ALWAYS AS (cost_nano_usd::numeric / 1000000000) STORED"
    return [f"ALTER TABLE ledger_rows ADD COLUMN cost_usd {exact}"]


STEPS: Final[Mapping[int, Callable[[str], list[str]]]] = {1: _first, 2: _second}
"""Statements by the version they lead to."""
