"""GET /v1/tools, GET /v1/tools/{name}, POST /v1/tools/execute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.plugin import EXCHANGE, BadRequest, Exchange, Log, MethodNotAllowed, NotFound, web

from .arguments import BadArguments, read
from .calls import call
from .registry import Tool

_FIELDS = frozenset({"name", "arguments", "session_id"})


class Paths:
    """What is served of the registry. `tools` returns the tools as they are now, by name."""

    def __init__(self, tools: Callable[[], Mapping[str, Tool]], log: Log) -> None:
        self._tools, self._log = tools, log

    def routes(self) -> list[web.RouteDef]:
        """Return the paths."""
        return [
            web.get("/v1/tools", self._list),
            web.post("/v1/tools/execute", self._execute),
            web.get("/v1/tools/{name}", self._show),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        return _json({"tools": [tool.shown() for tool in self._tools().values()]})

    async def _show(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "execute" and name not in self._tools():
            raise MethodNotAllowed("a call is made with POST", headers={"allow": "POST"})
        return _json(self._find(name).shown())

    async def _execute(self, request: web.Request) -> web.Response:
        exchange = request[EXCHANGE]
        try:
            given = read((await request.read()).decode("utf-8"), is_exact=True)
        except (BadArguments, UnicodeDecodeError):
            raise BadRequest("the body must be a JSON object with name and arguments, each member once") from None
        unknown = sorted(given.keys() - _FIELDS)
        if unknown:
            cure = "a call takes name, arguments and session_id"
            raise BadRequest(f'unknown field "{unknown[0][:80]}"; {cure}', param=unknown[0][:80])
        name, arguments, session_id = given.get("name"), given.get("arguments", {}), given.get("session_id")
        if not isinstance(name, str):
            raise BadRequest("`name` must be the name of a tool", param="name")
        if not isinstance(arguments, dict):
            raise BadRequest("`arguments` must be an object", param="arguments")
        if session_id is not None and not isinstance(session_id, str):
            raise BadRequest("session_id must be a string", param="session_id")
        tool = self._find(name)
        exchange.admitted = True  # a call is worth a row of the ledger, as a request to a model is
        context = await _context(exchange, session_id)
        called = await call(exchange, tool, arguments, context, self._log)
        if called.outcome == "refused":
            raise BadRequest(f'the arguments do not fit "{tool.name}": {called.error}', param="arguments")
        value = None if called.result is None else called.result.value
        error = None if called.result is not None else called.error
        return _json({"name": tool.name, "result": value, "success": error is None, "error": error})

    def _find(self, name: str) -> Tool:
        tool = self._tools().get(name)
        if tool is None:
            raise NotFound("no such tool; GET /v1/tools lists those there are", param="name")
        return tool


async def _context(exchange: Exchange, session_id: str | None) -> Mapping[str, Any]:
    """Return the context of the session that the caller named, in the body or the header. Raises: NotFound."""
    find: Callable[[str | None], Awaitable[Mapping[str, Any]]] | None = exchange.notes.get("session_context")
    if find is not None:
        return await find(session_id)
    if session_id is not None:
        raise NotFound("there are no sessions here: the session plugin is in no chain", param="session_id")
    return {}


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
