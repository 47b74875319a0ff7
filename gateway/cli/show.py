"""How routes, targets, providers and plugins look, in one place for every command.

Tables are drawn when stdout is a terminal, and are aligned plain text otherwise: one row a line, columns in a
fixed order, so that a script may read them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.cli import written
from gateway.cli.decide import match_of, state_of
from gateway.errors import ConfigError
from gateway.route import Match
from gateway.runtime.config import Config, PluginConfig, ProviderConfig, RouteConfig, TargetConfig
from gateway.runtime.plugins import Catalog, chain_of, hooks_of


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; `none` when it has no rows."""
    if sys.stdout.isatty():
        # rich takes 80 ms to import, which a script that reads plain text need not wait for.
        importlib.import_module("gateway.cli.drawn").table(title, columns, rows)
        return
    click.echo(f"{title}: {'' if rows else 'none'}".rstrip())
    if not rows:
        return
    widths = [max(len(row[number]) for row in (columns, *rows)) for number in range(len(columns))]
    for row in (columns, *rows):
        click.echo(("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip())


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print `name  value` lines, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, text in pairs:
        click.echo(f"{name.ljust(width)}  {text}".rstrip())


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


def retry(route: RouteConfig) -> str:
    """Return a route's retry rules on one line."""
    wait = f"{written.duration(route.backoff_min_s)}..{written.duration(route.backoff_max_s)}"
    return f"{route.retry_attempts} attempts on {', '.join(sorted(route.retry_on)) or 'nothing'}, backoff {wait}"


def routes(config: Config) -> None:
    """Print the routes in order."""
    columns = ("name", "match", "targets", "balance", "fallbacks", "plugins")
    rows = [
        (
            route.name,
            match(match_of(route)),
            ", ".join(target(one, route.balance) for one in route.targets),
            route.balance,
            fallbacks(route),
            ", ".join(plugin.name + (": off" if plugin.options is None else "") for plugin in route.plugins),
        )
        for route in config.routes
    ]
    table("routes", columns, rows)


def providers(config: Config) -> None:
    """Print the providers with whether they can be used, and why not."""
    rows = [(one.name, one.dialect, *state_of(one), host(one)) for one in config.providers]
    table("providers", ("name", "dialect", "state", "why", "base_url"), rows)


def host(provider: ProviderConfig) -> str:
    """Return a provider's base URL without credentials."""
    return str(written.value(provider.base_url))


def options(catalog: Catalog, plugin: PluginConfig) -> Mapping[str, Any]:
    """Return a plugin's options as they may be shown."""
    schema = catalog.options_schema(plugin.name, plugin.use)
    shown: Mapping[str, Any] = written.value(plugin.options or {}, schema)
    return shown


def chain(catalog: Catalog, plugins: Sequence[PluginConfig]) -> list[tuple[str, str, str, str]]:
    """Return a chain's rows, outermost first: name, from, hooks, options."""
    return [_plugin_row(catalog, plugin.name, plugin.use, written.line(options(catalog, plugin))) for plugin in plugins]


def plugins(catalog: Catalog, config: Config) -> None:
    """Print every plugin: those in the chain in order, those on a route only, then those that are available."""
    rows = [("chain", *row) for row in chain(catalog, config.plugins)]
    seen = {plugin.name for plugin in config.plugins}
    for route in config.routes:
        added = [plugin for plugin in chain_of((), route.plugins) if plugin.name not in seen]
        rows += [(f"route {route.name}", *row) for row in chain(catalog, added)]
    seen |= {plugin.name for route in config.routes for plugin in route.plugins}
    rows += [("available", *_available(catalog, name)) for name in catalog.names() if name not in seen]
    table("plugins", ("where", "name", "from", "hooks", "options"), rows)


def _available(catalog: Catalog, name: str) -> tuple[str, str, str, str]:
    """Return the row of a plugin that nothing uses: broken is worth seeing, and no reason to fail."""
    try:
        return _plugin_row(catalog, name, None, "")
    except ConfigError as error:
        return (name, catalog.origin(name).path, "", f"cannot be loaded: {error}")


def _plugin_row(catalog: Catalog, name: str, use: str | None, text: str) -> tuple[str, str, str, str]:
    origin = catalog.origin(name, use)
    whose = "standard" if origin.whose == "standard" else origin.path
    return (name, whose, ", ".join(hooks_of(catalog.load(name, use))), text)
