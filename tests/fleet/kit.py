"""Several gateway processes over one state, and clients that ask them all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.server.process import Process, process

WITHIN_S = 30.0


@dataclass
class Said:
    """What a client got: the status (0: it left, or the gateway did), the body's text, headers."""

    status: int
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether nothing says that the answer failed or was cut."""
        return self.status == 200 and '"error"' not in self.text


class Fleet:
    """Gateways that share a home. `ask` goes to each in turn, over connections that are kept."""

    def __init__(self, gateways: list[Process], session: aiohttp.ClientSession) -> None:
        self.gateways, self.session = gateways, session
        self._turns = itertools.count()

    def next(self) -> Process:
        """Return the one whose turn it is."""
        return self.gateways[next(self._turns) % len(self.gateways)]

    async def ask(
        self,
        model: str,
        words: str = "hello",
        *,
        at: Process | None = None,
        key: str = "",
        headers: dict[str, str] | None = None,
        leave: bool = False,
        **fields: Any,
    ) -> Said:
        """Send one request; with `leave` the client goes after the first bytes of the answer."""
        sent = {"model": model, "messages": [{"role": "user", "content": words}], **fields}
        given = {**(headers or {}), **({"authorization": f"Bearer {key}"} if key else {})}
        url = (at or self.next()).url + "/v1/chat/completions"
        try:
            async with self.session.post(url, json=sent, headers=given) as answer:
                if leave:
                    await answer.content.readany()
                    answer.close()
                    return Said(0)
                text = await answer.text()
                return Said(answer.status, text, {name.lower(): value for name, value in answer.headers.items()})
        except aiohttp.ClientError as error:
            return Said(0, repr(error))


@asynccontextmanager
async def fleet(home: Path, count: int, *arguments: str, environ: dict[str, str] | None = None) -> AsyncIterator[Fleet]:
    """Start `count` gateways of one home, together."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        running = await asyncio.gather(
            *(
                stack.enter_async_context(process(home, "--admin", "off", *arguments, environ=environ, ready=False))
                for _ in range(count)
            )
        )
        for each in running:
            await each.wait_ready()
        yield Fleet(running, session)


async def together(asking: Iterable[Awaitable[Said]], at_once: int = 64) -> list[Said]:
    """Return all answers, with at most so many under way at the same time."""
    places = asyncio.Semaphore(at_once)

    async def one(each: Awaitable[Said]) -> Said:
        async with places:
            return await each

    return await asyncio.gather(*(one(each) for each in asking))


async def until(check: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> None:
    """Return as soon as `check` holds; fails when it does not come."""
    async with asyncio.timeout(within_s):
        while not await check():
            await asyncio.sleep(0.01)


def write_home(folder: Path, text: str, prices: str = "") -> Path:
    (folder / "gateway.yaml").write_text(text)
    if prices:
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / "prices.yaml").write_text(prices)
    return folder
