"""Requests: the ledger's rows, newest first, by every filter that `sought` knows.

`GET /requests` and `GET /api/requests`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from gateway.admin import rows, sought
from gateway.admin.desk import Desk
from gateway.dialects.table import DIALECTS
from gateway.errors import GatewayError

MOST_KNOWN: Final = 500
"""Suggestions for one filter."""


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""

    async def api(request: web.Request) -> web.Response:
        return web.json_response(await facts(desk, request.query))

    async def page(request: web.Request) -> web.Response:
        return await desk.page(request, "requests.html", await told(desk, request.query))

    return (web.get("/api/requests", api), web.get("/requests", page))


async def facts(desk: Desk, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of rows. Raises: BadRequest for a filter that makes no sense, NotFound without a ledger."""
    now = desk.clock.time()
    wanted = sought.read(query, now)
    found, back_to = await rows.page(desk.ledger, wanted, now)
    older = None
    if len(found) > wanted.limit:
        last = found[wanted.limit - 1]
        older = wanted.older(last.ts, last.exchange_id)
    elif back_to is not None:  # there may be more before that
        older = wanted.older(back_to, "")
    return {
        "filters": wanted.given,
        "known": known(desk),
        "limit": wanted.limit,
        "cursor": wanted.cursor_text,
        "older": older,
        "searched_back_to": back_to,
        "rows": [rows.listed(row) for row in found[: wanted.limit]],
        "problem": None,
    }


async def told(desk: Desk, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the same for a page, which says what is wrong beside what was asked for."""
    try:
        return await facts(desk, query)
    except GatewayError as error:
        given = {name: value for name, value in query.items() if name in sought.NAMES and value}
        return {
            "filters": given,
            "known": known(desk),
            "limit": sought.USUAL,
            "cursor": None,
            "older": None,
            "searched_back_to": None,
            "rows": [],
            "problem": error.message,
        }


def known(desk: Desk) -> dict[str, list[str]]:
    """Return what may be suggested for filters, of the configuration in force."""
    snapshot = desk.gateway.snapshot
    keys = [
        str(key.get("name", ""))
        for plugin in snapshot.config.plugins
        for key in ((plugin.options or {}).get("keys", ()) if plugin.name == "auth" else ())
    ]
    return {
        "outcome": list(sought.OUTCOMES),
        "status": ["2xx", "4xx", "5xx", "401", "429", "499", "500", "502", "503", "504"],
        "route": [running.route.name for running in snapshot.routes][:MOST_KNOWN],
        "provider": list(snapshot.providers)[:MOST_KNOWN],
        "dialect": sorted(DIALECTS),
        "principal": keys[:MOST_KNOWN],
        "target": sorted(snapshot.targets)[:MOST_KNOWN],
        "stream": ["true", "false"],
    }
