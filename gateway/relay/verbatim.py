"""The verbatim speed: client and upstream speak the same dialect, and the bytes stay the upstream's.

A framer cuts the stream into whole events so that a partial one is never delivered; a scanner beside it finds the
first content, the finish, the terminator, errors and usage. Observers see events parsed from a copy.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.sse import Piece
from gateway.errors import GatewayError, UpstreamError
from gateway.relay.stream import LiveStream


class VerbatimStream(LiveStream):
    """Same bytes out as in: whole events up to and including the one terminator, nothing after it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._framer = self.dialect.framer()
        self._scanner = self.dialect.scanner()
        self._show = self.chain.watcher(self.exchange)
        self._parser = self.dialect.stream_parser() if self._show else None

    def digest(self, chunk: bytes) -> bytes:
        """Return the whole events `chunk` completed, up to the terminator or the upstream's own error."""
        scanner = self._scanner
        events = self._framer.feed(chunk)
        for at, event in enumerate(events):
            if type(event) is Piece:
                scanner.content = True
                continue
            scanner.see(event)
            if scanner.error is not None or scanner.terminated:
                return self._stop(events[:at], event)
        if self._parser is not None and chunk:
            self._observe(b"".join(events))
        if scanner.content and not self.content:
            self.commit()
        return events[0] if len(events) == 1 else b"".join(events)

    def drain(self, error: UpstreamError | None) -> None:
        """Complete when the finish was seen, however the transfer ended; else say it was cut."""
        scanner = self._scanner
        rest = self._framer.tail
        if error is None and rest:
            scanner.see(rest + b"\n\n")
            if scanner.error is not None or scanner.terminated:
                out = self._stop([], rest + b"\n\n")
                if out:
                    self.put(out)
                return
        self.exchange.usage = scanner.usage or self.exchange.usage
        if scanner.finished:
            self._settle_observers()
            self.finish(scanner.terminator)
            return
        self.fail(cut_short(error))

    def _stop(self, before: list[bytes], last: bytes) -> bytes:
        scanner = self._scanner
        out = b"".join(before)
        self.exchange.usage = scanner.usage or self.exchange.usage
        if self._parser is not None:
            self._observe(out + last)
            if self._over:  # an observer ended it
                return b""
        if scanner.error is not None:
            if out:
                self.put(out)
            self.fail(scanner.error, last)
            return b""
        if not self.content:
            self.commit()
        if out:
            self.put(out)
        self._settle_observers()
        self.finish(last)
        return b""

    def _observe(self, data: bytes) -> None:
        assert self._parser is not None and self._show is not None
        for event in self._parser.feed(data):
            self._show(event)

    def _settle_observers(self) -> None:
        if self._parser is not None and self._show is not None:
            for event in self._parser.end():
                self._show(event)

    def _settle(self, tail: bytes) -> None:
        self.exchange.usage = self._scanner.usage or self.exchange.usage
        super()._settle(tail)


def cut_short(error: UpstreamError | None) -> GatewayError:
    """Return how a stream without a finish failed: its time ran out, or it was cut."""
    if error is not None and error.kind == "timeout":
        return error
    return UpstreamError("truncated", "the upstream ended the stream before its finish")
