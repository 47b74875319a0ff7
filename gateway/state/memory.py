"""State of one process: plain dictionaries, no waiting. The reference for what the other stores must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor

from gateway.state.store import Bucket, Claim, Lease, Quota, StateStore, Taken

SWEEP_EVERY = 1024
"""Writes between two looks for what has outlived its lifetime; reading never sees it anyway."""


@dataclass(slots=True)
class _Kept:
    """Any value with its end."""

    value: bytes | int | list[bytes]
    ends_at: float


@dataclass(slots=True)
class _Level:
    """A bucket: how full it was, and when."""

    level: float
    at: float
    full_at: float


class _Shelf:
    """What the prefixed views of one store share."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.kept: dict[str, _Kept] = {}
        self.levels: dict[str, _Level] = {}
        self.leases: dict[str, dict[str, float]] = {}
        self.writes = 0

    def sweep(self) -> None:
        """Forget what is over, now and then."""
        self.writes += 1
        if self.writes % SWEEP_EVERY:
            return
        now = self.now()
        self.kept = {key: kept for key, kept in self.kept.items() if kept.ends_at > now}
        self.levels = {key: level for key, level in self.levels.items() if level.full_at > now}
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
        now = self._shelf.now()
        waits = [self._wait_for(claim, now) for claim in claims]
        refused = tuple(number for number, wait in enumerate(waits) if wait > 0)
        if not refused:
            for claim in claims:
                self._apply(claim, now)
        left, reset = zip(*(self._state_of(claim, now) for claim in claims), strict=True) if claims else ((), ())
        return Taken(not refused, refused, max(waits, default=0.0), tuple(left), tuple(reset))

    async def settle(self, claims: Sequence[Claim]) -> None:
        now = self._shelf.now()
        for claim in claims:
            if isinstance(claim, Lease):
                self._shelf.leases.get(self._prefix + claim.key, {}).pop(claim.holder, None)
            else:
                self._apply(claim, now)

    async def renew(self, leases: Sequence[Lease]) -> None:
        now = self._shelf.now()
        for lease in leases:
            self._apply(lease, now)

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _level(self, bucket: Bucket, now: float) -> float:
        kept = self._shelf.levels.get(self._prefix + bucket.key)
        if kept is None:
            return float(bucket.burst)
        return min(float(bucket.burst), kept.level + (now - kept.at) * bucket.rate_per_s)

    def _holders(self, lease: Lease, now: float) -> dict[str, float]:
        holders = self._shelf.leases.get(self._prefix + lease.key, {})
        return {holder: ends_at for holder, ends_at in holders.items() if ends_at > now}

    def _counted(self, quota: Quota) -> tuple[int, float]:
        kept = self._find(quota.key)
        if kept is None or not isinstance(kept.value, int):
            return 0, self._shelf.now() + quota.lifetime_s
        return kept.value, kept.ends_at

    def _wait_for(self, claim: Claim, now: float) -> float:
        """Return in how many seconds the claim could be granted, 0 when it can now."""
        match claim:
            case Bucket():
                lacking = claim.amount - self._level(claim, now)
                if claim.amount <= 0 or lacking <= 0:
                    return 0.0
                return lacking / claim.rate_per_s if claim.rate_per_s > 0 else 3600.0
            case Lease():
                holders = self._holders(claim, now)
                if claim.holder in holders or len(holders) < claim.limit:
                    return 0.0
                return max(0.001, min(holders.values(), default=now + claim.lifetime_s) - now)
            case Quota():
                counted, ends_at = self._counted(claim)
                if claim.amount <= 0 or counted + claim.amount <= claim.limit:
                    return 0.0
                return max(0.001, ends_at - now)

    def _apply(self, claim: Claim, now: float) -> None:
        self._shelf.sweep()
        match claim:
            case Bucket():
                if not claim.amount:
                    return
                level = min(float(claim.burst), self._level(claim, now) - claim.amount)
                full_in = (claim.burst - level) / claim.rate_per_s if claim.rate_per_s > 0 else 3600.0
                self._shelf.levels[self._prefix + claim.key] = _Level(level, now, now + full_in)
            case Lease():
                holders = self._holders(claim, now)
                holders[claim.holder] = now + claim.lifetime_s
                self._shelf.leases[self._prefix + claim.key] = holders
            case Quota():
                counted, ends_at = self._counted(claim)
                if claim.amount:
                    self._shelf.kept[self._prefix + claim.key] = _Kept(max(0, counted + claim.amount), ends_at)

    def _state_of(self, claim: Claim, now: float) -> tuple[int, float]:
        match claim:
            case Bucket():
                level = self._level(claim, now)
                rate = claim.rate_per_s
                return floor(level), ((claim.burst - level) / rate if rate > 0 else 0.0)
            case Lease():
                holders = self._holders(claim, now)
                return claim.limit - len(holders), max((each - now for each in holders.values()), default=0.0)
            case Quota():
                counted, ends_at = self._counted(claim)
                return claim.limit - counted, float(ceil(max(0.0, ends_at - now)))
