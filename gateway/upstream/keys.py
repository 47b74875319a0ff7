"""The credentials of a provider: taken in turn, rested when they are refused or exhausted, or about to be.

What an upstream says of its limits is read off every answer: the requests and tokens that are left to a key for a
model, and when they are full again. So a target about to refuse is passed over before it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from multidict import istr

from gateway.dialects.errors import retry_after_s
from gateway.dialects.ratelimits import until_reset_s
from gateway.exchange import ClientRequest
from gateway.secret import Secret
from gateway.upstream.need import MOST_COMPLETION_TOKENS, tokens

REFUSED_REST_S = 60.0
"""How long a key rests that an upstream refused (401, 402, 403)."""
SPENT_REST_S = 300.0
"""How long a key rests that has no money left: a 429 that does not say when to come back."""
LONGEST_REST_S = 3600.0
"""However long an upstream asks for, a key is tried again after an hour."""
MOST_SPELLS = 1000
"""Clients may name any model at a target that passes it on, so what is remembered of models is bounded."""
EVERY_MODEL = ""
PLENTY: Final = 1 << 62
T = TypeVar("T")
CREDENTIAL_STATUSES = frozenset({401, 402, 403})
"""An upstream's answers that concern the gateway's own key, not the request."""

_OPENAI = tuple(istr(f"x-ratelimit-{what}") for what in (
    "remaining-requests", "reset-requests", "remaining-tokens", "reset-tokens", "remaining-tokens", "reset-tokens"
))  # fmt: skip
_ANTHROPIC = tuple(istr(f"anthropic-ratelimit-{what}") for what in (
    "requests-remaining", "requests-reset", "tokens-remaining", "tokens-reset",
    "input-tokens-remaining", "input-tokens-reset",
))  # fmt: skip


class Resting:
    """Whether any key of this process rests; asked for every request, so that nothing else is when none does.

    `keys` are those that rest for some model; a body longer than `least_bytes` may need more tokens than some key has
    left. Both may be out of date until `sweep`, never so that a rest is overlooked.
    """

    SWEPT_EVERY_S = 1.0

    __slots__ = ("_now", "_sweep_at", "counting", "keys", "least_bytes")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._sweep_at = 0.0
        self.keys: set[Keys] = set()
        self.counting: set[Keys] = set()
        self.least_bytes = PLENTY

    def sweep(self) -> None:
        """Forget what is over; a second time within a second nothing happens."""
        now = self._now()
        if now < self._sweep_at:
            return
        self._sweep_at = now + self.SWEPT_EVERY_S
        for each in self.keys | self.counting:
            each.sweep()
        self.least_bytes = min((each.least_bytes() for each in self.counting), default=PLENTY)


class _Rest:
    """A key takes no request `until` then; `since` is when that was known."""

    __slots__ = ("since", "until")

    def __init__(self, until: float, since: float) -> None:
        self.until, self.since = until, since


class _Left:
    """A key has `tokens` left for a model until the limit is full again, which `reset` says in the upstream's words
    and `full_at` in ours: they are read only when a request might not fit, as most never do."""

    __slots__ = ("at", "full_at", "reset", "tokens")

    def __init__(self) -> None:
        self.tokens = PLENTY
        self.reset: str | None = None
        self.at = self.full_at = 0.0


class Keys:
    """The credentials of one provider; one that was refused, or has nothing left for a model, rests.

    Resting never takes the last one out: when all rest, the one that wakes first is used. A provider without keys is
    one whose only key is None. `now` is monotonic, `wall` Unix time.
    """

    def __init__(
        self,
        credentials: Sequence[Secret],
        now: Callable[[], float],
        wall: Callable[[], float],
        dialect: str = "openai",
        resting: Resting | None = None,
    ) -> None:
        self.credentials: tuple[Secret | None, ...] = tuple(credentials) or (None,)
        self._now, self._wall = now, wall
        self._names = _ANTHROPIC if dialect == "anthropic" else _OPENAI
        self._resting = resting if resting is not None else Resting(now)
        self._rests: dict[tuple[int, str], _Rest] = {}
        self._left: dict[tuple[int, str], _Left] = {}
        self._next = 0

    def take(
        self, model: str, request: ClientRequest, but_not: frozenset[int] = frozenset()
    ) -> tuple[int, Secret | None] | None:
        """Return the key to try next for `model`, with its number.

        None when each that is awake is in `but_not`; the first try gets a key in any case.
        """
        count = len(self.credentials)
        if not self._rests and len(request.body) <= self._resting.least_bytes:
            if count == 1:
                return None if but_not else (0, self.credentials[0])
            awake = [number for step in range(count) if (number := (self._next + step) % count) not in but_not]
        else:
            self._resting.sweep()
            now, needed = self._now(), tokens(request)
            turn = [(self._next + step) % count for step in range(count)]
            untils = {number: self._held_until(number, model, needed, now) for number in turn}
            awake = [number for number in turn if not untils[number] and number not in but_not]
            if not awake and not but_not:
                awake = [min(turn, key=untils.__getitem__)]
        if not awake:
            return None
        number = awake[0]
        self._next = (number + 1) % count
        return number, self.credentials[number]

    @property
    def any_rests(self) -> bool:
        """Whether a rest is noted, over or not."""
        return bool(self._rests)

    def rests_until(self, model: str, request: ClientRequest) -> float:
        """Return when the first key wakes for `model` and a request like this; 0 when one is awake."""
        if not self._rests and not self._left:
            return 0.0
        now, needed = self._now(), tokens(request)
        return min(self._held_until(number, model, needed, now) for number in range(len(self.credentials)))

    def learn(self, number: int, model: str, status: int, headers: Mapping[str, str], asked_at_s: float) -> float:
        """Note what an answer's head says of a key; `asked_at_s` is when the attempt began.

        Return for how long the key rests from now on because it was refused; 0 when it was not, or rested already.
        """
        if status == 429 or status in CREDENTIAL_STATUSES:
            return self._refused(number, model, status, headers)
        if status < 400 and self._rests:
            self._wake(number, model, asked_at_s)
        names = self._names
        requests, left = headers.get(names[0]), headers.get(names[2])
        if requests == "0":
            pause_s = until_reset_s(headers.get(names[1]), self._wall())
            if pause_s:
                self.rest(number, min(pause_s, LONGEST_REST_S), model)
        reset = names[3]
        if left is None and names is _ANTHROPIC:
            left, reset = headers.get(names[4]), names[5]
        if left is not None and left.isdecimal() and left.isascii() and len(left) < 19:
            self._note_left(number, model, int(left), headers.get(reset))
        return 0.0

    def rest(self, number: int, seconds: float, model: str = EVERY_MODEL) -> None:
        """Pass the key over for `seconds`, for one model or for all."""
        now = self._now()
        known = self._rests.get((number, model))
        until = now + seconds if known is None else max(known.until, now + seconds)
        self._rests.pop((number, model), None)  # so that the oldest stays first
        _put(self._rests, (number, model), _Rest(until, now))
        self._resting.keys.add(self)

    def resting(self) -> int:
        """Return how many keys rest now, for one model at least."""
        now = self._now()
        return len({number for (number, _), rest in self._rests.items() if rest.until > now})

    def rest_s(self, model: str) -> float:
        """Return for how long every key is passed over for `model`, 0 when one is not: for people to see."""
        now = self._now()
        keys = (EVERY_MODEL,) if model == "*" else (EVERY_MODEL, model)
        known = [[self._rests.get((number, key)) for key in keys] for number in range(len(self.credentials))]
        return min(max((rest.until - now for rest in rests if rest is not None), default=0.0) for rests in known)

    def sweep(self) -> None:
        """Forget what is over."""
        now = self._now()
        self._rests = {key: rest for key, rest in self._rests.items() if rest.until > now}
        self._left = {key: left for key, left in self._left.items() if self._full_at(left) > now}
        if not self._rests:
            self._resting.keys.discard(self)
        if not self._left:
            self._resting.counting.discard(self)

    def least_bytes(self) -> int:
        """Return the longest body that every key has tokens left for."""
        return min((_bytes_for(left.tokens) for left in self._left.values()), default=PLENTY)

    def _held_until(self, number: int, model: str, needed: int, now: float) -> float:
        """Return until when a key takes no request for `model` that needs so many tokens; 0 when it takes it now."""
        held = 0.0
        for key in ((number, EVERY_MODEL), (number, model)):
            rest = self._rests.get(key)
            if rest is not None and rest.until > now:
                held = max(held, rest.until)
        left = self._left.get((number, model))
        if left is not None and needed > left.tokens and (full_at := self._full_at(left)) > now:
            held = max(held, full_at)
        return held

    def _full_at(self, left: _Left) -> float:
        if left.reset is not None:
            wait_s = until_reset_s(left.reset, self._wall() + left.at - self._now())
            left.full_at, left.reset = left.at + min(wait_s or 0.0, LONGEST_REST_S), None
        return left.full_at

    def _refused(self, number: int, model: str, status: int, headers: Mapping[str, str]) -> float:
        pause_s, held = REFUSED_REST_S, EVERY_MODEL
        if status == 429:
            asked_s = retry_after_s(headers)
            if asked_s is not None:
                pause_s, held = min(asked_s, LONGEST_REST_S), model
            elif self.credentials[number] is None:
                return 0.0  # no key, so no money: it is busy, and may not be in a moment
            else:
                pause_s = SPENT_REST_S
        known = self._rests.get((number, held))
        rested = known is not None and known.until > self._now()
        self.rest(number, pause_s, held)
        return 0.0 if rested else pause_s

    def _wake(self, number: int, model: str, asked_at_s: float) -> None:
        """An answer came: a rest that began before the question was asked is over."""
        for key in ((number, EVERY_MODEL), (number, model)):
            rest = self._rests.get(key)
            if rest is not None and rest.since <= asked_at_s:
                del self._rests[key]
        if not self._rests:
            self._resting.keys.discard(self)

    def _note_left(self, number: int, model: str, count: int, reset: str | None) -> None:
        left = self._left.get((number, model))
        if left is None:
            left = _Left()
            _put(self._left, (number, model), left)
            self._resting.counting.add(self)
        left.tokens, left.reset, left.at, left.full_at = count, reset, self._now(), 0.0
        if (least := _bytes_for(count)) < self._resting.least_bytes:
            self._resting.least_bytes = least


def _bytes_for(count: int) -> int:
    """Return the longest body that `count` tokens are enough for, whatever its answer is reckoned with."""
    return (count - MOST_COMPLETION_TOKENS) * 4


def _put(spells: dict[tuple[int, str], T], key: tuple[int, str], spell: T) -> None:
    if len(spells) >= MOST_SPELLS:
        del spells[next(iter(spells))]
    spells[key] = spell
