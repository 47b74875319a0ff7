"""Sums over any span: whole days and hours from what was summed as rows were written, the rest from the rows.

since ──rows──│──hours──│────days────│──hours──│──rows── until
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy import text as sql

from gateway.ledger.schema import DAY_S, GROUPS, HOUR_S, ROWS, SUMMED, SUMS, TAGS
from gateway.ledger.written import text, usd

BY: Final = ("day", "hour", "provider", *GROUPS)
"""What sums may be grouped by; all but the times are filters too."""
_FOREVER: Final = 253_402_300_800
_R = ROWS.c
_NONE: Final[ColumnElement[str]] = literal_column("''")
_RAW: Final[Mapping[str, Any]] = {
    "principal": func.coalesce(_R.principal, _NONE),
    "model": _R.model_requested,
    "target": func.coalesce(_R.target, _NONE),
    "route": func.coalesce(_R.route, _NONE),
    "status": _R.status,
    "outcome": _R.outcome,
}
_HAS_TOKENS: Final = or_(_R.prompt_tokens.is_not(None), _R.completion_tokens.is_not(None))
_ADDED: Final[Mapping[str, Any]] = {
    "requests": literal_column("1"),
    "failed": case((_R.outcome == "failed", 1), else_=0),
    "unpriced": case((and_(_R.cost_nano_usd.is_(None), _HAS_TOKENS), 1), else_=0),
    "duration_us": cast(func.round(_R.duration_ms * 1000), BigInteger),
    "ttft_us": cast(func.round(_R.ttft_ms * 1000), BigInteger),
    "ttft_count": case((_R.ttft_ms.is_(None), 0), else_=1),
}
_RAW_SUMS: Final[Mapping[str, Any]] = {name: _ADDED.get(name, _R.get(name)) for name in SUMS}
"""What `written.amounts` says of one row, in SQL."""
Span = tuple[int, float, float]


def spans(since: float, until: float | None, *, hours_only: bool = False) -> Iterator[Span]:
    """Yield what answers for which span: sums of so many seconds, or 0 for the rows themselves.

    Together they are [since, until), each instant once.
    """
    end = _FOREVER if until is None else min(until, _FOREVER)
    since = max(since, 0.0)
    if since >= end:
        return
    first, last = math.ceil(since / HOUR_S) * HOUR_S, math.floor(end / HOUR_S) * HOUR_S
    if first >= last:  # no whole hour
        yield 0, since, end
        return
    if since < first:
        yield 0, since, first
    first_day, last_day = math.ceil(first / DAY_S) * DAY_S, math.floor(last / DAY_S) * DAY_S
    if hours_only or first_day >= last_day:
        yield HOUR_S, first, last
    else:
        yield from (span for span in _whole(first, first_day, last_day, last) if span[1] < span[2])
    if last < end:
        yield 0, last, end


def _whole(first: int, first_day: int, last_day: int, last: int) -> tuple[Span, Span, Span]:
    return (HOUR_S, first, first_day), (DAY_S, first_day, last_day), (HOUR_S, last_day, last)


def totals(
    by: Sequence[str], since: float, until: float | None, filters: Mapping[str, Any] | None, dialect: str
) -> Select[Any] | None:
    """Return the query for `Ledger.totals`, None when the span is empty. Raises: ValueError."""
    names = [_named(name) for name in by]
    wanted = {_named(name): value for name, value in (filters or {}).items()}
    if bad := {"day", "hour"} & set(wanted):
        raise ValueError(f"a total is not filtered by {' and '.join(sorted(bad))}; give since and until")
    needed = {"target" if name == "provider" else name for name in (*names, *wanted)} - {"day", "hour"}
    groups_kept = next(groups for _, groups in SUMMED if needed <= set(groups))
    parts = []
    for seconds, start, end in spans(since, until, hours_only="hour" in names):
        is_raw = seconds == 0
        table = ROWS if is_raw else SUMMED[seconds, groups_kept]
        time = _R.ts if is_raw else table.c.start
        groups = [_group(table, name, dialect).label(name) for name in names]
        sums = [(_RAW_SUMS[name] if is_raw else table.c[name]).label(name) for name in SUMS]
        conditions = [_matches(table, name, value) for name, value in wanted.items()]
        # A subquery, so that an expression with parameters is grouped by its name.
        inner = select(*groups, *sums).where(time >= start, time < end, *conditions).subquery()
        parts.append(_added(inner, names))
    if not parts:
        return None
    return _added(union_all(*parts).subquery(), names).order_by(
        *(literal_column(str(n + 1)) for n in range(len(names)))
    )


def _added(rows: Any, names: Sequence[str]) -> Select[Any]:
    groups = [rows.c[name] for name in names]
    sums = (func.coalesce(func.sum(rows.c[name]), literal_column("0")).label(name) for name in SUMS)
    return select(*groups, *sums).group_by(*groups)


def _named(name: str) -> str:
    name = {"model_requested": "model"}.get(name, name)
    if name not in BY:
        raise ValueError(f'the ledger has no totals by "{name}"; there are {", ".join(BY)}')
    return name


def _group(table: Table, name: str, dialect: str) -> ColumnElement[Any]:
    is_raw = table is ROWS
    if name in ("day", "hour"):
        seconds = DAY_S if name == "day" else HOUR_S
        # Casting a fraction cuts it in SQLite and rounds it in PostgreSQL; floor() is not in every SQLite.
        ts = func.floor(_R.ts) if dialect == "postgresql" else _R.ts
        whole: ColumnElement[Any] = cast(ts, BigInteger) if is_raw else table.c.start
        return whole - whole % seconds
    if name == "provider":
        target = _RAW["target"] if is_raw else table.c.target
        if dialect == "postgresql":
            return func.split_part(target, "/", 1)
        return func.substr(target, 1, func.instr(target + "/", "/") - 1)
    found: ColumnElement[Any] = _RAW[name] if is_raw else table.c[name]
    return found


def _matches(table: Table, name: str, value: Any) -> ColumnElement[bool]:
    listed = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
    if name == "provider":
        target = _RAW["target"] if table is ROWS else table.c.target
        return or_(
            *(target == "" if each is None else and_(target >= f"{each}/", target < f"{each}0") for each in listed),
            false(),
        )
    known = ["" if each is None else text(each) if isinstance(each, str) else each for each in listed]
    column: ColumnElement[Any] = _RAW[name] if table is ROWS else table.c[name]
    return column.in_(known)


def summed(conn: Connection, query: Select[Any], by: Sequence[str]) -> list[dict[str, Any]]:
    """Return what `query` finds as `Ledger.totals` promises it."""
    found = []
    for row in conn.execute(query):
        one = dict(row._mapping)
        if not one["requests"]:
            continue
        for name in SUMS:
            one[name] = int(one[name])
        one["cost_usd"] = usd(one.pop("cost_nano_usd"))
        one["duration_ms"] = one.pop("duration_us") / 1000
        one["ttft_ms"] = one.pop("ttft_us") / 1000
        groups = {asked: one.pop(_named(asked)) for asked in dict.fromkeys(by)}
        found.append({name: None if value == "" else value for name, value in groups.items()} | one)
    return found


def spent(conn: Connection, since: float, principal: str | None, tag: tuple[str, str] | None) -> Decimal:
    """Return the sum of `Ledger.spent`."""
    if tag is None:
        filters = {} if principal is None else {"principal": principal}
        query = totals((), since, None, filters, conn.dialect.name)
        found = summed(conn, query, ()) if query is not None else []
        return found[0]["cost_usd"] if found else Decimal(0)
    name, value = text(tag[0]), text(tag[1])
    nano_usd = 0
    for seconds, start, end in spans(since, None, hours_only=True):
        if seconds == 0:
            nano_usd += _tagged_rows(conn, start, end, principal, (name, value))
            continue
        c = TAGS.c
        summing = select(func.sum(c.cost_nano_usd)).where(c.tag == name, c.value == value, c.start >= start)
        if principal is not None:
            summing = summing.where(c.principal == text(principal))
        nano_usd += int(conn.execute(summing).scalar() or 0)
    return usd(nano_usd)


_TAGGED: Final = {
    "sqlite": "EXISTS (SELECT 1 FROM json_each(ledger_rows.tags) WHERE key = :tag AND value = :value)",
    "postgresql": "CAST(ledger_rows.tags AS json) ->> CAST(:tag AS text) = :value",
}


def _tagged_rows(conn: Connection, start: float, end: float, principal: str | None, tag: tuple[str, str]) -> int:
    query = select(func.sum(_R.cost_nano_usd)).where(_R.ts >= start, _R.ts < end, sql(_TAGGED[conn.dialect.name]))
    if principal is not None:
        query = query.where(_R.principal == text(principal))
    return int(conn.execute(query, {"tag": tag[0], "value": tag[1]}).scalar() or 0)
