"""Rows as tuples for the driver, the sums a batch of them adds, and rows read back.

Written rows never fail the store: text is cut at 256 characters and cleaned of what PostgreSQL or UTF-8 cannot
hold (NUL, lone surrogates), money rounded to a billionth of a dollar.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import Table

from gateway.ledger.ledger import Row
from gateway.ledger.schema import GROUPS, HOUR_S, ROWS, SUMMED, TAGS

NANO_USD: Final = 1_000_000_000
LONGEST: Final = 256
"""Characters of a text: an index entry of PostgreSQL holds 2,704 bytes (version 15, nbtree.h)."""
_MOST: Final = 2**63 - 1
_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.decode
COLUMNS: Final = tuple(column.name for column in ROWS.columns)
_PARTS: Final = [
    (table, seconds, None if groups == GROUPS else tuple(GROUPS.index(name) for name in groups))
    for (seconds, groups), table in SUMMED.items()
]
"""What of a row's groups is the key of each table; None for all."""

Sums = dict[tuple[Any, ...], list[int]]
"""By key, in the order of `schema.SUMS`."""


def nano(usd: Decimal | None) -> int | None:
    """Return billionths of a dollar, rounded half to even."""
    if usd is None:
        return None
    whole = int((usd * NANO_USD).to_integral_value(ROUND_HALF_EVEN))
    return max(-_MOST, min(_MOST, whole))


def usd(nano_usd: int) -> Decimal:
    """Return dollars."""
    return Decimal(nano_usd).scaleb(-9)


def text(given: str) -> str:
    """Return `given` as any store takes it."""
    if len(given) <= LONGEST and given.isascii() and "\0" not in given:
        return given
    return given.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:LONGEST]


def optional(given: str | None) -> str | None:
    """Return the same of a text that may be absent."""
    return None if given is None else text(given)


def as_json(value: Any) -> str:
    """Return `value` as JSON text."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        written = json.dumps(msgspec.to_builtins(value, enc_hook=str), ensure_ascii=False)
        return written.encode("utf-8", "replace").decode("utf-8")


def clean_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    """Return tags as any store takes them."""
    return {text(tag): text(str(value)) for tag, value in tags.items()}


def milliseconds(given: float | None) -> float | None:
    """Return whole microseconds, so that sums of what is stored are exact."""
    return None if given is None else round(float(given), 3)


def encoded(row: Row, tags: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the columns of `row`, whose clean tags are `tags`, in the order of the table."""
    return (
        text(row.exchange_id),
        float(row.ts),
        text(row.request_id),
        optional(row.parent_id),
        optional(row.principal),
        as_json(tags) if tags else "{}",
        optional(row.session),
        optional(row.route),
        text(row.dialect),
        text(row.endpoint),
        text(row.model_requested),
        optional(row.target),
        row.attempts,
        row.status,
        text(row.outcome),
        row.stream,
        row.prompt_tokens,
        row.cached_tokens,
        row.cache_write_tokens,
        row.completion_tokens,
        row.reasoning_tokens,
        nano(row.cost_usd),
        row.estimated,
        milliseconds(row.duration_ms),
        milliseconds(row.ttft_ms),
        milliseconds(row.overhead_ms),
        optional(row.error_code),
        as_json(row.tries) if row.tries else "[]",
    )


def decoded(columns: Sequence[Any]) -> Row:
    """Return the row that `encoded` made these of. The `cost_usd` of a try is a Decimal again."""
    facts = dict(zip(COLUMNS, columns, strict=True))
    nano_usd = facts.pop("cost_nano_usd")
    tries = _decode(facts["tries"])
    for each in tries:
        if isinstance(cost := each.get("cost_usd"), str):
            each["cost_usd"] = Decimal(cost)
    facts.update(
        tags=_decode(facts["tags"]),
        tries=tries,
        cost_usd=None if nano_usd is None else usd(nano_usd),
        stream=bool(facts["stream"]),
        estimated=bool(facts["estimated"]),
    )
    return Row(**facts)


def amounts(columns: Sequence[Any]) -> tuple[int, ...]:
    """Return what one row adds to each of `schema.SUMS`.

    A row without tokens (refused, say, or the parent of others) is not unpriced: there was nothing to price.
    """
    outcome, tokens, nano_usd = columns[14], columns[16:21], columns[21]
    duration_ms, ttft_ms = columns[23], columns[24]
    return (
        1,
        1 if outcome == "failed" else 0,
        1 if nano_usd is None and (tokens[0] is not None or tokens[3] is not None) else 0,
        *(each or 0 for each in tokens),
        nano_usd or 0,
        round(duration_ms * 1000),
        0 if ttft_ms is None else round(ttft_ms * 1000),
        0 if ttft_ms is None else 1,
    )


def sums_of(rows: Iterable[tuple[Any, ...]], tags: Iterable[Mapping[str, str]]) -> dict[Table, Sums]:
    """Return what encoded rows, with the clean tags of each, add to each table of sums."""
    whole: Sums = {}
    tagged: Sums = {}
    for columns, tags_of in zip(rows, tags, strict=True):
        ts = int(columns[1] // 1)
        hour = ts - ts % HOUR_S
        # principal, model, target, route, status, outcome: as in schema.GROUPS
        key = (hour, columns[4] or "", columns[10], columns[11] or "", columns[7] or "", columns[13], columns[14])
        amount = amounts(columns)
        _add(whole, key, amount)
        for tag, value in tags_of.items():
            _add(tagged, (tag, value, hour, key[1]), amount)
    found = {TAGS: tagged}
    for table, seconds, part in _PARTS:
        sums = found[table] = {}
        for (start, *groups), added in whole.items():
            key = tuple(groups) if part is None else tuple(groups[n] for n in part)
            _add(sums, (start - start % seconds, *key), added)
    return found


def _add(sums: Sums, key: tuple[Any, ...], amount: Sequence[int]) -> None:
    known = sums.get(key)
    sums[key] = list(amount) if known is None else [a + b for a, b in zip(known, amount, strict=True)]
