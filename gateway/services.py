"""What the gateway lends its plugins: protocols, which the runtime fills. `gateway.plugin` has them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from aiohttp import ClientSession

from gateway.chat import ChatReply, ChatRequest, Event, Usage
from gateway.exchange import Exchange, Reply
from gateway.ledger.ledger import Ledger
from gateway.state.store import StateStore
from gateway.upstream.health import BreakerState, Health


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
    def line(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write a line of `level` with the fields in a mapping, for what is written often; ask `is_enabled` first."""

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

    def bound_nano_usd(self, provider: str, model: str, prompt_tokens: int, completion_tokens: int) -> int | None:
        """Return `bound` in billionths of a dollar, rounded up: what a `Quota` counts."""

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
