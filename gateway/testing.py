"""The public test kit: a real gateway on port 0, a scripted upstream, a manual clock.

    async with ScriptedUpstream(reply_json({"choices": []})) as upstream:
        async with running_gateway(f'''
            plugins: [my_plugin]
            providers: {{up: {{dialect: openai, base_url: {upstream.url}/v1, api_key: k}}}}
            routes: [{{name: all, targets: ["up/*"]}}]
        ''', plugins={"my_plugin": Path("plugins/my_plugin.py").read_text()}) as gateway:
            answer = await gateway.post("/v1/chat/completions", {"model": "m", "messages": []})
            assert answer.status == 200

The configuration is YAML text as an operator writes it (`version: 1` may be left out); it runs in this process, on a
real socket. `gateway.log` holds every log line as a mapping.
"""

from __future__ import annotations

import io
import json
import socket
import tempfile
import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from gateway.plugin import Clock
from gateway.runtime.clock import SystemClock
from gateway.runtime.gateway import Gateway
from gateway.runtime.home import find_home
from gateway.runtime.reload import Reloader, Source, first
from gateway.scripted import (
    Answer,
    Close,
    Connection,
    Gate,
    ManualClock,
    ReceivedRequest,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    reply_bytes,
    reply_json,
    reply_sse,
)  # fmt: skip
from gateway.server import Server
from gateway.telemetry import Logger

__all__ = [
    "Answer", "ClientAnswer", "Close", "Connection", "Gate", "ManualClock", "ReceivedRequest", "Reset",
    "RunningGateway", "Script", "ScriptedUpstream", "Send", "Stall", "Step", "reply_bytes", "reply_json",
    "reply_sse", "running_gateway",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClientAnswer:
    """An answer as the client got it, whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises: ValueError."""
        return json.loads(self.body)


class _Lines(io.StringIO):
    """Collects log lines as mappings."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        self.lines.extend(json.loads(line) for line in text.splitlines())
        return len(text)


class RunningGateway:
    """A gateway being tested. `url` is its data listener; `core` what runs, `server` and `reloader` the parts of it."""

    def __init__(
        self,
        url: str,
        home: Path,
        core: Gateway,
        server: Server,
        reloader: Reloader,
        session: aiohttp.ClientSession,
        lines: _Lines,
    ) -> None:
        self.url, self.home, self.core, self.server, self.reloader, self.session = (
            url,
            home,
            core,
            server,
            reloader,
            session,
        )
        self._lines = lines

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every log line so far."""
        self.core.log.flush()
        return self._lines.lines

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines whose `event` is `name`."""
        return [line for line in self.log if line["event"] == name]

    async def request(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ClientAnswer:
        """Send a request and return the whole answer. Raises: aiohttp.ClientError when it was cut."""
        async with self.session.request(
            method, self.url + path, json=json_body, data=body, headers=headers
        ) as response:
            return ClientAnswer(response.status, response.headers, await response.read())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> ClientAnswer:
        """GET `path`."""
        return await self.request("GET", path, headers=headers)

    async def post(
        self, path: str, json_body: Any = None, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> ClientAnswer:
        """POST JSON, or `body` as it is."""
        return await self.request("POST", path, json_body=json_body, body=body, headers=headers)

    async def settled(self) -> None:
        """Wait until every exchange has finished, those whose client left included."""
        await self.core.settle()

    def configure(self, config: str) -> None:
        """Write a new gateway.yaml; `await gateway.reloader.reload("test")` takes it."""
        write_config(self.home, config)


@asynccontextmanager
async def running_gateway(
    config: str,
    *,
    plugins: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    log_level: str = "info",
    clock: Clock | None = None,
) -> AsyncIterator[RunningGateway]:
    """Run a gateway on a free port of 127.0.0.1 until the block ends.

    `plugins` are files of the home's `plugins/` by name, `files` any others by path; `environ` is what `${VAR}` sees.
    Raises: ConfigErrors as `gateway serve` would tell them.
    """
    clock = clock or SystemClock()
    lines = _Lines()
    log = Logger(log_level, stream=lines)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_config(home, config)
        for name, text in {
            **{f"plugins/{name}.py": text for name, text in (plugins or {}).items()},
            **(files or {}),
        }.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(textwrap.dedent(text))
        source = Source(find_home(str(home), {}), environ or {}, {})
        core = await first(source, log, clock)
        reloader = Reloader(source, core, clock)
        server = Server(core, clock, descriptors=20_000)
        sock = socket.create_server(("127.0.0.1", 0))
        await server.start([sock])
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                yield RunningGateway(url, home, core, server, reloader, session, lines)
        finally:
            await server.stop(lame_duck_s=0.0, grace_s=0.0)
            await server.close()
            await core.snapshot.close(log)
            await core.lasting.close()


def write_config(home: Path, config: str) -> None:
    """Write `config` as the home's gateway.yaml, with `version: 1` when it is left out."""
    text = textwrap.dedent(config)
    if "version:" not in text:
        text = "version: 1\n" + text
    (home / "gateway.yaml").write_text(text)
