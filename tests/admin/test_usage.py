"""Usage on the dashboard: sums that agree with one another, in every form, for every question."""

from __future__ import annotations

import csv
import io
import random
from decimal import Decimal
from typing import Any

import pytest

from gateway.admin.sheet import csv_of
from gateway.admin.spans import span_of
from gateway.errors import BadRequest
from gateway.ledger.ledger import Row
from gateway.testing import ManualClock
from tests.admin.opened import Opened, opened

CONFIG = "ledger: sqlite:var/ledger.db\nproviders: {echo: {}}\nroutes: [{name: all, targets: [echo/echo]}]\n"
DAY = 86_400
PAYLOAD = "=cmd|' /C calc'!A0,\"x\"\n<script>window.ran = 1</script>"


def row(number: int, ts: float, **more: Any) -> Row:
    facts = {
        "principal": "team-a", "route": "all", "model_requested": "m", "target": "up/m", "status": 200,
        "outcome": "completed", "prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 5,
        "cost_usd": Decimal("0.001"), "duration_ms": 100.0, "ttft_ms": 20.0,
    }  # fmt: skip
    return Row(exchange_id=f"e{number}", request_id=f"r{number}", ts=ts, **{**facts, **more})


async def fill(admin: Opened, rows: list[Row]) -> None:
    for each in rows:
        admin.ledger.record(each)
    await admin.ledger.flush()


async def test_sums_by_every_group_add_up_to_the_same_to_the_billionth() -> None:
    clock, dice = ManualClock(), random.Random(7)
    async with opened(CONFIG, clock=clock) as admin:
        rows = []
        for number in range(600):
            cost = None if number % 11 == 0 else Decimal(dice.randrange(10**7)) / 10**9
            rows.append(row(
                number, clock.time() - dice.random() * 6 * DAY, principal=f"team-{number % 17}" if number % 5 else None,
                model_requested=f"m{number % 3}", target=f"up{number % 2}/m{number % 3}" if number % 13 else None,
                route=f"r{number % 4}", outcome="failed" if number % 9 == 0 else "completed", cost_usd=cost,
                prompt_tokens=dice.randrange(1000), ttft_ms=None if number % 2 else dice.random() * 100,
            ))  # fmt: skip
        await fill(admin, rows)
        cost = sum((each.cost_usd for each in rows if each.cost_usd is not None), Decimal(0))
        for by in ("principal", "model", "provider", "route", "target", "day", "hour"):
            status, told = await admin.ask(f"/api/usage?by={by}&span=7d")
            total = told["total"]
            assert status == 200 and total["requests"] == 600 == sum(each["requests"] for each in told["rows"])
            assert Decimal(total["cost_usd"]) == cost == sum(Decimal(each["cost_usd"]) for each in told["rows"])
            assert total["failed"] == sum(each.outcome == "failed" for each in rows)
            assert total["unpriced"] == sum(each.cost_usd is None for each in rows)
            assert total["prompt_tokens"] == sum(each.prompt_tokens or 0 for each in rows)
            timed = [each.ttft_ms for each in rows if each.ttft_ms is not None]
            assert total["mean_ttft_ms"] == pytest.approx(sum(timed) / len(timed), abs=0.01)
            chart = told["chart"]
            assert sum(sum(each["values"]) for each in chart["series"]) == pytest.approx(float(cost))
            assert len(chart["at"]) == 7 and len(chart["series"]) <= 6 and chart["at"][-1] <= clock.time()
            table = list(csv.reader(io.StringIO((await admin.text(f"/api/usage.csv?by={by}&span=7d"))[1])))
            assert len(table) == len(told["rows"]) + 1 and table[0][0] == by
            at = table[0].index("cost_usd")
            assert sum(Decimal(each[at]) for each in table[1:]) == cost


async def test_filters_span_and_order_stand_in_the_address() -> None:
    clock = ManualClock()
    now = clock.time()
    async with opened(CONFIG, clock=clock) as admin:
        await fill(admin, [
            row(1, now - 60), row(2, now - 60, principal="team-b", cost_usd=Decimal("0.5")), row(3, now - 3 * DAY),
            row(4, now - 20 * DAY, principal="team-b", outcome="failed", status=502), row(5, now - 60, principal=None),
        ])  # fmt: skip

        async def names(query: str) -> list[tuple[str | None, int]]:
            return [(each["name"], each["requests"]) for each in (await admin.ask(f"/api/usage?{query}"))[1]["rows"]]

        assert await names("span=24h") == [("team-b", 1), (None, 1), ("team-a", 1)]
        assert await names("span=24h&sort=name") == [(None, 1), ("team-a", 1), ("team-b", 1)]
        assert await names("span=30d&principal=team-b") == [("team-b", 2)]
        assert await names("span=30d&principal=team-b&principal=team-a") == [("team-b", 2), ("team-a", 2)]
        assert await names("span=30d&principal=(none)") == [(None, 1)]
        assert await names("span=30d&outcome=failed&model=&route=all") == [("team-b", 1)]
        assert await names("span=30d&status=502&provider=up&target=up%2Fm") == [("team-b", 1)]
        assert await names("from=2026-12-26&to=2026-12-26") == [("team-b", 1)]
        assert await names("by=provider&from=2027-01-12") == [("up", 4)]
        days = (await admin.ask("/api/usage?by=day&span=30d"))[1]["rows"]
        assert [each["label"] for each in days] == ["2026-12-26", "2027-01-12", "2027-01-15"]
        page = (await admin.text("/usage?span=30d&principal=team-b&by=model"))[1]
        assert "principal: team-b" in page and "/usage?by=model&amp;span=30d&amp;sort=-requests" not in page
        assert "/api/usage.csv?by=model&amp;span=30d&amp;principal=team-b" in page


