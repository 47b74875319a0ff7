"""A client that sees everything: raw HTTP/1.1 on one connection, and what each dialect's stream says about its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat")
CHAT = PATHS[0]
PATIENCE_S = 60.0


class Gone(Exception):
    """The connection ended before the answer did. `came` is what had come of it."""

    def __init__(self, came: bytes = b"") -> None:
        super().__init__(f"the connection ended after {len(came)} bytes")
        self.came = came


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; a chunked body has its framing removed."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(order: str, path: str = CHAT, *, stream: bool = False, model: str = "m", headers: str = "") -> bytes:
    """Return a request that carries `order` to the upstream; `headers` are whole lines."""
    body: dict[str, Any] = {"model": model, "max_tokens": 100, "stream": stream}
    if path == "/v1/responses":
        body["input"] = order
    else:
        body["messages"] = [{"role": "user", "content": order}]
    return post(json.dumps(body).encode(), path, headers)


def post(body: bytes, path: str = CHAT, headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()


class Line:
    """One connection, one exchange at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, *, receive_bytes: int = 0) -> Self:
        """Connect. Raises: OSError. `receive_bytes` makes the kernel's buffer small: a reader that is slow soon shows."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        limit = receive_bytes or 2**20
        return cls(*await asyncio.open_connection(sock=sock, limit=limit))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, data: bytes) -> Answer:
        """Send a request and return its answer. Raises: Gone."""
        self.send(data)
        return await self.answer()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Return status and headers of the next answer. Raises: Gone."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
        except asyncio.IncompleteReadError as error:
            raise Gone(error.partial) from None
        except OSError:
            raise Gone from None
        first, *lines = text.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split(" ")[1]), headers

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Return the next answer whole. Raises: Gone."""
        status, headers = await self.head()
        if to_head:
            return Answer(status, headers, b"")
        return Answer(status, headers, await self.body(headers))

    async def body(self, headers: dict[str, str]) -> bytes:
        """Return the body behind a head that was read. Raises: Gone, with the pieces that came."""
        pieces: list[bytes] = []
        try:
            if headers.get("transfer-encoding") != "chunked":
                return await self.reader.readexactly(int(headers.get("content-length", "0")))
            while piece := await self._chunk():
                pieces.append(piece)
        except asyncio.IncompleteReadError as error:
            raise Gone(b"".join(pieces) + error.partial) from None
        except OSError:
            raise Gone(b"".join(pieces)) from None
        return b"".join(pieces)

    async def piece(self) -> bytes:
        """Return the next chunk of a chunked body, empty at its end. Raises: Gone."""
        try:
            return await self._chunk()
        except (asyncio.IncompleteReadError, OSError):
            raise Gone from None

    async def _chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def closed(self) -> None:
        """Return when the other side has closed or reset, throwing away what still comes."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            return

    def leave(self, *, reset: bool = False) -> None:
        """Close, politely or with RST."""
        if reset:
            with contextlib.suppress(OSError):  # it may be closed already, by the other side
                linger = struct.pack("ii", 1, 0)
                self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        else:
            self.writer.close()


def data_of(stream: bytes) -> Iterator[Any]:
    """Yield the JSON of every event or line; a terminator that is none yields itself."""
    for line in stream.split(b"\n"):
        line = line.removeprefix(b"data:").strip()
        if line == b"[DONE]":
            yield "[DONE]"
        elif line.startswith(b"{"):
            yield json.loads(line)


@dataclass(frozen=True, slots=True)
class Told:
    """What a stream told its client: the text, whether it ended with success, and whether it said that it failed."""

    text: str
    succeeded: bool
    failed: bool


def told(stream: bytes, path: str) -> Told:
    """Read a stream as a client of that path's dialect does."""
    text, succeeded, failed = [], False, False
    for data in data_of(stream):
        if data == "[DONE]":
            succeeded = True
            continue
        failed = failed or ("error" in data and data["error"] is not None) or data.get("type") == "response.failed"
        if path == CHAT:
            text += [choice["delta"].get("content") or "" for choice in data.get("choices", ())]
        elif path == "/v1/messages":
            text.append(data.get("delta", {}).get("text", ""))
            succeeded = succeeded or data["type"] == "message_stop"
        elif path == "/v1/responses":
            text.append(data["delta"] if data.get("type") == "response.output_text.delta" else "")
            succeeded = succeeded or data.get("type") == "response.completed"
        else:
            text.append(data.get("message", {}).get("content", ""))
            succeeded = succeeded or data.get("done") is True
    return Told("".join(text), succeeded, failed)
