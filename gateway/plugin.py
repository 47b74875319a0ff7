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
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Protocol

from aiohttp import ClientSession, web

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


class Clock(Protocol):
    """Time, passed in so that tests can move it. All in seconds."""

    def monotonic(self) -> float:
        """Return time that never jumps: for durations."""

    def time(self) -> float:
        """Return Unix time: for dates."""


class Log(Protocol):
    """Structured logging: an event name and fields, the request's id among them as `request_id`."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...
    def critical(self, event: str, **fields: Any) -> None: ...
    def is_enabled(self, level: str) -> bool:
        """Return whether a line of `level` (debug info warning error critical) would be written."""

    def prefer_form(self, form: str) -> None:
        """Ask for lines as `json` or `text`; LOG_FORMAT in the environment wins."""


class Pricing(Protocol):
    """What tokens cost, in USD. None means that the price is not known, never that there is none."""

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return what `usage` costs; 0 where the provider is free."""

    def bound(self, provider: str, model: str, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
        """Return the most that so many tokens may cost: no cache discount, the highest tier that applies."""

    def explain(self, provider: str, model: str, usage: Usage) -> Sequence[str]:
        """Return the arithmetic in words, a line for each kind of token and one for the sum."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """How this process is. `in_flight` requests of the data plane; `lag_s` how late its event loop was at the worst
    over the last minute, in seconds; `breakers` of every target that a route lists, by name; `reloads` of the whole
    group since it started, `ok` and `failed`."""

    digest: str = ""
    in_flight: int = 0
    lag_s: float = 0.0
    breakers: Mapping[str, BreakerState] = field(default_factory=dict)
    reloads: Mapping[str, int] = field(default_factory=dict)


class Group(Protocol):
    """The processes that serve together on one port, this one among them. What they tell one another is JSON, in words
    that are the plugin's own: register them in `start`, once for all snapshots of a process."""

    def answer(self, what: str, tell: Callable[[], Any]) -> None:
        """Let any process ask this one `what`; `tell()` is its answer as it is now."""

    async def gather(self, what: str) -> list[Any]:
        """Return what each process answers, in no order; one that does not answer in time is left out."""

    def respond(self, what: str, reply: Callable[[Any], Awaitable[Any]]) -> None:
        """Let the admin listener ask this plugin `what` of one process; `reply(given)` returns JSON, and may raise a
        GatewayError. `sessions`, `session`, `end_session` and `remaining` are what the dashboard asks for."""

    def count(self, what: str, tell: Callable[[], Any]) -> None:
        """Count `what`: `tell()` returns numbers that only grow, in mappings and lists at any depth."""

    async def total(self, what: str) -> Any:
        """Return the sum of what all processes count as `what`, those that have died or been replaced included: exact
        for one that ended by itself, at most the last second missing of one that was killed. None: nobody counts it.

        Raises: StateLost while it cannot be known.
        """

    def vitals(self) -> Vitals:
        """Return how this process is."""


class Child(Protocol):
    """One child exchange. Ask for its answer once, whole or as events, inside the `async with`; after it, the exchange
    is ended: its usage, cost, outcome and attempts are final."""

    exchange: Exchange

    async def reply(self) -> ChatReply:
        """Return the whole answer. Raises: GatewayError, what a client would have been told."""

    def events(self) -> AsyncIterator[Event]:
        """Return its events as they come, Usage and Stop at the end and no Failure. The iteration raises: GatewayError,
        also where an answer breaks that has begun."""


class Children(Protocol):
    """Asks models on behalf of an exchange, in process."""

    def child(
        self,
        parent: Exchange,
        chat: ChatRequest,
        *,
        step: str = "",
        timeout_s: float | None = None,
        through: Callable[[Exchange], Awaitable[Reply]] | None = None,
    ) -> AbstractAsyncContextManager[Child]:
        """Return a request to be made for `parent`. It is routed by `chat.model` as a client's would be, what its
        caller may use included (but for `Plugin.asks`), with a row of its own (`step` is its name there), the parent's
        request id, principal, headers and deadline, which `timeout_s` shortens. It ends with its parent at the latest.

        `chat.dialect` says which endpoint it is for, `chat.stream` whether upstream streams. `through=call_next` sends
        it on from here instead: through the plugins inside the one that asks, on the parent's own route.

        Raises: BadRequest when that dialect cannot say `chat`; InternalError when exchanges ask for one another in a
        circle, or `parent` has ended.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """What the gateway lends its plugins.

    `state` is the shared state below the plugin's own prefix, `local` this process's own, for as long as the shared one
    is lost; `ledger` None when there is none; `health` what is known of targets. `http` is one client session for all
    plugins, made when first asked for; it follows no redirect unless told to. `workers` is how many processes of this
    machine share the state. `lasting(name, factory)` returns an object that survives reloads: made by `factory` the
    first time, the same one ever after. `group` asks the other processes. `gateway` asks models. `is_loopback`: only
    this machine can connect to the data listener. `route` names the route that the plugin stands on by an entry of its
    own there, None when it stands in the global chain.
    """

    clock: Clock
    log: Log
    home: Path
    state: StateStore
    local: StateStore
    ledger: Ledger | None
    health: Health
    pricing: Pricing
    http: Callable[[], ClientSession]
    workers: int
    lasting: Callable[[str, Callable[[], Any]], Any]
    group: Group
    gateway: Children
    is_loopback: bool = True
    route: str | None = None


class Plugin:
    """Subclass and override only what you need.

    A plugin that raises a GatewayError in `identify`, `handle`, `attempt`, `transform` or `complete` answers the client
    with it; any other exception there is a 500 that names the plugin in the log (fail closed). Errors in `observe` and
    `finish` are logged and passed over.
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

    async def identify(self, request: ClientRequest) -> Principal | None:
        """Return who is asking, None to leave it to the next plugin. Global chain only, before routing."""
        return None

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Wrap an exchange. Return when the answer's head is known; do not call next to answer yourself.

        `exchange.route` is None for what answers without a route: health, 404, preflights, a plugin's paths.
        """
        return await call_next(exchange)

    async def attempt(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]) -> Reply:
        """Wrap one try at one target."""
        return await call_next(attempt)

    def observe(self, exchange: Exchange, event: Event) -> None:
        """Watch an event of the answer; the bytes stay verbatim."""

    def transform(self, exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Yield what the client gets instead of `events`. May hold back a tail."""
        return events

    async def complete(self, exchange: Exchange) -> None:
        """Run before the terminator, or the last byte, is let go: what the client sees complete is stored."""

    async def finish(self, exchange: Exchange) -> None:
        """Run exactly once, however the exchange ended; usage, cost, outcome and attempts are known."""
