"""The row that an exchange leaves in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct
from multidict import istr

from gateway.attempts.outgoing import model_for
from gateway.exchange import Exchange, waited_s
from gateway.plugin import Row
from gateway.runtime.plugin_times import shown_ms

LONGEST: Final = 200
"""How much is kept of what clients name as they like: models, sessions."""
SESSION: Final = istr("x-session-id")
_NO_TAGS: Final[Mapping[str, str]] = {}


class _Used(Struct, frozen=True, gc=False):
    prompt: int
    completion: int


class _Try(Struct, frozen=True, gc=False):
    """One attempt, as it stands in `tries`."""

    target: str
    status: int | None
    error: str | None
    started_ms: float
    ended_ms: float | None
    usage: _Used | None
    cost_usd: Decimal | None


def row_of(exchange: Exchange, now_s: float) -> Row:
    """Return the row of an exchange that has ended; `now_s` is Unix time.

    Tokens and cost are 0 where nothing was used, None where they are unknown, and those of its own attempts alone: what
    children used stands in their rows.
    """
    request, attempts, error, outcome = (
        exchange.request,
        exchange.attempts,
        exchange.error,
        exchange.outcome or "failed",
    )
    principal, route, endpoint = exchange.principal, exchange.route, request.endpoint
    started_at_s, first_at_s = exchange.started_at_s, exchange.first_token_at_s
    duration_s = (exchange.ended_at_s or started_at_s) - started_at_s
    if exchange.offspring is None:
        usage, cost_usd, waited = exchange.usage, exchange.cost_usd, waited_s(attempts)
        target = exchange.headers.get("x-gateway-target")
    else:
        usage, cost_usd, waited = exchange.own_usage, exchange.own_cost_usd, waited_s(exchange.all_attempts)
        target = exchange.headers.get("x-gateway-target") if attempts else None
    nothing = None if attempts else 0
    return Row(  # in the order of its fields: by name it took 4 µs more
        exchange.row_id,
        now_s - duration_s,
        exchange.id,
        exchange.parent_id,
        None if principal is None else principal.name,
        _NO_TAGS if principal is None else principal.tags,
        _session(exchange),
        None if route is None else route.name,
        exchange.dialect.name,
        "" if endpoint is None else endpoint.name,
        request.model[:LONGEST],
        target,
        len(attempts),
        exchange.status,
        outcome,
        request.stream,
        nothing if usage is None else usage.prompt_tokens,
        nothing if usage is None else usage.cached_tokens,
        nothing if usage is None else usage.cache_write_tokens,
        nothing if usage is None else usage.completion_tokens,
        nothing if usage is None else usage.reasoning_tokens,
        cost_usd,
        usage is not None and usage.estimated,
        duration_s * 1000,
        None if first_at_s is None else (first_at_s - started_at_s) * 1000,
        max(0.0, duration_s - waited) * 1000,
        error.code if error is not None else "client_left" if outcome == "disconnected" else None,
        _tries(exchange),
    )


def _tries(exchange: Exchange) -> list[Any]:
    """Return the attempts, and what else was done: entries with a `kind`."""
    since_s = exchange.started_at_s
    tries: list[Any] = []
    if exchange.origin is not None and exchange.origin.step:
        tries.append({"kind": "step", "name": exchange.origin.step[:LONGEST]})
    for attempt in exchange.attempts:
        usage, error, target, ended_at_s = attempt.usage, attempt.error, attempt.target, attempt.ended_at_s
        tries.append(
            _Try(
                f"{target.provider.name}/{model_for(exchange, target)[:LONGEST]}",
                attempt.status,
                None if error is None else error.code,
                int((attempt.started_at_s - since_s) * 100_000) / 100,
                None if ended_at_s is None else int((ended_at_s - since_s) * 100_000) / 100,
                None if usage is None else _Used(usage.prompt_tokens, usage.completion_tokens),
                attempt.cost_usd,
            )
        )
    if exchange.marks is not None and (took_ms := shown_ms(exchange)):
        tries.append({"kind": "plugins", "ms": took_ms})
    if exchange.work is not None:
        tries += [
            {
                "kind": work.kind,
                "name": work.name[:LONGEST],
                "started_ms": _ms(work.started_at_s - since_s),
                "ended_ms": _ms(work.ended_at_s - since_s),
                "ok": work.ok,
                "facts": work.facts,
            }
            for work in exchange.work
        ]
    return tries


def _session(exchange: Exchange) -> str | None:
    """Return the session: the id that the session plugin notes as `notes["session"]["id"]`, else the client's own. A
    child belongs to its parent's."""
    while exchange.origin is not None and (parent := exchange.origin.parent) is not None:
        exchange = parent
    noted, found = exchange.notes.get("session"), None
    if noted is not None and isinstance(noted, Mapping):
        found = noted.get("id")
    if found is None:
        found = exchange.request.headers.get(SESSION)
    return found[:LONGEST] if isinstance(found, str) else None


def _ms(seconds: float) -> float:
    """Return milliseconds, cut to hundredths: rounding costs three times as much."""
    return int(seconds * 100_000) / 100
