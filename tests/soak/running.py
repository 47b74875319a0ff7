"""Processes under test: gateways as operators start them, and the upstream behind them. Each ends with its block."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.clocks import cpu_ns
from tests.imports import ROOT
from tests.serving import READY
from tests.soak.client import Answer, Line, get, request
from tests.soak.row import SoakError

START_S = 30.0
STOP_S = 30.0
COMPLAINT = re.compile(r'"level":"critical"|Traceback|never awaited|never retrieved|"code":"internal_error"')
FROM_OUTSIDE = ("GATEWAY_", "LOG_", "OPENAI_", "ANTHROPIC_", "OLLAMA_")
PROBE = '''\
"""Says what only the process itself can know: how late its loop's timers are, and how many tasks live."""
import asyncio
import time

from aiohttp import web

from gateway.plugin import Plugin

EVERY_S = 0.005


class Probe(Plugin):
    async def start(self):
        self.late = []
        self.ticking = asyncio.create_task(self.tick())

    async def close(self):
        self.ticking.cancel()

    async def tick(self):
        while True:
            due = time.monotonic() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.late.append(time.monotonic() - due)

    def http_routes(self):
        return [web.get("/soak/probe", self.show)]

    async def show(self, request):
        late, self.late = self.late, []
        return web.json_response({"tasks": len(asyncio.all_tasks()), "late_s": late})
'''


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the machine's environment without what would change a gateway's behaviour."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith(FROM_OUTSIDE) or name.endswith("_API_KEY") or name.lower().endswith("_proxy"))
    }
    return {**kept, "LOG_LEVEL": "warning", **(extra or {})}


def home(port: int, *, server: str = "{}", plugins: str = "", routes: str = "", providers: str = "") -> str:
    """Return a gateway.yaml whose route `all` takes everything to the upstream at `port`, in OpenAI's dialect."""
    names = ", ".join(["request_id", "access_log", "security_headers", "timeouts", *([plugins] if plugins else [])])
    return f"""\
version: 1
server: {server}
plugins: [{names}]
providers:
  up: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", api_key: key-of-the-gateway}}
{providers}
routes:
{routes}
  - {{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}
"""


class Gateway:
    """A gateway process. `port` is its data listener's, `admin_port` its admin's (0: none)."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, log: Path) -> None:
        self.process, self.folder, self.log = process, folder, log
        self.port = self.admin_port = 0
        self.start_s = self.start_cpu_s = 0.0
        self.killed = False
        self.kept = b""
        """Its whole log, once it has ended."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def write(self, text: str) -> None:
        """Replace gateway.yaml, as editors do: written beside, then moved over."""
        beside = self.folder / "gateway.new"
        beside.write_text(text)
        beside.replace(self.folder / "gateway.yaml")

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.killed = True
        self.process.kill()
        await self.process.wait()

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    async def get(self, path: str, headers: str = "") -> Any:
        """Return a page's JSON, asked on a connection of its own."""
        return json.loads((await once(self.port, get(path, headers))).body)

    async def admin(self, method: str, path: str) -> tuple[int, Any]:
        """Return status and JSON of the admin listener's answer."""
        asked = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        answer = await once(self.admin_port, asked.encode())
        return answer.status, json.loads(answer.body)

    async def settled(self) -> None:
        """Return when nothing is in flight. Raises: SoakError when that does not come."""
        until = time.monotonic() + 10
        while (await self.admin("GET", "/api/status"))[1]["in_flight"]:
            if time.monotonic() > until:
                raise SoakError("requests are still in flight after 10 s")
            await asyncio.sleep(0.05)

    def complaints(self) -> list[str]:
        """Return what the log holds that no run may leave there."""
        return [line[:300] for line in self.log.read_text("utf-8", "replace").splitlines() if COMPLAINT.search(line)]


async def once(port: int, data: bytes) -> Answer:
    """Return the answer to one request on a connection of its own. Raises: Gone, OSError."""
    line = await Line.open(port)
    try:
        return await line.ask(data)
    finally:
        line.leave()


async def end(process: asyncio.subprocess.Process, by: signal.Signals) -> int:
    """Signal a process that may have ended already; kill it when it does not obey."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(by)
    try:
        return await asyncio.wait_for(process.wait(), STOP_S)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise


@asynccontextmanager
async def gateway(
    text: str,
    *,
    admin: bool = False,
    environ: Mapping[str, str] | None = None,
    probe: bool = False,
    inside: Path | None = None,
) -> AsyncIterator[Gateway]:
    """Run a gateway on `text` until the block ends; `inside` is a home that outlives it.

    Raises: SoakError when it does not start, ends with another code than 0, or complained in its log.
    """
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = inside or Path(temporary)
        name = str(folder)
        (folder / "gateway.yaml").write_text(text)
        if probe:
            (folder / "plugins").mkdir()
            (folder / "plugins" / "probe.py").write_text(PROBE)
        log = folder / "gateway.log"
        began = time.monotonic()
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve", name, "--listen", "127.0.0.1:0", "--no-watch",
                "--admin", "127.0.0.1:0" if admin else "off", cwd=ROOT, env=environment(environ),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip
        running = Gateway(process, folder, log)
        try:
            await _ready(running, began)
            yield running
        finally:
            code = await end(process, signal.SIGINT) if process.returncode is None else process.returncode
        running.kept = log.read_bytes()
        if complaints := running.complaints():
            raise SoakError(f"the gateway's log holds {len(complaints)} complaints: {complaints[0]}")
        if code != 0 and not running.killed:
            raise SoakError(f"the gateway ended with {code}: {log.read_text()[-2000:]}")


async def _ready(running: Gateway, began: float) -> None:
    while True:
        lines = running.log.read_text("utf-8", "replace").splitlines()
        found = next((match for line in lines if (match := READY.match(line))), None)
        if found is not None:
            running.start_s, running.start_cpu_s = time.monotonic() - began, cpu_ns([running.pid]) / 1e9
            running.port = int(found[1].rpartition(":")[2])
            running.admin_port = 0 if found[2] == "off" else int(found[2].rpartition(":")[2])
            return
        if running.process.returncode is not None or time.monotonic() > began + START_S:
            raise SoakError("the gateway did not start: " + "\n".join(lines)[-2000:])
        await asyncio.sleep(0.005)


class Upstream:
    """The upstream's process, seen from the driver."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def tell(self, path: str) -> Any:
        """Ask one of its control pages."""
        return json.loads((await once(self.port, get(path))).body)

    async def count(self, name: str) -> int:
        return int((await self.tell("/counts"))[name])


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """Run an upstream until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.upstream", cwd=ROOT, env=environment(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise SoakError("the upstream did not start; see its error above")
        yield Upstream(json.loads(line)["port"])
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def warm(port: int, requests: int = 200, order: str = "soak:plain:100") -> None:
    """Ask a few times, so that pools, caches and lazily loaded code are not part of what is measured."""
    line = await Line.open(port)
    for _ in range(requests):
        answer = await line.ask(request(order))
        if answer.status != 200:
            raise SoakError(f"a plain request was answered {answer.status}: {answer.body[:300]!r}")
    line.leave()
