"""How numbers, money and times are written."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.admin import figures
from gateway.admin.pages import Engine

WRITTEN = [
    ("count", 0, "0"), ("count", 1234, "1,234"), ("count", 99_999, "99,999"), ("count", 123_456, "123k"),
    ("count", 1_234_567, "1.23M"), ("count", 10_000_000, "10M"), ("count", 2_500_000_000, "2.5B"), ("count", None, "–"),
    ("rate", 0, "0"), ("rate", 0.25, "0.25"), ("rate", 12.34, "12.3"), ("rate", 1234.6, "1,235"), ("rate", None, "–"),
    ("share", 0, "0%"), ("share", 0.0004, "<0.1%"), ("share", 0.0122, "1.2%"), ("share", 1.0, "100%"), ("share", None, "–"),
    ("ms", 0.214, "0.21 ms"), ("ms", 9.12, "9.12 ms"), ("ms", 91.21, "91.2 ms"), ("ms", 310.4, "310 ms"),
    ("ms", 1234.0, "1.23 s"), ("ms", 12_340.0, "12.3 s"), ("ms", 125_000.0, "2 min 5 s"), ("ms", None, "–"),
    ("seconds", 12.0, "12 s"), ("seconds", 12.14, "12.1 s"), ("seconds", 125.0, "2 min 5 s"), ("seconds", 60.0, "1 min"),
    ("seconds", 11_520.0, "3 h 12 min"), ("seconds", 353_000.0, "4 d 2 h"), ("seconds", None, "–"),
    ("age", 3.0, "3.0 s"), ("age", 3.21, "3.2 s"), ("age", 65.0, "1 min 5 s"), ("age", None, "–"),
    ("money", "0", "$0.00"), ("money", "1234.5", "$1,234.50"), ("money", "0.0123", "$0.0123"),
    ("money", "0.000091", "$0.000091"), ("money", "-0.5", "-$0.5000"), ("money", None, "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "value", "said"), WRITTEN)
def test_a_figure_is_written(form: str, value: float | str | None, said: str) -> None:
    assert figures.FILTERS[form](value) == said


def test_money_is_exact_at_the_last_digit() -> None:
    assert figures.money(Decimal("0.000000001")) == "$0.0000000010"
    assert figures.money(Decimal("999999999.99")) == "$999,999,999.99"


@pytest.mark.parametrize(("ts", "said"), [(1000.0, "now"), (970.0, "30 s ago"), (400.0, "10 min ago"), (8200.0, "in 2 h"), (None, "–")])  # fmt: skip
def test_a_moment_is_told_from_now(ts: float | None, said: str) -> None:
    assert Engine().environment.from_string("{{ ts|ago }}").render(ts=ts, now=1000.0) == said


def test_a_time_is_utc_in_full_and_for_machines() -> None:
    assert figures.utc(1763798400.25) == "2025-11-22 08:00:00 UTC"
    assert figures.iso(1763798400.25) == "2025-11-22T08:00:00.250Z"
    assert figures.day(1763798400.25) == "2025-11-22"
    assert figures.utc(None) == figures.day(None) == "–"
