"""Tools of MCP servers: the `mcp` package's own server on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ImageContent, TextContent

from gateway.testing import RunningGateway
from tests.tools.kit import Model, Turn, call, chat, executed, offered, results, running

SECRET = "mcp-secret-98765"


def demo(seen: list[str] | None = None, hold: asyncio.Event | None = None) -> MCPServer[Any]:
    """Return a server with tools of every kind."""
    server: MCPServer[Any] = MCPServer("demo", log_level="CRITICAL")

    @server.tool()
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @server.tool(name="odd.name/x")
    def odd() -> dict[str, Any]:
        """Answer with a structure."""
        return {"a": [1, None]}

    @server.tool()
    def broken(why: str) -> str:
        """Fail."""
        raise ToolError(why)

    @server.tool(structured_output=False)
    def pictures() -> list[Any]:
        """Draw."""
        return [TextContent(type="text", text="see:"), ImageContent(type="image", data="AAAA", mime_type="image/png")]

    @server.tool()
    def big(bytes: int) -> str:
        """Answer much."""
        return "x" * bytes

    @server.tool()
    def headers(context: Context[Any, Any]) -> str:
        """Tell what was sent."""
        request: Any = context.request_context.request
        return str(request.headers.get("authorization"))

    @server.tool()
    async def slow() -> str:
        """Wait."""
        if seen is not None:
            seen.append("begun")
        try:
            await (hold or asyncio.Event()).wait()
        except asyncio.CancelledError:
            if seen is not None:
                seen.append("cancelled")
            raise
        return "late"

    @server.tool()
    async def grow(context: Context[Any, Any]) -> str:
        """Add a tool."""

        def grown(text: str) -> str:
            """Double it."""
            return text * 2

        server.add_tool(grown)
        await context.session.send_tool_list_changed()
        return "grown"

    return server


def free() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def url_of(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"


@asynccontextmanager
async def serving(server: MCPServer[Any], sock: socket.socket, **how: Any) -> AsyncIterator[str]:
    """Serve `server` until the block ends; its sessions end with it."""
    config = uvicorn.Config(server.streamable_http_app(**how), log_config=None, timeout_graceful_shutdown=0)
    running_server = uvicorn.Server(config)
    task = asyncio.create_task(running_server.serve([sock]))
    while not running_server.started:
        await asyncio.sleep(0.005)
    try:
        yield url_of(sock)
    finally:
        running_server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task


def options(url: str, more: str = "", top: str = "") -> str:
    return f'{{{top} tools: [{{mcp: "{url}"{more}}}]}}'


async def names(gateway: RunningGateway) -> list[str]:
    return [tool["name"] for tool in (await gateway.get("/v1/tools")).json()["tools"]]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that another process's message brings about."""
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "how", [{}, {"json_response": True}, {"stateless_http": True}], ids=["sse", "json", "no session"]
)
async def test_every_tool_of_a_server_is_offered_and_runs(how: dict[str, Any]) -> None:
    model = Model(Turn("", [call("add", a=2, b=3), call("odd_name_x")]), Turn("five"))
    async with serving(demo(), free(), **how) as url, running(model, options(url)) as (gateway, upstream):
        assert (await chat(gateway))["choices"][0]["message"]["content"] == "five"
        assert offered(upstream.requests[0]) == [
            "add", "odd_name_x", "broken", "pictures", "big", "headers", "slow", "grow"
        ]  # fmt: skip
        five, structure = results(upstream.requests[1])
        assert five == "5"
        assert json.loads(structure) == {"a": [1, None]}
        shown = (await gateway.get("/v1/tools/add")).json()
        assert shown["description"] == "Add two numbers."
        assert shown["parameters"]["required"] == ["a"]


async def test_results_by_hand_are_the_structure_the_text_or_the_error() -> None:
    async with serving(demo(), free()) as url, running(options=options(url)) as (gateway, _):
        assert (await executed(gateway, "add", a=2))["result"] == {"result": 3}
        assert (await executed(gateway, "pictures"))["result"].startswith("see:\n[image, image/png: left out")
        failed = await executed(gateway, "broken", why="no luck")
        assert not failed["success"]
        assert "no luck" in failed["error"]
        refused = await gateway.post("/v1/tools/execute", {"name": "add", "arguments": {"a": "x"}})
        assert refused.status == 400


