"""Tools that the gateway runs for the model: web services, Python functions, MCP servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.plugin import ConfigError, Exchange, Plugin, Reply, Services, answer_events, web

from .arguments import problem_of
from .http import HttpTool
from .loop import Limits, Loop
from .offer import offer
from .options import SCHEMA
from .paths import Paths
from .python import Files, PythonTool
from .registry import Tool
from .server import Server

LONG_BYTES = 32 * 1024
"""A body longer than this is parsed in a thread."""
_KINDS = ("http", "python", "mcp")
_ONLY_FOR = {"headers": "mcp", "prefix": "mcp", "only": "mcp"}


class Tools(Plugin):
    """Options:

    tools: each `name, description, parameters` with `http: {method, url, headers, timeout}` or `python:
    file.py:function`, or `mcp: URL` with `headers, prefix, only` for all tools of a server; and for each of them
    `timeout`, `max_bytes`, `context` (keys of the session's context merged into the arguments).
    max_rounds: how often one request may have tools run (5). max_calls: calls in one round (16). max_parallel: at the
    same time (8). timeout: of a call (30s). max_bytes: of a result (256KiB). refresh: how often MCP servers are asked
    what they have (5m).

    The tools are offered to the model with every chat request of the plugin's routes, beside the client's own; calls to
    them are run here. Paths: GET /v1/tools, GET /v1/tools/{name}, POST /v1/tools/execute.
    """

    options_schema = SCHEMA

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._limits = Limits(options["max_rounds"], options["max_calls"], options["max_parallel"])
        for limit in ("timeout", "refresh"):
            _refuse_zero(limit, options[limit])
        self._modules = Files(services.home)
        self._servers: list[Server] = []
        self._own: dict[str, Tool] = {}
        self._entries: list[Tool | Server] = []
        for number, entry in enumerate(options["tools"]):
            try:
                self._add(entry)
            except ConfigError as error:
                if not error.line:
                    error.problem = f"tools[{number}]: {error.problem}"
                raise
        self.files = self._modules.paths
        self._told: set[str] = set()

    async def start(self) -> None:
        """Ask every MCP server what it has. One that does not answer refuses nothing."""
        await asyncio.gather(*(server.start() for server in self._servers))

    async def close(self) -> None:
        """Leave the MCP servers."""
        await asyncio.gather(*(server.close() for server in self._servers))
        self._modules.close()

    def http_routes(self) -> Sequence[web.AbstractRouteDef]:
        """List, show and execute."""
        return Paths(self._tools, self.services.log).routes()

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Offer the tools, and run what the model asks for. A child exchange, what the client tied to tools of its own,
        and a model that another plugin answers (a route without targets: a workflow), go on as they are."""
        endpoint, route = exchange.request.endpoint, exchange.route
        if route is None or not route.targets or exchange.parent_id is not None:
            return await call_next(exchange)
        if endpoint is None or not endpoint.is_chat:
            return await call_next(exchange)
        tools = self._tools()
        if not tools:
            return await call_next(exchange)
        if len(exchange.request.body) > LONG_BYTES:
            await asyncio.to_thread(lambda: exchange.chat)
        offered = offer(exchange, tools)
        if offered is None:
            return await call_next(exchange)
        loop = Loop(exchange, call_next, self.services, offered, self._limits)
        if not exchange.request.stream:
            return await loop.whole()
        return await answer_events(exchange, loop.events(), self.services.clock.time())

    # --- registry ----------------------------------------------------------------------------------

    def _tools(self) -> Mapping[str, Tool]:
        """Return the tools by name, in the file's order; of two of one name the configured one, then the first."""
        if not self._servers:
            return self._own
        found: dict[str, Tool] = {}
        for entry in self._entries:
            for tool in (entry,) if isinstance(entry, Tool) else entry.tools:
                if tool.name in found or (tool.name in self._own and tool is not self._own[tool.name]):
                    self._tell_twice(tool.name)
                else:
                    found[tool.name] = tool
        return found

    def _tell_twice(self, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self.services.log.warning("mcp_tool_hidden", tool=name, cure="give the server a prefix of its own")

    def _add(self, entry: Mapping[str, Any]) -> None:
        kinds = [kind for kind in _KINDS if kind in entry]
        if len(kinds) != 1:
            problem = f"a tool has one of http, python and mcp, this one {' and '.join(kinds) or 'none'}"
            raise ConfigError(problem, cure="name what runs it")
        kind = kinds[0]
        # A default is no wish: only what was written can be in the wrong place.
        for option, owner in _ONLY_FOR.items():
            if owner != kind and entry.get(option):
                raise ConfigError(f'"{option}" says nothing of a tool by {kind}', cure=f"it belongs to {owner}")
        for option in ("name", "description", "parameters"):
            if kind == "mcp" and option in entry:
                cure = "remove it; prefix and only choose among them"
                raise ConfigError(f'an MCP server says the "{option}" of its tools itself', cure=cure)
        settled = {
            **entry,
            "timeout": entry.get("timeout", self.options["timeout"]),
            "max_bytes": entry.get("max_bytes", self.options["max_bytes"]),
            "context": entry.get("context", ()),
        }
        _refuse_zero("timeout", settled["timeout"])
        if not settled["max_bytes"]:
            raise ConfigError("max_bytes is 0, which takes no result", cure="write for example 64KiB")
        if kind == "mcp":
            server = Server(settled, self.services.http, self.options["refresh"], self.services.log)
            self._servers.append(server)
            self._entries.append(server)
            return
        tool = self._http(settled) if kind == "http" else self._python(settled)
        if tool.name in self._own:
            raise ConfigError(f'there are two tools "{tool.name}"', cure="give one of them another name")
        self._own[tool.name] = tool
        self._entries.append(tool)

    def _http(self, entry: Mapping[str, Any]) -> Tool:
        if "name" not in entry:
            raise ConfigError("a tool by http has no name of its own", cure="add name:")
        timeout_s = entry["http"].get("timeout", entry["timeout"])
        _refuse_zero("timeout", timeout_s)
        runner = HttpTool(entry["http"], self.services.http, entry["max_bytes"])
        parameters = _checked(entry.get("parameters", {"type": "object"}))
        context = tuple(entry["context"])
        return Tool(entry["name"], entry.get("description", ""), parameters, runner.run, timeout_s, context)

    def _python(self, entry: Mapping[str, Any]) -> Tool:
        context = tuple(entry["context"])
        runner = PythonTool(self._modules.find(entry["python"]), entry["max_bytes"], self.services.log, context)
        name, described = entry.get("name", runner.name), entry.get("description", runner.description)
        parameters = _checked(entry.get("parameters", runner.parameters))
        return Tool(name, described, parameters, runner.run, entry["timeout"], context)


def _checked(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    problem = problem_of(parameters)
    if problem is not None:
        raise ConfigError(f"parameters: {problem}", cure="write the JSON Schema of an object")
    return parameters


def _refuse_zero(name: str, seconds: float) -> None:
    if not seconds:
        raise ConfigError(f"{name} is 0, which lets nothing end well", cure="write for example 30s")
