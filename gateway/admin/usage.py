"""Usage: what was asked for, what it cost, by whom and where. All from the ledger's sums, so that ten million rows
answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.admin.desk import Desk
from gateway.admin.sheet import csv_of
from gateway.admin.spans import NAMED, Span, span_of
from gateway.errors import BadRequest, StateLost
from gateway.ledger.ledger import Ledger
from gateway.pricing import plain

GROUPS: Final = ("principal", "model", "provider", "route", "target", "day", "hour")
FILTERS: Final = ("principal", "model", "provider", "route", "target", "outcome", "status")
ORDERS: Final = (
    "name", "requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd", "unpriced",
    "mean_ms", "mean_ttft_ms",
)  # fmt: skip
MEASURES: Final = ("cost_usd", "requests", "tokens")
MOST_FILTERED: Final = 100
NONE: Final = "(none)"
"""A filter for what has no principal, route or target."""
PER_PAGE: Final = 200
"""Rows on a page; CSV and JSON have all of them."""
SERIES: Final = 5
"""Groups that a chart shows apart; the others are one."""
HOURS_AT_MOST_S: Final = 32 * 86_400
_ADDED: Final = (
    "requests", "failed", "unpriced", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens",
    "reasoning_tokens", "cost_usd", "duration_ms", "ttft_ms", "ttft_count",
)  # fmt: skip


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the page and the paths of usage."""

    async def as_json(request: web.Request) -> web.Response:
        question = Question.of(request.query, desk.clock.time())
        return web.json_response(await facts(desk.ledger, question))

    async def as_csv(request: web.Request) -> web.Response:
        question = Question.of(request.query, desk.clock.time())
        rows = (await facts(desk.ledger, question, chart=False))["rows"]
        name = f"usage-by-{question.by}-{question.span.name}.csv"
        text = csv_of(
            [question.by, *COLUMNS], ([each["label"], *(each[column] for column in COLUMNS)] for each in rows)
        )
        disposition = {"content-disposition": f'attachment; filename="{name}"'}
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=disposition)

    async def page(request: web.Request) -> web.Response:
        question = Question.of(request.query, desk.clock.time())
        found: dict[str, Any] = {"problem": None, "usage": None}
        if desk.gateway.snapshot.ledger is not None:
            try:
                found["usage"] = await facts(desk.ledger, question)
            except StateLost as error:
                found["problem"] = error.message
        return await desk.page(request, "usage.html", {
            **found, "question": question, "groups": GROUPS, "spans": tuple(NAMED), "measures": MEASURES,
            "per_page": PER_PAGE, "has_ledger": desk.gateway.snapshot.ledger is not None,
        })  # fmt: skip

    return [web.get("/api/usage", as_json), web.get("/api/usage.csv", as_csv), web.get("/usage", page)]


COLUMNS: Final = (
    "requests", "failed", "failed_share", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens",
    "reasoning_tokens", "cost_usd", "unpriced", "mean_ms", "mean_ttft_ms",
)  # fmt: skip


class Question:
    """What is asked: by what, over which span, of whom, in which order."""

    def __init__(self, by: str, span: Span, filters: Mapping[str, Sequence[str]], sort: str, measure: str) -> None:
        self.by, self.span, self.filters, self.sort, self.measure = by, span, filters, sort, measure

    @classmethod
    def of(cls, query: Any, now: float) -> Question:
        """Return what a query asks. Raises: BadRequest for a parameter that there is not."""
        known = {"by", "span", "from", "to", "sort", "measure", *FILTERS}
        if unknown := sorted(set(query) - known):
            listing = ", ".join(sorted(known))
            raise BadRequest(f'unknown parameter "{unknown[0][:64]}"; there are {listing}', param=unknown[0][:64])
        by, sort, measure = query.get("by", "principal"), query.get("sort", ""), query.get("measure", "cost_usd")
        for name, value, allowed in (("by", by, GROUPS), ("measure", measure, MEASURES)):
            if value not in allowed:
                raise BadRequest(f"{name} must be one of {', '.join(allowed)}", param=name)
        if sort.removeprefix("-") not in ("", *ORDERS):
            raise BadRequest(f"sort must be one of {', '.join(ORDERS)}, with - before it for descending", param="sort")
        span = span_of(query, now)
        if by == "hour" and span.until - span.since > HOURS_AT_MOST_S:
            raise BadRequest("by hour a span is at most 32 days", param="by")
        given = {name: [each for each in query.getall(name) if each] for name in FILTERS if name in query}
        filters = {name: values for name, values in given.items() if values}  # a form sends empty fields too
        if any(len(values) > MOST_FILTERED for values in filters.values()):
            raise BadRequest(f"at most {MOST_FILTERED} values a filter")
        return cls(by, span, filters, sort, measure)

    def wanted(self) -> dict[str, Any]:
        """Return the filters as the ledger takes them. Raises: BadRequest."""
        found: dict[str, Any] = {}
        for name, values in self.filters.items():
            if name == "status":
                if not all(each.isascii() and each.isdigit() and len(each) <= 3 for each in values):
                    raise BadRequest("status must be a number such as 200", param="status")
                found[name] = [int(each) for each in values]
            else:
                found[name] = [None if each == NONE else each for each in values]
        return found

    def address(self, path: str = "/usage", **other: Any) -> str:
        """Return an address with the same question, or with others of its parts; None takes one out."""
        span = {} if "span" in other or "from" in other else self.span.query()
        asked: dict[str, Any] = {
            "by": self.by, **span, **self.filters, "sort": self.sort, "measure": self.measure, **other,
        }  # fmt: skip
        if asked["measure"] == "cost_usd":
            asked["measure"] = None
        query = {name: value for name, value in asked.items() if value not in (None, "", [])}
        return f"{path}?{urlencode(query, doseq=True)}"


