"""What is known of upstreams between requests: breaker states, speed, load, and how much is repeated.

Written by attempts and by plugins, read by balance, plugins, pages and the admin listener. Lives outside the snapshot,
so that a reload forgets nothing. A target goes by `provider/model` where the route names the model and `provider/*`
where it passes any.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sized
from typing import Literal

from gateway.upstream.holds import Holds

BreakerState = Literal["closed", "half_open", "open"]


class Breaker:
    """Stops sending to a target that fails: closed → open after `failures` in a row → half-open after `open_for_s`
    with at most `probes` requests at once → closed by the first that succeeds, open again by one that fails.

    `now` is monotonic, in seconds. `on_change(breaker)` hears every change of state; `by` is then the id of the request
    that made it, None for an operator's hand or another gateway.
    """

    __slots__ = ("_now", "_open_until", "_state", "by", "failed", "on_change", "probing", "why")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._state: BreakerState = "closed"
        self._open_until = 0.0
        self.failed = 0
        """Failures in a row."""
        self.probing = 0
        """Probes under way."""
        self.why = ""
        """What the last failure was, in words that may be shown."""
        self.by: str | None = None
        self.on_change: Callable[[Breaker], None] | None = None

    @property
    def state(self) -> BreakerState:
        """The state now: an open breaker whose time is over is half-open."""
        if self._state == "open" and self._now() >= self._open_until:
            return "half_open"
        return self._state

    @property
    def probe_in_s(self) -> float:
        """Seconds until a probe may go out; 0 when one may, or when it is closed."""
        return max(0.0, self._open_until - self._now()) if self._state == "open" else 0.0

    def admit(self, probes: int, by: str | None = None) -> bool | None:
        """Return False for an ordinary request, True for a probe, None when nothing may be sent now."""
        if self._state == "closed":
            return False
        if self._state == "open":
            if self._now() < self._open_until:
                return None
            self._change("half_open", by)
        if self.probing >= probes:
            return None
        self.probing += 1
        return True

    def succeed(self, *, probe: bool, by: str | None = None) -> None:
        """An attempt was answered."""
        self.release(probe=probe)
        self.failed = 0
        if probe and self._state == "half_open":
            self._change("closed", by)

    def fail(self, *, probe: bool, why: str, failures: int, open_for_s: float, by: str | None = None) -> bool:
        """An attempt failed through the target's fault; return whether that opened the breaker."""
        self.release(probe=probe)
        self.failed += 1
        self.why = why
        opens = (probe and self._state == "half_open") or (self._state == "closed" and self.failed >= failures)
        if opens:
            self.open_for(open_for_s, by)
        return opens

    def release(self, *, probe: bool) -> None:
        """An attempt ended and proved nothing: it was cancelled, or the request itself was at fault."""
        if probe and self.probing:
            self.probing -= 1

    def open_for(self, seconds: float, by: str | None = None) -> None:
        """Open, or stay open, until `seconds` from now; 0: let probes through at once."""
        self._open_until = self._now() + seconds
        self._change("open" if seconds > 0 else "half_open", by)

    def close(self) -> None:
        """Close and forget: an operator's hand, or another gateway's probe. Probes under way give their places back."""
        self.failed = 0
        self._change("closed")

    def _change(self, state: BreakerState, by: str | None = None) -> None:
        changed, self._state, self.by = self._state != state, state, by
        if changed and self.on_change is not None:
            self.on_change(self)


