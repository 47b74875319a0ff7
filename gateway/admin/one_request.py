"""One request: what happened when, what it used, what that costs, and how to send it again.

`GET /requests/{id}` and `GET /api/requests/{id}`, by exchange id or request id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from gateway.admin import again, rows
from gateway.admin.desk import Desk
from gateway.chat import Usage
from gateway.errors import NotFound
from gateway.plugin import Ledger, Row
from gateway.pricing import Prices, plain

MOST_CHILDREN: Final = 200
_NANO: Final = Decimal("1e-9")
WHY: Final = {
    "timeout": "no answer in time",
    "upstream_error": "upstream broke, or answered with an error",
    "bad_upstream_response": "the answer was not of its dialect",
    "stream_truncated": "the stream ended before its end",
    "rate_limit_exceeded": "too many requests for this upstream",
    "circuit_open": "its breaker was open",
    "hedge_lost": "another attempt beside it answered first",
    "invalid_request": "upstream refused the request itself",
    "overloaded": "upstream was overloaded",
    "insufficient_quota": "no money left at this upstream",
}
"""What an attempt's error means, in words."""


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""

    async def api(request: web.Request) -> web.Response:
        return web.json_response(await facts(desk, request.match_info["id"]))

    async def page(request: web.Request) -> web.Response:
        return await desk.page(request, "request.html", await facts(desk, request.match_info["id"]))

    return (web.get("/api/requests/{id:.+}", api), web.get("/requests/{id:.+}", page))


async def facts(desk: Desk, id: str) -> dict[str, Any]:
    """Return everything known of a request. Raises: NotFound."""
    ledger = desk.ledger
    row, same = await _find(ledger, id)
    children = await ledger.rows(filters={"parent_id": row.exchange_id}, at_most=MOST_CHILDREN)
    children.sort(key=lambda each: (each.ts, each.exchange_id))
    family = {row.exchange_id, row.parent_id, *(each.exchange_id for each in children)}
    parent = None
    if row.parent_id is not None:
        found = await ledger.one(row.parent_id)
        parent = next((each for each in found if each.exchange_id == row.parent_id), None)
    return {
        "row": {**rows.shown(row), "step": _step(row)},
        "others": [rows.listed(each) for each in same if each.exchange_id not in family],
        "parent": None if parent is None else rows.listed(parent),
        "children": [rows.listed(each) for each in children],
        "duration_ms": row.duration_ms,
        "spans": spans(row, children),
        "usage": _usage(row),
        "price": await price(desk.gateway.snapshot.pricing, row),
        "curl": again.curl(row, desk.data),
        "curl_note": again.NOTE,
        "links": links(row),
    }


async def _find(ledger: Ledger, id: str) -> tuple[Row, list[Row]]:
    """Return the row that `id` names, and all of the same request. Raises: NotFound."""
    found = await ledger.one(id)
    if not found:
        raise NotFound(f'the ledger has no request "{id[:200]}"; a row is there 200 ms after its end')
    # An exchange's own id names it alone; a request id, which clients may use again, the newest that nobody asked for.
    own = [each for each in found if each.parent_id is None]
    row = next((each for each in found if each.exchange_id == id), (own or found)[-1])
    return row, found if row.request_id == id else await ledger.one(row.request_id)


