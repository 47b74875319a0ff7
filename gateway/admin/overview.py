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
from gateway.route import Route
from gateway.runtime.in_flight import MOST
from gateway.runtime.pulse import MINUTE_S

MOST_TARGETS: Final = 200


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""
    spend = Spend(desk)

    async def api(_: web.Request) -> web.Response:
        return web.json_response({**await facts(desk), **await spend.facts()})

    async def page(request: web.Request) -> web.Response:
        return desk.page(request, "overview.html", {**await facts(desk), **await spend.facts()})

    return (web.get("/api/overview", api), web.get("/", page))


async def facts(desk: Desk, points: int = measured.POINTS) -> dict[str, Any]:
    """Return all but `spend` and `budgets`; `points` seconds of `series`."""
    pulses, states, lags, lives = await asyncio.gather(
        desk.gather("pulse", points), desk.gather("status"), desk.gather("lag"), desk.gather("live")
    )
    pulse = measured.together(pulses)
    minute, five_minutes = measured.minute_and_five(pulse)
    now, status = desk.clock.time(), merged(states, lags)
    oldest = sorted((each for live in lives for each in live["requests"]), key=lambda each: each["age_s"], reverse=True)
    in_flight = sum(live["count"] for live in lives)
    minute["requests"]["in_flight"] = in_flight
    rows = targets(desk, pulse, status["targets"])
    return {
        "at": round(now, 3),
        "version": __version__,
        "phase": status["phase"],
        "uptime_s": max((each["uptime_s"] for each in states), default=0.0),
        "window_s": MINUTE_S,
        **minute,
        "five_minutes": five_minutes,
        "series": measured.series(pulse, pulse["now"], now - pulse["now"], points),
        "targets": rows[:MOST_TARGETS],
        "targets_total": len(rows),
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


def targets(desk: Desk, pulse: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each target that a route lists: those in trouble first, then the busiest."""
    gateway = desk.gateway
    by_name = {each["target"]: each for each in known}
    routes: dict[str, list[Route]] = {}
    enabled: dict[str, bool] = {}
    for running in gateway.snapshot.routes:
        for target in {each.name: each for each in running.route.listed}.values():
            routes.setdefault(target.name, []).append(running.route)
            enabled[target.name] = target.provider.enabled
    rows = [
        {
            "target": name,
            "provider": name.partition("/")[0],
            "enabled": enabled[name],
            "routes": [route.name for route in its],
            "breaker": state.get("breaker", "closed"),
            "why": state.get("why", ""),
            "probe_in_s": state.get("probe_in_s", 0.0),
            "operator": (held := gateway.holds.of(name)),
            "rests_s": round(gateway.holds.rests_s(name), 3) if held == "resting" else 0.0,
            "in_flight": state.get("in_flight", 0),
            **measured.of_target(pulse, name, its),
        }
        for name, its in routes.items()
        for state in (by_name.get(name, {}),)
    ]
    return sorted(rows, key=lambda each: (each["breaker"] == "closed" and not each["operator"], -each["attempts"]))


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
