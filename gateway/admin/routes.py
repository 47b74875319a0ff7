"""The routes: what each takes, where it sends it, and what stands between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import urlencode

from aiohttp import web

from gateway.admin import explain
from gateway.admin.desk import Desk
from gateway.errors import BadRequest, GatewayError, NotFound
from gateway.runtime import explained, shown, written
from gateway.runtime.config import Config, ProviderConfig, RouteConfig, TargetConfig
from gateway.runtime.decided import State, match_of, state_of
from gateway.runtime.plugins import Catalog, chain_of

ON_A_PAGE: Final = 50
DAY_S: Final = 86_400.0
Live = Mapping[str, tuple[State, str]]


async def facts(desk: Desk, sought: str = "", page: int = 1) -> dict[str, Any]:
    """Return the routes in order whose name, conditions or targets have `sought` in them, a page of them."""
    config = desk.gateway.snapshot.config
    fitting = [route for route in config.routes if _fits(route, sought.lower())]
    some = fitting[(page - 1) * ON_A_PAGE : page * ON_A_PAGE]
    live, counts = await asyncio.gather(explain.live(desk), requests(desk, [route.name for route in some]))
    numbers = {route.name: number for number, route in enumerate(config.routes, 1)}
    return {
        "q": sought,
        "total": len(config.routes),
        "fitting": len(fitting),
        "page": page,
        "pages": max(1, -(-len(fitting) // ON_A_PAGE)),
        "routes": [_row(config, route, numbers[route.name], live, counts) for route in some],
    }


async def requests(desk: Desk, names: Sequence[str]) -> dict[str, tuple[int, int]] | None:
    """Return requests and failures of these routes over the last day; None where that is not known."""
    ledger = desk.gateway.snapshot.ledger
    if ledger is None or not names:
        return None
    try:
        found = await ledger.totals(by=("route",), since=desk.clock.time() - DAY_S, filters={"route": list(names)})
    except GatewayError:
        return None  # out of reach: the page shows what it can
    return {each["route"]: (int(each["requests"]), int(each["failed"])) for each in found}


async def route_facts(desk: Desk, name: str) -> dict[str, Any]:
    """Return all that there is to say of one route. Raises: NotFound."""
    snapshot = desk.gateway.snapshot
    config, catalog = snapshot.config, cast(Catalog, snapshot.catalog)
    route = next((each for each in config.routes if each.name == name), None)
    if route is None:
        raise NotFound(f'no route "{name[:200]}"')
    live, counts, answers = await asyncio.gather(
        explain.live(desk), requests(desk, [name]), desk.gather("plugin_times")
    )
    number = config.routes.index(route) + 1
    chain = chain_of(config.plugins, route.plugins)
    times = _added(answer.get(name, {}) for answer in answers)
    plugins = [each | {"time": times.get(each["name"])} for each in shown.chain(catalog, chain)]
    hedge = route.hedge
    return {
        **_row(config, route, number, live, counts),
        "retry": {"attempts": route.retry_attempts, "on": sorted(route.retry_on), "backoff": shown.backoff(route)},
        "timeouts": explained.timeouts(chain),
        "limits": explained.limits(config, catalog, chain, {}),
        "plugins": plugins,
        "identify": times.get("identify"),
        "own": [each.name + (": off" if each.options is None else "") for each in route.plugins],
        "model_echo": route.model_echo or "requested",
        "on_unsupported": route.on_unsupported,
        "hedge": None if hedge is None else {
            "after": f"p{hedge.quantile * 100:g}" if hedge.quantile is not None else written.duration(hedge.after_s),
            "budget": f"{hedge.budget * 100:g}%",
        },
        "shadow": None if route.shadow is None else {
            "target": shown.target(route.shadow.target), "percent": f"{route.shadow.share * 100:g}%",
        },
    }  # fmt: skip


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""

    async def asked(request: web.Request) -> dict[str, Any]:
        page = request.query.get("page", "1")
        if not page.isascii() or not page.isdigit() or not 1 <= int(page[:9]) < 1_000_000:
            raise BadRequest("page is a whole number from 1 on", param="page")
        return await facts(desk, request.query.get("q", "").strip()[:200], int(page[:9]))

    async def tell(request: web.Request) -> web.Response:
        return web.json_response(await asked(request))

    async def tell_one(request: web.Request) -> web.Response:
        return web.json_response(await route_facts(desk, request.match_info["name"]))

    async def page(request: web.Request) -> web.Response:
        told = await asked(request)

        def at(number: int) -> str | None:
            query = {"q": told["q"], "page": str(number)} if told["q"] else {"page": str(number)}
            return f"/routes?{urlencode(query)}" if 1 <= number <= told["pages"] else None

        config = desk.gateway.snapshot.config
        beside = {
            "form": explain.form_of(request.query, config),
            "before": at(told["page"] - 1),
            "after": at(told["page"] + 1),
        }
        return await desk.page(request, "routes.html", told | beside)

    async def page_one(request: web.Request) -> web.Response:
        told = await route_facts(desk, request.match_info["name"])
        lines = {each["name"]: written.line(each["options"]) for each in told["plugins"]}
        flat = {
            name: [(key, written.line(text)) for key, text in told[name].items()] for name in ("limits", "timeouts")
        }
        return await desk.page(request, "route.html", {"route": told, "options": lines, **flat})

    return (
        web.get("/api/routes", tell),
        web.get("/api/routes/{name:.+}", tell_one),
        web.get("/routes", page),
        web.get("/routes/{name:.+}", page_one),
    )


def _fits(route: RouteConfig, sought: str) -> bool:
    if not sought:
        return True
    fallbacks = (target for targets in route.fallbacks.values() for target in targets)
    words = [route.name, shown.match(match_of(route)), *(shown.target(each) for each in (*route.targets, *fallbacks))]
    return any(sought in word.lower() for word in words)


def _row(
    config: Config, route: RouteConfig, number: int, live: Live, counts: Mapping[str, tuple[int, int]] | None
) -> dict[str, Any]:
    providers = {provider.name: provider for provider in config.providers}
    conditions = match_of(route)
    literal = next((model for model in route.model or () if not set("*?[") & set(model)), None)
    return {
        "name": route.name,
        "number": number,
        "place": f"{route.place.file}:{route.place.line}",
        "match": shown.match(conditions),
        "model": literal,
        "by_plugin": route.plugin or None,
        "targets": [_target(each, providers, live, route.balance) for each in route.targets],
        "fallbacks": {
            cause: [_target(each, providers, live) for each in targets]
            for cause, targets in route.fallbacks.items() if targets
        },
        "balance": route.balance,
        "chain": [plugin.name for plugin in chain_of(config.plugins, route.plugins)],
        "requests": None if counts is None else counts.get(route.name, (0, 0))[0],
        "failed": None if counts is None else counts.get(route.name, (0, 0))[1],
    }  # fmt: skip


def _target(
    target: TargetConfig, providers: Mapping[str, ProviderConfig], live: Live, balance: str = "ordered"
) -> dict[str, Any]:
    name = f"{target.provider}/{target.model}"
    state, why = state_of(providers.get(target.provider))
    if state == "enabled":
        state, why = live.get(name, (state, why))
    return {
        "target": name,
        "weight": target.weight,
        "says": shown.target(target, balance),
        "state": state,
        "why": why,
        "params": written.value(target.params),
        "override": written.value(target.override),
    }


def _added(answers: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    """Return what the processes of the group tell of a route's plugins, together."""
    sums: dict[str, list[float]] = {}
    for answer in answers:
        for name, (count, total_ms, longest_ms) in answer.items():
            known = sums.setdefault(name, [0, 0.0, 0.0])
            known[0], known[1], known[2] = known[0] + count, known[1] + total_ms, max(known[2], longest_ms)
    return {
        name: {"count": int(count), "mean_ms": round(total_ms / count, 4) if count else 0.0, "max_ms": longest_ms}
        for name, (count, total_ms, longest_ms) in sums.items()
    }
