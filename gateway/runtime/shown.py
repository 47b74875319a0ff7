"""How conditions, targets, routes and plugins are told to people: on the command line and on the dashboard alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.route import Match
from gateway.runtime import written
from gateway.runtime.config import PluginConfig, ProviderConfig, RouteConfig, TargetConfig
from gateway.runtime.plugins import Catalog, hooks_of


def match(conditions: Match) -> str:
    """Return conditions on one line, `any model` when there are none."""
    parts = [
        f"{name} {_ored(globs)}"
        for name, globs in (("model", conditions.model), ("path", conditions.path), ("key", conditions.key))
        if globs is not None
    ]
    parts += [f"tag {name}={_ored(globs)}" for name, globs in (conditions.tags or {}).items()]
    parts += [f"header {name}={_ored(globs)}" for name, globs in (conditions.header or {}).items()]
    return "; ".join(parts) or "any model"


def _ored(globs: Sequence[str]) -> str:
    return " | ".join(globs)


def target(one: TargetConfig, balance: str = "ordered") -> str:
    """Return a target as the file writes it, with its weight where that counts."""
    weight = f" ×{one.weight}" if one.weight != 1 or balance == "weighted" else ""
    return f"{one.provider}/{one.model}{weight}"


def fallbacks(route: RouteConfig) -> str:
    """Return a route's fallbacks on one line, by cause where there is more than `any`."""
    lists = {cause: ", ".join(target(one) for one in targets) for cause, targets in route.fallbacks.items() if targets}
    return lists["any"] if list(lists) == ["any"] else "; ".join(f"{cause}: {text}" for cause, text in lists.items())


def backoff(route: RouteConfig) -> str:
    """Return how long is waited before a target is tried again: `200ms..5s`."""
    return f"{written.duration(route.backoff_min_s)}..{written.duration(route.backoff_max_s)}"


def retry(route: RouteConfig) -> str:
    """Return a route's retry rules on one line."""
    kinds = ", ".join(sorted(route.retry_on)) or "nothing"
    return f"{route.retry_attempts} attempts on {kinds}, backoff {backoff(route)}"


def host(provider: ProviderConfig) -> str:
    """Return a provider's base URL without credentials."""
    return str(written.value(provider.base_url))


def options(catalog: Catalog, plugin: PluginConfig) -> Mapping[str, Any]:
    """Return a plugin's options as they may be shown."""
    schema = catalog.options_schema(plugin.name, plugin.use)
    shown: Mapping[str, Any] = written.value(plugin.options or {}, schema)
    return shown


def chain(catalog: Catalog, plugins: Sequence[PluginConfig]) -> list[dict[str, Any]]:
    """Return a chain, outermost first: each plugin's name, where it comes from, its hooks and its options."""
    return [
        {
            "name": plugin.name,
            "from": (origin := catalog.origin(plugin.name, plugin.use)).path,
            "whose": origin.whose,
            "hooks": list(hooks_of(catalog.load(plugin.name, plugin.use))),
            "options": options(catalog, plugin),
        }
        for plugin in plugins
    ]
