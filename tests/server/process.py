"""A gateway process with any arguments, on free ports."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.imports import ROOT
from tests.serving import Serving


class Process(Serving):
    """A serving process. `admin` is its admin listener, "" when it has none."""

    session: aiohttp.ClientSession

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def log_line(self, event: str, count: int = 1) -> str:
        """Return the `count`-th log line of that event, waiting until it is written."""
        async with asyncio.timeout(20):
            while True:
                found = [line for line in self.lines if f'"event":"{event}"' in line]
                if len(found) >= count:
                    return found[count - 1]
                await asyncio.sleep(0.005)

    async def get(self, path: str, base: str | None = None, **options: Any) -> tuple[int, Any]:
        async with self.session.get((base or self.url) + path, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, body: Any, base: str | None = None, **options: Any) -> tuple[int, Any]:
        async with self.session.post((base or self.url) + path, json=body, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def ended(self) -> int:
        code = await asyncio.wait_for(self.process.wait(), 30)
        await self._reader
        return code


@asynccontextmanager
async def process(
    home: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    ready: bool = True,
) -> AsyncIterator[Process]:
    """Run `gateway serve HOME ARGUMENTS…`, by default on free ports without watching; kill it on the way out."""
    given = " ".join(arguments)
    listen = [] if "--listen" in given else ["--listen", "127.0.0.1:0"]
    admin = [] if "--admin" in given else ["--admin", "127.0.0.1:0"]
    watch = [] if "watch" in given else ["--no-watch"]
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", str(home), *listen, *admin, *watch, *arguments,
        cwd=ROOT, env={**os.environ, **(environ or {})}, preexec_fn=prepare,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Process(started)
    try:
        async with aiohttp.ClientSession() as running.session:
            if ready:
                await running.wait_ready()
            yield running
    finally:
        await running.kill()
