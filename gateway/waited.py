"""How long an exchange waited for upstreams, which nobody may take for the gateway's own time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.exchange import Attempt, Exchange


def waited_s(attempts: Sequence[Attempt], now_s: float = 0.0) -> float:
    """Return how long the gateway waited for upstreams: from handing over a request until the last of its answer, tries
    that ran at the same time counted once. The rest of an exchange's duration is overhead, pauses between tries too.
    Before the exchange has ended `now_s` is the time now."""
    if len(attempts) == 1:
        only = attempts[0]
        return 0.0 if only.sent_at_s is None else (only.received_at_s or only.ended_at_s or now_s) - only.sent_at_s
    total = until = 0.0
    spans = [(each.sent_at_s, each.received_at_s or each.ended_at_s or now_s) for each in attempts if each.sent_at_s]
    for start, end in sorted(spans):
        if end > until:
            total += end - max(start, until)
            until = end
    return total


def tries_so_far(exchange: Exchange) -> list[Attempt]:
    """Return the attempts of an exchange and of its children, whether those have ended or not."""
    found = list(exchange.all_attempts)
    if exchange.offspring is not None:
        for source in exchange.sources:
            running = getattr(source, "exchange", exchange)
            if running is not exchange:  # a live answer of its own has this one
                found += tries_so_far(running)
    return found
