"""The text forms: what a person writes, in code's own units."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.text import (
    FORMS,
    MoneyRate,
    Rate,
    duration,
    duration_range,
    money,
    percent,
    rate,
    size,
)

WHOLE = st.integers(min_value=0, max_value=10**9)
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
PERIODS = {"s": 1, "min": 60, "hour": 3600, "day": 86_400, "week": 604_800}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1.5s", 1.5),
        ("0s", 0),
    ],
)
def test_duration_is_seconds(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("512B", 512), ("64KiB", 65_536), ("20MiB", 20_971_520), ("1MB", 1_000_000)]
)
def test_size_is_bytes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60/min", Rate(60, 60)),
        ("10/s", Rate(10, 1)),
        ("100k/min", Rate(100_000, 60)),
        ("1M/day", Rate(1_000_000, 86_400)),
        ("1.5k/hour", Rate(1500, 3600)),
    ],
)
def test_rate_is_amount_and_period(text: str, expected: Rate) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$10/day", MoneyRate(Decimal(10), "day")),
        ("$50/month", MoneyRate(Decimal(50), "month")),
        ("$0.05/hour", MoneyRate(Decimal("0.05"), "hour")),
    ],
)
def test_money_is_exact_and_keeps_its_calendar_period(text: str, expected: MoneyRate) -> None:
    assert money(text) == expected


def test_percent_is_a_fraction() -> None:
    assert (percent("5%"), percent("0%"), percent("100%"), percent("0.5%")) == (0.05, 0, 1, 0.005)


def test_range_of_durations_is_two_and_one_alone_is_both() -> None:
    assert duration_range("200ms..5s") == (0.2, 5.0)
    assert duration_range("1s") == (1.0, 1.0)


@given(WHOLE, st.sampled_from(sorted(SECONDS)))
def test_any_whole_duration_is_its_number_of_units(number: int, unit: str) -> None:
    assert duration(f"{number}{unit}") == pytest.approx(number * SECONDS[unit])


@given(WHOLE, st.sampled_from(sorted(BYTES)))
def test_any_whole_size_is_its_number_of_units(number: int, unit: str) -> None:
    assert size(f"{number}{unit}") == number * BYTES[unit]


@given(st.integers(min_value=1, max_value=10**9), st.sampled_from(["", "k", "M"]), st.sampled_from(sorted(PERIODS)))
def test_any_whole_rate_is_exact(number: int, multiple: str, period: str) -> None:
    assert rate(f"{number}{multiple}/{period}") == Rate(
        number * {"": 1, "k": 1000, "M": 10**6}[multiple], PERIODS[period]
    )


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=0, max_value=99))
def test_any_amount_of_money_keeps_its_cents(dollars: int, cents: int) -> None:
    assert money(f"${dollars}.{cents:02}/day").amount_usd == Decimal(dollars) + Decimal(cents) / 100


@pytest.mark.parametrize("form", sorted(FORMS))
@given(text=st.text(max_size=20))
def test_any_other_text_is_refused_with_value_and_example(form: str, text: str) -> None:
    try:
        FORMS[form].read(text)
    except ValueError as error:
        assert f'"{text}"' in str(error)
        assert any(
            f'"{example}"' in str(error) for example in (*FORMS[form].examples, "0%", "60/min", "64KiB", "200ms..5s")
        )
    else:
        assert re.fullmatch(FORMS[form].pattern, text)


@pytest.mark.parametrize("form", sorted(FORMS))
@given(data=st.data())
def test_the_pattern_that_editors_get_is_the_form(form: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(re.compile(rf"(?:{FORMS[form].pattern})", re.ASCII), fullmatch=True))
    try:
        FORMS[form].read(text)
    except ValueError as error:
        # Of the right shape, but no whole bytes or amounts, over 100 %, or backwards.
        assert re.search(r"whole|0% to 100%|before it begins", str(error))


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_example_is_of_its_form(form: str) -> None:
    for example in FORMS[form].examples:
        FORMS[form].read(example)


@pytest.mark.parametrize("text", ["30", "30 s", " 30s", "30s\n", "-1s", "1e3s", "٣s", "1h30m", "s", "", "1" * 16 + "s"])
def test_near_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


@pytest.mark.parametrize("text", ["20", "20mib", "20 MiB", "1.5B", "-1B", ""])
def test_near_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|bytes"):
        size(text)


@pytest.mark.parametrize("text", ["60", "60/m", "0/min", "0.5/s", "1.0001k/s", "60 / min", "$5/min"])
def test_near_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|amount"):
        rate(text)
