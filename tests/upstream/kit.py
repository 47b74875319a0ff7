"""What the transports' tests share: requests, a sink, certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.transport import Transport, UpstreamRequest

MakeTransport = Callable[..., Any]


def soon(seconds: float = 20.0) -> float:
    """Return a deadline, far enough away that only a test that hangs meets it."""
    return asyncio.get_running_loop().time() + seconds


def post(body: Any = b'{"a":1}', path: str = "/v1/x", **options: Any) -> UpstreamRequest:
    headers = options.pop("headers", [("content-type", "application/json")])
    return UpstreamRequest(method=options.pop("method", "POST"), path=path, headers=headers, body=body, **options)


async def ask(transport: Transport, request: UpstreamRequest | None = None, limit: int = 1 << 20) -> tuple[int, bytes]:
    """Return status and body of one plain exchange."""
    async with transport.send(request or post(), deadline=soon()) as response:
        return response.status, await response.read(limit)


class Collector:
    """A sink that keeps everything, and waits for its end or for a number of bytes."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ends: list[UpstreamError | None] = []
        self._changed = asyncio.Event()

    def data(self, chunk: bytes) -> None:
        assert not self.ends, "data after the end"
        self.chunks.append(chunk)
        self._changed.set()

    def end(self, error: UpstreamError | None) -> None:
        self.ends.append(error)
        self._changed.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    async def ended(self) -> UpstreamError | None:
        while not self.ends:
            await self.changed()
        assert len(self.ends) == 1
        return self.ends[0]

    async def received(self, count: int) -> None:
        while len(self.body) < count and not self.ends:
            await self.changed()

    async def changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def stream(
    transport: Transport, request: UpstreamRequest | None = None
) -> tuple[int, bytes, UpstreamError | None]:
    """Return status, body and end of one streamed exchange."""
    async with transport.send(request or post(), deadline=soon()) as response:
        sink = Collector()
        response.start(sink)
        error = await sink.ended()
        return response.status, sink.body, error


def server_tls(authority: Any, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


async def failure(transport: Any, request: Any = None, deadline_s: float = 20) -> UpstreamError:
    """Return the UpstreamError of an exchange that must fail before its head."""
    with pytest.raises(UpstreamError) as caught:
        async with transport.send(request or post(), deadline=soon(deadline_s)):
            pass
    error = caught.value
    for secret in ("127.0.0.1", "localhost", ".invalid", "::1"):
        assert secret not in error.message
    return error
