"""The tools of an MCP server: listed, kept up to date, called."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import ClientSession

from gateway.plugin import Log

from .addresses import OF_MCP, called
from .arguments import problem_of
from .mcp import Connection, SessionGone
from .registry import Result, Tool, ToolFailed, cleaned, of_text

START_S: Final = 5.0
"""How long a start, and so a reload, waits for a server to say what it has."""
LIST_S: Final = 30.0
LARGEST_LIST_BYTES: Final = 4 * 1024 * 1024
MOST_PAGES: Final = 100
MOST_TOOLS: Final = 1000
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
DEAF_S: Final = 5.0
"""How long a server that ends the stream of what it says unasked is left alone."""
_ODD: Final = re.compile("[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 64


class Server:
    """One MCP server. `tools` are those it had when last asked; while it cannot be reached they stay, and fail."""

    def __init__(
        self, options: Mapping[str, Any], http: Callable[[], ClientSession], refresh_s: float, log: Log
    ) -> None:
        self._options, self._refresh_s, self._log = options, refresh_s, log
        url, headers = called(options["mcp"], options["headers"], OF_MCP)
        self._shown = f"{url.scheme}://{url.host}:{url.port}"  # a path or a query may hold a secret
        self._connection = Connection(str(url), headers, http, self._look_again)
        self._opening = asyncio.Lock()
        self._again = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._is_lost = self._is_deaf = False
        self.tools: tuple[Tool, ...] = ()

    async def start(self) -> None:
        """Ask what it has, and keep asking. One that is down is told at WARNING, and tried again."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping = asyncio.create_task(self._keep(first))
        await asyncio.wait([first], timeout=START_S)

    async def close(self) -> None:
        """End the session."""
        tasks = [task for task in (self._keeping, self._listening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connection.close()

    async def call(self, name: str, arguments: dict[str, Any]) -> Result:
        """Return what a tool answers; a session that the server has forgotten is begun again, once.

        Raises: ToolFailed.
        """
        asked = {"name": name, "arguments": arguments}
        try:
            await self._open()
            said = await self._connection.ask("tools/call", asked, self._options["max_bytes"])
        except SessionGone:
            self._look_again()  # it was started anew, perhaps with other tools
            try:
                await self._open()
                said = await self._connection.ask("tools/call", asked, self._options["max_bytes"])
            except SessionGone:
                raise ToolFailed("its server forgets every session") from None
        return result_of(said)

    async def _open(self) -> None:
        if not self._connection.is_open:
            async with self._opening:
                if not self._connection.is_open:
                    await self._connection.open(LARGEST_LIST_BYTES)

    def _look_again(self) -> None:
        self._again.set()

    async def _keep(self, first: asyncio.Future[None]) -> None:
        """List the tools now, whenever the server says that they changed, and at the latest every `refresh`."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._again.clear()
            try:
                async with asyncio.timeout(LIST_S):
                    await self._list()
                if self._is_lost:
                    self._log.info("mcp_server_back", server=self._shown, tools=len(self.tools))
                self._is_lost, pause_s, wait_s = False, FIRST_PAUSE_S, self._refresh_s
                if self._listening is None or (self._listening.done() and not self._is_deaf):
                    self._listening = asyncio.create_task(self._listen())
            except Exception as error:  # whatever a server sends, it must not end the looking after it
                if not self._is_lost:
                    reason = str(error) or type(error).__name__
                    self._log.warning("mcp_server_lost", server=self._shown, error=reason, tools=len(self.tools))
                self._is_lost, wait_s = True, min(pause_s, self._refresh_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            if not first.done():
                first.set_result(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._again.wait()

    async def _listen(self) -> None:
        """Hear what the server says unasked until that ends; then the tools are listed, and it is heard, again."""
        try:
            self._is_deaf = not await self._connection.listen()
        except ToolFailed:
            self._is_deaf = False
        if not self._is_deaf:
            await asyncio.sleep(DEAF_S)
            self._again.set()

    async def _list(self) -> None:
        await self._open()
        found: list[Mapping[str, Any]] = []
        cursor: Any = None
        for _ in range(MOST_PAGES):
            params = {} if cursor is None else {"cursor": cursor}
            page = await self._connection.ask("tools/list", params, LARGEST_LIST_BYTES)
            listed = page.get("tools")
            found += [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
            cursor = page.get("nextCursor")
            if cursor is None or len(found) > MOST_TOOLS:
                break
        tools = (self._tool(one) for one in found[:MOST_TOOLS])
        self.tools = tuple(tool for tool in tools if tool is not None)
        only = self._options.get("only")
        lost = sorted(set(only or ()) - {str(one.get("name")) for one in found})
        if lost:
            self._log.warning("mcp_tool_missing", server=self._shown, tools=lost)

    def _tool(self, said: Mapping[str, Any]) -> Tool | None:
        """Return a tool as the server describes it, None for one that is not wanted or cannot be offered."""
        name, parameters = said.get("name"), said.get("inputSchema", {"type": "object"})
        only = self._options.get("only")
        if not isinstance(name, str) or not name or (only is not None and name not in only):
            return None
        shown = self._options["prefix"] + _ODD.sub("_", name)
        problem = "its schema is no object" if not isinstance(parameters, dict) else problem_of(parameters)
        if len(shown) > _LONGEST_NAME:
            problem = f"its name is over {_LONGEST_NAME} characters"
        if problem is not None:
            self._log.warning("mcp_tool_left_out", server=self._shown, tool=name[:80], problem=problem)
            return None

        async def run(arguments: dict[str, Any], _: str) -> Result:
            return await self.call(name, arguments)

        return Tool(
            name=shown,
            description=str(said.get("description") or said.get("title") or ""),
            parameters=parameters,
            run=run,
            timeout_s=self._options["timeout"],
            context=tuple(self._options["context"]),
        )


def result_of(said: Mapping[str, Any]) -> Result:
    """Return the result of a call: its texts, or its structure where it has no text. Raises: ToolFailed."""
    content, structure = said.get("content"), said.get("structuredContent")
    blocks = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    text = "\n".join(_words(block) for block in blocks)
    if said.get("isError"):
        raise ToolFailed(cleaned(text) or "it failed and did not say why")
    if structure is None:
        return of_text(text)
    value = msgspec.Raw(msgspec.json.encode(structure))
    return Result(text or bytes(value).decode(), value)


def _words(block: Mapping[str, Any]) -> str:
    """Return a block's text; of what has none, what it is."""
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text", ""))
    resource = block.get("resource")
    if kind == "resource" and isinstance(resource, dict) and isinstance(resource.get("text"), str):
        return str(resource["text"])
    if kind == "resource_link":
        return cleaned(f"[{block.get('name', '')}]({block.get('uri', '')})")
    return cleaned(f"[{kind}, {block.get('mimeType', 'of no stated type')}: left out, a tool's result is text here]")
