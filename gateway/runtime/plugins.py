"""Finding and loading plugins: files and folders by name, or `use:` by path or package.

A plugin is a file `plugins/NAME.py` or a folder `plugins/NAME/` of the operator's home, then of the standard one;
the same name in both is an error, so that nobody wonders which one runs. Finding reads folder listings only; a file
is loaded when its name is first asked for. Every `discover` makes a new catalog whose modules are its own
(`modules.py`), so a reload sees files as they are now. They are let go of when the catalog is: whoever runs its
plugins keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard

from gateway.errors import ConfigError
from gateway.plugin import Plugin
from gateway.runtime.config import PluginConfig
from gateway.runtime.home import STANDARD, Home
from gateway.runtime.modules import Modules
from gateway.runtime.options import lay_over

HOOKS: Final = ("http_routes", "identify", "handle", "attempt", "observe", "transform", "complete", "finish")


def hooks_of(cls: type[Plugin]) -> tuple[str, ...]:
    """Return the hooks that `cls` overrides, in the order in which a request meets them."""
    return tuple(hook for hook in HOOKS if getattr(cls, hook) is not getattr(Plugin, hook))


def chain_of(everywhere: Sequence[PluginConfig], route: Sequence[PluginConfig]) -> tuple[PluginConfig, ...]:
    """Return a route's plugins, outermost first: the global ones, then inside them those only the route names.

    A plugin named again on the route keeps its global position with its options laid over the global ones; one
    that the route turns off is gone.
    """
    again = {plugin.name: plugin for plugin in route}
    chain = [_laid_over(plugin, again.pop(plugin.name, None)) for plugin in everywhere]
    return tuple(plugin for plugin in (*chain, *again.values()) if plugin.options is not None)


def _laid_over(plugin: PluginConfig, again: PluginConfig | None) -> PluginConfig:
    if again is None or again.options is None or plugin.options is None:
        return again or plugin
    return replace(again, use=again.use or plugin.use, options=lay_over(plugin.options, again.options))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin comes from: the file or folder as shown to people, and whose it is."""

    path: str
    whose: Literal["home", "standard"]


def discover(home: Home, standard: Path = STANDARD) -> Catalog:
    """Return the plugins there are. Raises: ConfigError when a name is there twice."""
    found: dict[str, Path] = {}
    for root in dict.fromkeys(((home.folder / "plugins").resolve(), (standard / "plugins").resolve())):
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            name = _plugin_name(path)
            if name is None:
                continue
            if name in found:
                problem = f'the plugin "{name}" is also {home.shown(found[name])}'
                raise ConfigError(problem, file=home.shown(path), cure="give one of them another name")
            found[name] = path
    return Catalog(home, found, standard)


def _plugin_name(path: Path) -> str | None:
    """Return the plugin's name, None for what is no plugin: hidden, private, no Python."""
    if path.name.startswith(("_", ".")):
        return None
    if path.suffix == ".py" and path.is_file():
        return path.stem
    return path.name if (path / "__init__.py").is_file() else None


class Catalog:
    """The plugins of one home as they were at one moment; classes are loaded when asked for, and then kept."""

    def __init__(self, home: Home, found: Mapping[str, Path], standard: Path) -> None:
        self._home, self._standard, self._found = home, (standard / "plugins").resolve(), dict(found)
        self._modules = Modules(home)
        self._loaded: dict[tuple[str, str], type[Plugin]] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of all plugins found in the two folders, sorted."""
        return tuple(sorted(self._found))

    def origin(self, name: str, use: str | None = None) -> Origin:
        """Return where a plugin comes from; for `use`, what it says. Raises: ConfigError for an unknown name."""
        if use is not None:
            return Origin(use, "home")
        path = self._path(name)
        return Origin(self._home.shown(path), "standard" if path.parent == self._standard else "home")

    def options_schema(self, name: str, use: str | None = None) -> Mapping[str, Any]:
        """Return the JSON Schema of the plugin's options. Raises: ConfigError without a place of its own, because
        the loader tells it at the entry that names the plugin; the plugin file's line stands in its text."""
        try:
            return self.load(name, use).options_schema
        except ConfigError as error:
            place = (
                f"{error.file}:{error.line}:{error.column}: " if error.line else f"{error.file}: " if error.file else ""
            )
            raise ConfigError(place + error.problem, cure=error.cure) from error

    def load(self, name: str, use: str | None = None) -> type[Plugin]:
        """Return the plugin's class, the same one each time.

        `use` is `file.py:Class`, a file relative to the home, or `package.module:Class`, with the home's folder
        importable. Raises: ConfigError with the plugin file's line for what is wrong in the file.
        """
        key = ("", name) if use is None else ("use", use)
        if key not in self._loaded:
            self._loaded[key] = self._load_named(name) if use is None else self._load_used(use)
        return self._loaded[key]

    def _path(self, name: str) -> Path:
        if name not in self._found:
            near = get_close_matches(name, self._found, n=1)
            listing = ", ".join(self.names()) or "none"
            raise ConfigError(
                f'unknown plugin "{name}"', cure=f'did you mean "{near[0]}"?' if near else f"there are: {listing}"
            )
        return self._found[name]

    def _load_named(self, name: str) -> type[Plugin]:
        path = self._path(name)
        module = self._modules.of_file(path)
        shown = self._home.shown(path)
        classes = [
            value
            for value in vars(module).values()
            if _is_plugin(value)
            and not value.__name__.startswith("_")
            and (value.__module__ + ".").startswith(module.__name__ + ".")
        ]
        if not classes:
            raise ConfigError(
                "no subclass of Plugin in this file", file=shown, cure="define one: from gateway.plugin import Plugin"
            )
        if len(classes) > 1:
            listing = ", ".join(cls.__name__ for cls in classes)
            cure = "keep one to a file, begin the name of a base class with _, or name one with use: file.py:Class"
            raise ConfigError(f"{len(classes)} subclasses of Plugin in one file: {listing}", file=shown, cure=cure)
        classes[0].name = name
        return classes[0]

    def _load_used(self, use: str) -> type[Plugin]:
        where, colon, attribute = use.rpartition(":")
        if not colon or not where or not attribute:
            raise ConfigError(f'use: "{use}" names no class', cure="write file.py:Class or package.module:Class")
        if where.endswith(".py"):
            path = (self._home.folder / where).resolve()
            if not path.is_file():
                raise ConfigError(
                    f'use: "{use}": there is no file {where}', cure="the path starts at the home's folder"
                )
            module, shown = self._modules.of_file(path), self._home.shown(path)
        else:
            module, shown = self._modules.of_package(where), where
        cls = getattr(module, attribute, None)
        if cls is None:
            known = [name for name, value in vars(module).items() if _is_plugin(value)]
            near = get_close_matches(attribute, known, n=1) or known[:1]
            cure = f'did you mean "{near[0]}"?' if near else "it defines no plugin"
            raise ConfigError(f'"{attribute}" is not in {shown}', cure=cure)
        if not _is_plugin(cls):
            raise ConfigError(
                f'"{attribute}" in {shown} is no subclass of Plugin', cure="derive it from gateway.plugin.Plugin"
            )
        return cls


def _is_plugin(value: object) -> TypeGuard[type[Plugin]]:
    return isinstance(value, type) and issubclass(value, Plugin) and value is not Plugin
