"""Bodies nobody looks into: files, images, audio, batches. Bytes through, with back-pressure, as they come."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import GatewayError, UpstreamError
from gateway.relay.client import ClientStream
from gateway.relay.stream import LiveStream


class OpaqueStream(LiveStream):
    """Every byte is content. A body that is cut drops the client's connection: no terminator may make it look whole."""

    speaks = False

    def digest(self, chunk: bytes) -> bytes:
        """Return `chunk` as it is."""
        if not self.content:
            self.commit()
        return chunk

    def drain(self, error: UpstreamError | None) -> None:
        """Complete exactly when HTTP says the body is whole."""
        if error is None:
            self.finish(b"")
        else:
            self.fail(error)

    async def end_badly(self, client: ClientStream, error: GatewayError) -> web.StreamResponse:
        """Drop the connection."""
        return client.cut()