def spans(row: Row, children: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what happened when, in order; milliseconds since the request began."""
    found: list[dict[str, Any]] = []
    number, before_ms = 0, 0.0
    for each in row.tries:
        kind = each.get("kind")
        if kind is None:
            number += 1
            found.append(_attempt(row, each, number))
        elif kind == "plugins":
            for name, took_ms in each.get("ms", {}).items():
                found.append(_span("plugins", name, before_ms, before_ms + took_ms))
                before_ms += took_ms
        elif kind != "step":
            found.append(
                _span(kind, each.get("name", ""), each["started_ms"], each["ended_ms"], ok=each.get("ok", True))
                | {"facts": each.get("facts", {})}
            )
    if row.ttft_ms is not None and row.stream:
        found.append(_span("first_token", "first token", row.ttft_ms, row.ttft_ms))
        is_whole = row.outcome == "completed"
        found.append(_span("stream", "streaming", row.ttft_ms, max(row.ttft_ms, row.duration_ms), ok=is_whole))
    for child in children:
        start_ms = max(0.0, (child.ts - row.ts) * 1000)
        name = " · ".join(each for each in (_step(child), child.model_requested) if each)
        found.append(
            _span("child", name, start_ms, start_ms + child.duration_ms, ok=child.outcome == "completed")
            | {"id": child.exchange_id}
        )
    return sorted(found, key=lambda each: each["start_ms"])


def _attempt(row: Row, tried: Mapping[str, Any], number: int) -> dict[str, Any]:
    error, status = tried.get("error"), tried.get("status")
    why = None
    if error is not None:
        said = WHY.get(error, str(error).replace("_", " "))
        why = f"{said} ({status})" if status is not None and status >= 400 else said
    ended_ms = tried.get("ended_ms")
    return {
        **_span(
            "attempt",
            str(tried.get("target", "")),
            float(tried.get("started_ms", 0.0)),
            row.duration_ms if ended_ms is None else float(ended_ms),
            ok=error is None,
        ),
        "number": number,
        "status": status,
        "error": error,
        "why": why,
        "usage": tried.get("usage"),
        "cost_usd": rows.money(tried.get("cost_usd")),
    }


def _span(kind: str, name: str, start_ms: float, end_ms: float, *, ok: bool = True) -> dict[str, Any]:
    start_ms, end_ms = round(start_ms, 3), round(max(start_ms, end_ms), 3)
    return {"kind": kind, "name": name, "start_ms": start_ms, "end_ms": end_ms, "ok": ok}


async def price(prices: Prices, row: Row) -> dict[str, Any] | None:
    """Return the price's arithmetic at today's prices, and whether that is what was recorded; None where nothing was
    used."""
    tried = [each for each in row.tries if "kind" not in each and each.get("usage")]
    if row.prompt_tokens is None and row.completion_tokens is None and not tried:
        return None
    if prices.needs_loading:
        await asyncio.to_thread(prices.load)
    if len(tried) > 1:
        return _of_several(row, tried)
    target = tried[0]["target"] if tried else row.target
    if not target or not (row.prompt_tokens or row.completion_tokens):
        return None
    provider, _, model = target.partition("/")
    usage = Usage(
        prompt_tokens=row.prompt_tokens or 0,
        completion_tokens=row.completion_tokens or 0,
        cached_tokens=row.cached_tokens or 0,
        cache_write_tokens=row.cache_write_tokens or 0,
        reasoning_tokens=row.reasoning_tokens or 0,
    )
    today = prices.cost(provider, model, usage)
    recorded = row.cost_usd
    differs = (None if today is None else today.quantize(_NANO)) != recorded
    said = "it was not known then" if recorded is None else f"${plain(recorded)} was recorded"
    return {
        "lines": prices.explain(provider, model, usage),
        "total_usd": rows.money(today),
        "recorded_usd": rows.money(recorded),
        "differs": differs,
        "note": f"at today's prices; {said}" if differs else None,
    }


def _of_several(row: Row, tried: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum over attempts, each as it was recorded: an attempt that failed may have to be paid for too."""
    lines = []
    for number, each in enumerate(tried, start=1):
        usage, cost = each["usage"], rows.money(each.get("cost_usd"))
        tokens = f"{usage.get('prompt', 0)} prompt and {usage.get('completion', 0)} completion tokens"
        lines.append(f"{number}. {each['target']}: {tokens} = {'unknown' if cost is None else f'{cost} USD'}")
    total = rows.money(row.cost_usd)
    lines.append(f"total: {'unknown' if total is None else f'{total} USD'}")
    note = f"{len(tried)} attempts used tokens: each as it was recorded"
    return {"lines": lines, "total_usd": total, "recorded_usd": total, "differs": False, "note": note}


def links(row: Row) -> dict[str, str | None]:
    """Return where more is told of what the row names."""
    return {
        "route": None if row.route is None else f"/routes/{quote(row.route, safe='')}",
        "session": None
        if row.session is None or not row.session.startswith("sess_")
        else f"/sessions/{quote(row.session, safe='')}",
        "key": None if row.principal is None else f"/keys/{quote(row.principal, safe='')}",
        "same_model": f"/requests?{urlencode({'model': row.model_requested})}" if row.model_requested else None,
        "same_error": None if row.error_code is None else f"/requests?{urlencode({'error_code': row.error_code})}",
    }


def _usage(row: Row) -> dict[str, Any] | None:
    if row.prompt_tokens is None and row.completion_tokens is None:
        return None
    names = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens")
    return {**{name: getattr(row, name) for name in names}, "estimated": row.estimated}


def _step(row: Row) -> str | None:
    return next((each["name"] for each in row.tries if each.get("kind") == "step"), None)