class TargetHealth:
    """What is known of one target. `attempts` were sent to it, `failures` of them had no answer to relay;
    `in_flight` are under way. `first_token_s` and `plain_s` are exponentially weighted means of the time to first
    token of streams and of the whole answer of plain requests, None before the first; `recent_s` are the last times to
    first token; `holds` says whether an operator holds it."""

    WEIGHT = 0.2
    HALF_FORGOTTEN_S = 30.0
    KEPT = 128

    __slots__ = (
        "_now", "_plain_at", "_streamed_at", "attempts", "breaker", "failures", "first_token_s", "holds", "in_flight",
        "name", "plain_s", "recent_s",
    )  # fmt: skip

    def __init__(self, name: str, now: Callable[[], float], holds: Holds | None = None) -> None:
        self.name = name
        self.holds = holds if holds is not None else Holds(now)
        self.breaker = Breaker(now)
        self._now = now
        self.in_flight = self.attempts = self.failures = 0
        self.first_token_s: float | None = None
        self.plain_s: float | None = None
        self._streamed_at = self._plain_at = 0.0
        self.recent_s: deque[float] = deque(maxlen=self.KEPT)

    def answered(self, seconds: float, *, stream: bool) -> None:
        """Note how long an attempt took to its first token, or to its whole answer when it was plain.

        It counts for a fifth; after a silence for more, half after 30 s, or a target that was slow once and is asked
        rarely since would stay slow for as long again.
        """
        now = self._now()
        if stream:
            self.recent_s.append(seconds)
            self.first_token_s = self._mean(self.first_token_s, seconds, now - self._streamed_at)
            self._streamed_at = now
        else:
            self.plain_s = self._mean(self.plain_s, seconds, now - self._plain_at)
            self._plain_at = now

    def _mean(self, before: float | None, seconds: float, silence_s: float) -> float:
        if before is None:
            return seconds
        weight = max(self.WEIGHT, silence_s / (silence_s + self.HALF_FORGOTTEN_S))
        return before + weight * (seconds - before)

    def quantile_s(self, share: float) -> float | None:
        """Return the `share` quantile of the recent times to first token; None below 20 of them."""
        if len(self.recent_s) < 20:
            return None
        ordered = sorted(self.recent_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Health:
    """The health of every target that was ever tried, and which of them an operator holds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.holds = Holds(now)
        self._targets: dict[str, TargetHealth] = {}

    def of(self, target: str) -> TargetHealth:
        """Return what is known of a target, by its name."""
        found = self._targets.get(target)
        if found is None:
            found = self._targets[target] = TargetHealth(target, self._now, self.holds)
        return found

    def __iter__(self) -> Iterator[TargetHealth]:
        return iter(list(self._targets.values()))

    def among(self, names: Collection[str]) -> list[TargetHealth]:
        """Return the targets of these names that were ever tried, or are known for another reason."""
        return [each for each in self if each.name in names]

    def breaker_of(self, provider: str, names: Collection[str]) -> BreakerState:
        """Return the worst breaker state among a provider's targets of these names."""
        order: tuple[BreakerState, ...] = ("closed", "half_open", "open")
        states = [each.breaker.state for each in self.among(names) if each.name.partition("/")[0] == provider]
        return max(states, key=order.index, default="closed")


class RepeatBudget:
    """Bounds the attempts that repeat a target: at once, 20 % of the `live` requests, at least 3; and in all, so that
    1,000 requests in an outage make no more than 1,200 attempts, however few of them are live at a time.

    Without it a failing upstream would get its load multiplied just when it can bear it least. A repetition costs one
    of `SAVED`, each request that wants to repeat earns `EARNED`. One that is answered, or a minute without any, shows
    that the outage is over: then all are there again.
    """

    SHARE = 0.2
    AT_LEAST = 3
    SAVED = 30.0
    EARNED = 0.15
    OVER_S = 60.0

    def __init__(self, live: Sized, now: Callable[[], float]) -> None:
        self._live, self._now = live, now
        self._saved, self._repeated_at_s = self.SAVED, -math.inf
        self.repeating = 0

    def try_take(self, *, first: bool) -> bool:
        """Take a place for one repetition, its request's `first` or a further one; give it back with `give_back`."""
        if first:
            self._saved = min(self.SAVED, self._saved + self.EARNED)
        now = self._now()
        if now - self._repeated_at_s >= self.OVER_S:
            self._saved = self.SAVED
        if self._saved < 1.0 or self.repeating >= max(self.AT_LEAST, len(self._live) * self.SHARE):
            return False
        self._saved -= 1.0
        self._repeated_at_s = now
        self.repeating += 1
        return True

    def give_back(self) -> None:
        """Return a place taken."""
        self.repeating -= 1

    def answered(self) -> None:
        """Note that a repetition was answered."""
        self._saved = self.SAVED
