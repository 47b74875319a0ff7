"""Which target next: untried ones first and at once, then repetitions within every limit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy

from gateway.errors import GatewayError, TargetSkipped, Unavailable, UpstreamError
from gateway.exchange import Exchange
from gateway.route import Retry, Route, Target
from gateway.upstream.balance import Balance, Candidate, ordered
from gateway.upstream.holds import Holds
from gateway.upstream.keys import CREDENTIAL_STATUSES, Resting

PATIENCE_S = 5.0
"""How long an upstream may ask to wait for the same target to be asked again; longer where `backoff` is."""
CAUSES = {"context_length_exceeded": "context_length", "content_policy_violation": "content_filter"}
"""Errors that have fallbacks of their own, by code."""


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

    `candidate` makes what stands for a target here; `resting` says whether any key of the process rests.
    """

    def __init__(
        self, route: Route, balance: Balance, candidate: Callable[[Target], Candidate], resting: Resting
    ) -> None:
        self.retry = route.retry
        self._balance, self._resting = balance, resting
        self.targets = tuple(candidate(target) for target in route.targets if target.provider.enabled)
        self.fallbacks = {
            cause: tuple(candidate(target) for target in targets if target.provider.enabled)
            for cause, targets in route.fallbacks.items()
        }
        self._any = self.fallbacks.get("any", ())
        self._as_listed = (*self.targets, *self._any)
        self._is_settled = len(self._as_listed) < 2
        self._route = route.name
        self._holds = self._as_listed[0].health.holds if self._as_listed else None
        self._is_balanced = balance is not ordered

    def only(self, target: str) -> Available | None:
        """Return what there is to try where only `target` may be; None when it is not available here."""
        listed = (*self.targets, *(each for candidates in self.fallbacks.values() for each in candidates))
        found = next((each for each in listed if each.name == target), None)
        if found is None:
            return None
        alone = copy(self)
        alone.targets = alone._as_listed = (found,)
        alone.fallbacks, alone._any, alone._is_settled = {}, (), True
        return alone

    @property
    def listed(self) -> Sequence[Candidate]:
        """All that is available, as the configuration has it."""
        return self._as_listed

    def only_one(self) -> Candidate | None:
        """Return the candidate where there is one alone and no operator holds any; None leaves it to `order`."""
        holds = self._holds
        return self._as_listed[0] if self._is_settled and holds is not None and not holds.names else None

    @property
    def is_empty(self) -> bool:
        """Whether no target is available at all."""
        return not self._as_listed

    def order(self, exchange: Exchange) -> Sequence[Candidate]:
        """Return the candidates in the order in which `exchange` tries them: targets as the balance has it, then
        fallbacks, and last those whose keys all rest, the soonest awake first. What an operator holds is not among
        them. Raises: Unavailable when that is all of them."""
        holds = self._holds
        if holds is not None and holds.names:
            return self._not_held(exchange, holds)
        if self._is_settled:
            return self._as_listed
        resting = self._resting
        if resting.keys or len(exchange.request.body) > resting.least_bytes:
            return self._awake_first(exchange, self.targets, self._any)
        if self._is_balanced:
            return (*self._balanced(self.targets, exchange), *self._any)
        return self._as_listed

    def without_drained(self, candidates: list[Candidate]) -> list[Candidate]:
        """Return those of `candidates` that an operator has not drained since."""
        holds = self._holds
        if holds is None or not holds.names:
            return candidates
        return [each for each in candidates if holds.of(each.name) != "drained"]

    def _not_held(self, exchange: Exchange, holds: Holds) -> Sequence[Candidate]:
        """Return the order of those that no operator holds; where none of them can be asked, those at rest after them:
        rest never takes the last target out."""
        held = {each.name: holds.of(each.name) for each in self._as_listed}
        targets = [each for each in self.targets if held[each.name] is None]
        fallbacks = [each for each in self._any if held[each.name] is None]
        order = self._awake_first(exchange, targets, fallbacks)
        if all(each.health.breaker.state == "open" for each in order):
            order = (*order, *(each for each in self._as_listed if held[each.name] == "resting"))
        if not order:
            raise Unavailable(
                f'every target of route "{self._route}" is drained: an operator keeps requests from it',
                code="circuit_open",
            )
        return order

    def _awake_first(
        self, exchange: Exchange, targets: Sequence[Candidate], fallbacks: Sequence[Candidate]
    ) -> Sequence[Candidate]:
        self._resting.sweep()
        asleep: list[tuple[float, int, Candidate]] = []

        def awake(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
            found = []
            for each in candidates:
                until = each.rests_until(exchange)
                if until:
                    asleep.append((until, len(asleep), each))
                else:
                    found.append(each)
            return found

        targets, fallbacks = awake(targets), awake(fallbacks)
        if self._is_balanced:
            targets = self._balanced(targets, exchange)
        return (*targets, *fallbacks, *(each for _, _, each in sorted(asleep)))

    def _balanced(self, targets: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
        """Return the targets as the balance has it, those whose breaker is open behind the others."""
        if len(targets) < 2:
            return targets
        for each in targets:
            if each.health.breaker.state == "open":
                break
        else:
            return self._balance(targets, exchange)
        closed = [each for each in targets if each.health.breaker.state != "open"]
        opened = [each for each in targets if each not in closed]
        return (*(self._balance(closed, exchange) if len(closed) > 1 else closed), *opened)


class Plan:
    """What follows the first attempt of an exchange; made when that has failed, or was passed over.

    Tries in all are at most `max(retry.attempts, number of candidates)`; each untried candidate comes before any
    repetition. One that is passed over is no try. The fallbacks of a cause are candidates once that cause has come.
    `now` is the deadline's clock.
    """

    def __init__(
        self,
        order: Sequence[Candidate],
        available: Available,
        now: Callable[[], float],
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._available = available
        self._retry: Retry = available.retry
        self._now, self._rng = now, rng
        self._untried = list(order[1:])
        self._special_fallbacks = {
            cause: list(candidates) for cause, candidates in available.fallbacks.items() if cause != "any"
        }
        self._special: list[Candidate] = []
        self._tried: list[Candidate] = [order[0]]
        self._listed = len(order)
        self._cap = max(self._retry.attempts, self._listed)
        self._untried_cap = max(self._cap, len(order) + sum(map(len, self._special_fallbacks.values())))
        self._barred: set[int] = set()
        self._ready_at: dict[int, float] = {}
        self._asked_s = 0.0
        self._probe_in_s: float | None = None
        self._instead: GatewayError | None = None
        self.repeats = False
        """Whether the candidate last returned had been tried before; then `pause_s` has to be waited for."""
        self.pause_s = 0.0
        self.error: UpstreamError | None = None
        """What the last try failed with."""

    def next(self, error: UpstreamError, remaining_s: float) -> Candidate | None:
        """Return the candidate to try after `error`, None when nothing may be tried any more; then raise `refusal`."""
        kind = kind_of(error)
        self.error = error
        self._note(self._tried[-1], kind, error)
        cause = CAUSES.get(error.code)
        if cause is not None and self._special_fallbacks.get(cause):
            self._special = self._special_fallbacks.pop(cause)
        elif kind not in self._retry.on and kind != "credential" and (cause is None or not self._special):
            return None
        return self._following(remaining_s)

    def skip(self, skipped: TargetSkipped, remaining_s: float) -> Candidate | None:
        """Return the candidate to try instead of the last one, None when none is left; then raise `refusal`."""
        self.pass_over(self._tried[-1], skipped)
        return self._following(remaining_s)

    def pass_over(self, candidate: Candidate, skipped: TargetSkipped) -> None:
        """Note that `candidate` was not tried after all: one that never was is not available, and raises no cap."""
        self._tried.remove(candidate)
        self._barred.add(id(candidate))
        if candidate not in self._tried:
            self._listed -= 1
            self._cap = max(self._retry.attempts, self._listed)
        self._instead = skipped.instead or self._instead
        if skipped.retry_after_s is not None:
            known = self._probe_in_s
            self._probe_in_s = skipped.retry_after_s if known is None else min(known, skipped.retry_after_s)

    def beside(self, other: Candidate) -> Candidate | None:
        """Return an untried candidate to try while `other` runs, another target than that; None when there is none."""
        if len(self._tried) < self._cap:
            self._untried = self._available.without_drained(self._untried)
            for at, each in enumerate(self._untried):
                if each.name != other.name:
                    self._tried.append(self._untried.pop(at))
                    return each
        return None

    def failed(self, candidate: Candidate, error: UpstreamError) -> None:
        """Note the failure of a candidate while another one runs."""
        self.error = error
        self._note(candidate, kind_of(error), error)

    def turn_to(self, candidate: Candidate) -> None:
        """Make `candidate` the last one tried: what `next` and `skip` are about."""
        self._tried.remove(candidate)
        self._tried.append(candidate)

    def refusal(self, error: GatewayError) -> GatewayError:
        """Return what the client is told: the last try's error, or that every candidate was passed over."""
        last = self.error
        if last is None:
            if self._instead is not None:
                return self._instead
            error.retry_after_s = self._probe_in_s
            return error
        if last.retry_after_s is not None and kind_of(last) == "429":
            last.retry_after_s = max(last.retry_after_s, self._asked_s)
        return last

    def _note(self, candidate: Candidate, kind: str | None, error: UpstreamError) -> None:
        wait_s = error.retry_after_s
        if wait_s is not None:
            self._ready_at[id(candidate)] = self._now() + wait_s
            if kind == "429":
                self._asked_s = max(self._asked_s, wait_s)
        else:
            self._ready_at.pop(id(candidate), None)
        # Another try with the same key, or without money, would only be refused again.
        if kind not in self._retry.on or (kind == "429" and wait_s is None):
            self._barred.add(id(candidate))

    def _following(self, remaining_s: float) -> Candidate | None:
        self.repeats = False
        tried = len(self._tried)
        without_drained = self._available.without_drained
        self._untried, self._special = without_drained(self._untried), without_drained(self._special)
        if tried < self._untried_cap and (untried := self._special or self._untried):
            return self._take(untried)
        return self._again(remaining_s) if tried < self._cap else None

    def _take(self, candidates: list[Candidate]) -> Candidate:
        candidate = candidates.pop(0)
        self._tried.append(candidate)
        return candidate

    def _again(self, remaining_s: float) -> Candidate | None:
        """Return the candidate to repeat, the least tried that is ready in time; None when no pause fits."""
        counts = Counter(map(id, self._tried))
        now, retry = self._now(), self._retry
        rounds = min(counts.values(), default=1)
        backoff_s = self._rng() * min(retry.backoff_max_s, retry.backoff_min_s * 2.0 ** min(64, rounds - 1))
        best: tuple[int, float, Candidate] | None = None
        for each in self._available.without_drained(self._tried):
            if id(each) in self._barred:
                continue
            ready_at = self._ready_at.get(id(each))
            pause_s = backoff_s if ready_at is None else max(0.0, ready_at - now)
            if pause_s > max(retry.backoff_max_s, PATIENCE_S) or pause_s >= remaining_s:
                continue
            if best is None or (counts[id(each)], pause_s) < best[:2]:
                best = (counts[id(each)], pause_s, each)
        if best is None:
            return None
        self.repeats, self.pause_s = True, best[1]
        self._tried.append(best[2])
        return best[2]
