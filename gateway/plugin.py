"""The public API: all that a plugin may import.

A plugin is a file in `plugins/` with one subclass of `Plugin`; the file's name is the plugin's. Override only
the hooks you need: which ones is found once, at load, and the others cost nothing.

The life of a plugin:
1. `__init__(options, services)`: options are checked against `options_schema` and filled with its defaults. No I/O.
2. `start()`: may wait; may refuse with ConfigError, and then the old snapshot stays.
3. a request, in order: `identify` → `handle` → per try `attempt` → `transform`, `observe` → `complete` → `finish`.
4. `close()`: after the last exchange of its snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from gateway import credentials
from gateway.amounts import MoneyRate, Rate
from gateway.answered import answer
from gateway.chat import (
    ChatReply,
    ChatRequest,
    Event,
    Failure,
    Image,
    Message,
    OutputFormat,
    Part,
    Raw,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Start,
    Stop,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
    Usage,
)  # fmt: skip
from gateway.dialects.endpoints import NAMES as ENDPOINT_NAMES
from gateway.errors import (
    BadRequest,
    ConfigError,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    PermissionDenied,
    QuotaSpent,
    RateLimited,
    RequestTimeout,
    StateLost,
    TargetSkipped,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)  # fmt: skip
from gateway.exchange import Attempt, ClientRequest, Deadline, Exchange, Principal, Reply, Timeouts, Work, waited_s
from gateway.fold import fold
from gateway.ledger.ledger import Ledger, Row, SavedKey
from gateway.live import answer_events
from gateway.route import Route, Target
from gateway.services import Child, Children, Clock, Group, Log, Pricing, Services, Vitals
from gateway.state.store import NANO_USD, Bucket, Claim, Lease, Quota, StateStore, Taken
from gateway.trace import TraceContext, incoming_trace, trace_headers, trace_id_for
from gateway.upstream.health import Breaker, BreakerState, Health, TargetHealth

__all__ = [
    "ENDPOINT_NAMES", "EXCHANGE", "NANO_USD", "Attempt", "BadRequest", "Breaker", "BreakerState", "Bucket", "ChatReply",
    "ChatRequest", "Child", "Children", "Claim", "ClientRequest", "Clock", "ConfigError", "Deadline", "Event",
    "Exchange", "Failure", "GatewayError", "Group", "Health", "Image", "InternalError", "Lease", "Ledger", "Log",
    "Message", "MethodNotAllowed", "ModelNotFound", "MoneyRate", "NotFound", "OutputFormat", "Part", "PermissionDenied",
    "Plugin", "Pricing", "Principal", "Quota", "QuotaSpent", "Rate", "RateLimited", "Raw", "Reasoning",
    "ReasoningDelta", "Refusal", "Reply", "RequestTimeout", "Route", "Row", "SavedKey", "Services", "Start",
    "StateLost", "StateStore", "Stop", "Taken", "Target", "TargetHealth", "TargetSkipped", "Text", "TextDelta",
    "Timeouts", "TooLarge", "Tool", "ToolCall", "ToolCallDelta", "ToolChoice", "ToolResult", "TraceContext",
    "Unauthenticated", "Unavailable", "UpstreamError", "Usage", "Vitals", "Work", "answer", "answer_events",
    "credentials", "fold", "incoming_trace", "trace_headers", "trace_id_for", "waited_s", "web",
]  # fmt: skip

EXCHANGE = web.RequestKey("exchange", Exchange)
"""Where a handler of a plugin's own path finds its exchange."""


Identified = Awaitable[Principal | None] | Principal | None
"""What `identify` returns: who is asking, or what has to be waited for to know."""


class Plugin:
    """Subclass and override only what you need.

    A plugin that raises a GatewayError in `identify`, `handle`, `attempt`, `transform` or `complete` answers the client
    with it; any other exception there is a 500 that names the plugin in the log (fail closed). Errors in `observe` and
    `finish` are logged and passed over.

    `identify`, `handle`, `attempt` and `finish` are written with `async def` where they wait for something. One that
    waits for nothing may be a plain function, which returns what `call_next` returned, and costs a tenth.
    """

    options_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": False}
    """JSON Schema of the options. String formats `duration`, `size`, `rate` and `money` arrive already converted:
    seconds as float, bytes as int, rates as `Rate`, money as `MoneyRate`; `percent` as a fraction, 0 to 1."""

    needs_usage: bool = False
    """Whether this plugin acts on `exchange.usage` or `cost_usd`. On a route with one that does, upstreams are asked
    for the usage of streams whose clients did not ask for it; elsewhere it may be the gateway's own estimate."""

    public: bool | None = None
    """Who may use `http_routes`. None: whoever the plugins before this one let through; True: anybody, who asks is
    not found out; False: only who is known to the chain, also where that is found out by a plugin after this one."""

    models: Sequence[str] = ()
    """Models that this plugin answers itself, in `handle`; known once `__init__` has run. Each gets a route of its
    name, found before those of the file, with the global chain and no target. Global chain only."""

    asks: Mapping[str, str] = {}
    """Models that it will ask for, each with where its options say so (`steps[0].model`): a configuration in which no
    route takes one is refused. Who may use one of its `models` needs no permission for these. Known once `__init__` has
    run."""

    files: Sequence[Path] = ()
    """Files beside gateway.yaml that it has read, known once `__init__` has run: a change of one reloads."""

    name: str = ""

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        self.options = options
        self.services = services

    async def start(self) -> None:
        """Get ready. Raises: ConfigError to refuse the snapshot."""

    async def close(self) -> None:
        """Let go of what `start` took, after the last exchange of the snapshot."""

    def http_routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return paths of this plugin's own, served on the data listener inside the global plugins before it.

        A handler finds its exchange, and so who asks, as `request[EXCHANGE]`; it may raise a GatewayError.
        """
        return ()

    def identify(self, request: ClientRequest) -> Identified:
        """Return who is asking, None to leave it to the next plugin. Global chain only, before routing."""
        return None

    def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Wrap an exchange. Return when the answer's head is known; do not call next to answer yourself.

        `exchange.route` is None for what answers without a route: health, 404, preflights, a plugin's paths.
        """
        return call_next(exchange)

    def attempt(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Wrap one try at one target."""
        return call_next(attempt)

    def observe(self, exchange: Exchange, event: Event) -> None:
        """Watch an event of the answer; the bytes stay verbatim."""

    def transform(self, exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Yield what the client gets instead of `events`. May hold back a tail."""
        return events

    async def complete(self, exchange: Exchange) -> None:
        """Run before the terminator, or the last byte, is let go: what the client sees complete is stored."""

    def finish(self, exchange: Exchange) -> Awaitable[None] | None:
        """Run exactly once, however the exchange ended; usage, cost, outcome and attempts are known."""
