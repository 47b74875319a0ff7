"""What the ledger's tables are called and made of, in plain words: all that writing needs. `steps.py` makes them,
`schema.py` says the same to SQLAlchemy, which only questions need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ROWS: Final = "ledger_rows"
COLUMNS: Final = (
    "exchange_id", "ts", "request_id", "parent_id", "principal", "tags", "session", "route", "dialect", "endpoint",
    "model_requested", "target", "attempts", "status", "outcome", "stream", "prompt_tokens", "cached_tokens",
    "cache_write_tokens", "completion_tokens", "reasoning_tokens", "cost_nano_usd", "estimated", "duration_ms",
    "ttft_ms", "overhead_ms", "error_code", "tries",
)  # fmt: skip
"""Of `ROWS`, in the order of `ledger.Row`, whose cost_usd is cost_nano_usd here."""

GROUPS: Final = ("principal", "model", "target", "route", "status", "outcome")
"""What sums are kept by, beside the time; a provider is the first part of a target."""
WHO: Final = ("principal", "model")
HOW: Final = ("target", "route", "status", "outcome")
SUMS: Final = (
    "requests", "failed", "unpriced", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens",
    "reasoning_tokens", "cost_nano_usd", "duration_us", "ttft_us", "ttft_count",
)  # fmt: skip
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
SUMMED: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "ledger_hours_how": (HOUR_S, HOW),
    "ledger_hours_who": (HOUR_S, WHO),
    "ledger_hours": (HOUR_S, GROUPS),
    "ledger_days_how": (DAY_S, HOW),
    "ledger_days_who": (DAY_S, WHO),
    "ledger_days": (DAY_S, GROUPS),
}
"""The tables of sums: the seconds of a span, and what they are kept by; the smallest of a span first."""
TAGS: Final = "ledger_tags"
TAG_KEYS: Final = ("tag", "value", "start", "principal")
