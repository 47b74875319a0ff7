"""Carry one id through everything: log lines, the upstream call and the answer.

The gateway keeps a client's `x-request-id` when it is 1 to 128 visible ASCII characters, makes one otherwise, and
puts it on every answer. This plugin adds a header of your own that carries the same id, and the choice not to
take ids from outside.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.plugin import Exchange, Plugin, Reply, Services

VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")


class RequestId(Plugin):
    """Options:

    header: the header that carries the id in and out, besides x-request-id (default x-request-id: no other).
    accept: whether a client's own id is kept (default true); false makes a new one for every request.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "header": {
                "type": "string",
                "pattern": "^[A-Za-z0-9-]{1,64}$",
                "default": "x-request-id",
                "description": "Header that carries the id, in and out.",
            },
            "accept": {
                "type": "boolean",
                "default": True,
                "description": "Keep a client's own id when it is 1 to 128 visible ASCII characters.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._header: str = options["header"].lower()
        self._accept: bool = options["accept"]

    def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Settle the id before anything else uses it."""
        if exchange.parent_id is not None:  # a step goes by its parent's
            pass
        elif not self._accept:
            exchange.id = secrets.token_hex(16)
        elif self._header != "x-request-id":
            given = exchange.request.headers.get(self._header)
            if given is not None and VISIBLE.fullmatch(given):
                # Read first, and so settled: clients may use one id twice, and the ledger has a row for each request.
                exchange.notes["request_id"] = exchange.row_id
                exchange.id = given
        if self._header != "x-request-id":
            exchange.headers[self._header] = exchange.id
        return call_next(exchange)
