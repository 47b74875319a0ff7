"""The admin listener over a gateway that runs, asked as a script, as htmx and as a browser ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from yarl import URL

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.ledger.ledger import Ledger
from gateway.plugin import Clock
from gateway.runtime.clock import SystemClock
from gateway.testing import RunningGateway, running_gateway


class Opened:
    """`gateway` runs; `url` is its admin listener."""

    def __init__(self, gateway: RunningGateway, url: str) -> None:
        self.gateway, self.url = gateway, url

    @property
    def ledger(self) -> Ledger:
        ledger = self.gateway.core.snapshot.ledger
        assert ledger is not None
        return ledger

    async def ask(self, path: str, method: str = "GET", json: Any = None) -> tuple[int, Any]:
        """Return the status and JSON of an answer."""
        sent = {} if method == "GET" else {"json": {} if json is None else json}
        # encoded: what stands in the path is sent as it is.
        async with self.gateway.session.request(method, URL(self.url + path, encoded=True), **sent) as answer:
            assert answer.headers["cache-control"] == "no-store"
            return answer.status, await answer.json()

    async def text(self, path: str, form: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Return the status and text of a page, or of what a form that htmx sends is answered with."""
        headers = {"accept": "text/html"} if form is None else {"hx-request": "true"}
        async with self.gateway.session.request(
            "GET" if form is None else "POST", URL(self.url + path, encoded=True), data=form, headers=headers
        ) as answer:
            assert answer.headers["cache-control"] == "no-store"
            return answer.status, await answer.text()

    async def chat(self, key: str | None = None, **more: Any) -> int:
        """Send a chat request to the data listener and return its status once its row is safe."""
        body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], **more}
        headers = {"x-api-key": key} if key else {}
        status = (await self.gateway.post("/v1/chat/completions", body, headers=headers)).status
        await self.gateway.settled()
        if self.gateway.core.snapshot.ledger is not None:
            await self.ledger.flush()
        return status


@asynccontextmanager
async def opened(config: str, *, clock: Clock | None = None, **more: Any) -> AsyncIterator[Opened]:
    """Run a gateway with `config` and its admin listener until the block ends."""
    clock = clock or SystemClock()
    async with running_gateway(config, clock=clock, **more) as gateway:
        source = gateway.reloader._source
        runner = web.AppRunner(application(Desk(gateway.core, gateway.reloader, source, clock, gateway.url)))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield Opened(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()
