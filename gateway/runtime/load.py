"""gateway.yaml → Config: read, expand, include, check, and tell every error at once.

    read_document → expand ${…} → include → sections against their schemas → providers → chain → routes → checks

What a later version adds is refused by name here, never ignored.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.config import AdminConfig, CheckConfig, Config, Place, ProviderConfig, RouteConfig, ServerConfig
from gateway.runtime.document import MAX_BYTES, Node, read_document
from gateway.runtime.entries import EntryReader
from gateway.runtime.expand import Expansion
from gateway.runtime.home import Home
from gateway.runtime.listen import parse_listen
from gateway.runtime.providers import ProviderReader, echo_provider, read_known
from gateway.runtime.routes import RouteReader
from gateway.runtime.schema import CHECK, INCLUDED, Catalog, sections
from gateway.runtime.text import duration, size
from gateway.runtime.validate import check, suggest
from gateway.secret import Secret

_SECTIONS: Final = sections()


def load_config(home: Home, environ: Mapping[str, str], catalog: Catalog, overrides: Mapping[str, str] | None = None) -> Config:
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

    def run(self) -> Config:
        root = self._file(self.home.file)
        if root is None:
            raise ConfigErrors(self.errors)
        self._sections(root, tuple(_SECTIONS))
        documents = [root, *self._includes(root)]
        providers = self._providers(documents)
        entries = EntryReader(self.catalog)
        chain = entries.read_global(_items(documents, "plugins"))
        routes = self._routes(documents, RouteReader(self.declared, self.known, entries, chain))
        self.errors.extend(entries.errors)
        config = Config(
            home=self.home.folder,
            file=self.home.file,
            digest=hashlib.sha256(b"".join(self.read.values())).hexdigest()[:12],
            files=tuple(self.read),
            server=self._server(root.value.get("server")),
            admin=self._admin(root.value.get("admin")),
            state=self._state(root.value.get("state")),
            ledger=self._ledger(root.value.get("ledger")),
            plugins=tuple(plugin for plugin, _ in chain.values()),
            providers=providers,
            routes=routes,
            checks=self._checks(root.value.get("checks")),
            warnings=tuple(self.warnings),
        )
        if self.errors:
            order = {file: number for number, file in enumerate(self.files)}
            raise ConfigErrors(sorted(self.errors, key=lambda error: (order.get(error.file, len(order)), error.line, error.column)))
        return config

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
            self.errors.append(ConfigError(f"cannot be read: {error.strerror}", file=shown, line=1, column=1, cure="check the name and the permissions"))
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
        return root

    def _sections(self, root: Node, allowed: tuple[str, ...]) -> None:
        """Check each section of a file against its schema; drop those that cannot be read further."""
        for key, node in list(root.value.items()):
            if key not in _SECTIONS:
                self.errors.append(root.key_error(key, f'unknown key "{key}"', cure=suggest(key, _SECTIONS)))
            elif key not in allowed:
                self.errors.append(root.key_error(key, f'an included file may not hold "{key}"', cure="it may hold " + ", ".join(INCLUDED)))
            else:
                empty = node.value is None and not node.broken and key != "version"
                found = [] if empty else check(node, _SECTIONS[key], key)
                self.errors.extend(found)
                if not found and not empty and not (node.broken or key in ("server", "admin", "state", "ledger") and _is_broken(node)):
                    continue
            del root.value[key]

    def _includes(self, root: Node) -> list[Node]:
        """Return the included files' trees in order."""
        found: list[Node] = []
        names = root.value.get("include")
        for number, node in enumerate(names.value if names is not None else ()):
            if node.broken:
                continue
            path = f"include[{number}]"
            files = self._matching(node, str(node.value))
            if not files:
                what = "this include" if node.variables else f'"{node.value}"'
                self.errors.append(node.error(f"{what} matches no file", path=path, cure="a relative path starts at the file it stands in"))
            for file in files:
                if file in self.read:
                    self.errors.append(node.error(f'"{self.home.shown(file)}" is already read', path=path, cure="include each file once"))
                    continue
                included = self._file(file)
                if included is not None:
                    self._sections(included, INCLUDED)
                    found.append(included)
        return found

    def _matching(self, node: Node, name: str) -> list[Path]:
        folder, pattern = self.home.file.parent, Path(name)
        if not any(character in name for character in "*?["):
            return [folder / name] if (folder / name).is_file() else []
        if pattern.is_absolute():
            folder, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
        try:
            return sorted(file for file in folder.glob(str(pattern)) if file.is_file())
        except (ValueError, NotImplementedError) as error:
            self.errors.append(node.error(f"not a glob: {error}", path="include", cure='write for example "routes/*.yaml"'))
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
                    self._twice("provider", name, place, before)
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
                    self._twice("route", name.value, place, before)
            route = reader.read(node, path)
            if route is not None:
                routes.append(route)
        self.errors.extend(reader.errors)
        return tuple(routes)

    def _twice(self, kind: str, name: str, place: Place, before: Place) -> None:
        problem = f'{kind} "{name}" is named twice'
        cure = f"rename one; the first is at {before.file}:{before.line}:{before.column}"
        self.errors.append(ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure))

    def _server(self, node: Node | None) -> ServerConfig:
        given: dict[str, Any] = node.plain() if node is not None else {}
        timeouts, drain, default = given.get("timeouts", {}), given.get("drain", {}), ServerConfig()
        for number, network in enumerate(given.get("trusted_proxies", ())):
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                at = node.find(["trusted_proxies", number]) if node is not None else Node(None, "", 0, 0)
                self.errors.append(at.error("this is no network", path=f"server.trusted_proxies[{number}]", cure="write for example 10.0.0.0/8"))
        return ServerConfig(
            listen=self._listen(node, "server", "listen", default.listen),
            workers=self._workers(node),
            max_body_bytes=size(given["max_body"]) if "max_body" in given else default.max_body_bytes,
            max_in_flight=int(given.get("max_in_flight", default.max_in_flight)),
            headers_timeout_s=_seconds(timeouts, "headers", default.headers_timeout_s),
            body_timeout_s=_seconds(timeouts, "body", default.body_timeout_s),
            write_timeout_s=_seconds(timeouts, "write", default.write_timeout_s),
            keep_alive_s=_seconds(timeouts, "keep_alive", default.keep_alive_s),
            lame_duck_s=_seconds(drain, "lame_duck", default.lame_duck_s),
            grace_s=_seconds(drain, "grace", default.grace_s),
            trusted_proxies=tuple(given.get("trusted_proxies", ())),
        )

    def _listen(self, section: Node | None, name: str, override: str, default: str) -> str:
        """Return an address to listen at, from the override, the file or the default; `off` stays `off`."""
        at = section.find(["listen"]) if section is not None else None
        given = at if at is not None and at is not section else None
        text = self.overrides.get(override) or (str(given.value) if given is not None else default)
        try:
            return text if name == "admin" and text == "off" else str(parse_listen(text))
        except ValueError as error:
            problem, _, cure = str(error).partition("; ")
            if override in self.overrides or given is None:
                self.errors.append(ConfigError(problem, path=f"{name}.listen", cure=cure))
            else:
                problem = problem.replace(f'"{text}"', "this value") if given.variables else problem
                self.errors.append(given.error(problem, path=f"{name}.listen", cure=cure))
            return default

    def _workers(self, section: Node | None) -> int:
        at = section.find(["workers"]) if section is not None else None
        given = at if at is not None and at is not section else None
        text = self.overrides.get("workers") or (str(int(given.value)) if given is not None else "1")
        problem = "" if text == "1" else f"{text} workers need a shared state:, which this version does not have"
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            problem = f'"{text}" is not a number of workers'
        if problem and ("workers" in self.overrides or given is None):
            self.errors.append(ConfigError(problem, path="server.workers", cure="write 1"))
        elif problem and given is not None:
            self.errors.append(given.error(problem, path="server.workers", cure="write 1"))
        return 1

    def _admin(self, node: Node | None) -> AdminConfig:
        given: dict[str, Any] = node.plain() if node is not None else {}
        listen = self._listen(node, "admin", "admin", AdminConfig().listen or "")
        token = given.get("token") or None
        if listen != "off" and not parse_listen(listen).is_loopback and token is None:
            at = node.find(["listen"]) if node is not None else None
            problem, cure = "the dashboard listens beyond this machine without a token", "set admin.token, or listen on 127.0.0.1"
            if at is None or at is node or "admin" in self.overrides:
                self.errors.append(ConfigError(problem, path="admin.listen", cure=cure))
            else:
                self.errors.append(at.error(problem, path="admin.listen", cure=cure))
        return AdminConfig(listen=None if listen == "off" else listen, token=Secret(str(token)) if token else None, hosts=tuple(given.get("hosts", ())))

    def _state(self, node: Node | None) -> str:
        if node is not None and node.value != "memory:":
            # SECURITY: a store's URL may hold a password, so it is not shown.
            self.errors.append(node.error("this version has no such state", path="state", cure='write "memory:"'))
        return "memory:"

    def _ledger(self, node: Node | None) -> str:
        url = node.find(["url"]) if node is not None else None
        if url is not None and url.value != "none":
            self.errors.append(url.error("this version has no ledger", path="ledger", cure="write none"))
        return "none"

    def _checks(self, node: Node | None) -> tuple[CheckConfig, ...]:
        checks: list[CheckConfig] = []
        for number, one in enumerate(node.value if node is not None else ()):
            path = f"checks[{number}]"
            found = check(one, CHECK, path)
            self.errors.extend(found)
            if found or _is_broken(one):
                continue
            plain = one.plain()
            for index, name in enumerate(plain["given"].get("down", ())):
                if name not in self.declared:
                    at = one.find(["given", "down", index])
                    self.errors.append(at.error(f'unknown provider "{name}"', path=f"{path}.given.down[{index}]", cure=suggest(name, self.declared, otherwise="declared")))
            checks.append(CheckConfig(plain["given"], plain["expect"], Place(one.file, one.line, one.column, path)))
        return tuple(checks)


def _seconds(given: Mapping[str, Any], key: str, default: float) -> float:
    return duration(given[key]) if key in given else default


def _is_broken(node: Node) -> bool:
    return any(below.broken for below in node.walk())


def _items(documents: list[Node], section: str) -> list[tuple[Node, str]]:
    """Return the entries of a list section over all files, each with its path in its own file."""
    found: list[tuple[Node, str]] = []
    for document in documents:
        node = document.value.get(section)
        if node is not None:
            found.extend((one, f"{section}[{number}]") for number, one in enumerate(node.value))
    return found
