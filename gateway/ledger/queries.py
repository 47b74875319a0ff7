"""What is asked of single rows: filtered pages, newest first, and one exchange with its children."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, or_, select, union_all

from gateway.ledger.ledger import Row
from gateway.ledger.narrow import span_of
from gateway.ledger.schema import ROWS, UNUSUAL, USUAL_OUTCOME, USUAL_STATUS
from gateway.ledger.written import decoded, text

MOST_ROWS: Final = 10_000
_MOST_BRANCHES: Final = 50
_C = ROWS.c
_NOT_FILTERS: Final = frozenset({"tags", "tries"})
_OTHER_NAMES: Final = {"model": "model_requested"}
_OFTEN_RARE: Final = ("session", "error_code", "parent_id")
"""Columns whose index is the best of all where a value is rare; what is, the store's own statistics do not tell."""
_RARE: Final = 5_000
_USUAL: Final[Mapping[str, Any]] = {"status": USUAL_STATUS, "outcome": USUAL_OUTCOME}


def condition(name: str, value: Any) -> ColumnElement[bool]:
    """Return what holds of rows whose column `name` is `value`; None is a value too. Raises: ValueError."""
    if name == "provider":
        if value is None:
            return _C.target.is_(None)
        # All that begins with `value/`: a range of targets, which their index answers.
        return and_(_C.target >= f"{value}/", _C.target < f"{value}0")
    name = _OTHER_NAMES.get(name, name)
    column = _C.get(name)
    if column is None or name in _NOT_FILTERS:
        known = ", ".join(sorted({*_C.keys(), *_OTHER_NAMES, "provider"} - _NOT_FILTERS))
        raise ValueError(f'the ledger has no filter "{name}"; there are {known}')
    if value is None:
        return column.is_(None)
    equal = column == (text(value) if isinstance(value, str) else value)
    # The same condition as the index's own, without which it would not be used.
    is_indexed = name in UNUSUAL and (name not in _USUAL or value != _USUAL[name])
    return and_(equal, UNUSUAL[name]) if is_indexed and name != "request_id" else equal


def _by_request(id: str) -> ColumnElement[bool]:
    """Rows of a request id: those where it is the exchange's own id too are found by that."""
    return or_(and_(_C.request_id == id, UNUSUAL["request_id"]), and_(_C.exchange_id == id, _C.request_id == id))


def _listed(value: Any) -> list[Any]:
    return list(dict.fromkeys(value)) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def targets_of(conn: Connection, provider: Any) -> list[str] | None:
    """Return every target of `provider` that rows have, each found by one step in the index; None for too many."""
    found: list[str] = []
    last = f"{provider}/"
    while len(found) <= _MOST_BRANCHES:
        least = select(func.min(_C.target)).where(_C.target > last, _C.target < f"{provider}0")
        if (target := conn.execute(least).scalar()) is None:
            return found
        found.append(target)
        last = target
    return None


def rarest(conn: Connection, filters: Mapping[str, Any]) -> str | None:
    """Return which of several filters so few rows fit that each of them may be looked at; None when none is known."""
    for name in _OFTEN_RARE:
        value = filters.get(name)
        if isinstance(value, str) and len(filters) > 1:
            few = select(_C.ts).where(condition(name, value)).limit(_RARE).subquery()
            if (conn.execute(select(func.count()).select_from(few)).scalar() or 0) < _RARE:
                return name
    return None


def pages(
    conn: Connection, filters: Mapping[str, Any] | None, at_most: int, before: float | tuple[float, str] | None
) -> list[Row]:
    """Return the rows of `Ledger.rows`. Raises: ValueError."""
    filters = dict(filters or {})
    if (provider := filters.get("provider")) is not None and "target" not in filters:
        targets = [targets_of(conn, each) for each in _listed(provider)]
        if all(each is not None for each in targets):
            del filters["provider"]
            filters["target"] = [target for each in targets for target in each or ()]
    span = span_of(conn, filters, at_most, before[0] if isinstance(before, tuple) else before)
    if span is None:
        return []
    since, until = filters.get("ts", (None, None))
    since, until = max(span[0], -inf if since is None else since), min(span[1], inf if until is None else until)
    if (since, until) != (-inf, inf):
        filters["ts"] = (since if since > -inf else None, until if until < inf else None)
    query = page(filters, at_most, before, rarest(conn, filters))
    return [] if query is None else rows(conn, query)


