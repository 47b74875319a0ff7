"""Spans on their way to a collector: collected, encoded and sent by a thread of their own, over OTLP/HTTP.

Imported only where an endpoint is configured, because it needs the extra `otel`. Nobody ever waits for the collector:
what it does not take is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from .spans import Span

MOST_WAITING = 4096
"""Exchanges whose spans wait to be sent; what comes while so many do is dropped."""
BATCH = 48
"""Exchanges that are sent at once. Encoding one takes 0.1 ms, and the loop, which waits for the interpreter meanwhile,
gets its turn every 5 ms."""
SEND_S = 5.0
"""How long the collector has for a batch, further tries of the same included."""
FLUSH_S, LAST_S = 0.25, 0.1
"""How long is waited at the end, and then for what cannot be sent to be told. The gateway gives all its plugins half a
second to close."""
LEAST_INTERVAL_S = 0.01
KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
SCOPE = InstrumentationScope("llm-gateway", schema_url="https://opentelemetry.io/schemas/1.45.0")
UNSET = Status(StatusCode.UNSET)


class Counts(Protocol):
    """How many spans were sent and dropped since the process started."""

    def sent(self, spans: int) -> None: ...

    def dropped(self, spans: int) -> None: ...


class Sender:
    """Sends spans until it is closed. `tell` hears, in the sender's thread, why spans are dropped and when that is
    over (None): once each time."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        service_name: str,
        interval_s: float,
        counts: Counts,
        tell: Callable[[str | None], None],
    ) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=SEND_S)
        self._resource = Resource.create({"service.name": service_name, "process.pid": os.getpid()})
        self._interval_s, self._counts, self._tell = max(interval_s, LEAST_INTERVAL_S), counts, tell
        self._waiting: deque[list[Span]] = deque()
        self._wake = threading.Event()
        self._closing = self._failing = False
        self._heard = _Heard()
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)
        self._thread.start()

    def put(self, spans: list[Span]) -> None:
        """Send `spans` some time; drops them when too many wait already. Never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self._counts.dropped(len(spans))
            return
        self._waiting.append(spans)
        if len(self._waiting) == BATCH:
            self._wake.set()

    def close(self) -> None:
        """Send what waits, as far as the collector takes it in FLUSH_S; to be called in another thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(FLUSH_S)
        if self._thread.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends the pause before a further try
            self._thread.join(LAST_S)

    # --- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        logger = logging.getLogger("opentelemetry")
        self._heard.thread = threading.get_ident()
        logger.addHandler(self._heard)
        try:
            closing = False
            while not closing:
                self._wake.wait(self._interval_s)
                self._wake.clear()
                closing = self._closing
                while self._waiting and not (self._failing and closing):
                    self._send()
            for spans in self._waiting:
                self._counts.dropped(len(spans))
        finally:
            logger.removeHandler(self._heard)

    def _send(self) -> None:
        batch: list[ReadableSpan] = []
        for _ in range(min(BATCH, len(self._waiting))):
            batch.extend(map(self._readable, self._waiting.popleft()))
        try:
            done = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:  # the end of the line: a batch that cannot be sent must not end the thread
            done, self._heard.last = False, f"{type(error).__name__}: {error}"
        if done:
            self._counts.sent(len(batch))
        else:
            self._counts.dropped(len(batch))
        if done is self._failing:
            self._failing = not done
            self._tell(None if done else self._heard.last or "the collector did not take them")

    def _readable(self, span: Span) -> ReadableSpan:
        # Made whole, where the SDK's tracer would begin and end it: the ids went upstream before anybody knew whether
        # there would be a span, and the times are the exchange's own.
        trace = span.trace
        trace_id, flags = int(trace.trace_id, 16), TraceFlags(trace.flags)
        state = TraceState.from_header([trace.state]) if trace.state else TraceState()
        parent = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), span.is_remote, flags, state)
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace_id, int(span.span_id, 16), False, flags, state),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            events=_events(span.events),
            kind=KINDS[span.kind],
            status=UNSET if span.failed is None else Status(StatusCode.ERROR, span.failed),
            start_time=span.start_ns,
            end_time=max(span.start_ns, span.end_ns),
            instrumentation_scope=SCOPE,
        )


def _events(events: Sequence[tuple[str, int, Mapping[str, Any]]]) -> list[Event]:
    return [Event(name, dict(attributes), timestamp) for name, timestamp, attributes in events]


class _Heard(logging.Handler):
    """Keeps what the exporter says in this thread: it logs why it failed, and returns only that it did.

    That there is a handler keeps Python from writing such lines to stderr, where every line is the gateway's own.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self.thread = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of this thread."""
        if record.thread == self.thread:
            self.last = " ".join(record.getMessage().split())[:300]
