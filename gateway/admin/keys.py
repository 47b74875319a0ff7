"""Keys: who has one, what remains to each and what it spends; making, rotating and revoking them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from gateway.admin.asked import number_of
from gateway.admin.desk import Desk
from gateway.admin.holders import STATES, Book, Holder, in_file, month_of, running, unheld
from gateway.admin.keychange import Changes
from gateway.admin.remains import remains
from gateway.errors import BadRequest, GatewayError, NotFound, StateLost
from gateway.ledger.ledger import Ledger
from gateway.pricing import plain

PER_PAGE: Final = 50
DAYS: Final = 30
DAY_S: Final = 86_400
NO_LEDGER: Final = "set `ledger: sqlite:var/ledger.db` in gateway.yaml and restart: then keys can be made here"


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the pages and paths of keys."""
    changes, book = Changes(desk), Book()

    async def api_list(request: web.Request) -> web.Response:
        return web.json_response(await facts(desk, book, **_asked(request)))

    async def page_list(request: web.Request) -> web.Response:
        asked = _asked(request)
        found = await facts(desk, book, **asked)

        def address(**other: Any) -> str:
            query = {name: value for name, value in {**asked, **other}.items() if value not in ("", 1)}
            return "/keys" + (f"?{urlencode(query)}" if query else "")

        return await desk.page(request, "keys.html", {**found, "address": address, "quoted": quoted})

    async def api_one(request: web.Request) -> web.Response:
        return web.json_response(await one(desk, book, request.match_info["name"]))

    async def page_one(request: web.Request) -> web.Response:
        found = await one(desk, book, request.match_info["name"])
        spent = [float(each["cost_usd"]) for each in found["days"]]  # a drawing; the sums are exact in the table
        drawn = {"limits_found": found.pop("limits"), "spent_by_day": spent, "quoted": quoted}
        return await desk.page(request, "key.html", {**found, **drawn})

    return [
        web.get("/api/keys", api_list),
        web.get("/keys", page_list),
        web.post("/api/keys", changes.create),
        web.post("/keys", changes.create),
        web.post("/api/keys/{name:.+}/rotate", changes.rotate),
        web.post("/keys/{name:.+}/rotate", changes.rotate),
        web.post("/keys/{name:.+}/revoke", changes.revoke),
        web.delete("/api/keys/{name:.+}", changes.revoke),
        web.get("/api/keys/{name:.+}", api_one),
        web.get("/keys/{name:.+}", page_one),
    ]


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    return quote(name, safe="")


def _asked(request: web.Request) -> dict[str, Any]:
    query = request.query
    state = query.get("state", "")
    if state not in ("", *STATES):
        raise BadRequest(f"state must be one of {', '.join(STATES)}", param="state")
    return {"q": query.get("q", "").strip()[:256], "state": state, "page": number_of(query.get("page", "1"), "page")}


