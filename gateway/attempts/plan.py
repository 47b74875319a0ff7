"""Which target next: untried ones first and at once, then repetitions within every limit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.errors import UpstreamError
from gateway.route import Retry, Route, Target

CREDENTIAL_STATUSES = frozenset({401, 402, 403})
"""An upstream's answers that concern the gateway's own key, not the request."""


def kind_of(error: UpstreamError) -> str | None:
    """Return the word `retry.on` has for this failure, None when the request itself was at fault."""
    status = error.upstream_status
    if error.kind in ("connect", "timeout"):
        return error.kind
    if error.kind in ("status", "error_event"):
        known = status or error.status
        if known == 429:
            return "429"
        if known in CREDENTIAL_STATUSES and error.kind == "status":
            return "credential"
        return "5xx" if known >= 500 or known == 408 else None
    return "broken"


class Available:
    """What a route can try, found once: its targets and fallbacks whose providers are enabled."""

    def __init__(self, route: Route) -> None:
        self.retry = route.retry
        self.targets = tuple(target for target in route.targets if target.provider.enabled)
        self.fallbacks = {
            cause: tuple(target for target in targets if target.provider.enabled)
            for cause, targets in route.fallbacks.items()
        }
        self._order = (*self.targets, *self.fallbacks.get("any", ()))

    @property
    def is_empty(self) -> bool:
        """Whether no target is available at all."""
        return not self._order

    @property
    def first(self) -> Target:
        """The target tried first. There must be one."""
        return self._order[0]


class Plan:
    """What follows the first attempt of an exchange; made when that has failed.

    Tries in all are at most `max(retry.attempts, number of targets and fallbacks available)`; each untried
    target comes before any repetition.
    """

    def __init__(self, available: Available, rng: Callable[[], float] = random.random) -> None:
        self._retry: Retry = available.retry
        self._rng = rng
        # The first target is the first of whichever list has one.
        self._untried = list(available.targets[1:])
        self._fallbacks = {cause: list(targets) for cause, targets in available.fallbacks.items()}
        self._untried_any: list[Target] = self._fallbacks.get("any", [])
        if not available.targets:
            self._untried_any.pop(0)
        self._tried: list[Target] = [available.first]
        self._cap = max(self._retry.attempts, 1 + len(self._untried) + len(self._untried_any))
        self.repeats = False
        """Whether the target last returned by `next` had been tried before."""

    def next(self, error: UpstreamError) -> Target | None:
        """Return the target to try after `error`, None when the error stands."""
        kind = kind_of(error)
        self.repeats = False
        special = self._special(error)
        if special:
            return self._take(special)
        if kind is None:
            return None
        if kind != "credential" and kind not in self._retry.on:
            return None
        if len(self._tried) >= self._cap:
            return None
        if self._untried:
            return self._take(self._untried)
        if self._untried_any:
            return self._take(self._untried_any)
        if kind == "credential" or (kind == "429" and error.retry_after_s is None):
            return None  # another try with the same key, or without money, would only be refused again
        self.repeats = True
        return self._again()

    def pause_s(self, error: UpstreamError) -> float:
        """Return how long to wait before repeating: what upstream asks, else exponential backoff with full jitter."""
        if error.retry_after_s is not None:
            return error.retry_after_s
        rounds = len(self._tried) // max(1, len(set(map(id, self._tried))))
        return self._rng() * min(self._retry.backoff_max_s, self._retry.backoff_min_s * 2.0 ** max(0, rounds - 1))

    def fits(self, pause_s: float, remaining_s: float) -> bool:
        """Return whether a pause may be waited for: within the backoff's upper end, and before the deadline."""
        return pause_s <= self._retry.backoff_max_s and pause_s < remaining_s

    def _special(self, error: UpstreamError) -> list[Target]:
        cause = {"context_length_exceeded": "context_length", "content_policy_violation": "content_filter"}.get(
            error.code
        )
        return self._fallbacks.get(cause, []) if cause else []

    def _take(self, targets: list[Target]) -> Target:
        target = targets.pop(0)
        self._tried.append(target)
        return target

    def _again(self) -> Target:
        tried: Sequence[Target] = self._tried
        counts = {id(target): 0 for target in tried}
        for target in tried:
            counts[id(target)] += 1
        target = min(tried, key=lambda each: counts[id(each)])
        self._tried.append(target)
        return target
