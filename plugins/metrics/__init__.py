"""Counts what happens, and tells Prometheus: the same sums over all processes, whichever answers."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from gateway.plugin import ENDPOINT_NAMES, Attempt, Exchange, Plugin, Route, Services, UpstreamError, waited_s, web

from .cells import Counts
from .families import OTHER

if TYPE_CHECKING:
    from .cells import Buckets

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
PAGES = {
    "/health": "health",
    "/health/ready": "ready",
    "/ready": "ready",
    "/metrics": "metrics",
    "/v1/models": "models",
    "/v1/providers": "providers",
}
CODES = frozenset({"timeout", "overloaded", "internal_error", "client_left"})
"""Of errors that no upstream made, those that name a kind; the codes of plugins are theirs to choose."""


class Metrics(Plugin):
    """Options:

    public: whether GET /metrics needs no key (default true). With false whoever scrapes sends one as any client does,
    wherever auth stands in the chain.

    A label that would make too many series becomes `other`: there are never more than 2,000 in all.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "public": {"type": "boolean", "default": True, "description": "Whether GET /metrics needs no key."}
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self.public = options["public"]
        self._counts: Counts = services.lasting("counts", Counts)
        self._alike = self._counts.alike
        self._limited = self._counts.families["rate_limited_total"]
        self._requests = self._counts.families["requests_total"]
        self._durations = self._buckets("request_duration_seconds")
        self._overheads = self._buckets("overhead_seconds")
        self._first_tokens = self._buckets("time_to_first_token_seconds")
        self._latencies = self._buckets("provider_latency_seconds")
        self._tried = self._counts.families["provider_requests_total"]
        self._errors = self._counts.families["provider_errors_total"]
        self._tokens = self._counts.families["tokens_total"]
        self._costs = self._counts.families["cost_usd_total"]
        self._attempts = self._counts.families["attempts_total"]
        self._fallbacks = self._counts.families["fallbacks_total"]
        self._left = self._counts.families["client_disconnects_total"]
        self._cut = self._counts.families["stream_errors_total"]
        self._tools = self._counts.families["tool_calls_total"]

    async def start(self) -> None:
        """Let every process ask this one."""
        self.services.group.count("counts", self._tell)
        self.services.group.answer("now", self._now)

    def http_routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return GET /metrics."""
        return [web.get("/metrics", self._show)]

    def finish(self, exchange: Exchange) -> None:
        """Count a request that has ended, and its attempts."""
        request, route, attempts = exchange.request, exchange.route, exchange.attempts
        if route is not None and len(attempts) == 1 and self._count_alike(exchange, route, attempts[0]):
            return
        if exchange.parent_id is None:
            endpoint = request.endpoint
            if endpoint is None:
                name = PAGES.get(request.path, OTHER)
            else:
                name = endpoint.name if endpoint.name in ENDPOINT_NAMES else OTHER
            method = request.method if request.method in METHODS else OTHER
            self._requests.add((method, name, OTHER if route is None else route.name, exchange.status))
            if exchange.outcome != "completed":
                self._count_bad_end(exchange)
            if route is not None:
                labels = (route.name,)
                duration_s = (exchange.ended_at_s or exchange.started_at_s) - exchange.started_at_s
                self._durations.observe(labels, duration_s)
                self._overheads.observe(labels, max(0.0, duration_s - waited_s(exchange.all_attempts)))
        limit = exchange.notes.get("limited")
        if isinstance(limit, str):
            self._limited.add((limit,))
        if exchange.work is not None:
            for work in exchange.work:
                if work.kind == "tool":
                    self._tools.add((work.name, work.facts.get("outcome", "ok" if work.ok else "failed")))
        for attempt in attempts:
            self._count_attempt(exchange, attempt)
        if attempts and route is not None:
            if len(attempts) > 1 or attempts[0].target not in route.targets:
                self._count_fallback(attempts, route)
            if request.stream and exchange.first_token_at_s is not None:
                winner = next((each for each in reversed(attempts) if not each.lost), attempts[-1])
                since_s = winner.started_at_s if winner.sent_at_s is None else winner.sent_at_s
                labels = (winner.target.provider.name,)
                self._first_tokens.observe(labels, max(0.0, exchange.first_token_at_s - since_s))

    # --- counting ----------------------------------------------------------------------------------

    def _buckets(self, name: str) -> Buckets:
        # Not checked: what lasts may have been made by this file as it was loaded before.
        return cast("Buckets", self._counts.families[name])

    def _count_alike(self, exchange: Exchange, route: Route, attempt: Attempt) -> bool:
        """Count a plain request that went well at the first try, as nearly all do; return whether it was one."""
        request, sent_s, received_s = exchange.request, attempt.sent_at_s, attempt.received_at_s
        endpoint, ended_s, notes = request.endpoint, exchange.ended_at_s, exchange.notes
        if (
            exchange.outcome != "completed"
            or attempt.error is not None
            or request.stream
            or sent_s is None
            or received_s is None
            or ended_s is None
            or endpoint is None
            or exchange.parent_id is not None
            or exchange.has_children
            or exchange.work is not None
            or "limited" in notes
            or attempt.target not in route.targets
        ):
            return False
        target = attempt.health.name
        key = (request.method, endpoint.name, route.name, exchange.status, attempt.target.provider.name, target)
        alike = self._alike.get(key)
        if alike is None:
            if endpoint.name not in ENDPOINT_NAMES or request.method not in METHODS:
                return False
            alike = self._counts.begin_alike(key)
        alike.add(ended_s - exchange.started_at_s, received_s - sent_s)
        usage, cost_usd = attempt.usage, attempt.cost_usd
        if usage is not None:
            alike.prompt_tokens += usage.prompt_tokens
            alike.answer_tokens += usage.completion_tokens
        if cost_usd is not None:
            alike.cost_usd += cost_usd
        return True

    def _count_bad_end(self, exchange: Exchange) -> None:
        if exchange.outcome == "disconnected":
            self._left.add(())
        elif exchange.error is not None and exchange.status < 400:
            error = exchange.error
            kind = error.kind if isinstance(error, UpstreamError) else error.code
            self._cut.add((kind if isinstance(error, UpstreamError) or kind in CODES else OTHER,))

    def _count_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        provider, error, usage = attempt.target.provider.name, attempt.error, attempt.usage
        labels = (provider,)
        self._tried.add(labels)
        whole = error is None and exchange.outcome == "completed"
        outcome = "completed" if whole else _outcome(exchange, attempt)
        self._attempts.add((attempt.health.name, outcome))
        if isinstance(error, UpstreamError):
            self._errors.add((provider, error.kind))
        if attempt.sent_at_s is not None:
            end_s = attempt.received_at_s or attempt.ended_at_s or attempt.sent_at_s
            self._latencies.observe(labels, end_s - attempt.sent_at_s)
        if usage is not None:
            if usage.prompt_tokens:
                self._tokens.add((provider, "input"), usage.prompt_tokens)
            if usage.completion_tokens:
                self._tokens.add((provider, "output"), usage.completion_tokens)
        if attempt.cost_usd:
            self._costs.add(labels, float(attempt.cost_usd))

    def _count_fallback(self, attempts: list[Attempt], route: Route) -> None:
        """A hedge that lost was no way out of a failure; of one that won the first did not fail."""
        tried = [each for each in attempts if not each.lost]
        if len({each.health.name for each in tried}) > 1 or (tried and tried[-1].target not in route.targets):
            self._fallbacks.add((route.name,))

    # --- telling -----------------------------------------------------------------------------------

    def _tell(self) -> dict[str, Any]:
        """Return what this process counts."""
        ledger = self.services.ledger
        return {
            **self._counts.tell(),
            "ledger_rows_total": {"": 0 if ledger is None else ledger.rows_total},
            "ledger_dropped_total": {"": 0 if ledger is None else ledger.dropped_total},
            "state_errors_total": {"": self.services.state.errors},
        }

    def _now(self) -> dict[str, Any]:
        """Return how this process is."""
        vitals = self.services.group.vitals()
        return {
            "digest": vitals.digest,
            "in_flight": vitals.in_flight,
            "lag_s": vitals.lag_s,
            "breakers": dict(vitals.breakers),
            "reloads": dict(vitals.reloads),
        }

    async def _show(self, request: web.Request) -> web.StreamResponse:
        """Answer a scrape. Raises: StateLost while the other processes cannot be asked: a gap is better than sums that
        fall."""
        group = self.services.group
        told, now = await asyncio.gather(group.total("counts"), group.gather("now"))
        # When somebody looks: the start would wait for it, and who has no Prometheus need not hold it.
        shown = await asyncio.to_thread(importlib.import_module, ".shown", __name__)
        response: web.StreamResponse = await shown.answer(request, told, now)
        return response


def _outcome(exchange: Exchange, attempt: Attempt) -> str:
    """Return how an attempt ended: `disconnected` when it was given up, by the client or because a rival answered."""
    error = attempt.error
    if error is not None:
        return "disconnected" if error.code in ("hedge_lost", "client_left") else "failed"
    if exchange.outcome == "disconnected":
        return "disconnected"
    return "failed" if attempt.received_at_s is None else "completed"
