"""What the answer's head says of its attempts."""

from __future__ import annotations

from gateway.attempts.plan import kind_of
from gateway.errors import GatewayError, UpstreamError
from gateway.exchange import Attempt, Exchange


def tell(exchange: Exchange, attempt: Attempt | None) -> None:
    """Say which target the answer comes from, and how many were tried."""
    headers = exchange.headers
    headers["x-gateway-attempts"] = str(len(exchange.attempts))
    if attempt is None:
        headers.pop("x-gateway-target", None)
        return
    target = attempt.target
    headers["x-gateway-target"] = (
        f"{target.provider.name}/{exchange.request.model}" if target.model == "*" else attempt.health.name
    )


def tell_to_stop(error: GatewayError) -> None:
    """Mark `error` as the end: clients need not retry what the gateway has retried already."""
    if isinstance(error, UpstreamError) and kind_of(error) is not None:
        error.headers = {**error.headers, "x-should-retry": "false"}