async def facts(ledger: Ledger, question: Question, *, chart: bool = True) -> dict[str, Any]:
    """Return the sums by group and over all, and with `chart` those of the largest groups by day or hour.

    Money is text, exact to a billionth of a dollar; `unpriced` requests had tokens whose price nobody knows, and are
    no part of it. Raises: BadRequest, StateLost.
    """
    span, by, wanted = question.span, question.by, question.wanted()
    asked = [ledger.totals(by=[by], since=span.since, until=span.until, filters=wanted)]
    if chart:
        asked.append(ledger.totals(by=[span.step], since=span.since, until=span.until, filters=wanted))
    sums, *whole = await asyncio.gather(*asked)
    rows = [_row(each, each[by], by) for each in sums]
    _sort(rows, question)
    found = {
        "by": by,
        "span": span.name,
        "since": span.since,
        "until": span.until,
        "filters": {name: list(values) for name, values in question.filters.items()},
        "rows": rows,
        "total": _row(added(sums), None, by),
    }
    if chart:
        found["chart"] = await _chart(ledger, question, wanted, sums, whole[0])
    return found


async def _chart(
    ledger: Ledger,
    question: Question,
    wanted: Mapping[str, Any],
    sums: Sequence[Mapping[str, Any]],
    whole: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what a stacked chart draws: the largest groups by step of time, and all others together."""
    span, by, measure = question.span, question.by, question.measure
    step, steps = span.step, span.steps
    total = {each[step]: _measure(each, measure) for each in whole}
    largest = sorted(sums, key=lambda each: _measure(each, measure), reverse=True)[:SERIES]
    names = [] if by in ("day", "hour") else [each[by] for each in largest if _measure(each, measure)]
    apart: Sequence[Mapping[str, Any]] = ()
    if names:
        of_names = {**wanted, by: names}  # which `sums` has found among those that are wanted
        apart = await ledger.totals(by=[step, by], since=span.since, until=span.until, filters=of_names)
    series: dict[Any, dict[int, Decimal]] = {name: {} for name in names}
    for each in apart:
        series[each[by]][each[step]] = _measure(each, measure)
    lines: list[dict[str, Any]] = [
        {"name": name, "rest": False, "values": [_number(series[name].get(at, 0)) for at in steps]} for name in names
    ]
    rest = [total.get(at, Decimal(0)) - sum(series[name].get(at, Decimal(0)) for name in names) for at in steps]
    if any(rest) or not lines:
        label = "all" if not lines else "others"
        lines.append({"name": label, "rest": True, "values": [_number(each) for each in rest]})
    return {"measure": measure, "step": step, "at": steps, "series": lines}


def _measure(sums: Mapping[str, Any], measure: str) -> Decimal:
    if measure == "tokens":
        return Decimal(sums["prompt_tokens"] + sums["completion_tokens"])
    return Decimal(sums[measure])


def _number(value: Decimal | int) -> float | int:
    """Return a point of a drawing; what counts is in the table."""
    return int(value) if value == int(value) else float(value)


def added(sums: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum over all groups, money exactly."""
    total: dict[str, Any] = {**dict.fromkeys(_ADDED, 0), "cost_usd": Decimal(0)}
    for each in sums:
        for name in _ADDED:
            total[name] += each[name]
    return total


def _row(sums: Mapping[str, Any], name: Any, by: str) -> dict[str, Any]:
    requests, timed = sums["requests"], sums["ttft_count"]
    return {
        "name": name,
        "label": _label(name, by),
        by: name,
        **{each: sums[each] for each in _ADDED if each not in ("cost_usd", "duration_ms", "ttft_ms", "ttft_count")},
        "failed_share": round(sums["failed"] / requests, 6) if requests else 0.0,
        "cost_usd": plain(sums["cost_usd"]),
        "mean_ms": round(sums["duration_ms"] / requests, 3) if requests else None,
        "mean_ttft_ms": round(sums["ttft_ms"] / timed, 3) if timed else None,
    }


def _label(name: Any, by: str) -> str | None:
    """Return a group as a table has it: times as text, in UTC."""
    if name is None or by not in ("day", "hour"):
        return None if name is None else str(name)
    moment = datetime.fromtimestamp(name, UTC)
    return f"{moment:%Y-%m-%d}" if by == "day" else f"{moment:%Y-%m-%dT%H:%MZ}"


def _sort(rows: list[dict[str, Any]], question: Question) -> None:
    is_time = question.by in ("day", "hour")
    sort = question.sort or ("name" if is_time else "-cost_usd")
    name = sort.removeprefix("-")

    def key(row: Mapping[str, Any]) -> Any:
        if name == "name":
            return (row["name"] is not None, row["name"] if is_time else str(row["name"] or ""))
        if name == "cost_usd":
            return (Decimal(row["cost_usd"]), row["requests"])
        if name == "failed":
            return (row["failed_share"], row["failed"])
        return -1 if row[name] is None else row[name]

    rows.sort(key=lambda row: str(row["name"] or ""))
    rows.sort(key=key, reverse=sort.startswith("-"))
