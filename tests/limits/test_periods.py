"""Calendar periods in UTC."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imports import ROOT

_spec = importlib.util.spec_from_file_location("budget_money", ROOT / "plugins" / "budget" / "money.py")
assert _spec is not None and _spec.loader is not None
money: Any = importlib.util.module_from_spec(_spec)
sys.modules["budget_money"] = money
_spec.loader.exec_module(money)

KINDS = ["second", "minute", "hour", "day", "week", "month"]


@pytest.mark.parametrize(
    ("kind", "begin", "end"),
    [
        ("month", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("week", "2024-02-26T00:00:00", "2024-03-04T00:00:00"),
        ("day", "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        ("hour", "2024-02-29T23:00:00", "2024-03-01T00:00:00"),
        ("minute", "2024-02-29T23:59:00", "2024-03-01T00:00:00"),
        ("second", "2024-02-29T23:59:59", "2024-03-01T00:00:00"),
    ],
)
def test_the_last_second_of_a_leap_day_lies_in(kind: str, begin: str, end: str) -> None:
    now_s = datetime(2024, 2, 29, 23, 59, 59, 500_000, tzinfo=UTC).timestamp()
    found = money.period_of(kind, now_s)
    assert (found.begin.isoformat()[:19], found.end.isoformat()[:19]) == (begin, end)
    assert found.end_s - now_s == (259_200.5 if kind == "week" else 0.5)


@given(
    kind=st.sampled_from(KINDS),
    moment=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2060, 1, 1), timezones=st.just(UTC)),
)
def test_periods_follow_one_another_without_gap(kind: str, moment: datetime) -> None:
    found = money.period_of(kind, moment.timestamp())
    assert found.begin <= moment < found.end
    following = money.period_of(kind, found.end.timestamp())
    assert following.begin == found.end
    assert following.name != found.name
    last = money.period_of(kind, (found.end - timedelta(microseconds=10)).timestamp())
    assert last.name == found.name
