"""What a client is told of its limits: OpenAI's header names, and Anthropic's for Anthropic's clients.

Names and forms as in the providers' API references (October 2026): OpenAI's reset is a duration such as 6m0s,
Anthropic's a moment in RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .limits import Over

NAMES = {
    kind: (f"x-ratelimit-limit-{kind}", f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}")
    for kind in ("requests", "tokens")
}
SHORT = tuple(f"{ms}ms" for ms in range(1001))
"""The durations that nearly every answer has, written once."""
Standing = tuple[str, int, int, float]
"""Of one limit: requests or tokens, its burst, what is left, seconds until it is full again."""


def tightest(standings: Sequence[Standing]) -> Sequence[Standing]:
    """Return for requests and for tokens the limit that has the smallest share left."""
    if len(standings) == 1 or (len(standings) == 2 and standings[0][0] != standings[1][0]):
        return standings
    found: dict[str, Standing] = {}
    for each in standings:
        best = found.get(each[0])
        if best is None or each[2] * best[1] < best[2] * each[1]:
            found[each[0]] = each
    return list(found.values())


def write(headers: dict[str, str], standings: Sequence[Standing], *, anthropic_at_s: float | None) -> None:
    """Put the standings into `headers`; with Anthropic's names too when the Unix time is given."""
    for kind, burst, left, reset_s in tightest(standings):
        limit, remaining, reset = NAMES[kind]
        headers[limit] = shown = str(burst)
        headers[remaining] = still = str(left) if left > 0 else "0"
        headers[reset] = duration(reset_s)
        if anthropic_at_s is not None:
            headers[f"anthropic-ratelimit-{kind}-limit"] = shown
            headers[f"anthropic-ratelimit-{kind}-remaining"] = still
            headers[f"anthropic-ratelimit-{kind}-reset"] = moment(anthropic_at_s + reset_s)


def write_plain(headers: dict[str, str], over: Iterable[Over], left: Iterable[int], reset_s: Iterable[float]) -> None:
    """As `write`, for limits of which no two count the same thing, in OpenAI's names only."""
    for each, still, seconds in zip(over, left, reset_s, strict=True):
        if each.headers is not None:
            limit, remaining, reset = each.headers
            headers[limit] = each.shown
            headers[remaining] = str(still) if still > 0 else "0"
            headers[reset] = SHORT[-(-int(seconds * 1e6) // 1000)] if 0 < seconds < 1 else duration(seconds)


def duration(seconds: float) -> str:
    """Return seconds as OpenAI writes them: 120ms, 1.5s, 6m0s, 1h2m3s."""
    if seconds < 1:
        return SHORT[-(-int(seconds * 1e6) // 1000)] if seconds > 0 else "0ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(int(seconds + 0.999), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def moment(unix_s: float) -> str:
    """Return a moment as RFC 3339, in whole seconds, never too early."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=-(-unix_s // 1))).strftime("%Y-%m-%dT%H:%M:%SZ")
