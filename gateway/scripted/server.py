"""The raw-byte server that runs a script."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from gateway.scripted.answers import Close, Gate, ReceivedRequest, Reset, Script, Send, Stall, Step


@dataclass(eq=False)
class Connection:
    """One accepted connection. `peer_closed` is set once the other side has closed or reset it."""

    number: int
    peer_closed: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0


class ScriptedUpstream:
    """A raw-byte HTTP/1.1 server on 127.0.0.1 and a free port, as an async context manager.

    `script` may be replaced while it runs. `early` answers as soon as a request's head is in and reads its
    body only afterwards (not at all when the answer closes the connection). `ssl` makes it speak TLS.
    A request that is not HTTP is recorded in `unreadable` and stalls. An exception in a script function closes
    the connection and is raised again when the context ends.
    """

    def __init__(
        self,
        script: Script = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        *,
        early: bool = False,
        ssl: ssl.SSLContext | None = None,
    ) -> None:
        self.script = script
        self.early = early
        self.requests: list[ReceivedRequest] = []
        self.connections: list[Connection] = []
        self.unreadable: list[bytes] = []
        self.port = 0
        self._ssl = ssl
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self._live: set[_Session] = set()
        self._errors: list[BaseException] = []
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections neither side has closed."""
        return len(self._live)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Session(self), "127.0.0.1", 0, ssl=self._ssl
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [session.task for session in self._live if session.task is not None]
        for session in list(self._live):
            session.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._held is not None:
            self._held.close()
        if error is None and self._errors:
            raise self._errors[0]

    async def refuse(self) -> None:
        """From now on refuse connections (RST to SYN); the port stays taken, so nobody else answers on it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", self.port))

    async def wait_for_request(self, index: int = 0) -> ReceivedRequest:
        """Return request number `index` (from 0), waiting until it has come whole."""
        while len(self.requests) <= index:
            await self._next_change()
        return self.requests[index]

    async def wait_closed(self, connection: int = 0) -> None:
        """Return once the other side has closed or reset connection number `connection` (from 0)."""
        while len(self.connections) <= connection:
            await self._next_change()
        await self.connections[connection].peer_closed.wait()

    def reset_all(self) -> None:
        """Reset every open connection now, idle ones too."""
        for session in list(self._live):
            session.reset()

    def close_all(self) -> None:
        """Close every open connection now, idle ones too, as a server does whose keep-alive time ran out."""
        for session in list(self._live):
            session.finish()

    def send_all(self, data: bytes) -> None:
        """Write `data` on every open connection now, asked or not."""
        for session in list(self._live):
            session.write(data)

    async def _next_change(self) -> None:
        self._changed = event = self._changed if not self._changed.is_set() else asyncio.Event()
        await event.wait()

    def _note(self) -> None:
        self._changed.set()

    def _steps(self, request: ReceivedRequest) -> list[Step]:
        script = self.script
        if callable(script):
            answer: Any = script(request)
        elif isinstance(script, bytes | Send | Gate | Stall | Reset | Close) or not _is_list_of_answers(script):
            answer = script
        else:
            answer = script[min(len(self.requests), len(script)) - 1]
        parts = answer if isinstance(answer, list | tuple) else [answer]
        return [Send(part) if isinstance(part, bytes) else part for part in parts]


def _is_list_of_answers(script: Any) -> bool:
    """A list that holds a list holds one answer a request; a flat list of bytes and steps is a single answer."""
    return any(isinstance(part, list | tuple) for part in script)


class _Session(asyncio.Protocol):
    """One connection: collects requests from the bytes and runs each one's steps in turn."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.task: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream server makes stream transports
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._facts = Connection(len(self.upstream.connections))
        self.upstream.connections.append(self._facts)
        self.upstream._live.add(self)
        self.upstream._note()
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    def eof_received(self) -> bool:
        self._facts.peer_closed.set()
        self._more.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._facts.peer_closed.set()
        self.upstream._live.discard(self)
        self._more.set()
        self._drained.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def drop(self) -> None:
        self._transport.abort()
        if self.task is not None:
            self.task.cancel()

    def reset(self) -> None:
        # Linger of zero seconds makes close() send RST and throw away what was not delivered (Linux socket(7)).
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._transport.abort()

    def finish(self) -> None:
        self._transport.close()

    async def _serve(self) -> None:
        try:
            while not self._transport.is_closing():
                head = await self._read_until(b"\r\n\r\n")
                method, path, headers = _parse_head(head)
                early = self.upstream.early
                body, raw = (b"", b"") if early else await self._read_body(headers)
                request = ReceivedRequest(method, path, headers, body, head + raw, self._facts.number)
                self._facts.requests += 1
                self.upstream.requests.append(request)
                self.upstream._note()
                if early:
                    self._transport.pause_reading()
                for step in self.upstream._steps(request):
                    await self._run(step)
                if early and not self._transport.is_closing():
                    self._transport.resume_reading()
                    await self._read_body(headers)
        except (ValueError, EOFError):
            self.upstream.unreadable.append(bytes(self._buffer))
            self.upstream._note()
            if self._facts.peer_closed.is_set():
                self._transport.close()
        except Exception as error:  # a fault of the test's own script: it must reach the test, not the loop's log
            self.upstream._errors.append(error)
            self._transport.abort()

    async def _run(self, step: Step) -> None:
        match step:
            case Send():
                segments = step.segments()
                for segment in segments:
                    self._transport.write(segment)
                    await self._drained.wait()
                    await _settle()
            case Gate():
                await step.pass_through()
            case Stall():
                await self._facts.peer_closed.wait()
                self._transport.close()
            case Reset():
                self.reset()
            case Close():
                self._transport.close()

    async def _read_until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if self._facts.peer_closed.is_set():
                raise EOFError
            if self._buffer[:1] == b"\x16":
                raise ValueError("TLS spoken to a plain port")
            await self._wait_more()
        return self._take(end + len(mark))

    async def _read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if self._facts.peer_closed.is_set():
                raise EOFError
            await self._wait_more()
        return self._take(count)

    async def _wait_more(self) -> None:
        self._more.clear()
        await self._more.wait()

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _read_body(self, headers: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
        """Return the body without and with its framing."""
        named = {name.lower(): value for name, value in headers}
        if named.get("transfer-encoding", "").lower() != "chunked":
            body = await self._read_exactly(int(named.get("content-length", "0")))
            return body, body
        pieces: list[bytes] = []
        raw = b""
        while True:
            line = await self._read_until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            piece = await self._read_exactly(size + 2)
            raw += line + piece
            if size == 0:
                return b"".join(pieces), raw
            pieces.append(piece[:-2])


def _parse_head(head: bytes) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    first, *lines = head[:-4].decode("utf-8", "surrogateescape").split("\r\n")
    method, path, _ = first.split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return method, path, headers


async def _settle() -> None:
    """Let a client on the same loop read what was just written, so that segments do not run together.

    One turn is not enough: with asyncio the reader becomes ready in the turn after the write and runs behind this
    task; uvloop writes at the end of a turn.
    """
    for _ in range(3):
        await asyncio.sleep(0)
