"""The cheap figures at a size for tests: what is counted must be right; no time is asserted here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.soak import report
from tests.soak.client import CHAT, PATHS, told
from tests.soak.figures import (
    FIGURES,
    cancel,
    cuts,
    dashboard,
    hostile,
    overload,
    reload,
    secrets,
    sigterm,
    slow,
    streams,
)
from tests.soak.figures.limits import BURST, RATE, excess, shortfall
from tests.soak.figures.memory import growth_per_100k
from tests.soak.row import Row, not_built


def values(rows: list[Row]) -> dict[str, Any]:
    return {name: value for row in rows for name, value in row.values.items()}


async def test_reloads_fail_no_request_and_no_stream() -> None:
    found = values(await reload.measure("tiny"))
    assert found["failed"] == found["streams_lost"] == 0 and found["served"] >= 200


async def test_sigterm_refuses_nobody_in_the_lame_duck_and_tells_every_stream_how_it_ended() -> None:
    found = values(await sigterm.measure("tiny"))
    assert found["refused"] == found["code"] == 0 and found["asked"]
    assert found["whole"] == found["told"] == found["count"]


async def test_open_streams_all_complete() -> None:
    found = values(await streams.measure("tiny"))
    assert found["whole"] == found["count"] == 50


async def test_hostile_requests_are_refused_and_leave_no_harm() -> None:
    found = values(await hostile.measure("tiny"))
    assert found["wrong"] == found["smuggled"] == 0 and found["malformed"] >= 150


async def test_leavers_leave_no_upstream_connection_open() -> None:
    found = values(await cancel.measure("tiny"))
    assert found["open"] == found["leaked"] == 0 and found["closed"]


async def test_cuts_are_flagged_and_lose_nothing() -> None:
    found = values(await cuts.measure("tiny"))
    assert found["wrong"] == 0 and found["flagged"] == found["count"], found["examples"]


async def test_no_payload_runs_on_the_dashboard_and_no_other_site_may_post() -> None:
    found = values(await dashboard.measure("tiny"))
    assert found["ran"] == [] and found["accepted"] == 0
    assert found["payloads"] >= 5 and found["pages"] >= 15 and found["posts"] == 20


async def test_overload_is_answered_with_503_and_the_rest_is_served() -> None:
    found = values(await overload.measure("tiny"))
    assert found["served"] and found["rejected"] and found["served"] + found["rejected"] == found["asked"]


async def test_slow_clients_are_all_cut() -> None:
    found = values(await slow.measure("tiny"))
    assert found["uncut"] == 0 and found["count"] == 30


async def test_planted_canaries_turn_up_nowhere() -> None:
    found = values(await secrets.measure("tiny"))
    assert found["hits"] == [] and found["canaries"] == 20


@pytest.mark.parametrize("path", PATHS)
def test_a_cut_that_nobody_tells_of_is_found(path: str) -> None:
    assert cuts.judge(200, b'data: {"choices":[{"delta":{"content":"word0 "}}],"type":"x"}\n\n', path, 1, False)[1]
    assert not told(b"", path).failed and not told(b"", path).succeeded


def test_a_cut_told_of_with_other_words_is_found() -> None:
    event = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\ndata: {"error":{"message":"m"}}\n\n'
    assert "the text is" in cuts.judge(200, event % b"word1 ", CHAT, 1, False)[1]
    assert "other bytes" in cuts.judge(200, event % b"word0 ", CHAT, 1, False)[1]
    assert cuts.judge(200, event % b"word0 " + b"data: [DONE]\n\n", CHAT, 1, False)[1]


def test_one_admission_too_many_is_found_wherever_it_lies() -> None:
    at_once = [(0.0, 0.0)] * BURST
    rest = [(n / RATE, n / RATE) for n in range(1, 500)]
    assert excess(at_once + rest) == pytest.approx(0)
    assert excess([*at_once, *rest, (1.0, 1.0)]) == pytest.approx(1)


def test_admissions_that_were_due_and_did_not_come_are_found() -> None:
    admitted = [(n / RATE, n / RATE) for n in range(5 * RATE)]
    refused = [(n / 10, n / 10) for n in range(51)]
    assert shortfall(admitted, refused) == 0
    assert shortfall(admitted[20:], refused) == pytest.approx(20 / (5 * RATE), abs=0.002)
    assert shortfall(admitted, [*refused, (100.0, 100.0)]) < BURST / RATE / 5  # nobody asked: the bucket was full


def test_growth_is_the_slope_of_memory() -> None:
    assert growth_per_100k([(n * 1000, 5_000_000 + n * 1000 * 7, 0) for n in range(10)]) == pytest.approx(700_000)


def test_the_table_tells_what_holds_from_what_does_not_and_what_is_not_there() -> None:
    rows = [
        Row("a", "1", "1", True),
        Row("b", "1", "2", False),
        not_built("c", "1", "the thing"),
        Row("d", "-", "3", None),
    ]
    assert report.table(rows).splitlines()[2:] == [
        "| a | 1 | 1 | holds |",
        "| b | 1 | 2 | **MISSED** |",
        "| c | 1 | the thing | not built yet |",
        "| d | - | 3 | – |",
    ]


def test_a_table_is_published_between_its_markers_only() -> None:
    page = f"before {report.BEGIN}\nold\n{report.END} after"
    assert report.published(page, "new") == f"before {report.BEGIN}\nnew\n{report.END} after"
    with pytest.raises(ValueError, match="put"):
        report.published("no markers", "new")


def test_the_page_has_a_place_for_the_table_and_a_line_for_every_figure() -> None:
    page = Path(report.PAGE).read_text("utf-8")
    assert report.BEGIN in page and report.END in page
    assert [name for name in FIGURES if f"`{name}`" not in page] == []
