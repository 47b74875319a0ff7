"""A gateway as an operator starts it: a process, a ready line, a signal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.imports import ROOT

READY = re.compile(r"^ready: (\S+) \(admin (.+)\)$")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 50.0


class Serving:
    """A gateway that runs. `url` is its data listener, `admin` its admin listener, "" when it has none; `lines` all that
    it has written to stderr so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = self.admin = ""
        self.lines: list[str] = []
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(line)
            if found := READY.match(line):
                self.url, self.admin = found[1], "" if found[2] == "off" else found[2]
                self._ready.set()
        self._ready.set()  # it ended: whoever waits finds no url

    async def wait_ready(self) -> None:
        await asyncio.wait_for(self._ready.wait(), START_TIMEOUT_S)
        assert self.url, "the gateway did not start:\n" + "\n".join(self.lines)

    async def stop(self, by: signal.Signals = signal.SIGINT) -> int:
        """Send the signal and return the exit code. SIGINT skips the lame duck, which only a balancer needs."""
        if self.process.returncode is None:
            self.process.send_signal(by)
        code = await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        await self._reader
        return code

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._reader


@asynccontextmanager
async def serving(
    home: Path,
    *,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = (sys.executable, "-m", "gateway"),
    cwd: Path = ROOT,
    admin: str = "off",
) -> AsyncIterator[Serving]:
    """Serve `home` on a free port of loopback; on the way out it must end cleanly."""
    process = await asyncio.create_subprocess_exec(
        *command, "serve", str(home), "--listen", "127.0.0.1:0", "--admin", admin, "--no-watch",
        cwd=cwd, env={**os.environ, **(environ or {})},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Serving(process)
    try:
        await running.wait_ready()
        yield running
        code = await running.stop()
        assert code == 0, f"exit {code}:\n" + "\n".join(running.lines)
    finally:
        await running.kill()


async def run(*command: str, environ: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Run a program to its end and return what it printed. Fails with all it said when it did not end with 0."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **(environ or {})},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, f"{command}: exit {process.returncode}\n{out.decode()}\n{err.decode()}"
    return out.decode()
