"""How long a request may wait, for what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.plugin import ConfigError, Exchange, Plugin, Reply, Services, Timeouts


def _duration(default: str, description: str) -> Mapping[str, Any]:
    return {"type": "string", "format": "duration", "default": default, "description": description}


class TimeoutsPlugin(Plugin):
    """Options, each a duration such as 250ms, 30s or 10m; the defaults hold without this plugin too:

    connect: name lookup, TCP and TLS together (5s). first_token: until a stream's first event; plain answers have only
    `total` (30s). idle: between pieces of a stream (60s). total: from the request's arrival to its last byte (10m);
    a client's x-gateway-timeout can only shorten it. Zero is refused: it would let nothing through.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "connect": _duration("5s", "Name lookup, TCP and TLS together."),
            "first_token": _duration("30s", "Until the first event of a streamed answer."),
            "idle": _duration("60s", "Between two pieces of a streamed answer."),
            "total": _duration("10m", "The whole request; a client can only shorten it."),
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        for name, seconds in options.items():
            if seconds <= 0:
                raise ConfigError(
                    f"{name} is 0, which would let nothing through", cure="write a positive duration such as 30s"
                )
        self._timeouts = Timeouts(
            connect_s=options["connect"],
            first_token_s=options["first_token"],
            idle_s=options["idle"],
            total_s=options["total"],
        )

    def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Set the exchange's times; the core keeps to them."""
        exchange.timeouts = self._timeouts
        return call_next(exchange)
