"""The general transport: aiohttp's client, for what `direct` leaves out, which is proxies.

It costs three to five times as much a request; otherwise the two behave alike (one test-suite runs over both).
Switched off in aiohttp: decompression, redirects, cookies, proxies from the environment, headers of its own.
A reused connection that dies unanswered is not replaced here: aiohttp does not say which one it used.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import UpstreamError
from gateway.upstream.connect import origin_of, words_for
from gateway.upstream.head import head_bytes
from gateway.upstream.http_protocol import StrictHandler
from gateway.upstream.transport import Sink, UpstreamRequest

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

_MAX_FIELD_BYTES = 32 * 1024
_PIECE_BYTES = 256 * 1024
_OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)


class HttpTransport:
    """One origin through aiohttp's client, by way of `proxy` (an http URL, credentials allowed) when given.

    `base_url`, `tls`, `idle_s` and `max_idle` are those of `DirectTransport`; here `max_idle` only tells 0 (keep no
    connection) from the rest, for aiohttp bounds idle connections by time alone. Belongs to one event loop.
    """

    request_tail: None = None

    def __init__(
        self,
        base_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        idle_s: float = 60.0,
        max_idle: int = 256,
    ) -> None:
        self.origin = origin_of(base_url, tls)
        scheme = "http" if self.origin.tls is None else "https"
        self.root = f"{scheme}://{self.origin.host_header}"
        self.proxy, self.idle_s, self.max_idle = proxy, idle_s, max_idle
        self._session: aiohttp.ClientSession | None = None

    def send(self, request: UpstreamRequest, *, deadline: float) -> HttpCall:
        """Return the exchange as a context manager; see `transport.Transport`."""
        return HttpCall(self, request, deadline)

    async def close(self) -> None:
        """Close idle connections; those in use close when let go of."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, made when first needed: aiohttp wants a running loop."""
        if self._session is None:
            kept: dict[str, Any] = {"force_close": True} if self.max_idle == 0 else {"keepalive_timeout": self.idle_s}
            connector = aiohttp.TCPConnector(limit=0, ssl=self.origin.tls or True, **kept)
            # The only way to a stricter protocol: aiohttp itself takes any number of interim answers.
            connector._factory = cast(
                "functools.partial[ResponseHandler]", functools.partial(StrictHandler, loop=asyncio.get_running_loop())
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_OWN_HEADERS,
                trust_env=False,
                max_line_size=_MAX_FIELD_BYTES,
                max_field_size=_MAX_FIELD_BYTES,
                trace_configs=[_connected()],
            )
        return self._session


