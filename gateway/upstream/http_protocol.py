"""aiohttp's client protocol, as strict with answers as `connection.py` is."""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from gateway.upstream.answer import MAX_HEAD_BYTES, MAX_INTERIM


class StrictHandler(ResponseHandler):
    """Refuses what aiohttp 3.14 lets pass (seen November 2026).

    Any number of interim answers; a head of any size in fields of 32 KiB; two lengths, or a transfer coding other than
    chunked; bytes on an idle connection, which it would take for the next request's answer; a reset in a body without
    a length, which it takes for its end. And after bad chunk framing it would leave the body's reader waiting for ever.
    """

    _awaited = False
    _interim = 0
    _body: StreamReader | None = None

    def set_response_params(self, **params: Any) -> None:
        """Begin a request: from here one answer is awaited."""
        self._awaited, self._interim, self._body = True, 0, None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if data and not self._awaited and (self._body is None or self._body.is_eof()):
            # SECURITY: bytes nobody asked for would become the head of the next caller's answer.
            self._drop()
            return
        super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        message, body = data
        if not self._awaited:
            self._drop()
            return
        if message.code < 200 and message.code != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM or message.code < 100:
                self._refuse("interim answers that were not asked for")
                return
        else:
            self._awaited, self._body = False, body
            if problem := _problem(message):
                self._refuse(problem)
                return
        super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        body = self._body
        if exc is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError("reset before the body's end"))
        super().connection_lost(exc)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the connection is gone"))

    def _refuse(self, problem: str) -> None:
        self.set_exception(HttpProcessingError(message=problem))
        self._drop()

    def _drop(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.abort()


def _problem(message: Any) -> str:
    if sum(len(name) + len(value) + 4 for name, value in message.raw_headers) > MAX_HEAD_BYTES:
        return "a head that is too large"
    headers = message.headers
    lengths, codings = headers.getall("content-length", []), headers.getall("transfer-encoding", [])
    if len(lengths) > 1 or len(codings) > 1 or (lengths and codings) or any(c.lower() != "chunked" for c in codings):
        return "a length that is not told in one way only"
    if message.code == 101 or any(c in value for value in headers.values() for c in "\r\n\0"):
        return "not valid HTTP"
    return ""
