"""The forms in which a person writes quantities: durations, sizes, rates, money, percents, backoff ranges.

Each function takes the text and returns the value in code's own units, or raises ValueError whose
message states the value and the accepted forms with an example. Nothing else reads these forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from gateway.amounts import MoneyRate, Rate

_SECONDS: Final[Mapping[str, Decimal]] = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
    "w": Decimal(604_800),
}
_BYTES: Final[Mapping[str, int]] = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_PERIODS: Final[Mapping[str, tuple[str, float]]] = {
    "s": ("second", 1.0),
    "sec": ("second", 1.0),
    "second": ("second", 1.0),
    "min": ("minute", 60.0),
    "minute": ("minute", 60.0),
    "h": ("hour", 3600.0),
    "hour": ("hour", 3600.0),
    "d": ("day", 86_400.0),
    "day": ("day", 86_400.0),
    "w": ("week", 604_800.0),
    "week": ("week", 604_800.0),
    "month": ("month", 2_592_000.0),
}
_MULTIPLES: Final[Mapping[str, int]] = {"": 1, "k": 1000, "M": 1_000_000}

# At most 15 digits before the point and 9 after: a longer number is a slip, and keeps every float exact enough.
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_PERIOD = "|".join(_PERIODS)
DURATION_PATTERN: Final = rf"{_NUMBER}(?:ms|s|m|h|d|w)"
SIZE_PATTERN: Final = rf"{_NUMBER}(?:B|KB|MB|GB|KiB|MiB|GiB)"
RATE_PATTERN: Final = rf"{_NUMBER}[kM]?/(?:{_PERIOD})"
MONEY_PATTERN: Final = rf"\${_NUMBER}/(?:{_PERIOD})"
PERCENT_PATTERN: Final = rf"{_NUMBER}%"
RANGE_PATTERN: Final = rf"{DURATION_PATTERN}(?:\.\.{DURATION_PATTERN})?"

_DURATION = re.compile(rf"({_NUMBER})(ms|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(rf"({_NUMBER})(B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII)
_RATE = re.compile(rf"({_NUMBER})([kM]?)/({_PERIOD})", re.ASCII)
_MONEY = re.compile(rf"\$({_NUMBER})/({_PERIOD})", re.ASCII)
_PERCENT = re.compile(rf"({_NUMBER})%", re.ASCII)


def duration(text: str) -> float:
    """Return the seconds that `250ms`, `30s`, `5m`, `1h`, `7d` or `2w` is. Raises: ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is not a duration; write a number with ms, s, m, h, d or w, such as "30s"')
    return float(Decimal(found[1]) * _SECONDS[found[2]])


def size(text: str) -> int:
    """Return the bytes that `512B`, `64KiB`, `20MiB` or `1MB` is. Raises: ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is not a size; write a number with B, KB, MB, GB, KiB, MiB or GiB, such as "20MiB"')
    value = Decimal(found[1]) * _BYTES[found[2]]
    if value != int(value):
        raise ValueError(f'"{text}" is not a whole number of bytes; write for example "64KiB"')
    return int(value)


def rate(text: str) -> Rate:
    """Return the rate that `60/min`, `10/s`, `100k/min` or `1M/day` is. Raises: ValueError."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(
            f'"{text}" is not a rate; write an amount per s, min, hour, day, week or month, '
            'such as "60/min" or "100k/min"'
        )
    amount = Decimal(found[1]) * _MULTIPLES[found[2]]
    if amount != int(amount) or amount < 1:
        raise ValueError(f'"{text}" is not a whole amount of 1 or more; write for example "60/min"')
    return Rate(int(amount), _PERIODS[found[3]][1])


def money(text: str) -> MoneyRate:
    """Return the allowance that `$10/day` or `$50/month` is. Raises: ValueError."""
    found = _MONEY.fullmatch(text)
    if found is None:
        raise ValueError(
            f'"{text}" is not an amount of money; write dollars per hour, day, week or month, such as "$10/day"'
        )
    return MoneyRate(Decimal(found[1]), _PERIODS[found[2]][0])


def percent(text: str) -> float:
    """Return the fraction, 0 to 1, that `5%` is. Raises: ValueError."""
    found = _PERCENT.fullmatch(text)
    if found is None or Decimal(found[1]) > 100:
        raise ValueError(f'"{text}" is not a percentage; write 0% to 100%, such as "5%"')
    return float(Decimal(found[1]) / 100)


def duration_range(text: str) -> tuple[float, float]:
    """Return the two durations, in seconds, that `200ms..5s` is; one alone is both. Raises: ValueError."""
    low_text, dots, high_text = text.partition("..")
    try:
        low = duration(low_text)
        high = duration(high_text) if dots else low
    except ValueError:
        raise ValueError(
            f'"{text}" is not a range of durations; write the least and the most, such as "200ms..5s"'
        ) from None
    if high < low:
        raise ValueError(f'"{text}" ends before it begins; write the smaller duration first, such as "200ms..5s"')
    return low, high


@dataclass(frozen=True, slots=True)
class Form:
    """A text form a schema may name in `format`: its reader, its pattern (unanchored), examples."""

    read: Callable[[str], Any]
    pattern: str
    examples: tuple[str, ...]


FORMS: Final[Mapping[str, Form]] = {
    "duration": Form(duration, DURATION_PATTERN, ("250ms", "30s", "5m", "1h", "7d")),
    "size": Form(size, SIZE_PATTERN, ("64KiB", "20MiB")),
    "rate": Form(rate, RATE_PATTERN, ("10/s", "60/min", "100k/min")),
    "money": Form(money, MONEY_PATTERN, ("$10/day", "$50/month")),
    "percent": Form(percent, PERCENT_PATTERN, ("5%",)),
    "duration-range": Form(duration_range, RANGE_PATTERN, ("200ms..5s",)),
}
"""The forms, by the name that stands in a schema's `format`."""
