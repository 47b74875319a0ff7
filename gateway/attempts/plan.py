"""Which target next: untried ones first and at once, then repetitions within every limit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.errors import GatewayError, TargetSkipped, UpstreamError
from gateway.exchange import Exchange
from gateway.route import Retry, Route, Target
from gateway.upstream.balance import Balance, Candidate, ordered

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
    """What a route can try, found once: its targets and fallbacks whose providers are enabled.

    `candidate` makes what stands for a target here; the same target gets the same one wherever it is listed.
    """

    def __init__(self, route: Route, balance: Balance, candidate: Callable[[Target], Candidate]) -> None:
        self.retry = route.retry
        self._balance = balance
        self.targets = tuple(candidate(target) for target in route.targets if target.provider.enabled)
        self.fallbacks = {
            cause: tuple(candidate(target) for target in targets if target.provider.enabled)
            for cause, targets in route.fallbacks.items()
        }
        self._any = self.fallbacks.get("any", ())
        self._as_listed = (*self.targets, *self._any)

    @property
    def is_empty(self) -> bool:
        """Whether no target is available at all."""
        return not self._as_listed

    def order(self, exchange: Exchange) -> Sequence[Candidate]:
        """Return the candidates in the order in which `exchange` tries them, fallbacks after targets."""
        if self._balance is ordered or len(self.targets) < 2:
            return self._as_listed
        return (*self._balance(self.targets, exchange), *self._any)


class Plan:
    """What follows the first attempt of an exchange; made when that has failed, or was passed over.

    Tries in all are at most `max(retry.attempts, number of candidates)`; each untried candidate comes before any
    repetition. One that is passed over is no try.
    """

    def __init__(
        self, order: Sequence[Candidate], available: Available, rng: Callable[[], float] = random.random
    ) -> None:
        self._retry: Retry = available.retry
        self._rng = rng
        self._untried = list(order[1:])
        self._special_fallbacks = {
            cause: list(candidates) for cause, candidates in available.fallbacks.items() if cause != "any"
        }
        self._tried: list[Candidate] = [order[0]]
        self._cap = max(self._retry.attempts, len(order))
        self._probe_in_s: float | None = None
        self.repeats = False
        """Whether the candidate last returned by `next` had been tried before."""
        self.error: UpstreamError | None = None
        """What the last try failed with."""

    def skip(self, skipped: TargetSkipped) -> Candidate | None:
        """Return the candidate to try instead of the last one, None when none is left; then raise `refusal`."""
        self._tried.pop()
        if skipped.retry_after_s is not None:
            self._probe_in_s = min(skipped.retry_after_s, self._probe_in_s or skipped.retry_after_s)
        if self.repeats or not self._untried:
            return None
        return self._take(self._untried)

    def refusal(self, skipped: TargetSkipped) -> GatewayError:
        """Return what the client is told when every candidate left was passed over."""
        if self.error is not None:
            return self.error
        skipped.retry_after_s = self._probe_in_s
        return skipped

    def next(self, error: UpstreamError) -> Candidate | None:
        """Return the candidate to try after `error`, None when the error stands."""
        kind = kind_of(error)
        self.error = error
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

    def _special(self, error: UpstreamError) -> list[Candidate]:
        cause = {"context_length_exceeded": "context_length", "content_policy_violation": "content_filter"}.get(
            error.code
        )
        return self._special_fallbacks.get(cause, []) if cause else []

    def _take(self, candidates: list[Candidate]) -> Candidate:
        candidate = candidates.pop(0)
        self._tried.append(candidate)
        return candidate

    def _again(self) -> Candidate:
        counts = Counter(map(id, self._tried))
        candidate = min(self._tried, key=lambda each: counts[id(each)])
        self._tried.append(candidate)
        return candidate
