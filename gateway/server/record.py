"""The row that an exchange leaves in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.attempts.outgoing import model_for
from gateway.exchange import Attempt, Exchange, waited_s
from gateway.plugin import Row
from gateway.runtime.plugin_times import shown_ms

LONGEST: Final = 200
"""How much is kept of what clients name as they like: models, sessions."""


def row_of(exchange: Exchange, now_s: float) -> Row:
    """Return the row of an exchange that has ended; `now_s` is Unix time.

    Tokens and cost are 0 where nothing was used, None where they are unknown, and those of its own attempts alone: what
    children used stands in their rows.
    """
    request, attempts, error = exchange.request, exchange.attempts, exchange.error
    principal, route, first_at_s = exchange.principal, exchange.route, exchange.first_token_at_s
    started_at_s = exchange.started_at_s
    duration_s = (exchange.ended_at_s or started_at_s) - started_at_s
    usage, cost_usd, outcome = exchange.own_usage, exchange.own_cost_usd, exchange.outcome or "failed"
    nothing = None if attempts and usage is None else 0
    return Row(
        exchange_id=exchange.row_id,
        ts=now_s - duration_s,
        request_id=exchange.id,
        parent_id=exchange.parent_id,
        principal=None if principal is None else principal.name,
        tags={} if principal is None else principal.tags,
        session=_session(exchange),
        route=None if route is None else route.name,
        dialect=exchange.dialect.name,
        endpoint=request.endpoint.name if request.endpoint is not None else "",
        model_requested=request.model[:LONGEST],
        target=None if exchange.has_children and not attempts else exchange.headers.get("x-gateway-target"),
        attempts=len(attempts),
        status=exchange.status,
        outcome=outcome,
        stream=request.stream,
        prompt_tokens=nothing if usage is None else usage.prompt_tokens,
        cached_tokens=nothing if usage is None else usage.cached_tokens,
        cache_write_tokens=nothing if usage is None else usage.cache_write_tokens,
        completion_tokens=nothing if usage is None else usage.completion_tokens,
        reasoning_tokens=nothing if usage is None else usage.reasoning_tokens,
        cost_usd=cost_usd,
        estimated=usage is not None and usage.estimated,
        duration_ms=_ms(duration_s),
        ttft_ms=None if first_at_s is None else _ms(first_at_s - started_at_s),
        overhead_ms=_ms(max(0.0, duration_s - waited_s(exchange.all_attempts))),
        error_code=error.code if error is not None else "client_left" if outcome == "disconnected" else None,
        tries=_tries(exchange),
    )


def _tries(exchange: Exchange) -> list[Mapping[str, Any]]:
    """Return the attempts, and what else was done: entries with a `kind`."""
    tries = [_try(exchange, attempt) for attempt in exchange.attempts]
    if exchange.origin is not None and exchange.origin.step:
        tries.insert(0, {"kind": "step", "name": exchange.origin.step[:LONGEST]})
    if took_ms := shown_ms(exchange):
        tries.append({"kind": "plugins", "ms": took_ms})
    for work in exchange.work or ():
        tries.append(
            {
                "kind": work.kind,
                "name": work.name[:LONGEST],
                "started_ms": _ms(work.started_at_s - exchange.started_at_s),
                "ended_ms": _ms(work.ended_at_s - exchange.started_at_s),
                "ok": work.ok,
                "facts": work.facts,
            }
        )
    return tries


def _try(exchange: Exchange, attempt: Attempt) -> Mapping[str, Any]:
    since_s = exchange.started_at_s
    usage, cost_usd, error, target = attempt.usage, attempt.cost_usd, attempt.error, attempt.target
    return {
        "target": f"{target.provider.name}/{model_for(exchange, target)[:LONGEST]}",
        "status": attempt.status,
        "error": None if error is None else error.code,
        "started_ms": _ms(attempt.started_at_s - since_s),
        "ended_ms": None if attempt.ended_at_s is None else _ms(attempt.ended_at_s - since_s),
        "usage": None if usage is None else {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens},
        "cost_usd": None if cost_usd is None else str(cost_usd),
    }


def _session(exchange: Exchange) -> str | None:
    """Return the session: the id that the session plugin notes as `notes["session"]["id"]`, else the client's own. A
    child belongs to its parent's."""
    while (parent := exchange.parent) is not None:
        exchange = parent
    noted = exchange.notes.get("session")
    found = noted.get("id") if isinstance(noted, Mapping) else None
    if found is None:
        found = exchange.request.headers.get("x-session-id")
    return found[:LONGEST] if isinstance(found, str) else None


def _ms(seconds: float) -> float:
    """Return milliseconds, cut to hundredths: rounding costs three times as much."""
    return int(seconds * 100_000) / 100
