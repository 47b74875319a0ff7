"""An upstream's answer with gzip or deflate taken off, for an upstream that sends it unasked."""

from __future__ import annotations

from multidict import CIMultiDict

from gateway.errors import UpstreamError
from gateway.upstream.inflate import Inflater, inflated
from gateway.upstream.transport import Sink, UpstreamResponse


class DecodedResponse:
    """An `UpstreamResponse` whose body is decoded, to at most `cap` bytes in all: a bomb ends as bad_response."""

    head: None = None

    def __init__(self, response: UpstreamResponse, encoding: str, cap: int) -> None:
        self._response, self._encoding, self._cap = response, encoding, cap
        self.status = response.status
        self.headers: CIMultiDict[str] = response.headers

    def at_hand(self) -> bytes | None:
        """Return None: it has to be decoded."""
        return None

    async def read(self, limit: int) -> bytes:
        """Return the whole body, decoded. Raises: UpstreamError."""
        return inflated(await self._response.read(limit), self._encoding, min(limit, self._cap))

    def start(self, sink: Sink) -> None:
        """Push the decoded body into `sink`."""
        self._response.start(_Decoding(sink, self._response, Inflater(self._encoding, self._cap)))

    def pause(self) -> None:
        """Stop reading from upstream."""
        self._response.pause()

    def resume(self) -> None:
        """Read on."""
        self._response.resume()

    def abort(self) -> None:
        """Close the connection now."""
        self._response.abort()


class _Decoding:
    def __init__(self, sink: Sink, response: UpstreamResponse, inflater: Inflater) -> None:
        self._sink, self._response, self._inflater = sink, response, inflater
        self._over = False

    def data(self, chunk: bytes) -> None:
        if self._over:
            return
        try:
            out = self._inflater.feed(chunk)
        except UpstreamError as error:
            self._end(error)
            self._response.abort()
            return
        if out:
            self._sink.data(out)

    def end(self, error: UpstreamError | None) -> None:
        if error is None and not self._over:
            try:
                self._inflater.end()
            except UpstreamError as cut:
                error = cut
        self._end(error)

    def _end(self, error: UpstreamError | None) -> None:
        if not self._over:
            self._over = True
            self._sink.end(error)
