"""Which plugin may not stand outside which other: `x-after` of its options' schema, {plugin: what would happen}."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.errors import ConfigError
from gateway.runtime.config import PluginConfig, RouteConfig
from gateway.runtime.plugins import chain_of
from gateway.runtime.schema import Catalog


def order_errors(
    everywhere: Sequence[PluginConfig], routes: Sequence[RouteConfig], catalog: Catalog
) -> Iterator[ConfigError]:
    """Yield an error for each plugin that stands before one which must come first, in the global chain and in those of
    the routes. What the global chain got wrong is told once."""
    wrong = set()
    for plugin, name, otherwise in _wrong(everywhere, catalog):
        wrong.add((plugin.name, name))
        yield _error(plugin, f'"{plugin.name}" stands before "{name}": {otherwise}', f"list {name} before it")
    for route in routes:
        chain = chain_of(everywhere, route.plugins) if route.plugins else ()
        for plugin, name, otherwise in _wrong(chain, catalog):
            if (plugin.name, name) in wrong:
                continue
            own = next(each for each in chain if each.name == name)
            problem = f'"{name}" of this route stands after "{plugin.name}": {otherwise}'
            yield _error(own, problem, f"list {name} globally, before {plugin.name}")


def _wrong(chain: Sequence[PluginConfig], catalog: Catalog) -> Iterator[tuple[PluginConfig, str, str]]:
    names = [plugin.name for plugin in chain]
    for at, plugin in enumerate(chain, start=1):
        after = catalog.options_schema(plugin.name, plugin.use).get("x-after", {})
        yield from ((plugin, name, otherwise) for name, otherwise in after.items() if name in names[at:])


def _error(plugin: PluginConfig, problem: str, cure: str) -> ConfigError:
    place = plugin.place
    return ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure)
