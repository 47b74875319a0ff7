"""A collector: an OTLP/HTTP server on loopback that keeps the spans it is sent."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

CHAT = "/v1/chat/completions"
WAIT_S = 20.0
KINDS = {
    trace_pb2.Span.SPAN_KIND_SERVER: "server",
    trace_pb2.Span.SPAN_KIND_CLIENT: "client",
    trace_pb2.Span.SPAN_KIND_INTERNAL: "internal",
}


def asked(model: str = "m", *, text: str = "one two three", stream: bool = False) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}


@dataclass(slots=True)
class Seen:
    """One span as the collector got it; ids are hex, times Unix seconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    start_s: float
    end_s: float
    attributes: Mapping[str, Any]
    events: Mapping[str, float]
    failed: str | None
    resource: Mapping[str, Any] = field(repr=False)


class Collector:
    """What came: `spans`, and the `headers` of every call. `answer` is the status that callers get; while `gate` is
    clear they get none."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Seen] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.answer = 200
        self.gate = asyncio.Event()
        self.gate.set()
        self._came = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        await self.gate.wait()
        async with self._came:
            self.paths.append(request.path)
            self.headers.append(dict(request.headers))
            if self.answer == 200:
                self.spans.extend(_spans_in(body))
            self._came.notify_all()
        return web.Response(status=self.answer)

    async def until(self, ready: Callable[[Collector], bool]) -> None:
        """Wait until what came makes `ready` true."""
        async with asyncio.timeout(WAIT_S), self._came:
            await self._came.wait_for(lambda: ready(self))

    async def of(self, kind: str, count: int = 1) -> list[Seen]:
        """Return the spans of a kind, oldest first, once there are `count`."""
        await self.until(lambda self: len([each for each in self.spans if each.kind == kind]) >= count)
        return sorted((each for each in self.spans if each.kind == kind), key=lambda each: each.start_s)


@asynccontextmanager
async def collector(port: int = 0) -> AsyncIterator[Collector]:
    taken = Collector()
    app = web.Application()
    app.add_routes([web.post("/{path:.*}", taken.take)])
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", port))
    await web.SockSite(runner, sock).start()
    taken.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        yield taken
    finally:
        taken.gate.set()
        await runner.cleanup()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _spans_in(body: bytes) -> list[Seen]:
    told = ExportTraceServiceRequest()
    told.ParseFromString(body)
    found = []
    for of_resource in told.resource_spans:
        resource = _plain(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
                found.append(
                    Seen(
                        name=span.name,
                        kind=KINDS[span.kind],
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        state=span.trace_state,
                        start_s=span.start_time_unix_nano / 1e9,
                        end_s=span.end_time_unix_nano / 1e9,
                        attributes=_plain(span.attributes),
                        events={event.name: event.time_unix_nano / 1e9 for event in span.events},
                        failed=span.status.message if failed else None,
                        resource=resource,
                    )
                )
    return found


def _plain(attributes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [inner.string_value for inner in value.values] if kind == "array_value" else value
    return found
