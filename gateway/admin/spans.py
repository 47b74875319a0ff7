"""Which span of time a page is about: the last hours or days, or from one day to another. Everything in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.errors import BadRequest

HOUR_S: Final = 3600
DAY_S: Final = 86_400
NAMED: Final[Mapping[str, int]] = {"24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S, "90d": 90 * DAY_S}
USUAL: Final = "7d"
LAST_YEAR: Final = 9998
"""The day after the last of 9999 is none."""
LONGEST_DAYS: Final = 800
"""The ledger keeps sums for two years."""
BY_HOUR_UP_TO_S: Final = 3 * DAY_S


@dataclass(frozen=True, slots=True)
class Span:
    """[since, until) in Unix seconds. `name` is one of NAMED, or `custom`; `start` and `end` its days as written."""

    name: str
    since: float
    until: float
    start: str = ""
    end: str = ""

    @property
    def step(self) -> str:
        """What a chart of it is divided into: hour or day."""
        return "hour" if self.until - self.since <= BY_HOUR_UP_TO_S else "day"

    @property
    def steps(self) -> list[int]:
        """The beginnings of all its hours or days, Unix seconds."""
        size = HOUR_S if self.step == "hour" else DAY_S
        return list(range(int(self.since) // size * size, -(-int(self.until) // 1), size))

    def query(self) -> dict[str, str]:
        """Return it as it stands in an address."""
        return {"from": self.start, "to": self.end} if self.name == "custom" else {"span": self.name}


def span_of(query: Mapping[str, str], now: float) -> Span:
    """Return the span that a query asks for: `span=7d`, or `from` and `to` as days (2026-11-01), `to` included.

    A named one begins with a whole hour or day, so that a total is the sum of what the chart shows. Raises: BadRequest.
    """
    start, end = query.get("from", ""), query.get("to", "")
    if start or end:
        first = _day(start, "from") if start else _day(end, "to")
        last = _day(end, "to") if end else datetime.fromtimestamp(now, UTC)
        since, until = first.timestamp(), (_midnight(last) + timedelta(days=1)).timestamp()
        if since >= until:
            raise BadRequest("from must not be after to", param="from")
        if until - since > LONGEST_DAYS * DAY_S:
            raise BadRequest(f"a span is at most {LONGEST_DAYS} days", param="from")
        return Span("custom", since, until, f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}")
    name = query.get("span") or USUAL
    if name not in NAMED:
        raise BadRequest(f"span must be one of {', '.join(NAMED)}, or give from and to", param="span")
    size = HOUR_S if name == "24h" else DAY_S
    until = (int(now) // size + 1) * size
    return Span(name, float(until - NAMED[name]), float(until))


def _day(text: str, name: str) -> datetime:
    try:
        if len(text) != 10:
            raise ValueError
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        if day.year > LAST_YEAR:
            raise ValueError
        return day
    except ValueError:
        raise BadRequest(f"{name} must be a day such as 2026-11-01", param=name) from None


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
