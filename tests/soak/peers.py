"""nginx and HAProxy as operators reload them, in front of the same upstream: what the reload figure compares with."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.systems import accepts, free_port
from tests.soak.row import SoakError
from tests.soak.running import end, environment

SEARCHED = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://up;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""
HAPROXY = """\
global
    maxconn 4096
    stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend front
    bind 127.0.0.1:{port}
    default_backend up
backend up
    http-reuse always
    server up 127.0.0.1:{upstream}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer: where it listens, and how it is told to reload."""

    port: int
    reload: Callable[[], Awaitable[None]]


def program(name: str) -> str | None:
    """Return the program's path, None when it is not installed."""
    return shutil.which(name, path=SEARCHED)


def version(name: str) -> str:
    """Return the installed version, or that there is none."""
    found = program(name)
    if found is None:
        return "not installed"
    said = subprocess.run([found, "-v"], capture_output=True, text=True, check=False)
    first = (said.stdout + said.stderr).strip().splitlines()[0]
    return first.rpartition("/")[2] if name == "nginx" else first.split()[2]


@asynccontextmanager
async def peer(name: str, upstream_port: int) -> AsyncIterator[Peer]:
    """Run `nginx` or `haproxy` (which must be installed) until the block ends. Raises: SoakError."""
    found = program(name)
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        port = free_port()
        # Started as root, nginx's worker would give up its rights, and with them the private folder.
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        text = (NGINX if name == "nginx" else HAPROXY).format(
            folder=folder, port=port, upstream=upstream_port, user=user
        )
        (Path(folder) / "conf").write_text(text)
        conf = f"{folder}/conf"
        own = ["-p", folder, "-c", conf, "-e", f"{folder}/error.log"] if name == "nginx" else ["-W", "-db", "-f", conf]
        with (Path(folder) / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                found, *own, env=environment(), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

        async def reload() -> None:
            # What `nginx -s reload` sends; HAProxy's master starts a new worker with -sf for the old one.
            process.send_signal(signal.SIGHUP if name == "nginx" else signal.SIGUSR2)

        try:
            until = time.monotonic() + 20
            while not accepts(port):
                if process.returncode is not None or time.monotonic() > until:
                    raise SoakError(f"{name} did not start: {(Path(folder) / 'log').read_text()[-1000:]}")
                await asyncio.sleep(0.02)
            yield Peer(port, reload)
        finally:
            if process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    await end(process, signal.SIGTERM)
