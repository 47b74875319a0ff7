"""What this process works on at the moment, as the dashboard shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.exchange import Exchange
from gateway.runtime.group import Answerer

if TYPE_CHECKING:
    from gateway.runtime.gateway import Gateway

MOST: Final = 200
LONGEST: Final = 200
"""Of what clients name as they like."""


def teller(gateway: Gateway) -> Answerer:
    """Return what answers `live`: how many requests are under way, and the oldest of them."""

    async def live(_: Any) -> dict[str, Any]:
        routed = [each for each in gateway.live if each.route is not None]
        oldest = sorted(routed, key=lambda each: each.started_at_s)[:MOST]
        return {"count": len(routed), "requests": [facts_of(each) for each in oldest]}

    return live


def facts_of(exchange: Exchange) -> dict[str, Any]:
    """Return what is known of a request under way."""
    request, attempts = exchange.request, exchange.attempts
    return {
        "id": exchange.id,
        "exchange_id": exchange.row_id,
        "parent_id": exchange.parent_id,
        "route": exchange.route.name if exchange.route is not None else None,
        "target": exchange.headers.get("x-gateway-target") if attempts else None,
        "attempt": len(attempts),
        "principal": exchange.principal.name if exchange.principal is not None else None,
        "model": request.model[:LONGEST],
        "method": request.method,
        "path": request.path[:LONGEST],
        "stream": request.stream,
        "phase": "streaming" if request.stream and exchange.first_token_at_s is not None else "waiting",
        "age_s": round(exchange.deadline.now() - exchange.started_at_s, 3),
    }
