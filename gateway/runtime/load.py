"""gateway.yaml → Config: read, expand, include, check, and tell every error at once.

    read_document → expand ${…} → include → sections against their schemas → providers → chain → routes → checks

What a later version adds is refused by name here, never ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.config import AdminConfig, CheckConfig, Config, Place, ProviderConfig, RouteConfig
from gateway.runtime.document import MAX_BYTES, Node, read_document
from gateway.runtime.entries import EntryReader
from gateway.runtime.expand import Expansion
from gateway.runtime.home import Home
from gateway.runtime.known import read_known
from gateway.runtime.providers import ProviderReader, echo_provider
from gateway.runtime.routes import RouteReader
from gateway.runtime.schema import Catalog
from gateway.runtime.sections import SectionReader
from gateway.runtime.surface import CHECK, INCLUDED, sections
from gateway.runtime.validate import check, shown, suggest, validator
from gateway.secret import Secret

_SECTIONS: Final = {name: validator(schema) for name, schema in sections().items()}
_CHECK: Final = validator(CHECK)
_ITEMIZED: Final = ("plugins", "providers", "routes", "checks", "include")
"""Sections whose entries are checked one by one."""


def load_config(
    home: Home, environ: Mapping[str, str], catalog: Catalog, overrides: Mapping[str, str] | None = None
) -> Config:
    """Return what the home's file says. `overrides` (listen, admin, workers) win over the file.

    Raises: ConfigErrors with every error found, in the order of the files.
    """
    return _Load(home, environ, catalog, overrides or {}).run()


class _Load:
    def __init__(self, home: Home, environ: Mapping[str, str], catalog: Catalog, overrides: Mapping[str, str]) -> None:
        self.home, self.environ, self.catalog, self.overrides = home, environ, catalog, overrides
        self.errors: list[ConfigError] = []
        self.warnings: list[str] = []
        self.read: dict[Path, bytes] = {}
        self.files: list[str] = []
        self.secrets: list[Secret] = []
        self.is_whole = True
        """False once a file or a section is missing: what is not declared may then stand in it."""

    def run(self) -> Config:
        root = self._file(self.home.file)
        if root is None:
            raise ConfigErrors(self.errors)
        self._sections(root, tuple(_SECTIONS))
        documents = [root, *self._includes(root)]
        providers = self._providers(documents)
        entries = EntryReader(self.catalog)
        chain = entries.read_global(_items(documents, "plugins"))
        routes = self._routes(
            documents, RouteReader(self.declared if self.is_whole else None, self.known, entries, chain)
        )
        self.errors.extend(entries.errors)
        process = SectionReader(self.overrides)
        server = process.server(root.value.get("server"))
        admin = process.admin(root.value.get("admin"), server.listen)
        config = Config(
            home=self.home.folder,
            file=self.home.file,
            digest=hashlib.sha256(b"".join(self.read.values())).hexdigest()[:12],
            files=tuple(self.read),
            server=server,
            admin=admin,
            state=process.state(root.value.get("state")),
            ledger=process.ledger(root.value.get("ledger")),
            plugins=tuple(plugin for plugin, _ in chain.values()),
            providers=providers,
            routes=routes,
            checks=self._checks(root.value.get("checks")),
            warnings=tuple(self.warnings),
            secrets=self._secrets(providers, admin),
        )
        self.errors.extend(process.errors)
        if self.errors:
            order = {file: number for number, file in enumerate(self.files)}
            raise ConfigErrors(
                sorted(self.errors, key=lambda error: (order.get(error.file, len(order)), error.line, error.column))
            )
        return config

    def _secrets(self, providers: tuple[ProviderConfig, ...], admin: AdminConfig) -> tuple[Secret, ...]:
        found = [*(key for provider in providers for key in provider.credentials), admin.token, *self.secrets]
        return tuple(dict.fromkeys(secret for secret in found if secret))

    # --- files ---------------------------------------------------------------------------------

    def _file(self, path: Path) -> Node | None:
        """Return one file's tree, expanded; None when it cannot be read as a mapping at all."""
        shown = self.home.shown(path)
        self.files.append(shown)
        try:
            with path.open("rb") as file:
                # One byte more than allowed is enough to know, whatever the file's size.
                content = file.read(MAX_BYTES + 1)
            self.read[path] = content
            root = read_document(content, shown)
        except OSError as error:
            self.errors.append(
                ConfigError(
                    f"cannot be read: {error.strerror}",
                    file=shown,
                    line=1,
                    column=1,
                    cure="check the name and the permissions",
                )
            )
            return None
        except ConfigError as error:
            self.errors.append(error)
            return None
        if not isinstance(root.value, dict):
            self.errors.append(root.error("must be a mapping", cure='begin with "version: 1"'))
            return None
        expansion = Expansion(self.environ, path.parent)
        self.errors.extend(expansion.expand(root))
        self.read.update(expansion.read)
        self.secrets.extend(expansion.secrets)
        return root

    def _sections(self, root: Node, allowed: tuple[str, ...]) -> None:
        """Check each section of a file against its schema; drop those that cannot be read further."""
        for key, node in list(root.value.items()):
            if key not in _SECTIONS:
                self.errors.append(root.key_error(key, f'unknown key "{key}"', cure=suggest(key, _SECTIONS)))
            elif key not in allowed:
                self.errors.append(
                    root.key_error(
                        key, f'an included file may not hold "{key}"', cure="it may hold " + ", ".join(INCLUDED)
                    )
                )
            elif (node.value is not None or key == "version") and self._is_usable(node, key):
                continue
            del root.value[key]

    def _is_usable(self, node: Node, key: str) -> bool:
        """Check one section; take out of a mapping the settings that are wrong, so that the others are still read."""
        found = check(node, _SECTIONS[key], key)
        self.errors.extend(found)
        if key in ("include", "providers") and (found or node.broken):
            self.is_whole = False
        if key not in ("server", "admin") or not isinstance(node.value, dict):
            return not found and not node.broken and (key in _ITEMIZED or not node.is_broken())
        wrong = {error.path.removeprefix(f"{key}.").partition(".")[0].partition("[")[0] for error in found}
        for name in list(node.value):
            if name in wrong or node.value[name].is_broken():
                del node.value[name]
        return True

    def _includes(self, root: Node) -> list[Node]:
        """Return the included files' trees in order."""
        found: list[Node] = []
        names = root.value.get("include")
        seen = {self.home.file.resolve()}
        for number, node in enumerate(names.value if names is not None else ()):
            if node.broken:
                self.is_whole = False
                continue
            path = f"include[{number}]"
            files = self._matching(node, str(node.value))
            if not files:
                self.is_whole = False
                what = "this include" if node.variables else f'"{node.value}"'
                self.errors.append(
                    node.error(
                        f"{what} matches no file", path=path, cure="a relative path starts at the file it stands in"
                    )
                )
            for file in files:
                if file.resolve() in seen:
                    self.errors.append(
                        node.error(
                            f"{'this file' if node.variables else self.home.shown(file)} is already read",
                            path=path,
                            cure="include each file once",
                        )
                    )
                    continue
                seen.add(file.resolve())
                included = self._file(file)
                if included is not None:
                    self._sections(included, INCLUDED)
                    found.append(included)
        self.is_whole = self.is_whole and len(found) == len(seen) - 1
        return found

    def _matching(self, node: Node, name: str) -> list[Path]:
        folder, pattern = self.home.file.parent, Path(name)
        if not any(character in name for character in "*?["):
            return [folder / name] if (folder / name).is_file() else []
        if pattern.is_absolute():
            folder, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
        try:
            return sorted(file for file in folder.glob(str(pattern)) if file.is_file())
        except ValueError as error:
            self.errors.append(
                node.error(f"not a glob: {error}", path="include", cure='write for example "routes/*.yaml"')
            )
            return []

    # --- sections ------------------------------------------------------------------------------

    def _providers(self, documents: list[Node]) -> tuple[ProviderConfig, ...]:
        """Read every provider; set `declared` and `known`, the names for the routes' targets."""
        try:
            known = read_known(self.home, self.read)
        except ConfigError as error:
            raise ConfigErrors([*self.errors, error]) from None
        reader = ProviderReader(self.home, self.environ, known)
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
            providers.append(echo_provider(self.files[0]))
        self.declared, self.known = frozenset(first) | {"echo"}, frozenset(known)
        self.errors.extend(reader.errors)
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
        self.errors.extend(reader.errors)
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
                if self.is_whole and name not in self.declared:
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