async def facts(desk: Desk, book: Book, *, q: str = "", state: str = "", page: int = 1) -> dict[str, Any]:
    """Return a page of the keys that fit, active ones first, by name; with what each has spent this month."""
    config, now = desk.gateway.snapshot.config, desk.clock.time()
    ledger = desk.gateway.snapshot.ledger
    holders, problems = in_file(config), []
    if ledger is not None:
        try:
            holders += await book.saved(ledger)
        except StateLost as error:
            problems.append(f"the saved keys cannot be read at the moment: {error.message}")
    words = q.lower()
    fitting = [each for each in holders if not words or each.mentions(words)]
    by_state: dict[str, list[Holder]] = {each: [] for each in STATES}
    for each in fitting:
        by_state[each.state(now)].append(each)
    counts = {name: len(several) for name, several in by_state.items()}
    fitting = []
    for several in by_state.values() if not state else (by_state[state],):
        fitting += sorted(several, key=lambda each: (each.name, -(each.created_at or 0)))
    shown = fitting[(page - 1) * PER_PAGE : page * PER_PAGE]
    used: dict[str, dict[str, Any]] = {}
    if ledger is not None and shown:
        try:
            used = await _used(ledger, sorted({each.name for each in shown}), month_of(now))
        except StateLost as error:
            problems.append(f"what was spent cannot be read at the moment: {error.message}")
    nothing = {"requests": 0, "cost_usd": "0", "unpriced": 0, "last_used_at": None} if used else dict.fromkeys(
        ("requests", "cost_usd", "unpriced", "last_used_at")
    )  # fmt: skip
    return {
        "keys": [{**each.facts(now), **used.get(each.name, nothing)} for each in shown],
        "counts": counts,
        "total": len(fitting),
        "page": page,
        "pages": max(1, -(-len(fitting) // PER_PAGE)),
        "q": q,
        "state": state,
        "month_since": month_of(now),
        **_possible(desk),
        "problems": problems,
    }


def _possible(desk: Desk) -> dict[str, Any]:
    """Return whether keys can be made here, and what would keep them from holding."""
    config = desk.gateway.snapshot.config
    has_ledger = desk.gateway.snapshot.ledger is not None
    auth = next((each.options for each in config.plugins if each.name == "auth"), None)
    jwt = (auth or {}).get("jwt") or {}
    return {
        "can_save": has_ledger,
        "why_not": None if has_ledger else NO_LEDGER,
        "has_auth": bool(running(config, "auth")),
        "has_tokens": bool(jwt.get("secret") or jwt.get("jwks_url")),
        "warnings": unheld(config, {}),
    }


async def _used(ledger: Ledger, names: Sequence[str], since: float) -> dict[str, dict[str, Any]]:
    """Return by name what was asked for and spent since then, and when it last asked."""
    sums, *newest = await asyncio.gather(
        ledger.totals(by=["principal"], since=since, filters={"principal": list(names)}),
        *(ledger.rows(filters={"principal": name}, at_most=1) for name in names),
    )
    by = {each["principal"]: each for each in sums}
    return {
        name: {
            "requests": by[name]["requests"] if name in by else 0,
            "cost_usd": plain(by[name]["cost_usd"] if name in by else Decimal(0)),
            "unpriced": by[name]["unpriced"] if name in by else 0,
            "last_used_at": rows[0].ts if rows else None,
        }
        for name, rows in zip(names, newest, strict=True)
    }


async def one(desk: Desk, book: Book, name: str) -> dict[str, Any]:
    """Return all that is known of a principal: its keys, what remains to it, what it spent by day. One without a key
    is there when the ledger has seen it: a token's subject. Raises: NotFound."""
    now = desk.clock.time()
    ledger = desk.gateway.snapshot.ledger
    keys, problems = await _keys_of(desk, book, name)
    tags: dict[str, str] = {}
    used: dict[str, Any] | None = None
    days: list[dict[str, Any]] = []
    if ledger is not None:
        try:
            used = (await _used(ledger, [name], month_of(now)))[name]
            if not keys and used["last_used_at"] is not None:
                tags = dict((await ledger.rows(filters={"principal": name}, at_most=1))[0].tags)
            days = await _by_day(ledger, name, now)
        except StateLost as error:
            problems.append(f"what was spent cannot be read at the moment: {error.message}")
    if not keys and (used is None or used["last_used_at"] is None):
        raise NotFound("no key and no caller of this name is known")
    told = [each.facts(now) for each in keys]
    usable = [each.kept() for each, shown in zip(keys, told, strict=True) if shown["state"] == "active"]
    left = await remains(desk, name, usable or [{"tags": tags}])
    bounds = {bound: any(each[bound] for each in told if each["state"] == "active") for bound in ("budget", "limits")}
    return {
        "name": name,
        "keys": told,
        "can_rotate": any(each["saved"] and each["state"] in ("active", "expired") for each in told),
        "can_revoke": any(each["saved"] and each["state"] == "active" for each in told),
        "limits": left["limits"],
        "used": used,
        "days": days,
        "month_since": month_of(now),
        **_possible(desk),
        "warnings": unheld(desk.gateway.snapshot.config, bounds) if keys else [],
        "problems": [*problems, *left["problems"]],
    }


async def _keys_of(desk: Desk, book: Book, name: str) -> tuple[list[Holder], list[str]]:
    """Return the keys called `name`, the newest saved one first, and what could not be read."""
    problems: list[str] = []
    keys = [each for each in in_file(desk.gateway.snapshot.config) if each.name == name]
    if desk.gateway.snapshot.ledger is not None:
        try:
            kept = [each for each in await book.saved(desk.ledger) if each.name == name]
            keys += sorted(kept, key=lambda each: -(each.created_at or 0))
        except GatewayError as error:
            problems.append(f"the saved keys cannot be read at the moment: {error.message}")
    return keys, problems


async def _by_day(ledger: Ledger, name: str, now: float) -> list[dict[str, Any]]:
    """Return the last days in UTC, today the last, those without a request too."""
    today = int(now) // DAY_S * DAY_S
    since = today - (DAYS - 1) * DAY_S
    sums = {
        each["day"]: each
        for each in await ledger.totals(by=["day"], since=since, filters={"principal": name})
    }  # fmt: skip
    return [
        {
            "day": day,
            "requests": sums[day]["requests"] if day in sums else 0,
            "failed": sums[day]["failed"] if day in sums else 0,
            "tokens": sums[day]["prompt_tokens"] + sums[day]["completion_tokens"] if day in sums else 0,
            "cost_usd": plain(sums[day]["cost_usd"] if day in sums else Decimal(0)),
            "unpriced": sums[day]["unpriced"] if day in sums else 0,
        }
        for day in range(since, today + 1, DAY_S)
    ]
