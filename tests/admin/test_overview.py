"""The overview: figures equal to what was sent, and the same as they go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.admin.live import MOST_LISTENERS
from gateway.admin.measured import expected_of
from gateway.testing import Gate, ScriptedUpstream, reply_json
from tests.admin.desks import Dashboard, dashboard
from tests.server.process import process

MESSAGES = [{"role": "user", "content": "one two three"}]
CONFIG = """
    ledger: sqlite:ledger.db
    plugins: [{auth: {anonymous: when_unconfigured}}, {budget: {limits: [{per: key, cost: $10/day}]}}]
    providers:
      echo: {}
      up: {dialect: openai, base_url: "%s/v1", api_key: k, free: true}
    routes:
      - {name: e, match: {model: echo}, targets: [echo/echo]}
      - {name: u, match: {model: up}, targets: [up/m], retry: {attempts: 1}}
"""


async def ask(board: Dashboard, model: str = "echo", **more: Any) -> int:
    return (await board.gateway.post("/v1/chat/completions", {"model": model, "messages": MESSAGES, **more})).status


async def second_over() -> None:
    """Return in the next second: what goes on is not told."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(1.02 - loop.time() % 1)


async def test_the_figures_are_those_of_what_was_sent() -> None:
    async with ScriptedUpstream(reply_json({"error": {"message": "no"}}, status=429)) as up:
        async with dashboard(CONFIG % up.url) as board:
            assert [await ask(board) for _ in range(3)] == [200] * 3
            assert await ask(board, stream=True) == 200 and await ask(board, "up") == 429
            await board.gateway.settled()
            await second_over()
            found = await board.get("/api/overview")
    requests = found["requests"]
    assert (requests["total"], requests["errors_4xx"], requests["errors_5xx"], requests["in_flight"]) == (5, 1, 0, 0)
    assert requests["per_s"] == pytest.approx(5 / 60, abs=0.001) and requests["error_share"] == 0.2
    assert found["five_minutes"]["requests"]["total"] == 5 and found["overhead_ms"]["count"] == 5
    assert found["ttft_ms"]["count"] == 1 and found["tokens"]["out"] > 0
    assert sum(found["series"]["requests"]) == 5 and len(found["series"]["at"]) == 300
    echo, refused = (
        next(each for each in found["targets"] if each["target"] == name) for name in ("echo/echo", "up/m")
    )
    assert (echo["attempts"], echo["errors"], echo["share_actual"], echo["routes"]) == (4, 0, 1.0, ["e"])
    assert (refused["attempts"], refused["errors"], refused["too_many"], refused["error_share"]) == (1, 1, 1, 1.0)
    assert found["ledger"]["rows_total"] == 5 and found["workers"][0]["phase"] == "serving"
    assert found["spend"] == {"today_usd": "0", "month_usd": "0", "unpriced_today": 0, "unpriced_month": 0}
    assert [each["who"] for each in found["budgets"]] == ["anonymous"] and found["budgets_problem"] is None
    assert found["state"] == {"kind": "memory", "lost": False, "errors": 0}


async def test_without_ledger_budgets_and_requests_it_says_so_and_shows_the_rest() -> None:
    text = "providers: {echo: {}}\nroutes: [{name: e, match: {model: echo}, targets: [echo/echo]}]"
    async with dashboard(text) as board:
        found = await board.get("/api/overview")
        assert found["spend"] is None and "ledger:" in found["spend_problem"] and found["budgets"] == []
        assert found["ledger"] is None and found["overhead_ms"]["p99"] is None
        assert found["targets"][0]["share_expected"] == 1.0 and found["targets"][0]["share_actual"] is None
        assert "<title>" in await board.page("/")


async def test_what_runs_is_shown_with_its_target_and_age() -> None:
    gate = Gate()
    async with ScriptedUpstream([gate, *reply_json({})]) as up, dashboard(CONFIG % up.url) as board:
        running = asyncio.create_task(ask(board, "up"))
        await gate.reached()
        found = await board.get("/api/overview")
        [one] = found["live"]
        assert found["live_total"] == found["requests"]["in_flight"] == 1
        assert (one["route"], one["target"], one["attempt"], one["phase"]) == ("u", "up/m", 1, "waiting")
        assert (one["model"], one["principal"], one["stream"]) == ("up", "anonymous", False) and one["age_s"] >= 0
        gate.open()
        await running


