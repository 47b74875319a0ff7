"""How a gateway is: what runs, and how the processes of its group are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from gateway import __version__
from gateway.admin.desk import Desk

WORST = {"closed": 0, "half_open": 1, "open": 2}


def merged(processes: Sequence[Mapping[str, Any]], lags: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return what the processes of a group are together: sums of what is counted, the worst of what is judged."""
    targets: dict[str, dict[str, Any]] = {}
    for process in processes:
        for each in process["targets"]:
            known = targets.get(each["target"])
            targets[each["target"]] = dict(each) if known is None else _together(known, each)
    return {
        "phase": next((process["phase"] for process in processes), "starting"),
        "in_flight": sum(process["in_flight"] for process in processes),
        "loop_lag_ms": {name: max(lag[name] for lag in lags) for name in lags[0]} if lags else None,
        "workers": [{name: process[name] for name in ("pid", "phase", "digest", "in_flight")} for process in processes],
        "shadows": {
            name: sum(process["shadows"][name] for process in processes) for name in ("in_flight", "sent", "left_out")
        },
        "targets": list(targets.values()),
    }


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    worse = max(one, other, key=lambda each: WORST[each["breaker"]])
    firsts = [each["first_token_s"] for each in (one, other) if each["first_token_s"] is not None]
    return {
        **worse,
        **{name: one[name] + other[name] for name in ("in_flight", "attempts", "failures")},
        "first_token_s": max(firsts, default=None),
    }


async def facts(desk: Desk) -> dict[str, Any]:
    """Return which configuration runs and how busy it is."""
    gateway = desk.gateway
    snapshot = gateway.snapshot
    return {
        "version": __version__,
        "digest": snapshot.config.digest,
        "reloads": desk.reloader.reloads,
        "last_reload_failed": gateway.last_reload_failed,
        "routes": [running.route.name for running in snapshot.routes],
        "providers": [
            {"name": each.name, "dialect": each.dialect, "enabled": each.enabled}
            for each in snapshot.providers.values()
        ],
        **merged(await gateway.group.gather("status"), await gateway.group.gather("lag")),
    }


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the path."""

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(await facts(desk))

    return (web.get("/api/status", tell),)
