"""Show every exchange as a trace: one span for it, one for each try at a target, sent to an OpenTelemetry collector."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.plugin import (
    Attempt,
    ConfigError,
    Exchange,
    Plugin,
    Reply,
    Services,
    TraceContext,
    incoming_trace,
    trace_headers,
    trace_id_for,
)  # fmt: skip

from .content import Heard, content_of
from .spans import attempt_id, spans_of

if TYPE_CHECKING:
    from .otlp import Sender

TRACES = "/v1/traces"


class Tracing(Plugin):
    """Options:

    endpoint: the collector's OTLP/HTTP address, `http://collector:4318`; `/v1/traces` is added where it is missing.
    Empty (the default): no tracing, at no cost.
    headers: what every call to the collector carries, credentials above all (default none).
    service_name: what the traces are told apart by (default llm-gateway).
    sample: how many of the traces that begin here are recorded (default 100%). Where a client brings a `traceparent`,
    its own choice holds.
    content: whether spans say what was asked and answered (default false).
    interval: how long spans are collected before they are sent (default 1s).

    Needs the extra `otel`. Spans that the collector does not take are dropped and counted: no request waits for it.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "endpoint": {
                "type": "string",
                "default": "",
                "description": "The collector's OTLP/HTTP address, http://collector:4318. Empty: no tracing.",
            },
            "headers": {
                "type": "object",
                "additionalProperties": {"type": "string", "writeOnly": True},
                "default": {},
                "description": "Headers of every call to the collector, credentials above all.",
            },
            "service_name": {
                "type": "string",
                "minLength": 1,
                "default": "llm-gateway",
                "description": "The service.name of all spans.",
            },
            "sample": {
                "type": "string",
                "format": "percent",
                "default": "100%",
                "description": "How many of the traces that begin here are recorded.",
            },
            "content": {
                "type": "boolean",
                "default": False,
                "description": "Whether spans say what was asked and answered.",
            },
            "interval": {
                "type": "string",
                "format": "duration",
                "default": "1s",
                "description": "How long spans are collected before they are sent.",
            },
        },
    }

    def __new__(cls, options: Mapping[str, Any], services: Services) -> Plugin:  # type: ignore[misc]  # see below
        """Return a plugin without a hook while there is no endpoint: what is not there costs no request anything."""
        if not options["endpoint"]:
            return Plugin(options, services)
        return super().__new__(_WithContent if options["content"] else cls)

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._endpoint = _address(options["endpoint"])
        try:
            from .otlp import Sender  # noqa: PLC0415 — the extra's packages, for who traces only
        except ImportError as error:
            raise ConfigError(
                f'needs the module "{error.name}"', cure='install the extra: pip install "llm-gateway[otel]"'
            ) from error
        self._make: type[Sender] = Sender
        self._sender: Sender | None = None
        # The share of all ids whose last 16 digits are below this; so every gateway decides alike.
        self._sampled_below = int(options["sample"] * (1 << 64))
        self._counts: Counts = services.lasting("counts", Counts)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Start the thread that sends."""
        self._loop = asyncio.get_running_loop()
        self.services.group.count("spans", self._counts.tell)
        options = self.options
        self._sender = self._make(
            self._endpoint, options["headers"], options["service_name"], options["interval"], self._counts, self._tell
        )

    async def close(self) -> None:
        """Send what waits, as far as the collector takes it in a moment."""
        if self._sender is not None:
            await asyncio.to_thread(self._sender.close)

    async def attempt(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]) -> Reply:
        """Let the upstream's spans be children of this attempt's."""
        exchange = attempt.exchange
        attempt.request_headers |= trace_headers(self._trace(exchange), attempt_id(exchange, attempt.number))
        return await call_next(attempt)

    async def finish(self, exchange: Exchange) -> None:
        """Note the spans, where the trace is recorded; pages and probes have none."""
        if exchange.route is None and exchange.request.endpoint is None and not exchange.work:
            return
        trace = self._trace(exchange)
        if trace.sampled and self._sender is not None:
            self._sender.put(spans_of(exchange, trace, self.services.clock.time(), await self._content(exchange)))

    async def _content(self, exchange: Exchange) -> Mapping[str, Any] | None:
        return None

    def _trace(self, exchange: Exchange) -> TraceContext:
        """Return where in which trace `exchange` stands, settled when first asked: a child in its parent's."""
        known: TraceContext | None = exchange.notes.get("tracing")
        if known is None:
            known = (
                incoming_trace(exchange.request.headers) if exchange.parent is None else self._trace(exchange.parent)
            )
            if known is None:
                trace_id = trace_id_for(exchange.id)
                known = TraceContext(trace_id, flags=int(int(trace_id[16:], 16) < self._sampled_below))
            exchange.notes["tracing"] = known
        return known

    def _tell(self, why: str | None) -> None:
        """Log that spans are dropped, or no longer; called in the sender's thread."""
        log, counts = self.services.log, self._counts
        loop = self._loop
        assert loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            if why is None:
                loop.call_soon_threadsafe(lambda: log.info("spans_sent_again", dropped=counts.numbers["dropped"]))
            else:
                loop.call_soon_threadsafe(
                    lambda: log.warning("spans_dropped", why=why, dropped=counts.numbers["dropped"])
                )


class _WithContent(Tracing):
    """One that also says what was said."""

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Listen to the answer."""
        heard = exchange.notes["tracing heard"] = Heard()
        exchange.observe(heard)
        return await call_next(exchange)

    async def _content(self, exchange: Exchange) -> Mapping[str, Any] | None:
        return await content_of(exchange, exchange.notes.get("tracing heard"))


class Counts:
    """How many spans were sent and dropped, by whichever thread."""

    def __init__(self) -> None:
        self.numbers = {"sent": 0, "dropped": 0}
        self._lock = Lock()

    def sent(self, spans: int) -> None:
        """Count spans that the collector took."""
        with self._lock:
            self.numbers["sent"] += spans

    def dropped(self, spans: int) -> None:
        """Count spans that nobody will see."""
        with self._lock:
            self.numbers["dropped"] += spans

    def tell(self) -> dict[str, int]:
        """Return both."""
        return dict(self.numbers)


def _address(endpoint: str) -> str:
    """Return where spans are sent to. Raises: ConfigError for what is no address."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("endpoint is no address of a collector", cure='write one such as "http://127.0.0.1:4318"')
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(TRACES) else path + TRACES).geturl()