class HttpCall:
    """One request and its answer: the context manager that `send` returns, and the response inside it."""

    head: None = None

    def __init__(self, owner: HttpTransport, request: UpstreamRequest, deadline: float) -> None:
        self._owner, self._request, self._deadline = owner, request, deadline
        self._response: aiohttp.ClientResponse | None = None
        self._scope: asyncio.Timeout | None = None
        self._pump: asyncio.Task[None] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._body_error: Exception | None = None
        self.status = 0
        self.headers: CIMultiDict[str]

    async def __aenter__(self) -> HttpCall:
        request, owner = self._request, self._owner
        head_bytes(request, " HTTP/1.1\r\nhost: \r\n")  # refuses what would break out of its line
        request.is_sent = True  # when exactly, only aiohttp knows
        try:
            async with asyncio.timeout_at(self._deadline) as self._scope:
                response = await owner.session.request(
                    request.method,
                    URL(owner.root + request.path, encoded=True),
                    data=self._data(),
                    headers=self._headers(),
                    allow_redirects=False,
                    proxy=owner.proxy,
                    timeout=aiohttp.ClientTimeout(total=None, connect=request.connect_s),
                    trace_request_ctx=self,
                )
        except TimeoutError as error:
            raise UpstreamError("timeout", "the upstream did not answer in time") from error
        except _BROKEN as error:
            if self._body_error is not None:
                raise self._body_error from None
            raise _as_upstream_error(error) from error
        finally:
            self._scope = None
        self._response = response
        self.status, self.headers = response.status, CIMultiDict(response.headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        response = self._response
        self._response = None
        if self._pump is not None:
            self._pump.cancel()
        if response is not None:
            # At the end of the body aiohttp has already put the connection back; otherwise this closes it.
            response.close()

    def at_hand(self) -> bytes | None:
        return None

    async def read(self, limit: int) -> bytes:
        response = self._response
        if response is None:
            raise UpstreamError("broken", "the answer was given up")
        pieces: list[bytes] = []
        size = 0
        try:
            if (response.content_length or 0) > limit and self._request.method != "HEAD":
                raise UpstreamError("bad_response", "the upstream's answer is too large")
            async with asyncio.timeout_at(self._deadline):
                while piece := await response.content.readany():
                    size += len(piece)
                    if size > limit:
                        raise UpstreamError("bad_response", "the upstream's answer is too large")
                    pieces.append(piece)
        except BaseException as error:
            response.close()
            if isinstance(error, TimeoutError):
                raise UpstreamError("timeout", "the upstream did not finish its answer in time") from error
            if isinstance(error, _BROKEN):
                raise _as_upstream_error(error) from error
            raise
        return b"".join(pieces)

    def start(self, sink: Sink) -> None:
        if self._response is not None:
            self._pump = asyncio.get_running_loop().create_task(self._push(self._response, sink))

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def abort(self) -> None:
        response, self._response = self._response, None
        if self._pump is not None:
            self._pump.cancel()
        if response is not None:
            response.close()

    def head_wait_begins(self) -> None:
        """The request is on its way: from here `head_s` bounds the wait for the head."""
        if self._request.head_s and self._scope is not None:
            now = asyncio.get_running_loop().time()
            self._scope.reschedule(min(self._deadline, now + self._request.head_s))

    def connected(self) -> None:
        """A connection is there; bytes go out at once, an iterator's pieces take their time."""
        if isinstance(self._request.body, bytes):
            self.head_wait_begins()

    async def _push(self, response: aiohttp.ClientResponse, sink: Sink) -> None:
        failure: UpstreamError | None = None
        try:
            while piece := await response.content.readany():
                sink.data(piece)
                await self._flowing.wait()
        except _BROKEN as error:
            failure = _as_upstream_error(error)
            if (rest := _unread(response.content)) and self._response is response:
                sink.data(rest)
        if self._response is response:
            sink.end(failure)

    def _headers(self) -> CIMultiDict[str]:
        headers = CIMultiDict(self._request.headers)
        body = self._request.body
        if isinstance(body, bytes) and len(body) > _PIECE_BYTES:
            headers["content-length"] = str(len(body))
        return headers

    def _data(self) -> bytes | AsyncIterator[bytes] | None:
        body = self._request.body
        if not isinstance(body, bytes):
            return self._pieces(body)
        if len(body) > _PIECE_BYTES:  # aiohttp warns about a large body in one write, and rightly
            return _cut(body)
        return body if body or self._request.method not in ("GET", "HEAD") else None

    async def _pieces(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for piece in body:
                if piece:
                    yield piece
        except Exception as error:  # the caller's own iterator failed: aiohttp would wrap its error
            self._body_error = error
            raise
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self.head_wait_begins()


def _connected() -> aiohttp.TraceConfig:
    async def tell(session: aiohttp.ClientSession, context: SimpleNamespace, facts: object) -> None:
        context.trace_request_ctx.connected()

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(tell)
    trace.on_connection_reuseconn.append(tell)
    return trace


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Return what arrived before an error: aiohttp drops it, but a client is owed every byte before a cut."""
    return b"".join(content._buffer)[content._buffer_offset :]


def _as_upstream_error(error: BaseException) -> UpstreamError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamError("timeout", "the upstream could not be reached in time")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UpstreamError("connect", words_for(error.certificate_error))
    if isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.InvalidURL | UnicodeError):
        return UpstreamError("connect", "the upstream's name could not be resolved")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError("connect", words_for(error.os_error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return UpstreamError("connect", "the proxy refused the connection")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | OSError):
        return UpstreamError("broken", "the upstream closed the connection before its answer was complete")
    return UpstreamError("broken", "the upstream's answer is not valid HTTP")
