"""The dashboard of a gateway that runs, over real sockets: its JSON, its pages, and what its buttons send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.runtime.clock import SystemClock
from gateway.testing import RunningGateway, running_gateway


class Dashboard:
    """`url` is the admin listener of `gateway`."""

    def __init__(self, gateway: RunningGateway, url: str, session: aiohttp.ClientSession) -> None:
        self.gateway, self.url, self.session = gateway, url, session

    async def get(self, path: str) -> Any:
        """Return what a JSON path tells."""
        status, body = await self.ask("GET", path)
        assert status == 200, body
        return body

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and JSON of a program's request."""
        async with self.session.request(method, self.url + path, json=body if method == "POST" else None) as answer:
            return answer.status, await answer.json()

    async def page(self, path: str) -> str:
        """Return a page."""
        async with self.session.get(self.url + path, headers={"accept": "text/html"}) as answer:
            assert answer.status == 200, await answer.text()
            assert (
                answer.content_type == "text/html" and "script-src 'self'" in answer.headers["content-security-policy"]
            )
            return await answer.text()

    async def press(self, path: str, fields: Mapping[str, str] | None = None) -> tuple[aiohttp.ClientResponse, str]:
        """Return what a button of a page gets."""
        async with self.session.post(self.url + path, data=fields or {}, headers={"hx-request": "true"}) as answer:
            return answer, await answer.text()


@asynccontextmanager
async def dashboard(config: str, **options: Any) -> AsyncIterator[Dashboard]:
    """Run a gateway and its dashboard until the block ends; `options` are those of `running_gateway`."""
    async with running_gateway(config, **options) as gateway:
        desk = Desk(gateway.core, gateway.reloader, gateway.reloader._source, SystemClock(), gateway.url)
        runner = web.AppRunner(application(desk), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                yield Dashboard(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}", session)
        finally:
            await runner.cleanup()
