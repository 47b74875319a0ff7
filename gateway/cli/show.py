"""How routes, providers and plugins look in a terminal, in one place for every command.

Tables are drawn when stdout is a terminal, and are aligned plain text otherwise: one row a line, columns in a
fixed order, so that a script may read them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from gateway.errors import ConfigError
from gateway.runtime import shown, written
from gateway.runtime.config import Config, PluginConfig
from gateway.runtime.decided import match_of, state_of
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


def routes(config: Config) -> None:
    """Print the routes in order."""
    columns = ("name", "match", "targets", "balance", "fallbacks", "plugins")
    rows = [
        (
            route.name,
            shown.match(match_of(route)),
            ", ".join(shown.target(one, route.balance) for one in route.targets) or f"the plugin {route.plugin}",
            route.balance,
            shown.fallbacks(route),
            ", ".join(plugin.name + (": off" if plugin.options is None else "") for plugin in route.plugins),
        )
        for route in config.routes
    ]
    table("routes", columns, rows)


def providers(config: Config) -> None:
    """Print the providers with whether they can be used, and why not."""
    rows = [(one.name, one.dialect, *state_of(one), shown.host(one)) for one in config.providers]
    table("providers", ("name", "dialect", "state", "why", "base_url"), rows)


def chain(catalog: Catalog, plugins: Sequence[PluginConfig]) -> list[tuple[str, str, str, str]]:
    """Return a chain's rows, outermost first: name, from, hooks, options."""
    return [
        _plugin_row(catalog, plugin.name, plugin.use, written.line(shown.options(catalog, plugin)))
        for plugin in plugins
    ]


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