@pytest.mark.parametrize(
    "query",
    ["by=hash", "span=5d", "span=7D", "sort=color", "measure=x", "who=me", "from=2026", "from=2026-13-01", "status=ok",
     "from=2026-02-02&to=2026-02-01", "from=1990-01-01&to=2026-01-01", "by=hour&span=90d", "to=2026-2-1%00",
     "from=9999-12-01&to=9999-12-31", "from=0001-01-01&to=9999-12-31"],
)  # fmt: skip
async def test_what_cannot_be_asked_is_400_and_says_what_can(query: str) -> None:
    async with opened(CONFIG) as admin:
        status, told = await admin.ask(f"/api/usage?{query}")
        assert status == 400 and told["error"]["code"] == "invalid_request" and len(told["error"]["message"]) > 15


async def test_an_unknown_price_is_told_and_never_a_zero() -> None:
    clock = ManualClock()
    async with opened(CONFIG, clock=clock) as admin:
        await fill(
            admin, [row(1, clock.time(), cost_usd=None), row(2, clock.time(), principal="b", cost_usd=Decimal(0))]
        )
        told = (await admin.ask("/api/usage"))[1]
        assert {each["name"]: each["unpriced"] for each in told["rows"]} == {"team-a": 1, "b": 0}
        page = (await admin.text("/usage"))[1]
        assert "Price unknown for 1 request" in page and "by=target&amp;span=7d&amp;sort=-unpriced" in page
        assert page.count("unknown</span>") == 1 and "$0.00" in page


async def test_names_are_shown_as_text_in_pages_and_calculate_nothing_in_a_spreadsheet() -> None:
    clock = ManualClock()
    async with opened(CONFIG, clock=clock) as admin:
        await fill(admin, [row(1, clock.time(), principal=PAYLOAD, model_requested=PAYLOAD, target=f"{PAYLOAD}/m")])
        for by in ("principal", "model", "provider", "target"):
            page = (await admin.text(f"/usage?by={by}"))[1]
            assert "<script>window.ran" not in page and "=cmd|&#39; " in page
            assert "&lt;script&gt;" in page or by == "provider"  # which ends at the first slash
            text = (await admin.text(f"/api/usage.csv?by={by}"))[1]
            (_, cells) = list(csv.reader(io.StringIO(text)))
            assert cells[0].startswith("'=cmd") and cells[1:5] == ["1", "0", "0.0", "100"]
            assert text.endswith("\r\n") and ('""x""' in text or by == "provider")


def test_only_text_that_a_spreadsheet_would_calculate_gets_an_apostrophe() -> None:
    cells = ["=1", "+1", "-1", "@x", "\tx", "\rx", "a=1", "", None, -1, -0.5, Decimal("-2"), 3]
    (got,) = list(csv.reader(io.StringIO(csv_of([], [cells]), newline="")))[1:]
    assert got == ["'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "a=1", "", "", "-1", "-0.5", "-2", "3"]


async def test_without_rows_or_a_ledger_the_page_says_what_to_do() -> None:
    async with opened(CONFIG) as admin:
        status, told = await admin.ask("/api/usage?span=90d")
        assert (
            status == 200
            and told["rows"] == []
            and told["total"]["cost_usd"] == "0"
            and told["total"]["mean_ms"] is None
        )
        assert "Nothing was asked for in this span" in (await admin.text("/usage"))[1]
        assert (await admin.text("/api/usage.csv"))[1].count("\r\n") == 1
    async with opened(CONFIG.partition("\n")[2]) as admin:
        assert (await admin.ask("/api/usage"))[0] == 404
        assert "keeps no ledger" in (await admin.text("/usage"))[1]


def test_spans_begin_with_whole_days_or_hours_and_end_after_now() -> None:
    now = ManualClock().time() + 12_345.5
    for name, days in (("24h", 1), ("7d", 7), ("30d", 30), ("90d", 90)):
        span = span_of({"span": name}, now)
        size = 3600 if name == "24h" else DAY
        assert span.until - span.since == days * DAY and span.since % size == 0
        assert now < span.until <= now + size and len(span.steps) == (24 if name == "24h" else days)
    custom = span_of({"from": "2026-02-27", "to": "2026-03-01"}, now)
    assert (custom.until - custom.since, custom.step, custom.query()) == (
        3 * DAY, "hour", {"from": "2026-02-27", "to": "2026-03-01"},
    )  # fmt: skip
    assert span_of({"to": "2026-03-01"}, now).until - span_of({"to": "2026-03-01"}, now).since == DAY
    with pytest.raises(BadRequest):
        span_of({"from": "2999-01-01"}, now)
