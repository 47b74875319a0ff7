"""The client's side of an answer: the one place that writes to the client's connection."""

from __future__ import annotations

from asyncio import Transport
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.relay.whole import Sent, head_of


class FlowControlled(Protocol):
    """A connection that says when its client stops reading (`on_flow(True)`) and starts again."""

    on_flow: Callable[[bool], None] | None


class _Head(web.StreamResponse):
    """The head of a streamed answer; it goes out in one write with the first bytes.

    It leaves out the `Server` header, which tells attackers more than clients.
    """

    _send_headers_immediately = False

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self._headers.popall(hdrs.SERVER, None)


class ClientStream:
    """A streamed answer being written.

    `open` sends the head with the first bytes; `write` frames and pushes without a coroutine; `close` ends the
    HTTP message; `cut` drops the connection so that no client can take what it has for the whole. `paused` is
    true while the client does not read; `on_flow` is told when that changes.
    """

    __slots__ = ("_answer", "_chunked", "_http", "_sent", "_transport", "opened", "paused", "resume", "stop")

    def __init__(self, http: web.BaseRequest) -> None:
        self._http: Any = http  # or one that was read without aiohttp
        self._answer: web.StreamResponse | None = None
        self._sent: Sent | None = None
        self._transport: Transport | None = None
        self._chunked = False
        self.opened = False
        self.paused = False
        self.stop: Callable[[], None] | None = None
        self.resume: Callable[[], None] | None = None

    async def open(self, status: int, headers: Mapping[str, str] | CIMultiDict[str], first: bytes = b"") -> None:
        """Send the head, and `first` in the same write. Raises: ConnectionError when the client is gone."""
        if not isinstance(self._http, web.BaseRequest):
            self._open_quick(status, headers, first)
            return
        answer = self._answer = _Head(status=status, headers=headers)
        writer = await answer.prepare(self._http)
        assert writer is not None
        if first:
            await writer.write(first, drain=False)  # type: ignore[call-arg]
        else:
            writer.send_headers()
        self._transport = self._http.transport
        self._chunked = answer.headers.get(hdrs.TRANSFER_ENCODING) == "chunked"
        self.opened = True
        protocol = self._http.protocol
        self.paused = protocol.writing_paused
        protocol.on_flow = self._on_flow  # type: ignore[attr-defined]

    def _open_quick(self, status: int, headers: Mapping[str, str] | CIMultiDict[str], first: bytes) -> None:
        """Send the head of a request that aiohttp did not read: HTTP/1.1, chunked."""
        transport = self._transport = self._http.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left before its answer")
        self._sent = Sent(status, True)
        self._chunked = self.opened = True
        head = head_of(status, headers, "transfer-encoding: chunked\r\n", 1)
        transport.write(head + b"%x\r\n%b\r\n" % (len(first), first) if first else head)
        protocol = self._http.protocol
        protocol.begun = True
        self.paused = protocol.writing_paused
        protocol.on_flow = self._on_flow

    @property
    def raw(self) -> Transport | None:
        """The connection, where whole HTTP chunks of the body may be written as they are; None where they may not."""
        return self._transport if self._chunked else None

    def write(self, data: bytes) -> None:
        """Push `data` (not empty). Silently nothing once the client is gone: its handler is being cancelled."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def close(self, last: bytes = b"") -> web.StreamResponse:
        """Write `last` and end the HTTP message in the same write. Raises: ConnectionError when the client is gone."""
        self._release()
        if self._answer is None:
            assert self._sent is not None and self._transport is not None
            if self._transport.is_closing():
                raise ConnectionResetError("the client left before the end of its answer")
            self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n")
            if self._http.protocol.writing_paused:
                await self._http.writer.drain()
            return cast(web.StreamResponse, self._sent)
        await self._answer.write_eof(last)
        return self._answer

    def cut(self) -> web.StreamResponse:
        """Drop the connection without ending the message."""
        self._release()
        answer = self._answer or self._sent
        assert answer is not None
        answer.force_close()
        if self._transport is not None:
            self._transport.abort()
        return cast(web.StreamResponse, answer)

    def _on_flow(self, paused: bool) -> None:
        self.paused = paused
        call = self.stop if paused else self.resume
        if call is not None:
            call()

    def _release(self) -> None:
        protocol = self._http.protocol
        if protocol is not None:
            protocol.on_flow = None
