"""What would happen to a request, as JSON: `gateway explain --json` and the dashboard's `explain` alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import PermissionDenied
from gateway.exchange import Principal, Timeouts
from gateway.router import Router
from gateway.runtime import shown, written
from gateway.runtime.allowed import refuse_foreign
from gateway.runtime.config import Config, PluginConfig, RouteConfig
from gateway.runtime.decided import Asked, Decision, decide, key_of, match_of
from gateway.runtime.plugins import Catalog, chain_of

LIMITING = ("rate_limit", "budget")
"""The standard plugins whose options are limits."""
HELD_BY = (("limits", "rate_limit"), ("budget", "budget"))
"""What stands beside a key, and the plugin that holds it: without that it is none."""

CHOSEN_BY = {
    "weighted": "in proportion to weight",
    "round_robin": "in turn",
    "least_busy": "by attempts under way for its weight",
    "fastest": "by the times of late",
    "cheapest": "by the price of the request",
    "sticky": "by its conversation",
}


def explain(
    config: Config, catalog: Catalog, asked: Asked, router: Router[RouteConfig] | None = None
) -> tuple[Decision, dict[str, Any]]:
    """Return what is decided, and the report of it; `route` is null in that when no route takes the request."""
    decision = decide(config, asked, router)
    report = _explanation(config, catalog, decision, key_of(config, asked.key))
    refused = _refusal(config, asked, decision)
    return decision, {**report, "refused": refused} if refused else report


def balance(route: RouteConfig, decision: Decision) -> str:
    """Return the balance, and what it chooses by where the file alone does not say which target is first."""
    count = len(decision.candidates(with_disabled=False))
    return f"{route.balance}: one of {count} targets first, {CHOSEN_BY[route.balance]}" if count > 1 else route.balance


def limits(config: Config, catalog: Catalog, chain: Sequence[PluginConfig], key: Mapping[str, Any]) -> dict[str, Any]:
    """Return every limit that a request meets in `chain`; `key` is what stands beside the caller's key in the file."""
    server = config.server
    found: dict[str, Any] = {"max_body": written.size(server.max_body_bytes), "max_in_flight": server.max_in_flight}
    found |= {plugin.name: shown.options(catalog, plugin) for plugin in chain if plugin.name in LIMITING}
    own = {name: written.value(key[name]) for name, by in HELD_BY if name in key and by in found}
    return found | ({"key": own} if own else {})


def timeouts(chain: Sequence[PluginConfig]) -> dict[str, str]:
    """Return the upstream timeouts in effect: the plugin's, else the defaults, which hold without it too."""
    named: Mapping[str, Any] = next((plugin.options or {} for plugin in chain if plugin.name == "timeouts"), {})
    found = {}
    for each in dataclasses.fields(Timeouts):
        name = each.name.removesuffix("_s")
        given = named.get(name, each.default)
        found[name] = written.duration(given) if isinstance(given, (int, float)) else str(given)
    return found


def _explanation(config: Config, catalog: Catalog, decision: Decision, key: Mapping[str, Any]) -> dict[str, Any]:
    route = decision.route
    passed = [
        {"route": verdict.value.name, "why": verdict.reason} for verdict in decision.verdicts if not verdict.taken
    ]
    if route is None:
        return {"route": None, "passed_over": passed}
    chain = chain_of(config.plugins, route.plugins)
    first = decision.first(with_disabled=False)
    return {
        "route": route.name,
        "place": f"{route.place.file}:{route.place.line}",
        "why": decision.why,
        "match": shown.match(match_of(route)),
        "passed_over": passed,
        "first": first.names[1] if first else None,
        "first_of": [step.names[1] for step in decision.candidates(with_disabled=False)],
        "answered_by": route.plugin or None,
        "targets": [
            {
                "target": step.names[0],
                "model": step.model,
                "for": step.cause,
                "weight": step.target.weight,
                "state": step.state,
                "why": step.why,
            }
            for step in decision.steps
        ],
        "balance": route.balance,
        "retry": {
            "attempts": route.retry_attempts,
            "on": sorted(route.retry_on),
            "backoff": shown.backoff(route),
        },
        "plugins": shown.chain(catalog, chain),
        "limits": limits(config, catalog, chain, key),
        "timeouts": timeouts(chain),
    }


def _refusal(config: Config, asked: Asked, decision: Decision) -> str:
    """Return why the caller's key may not do this, "" when it may."""
    entry, route = key_of(config, asked.key), decision.route
    if route is None or not entry:
        return ""
    models, routes = (_several(entry.get(name)) for name in ("models", "routes"))
    try:
        refuse_foreign(Principal(str(entry["name"]), models=models, routes=routes), asked.model, route.name)
    except PermissionDenied as error:
        return error.message
    return ""


def _several(given: str | list[str] | None) -> tuple[str, ...] | None:
    return given if given is None else (given,) if isinstance(given, str) else tuple(given)
