"""The target that answered fastest of late (`fastest`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.exchange import Exchange
from gateway.upstream.balance.candidate import Candidate

UNTRIED_AGAIN_S = 10.0
"""How long a target of which no time is known, since it never answered, is left alone after it was given a chance."""
SLOW_AGAIN_S = 30.0
"""How long a slower target is left alone before a request looks whether it has recovered."""
AT_MOST_ONE_IN = 20
"""Of so many requests at most one looks after a slower target."""


class Fastest:
    """Begin with the target whose streams had their first content soonest of late, or whose plain answers were whole
    soonest: each kind of request goes by its own times.

    A target without a time is tried at once, by one request at a time; a slower one now and then, so that it can
    recover. What is known of speed is the health's and shared by all routes; here is only who was looked after when.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._looked_at: dict[tuple[str, bool], float] = {}
        self._since_look = 0

    def __call__(self, candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
        stream = exchange.request.stream
        timed: list[tuple[float, int]] = []
        untimed: list[int] = []
        for at, each in enumerate(candidates):
            took_s = each.health.first_token_s if stream else each.health.plain_s
            if took_s is None:
                untimed.append(at)
            else:
                timed.append((took_s, at))
        timed.sort()
        order = [at for _, at in timed]
        now = self._now()
        if untimed:
            due = next((at for at in untimed if self._is_due(candidates[at], stream, now)), None)
            rest = sorted((at for at in untimed if at != due), key=lambda at: candidates[at].health.in_flight)
            order += rest
            if due is not None:
                order.insert(0, due)
                self._looked_at[candidates[due].name, stream] = now
        self._since_look += 1
        if len(timed) > 1 and self._since_look >= AT_MOST_ONE_IN and order[0] == timed[0][1]:
            self._look_after(candidates, order, len(timed), stream, now)
        return [candidates[at] for at in order]

    def _is_due(self, candidate: Candidate, stream: bool, now: float) -> bool:
        """Return whether a target without a time gets its chance: nobody is trying it, nor has just failed to."""
        looked_at = self._looked_at.get((candidate.name, stream))
        return looked_at is None or (not candidate.health.in_flight and now - looked_at >= UNTRIED_AGAIN_S)

    def _look_after(
        self, candidates: Sequence[Candidate], order: list[int], timed: int, stream: bool, now: float
    ) -> None:
        """Put the slower target that was left alone for longest to the front, if that was long enough."""
        looked_at = self._looked_at
        oldest = min(order[1:timed], key=lambda at: looked_at.get((candidates[at].name, stream), 0.0))
        name = candidates[oldest].name
        if now - looked_at.setdefault((name, stream), now) >= SLOW_AGAIN_S:
            looked_at[name, stream] = now
            self._since_look = 0
            order.remove(oldest)
            order.insert(0, oldest)
