"""How the dashboard writes numbers, money and times. `static/format.js` writes live figures the same way.

A value that is None is told as a dash, an unknown price as "unknown": neither is ever 0.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

DASH = "–"
_LARGE = ((1e9, "B"), (1e6, "M"), (1e5, "k"))


def count(value: float | None) -> str:
    """Return a number of things: `1,234`, from a hundred thousand on `123k`, `1.23M`."""
    if value is None:
        return DASH
    for size, letter in _LARGE:
        if abs(value) >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:.3g}{letter}" if value / unit < 1000 else f"{value / unit:,.0f}{letter}"
    return f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Return how many a second: two digits after the point below ten, one below a hundred."""
    if value is None:
        return DASH
    return count(value) if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value else "0"


def share(value: float | None) -> str:
    """Return a share of one in per cent: `1.2%`."""
    if value is None:
        return DASH
    percent = value * 100
    return f"{percent:.0f}%" if percent >= 99.95 or not percent else "<0.1%" if percent < 0.1 else f"{percent:.1f}%"


def ms(value: float | None) -> str:
    """Return milliseconds in the unit that reads best: `0.21 ms`, `310 ms`, `1.23 s`, `2 min 5 s`."""
    if value is None:
        return DASH
    if value < 999.5:
        return f"{value:.0f} ms" if value >= 99.95 else f"{value:.1f} ms" if value >= 9.995 else f"{value:.2f} ms"
    return f"{value / 1000:.2f} s" if value < 9995 else seconds(value / 1000)


def seconds(value: float | None) -> str:
    """Return a span: `12.1 s`, `2 min 5 s`, `3 h 12 min`, `4 d 2 h`."""
    if value is None:
        return DASH
    if value < 59.95:
        return f"{value:.1f} s" if value % 1 >= 0.05 else f"{value:.0f} s"
    whole = round(value)
    for size, unit, inner, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // inner
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def age(value: float | None) -> str:
    """Return a span that grows while it is seen: always with a tenth, so that it does not jump."""
    return DASH if value is None else f"{value:.1f} s" if value < 59.95 else seconds(value)


def money(value: str | Decimal | float | None) -> str:
    """Return dollars: two digits after the point from a dollar on, four below, and what a tiny sum needs."""
    if value is None:
        return "unknown"
    amount = Decimal(str(value))
    size = abs(amount)
    sign = "-" if amount < 0 else ""
    if size >= 1 or not size:
        return f"{sign}${size:,.2f}"
    if size >= Decimal("0.01"):
        return f"{sign}${size:.4f}"
    return f"{sign}${size:.{min(12, 1 - size.adjusted())}f}"


def iso(ts: float) -> str:
    """Return a time as machines read it, for `<time datetime>`."""
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(ts: float | None) -> str:
    """Return a time whole: `2026-11-22 07:55:25 UTC`."""
    return DASH if ts is None else f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M:%S} UTC"


def day(ts: float | None) -> str:
    """Return a date, in UTC."""
    return DASH if ts is None else f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d}"


@pass_context
def ago(context: Context, ts: float | None) -> str:
    """Return how long ago a time was, or how far it is: `12 s ago`, `in 3 h`. Needs `now`, which every page has."""
    if ts is None:
        return DASH
    past = float(context["now"]) - ts
    span = _roughly(abs(past))
    return "now" if abs(past) < 1 else f"{span} ago" if past > 0 else f"in {span}"


def _roughly(span: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if span >= size:
            return f"{span // size:.0f} {unit}"
    return f"{min(59, round(span))} s"


@pass_context
def shown(context: Context, path: str, form: str) -> str:
    """Return what a page's facts hold at `path`, written as `form` says: a figure that live.js finds again."""
    first, *rest = path.split(".")
    value = context[first]
    for name in rest:
        value = None if value is None else value[name]
    return str(FILTERS[form](value))


FILTERS: dict[str, Callable[..., Any]] = {
    "count": count, "rate": rate, "share": share, "ms": ms, "seconds": seconds, "age": age, "money": money, "iso": iso,
    "utc": utc, "day": day, "ago": ago,
}  # fmt: skip
