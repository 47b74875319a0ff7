"""What the dashboard shows of the last five minutes, counted in this process.

The request's path only appends to a list; every 256 requests, and when somebody asks, the list is folded into slots of
a second each. All that is told adds up over processes: see `runtime.group.added`. Seconds are the machine's monotonic
clock, which its processes share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import log2
from typing import Any, Final

from gateway.attempts.plan import kind_of
from gateway.errors import UpstreamError
from gateway.exchange import Attempt, Exchange, waited_s

KEPT_S: Final = 300
MINUTE_S: Final = 60
FOLDED_AT: Final = 256
STEPS: Final = 8
"""Steps of a histogram for each doubling: a quantile is told to within 4.5 %."""
_LEAST: Final = 80
"""The step of 1 ms; step 0 is a microsecond."""
COUNTS: Final = ("requests", "errors_4xx", "errors_5xx", "disconnects", "tokens_in", "tokens_out", "cost_nano_usd")
TARGET_COUNTS: Final = ("attempts", "errors", "too_many", "tokens_in", "tokens_out")
_REQUESTS, _4XX, _5XX, _LEFT, _IN, _OUT, _COST = range(len(COUNTS))
Histogram = dict[int, int]
_Tried = tuple[str, float, int, int, Any, Any]
"""Target, when it began, whether it failed, whether for too many requests, usage, cost."""


def step_of(seconds: float) -> int:
    """Return the step of a histogram in which a time is."""
    return max(0, int(log2(seconds * 1000) * STEPS + _LEAST)) if seconds > 0 else 0


def ms_of(step: int) -> float:
    """Return the middle of a step, in milliseconds."""
    return float(2 ** ((step + 0.5 - _LEAST) / STEPS))


class Slot:
    """One second. `targets` are by route and target."""

    __slots__ = ("counts", "overhead", "second", "targets", "ttft")

    def __init__(self, second: int) -> None:
        self.second = second
        self.counts = [0] * len(COUNTS)
        self.overhead: Histogram = {}
        self.ttft: Histogram = {}
        self.targets: dict[tuple[str, str], tuple[list[int], Histogram]] = {}


class Pulse:
    """Counts exchanges as they end. `now` is the clock of their deadlines, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._noted: list[Any] = []
        self._slots = [Slot(-1) for _ in range(KEPT_S)]
        self._folding = False

    def note(self, exchange: Exchange) -> None:
        """Count an exchange that has ended and is accounted for."""
        attempts = exchange.attempts
        # An error's traceback holds all that the exchange held: of such a one nothing is kept but numbers.
        is_plain = len(attempts) == 1 and exchange.error is None and not exchange.has_children
        noted = self._noted
        noted.append(
            (
                exchange.ended_at_s, exchange.started_at_s,
                exchange.first_token_at_s if exchange.request.stream else None, exchange.status,
                exchange.outcome, exchange.route, exchange.parent_id is None, exchange.admitted,
                attempts if is_plain else [_tried(each) for each in attempts],
                -1.0 if is_plain else waited_s(exchange.all_attempts),
            )
        )  # fmt: skip
        if len(noted) >= FOLDED_AT and not self._folding:
            self._folding = True
            asyncio.get_running_loop().call_soon(self._fold)

    def told(self, points: int) -> dict[str, Any]:
        """Return what the last five minutes were: `seconds` of the last `points` whole seconds by number, sums of the
        last minute and of all five, and of each route's targets; `now` is the clock's time."""
        self._fold()
        now = int(self._now())
        slots = [slot for slot in self._slots if now - KEPT_S <= slot.second < now]
        targets: dict[str, Any] = {}
        for slot in slots:
            for (route, target), (counts, ttft) in slot.targets.items():
                known = targets.setdefault(route, {}).setdefault(target, [[0] * len(TARGET_COUNTS), {}])
                _add(known, counts, ttft)
        return {
            "now": self._now(),
            "seconds": {
                str(slot.second): [slot.counts, _named(slot.overhead), _named(slot.ttft)]
                for slot in slots
                if slot.second >= now - points
            },
            "minute": _sum([slot for slot in slots if slot.second >= now - MINUTE_S]),
            "five_minutes": _sum(slots),
            "targets": {
                route: {name: [counts, _named(ttft)] for name, (counts, ttft) in each.items()}
                for route, each in targets.items()
            },
        }

    def _slot(self, second: int) -> Slot:
        slot = self._slots[second % KEPT_S]
        if slot.second != second:
            slot = self._slots[second % KEPT_S] = Slot(second)
        return slot

    def _fold(self) -> None:
        self._folding = False
        noted, self._noted = self._noted, []
        oldest = self._now() - KEPT_S
        slot = Slot(-1)
        for ended_at_s, started_at_s, first_at_s, status, outcome, route, is_own, admitted, tried, upstream_s in noted:
            if ended_at_s <= oldest:
                continue
            second = int(ended_at_s)
            if slot.second != second:
                slot = self._slot(second)
            counts = slot.counts
            if is_own and (admitted or status >= 500):
                counts[_REQUESTS] += 1
                if outcome == "disconnected":
                    counts[_LEFT] += 1
                elif outcome == "failed":
                    counts[_5XX if status >= 500 or status < 400 else _4XX] += 1
                if upstream_s < 0.0:
                    upstream_s = waited_s(tried)
                step = step_of(ended_at_s - started_at_s - upstream_s)
                slot.overhead[step] = slot.overhead.get(step, 0) + 1
                if first_at_s is not None:
                    step = step_of(first_at_s - started_at_s)
                    slot.ttft[step] = slot.ttft.get(step, 0) + 1
            for each in tried:
                target, began_at_s, failed, too_many, usage, cost_usd = each if type(each) is tuple else _tried(each)
                key = (route.name if route is not None else "", target)
                known = slot.targets.get(key)
                if known is None:
                    known = slot.targets[key] = ([0] * len(TARGET_COUNTS), {})
                sums = known[0]
                sums[0] += 1
                sums[1] += failed
                sums[2] += too_many
                if usage is not None:
                    sums[3] += usage.prompt_tokens
                    sums[4] += usage.completion_tokens
                    counts[_IN] += usage.prompt_tokens
                    counts[_OUT] += usage.completion_tokens
                if cost_usd:
                    counts[_COST] += int(cost_usd * 1_000_000_000)
                if first_at_s is not None and not failed:
                    step = step_of(first_at_s - began_at_s)
                    known[1][step] = known[1].get(step, 0) + 1


def _tried(attempt: Attempt) -> _Tried:
    error = attempt.error
    is_fault = isinstance(error, UpstreamError) and kind_of(error) is not None  # not the request's own
    too_many = isinstance(error, UpstreamError) and error.upstream_status == 429
    return attempt.health.name, attempt.started_at_s, is_fault, too_many, attempt.usage, attempt.cost_usd


def _sum(slots: Sequence[Slot]) -> list[Any]:
    sums: list[Any] = [[0] * len(COUNTS), {}, {}]
    for slot in slots:
        sums[0] = [one + other for one, other in zip(sums[0], slot.counts, strict=True)]
        for known, more in ((sums[1], slot.overhead), (sums[2], slot.ttft)):
            for step, count in more.items():
                known[step] = known.get(step, 0) + count
    return [sums[0], _named(sums[1]), _named(sums[2])]


def _add(known: list[Any], counts: Sequence[int], histogram: Histogram) -> None:
    known[0] = [one + other for one, other in zip(known[0], counts, strict=True)]
    for step, count in histogram.items():
        known[1][step] = known[1].get(step, 0) + count


def _named(histogram: Histogram) -> dict[str, int]:
    """Return it as JSON has it."""
    return {str(step): count for step, count in histogram.items()}
