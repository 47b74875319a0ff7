"""The life of one request: what the client asked, what was tried, how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

import msgspec

from gateway.chat import ChatRequest, Event, Usage
from gateway.dialects.protocol import Dialect
from gateway.errors import GatewayError
from gateway.reply import Reply, Source, Whole
from gateway.request import DEFAULT_TIMEOUTS, LONG_BYTES, ClientRequest, Deadline, Principal, Timeouts
from gateway.route import Route, Target
from gateway.upstream.health import TargetHealth
from gateway.waited import waited_s
from gateway.work import Offspring, Origin, Work, summed

__all__ = [
    "DEFAULT_TIMEOUTS", "LONG_BYTES", "Attempt", "ClientRequest", "Deadline", "Exchange", "Observer", "Outcome",
    "Principal", "Reply", "Source", "Timeouts", "Transformer", "Whole", "Work", "waited_s",
]  # fmt: skip

Outcome = Literal["completed", "failed", "disconnected"]
Observer = Callable[["Exchange", Event], None]
Transformer = Callable[["Exchange", AsyncIterator[Event]], AsyncIterator[Event]]

_encode = msgspec.json.encode
_ZERO = Decimal(0)


class Attempt:
    """One try at one target. `number` counts from 1; `error` is set when it failed; `ended_at_s` is None while its
    answer still comes. `usage` is what this try used as far as it is known, `cost_usd` its price (None: unknown); both
    are final in `finish`.

    Between `sent_at_s` (None: nothing was sent) and `received_at_s`, when the last of its answer had come, the gateway
    waited for upstream. `said_bytes` are the words of its stream, counted beside it. `asked_usage`: the stream's usage
    was asked for by the gateway and not by the client, who must not see it.

    `request_headers` are put on the request to upstream, in place of those of the same name: for plugins, in `attempt`.

    `rival` runs beside it (a hedge); the first of the two to have content wins, and the other has `lost`: whatever
    still comes of its stream is dropped.
    """

    __slots__ = (
        "asked_usage", "cost_usd", "deadline", "ended_at_s", "error", "exchange", "health", "lost", "number",
        "received_at_s", "request_headers", "rival", "said_bytes", "sent_at_s", "started_at_s", "status", "target",
        "usage",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, target: Target, number: int, started_at_s: float, health: TargetHealth
    ) -> None:
        self.exchange, self.target, self.number, self.health = exchange, target, number, health
        self.deadline = exchange.deadline
        self.started_at_s = started_at_s
        self.ended_at_s: float | None = None
        self.status: int | None = None
        self.error: GatewayError | None = None
        self.usage: Usage | None = None
        self.cost_usd: Decimal | None = None
        self.sent_at_s: float | None = None
        self.received_at_s: float | None = None
        self.said_bytes = 0
        self.asked_usage = False
        self.request_headers: dict[str, str] = {}
        self.rival: Attempt | None = None
        self.lost = False
        health.in_flight += 1

    def win(self) -> None:
        """Note that it is this one's answer which the client gets."""
        rival = self.rival
        if rival is not None:
            rival.lost = True
            rival.rival = self.rival = None

    def end(self, at_s: float) -> None:
        """Note that nothing more of it comes; the second time nothing happens."""
        if self.ended_at_s is None:
            self.ended_at_s = at_s
            self.health.in_flight -= 1


