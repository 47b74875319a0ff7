"""Let pages of the named origins call the gateway from a browser."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.plugin import ConfigError, Exchange, Plugin, Reply, Services

EXPOSED = (
    "x-request-id, x-gateway-route, x-gateway-target, x-gateway-attempts, x-gateway-cost-usd, retry-after, "
    "server-timing"
)


class Cors(Plugin):
    """Options:

    origins: who may call, each `https://app.example`, with `*` for a part, or `*` alone for everybody (default none).
    credentials: whether cookies and the like may be sent (default false; refused with `*`).
    max_age: how long a browser may remember a preflight (default 10m; 0s: not at all).

    A preflight needs no key. An origin that is not listed gets its answer without the headers, and the browser
    keeps it from the page.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "origins": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "default": [],
                "description": "Origins that may call, `*` as a wildcard.",
            },
            "credentials": {
                "type": "boolean",
                "default": False,
                "description": "Allow cookies and authorization of the browser.",
            },
            "max_age": {
                "type": "string",
                "format": "duration",
                "default": "10m",
                "description": "How long a browser may remember a preflight.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        origins: list[str] = options["origins"]
        self._all = "*" in origins
        # SECURITY: answering every origin with credentials allowed lets any page act with its visitor's.
        if self._all and options["credentials"]:
            raise ConfigError(
                "credentials with the origin * would trust every page", cure="name the origins one by one"
            )
        patterns = [".*" if origin == "*" else re.escape(origin).replace(r"\*", "[^/]*") for origin in origins]
        self._allowed = re.compile("|".join(patterns) or r"(?!)")
        self._credentials: bool = options["credentials"]
        self._max_age = str(int(options["max_age"]))

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Answer a preflight; put the headers on everything else an allowed origin asks for."""
        request = exchange.request
        origin = request.headers.get("origin")
        if origin is None:
            return await call_next(exchange)
        exchange.headers["vary"] = "Origin"
        if not self._allowed.fullmatch(origin):
            return await call_next(exchange)
        exchange.headers["access-control-allow-origin"] = "*" if self._all else origin
        if self._credentials:
            exchange.headers["access-control-allow-credentials"] = "true"
        wanted = request.headers.get("access-control-request-method")
        if request.method == "OPTIONS" and wanted is not None:
            exchange.headers["access-control-allow-methods"] = "GET, POST, DELETE, HEAD, OPTIONS"
            exchange.headers["access-control-allow-headers"] = request.headers.get(
                "access-control-request-headers", "authorization, content-type"
            )
            exchange.headers["access-control-max-age"] = self._max_age
            return Reply(204)
        exchange.headers["access-control-expose-headers"] = EXPOSED
        exchange.headers["timing-allow-origin"] = "*" if self._all else origin
        return await call_next(exchange)
