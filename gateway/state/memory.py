"""State of one process: plain dictionaries, no waiting. The reference for what the other stores must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from gateway.state.claims import (
    NEVER_S,
    SLACK,
    bucket_wait,
    full_in,
    lease_wait,
    quota_wait,
    refuse_twice,
    whole,
)
from gateway.state.store import Bucket, Claim, Lease, Quota, StateStore, Taken

SWEEP_EVERY = 1024
"""Writes between two looks for what has outlived its lifetime; reading never sees it anyway."""


@dataclass(slots=True)
class _Kept:
    """Any value with its end."""

    value: bytes | int | list[bytes]
    ends_at: float


class _Shelf:
    """What the prefixed views of one store share."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.kept: dict[str, _Kept] = {}
        self.levels: dict[str, tuple[float, float, float]] = {}  # how full, when that was, until when it matters
        self.leases: dict[str, dict[str, float]] = {}
        self.writes = 0

    def sweep(self) -> None:
        """Forget what is over, now and then."""
        self.writes += 1
        if self.writes % SWEEP_EVERY == 0:
            self.forget()

    def forget(self) -> None:
        """Forget what is over."""
        now = self.now()
        self.kept = {key: kept for key, kept in self.kept.items() if kept.ends_at > now}
        self.levels = {key: level for key, level in self.levels.items() if level[2] > now}
        for key, holders in list(self.leases.items()):
            alive = {holder: ends_at for holder, ends_at in holders.items() if ends_at > now}
            if alive:
                self.leases[key] = alive
            else:
                del self.leases[key]