def page(
    filters: Mapping[str, Any] | None,
    at_most: int,
    before: float | tuple[float, str] | None,
    rare: str | None = None,
) -> Select[Any] | None:
    """Return the query for that, None when nothing can fit; by the index of `rare` and no other, where that is given.
    Raises: ValueError."""
    at_most = max(0, min(at_most, MOST_ROWS))
    always: list[ColumnElement[bool]] = []
    choices: list[list[ColumnElement[bool]]] = []
    for name, value in (filters or {}).items():
        if name == "ts":
            start, end = value
            always += [_C.ts >= start] if start is not None else []
            always += [_C.ts < end] if end is not None else []
        elif name == "request_id" and value is not None:
            choices.append([_by_request(text(each)) for each in _listed(value)])
        elif rare is not None and name != rare:
            # No column by itself, so that its index is none for this.
            choices.append([_opaque(name, value)])
        else:
            choices.append([condition(name, each) for each in _listed(value)])
    if isinstance(before, tuple):
        ts, exchange_id = before
        always.append(and_(_C.ts <= ts, or_(_C.ts < ts, _C.exchange_id < exchange_id)))
    elif before is not None:
        always.append(_C.ts < before)
    if any(not each for each in choices):
        return None
    branches = 1
    for each in choices:
        branches *= len(each)
    if branches == 1 or branches > _MOST_BRANCHES:
        return _newest(select(ROWS), [*always, *(or_(*each) for each in choices)], at_most)
    # A page of each, merged: `IN` and `OR` would have the store sort every row that fits.
    parts = [select(_newest(select(ROWS), [*always, *one], at_most).subquery()) for one in itertools.product(*choices)]
    merged = union_all(*parts).subquery()
    return select(merged).order_by(merged.c.ts.desc(), merged.c.exchange_id.desc()).limit(at_most)


def _opaque(name: str, value: Any) -> ColumnElement[bool]:
    """Return what holds of rows that fit any of `value`, in words that no index answers."""
    condition(name, None)  # Raises: ValueError
    of = _C.target if name == "provider" else _C[_OTHER_NAMES.get(name, name)]
    column: Any = func.coalesce(of, of)
    found: list[ColumnElement[bool]] = []
    for each in _listed(value):
        if each is None:
            found.append(column.is_(None))
        elif name == "provider":
            found.append(and_(column >= f"{each}/", column < f"{each}0"))
        else:
            found.append(column == (text(each) if isinstance(each, str) else each))
    return or_(false(), *found)


def _newest(query: Select[Any], conditions: Sequence[ColumnElement[bool]], at_most: int) -> Select[Any]:
    return query.where(*conditions).order_by(_C.ts.desc(), _C.exchange_id.desc()).limit(at_most)


def rows(conn: Connection, query: Select[Any]) -> list[Row]:
    """Return what `query` finds."""
    return [decoded(each) for each in conn.execute(query)]


def one(conn: Connection, id: str) -> list[Row]:
    """Return the rows of `Ledger.one`."""
    id = text(id)
    own = or_(_C.exchange_id == id, and_(_C.request_id == id, UNUSUAL["request_id"]))
    found = rows(conn, select(ROWS).where(own).order_by(_C.ts, _C.exchange_id).limit(MOST_ROWS))
    by_id = {row.exchange_id: row for row in found}

    def depth(row: Row) -> int:
        seen = {row.exchange_id}
        while row.parent_id in by_id and row.parent_id not in seen:
            row = by_id[row.parent_id]
            seen.add(row.exchange_id)
        return len(seen)

    return sorted(found, key=depth)
