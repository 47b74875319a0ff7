"""What would happen to a request: which route takes it and why, which targets it meets, and which of them can be used
now. Sends nothing. The same as `gateway explain`, with what only a running gateway knows beside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from aiohttp import web
from multidict import MultiMapping

from gateway.admin.desk import Desk
from gateway.admin.status import merged
from gateway.errors import BadRequest
from gateway.router import Router
from gateway.runtime import written
from gateway.runtime.config import Config, RouteConfig
from gateway.runtime.decided import DEFAULT_PATH, Asked, State, router_of
from gateway.runtime.explained import explain
from gateway.runtime.plugins import Catalog

MOST_NAMES: Final = 500
"""Suggestions that a form has at most."""


class Routers:
    """The router over the routes in force, made once a configuration."""

    def __init__(self) -> None:
        self._made: tuple[Config, Router[RouteConfig]] | None = None

    def of(self, config: Config) -> Router[RouteConfig]:
        """Return it."""
        if self._made is None or self._made[0] is not config:
            self._made = config, router_of(config)
        return self._made[1]


async def live(desk: Desk) -> dict[str, tuple[State, str]]:
    """Return, by name, the targets that cannot be tried now though their providers are enabled, and why."""
    holds = desk.gateway.holds
    found: dict[str, tuple[State, str]] = {}
    states, rests = await asyncio.gather(desk.gather("status"), desk.gather("key_rests"))
    for name in set.intersection(*(set(each) for each in rests)) if rests else ():
        soonest_s = min(each[name] for each in rests)
        found[name] = "resting", f"every key of it rests for {soonest_s:.0f} s more"
    for each in merged(states, [])["targets"]:
        if each["breaker"] == "open":
            why = f": {each['why']}" if each["why"] else ""
            found[each["target"]] = (
                "open",
                f"its breaker is open{why}; a probe may go out in {each['probe_in_s']:.0f} s",
            )
    for name in desk.gateway.snapshot.targets:
        held = holds.of(name)
        if held == "drained":
            found[name] = "drained", "drained by an operator"
        elif held == "resting":
            found[name] = "resting", f"an operator lets it rest for {holds.rests_s(name):.0f} s more"
    return found


def asked_of(query: MultiMapping[str], config: Config) -> Asked | None:
    """Return the request that a query describes, None when it describes none. Raises: BadRequest."""
    model, path, key = (query.get(name, "").strip() for name in ("model", "path", "key"))
    headers: dict[str, str] = {}
    for line in "\n".join(query.getall("header", [])).splitlines():
        name, equals, text = line.partition("=")
        if line.strip() and not (equals and name.strip()):
            raise BadRequest("write a header as NAME=VALUE, such as x-env=prod", param="header")
        if line.strip():
            headers[name.strip()] = text.strip()
    down = [name for name in query.getall("down", []) if name]
    known = sorted(provider.name for provider in config.providers)
    if unknown := [name for name in down if name not in known]:
        raise BadRequest(f'no provider "{unknown[0][:64]}"; there are: {", ".join(known[:20])}', param="down")
    if not model and not path:
        if headers or key or down:
            raise BadRequest("say what the request is: a model, a path or both", param="model")
        return None
    return Asked(model, path or DEFAULT_PATH, headers, key or None, None, frozenset(down))


async def facts(desk: Desk, asked: Asked, routers: Routers) -> dict[str, Any]:
    """Return what would happen to the request now."""
    snapshot = desk.gateway.snapshot
    now = Asked(asked.model, asked.path, asked.headers, asked.key, asked.tags, asked.down, await live(desk))
    catalog = cast(Catalog, snapshot.catalog)
    return explain(snapshot.config, catalog, now, routers.of(snapshot.config))[1]


def literal_models(config: Config) -> list[str]:
    """Return the names that routes take literally, for a form to suggest."""
    named = (model for route in config.routes for model in route.model or () if not set("*?[") & set(model))
    return list(dict.fromkeys(named))[:MOST_NAMES]


def form_of(query: MultiMapping[str], config: Config) -> dict[str, Any]:
    """Return the form as it was filled in, and what it suggests."""
    return {
        "model": query.get("model", ""),
        "path": query.get("path", ""),
        "key": query.get("key", ""),
        "header": "\n".join(query.getall("header", [])),
        "down": query.getall("down", []),
        "models": literal_models(config),
        "keys": key_names(config),
        "providers": sorted(provider.name for provider in config.providers),
        "default_path": DEFAULT_PATH,
    }


def key_names(config: Config) -> list[str]:
    """Return the names of the keys in the file."""
    entries = (
        entry for plugin in config.plugins if plugin.name == "auth" for entry in (plugin.options or {}).get("keys", ())
    )
    return [str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and "name" in entry][:MOST_NAMES]


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""
    routers = Routers()

    async def tell(request: web.Request) -> web.Response:
        asked = asked_of(request.query, desk.gateway.snapshot.config)
        if asked is None:
            raise BadRequest("say what the request is: ?model=M, ?path=P or both", param="model")
        return web.json_response(await facts(desk, asked, routers))

    async def page(request: web.Request) -> web.Response:
        config = desk.gateway.snapshot.config
        wrong, report, asked = "", None, None
        try:
            asked = asked_of(request.query, config)
        except BadRequest as error:
            wrong = error.message
        if asked is not None:
            report = await facts(desk, asked, routers)
        limits = [(name, written.line(value)) for name, value in (report or {}).get("limits", {}).items()]
        told = {"form": form_of(request.query, config), "wrong": wrong, "report": report, "limits": limits}
        told["path"] = "/routes"  # where the menu has it
        return await desk.page(request, "explain.html", told)

    return (web.get("/api/explain", tell), web.get("/explain", page))
