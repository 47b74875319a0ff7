"""The verbatim speed: client and upstream speak the same dialect, and the bytes stay the upstream's.

A framer cuts the stream into whole events so that a partial one is never delivered; a scanner beside it finds the
first content, the finish, the terminator, errors and usage. Observers see events parsed from a copy.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from gateway.chat import Usage
from gateway.dialects.errors import redact_body
from gateway.dialects.sse import Piece
from gateway.errors import GatewayError, UpstreamError
from gateway.relay.estimated import used_so_far
from gateway.relay.said import Said
from gateway.relay.stream import LiveStream
from gateway.relay.unasked import without_null_usage
from gateway.relay.usual import Usual, usual_event
from gateway.upstream.chunked import HEADS, head_of_whole

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode
MOST_LESSONS = 16
"""So many usual events are looked for in a row without one being met again."""


class VerbatimStream(LiveStream):
    """Same bytes out as in: whole events up to and including the one terminator, nothing after it."""

    __slots__ = (
        "_asked_usage", "_echo", "_framer", "_known", "_learned_at", "_lessons", "_parser", "_said", "_scanner",
        "_show", "_usual",
    )  # fmt: skip

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._framer = self.dialect.framer()
        self._scanner = self.dialect.scanner()
        self._said = Said(self.dialect.name)
        self._asked_usage = self.attempt.asked_usage
        route = self.exchange.route
        self._echo = self.exchange.request.model if route is not None and route.model_echo == "requested" else None
        self._show = self.chain.watcher(self.exchange)
        self._parser = self.dialect.stream_parser() if self._show else None
        self._usual: Usual | None = None  # what `_known` is while no event is half here
        self._known: Usual | None = None
        self._learned_at = 0
        self._lessons = 0 if self._parser is not None or self._echo is not None else MOST_LESSONS

    def framed(self, segment: bytes) -> bool:
        """Pass on a segment as it came when it is one whole HTTP chunk that holds one event as usual, and return
        whether it was: nearly every event of most streams takes this way and no other."""
        usual, transport = self._usual, self._raw
        if usual is None or transport is None:
            return False
        size = len(segment)
        head = HEADS.get(size) or head_of_whole(size)
        words = segment.removeprefix(head).removeprefix(usual.before).removesuffix(usual.after_framed)
        # Nothing but all three taken off makes it so short.
        if len(words) != size - usual.framed_bytes - len(head):
            return False
        if usual.pad is not None:
            words = usual.without_padding(words)
        if 34 in words or 10 in words or 13 in words or (92 in words and words[-1] == 92):
            return False
        self._said.size_bytes += len(words)
        self._last_at = self._now()
        if not transport.is_closing():
            transport.write(segment)
        return True

    def digest(self, chunk: bytes) -> bytes:
        """Return the whole events `chunk` completed, up to the terminator or the upstream's own error."""
        framer, scanner, said, usual = self._framer, self._scanner, self._said, self._usual
        if usual is not None and (size := usual.words_in(chunk)) >= 0:
            said.size_bytes += size
            return usual.as_shown(chunk, size)
        usual = self._known
        events = came = framer.feed(chunk)
        if self._asked_usage:
            events = list(came)
        for at, event in enumerate(events):
            if type(event) is Piece:
                scanner.content = True
                continue
            if usual is not None and (size := usual.words_in(event)) >= 0:
                said.size_bytes += size
                if usual.shown is not None:
                    events[at] = usual.as_shown(event, size)
                continue
            scanner.see(event)
            said.see(event)
            if scanner.error is not None or scanner.terminated:
                return self._stop(events[:at], event, came[:at])
            shown = event
            if self._asked_usage:
                events[at] = shown = b"" if scanner.usage_only else without_null_usage(event)  # type: ignore[attr-defined]
            usual = self._learn(event, shown) if scanner.quiet and self._lessons and said.end else None
        self._known, self._usual = usual, usual if framer.is_between else None
        if self._parser is not None and chunk:
            self._observe(b"".join(came))
        if scanner.content and not self.content:
            self.commit()
        if self._echo is not None:
            events = [each if type(each) is Piece else event_with_model(each, self._echo) for each in events]
        return events[0] if len(events) == 1 else b"".join(events)

    def _learn(self, event: bytes, shown: bytes) -> Usual | None:
        """Return what will be usual from here on: what differs from `event`, of which the client got `shown`, in its
        words alone. A stream in which nothing is usual, since every event has an id, say, is given up."""
        said = self._said
        start, end = said.start, said.end
        self._lessons = self._lessons - 1 if said.size_bytes - end + start == self._learned_at else MOST_LESSONS
        self._learned_at = said.size_bytes
        return usual_event(event, start, end, shown)

    def drain(self, error: UpstreamError | None) -> None:
        """Complete when the finish was seen, however the transfer ended; else say it was cut."""
        scanner = self._scanner
        rest = self._framer.tail
        if error is None and rest:
            # An empty line ends an event of SSE; among lines of JSON the ollama packages would read it as a broken one.
            rest += b"\n\n" if self.dialect.stream_type == "text/event-stream" else b"\n"
            was_finished = scanner.finished
            scanner.see(rest)
            if scanner.error is not None or scanner.terminated:
                out = self._stop([], rest, [])
                if out:
                    self.put(out)
                return
            if scanner.finished and not was_finished:  # the finish itself: what completes an answer belongs to it
                if self._parser is not None:
                    self._observe(rest)
                if not self.content:
                    self.commit()
                self.put(event_with_model(rest, self._echo) if self._echo is not None else rest)
        self.exchange.usage = scanner.usage or self.exchange.usage
        if scanner.finished:
            self._settle_observers()
            self.finish(scanner.terminator)
            return
        self.fail(cut_short(error))

    def _stop(self, before: list[bytes], last: bytes, came: list[bytes]) -> bytes:
        """End with `last`, which came after `before` (`came`, as the upstream sent it)."""
        scanner = self._scanner
        shown = last
        if self._echo is not None:
            before = [each if type(each) is Piece else event_with_model(each, self._echo) for each in before]
            shown = event_with_model(last, self._echo)
        out = b"".join(before)
        self.exchange.usage = scanner.usage or self.exchange.usage
        if self._parser is not None:
            self._observe(b"".join(came) + last)
            if self._over:  # an observer ended it
                return b""
        if scanner.error is not None:
            if scanner.content and not self.content:
                self.commit()
            if out:
                self.put(out)
            self.fail(scanner.error, redact_body(shown))  # SECURITY: upstreams repeat keys in what they say of errors
            return b""
        if not self.content:
            self.commit()
        if out:
            self.put(out)
        self._settle_observers()
        self.finish(shown)
        return b""

    def error_event(self, error: GatewayError) -> bytes:
        """Return the error as the event that follows those that have passed."""
        return self._scanner.fail(error, self.exchange.id)

    def _observe(self, data: bytes) -> None:
        assert self._parser is not None and self._show is not None
        for event in self._parser.feed(data):
            self._show(event)

    def _settle_observers(self) -> None:
        if self._parser is not None and self._show is not None:
            for event in self._parser.end():
                self._show(event)

    def used(self) -> tuple[Usage | None, int]:
        """Return what the scanner found and what was counted."""
        scanner, said_bytes = self._scanner, self._said.size_bytes
        return used_so_far(scanner.usage, said_bytes, is_whole=scanner.finished), said_bytes


def cut_short(error: UpstreamError | None) -> GatewayError:
    """Return how a stream without a finish failed: its time ran out, or it was cut."""
    if error is not None and error.kind == "timeout":
        return error
    return UpstreamError("truncated", "the upstream ended the stream before its finish")


def with_model(body: bytes, model: str) -> bytes:
    """Return a JSON object whose `model`, at the top or in its `message` or `response`, reads `model`.

    Every other value keeps its bytes; what is no such object is returned as it is.
    """
    try:
        fields = _decode(body)
        if "model" in fields:
            fields["model"] = Raw(_encode(model))
            return _encode(fields)
        for name in ("message", "response"):
            inner = bytes(fields.get(name, b""))
            if inner.startswith(b"{"):
                fields[name] = Raw(with_model(inner, model))
                return _encode(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return body


def event_with_model(event: bytes, model: str) -> bytes:
    """Return a wire event (SSE with one `data:` line, or a line of NDJSON) with `with_model` applied to its object."""
    start, end = event.find(b"{"), event.rfind(b"}")
    if start < 0 or event.find(b'"model"') < 0:
        return event
    return event[:start] + with_model(event[start : end + 1], model) + event[end + 1 :]
