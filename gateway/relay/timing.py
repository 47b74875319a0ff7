"""Server-Timing: where the time until an answer's head went, for browsers and clients to show (W3C, Server Timing)."""

from __future__ import annotations

from gateway.exchange import Exchange
from gateway.waited import tries_so_far, waited_s

OWN, BOTH = "gateway;dur=%.1f", "gateway;dur=%.1f, upstream;dur=%.1f"
"""Filled in by `%`, which takes half of what an f-string does."""


def server_timing(exchange: Exchange) -> str:
    """Return the header's value as things are now, in ms: what the gateway took, and what upstreams did."""
    now_s = exchange.deadline.now()
    whole_s = now_s - exchange.started_at_s
    attempts = exchange.attempts if exchange.offspring is None else tries_so_far(exchange)
    if not attempts:
        return OWN % (whole_s * 1000)
    upstream_s = waited_s(attempts, now_s)
    return BOTH % ((whole_s - upstream_s) * 1000, upstream_s * 1000)
