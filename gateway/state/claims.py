"""The arithmetic of claims, for the stores that decide in Python. The Lua of the Redis store says the same in Lua."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import floor

from gateway.state.store import Bucket, Claim, Lease, Quota, Taken

NEVER_S = 3600.0
"""Told to whoever waits for a bucket that nothing refills; such a bucket is forgotten as long after its last use."""
SLACK = 1e-6
"""So much of a token may be lacking: what rounding took from a refill. It stays owed, so it never adds up."""


def refuse_twice(claims: Sequence[Claim]) -> None:
    """Check that no key stands twice: each claim is judged alone, so together they could pass a limit.

    Raises: ValueError.
    """
    if len(claims) == 2 and claims[0].key != claims[1].key:
        return
    if len({(type(claim), claim.key) for claim in claims}) != len(claims):
        raise ValueError(f"one key is claimed twice in {', '.join(claim.key for claim in claims)}; add the amounts up")


def level_now(bucket: Bucket, level: float, at: float, now: float) -> float:
    """Return how full a bucket is that held `level` at `at`."""
    if now > at:  # min and max would cost more than all the rest of it
        level += (now - at) * bucket.rate_per_s
    return level if level < bucket.burst else float(bucket.burst)


def full_in(bucket: Bucket, level: float) -> float:
    """Return in how many seconds the bucket is full again, 0 when it is or nothing refills it."""
    return (bucket.burst - level) / bucket.rate_per_s if bucket.rate_per_s > 0 else 0.0


def forgotten_in(bucket: Bucket, level: float) -> float:
    """Return for how many seconds the level must be remembered: a full bucket needs no memory."""
    return (bucket.burst - level) / bucket.rate_per_s if bucket.rate_per_s > 0 else NEVER_S


def bucket_wait(bucket: Bucket, level: float) -> float:
    """Return in how many seconds the bucket holds the amount, 0 when it does."""
    lacking = bucket.amount - level
    if lacking <= SLACK or bucket.amount <= 0:
        return 0.0
    return lacking / bucket.rate_per_s if bucket.rate_per_s > 0 else NEVER_S


def lease_wait(lease: Lease, is_holder: bool, ends: Collection[float], now: float) -> float:
    """Return in how many seconds a place is free at the latest, 0 when one is. `ends` are those of live holders."""
    if is_holder or len(ends) < lease.limit:
        return 0.0
    return max(0.001, min(ends, default=now + lease.lifetime_s) - now)


def quota_wait(quota: Quota, counted: int, ends_at: float, now: float) -> float:
    """Return in how many seconds the quota is forgotten, 0 when the amount fits."""
    if quota.amount <= 0 or counted + quota.amount <= quota.limit:
        return 0.0
    return max(0.001, ends_at - now)


def whole(level: float) -> int:
    """Return how many whole tokens a level holds."""
    return floor(level + SLACK)


def given_back(claims: Sequence[Claim]) -> list[Claim]:
    """Return what to settle so that claims that were allowed are as if never taken."""
    back: list[Claim] = []
    for claim in claims:
        match claim:
            case Bucket():
                back.append(Bucket(claim.key, -claim.amount, claim.burst, claim.rate_per_s))
            case Lease():
                back.append(claim)
            case Quota():
                back.append(Quota(claim.key, -claim.amount, claim.limit, claim.lifetime_s))
    return back


NOTHING = Taken(True, (), 0.0, (), ())
"""The decision on no claims."""
