"""Requests: every filter, page after page, and one request whole."""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from gateway.admin import again, one_request, sought
from gateway.errors import BadRequest
from gateway.ledger.ledger import Row
from tests.admin.desks import Dashboard, dashboard

CONFIG = """
    ledger: sqlite:ledger.db
    providers: {echo: {}}
    routes: [{name: e, match: {model: echo}, targets: [echo/echo]}]
"""
NOW = float(int(time.time()))


def row(number: int, **more: Any) -> Row:
    """A row of `number` seconds ago."""
    usual: dict[str, Any] = {
        "exchange_id": f"x{number:04}", "ts": NOW - number, "request_id": f"x{number:04}", "principal": "search",
        "route": "chat", "dialect": "openai_chat", "endpoint": "chat_completions", "model_requested": "m",
        "target": "openai/gpt-5", "attempts": 1, "status": 200, "outcome": "completed", "prompt_tokens": 10,
        "completion_tokens": 5, "cost_usd": Decimal("0.0001"), "duration_ms": 100.0, "overhead_ms": 0.5,
    }  # fmt: skip
    return Row(**{**usual, **more})


ROWS = [
    row(1),
    row(2, principal="batch", status=429, outcome="failed", error_code="rate_limit_exceeded", target=None),
    row(
        3,
        route="other",
        model_requested="m2",
        target="anthropic/claude",
        dialect="anthropic",
        stream=True,
        ttft_ms=20.0,
    ),
    row(4, status=503, outcome="failed", error_code="timeout", session="sess_1"),
    row(5, status=499, outcome="disconnected", error_code="client_left", stream=True, request_id="mine"),
    row(6, parent_id="x0001", request_id="x0001", tries=[{"kind": "step", "name": "analyze"}]),
    row(4000, status=504, outcome="failed", error_code="timeout"),
]


@asynccontextmanager
async def board(*rows: Row) -> AsyncIterator[Dashboard]:
    async with dashboard(CONFIG) as found:
        ledger = found.gateway.core.snapshot.ledger
        assert ledger is not None
        for each in rows or ROWS:
            ledger.record(each)
        await ledger.flush()
        yield found


QUESTIONS: dict[str, set[int]] = {
    "": {1, 2, 3, 4, 5, 6, 4000},
    "principal=batch": {2},
    "model=m2": {3},
    "route=other": {3},
    "target=anthropic/claude": {3},
    "provider=openai": {1, 4, 5, 6, 4000},
    "session=sess_1": {4},
    "error_code=timeout": {4, 4000},
    "outcome=failed": {2, 4, 4000},
    "dialect=anthropic": {3},
    "dialect=openai_chat&status=5xx": {4, 4000},
    "stream=true": {3, 5},
    "stream=false": {1, 2, 4, 6, 4000},
    "status=503": {4},
    "status=4xx": {2, 5},
    "status=5xx": {4, 4000},
    "status=429,5xx": {2, 4, 4000},
    "status=3xx": set(),
    "since=-30m": {1, 2, 3, 4, 5, 6},
    "until=-30m": {4000},
    "since=-2h&until=-1h": {4000},
    "error_code=timeout&since=-30m": {4},
    "error_code=timeout&outcome=completed": set(),
    "error_code=timeout&principal=search&stream=false": {4, 4000},
    "q=mine": {5},
    "q=x0003": {3},
    "q=x0001": {1, 6},
    "q=x0003&status=5xx": set(),
    "q=nothing": set(),
    "principal=nobody": set(),
    "principal=&model=": {1, 2, 3, 4, 5, 6, 4000},
}


async def test_every_filter_finds_what_fits_newest_first() -> None:
    async with board() as ask:
        for query, expected in QUESTIONS.items():
            found = await ask.get(f"/api/requests?{query}")
            ids = [int(each["exchange_id"][1:]) for each in found["rows"]]
            assert set(ids) == expected and (ids == sorted(ids) or query.startswith("q=")), query
            given = dict(pair.split("=") for pair in query.split("&") if not pair.endswith("=") and pair)
            assert found["filters"] == given and found["problem"] is None and found["older"] is None