async def test_prefix_and_only_choose_and_rename() -> None:
    async with serving(demo(), free()) as url:
        more = ", prefix: demo_, only: [add, broken, missing]"
        async with running(options=options(url, more)) as (gateway, _):
            assert await names(gateway) == ["demo_add", "demo_broken"]
            assert (await executed(gateway, "demo_add", a=1))["success"]
            [warning] = gateway.events("mcp_tool_missing")
            assert warning["tools"] == ["missing"]


async def test_a_configured_tool_goes_before_a_servers_of_the_same_name() -> None:
    async with serving(demo(), free()) as url:
        tools = f'{{tools: [{{mcp: "{url}", only: [add, big]}}, {{python: "tools.py:add"}}]}}'
        async with running(options=tools) as (gateway, _):
            assert await names(gateway) == ["big", "add"]
            assert (await executed(gateway, "add", a=1))["result"] == 2
            assert [line["tool"] for line in gateway.events("mcp_tool_hidden")] == ["add"]


async def test_headers_go_out_and_are_read_nowhere() -> None:
    async with serving(demo(), free()) as url:
        more = f', headers: {{authorization: "Bearer {SECRET}"}}'
        async with running(options=options(url, more)) as (gateway, _):
            assert (await executed(gateway, "headers"))["result"] == {"result": "***"}
            assert SECRET not in json.dumps(gateway.log)
            assert SECRET not in (await gateway.get("/v1/tools")).body.decode()


async def test_a_result_over_the_cap_is_an_error() -> None:
    for how in ({}, {"json_response": True}):
        async with serving(demo(), free(), **how) as url:
            async with running(options=options(url, ", max_bytes: 4KiB")) as (gateway, _):
                assert (await executed(gateway, "big", bytes=100))["success"]
                failed = await executed(gateway, "big", bytes=9000)
                assert failed["error"] == "its result is over 4096 bytes, the most that is taken"


async def test_a_call_that_times_out_is_cancelled_at_the_server() -> None:
    seen: list[str] = []
    async with serving(demo(seen), free()) as url, running(options=options(url, ", timeout: 100ms")) as (gateway, _):
        assert (await executed(gateway, "slow"))["error"] == "it did not answer within 0.1 s"

        async def was_cancelled() -> bool:
            return "cancelled" in seen

        await until(was_cancelled)


async def test_a_tool_added_later_is_offered_once_the_server_says_so() -> None:
    async with serving(demo(), free()) as url, running(options=options(url)) as (gateway, _):
        assert "grown" not in await names(gateway)

        async def is_grown() -> bool:
            # Told on a stream that is opened beside the rest, so a word may come before there is one.
            await executed(gateway, "grow")
            return "grown" in await names(gateway)

        await until(is_grown)
        assert (await executed(gateway, "grown", text="ab"))["result"] == {"result": "abab"}


async def test_a_server_that_is_down_at_the_start_is_warned_of_and_found_later() -> None:
    sock = free()
    port = sock.getsockname()[1]
    sock.close()
    top = "refresh: 50ms,"
    async with running(options=options(f"http://127.0.0.1:{port}/mcp", top=top)) as (gateway, upstream):
        assert await names(gateway) == []
        [warning] = gateway.events("mcp_server_lost")
        assert warning["level"] == "warning"
        assert (await chat(gateway))["choices"][0]["message"]["content"] == "hello"
        assert offered(upstream.requests[0]) == []
        async with serving(demo(), socket.create_server(("127.0.0.1", port))):

            async def is_back() -> bool:
                return "add" in await names(gateway)

            await until(is_back)
            assert (await executed(gateway, "add", a=1))["success"]
            assert len(gateway.events("mcp_server_back")) == 1


async def test_a_session_that_the_server_has_forgotten_is_begun_again() -> None:
    sock = free()
    port = sock.getsockname()[1]
    server = serving(demo(), sock)
    await server.__aenter__()
    async with running(options=options(url_of(sock), top="refresh: 1h,")) as (gateway, _):
        assert (await executed(gateway, "add", a=1))["success"]
        await server.__aexit__(None, None, None)
        failed = await executed(gateway, "add", a=1)
        assert failed["error"].startswith("its server could not be reached")
        async with serving(demo(), socket.create_server(("127.0.0.1", port))):
            assert (await executed(gateway, "add", a=1))["result"] == {"result": 2}
