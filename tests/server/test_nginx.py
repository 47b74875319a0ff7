"""With nginx in front, the two agree on where every request ends: nothing is smuggled past either."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.testing import ScriptedUpstream, running_gateway
from tests.server.conftest import edge_config
from tests.server.corpus.bodies import CHUNKS
from tests.server.corpus.framing import FRAMING
from tests.server.corpus.heads import HEADS
from tests.server.raw import RawClient, port_of, post

NGINX = shutil.which("nginx")
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format handled '$request_id $upstream_status'; access_log {folder}/access.log handled;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder}; client_header_timeout 1s; client_body_timeout 1s; lingering_time 1s; lingering_timeout 1s;
  upstream gateway {{ server 127.0.0.1:{port}; keepalive 4; }}
  server {{
    listen unix:{folder}/front; ignore_invalid_headers off; merge_slashes off;
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_request_buffering off; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Front $request_id;
    }}
  }}
}}
"""


@asynccontextmanager
async def front(folder: Path, port: int) -> AsyncIterator[str]:
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port))
    assert NGINX is not None
    nginx = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), stderr=asyncio.subprocess.PIPE
    )
    path = str(folder / "front")
    try:
        async with asyncio.timeout(10):
            while not Path(path).exists():
                assert nginx.returncode is None, (await nginx.communicate())[1].decode()
                await asyncio.sleep(0.01)
        yield path
    finally:
        if nginx.returncode is None:
            nginx.terminate()
        await nginx.wait()


async def ask(path: str, data: bytes) -> bytes:
    client = RawClient(*await asyncio.open_unix_connection(path))
    try:
        await client.send(data)
        try:
            return await asyncio.wait_for(client.rest(), 1.0)
        except TimeoutError:
            return client.buffer  # nginx keeps the connection: everything was answered
    except ConnectionError:
        return client.buffer
    finally:
        client.reset()


async def test_behind_nginx_each_request_is_the_one_that_nginx_sent(tmp_path: Path) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    async with ScriptedUpstream() as upstream, running_gateway(edge_config(upstream.url), log_level="debug") as gateway:
        async with front(tmp_path, port_of(gateway)) as path:
            cases = [*FRAMING, *HEADS, *CHUNKS]
            await asyncio.gather(*(ask(path, case.data) for case in cases))
            good = await ask(path, post())
            assert good.startswith(b"HTTP/1.1 200")
            await gateway.settled()
        handled = [line.split() for line in (tmp_path / "access.log").read_text().splitlines()]
        passed_on = [line[0] for line in handled if len(line) == 2 and line[1].isdecimal()]
        lines = gateway.events("request")
        assert len(lines) == len(passed_on) > 10 and all(line["status"] < 500 for line in lines)
        fronts = [request.header("x-front") for request in upstream.requests]
        assert len(fronts) == len(set(fronts)) and set(fronts) <= set(passed_on) and not upstream.unreadable