async def test_a_cursor_goes_on_where_a_page_ended_with_the_same_filters() -> None:
    rows = [row(number // 3, exchange_id=f"x{number:04}") for number in range(30)]  # three at the same time
    async with board(*rows) as ask:
        seen: list[str] = []
        path: str | None = "?limit=7&principal=search"
        while path is not None:
            found = await ask.get(f"/api/requests{path}")
            seen += [each["exchange_id"] for each in found["rows"]]
            path = found["older"]
            assert path is None or ("principal=search" in path and "limit=7" in path)
        assert len(seen) == 30 == len(set(seen))


async def test_a_row_shows_money_as_text_and_an_unknown_price_as_null() -> None:
    async with board(row(1, cost_usd=None), row(2, cost_usd=Decimal("0.000000001"))) as ask:
        unknown, tiny = (await ask.get("/api/requests"))["rows"]
        assert unknown["cost_usd"] is None and tiny["cost_usd"] == "0.000000001"


@pytest.mark.parametrize(
    "query", ["modle=m", "status=7xx", "status=20", "status=abc", "outcome=great", "stream=yes", "since=yesterday",
              "since=-5y", "until=2026-13-01", "limit=0", "limit=201", "limit=x", "cursor=x", "cursor=1", "cursor=nan,x",
              "q=" + "x" * 300],
)  # fmt: skip
async def test_a_filter_that_makes_no_sense_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        sought.read(dict(pair.split("=", 1) for pair in query.split("&")), NOW)


def test_times_are_read_as_people_write_them() -> None:
    def since(text: str) -> float | None:
        return sought.read({"since": text}, 1000.0).since

    assert since("-15m") == 100.0 and since("-10s") == 990.0 and since("now") == 1000.0
    assert since("2026-11-22T07:00:00Z") == since("2026-11-22") + 7 * 3600  # type: ignore[operator]
    assert since("2026-11-22T09:00:00+02:00") == since("2026-11-22T09:00:00 02:00") == since("2026-11-22T07:00")
    assert since("1795330800") == 1795330800.0 == since("2026-11-22 07:00")


async def test_a_refusal_is_400_for_a_program_and_told_on_the_page() -> None:
    async with board() as ask:
        status, body = await ask.ask("GET", "/api/requests?modle=m")
        assert status == 400 and "modle" in body["error"]["message"] and "model" in body["error"]["message"]
        assert "no status" in await ask.page("/requests?status=7xx")
        assert "x0003" in await ask.page("/requests?q=x0003")


async def test_without_a_ledger_the_page_says_how_to_get_one() -> None:
    async with dashboard(CONFIG.replace("ledger: sqlite:ledger.db", "")) as ask:
        assert (await ask.ask("GET", "/api/requests"))[0] == 404
        assert "keeps no ledger" in await ask.page("/requests")


TRIES = [
    {"kind": "step", "name": "synthesize"},
    {"target": "openai/gpt-5", "status": 503, "error": "upstream_error", "started_ms": 1.0, "ended_ms": 40.0},
    {"target": "anthropic/claude", "status": 200, "error": None, "started_ms": 41.0, "ended_ms": None,
     "usage": {"prompt": 10, "completion": 5}, "cost_usd": "0.0001"},
    {"kind": "plugins", "ms": {"auth": 0.1, "session": 0.4}},
    {"kind": "tool", "name": "search", "started_ms": 50.0, "ended_ms": 60.0, "ok": False, "facts": {"round": 1}},
]  # fmt: skip


async def test_one_request_is_told_from_its_beginning_to_its_end() -> None:
    parent = row(10, exchange_id="p", request_id="p", tries=TRIES, stream=True, ttft_ms=70.0, attempts=2)
    child = row(9, exchange_id="c", request_id="p", parent_id="p", tries=[{"kind": "step", "name": "analyze"}])
    async with board(parent, child, row(1)) as ask:
        found = await ask.get("/api/requests/p")
        kinds = [(each["kind"], each["name"], each["ok"]) for each in found["spans"]]
        assert kinds == [
            ("plugins", "auth", True),
            ("plugins", "session", True),
            ("attempt", "openai/gpt-5", False),
            ("attempt", "anthropic/claude", True),
            ("tool", "search", False),
            ("first_token", "first token", True),
            ("stream", "streaming", True),
            ("child", "analyze · m", True),
        ]
        failed = next(each for each in found["spans"] if each["kind"] == "attempt")
        assert failed["why"] == "upstream broke, or answered with an error (503)" and failed["number"] == 1
        last = [each for each in found["spans"] if each["kind"] == "attempt"][-1]
        assert last["end_ms"] == 100.0 and last["usage"] == {"prompt": 10, "completion": 5}
        assert found["row"]["step"] == "synthesize" and [each["step"] for each in found["children"]] == ["analyze"]
        assert found["parent"] is None and found["others"] == []
        of_child = await ask.get("/api/requests/c")
        assert of_child["parent"]["exchange_id"] == "p" and of_child["row"]["exchange_id"] == "c"
        assert "anthropic/claude" in await ask.page("/requests/p")


async def test_an_id_of_the_client_names_its_newest_request_and_shows_the_others() -> None:
    rows = [row(number, exchange_id=f"y{number}", request_id="again/and again") for number in (3, 2, 1)]
    async with board(*rows) as ask:
        found = await ask.get(f"/api/requests/{quote('again/and again')}")
        assert found["row"]["exchange_id"] == "y1" and {each["exchange_id"] for each in found["others"]} == {"y2", "y3"}
        assert (await ask.ask("GET", "/api/requests/none"))[0] == 404


async def test_what_was_sent_is_found_with_its_arithmetic() -> None:
    async with dashboard(CONFIG) as ask:
        body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
        answer = await ask.gateway.post("/v1/chat/completions", body)
        await ask.gateway.settled()
        ledger = ask.gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        found = await ask.get(f"/api/requests/{answer.headers['x-request-id']}")
        assert found["price"] == {"lines": ["echo is free: 0 USD"], "total_usd": "0", "recorded_usd": "0",
                                  "differs": False, "note": None}  # fmt: skip
        assert found["usage"]["completion_tokens"] > 0 and found["links"]["route"] == "/routes/e"
        assert ask.gateway.url + "/v1/chat/completions" in found["curl"]


async def test_a_price_that_has_changed_is_said_so() -> None:
    async with dashboard(CONFIG) as ask:
        prices = ask.gateway.core.snapshot.pricing
        then = await one_request.price(prices, row(1, target="echo/echo", cost_usd=Decimal("0.5")))
        assert then is not None and then["differs"] and "$0.5 was recorded" in then["note"] and then["total_usd"] == "0"
        unknown = await one_request.price(prices, row(1, target="gone/m", cost_usd=None))
        assert unknown is not None and unknown["total_usd"] is None and not unknown["differs"]
        assert await one_request.price(prices, row(1, prompt_tokens=0, completion_tokens=0)) is None


def test_what_clients_name_cannot_leave_the_command_it_is_pasted_in() -> None:
    evil = "m'; rm -rf / #\n$(touch x)`id`\x1b[2J\""
    command = again.curl(row(1, model_requested=evil, session="sess_'$(id)", stream=True), "http://127.0.0.1:8080")
    assert "\x1b" not in command and "\n$(" not in command
    parts = shlex.split(command.replace("\\\n", " "))
    assert parts[:4] == ["curl", "-sS", "-N", "http://127.0.0.1:8080/v1/chat/completions"]
    assert "x-session-id: sess_'$(id)" in parts and "authorization: Bearer $API_KEY" in parts
    assert parts[-1].startswith('{"model": "m\'; rm -rf')
    anthropic = again.curl(row(1, dialect="anthropic", endpoint="messages"), "unix:/run/a b")
    assert "--unix-socket '/run/a b' http://localhost/v1/messages" in anthropic and "x-api-key: $API_KEY" in anthropic