class MemoryStore(StateStore):
    """Counts exactly within one process; forgets at its end. `now` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float], *, _shelf: _Shelf | None = None, _prefix: str = "") -> None:
        self._shelf = _shelf or _Shelf(now)
        self._prefix = _prefix

    is_lost = False
    errors = 0

    async def start(self) -> None:
        return None

    def under(self, prefix: str) -> StateStore:
        return MemoryStore(self._shelf.now, _shelf=self._shelf, _prefix=self._prefix + prefix)

    def _find(self, key: str) -> _Kept | None:
        kept = self._shelf.kept.get(self._prefix + key)
        return kept if kept is not None and kept.ends_at > self._shelf.now() else None

    async def get(self, key: str) -> bytes | None:
        kept = self._find(key)
        return kept.value if kept is not None and isinstance(kept.value, bytes) else None

    async def put(self, key: str, value: bytes, lifetime_s: float, *, if_absent: bool = False) -> bool:
        if if_absent and self._find(key) is not None:
            return False
        self._shelf.sweep()
        self._shelf.kept[self._prefix + key] = _Kept(value, self._shelf.now() + lifetime_s)
        return True

    async def delete(self, *keys: str) -> int:
        there = 0
        for key in keys:
            there += self._find(key) is not None
            self._shelf.kept.pop(self._prefix + key, None)
        return there

    async def add(self, key: str, amount: int, lifetime_s: float) -> int:
        kept = self._find(key)
        if kept is None or not isinstance(kept.value, int):
            self._shelf.sweep()
            kept = self._shelf.kept[self._prefix + key] = _Kept(0, self._shelf.now() + lifetime_s)
        assert isinstance(kept.value, int)
        kept.value += amount
        return kept.value

    async def push(
        self, key: str, values: Sequence[bytes], lifetime_s: float, *, at_most: int = 0, only_with: str | None = None
    ) -> int:
        ends_at = self._shelf.now() + lifetime_s
        if only_with is not None:
            beside = self._find(only_with)
            if beside is None:
                return -1
            beside.ends_at = ends_at
        kept = self._find(key)
        if kept is None or not isinstance(kept.value, list):
            if not values:
                return 0
            self._shelf.sweep()
            kept = self._shelf.kept[self._prefix + key] = _Kept([], ends_at)
        assert isinstance(kept.value, list)
        kept.value.extend(values)
        if at_most:
            del kept.value[:-at_most]
        kept.ends_at = ends_at
        return len(kept.value)

    async def items(self, key: str) -> list[bytes]:
        kept = self._find(key)
        return list(kept.value) if kept is not None and isinstance(kept.value, list) else []

    async def touch(self, key: str, lifetime_s: float) -> bool:
        kept = self._find(key)
        if kept is not None:
            kept.ends_at = self._shelf.now() + lifetime_s
        return kept is not None

    async def names(self, prefix: str, at_most: int) -> list[str]:
        start, now = self._prefix + prefix, self._shelf.now()
        cut = len(self._prefix)
        found = (key[cut:] for key, kept in self._shelf.kept.items() if key.startswith(start) and kept.ends_at > now)
        return [name for name, _ in zip(found, range(at_most), strict=False)]

    # --- claims ------------------------------------------------------------------------------------

    async def take(self, claims: Sequence[Claim]) -> Taken:
        return self.take_at_once(claims)

    async def settle(self, claims: Sequence[Claim]) -> None:
        self.settle_at_once(claims)

    def take_at_once(self, claims: Sequence[Claim]) -> Taken:
        if len(claims) > 1:
            refuse_twice(claims)
        shelf, prefix = self._shelf, self._prefix
        now, levels = shelf.now(), shelf.levels
        # As if all were allowed, which they nearly always are; written down when it is known.
        left: list[int] = []
        reset_s: list[float] = []
        after: list[tuple[dict[str, Any], str, Any]] = []
        refused: list[int] = []
        retry_after_s = wait = 0.0
        for claim in claims:
            key = prefix + claim.key
            if type(claim) is Bucket:
                # `level_of` and `full_in`, written out: called, they cost as much as all the rest.
                amount, burst, rate_per_s = claim.amount, claim.burst, claim.rate_per_s
                known = levels.get(key)
                level = float(burst)
                if known is not None and known[2] > now:
                    refilled = known[0] + (now - known[1]) * rate_per_s
                    if refilled < level:
                        level = refilled
                if amount > level:
                    wait = bucket_wait(claim, level)
                level -= amount
                if rate_per_s > 0:
                    full_s = until_s = (burst - level) / rate_per_s
                else:
                    full_s, until_s = 0.0, NEVER_S
                if amount > 0:
                    after.append((levels, key, (level, now, now + until_s)))
                left.append(floor(level + SLACK))
                reset_s.append(full_s)
            elif type(claim) is Quota:
                amount = claim.amount
                counted, ends_at = counted_of(claim, shelf.kept.get(key), now)
                if amount > 0:
                    if counted + amount > claim.limit:
                        wait = quota_wait(claim, counted, ends_at, now)
                    counted += amount
                    after.append((shelf.kept, key, _Kept(counted, ends_at)))
                left.append(claim.limit - counted)
                reset_s.append(ends_at - now)
            else:
                assert isinstance(claim, Lease)
                holders = alive(shelf.leases.get(key), now)
                wait = lease_wait(claim, claim.holder in holders, holders.values(), now)
                holders[claim.holder] = now + claim.lifetime_s
                after.append((shelf.leases, key, holders))
                left.append(claim.limit - len(holders))
                reset_s.append(max(holders.values()) - now)
            if wait:
                refused.append(len(left) - 1)
                retry_after_s, wait = max(retry_after_s, wait), 0.0
        if refused:
            standing = [self._standing(claim, now) for claim in claims]
            return Taken(False, tuple(refused), retry_after_s, *zip(*standing, strict=True))
        for kept, key, value in after:
            kept[key] = value
        shelf.writes += 1
        if shelf.writes % SWEEP_EVERY == 0:
            shelf.forget()
        return Taken(True, (), 0.0, tuple(left), tuple(reset_s))

    def _standing(self, claim: Claim, now: float) -> tuple[int, float]:
        """Return what is left of a claim, and in how many seconds it is whole, when nothing of it is taken."""
        shelf, key = self._shelf, self._prefix + claim.key
        if type(claim) is Bucket:
            level = level_of(claim, shelf.levels.get(key), now)
            return whole(level), full_in(claim, level)
        if type(claim) is Quota:
            counted, ends_at = counted_of(claim, shelf.kept.get(key), now)
            return claim.limit - counted, ends_at - now
        assert isinstance(claim, Lease)
        holders = alive(shelf.leases.get(key), now)
        return claim.limit - len(holders), max(holders.values(), default=now) - now

    def settle_at_once(self, claims: Sequence[Claim]) -> bool:
        shelf, now = self._shelf, self._shelf.now()
        for claim in claims:
            key = self._prefix + claim.key
            if type(claim) is Bucket:
                burst, rate_per_s = claim.burst, claim.rate_per_s
                level = level_of(claim, shelf.levels.get(key), now) - claim.amount
                if level > burst:
                    level = float(burst)
                until_s = (burst - level) / rate_per_s if rate_per_s > 0 else NEVER_S
                shelf.levels[key] = (level, now, now + until_s)
            elif type(claim) is Quota:
                counted, ends_at = counted_of(claim, shelf.kept.get(key), now)
                if counted or claim.amount > 0:
                    shelf.kept[key] = _Kept(max(0, counted + claim.amount), ends_at)
            else:
                assert isinstance(claim, Lease)
                shelf.leases.get(key, {}).pop(claim.holder, None)
        shelf.sweep()
        return True

    async def renew(self, leases: Sequence[Lease]) -> None:
        now = self._shelf.now()
        for lease in leases:
            self._shelf.leases.setdefault(self._prefix + lease.key, {})[lease.holder] = now + lease.lifetime_s
        self._shelf.sweep()

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        return None


def level_of(bucket: Bucket, kept: tuple[float, float, float] | None, now: float) -> float:
    """Return how full a bucket is; one that nobody remembers is full."""
    if kept is None or kept[2] <= now:
        return float(bucket.burst)
    level = kept[0] + (now - kept[1]) * bucket.rate_per_s
    return level if level < bucket.burst else float(bucket.burst)


def counted_of(quota: Quota, kept: _Kept | None, now: float) -> tuple[int, float]:
    """Return a quota's sum and when it is forgotten; one that is not there begins now."""
    if kept is None or kept.ends_at <= now or type(kept.value) is not int:
        return 0, now + quota.lifetime_s
    return kept.value, kept.ends_at


def alive(holders: dict[str, float] | None, now: float) -> dict[str, float]:
    """Return those whose time is not over, in a dictionary that may be kept."""
    return {holder: ends_at for holder, ends_at in holders.items() if ends_at > now} if holders else {}
