"""gateway.yaml → Config: read, expand, include, check, and tell every error at once.

    read_document → expand ${…} → include → sections against their schemas → providers → chain → routes → checks

What a later version adds is refused by name here, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.errors import ConfigError
from gateway.pricing import Entry
from gateway.runtime import held
from gateway.runtime.config import AdminConfig, CheckConfig, Config, Place, ProviderConfig, RouteConfig, digest_of
from gateway.runtime.document import Node
from gateway.runtime.entries import EntryReader
from gateway.runtime.files import FileReader
from gateway.runtime.found import EnoughErrorsError, Found
from gateway.runtime.home import Home
from gateway.runtime.known import read_known
from gateway.runtime.order import order_errors
from gateway.runtime.prices import read_prices
from gateway.runtime.providers import ProviderReader, echo_provider
from gateway.runtime.routes import RouteReader
from gateway.runtime.schema import Catalog
from gateway.runtime.sections import SectionReader
from gateway.runtime.surface import CHECK
from gateway.runtime.validate import Rules, check, shown, suggest
from gateway.secret import Secret
from gateway.state.url import StateUrl

_CHECK: Final = Rules(CHECK)


def load_config(
    home: Home, environ: Mapping[str, str], catalog: Catalog, overrides: Mapping[str, str] | None = None
) -> Config:
    """Return what the home's file says. `overrides` (listen, admin, workers) win over the file.

    Does no more than read files, so it may run in a thread. Raises: ConfigErrors with every error found (a
    hundred at most), in the order of the files.
    """
    load = _Load(home, environ, catalog, overrides or {})
    config, is_all = None, True
    try:
        config = load.run()
    except EnoughErrorsError:
        is_all = False
    if config is None or load.errors:
        order = {name: number for number, name in enumerate(load.files.names)}
        raise load.errors.sorted(order, is_all=is_all)
    return config


class _Load:
    def __init__(self, home: Home, environ: Mapping[str, str], catalog: Catalog, overrides: Mapping[str, str]) -> None:
        self.home, self.environ, self.catalog, self.overrides = home, environ, catalog, overrides
        self.errors = Found()
        self.warnings: list[str] = []
        self.files = FileReader(home, environ, self.errors)

    def run(self) -> Config | None:
        """Return the configuration, None when there is nothing to read; why, and all else, is in `errors`."""
        documents = self.files.documents()
        if not documents:
            return None
        root = documents[0]
        providers = self._providers(documents)
        prices = self._prices()
        entries = EntryReader(self.catalog, self.errors, self.files.entries)
        chain = entries.read_global(_items(documents, "plugins"))
        declared = self.declared if self.files.is_whole else None
        routes = self._routes(documents, RouteReader(declared, self.known, entries, chain))
        on_routes = {each.name for route in routes for each in route.plugins if each.options is not None}
        self.warnings += held.warnings(entries.held, on_routes | chain.keys())
        self.errors.extend(order_errors([plugin for plugin, _ in chain.values()], routes, self.catalog))
        process = SectionReader(self.overrides, self.errors)
        state = process.state(root.value.get("state"), self.home.folder)
        server = process.server(root.value.get("server"), state)
        admin = process.admin(root.value.get("admin"), server.listen)
        ledger = process.ledger(root.value.get("ledger"))
        return Config(
            home=self.home.folder,
            file=self.home.file,
            digest=digest_of(self.files.read.values()),
            files=tuple(self.files.read),
            server=server,
            admin=admin,
            state=state or StateUrl("memory"),
            ledger=ledger,
            plugins=tuple(plugin for plugin, _ in chain.values()),
            providers=providers,
            routes=routes,
            checks=self._checks(root.value.get("checks")),
            prices=prices,
            warnings=tuple(self.warnings),
            secrets=(*self._secrets(providers, admin), *ledger.secrets, *(state.secrets if state else ())),
            patterns=tuple(self.files.patterns),
            texts=tuple(self.files.texts.items()),
        )

    def _secrets(self, providers: tuple[ProviderConfig, ...], admin: AdminConfig) -> tuple[Secret, ...]:
        found = [*(key for provider in providers for key in provider.credentials), admin.token, *self.files.secrets]
        return tuple(dict.fromkeys(secret for secret in found if secret))

    def _prices(self) -> tuple[Entry, ...]:
        try:
            return read_prices(self.home, self.files.read)
        except ConfigError as error:
            self.errors.append(error)
            return ()

    def _providers(self, documents: list[Node]) -> tuple[ProviderConfig, ...]:
        """Read every provider; set `declared` and `known`, the names for the routes' targets."""
        try:
            known = read_known(self.home, self.files.read)
        except ConfigError as error:
            self.errors.append(error)
            known = {}
        reader = ProviderReader(self.home, self.environ, known, self.errors)
        providers: list[ProviderConfig] = []
        first: dict[str, Place] = {}
        for document in documents:
            section = document.value.get("providers")
            for name, node in section.value.items() if section is not None else ():
                line, column = section.keys[name]
                place = Place(section.file, line, column, f"providers.{name}")
                before = first.setdefault(name, place)
                if before is not place:
                    self._twice("provider", f'"{name}"', place, before)
                    continue
                provider = reader.read(name, node, place.path, place)
                if provider is not None:
                    providers.append(provider)
        if "echo" not in first:
            providers.append(echo_provider(self.files.names[0]))
        self.declared, self.known = frozenset(first) | {"echo"}, frozenset(known)
        self.warnings.extend(reader.warnings)
        return tuple(providers)

    def _routes(self, documents: list[Node], reader: RouteReader) -> tuple[RouteConfig, ...]:
        routes: list[RouteConfig] = []
        first: dict[str, Place] = {}
        for node, path in _items(documents, "routes"):
            name = node.value.get("name") if isinstance(node.value, dict) else None
            if name is not None and isinstance(name.value, str) and not name.broken:
                place = Place(name.file, name.line, name.column, f"{path}.name")
                before = first.setdefault(name.value, place)
                if before is not place:
                    self._twice("route", shown(name, ""), place, before)
            route = reader.read(node, path)
            if route is not None:
                routes.append(route)
        self.warnings.extend(reader.warnings)
        return tuple(routes)

    def _twice(self, kind: str, name: str, place: Place, before: Place) -> None:
        problem = f"{kind} {name} is named twice"
        cure = f"rename one; the first is at {before.file}:{before.line}:{before.column}"
        self.errors.append(
            ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure)
        )

    def _checks(self, node: Node | None) -> tuple[CheckConfig, ...]:
        checks: list[CheckConfig] = []
        for number, one in enumerate(node.value if node is not None else ()):
            path = f"checks[{number}]"
            found = check(one, _CHECK, path)
            self.errors.extend(found)
            if found or one.is_broken():
                continue
            plain = one.plain()
            for index, name in enumerate(plain["given"].get("down", ())):
                if self.files.is_whole and name not in self.declared:
                    at = one.find(["given", "down", index])
                    self.errors.append(
                        at.error(
                            f"unknown provider {shown(at, '')}",
                            path=f"{path}.given.down[{index}]",
                            cure=suggest(name, self.declared, otherwise="declared"),
                        )
                    )
            checks.append(CheckConfig(plain["given"], plain["expect"], Place(one.file, one.line, one.column, path)))
        return tuple(checks)


def _items(documents: list[Node], section: str) -> list[tuple[Node, str]]:
    """Return the entries of a list section over all files, each with its path in its own file."""
    found: list[tuple[Node, str]] = []
    for document in documents:
        node = document.value.get(section)
        if node is not None:
            found.extend((one, f"{section}[{number}]") for number, one in enumerate(node.value))
    return found
