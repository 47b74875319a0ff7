"""The sections about the process itself: server, admin, state, ledger."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from gateway.errors import ConfigError
from gateway.runtime.config import AdminConfig, ServerConfig
from gateway.runtime.document import Node
from gateway.runtime.listen import parse_listen
from gateway.runtime.text import duration, size
from gateway.secret import Secret


class SectionReader:
    """Reads what its schema has let pass; collects errors. `overrides` (listen, admin, workers) win over the file."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        self.overrides = overrides
        self.errors: list[ConfigError] = []

    def server(self, node: Node | None) -> ServerConfig:
        given: dict[str, Any] = node.plain() if node is not None else {}
        timeouts, drain, default = given.get("timeouts", {}), given.get("drain", {}), ServerConfig()
        for number, network in enumerate(given.get("trusted_proxies", ())):
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                at = node.find(["trusted_proxies", number]) if node is not None else Node(None, "", 0, 0)
                self.errors.append(
                    at.error(
                        "this is no network",
                        path=f"server.trusted_proxies[{number}]",
                        cure="write for example 10.0.0.0/8",
                    )
                )
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

    def admin(self, node: Node | None) -> AdminConfig:
        given: dict[str, Any] = node.plain() if node is not None else {}
        listen = self._listen(node, "admin", "admin", AdminConfig().listen or "")
        token = given.get("token") or None
        if listen != "off" and not parse_listen(listen).is_loopback and token is None:
            at = node.find(["listen"]) if node is not None else None
            problem, cure = (
                "the dashboard listens beyond this machine without a token",
                "set admin.token, or listen on 127.0.0.1",
            )
            if at is None or at is node or "admin" in self.overrides:
                self.errors.append(ConfigError(problem, path="admin.listen", cure=cure))
            else:
                self.errors.append(at.error(problem, path="admin.listen", cure=cure))
        return AdminConfig(
            listen=None if listen == "off" else listen,
            token=Secret(str(token)) if token else None,
            hosts=tuple(given.get("hosts", ())),
        )

    def state(self, node: Node | None) -> str:
        if node is not None and node.value != "memory:":
            # SECURITY: a store's URL may hold a password, so it is not shown.
            self.errors.append(node.error("this version has no such state", path="state", cure='write "memory:"'))
        return "memory:"

    def ledger(self, node: Node | None) -> str:
        url = node.find(["url"]) if node is not None else None
        if url is not None and url.value != "none":
            self.errors.append(url.error("this version has no ledger", path="ledger", cure="write none"))
        return "none"


def _seconds(given: Mapping[str, Any], key: str, default: float) -> float:
    return duration(given[key]) if key in given else default