async def test_a_failed_reload_is_told_with_its_error_and_on_every_page() -> None:
    async with dashboard(CONFIG % "http://127.0.0.1:1") as board:
        board.gateway.configure("providers: {}\nroutes: [{name: x, targets: [nobody/m]}]")
        assert (await board.ask("POST", "/api/reload", {}))[0] == 400
        last = (await board.get("/api/overview"))["configuration"]["last"]
        assert last["result"] == "failed" and "nobody" in last["error"] and last["why"] == "admin"
        assert "nobody" in await board.page("/usage")
        board.gateway.configure(CONFIG % "http://127.0.0.1:1")
        assert (await board.ask("POST", "/api/reload", {}))[0] == 200
        assert (await board.get("/api/overview"))["configuration"]["last"]["result"] == "ok"
        assert "nobody" not in await board.page("/usage")


async def events(answer: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        async for line in answer.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if len(found) == count:
                    break
    return found


async def test_a_request_shows_in_the_events_within_two_seconds() -> None:
    async with dashboard(CONFIG % "http://127.0.0.1:1") as board:
        async with board.session.get(board.url + "/api/live") as answer:
            assert answer.content_type == "text/event-stream" and answer.headers["cache-control"] == "no-store"
            [first] = await events(answer, 1)
            assert first["requests"]["total"] == 0 and len(first["series"]["at"]) == 2 and "spend" in first
            await ask(board)
            later = await events(answer, 2)
            assert later[-1]["requests"]["total"] == 1 and "spend" not in later[-1]


async def test_more_listeners_than_may_be_are_refused_and_who_leaves_makes_room() -> None:
    async with dashboard(CONFIG % "http://127.0.0.1:1") as board:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            opened = [await session.get(board.url + "/api/live") for _ in range(MOST_LISTENERS)]
            async with session.get(board.url + "/api/live") as one_more:
                assert one_more.status == 503 and one_more.headers["retry-after"]
            for answer in opened:
                answer.close()
            async with asyncio.timeout(10):
                while (again := await session.get(board.url + "/api/live")).status != 200:
                    again.release()
                    await asyncio.sleep(0.05)
            again.close()


async def test_the_events_end_with_the_session_they_belong_to() -> None:
    async with dashboard("    admin: {token: a-token-long-enough}" + CONFIG % "http://127.0.0.1:1") as board:
        login = {"token": "a-token-long-enough", "next": "/"}
        async with board.session.post(board.url + "/login", data=login, allow_redirects=False) as answer:
            cookie = answer.headers["set-cookie"].partition(";")[0]
        board.session.cookie_jar.clear()
        async with board.session.get(board.url + "/api/live", headers={"cookie": cookie}) as answer:
            await events(answer, 1)
            async with board.session.post(
                board.url + "/logout", data={}, headers={"cookie": cookie}, allow_redirects=False
            ) as left:
                assert left.status == 303
            async with asyncio.timeout(5):
                await answer.content.read()


async def test_a_gateway_that_stops_ends_its_events_at_once(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "version: 1\nproviders: {echo: {}}\nroutes: [{name: e, targets: [echo/echo]}]\nserver: {drain: {lame_duck: 0s}}\n"
    )
    async with process(tmp_path) as gateway, gateway.session.get(gateway.admin + "/api/live") as answer:
        await events(answer, 1)
        assert await gateway.stop() == 0
        assert await answer.content.read() is not None  # ended, not cut


@pytest.mark.parametrize(
    ("balance", "expected"),
    [("ordered", {"a/m": 1.0, "b/m": 0.0, "c/m": 0.0}), ("weighted", {"a/m": 0.75, "b/m": 0.25, "c/m": 0.0}),
     ("round_robin", {"a/m": 0.5, "b/m": 0.5, "c/m": 0.0}), ("fastest", {"a/m": None, "b/m": None, "c/m": 0.0})],
)  # fmt: skip
async def test_a_balance_says_what_share_a_target_is_to_have(balance: str, expected: dict[str, float | None]) -> None:
    providers = "{a: {<<: *u}, b: {<<: *u}, c: {<<: *u}}".replace(
        "<<: *u", 'dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: k'
    )
    text = f"""
        providers: {providers}
        routes:
          - {{name: r, match: {{model: m}}, balance: {balance}, fallbacks: [c/m],
             targets: [{{target: a/m, weight: 3}}, {{target: b/m, weight: 1}}]}}
    """
    async with dashboard(text) as board:
        [running] = board.gateway.core.snapshot.routes
        assert expected_of(running.route) == expected
