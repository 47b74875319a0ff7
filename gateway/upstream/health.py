"""What is known of upstreams between requests: resting keys, and how much is being repeated.

Lives outside the snapshot, so that a reload forgets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.secret import Secret

REFUSED_REST_S = 60.0
"""How long a key rests that an upstream refused (401, 402, 403)."""


class Keys:
    """The credentials of one provider, taken in turn; one that was refused or is exhausted rests.

    Resting never takes the last one out: when all rest, the one that wakes first is used.
    """

    def __init__(self, credentials: Sequence[Secret], now: Callable[[], float]) -> None:
        self._credentials = tuple(credentials)
        self._now = now
        self._resting_until = [0.0] * len(credentials)
        self._next = 0

    def take(self, but_not: frozenset[int] = frozenset()) -> tuple[int, Secret] | None:
        """Return the next key with its number, leaving out those in `but_not`; None when none is left."""
        count = len(self._credentials)
        if count == 1:
            return None if but_not else (0, self._credentials[0])
        order = [(self._next + step) % count for step in range(count)]
        usable = [number for number in order if number not in but_not]
        if not usable:
            return None
        now = self._now()
        number = next((each for each in usable if self._resting_until[each] <= now), None)
        if number is None:
            number = min(usable, key=lambda each: self._resting_until[each])
        self._next = (number + 1) % count
        return number, self._credentials[number]

    def rest(self, number: int, seconds: float) -> None:
        """Pass the key over for `seconds`."""
        self._resting_until[number] = max(self._resting_until[number], self._now() + seconds)

    def resting(self) -> int:
        """Return how many keys rest now."""
        now = self._now()
        return sum(until > now for until in self._resting_until)


class RepeatBudget:
    """Bounds how many attempts that repeat a target run at once: 20 % of live requests, at least 3.

    Without it a failing upstream would get its load multiplied just when it can bear it least.
    """

    SHARE = 0.2
    AT_LEAST = 3

    def __init__(self) -> None:
        self.live = 0
        self.repeating = 0

    def try_take(self) -> bool:
        """Take a place for one repetition; give it back with `give_back`."""
        if self.repeating >= max(self.AT_LEAST, self.live * self.SHARE):
            return False
        self.repeating += 1
        return True

    def give_back(self) -> None:
        """Return a place taken."""
        self.repeating -= 1
