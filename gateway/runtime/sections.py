"""The sections about the process itself: server, admin, state, ledger."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.ledger.url import LEAST_KEPT_S, ledger_secrets
from gateway.runtime.config import AdminConfig, LedgerConfig, ServerConfig
from gateway.runtime.document import Node
from gateway.runtime.found import Found
from gateway.runtime.listen import parse_listen
from gateway.runtime.surface import MOST_WORKERS
from gateway.runtime.text import duration, size
from gateway.runtime.validate import shown
from gateway.secret import Secret
from gateway.state.url import StateUrl, parse_state

_OFF: Final = "off"


class SectionReader:
    """Reads what its schema has let pass; collects errors. `overrides` (listen, admin, workers) win over the file."""

    def __init__(self, overrides: Mapping[str, str], errors: Found) -> None:
        self.overrides = {name: value for name, value in overrides.items() if value}
        self.errors = errors

    def server(self, node: Node | None, state: StateUrl | None) -> ServerConfig:
        """Return the data listener and its limits; several workers need a `state` that they share, if it is known."""
        given: dict[str, Any] = node.plain() if node is not None else {}
        timeouts, drain, default = given.get("timeouts", {}), given.get("drain", {}), ServerConfig()
        networks = _child(node, "trusted_proxies")
        for number, network in enumerate(networks.value if networks is not None else ()):
            try:
                ipaddress.ip_network(network.value, strict=False)
            except ValueError:
                path = f"server.trusted_proxies[{number}]"
                self.errors.append(network.error("this is no network", path=path, cure="write for example 10.0.0.0/8"))
        return ServerConfig(
            listen=self._listen(node, "server", "listen", default.listen),
            workers=self._workers(node, state),
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

    def admin(self, node: Node | None, server_listen: str) -> AdminConfig:
        """Return the dashboard's listener, which must not be open to others without a token."""
        given: dict[str, Any] = node.plain() if node is not None else {}
        listen = self._listen(node, "admin", "admin", AdminConfig().listen or _OFF)
        token = given.get("token")
        at = None if "admin" in self.overrides else _child(node, "listen")
        if listen != _OFF:
            address = parse_listen(listen)
            if not address.is_loopback and not token:
                problem = "the dashboard listens beyond this machine without a token"
                self._refuse(at, "admin.listen", problem, "set admin.token, or listen on 127.0.0.1")
            elif listen == server_listen and (address.port or address.path):
                problem = f"the dashboard and the data listener are both at {listen}"
                self._refuse(at, "admin.listen", problem, "give one another port")
        if token and token != token.strip():
            problem = "the token begins or ends with white space, which no form and no header carries"
            self._refuse(_child(node, "token"), "admin.token", problem, "write it without")
        return AdminConfig(
            listen=None if listen == _OFF else listen,
            token=Secret(str(token)) if token else None,
            hosts=tuple(given.get("hosts", ())),
        )

    def state(self, node: Node | None, home: Path) -> StateUrl | None:
        """Return where state is kept, None when that is wrong."""
        if node is None:
            return StateUrl("memory")
        try:
            state = parse_state(str(node.value))
        except ValueError as error:
            # SECURITY: the URL may hold a password, so it is not shown.
            problem, _, cure = str(error).partition("; ")
            self.errors.append(node.error(problem, path="state", cure=cure))
            return None
        if state.ca and not (home / state.ca).is_file():
            problem = f'there is no file "{state.ca}"'
            self.errors.append(node.error(problem, path="state", cure="ca= is a PEM file, relative to the home"))
        return state

    def ledger(self, node: Node | None) -> LedgerConfig:
        """Return where the ledger is kept, and for how long its rows."""
        if node is None:
            return LedgerConfig()
        url, keep = node.find(["url"]), _child(node, "keep") if isinstance(node.value, dict) else None
        path = "ledger" if url is node else "ledger.url"
        secrets: tuple[Secret, ...] = ()
        try:
            secrets = tuple(Secret(each) for each in ledger_secrets(str(url.value)))
        except ValueError as error:
            # SECURITY: the URL may hold a password, so it is not shown.
            problem, _, cure = str(error).partition("; ")
            self.errors.append(url.error(problem, path=path, cure=cure))
        keep_s = duration(keep.value) if keep is not None else None
        if keep is not None and keep_s is not None and keep_s < LEAST_KEPT_S:
            problem = f"{shown(keep, 'ledger.keep')} is less than an hour"
            self.errors.append(keep.error(problem, path="ledger.keep", cure="write for example 90d"))
        return LedgerConfig(Secret(str(url.value)), keep_s, secrets)

    def _listen(self, section: Node | None, name: str, override: str, default: str) -> str:
        """Return an address to listen at, from the override, the file or the default; `off` stays `off`."""
        at = None if override in self.overrides else _child(section, "listen")
        text = self.overrides.get(override) or (str(at.value) if at is not None else default)
        if name == "admin" and text == _OFF:
            return _OFF
        try:
            return str(parse_listen(text))
        except ValueError as error:
            problem, _, cure = str(error).partition("; ")
            if at is not None and at.variables:
                problem = problem.replace(f'"{text}"', shown(at, f"{name}.listen"))
            self._refuse(at, f"{name}.listen", problem, cure)
            return default

    def _workers(self, section: Node | None, state: StateUrl | None) -> int:
        at = None if "workers" in self.overrides else _child(section, "workers")
        text = self.overrides.get("workers") or (str(int(at.value)) if at is not None else "1")
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MOST_WORKERS):
            problem = f'"{text}" is not a number of workers'
            self._refuse(
                at, "server.workers", problem, f"write 1, or as many as there are cores; at most {MOST_WORKERS}"
            )
            return 1
        if int(text) > 1 and state is not None and not state.is_shared:
            problem = "several workers would each count alone: they need a state: that they share"
            self._refuse(at, "server.workers", problem, "write state: sqlite:var/state.db, or workers: 1")
        return int(text)

    def _refuse(self, at: Node | None, path: str, problem: str, cure: str) -> None:
        """Tell an error at its place; what came from a flag or the environment has only a path."""
        error = ConfigError(problem, path=path, cure=cure) if at is None else at.error(problem, path=path, cure=cure)
        self.errors.append(error)


def _child(section: Node | None, key: str) -> Node | None:
    return section.value.get(key) if section is not None else None


def _seconds(given: Mapping[str, Any], key: str, default: float) -> float:
    return duration(given[key]) if key in given else default
