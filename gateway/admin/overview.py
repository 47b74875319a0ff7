"""The overview: is it healthy, how fast, who is spending, what does each target do.

`GET /` and `GET /api/overview`; see `live` for the same as it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from gateway import __version__
from gateway.admin import measured
from gateway.admin.desk import Desk
from gateway.admin.spend import Spend
from gateway.admin.status import merged
from gateway.runtime.in_flight import MOST
from gateway.runtime.pulse import MINUTE_S

MOST_TARGETS: Final = 200
SHOWN_TARGETS: Final = 50
"""On a page, which takes the loop's time to be written."""


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""
    spend = Spend(desk)

    async def api(_: web.Request) -> web.Response:
        return web.json_response({**await facts(desk), **await spend.facts()})

    async def page(request: web.Request) -> web.Response:
        return await desk.page(
            request, "overview.html", {**await facts(desk, most=SHOWN_TARGETS), **await spend.facts()}
        )

    return (web.get("/api/overview", api), web.get("/", page))


async def facts(desk: Desk, points: int = measured.POINTS, most: int = MOST_TARGETS) -> dict[str, Any]:
    """Return all but `spend` and `budgets`; `points` seconds of `series`, `most` targets."""
    pulses, states, lags, lives = await asyncio.gather(
        desk.gather("pulse", points), desk.gather("status"), desk.gather("lag"), desk.gather("live")
    )
    pulse = measured.together(pulses)
    minute, five_minutes = measured.minute_and_five(pulse)
    now, status = desk.clock.time(), merged(states, lags)
    oldest = sorted((each for live in lives for each in live["requests"]), key=lambda each: each["age_s"], reverse=True)
    in_flight = sum(live["count"] for live in lives)
    minute["requests"]["in_flight"] = in_flight
    return {
        "at": round(now, 3),
        "version": __version__,
        "phase": status["phase"],
        "uptime_s": max((each["uptime_s"] for each in states), default=0.0),
        "window_s": MINUTE_S,
        **minute,
        "five_minutes": five_minutes,
        "series": measured.series(pulse, pulse["now"], now - pulse["now"], points),
        "targets": targets(desk, pulse, status["targets"])[:most],
        "targets_total": len(desk.gateway.snapshot.targets),
        "live": oldest[:MOST],
        "live_total": in_flight,
        "configuration": configuration(desk, states),
        "loop_lag_ms": status["loop_lag_ms"],
        "ledger": _ledger(states),
        "state": {
            "kind": desk.gateway.snapshot.config.state.kind,
            "lost": any(each["state"]["lost"] for each in states),
            "errors": sum(each["state"]["errors"] for each in states),
        },
        "workers": [
            {name: each[name] for name in ("pid", "phase", "in_flight", "digest", "uptime_s")} for each in states
        ],
        "routes": len(desk.gateway.snapshot.routes),
    }


def targets(
    desk: Desk, pulse: Mapping[str, Any], known: Sequence[Mapping[str, Any]], only: str | None = None
) -> list[dict[str, Any]]:
    """Return a row for each target that a route lists: those in trouble first, then the busiest, at most 200; or for
    `only` one."""
    holds = desk.gateway.holds
    states = {each["target"]: each for each in known}
    by_target, by_route = measured.attempts_of(pulse)

    def place(name: str) -> tuple[bool, int]:
        state = states.get(name)
        return (state is None or state["breaker"] == "closed") and name not in holds.names, -by_target.get(name, 0)

    listing = listed(desk)
    rows = []
    for name in sorted(listing, key=place)[:MOST_TARGETS] if only is None else [only]:
        (enabled, expected), state, held = listing[name], states.get(name, {}), holds.of(name)
        rows.append(
            {
                "target": name,
                "provider": name.partition("/")[0],
                "enabled": enabled,
                "routes": list(expected),
                "breaker": state.get("breaker", "closed"),
                "why": state.get("why", ""),
                "probe_in_s": state.get("probe_in_s", 0.0),
                "operator": held,
                "rests_s": round(holds.rests_s(name), 3) if held == "resting" else 0.0,
                "in_flight": state.get("in_flight", 0),
                **measured.of_target(pulse, name, expected, by_route),
            }
        )
    return rows


Listing = dict[str, tuple[bool, dict[str, float | None]]]


def listed(desk: Desk) -> Listing:
    """Return every target that a route lists: whether it is enabled, and its expected share on each of its routes."""
    snapshot = desk.gateway.snapshot
    digest, known = desk.kept.get("listed", (None, {}))
    if digest == snapshot.digest:
        return known  # type: ignore[no-any-return]
    found: Listing = {}
    for running in snapshot.routes:
        shares = measured.expected_of(running.route)
        for target in running.route.listed:
            found.setdefault(target.name, (target.provider.enabled, {}))[1][running.route.name] = shares[target.name]
    desk.kept["listed"] = snapshot.digest, found
    return found


def configuration(desk: Desk, states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return which configuration is in force, and how the last reload ended."""
    gateway, history = desk.gateway, desk.reloader.history
    digest = gateway.snapshot.digest
    last = history[-1] if history else None
    return {
        "digest": digest,
        "reloads": dict(gateway.reloads),
        "last": None if last is None else {
            "at": last.at_s,
            "why": last.why,
            "result": "ok" if last.error is None else "failed",
            "error": None if last.error is None else desk.clean(last.error),
            "digest": last.digest,
        },
        "last_failed": gateway.last_reload_failed,
        "workers_agree": all(each["digest"] == digest for each in states),
    }  # fmt: skip


def _ledger(states: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    kept = [each["ledger"] for each in states if each["ledger"] is not None]
    if not kept:
        return None
    return {
        "rows_total": sum(each["rows_total"] for each in kept),
        "dropped_total": sum(each["dropped_total"] for each in kept),
        "lost": any(each["lost"] for each in kept),
    }
