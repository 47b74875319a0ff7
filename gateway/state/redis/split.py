"""The answers of `take.lua`, and how those of several shards become one decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.state.claims import whole
from gateway.state.store import Bucket, Claim, Lease, Taken

_US = 1e-6


def parse_taken(answer: list[Any]) -> Taken:
    """Return the decision of one script."""
    return Taken(
        allowed=answer[0] == 1,
        refused=tuple(number for number, is_refused in enumerate(answer[2::3]) if is_refused == 1),
        retry_after_s=answer[1] * _US,
        left=tuple(answer[3::3]),
        reset_s=tuple(reset_us * _US for reset_us in answer[4::3]),
    )


def newly_taken(claims: Sequence[Claim], answer: list[Any]) -> list[Claim]:
    """Return what a script that allowed `claims` took: all but the leases that their holders had already."""
    return [claim for claim, mark in zip(claims, answer[2::3], strict=True) if mark != 2]


def merged(
    claims: Sequence[Claim], groups: Sequence[Sequence[int]], answers: Sequence[Taken], taken: Sequence[Claim]
) -> Taken:
    """Return one decision for `claims`, whose numbers stand in `groups`, from the groups' answers.

    `taken` was given back when a later group refused, and what remained before is what remains of it.
    """
    allowed = all(answer.allowed for answer in answers)
    refused: list[int] = []
    left, reset_s = [0] * len(claims), [0.0] * len(claims)
    for numbers, answer in zip(groups, answers, strict=True):
        refused += [numbers[each] for each in answer.refused]
        for number, remains, reset in zip(numbers, answer.left, answer.reset_s, strict=True):
            if not allowed and any(claims[number] is each for each in taken):
                remains, reset = _before(claims[number], remains, reset)
            left[number], reset_s[number] = remains, reset
    retry_after_s = max(answer.retry_after_s for answer in answers)
    return Taken(allowed, tuple(sorted(refused)), retry_after_s, tuple(left), tuple(reset_s))


def _before(claim: Claim, left: int, reset_s: float) -> tuple[int, float]:
    """Return what remained of a claim before it was taken."""
    match claim:
        case Bucket():
            spent_s = claim.amount / claim.rate_per_s if claim.rate_per_s > 0 else 0.0
            return min(claim.burst, whole(left + claim.amount)), max(0.0, reset_s - spent_s)
        case Lease():
            return left + 1, reset_s
        case _:
            return left + claim.amount, reset_s
