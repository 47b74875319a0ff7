"""Taking gzip and deflate off a body as it arrives, never past a cap.

For translated answers only: verbatim ones pass compressed, header and all. A bomb is stopped while it inflates: zlib is
asked for no more than the cap allows, so memory holds at most that much.
"""

from __future__ import annotations

import zlib
from typing import Any

from gateway.errors import UpstreamError

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def can_inflate(encoding: str) -> bool:
    """Return whether a content-encoding's value is one that `Inflater` takes: gzip, deflate, identity or none."""
    return encoding.strip().lower() in ("", "identity", "gzip", "x-gzip", "deflate")


class Inflater:
    """Decodes one body of `encoding` (see `can_inflate`) to at most `cap` bytes in all.

    Feed it pieces cut anywhere; then `end` says whether the body was whole.
    Raises: UpstreamError(bad_response) for an encoding it does not take.
    """

    def __init__(self, encoding: str, cap: int) -> None:
        encoding = encoding.strip().lower()
        if not can_inflate(encoding):
            raise UpstreamError("bad_response", "the upstream's answer is compressed in a way that was not asked for")
        self._plain = encoding in ("", "identity")
        self._gzip = encoding in ("gzip", "x-gzip")
        self._left = cap
        self._held = b""
        self._stream: Any = None  # zlib does not export its type's name

    def feed(self, data: bytes) -> bytes:
        """Return what `data` decodes to, possibly nothing yet.

        Raises: UpstreamError(bad_response) over the cap, or for bytes that are not of the encoding.
        """
        if self._plain:
            self._take(len(data))
            return data
        data = self._held + data
        self._held = b""
        out: list[bytes] = []
        while data:
            if self._stream is None:
                if len(data) < 2:
                    self._held = data
                    break
                self._stream = zlib.decompressobj(self._window(data))
            if self._stream.eof:
                data = self._next_member(data)
                continue
            try:
                # One byte more than is left: with exactly what is left, a bomb would look like a full stop.
                piece = self._stream.decompress(data, self._left + 1)
            except zlib.error as error:
                raise UpstreamError("bad_response", "the upstream's answer is not compressed as it says") from error
            self._take(len(piece))
            out.append(piece)
            data = self._stream.unconsumed_tail or self._stream.unused_data
        return b"".join(out)

    def end(self) -> None:
        """Check that the body was whole; none at all is. Raises: UpstreamError(broken) when it was cut."""
        if self._held or (self._stream is not None and not self._stream.eof):
            raise UpstreamError("broken", "the upstream's compressed answer is cut short")

    @property
    def is_over(self) -> bool:
        """Whether the body came to more than the cap."""
        return self._left < 0

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise UpstreamError("bad_response", "the upstream's answer is too large once decompressed")

    def _window(self, data: bytes) -> int:
        """Return zlib's window bits. What is called deflate is zlib's format (RFC 9110 section 8.4.1.2), but some
        servers send the bare stream: the two header bytes of RFC 1950 tell them apart."""
        if self._gzip:
            return _GZIP
        return _ZLIB if data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0 else _RAW

    def _next_member(self, data: bytes) -> bytes:
        """Begin the next gzip member (RFC 1952 section 2.2), or drop the zero bytes that some servers pad with."""
        if self._gzip and data[:1] == b"\x1f":
            self._stream = None
            return data
        if data.strip(b"\0"):
            raise UpstreamError("bad_response", "the upstream's compressed answer has bytes behind its end")
        return b""


def inflated(body: bytes, encoding: str, cap: int) -> bytes:
    """Return a whole body decoded. Raises: UpstreamError, as `Inflater` does."""
    inflater = Inflater(encoding, cap)
    plain = inflater.feed(body)
    inflater.end()
    return plain
