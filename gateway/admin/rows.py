"""Pages of the ledger's rows, each found quickly, whatever is asked for.

Most filters have an index, or sums that tell where to look. How a request was made (`dialect`, `stream`) has none, and
of two common things that seldom meet (an error and a route, say) no index tells where: there a page looks at so many
rows at most, and says how far back that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import structs

from gateway.admin.sought import Sought
from gateway.plugin import Ledger, Row
from gateway.pricing import plain

SCANNED: Final = ("dialect", "stream")
MOST_SCANNED: Final = 25_000
"""Rows that lie side by side."""
MOST_FETCHED: Final = 8_000
"""Rows that an index finds one by one."""
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
_SUMMED: Final = ("principal", "model", "target", "provider", "route", "status", "outcome")
_LOOKS: Final = (DAY_S, 30 * DAY_S, 800 * DAY_S)


async def page(ledger: Ledger, sought: Sought, now: float) -> tuple[list[Row], float | None]:
    """Return the rows of a page, and how far back it looked where that was not all the way (Unix time)."""
    if sought.id:
        return [row for row in await ledger.one(sought.id) if fits(row, sought)][: sought.limit], None
    filters = dict(sought.equal)
    if sought.statuses or sought.classes:
        filters["status"] = await _statuses(ledger, sought)
        if not filters["status"]:
            return [], None
    since, back_to = sought.since, None
    if any(name in filters for name in SCANNED) or ("error_code" in filters and len(filters) > 1):
        if filters.get("outcome") == "completed" and "error_code" in filters:
            return [], None  # what has completed met no error
        there, back_to = await _least(ledger, filters, sought, now)
        if not there:
            return [], None
        if back_to is not None:
            since = back_to if since is None else max(since, back_to)
    if since is not None or sought.until is not None:
        filters["ts"] = (since, sought.until)
    rows = await ledger.rows(filters=filters, at_most=sought.limit + 1, before=sought.cursor)
    return rows, back_to if len(rows) <= sought.limit else None


async def _statuses(ledger: Ledger, sought: Sought) -> list[int]:
    """Return the statuses that are asked for; of whole classes those that there are."""
    found = set(sought.statuses)
    if sought.classes:
        there = await ledger.totals(by=("status",), since=sought.since or 0.0, until=sought.until)
        found |= {each["status"] for each in there if each["status"] // 100 in sought.classes}
    return sorted(found)


async def _least(ledger: Ledger, filters: Mapping[str, Any], sought: Sought, now: float) -> tuple[bool, float | None]:
    """Return whether any row may fit, and since when there are few enough to look at each: None for all of them."""
    until = min(each for each in (sought.until, sought.cursor and sought.cursor[0], now + HOUR_S) if each is not None)
    summed = {name: value for name, value in filters.items() if name in _SUMMED}
    most = MOST_FETCHED if summed else MOST_SCANNED
    if "error_code" in filters:
        summed.setdefault("outcome", ["failed", "disconnected"])
    there = False
    for span_s, by, step_s in zip(_LOOKS, ("hour", "day", "day"), (HOUR_S, DAY_S, DAY_S), strict=True):
        since = max(sought.since or 0.0, until - span_s)
        sums = await ledger.totals(by=(by,), since=since, until=until + step_s, filters=summed)
        seen = 0
        for each in sorted(sums, key=lambda one: one[by], reverse=True):
            seen += each["requests"]
            if seen > most and (sought.since is None or each[by] > sought.since):
                return True, float(each[by])
        there = bool(sums)
        if sought.since is not None and until - span_s <= sought.since:
            break
    return there, None


def fits(row: Row, sought: Sought) -> bool:
    """Return whether a row that was found by its id is one of those that are asked for."""
    for name, value in sought.equal.items():
        if name == "provider":
            if (row.target or "").partition("/")[0] != value:
                return False
        elif getattr(row, {"model": "model_requested"}.get(name, name)) != value:
            return False
    if (sought.statuses or sought.classes) and not (
        row.status in sought.statuses or row.status // 100 in sought.classes
    ):
        return False
    return (sought.since is None or row.ts >= sought.since) and (sought.until is None or row.ts < sought.until)


def shown(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it: money as text, None where a price is unknown."""
    facts = structs.asdict(row)
    facts["cost_usd"] = money(row.cost_usd)
    facts["tags"] = dict(row.tags)
    facts["tries"] = [
        {name: money(value) if isinstance(value, Decimal) else value for name, value in each.items()}
        for each in row.tries
    ]
    return facts


def listed(row: Row) -> dict[str, Any]:
    """Return a row as a list shows it."""
    facts = shown(row)
    step = next((each["name"] for each in facts.pop("tries") if each.get("kind") == "step"), None)
    return {**facts, "step": step}


def money(amount_usd: Decimal | None) -> str | None:
    """Return an amount as text; None stays unknown."""
    return None if amount_usd is None else plain(amount_usd)
