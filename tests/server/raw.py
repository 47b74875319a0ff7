"""A client that writes whatever bytes it is told to, and reads whatever answers come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.testing import RunningGateway

PATIENCE_S = 10.0
"""How long a test waits for what must come; nothing is asserted about how soon it does."""


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """One connection. `buffer` is what has come and not been read as an answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.buffer = b""

    async def send(self, *pieces: bytes) -> None:
        """Write each piece as a segment of its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, *, to_head: bool = False) -> RawAnswer | None:
        """Return the next answer, None when the connection ended before one."""
        head = await self.until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        if status == 100:
            return RawAnswer(100, headers, b"")
        body = b""
        if not to_head and headers.get("transfer-encoding") == "chunked":
            while size := int(await self.until(b"\r\n") or b"0", 16):
                body += (await self.exactly(size + 2))[:-2]
            await self.exactly(2)
        elif not to_head:
            body = await self.exactly(int(headers.get("content-length", "0")))
        return RawAnswer(status, headers, body)

    async def until(self, mark: bytes) -> bytes | None:
        while (end := self.buffer.find(mark)) < 0:
            if not await self._more():
                return None
        piece, self.buffer = self.buffer[: end + len(mark)], self.buffer[end + len(mark) :]
        return piece

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            assert await self._more(), f"cut after {len(self.buffer)} of {count} bytes: {self.buffer!r}"
        piece, self.buffer = self.buffer[:count], self.buffer[count:]
        return piece

    async def rest(self) -> bytes:
        """Return everything until the server closes the connection."""
        while await self._more():
            pass
        piece, self.buffer = self.buffer, b""
        return piece

    async def _more(self) -> bool:
        try:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE_S)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data)

    def reset(self) -> None:
        """Drop the connection now."""
        self.writer.transport.abort()


@asynccontextmanager
async def raw_client(gateway: RunningGateway | int, **options: Any) -> AsyncIterator[RawClient]:
    port = gateway if isinstance(gateway, int) else port_of(gateway)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        client.reset()


def port_of(gateway: RunningGateway) -> int:
    return int(gateway.url.rpartition(":")[2])


def post(
    path: str = "/v1/chat/completions",
    body: bytes = b'{"model":"m","messages":[]}',
    *headers: str,
    host: str = "Host: t",
    length: bool = True,
    version: str = "HTTP/1.1",
    method: str = "POST",
) -> bytes:
    """Return a request; `length` False leaves its framing to `headers`."""
    lines = [f"{method} {path} {version}", *([host] if host else []), "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def chat(model: str = "m", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
