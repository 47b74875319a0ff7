"""Which days can hold the rows that are asked for: the sums know.

An index answers one filter; of several, the rarest combination would be looked for in every row that fits one of them.
The sums of the days are a few hundred thousand rows even where there are ten million, so that they tell at once that
there is nothing, or since when to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select

from gateway.ledger.schema import DAY_S, GROUPS, SUMMED
from gateway.ledger.written import text

_DAYS: Final = SUMMED[(DAY_S, GROUPS)].c
_NAMES: Final[Mapping[str, str]] = {"model_requested": "model"}


def span_of(
    conn: Connection, filters: Mapping[str, Any], at_most: int, before_s: float | None
) -> tuple[float, float] | None:
    """Return (from, to) in Unix seconds within which the newest `at_most` rows that fit `filters` lie; everything when
    the sums do not know these filters, None when no row fits."""
    conditions: list[ColumnElement[bool]] = []
    others = 0
    for name, value in filters.items():
        column = _DAYS.get(_NAMES.get(name, name)) if name != "start" else None
        if column is not None and column.name in GROUPS:
            each = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
            conditions.append(column.in_([_as_summed(one) for one in each]))
        else:
            others += name != "ts"
    if len(conditions) < (1 if others else 2):
        return float("-inf"), float("inf")
    since, until = filters.get("ts", (None, None))
    if since is not None:
        conditions.append(_DAYS.start > since - DAY_S)
    ends = [each for each in (until, before_s) if each is not None]
    if ends:
        conditions.append(_DAYS.start <= min(ends))
    query = select(_DAYS.start, func.sum(_DAYS.requests)).where(*conditions).group_by(_DAYS.start)
    days = conn.execute(query.order_by(_DAYS.start.desc())).all()
    if not days:
        return None
    found = 0
    for number, (start, requests) in enumerate(days):
        # The newest day may lie partly behind `before`: what it holds is not counted on.
        found += int(requests) if number or not ends else 0
        if found >= at_most and not others:  # else how many of them fit the rest, the sums do not know
            return float(start), float(days[0][0] + DAY_S)
    return float(days[-1][0]), float(days[0][0] + DAY_S)


def _as_summed(value: Any) -> Any:
    """Return a filter's value as the sums have it, where nothing is an empty text."""
    return "" if value is None else text(value) if isinstance(value, str) else value