class Exchange:
    """The whole life of one request.

    `headers` are put on whatever answer goes out, errors included. Times ending `_at_s` are `deadline.now()`,
    in seconds. `usage`, `cost_usd` (None: unknown), `outcome`, `status` and `error` are final in `finish`.
    `notes` is free space for plugins, keyed by plugin name. `digest` is the snapshot's. `inner` answers what has no
    route. `sources` are the live answers that were opened; one that is not relayed is closed at the end. `closes`:
    the client's connection closes after this answer.

    `marks` are the times at which each `handle` of its chain, and then the innermost step, began, `identify_s` how long
    it took to find out who asks; None and 0 where nobody measures.

    `admitted`: it leaves a row. `accounted`: usage is final.

    A child, made by a plugin on behalf of another exchange, has its `origin`; `offspring` is what this one's children
    used that have ended. `usage` and `cost_usd` are the sums with theirs, `own_usage` and `own_cost_usd` what its own
    attempts used: its row has those alone, so that every token is counted once.

    `task` works on the answer until its head is known, and `aborted` is what cancelled it; the server's business.
    """

    __slots__ = (
        "_abort", "_chat", "_own", "_row_id", "_timeouts", "aborted", "accounted", "admitted", "attempts",
        "chat_changed", "closes", "committed", "cost_usd", "deadline", "dialect", "digest", "dropped", "ended_at_s",
        "error", "first_token_at_s", "headers", "id", "identify_s", "inner", "marks", "notes", "observers", "offspring",
        "origin", "outcome", "parent_id", "principal", "request", "route", "sources", "started_at_s", "status", "task",
        "transforms", "usage", "work",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        request: ClientRequest,
        dialect: Dialect,
        deadline: Deadline,
        started_at_s: float,
        digest: str = "",
        parent_id: str | None = None,
    ) -> None:
        self.id, self.parent_id, self.request, self.dialect, self.digest = id, parent_id, request, dialect, digest
        self.deadline, self.started_at_s = deadline, started_at_s
        self._timeouts = DEFAULT_TIMEOUTS
        self.route: Route | None = None
        self.principal: Principal | None = None
        self.attempts: list[Attempt] = []
        self.headers: dict[str, str] = {}
        self.dropped: tuple[str, ...] = ()
        self.usage: Usage | None = None
        self.cost_usd: Decimal | None = None
        self.status = 0
        self.outcome: Outcome | None = None
        self.error: GatewayError | None = None
        self.first_token_at_s: float | None = None
        self.ended_at_s: float | None = None
        self.committed = False
        self.notes: dict[str, Any] = {}
        self.observers: list[Observer] = []
        self.transforms: list[Transformer] = []
        self.sources: list[Source] = []
        self.closes = self.admitted = self.accounted = False
        self.marks: list[float] | None = None
        self.identify_s = 0.0
        self.origin: Origin | None = None
        self.offspring: Offspring | None = None
        self.work: list[Work] | None = None
        self._row_id: str | None = None
        self._chat: ChatRequest | None = None
        self.chat_changed = False
        self._own: tuple[Usage | None, Decimal | None] = (None, _ZERO)
        self._abort: Callable[[GatewayError], None] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.aborted: GatewayError | None = None
        self.inner: Callable[[Exchange], Awaitable[Reply]] | None = None

    @property
    def row_id(self) -> str:
        """What the ledger calls this exchange. Clients may use one `id` twice, and a child has its parent's."""
        if self._row_id is None:
            self._row_id = uuid4().hex if self.parent_id or "x-request-id" in self.request.headers else self.id
        return self._row_id

    @property
    def parent(self) -> Exchange | None:
        """The exchange that this one is a child of; None for a client's request, and for a shadow."""
        return None if self.origin is None else self.origin.parent

    @property
    def is_inside(self) -> bool:
        """Whether this child went on from where its parent stood in the chain: plugins further out saw only that."""
        return self.origin is not None and self.origin.is_inside

    @property
    def has_children(self) -> bool:
        """Whether a plugin has asked something on behalf of this exchange."""
        return self.offspring is not None

    @property
    def own_usage(self) -> Usage | None:
        """What this exchange's own attempts used."""
        return self.usage if self.offspring is None else self._own[0]

    @property
    def own_cost_usd(self) -> Decimal | None:
        """What this exchange's own attempts cost; 0 when there were none."""
        return self.cost_usd if self.offspring is None else self._own[1]

    @property
    def all_attempts(self) -> Sequence[Attempt]:
        """The attempts of this exchange and of its children that have ended."""
        return self.attempts if self.offspring is None else [*self.attempts, *self.offspring.attempts]

    @property
    def chat(self) -> ChatRequest:
        """The request in neutral words, parsed when first read. Raises: BadRequest."""
        if self._chat is None:
            fields = self.request.members
            self._chat = self.dialect.parse_request(self.request.body if fields is None else _encode(fields))
        return self._chat

    @chat.setter
    def chat(self, value: ChatRequest) -> None:
        """Replace the request; every target's body is then rendered from it."""
        self._chat = value
        self.chat_changed = True

    @property
    def timeouts(self) -> Timeouts:
        """How long this exchange waits; setting them moves the deadline."""
        return self._timeouts

    @timeouts.setter
    def timeouts(self, value: Timeouts) -> None:
        self._timeouts = value
        self.deadline.set_total(value.total_s)

    @property
    def target(self) -> Target | None:
        """The target of the last attempt, None before the first."""
        return self.attempts[-1].target if self.attempts else None

    def settle(self, usage: Usage | None, cost_usd: Decimal | None) -> None:
        """State what this exchange's own attempts used; what its children do comes on top."""
        self._own = usage, cost_usd
        if self.offspring is None:
            self.usage, self.cost_usd = usage, cost_usd
        else:
            self._sum(self.offspring)

    def take_in(self, child: Exchange) -> None:
        """Count what a child used that has ended."""
        if self.offspring is not None:
            self.offspring.add(child)
            self._sum(self.offspring)

    def _sum(self, offspring: Offspring) -> None:
        usage, cost_usd = self._own
        self.usage = summed((usage, offspring.usage))
        self.cost_usd = None if cost_usd is None or offspring.cost_usd is None else cost_usd + offspring.cost_usd

    def note_work(
        self,
        *,
        kind: str,
        name: str,
        started_at_s: float,
        ended_at_s: float,
        ok: bool = True,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Note something a plugin did besides attempts, a tool's call for example: it stands in the row, among the
        tries. Times are those of `deadline.now()`; see `Work`."""
        if self.work is None:
            self.work = []
        self.work.append(Work(kind, name, started_at_s, ended_at_s, ok, facts or {}))

    def observe(self, function: Observer) -> None:
        """Call `function(exchange, event)` for every event of this exchange's answer; the bytes stay verbatim."""
        self.observers.append(function)

    def transform(self, function: Transformer) -> None:
        """Pass this exchange's answer through `function(exchange, events)`, which yields what the client gets."""
        self.transforms.append(function)

    def abort(self, error: GatewayError) -> None:
        """End the exchange with `error`: a running stream with its error event, one not yet begun with an answer."""
        self.error = error
        if self._abort is not None:
            self._abort(error)
        elif self.task is not None and self.aborted is None:
            self.aborted = error
            self.task.cancel()

    def on_abort(self, function: Callable[[GatewayError], None] | None) -> None:
        """Name who ends the stream; the relay's business."""
        self._abort = function
