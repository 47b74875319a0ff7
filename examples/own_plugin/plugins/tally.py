"""Count what each model used, show it on a page, and send users of retired models to their successors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from gateway.plugin import BadRequest, Exchange, Plugin, Reply, web


class Tally(Plugin):
    """Options:

    path: where the page is, on the data listener; default /tally.
    retired: model → successor; a request for a retired one is refused with the successor's name. Default none.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "path": {"type": "string", "pattern": "^/", "default": "/tally"},
            "retired": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
        },
    }

    async def start(self) -> None:
        # Counts live outside the snapshot: a reload makes a new Tally, which goes on counting in the same place.
        self.tokens: Counter[str] = self.services.lasting("tokens", Counter)

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        model = exchange.request.model
        if model in self.options["retired"]:
            raise BadRequest(f'model "{model}" is retired; use "{self.options["retired"][model]}"', param="model")
        return await call_next(exchange)

    async def finish(self, exchange: Exchange) -> None:
        if exchange.usage is not None:
            self.tokens[exchange.request.model] += exchange.usage.completion_tokens

    def http_routes(self) -> Sequence[web.AbstractRouteDef]:
        async def page(request: web.Request) -> web.Response:
            return web.json_response(dict(self.tokens))

        return [web.get(self.options["path"], page)]
