"""What is written is read again: every column, every filter, page by page."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from gateway.ledger.ledger import Row
from gateway.telemetry import IDS_AT_ONCE, new_request_id
from tests.ledger.kit import NOON, Place, ids, recorded, row

FULL = Row(
    exchange_id="e1",
    ts=NOON + 0.123456,
    request_id="r1",
    parent_id="e0",
    principal="team-ä",
    tags={"team": "a", 'odd"$.name': "ü"},
    session="sess_1",
    route="smart",
    dialect="anthropic_messages",
    endpoint="/v1/messages",
    model_requested="claude-sonnet",
    target="anthropic/claude-sonnet-4-5",
    attempts=3,
    status=504,
    outcome="failed",
    stream=True,
    prompt_tokens=2**40,
    cached_tokens=2,
    cache_write_tokens=3,
    completion_tokens=4,
    reasoning_tokens=5,
    cost_usd=Decimal("12345678.000000001"),
    estimated=True,
    duration_ms=1234.567,
    ttft_ms=0.001,
    overhead_ms=0.5,
    error_code="timeout",
    tries=[{"target": "anthropic/a", "usage": {"prompt_tokens": 1}, "cost_usd": Decimal("0.1"), "error": None}],
)
BARE = Row(exchange_id="e2", ts=NOON, request_id="r2")


async def test_every_column_comes_back_as_it_was(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, FULL, BARE)
        assert await ledger.rows() == [FULL, Row(**{**_facts(BARE), "tries": []})]
        assert (ledger.rows_total, ledger.dropped_total, ledger.is_lost) == (2, 0, False)
    async with place.opened() as again:
        assert await again.one("e1") == [FULL]


async def test_an_exchange_is_one_row_however_often_it_is_written(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, row("a"), row("b"))
        await recorded(ledger, row("b", status=500), row("c"), row("c"), row("a"))
        assert sorted(ids(await ledger.rows())) == ["a", "b", "c"]
        [total] = await ledger.totals(by=[], since=0)
        assert (total["requests"], total["cost_usd"], total["prompt_tokens"]) == (3, Decimal("0.003"), 30)


async def test_ten_thousand_mixed_endings_are_ten_thousand_rows(place: Place) -> None:
    endings = [("completed", 200, None), ("failed", 504, "timeout"), ("disconnected", 499, None), ("failed", 401, "x")]
    async with place.opened() as ledger:
        for number in range(10_000):
            outcome, status, code = endings[number % 4]
            ledger.record(row(f"e{number}", ts=NOON + number, outcome=outcome, status=status, error_code=code))
        await ledger.flush()
        assert (ledger.rows_total, ledger.dropped_total) == (10_000, 0)
        assert len(set(ids(await ledger.rows(at_most=10_000)))) == 10_000
        by = {each["outcome"]: each["requests"] for each in await ledger.totals(by=["outcome"], since=0)}
        assert by == {"completed": 2_500, "failed": 5_000, "disconnected": 2_500}


MANY = [
    row("a", ts=NOON + 1, principal="team-a", status=200, session="s1"),
    row("b", ts=NOON + 2, principal="team-b", status=404, outcome="failed", error_code="not_found", route=None),
    row("c", ts=NOON + 3, principal=None, status=200, target="openai/o3", request_id="asked", stream=True),
    row("d", ts=NOON + 4, principal="team-a", status=504, outcome="failed", error_code="timeout", parent_id="c"),
    row("e", ts=NOON + 5, principal="team-b", target="openai-eu/gpt-5", model_requested="other", request_id="asked"),
    row("f", ts=NOON + 6, principal="team-b", target=None, outcome="disconnected", status=499, session="s2"),
]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "fedcba"),
        ({"principal": "team-a"}, "da"),
        ({"principal": None}, "c"),
        ({"principal": ["team-a", None]}, "dca"),
        ({"principal": []}, ""),
        ({"model_requested": "other"}, "e"),
        ({"model": "other"}, "e"),
        ({"route": None}, "b"),
        ({"target": "openai/gpt-5"}, "dba"),
        ({"provider": "openai"}, "dcba"),
        ({"provider": ["openai-eu", "nobody"]}, "e"),
        ({"provider": "nobody"}, ""),
        ({"provider": None}, "f"),
        ({"provider": "openai", "target": "openai/o3"}, "c"),
        ({"status": 200}, "eca"),
        ({"status": 404}, "b"),
        ({"status": [404, 499, 200]}, "fecba"),
        ({"outcome": "completed"}, "eca"),
        ({"outcome": ["failed", "disconnected"]}, "fdb"),
        ({"outcome": ["failed", "completed"], "principal": ["team-a", "team-b"]}, "edba"),
        ({"session": "s1"}, "a"),
        ({"error_code": "timeout"}, "d"),
        ({"parent_id": "c"}, "d"),
        ({"request_id": "asked"}, "ec"),
        ({"request_id": "a"}, "a"),
        ({"exchange_id": ["a", "f"]}, "fa"),
        ({"stream": True}, "c"),
        ({"ts": (NOON + 2, NOON + 4)}, "cb"),
        ({"ts": (None, NOON + 2)}, "a"),
        ({"ts": (NOON + 6, None), "status": 499}, "f"),
    ],
    ids=str,
)
async def test_a_filter_finds_what_fits_newest_first(filled: Place, filters: dict[str, Any], expected: str) -> None:
    async with filled.opened() as ledger:
        assert "".join(ids(await ledger.rows(filters=filters))) == expected


@pytest.fixture
async def filled(place: Place) -> Place:
    async with place.opened() as ledger:
        await recorded(ledger, *MANY)
    return place


@pytest.mark.parametrize("name", ["principle", "tags", "1=1; --"])
async def test_an_unknown_filter_is_an_error_not_everything(place: Place, name: str) -> None:
    async with place.opened() as ledger:
        with pytest.raises(ValueError, match="has no filter"):
            await ledger.rows(filters={name: "x"})
        with pytest.raises(ValueError, match="no totals by"):
            await ledger.totals(by=[name], since=0)


async def test_pages_follow_one_another_without_a_gap_even_at_equal_times(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, *(row(f"e{n:02}", ts=NOON + n // 10, status=[200, 500][n % 2]) for n in range(35)))
        for filters in ({}, {"status": [200, 500]}):
            seen: list[str] = []
            before: tuple[float, str] | None = None
            while page := await ledger.rows(filters=filters, at_most=4, before=before):
                seen += ids(page)
                before = (page[-1].ts, page[-1].exchange_id)
            assert seen == sorted((f"e{n:02}" for n in range(35)), reverse=True)
        assert ids(await ledger.rows(before=NOON + 1)) == [f"e{n:02}" for n in reversed(range(10))]


async def test_one_shows_a_parent_before_its_children(place: Place) -> None:
    rows = [
        row("z-parent", ts=NOON + 9, request_id="r"),
        row("b-child", ts=NOON + 2, request_id="r", parent_id="z-parent"),
        row("a-grandchild", ts=NOON + 1, request_id="r", parent_id="b-child"),
        row("r", ts=NOON, request_id="other"),
    ]
    async with place.opened() as ledger:
        await recorded(ledger, *rows)
        assert ids(await ledger.one("r")) == ["r", "z-parent", "b-child", "a-grandchild"]
        assert ids(await ledger.one("b-child")) == ["b-child"]
        assert await ledger.one("nobody") == []


async def test_no_text_of_a_client_can_stop_the_ledger(place: Place) -> None:
    long = "m" * 5_000
    async with place.opened() as ledger:
        await recorded(
            ledger,
            row("nul", model_requested="a\0b", tags={"k\0": "v\0"}),
            row("surrogate", principal="\ud800", session="\udfff", tries=[{"error": "\ud800"}]),
            row("long", model_requested=long, request_id=long, error_code=long),
            row("fine"),
        )
        found = {each.exchange_id: each for each in await ledger.rows()}
        assert set(found) == {"nul", "surrogate", "long", "fine"}
        assert found["nul"].model_requested == "a\ufffdb"
        assert found["nul"].tags == {"k\ufffd": "v\ufffd"}
        assert found["surrogate"].principal == "?"
        assert len(found["long"].model_requested) == 256
        assert len(await ledger.rows(filters={"model": long})) == 1
        assert await ledger.spent(since=0, tag=("k\0", "v\0")) == Decimal("0.001")


async def test_a_row_that_no_store_takes_is_dropped_alone(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, row("a"), row("wrong", prompt_tokens=2**70), row("b"), row("c", cost_usd=Decimal("NaN")))
        assert sorted(ids(await ledger.rows())) == ["a", "b"]
        assert (ledger.rows_total, ledger.dropped_total, ledger.is_lost) == (2, 2, False)
        [total] = await ledger.totals(by=[], since=0)
        assert total["requests"] == 2
    assert "ledger_rows_dropped" in place.log.events("error")


def test_ids_that_follow_in_time_stand_together_in_the_tables_index() -> None:
    ids = [new_request_id() for _ in range(3 * IDS_AT_ONCE)]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)
    made_at_ms = [int(each[:12], 16) for each in ids]
    assert made_at_ms == sorted(made_at_ms) and len(set(made_at_ms)) <= 4
    assert 0 <= time.time() * 1000 - made_at_ms[-1] < 600_000


def _facts(one: Row) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}
