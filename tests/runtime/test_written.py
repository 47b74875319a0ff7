"""What is shown of an amount can be written into a file again."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.amounts import MoneyRate, Rate
from gateway.runtime import written
from gateway.runtime.text import money, rate


@pytest.mark.parametrize("text", ["10/s", "60/min", "5/hour", "7/day", "9/week", "100k/month"])
def test_a_rate_is_read_as_it_is_shown(text: str) -> None:
    assert rate(written.amount(rate(text))) == rate(text)


@pytest.mark.parametrize("text", ["$0.0000001/day", "$50/month", "$0.25/hour"])
def test_money_is_read_as_it_is_shown(text: str) -> None:
    assert money(written.amount(money(text))) == money(text)


def test_no_amount_is_shown_in_powers_of_ten() -> None:
    assert written.amount(MoneyRate(Decimal("1E-7"), "day")) == "$0.0000001/day"
    assert written.amount(Rate(60, 2_592_000.0)) == "60/month"


def test_headers_that_a_plugin_sends_are_not_shown_whatever_its_schema_says() -> None:
    shown = written.value(
        {"headers": {"authorization": "Bearer of-all", "x-own": "may-be-one"}, "endpoint": "http://c"}
    )
    assert shown == {"headers": {"authorization": "***", "x-own": "***"}, "endpoint": "http://c"}
    assert written.value({"headers": ["x-one", "x-two"], "Cookie": "a=b"}) == {
        "headers": ["x-one", "x-two"],
        "Cookie": "***",
    }


def test_a_credential_in_the_query_of_an_address_is_not_shown() -> None:
    address = "https://user:pass@tools.example/search?api_key=one&limit=5&X-Amz-Signature=two#top"
    assert written.value(address) == "https://***@tools.example/search?api_key=***&limit=5&X-Amz-Signature=***#top"
