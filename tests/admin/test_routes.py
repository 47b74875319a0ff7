"""The routes page, one route's page, and what would happen to a request."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import ScriptedUpstream, reply_json
from tests.admin.desks import Dashboard, dashboard

CONFIG = """
version: 1
plugins:
  - timeouts: {first_token: 7s}
  - circuit_breaker
  - mine: {db_password: pass-in-a-plugin, words: [a, b]}
providers:
  up: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: k}
  off: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: "${NOTHING:-}"}
  echo: {}
routes:
  - name: smart/one
    match: {model: smart, header: {x-env: "prod*"}}
    targets: [up/a, {target: off/b, weight: 3, params: {temperature: 0.5}}]
    fallbacks: {any: [echo/echo], context_length: [up/long]}
    retry: {attempts: 4, on: [5xx], backoff: 1s..2s}
    plugins: [{timeouts: {idle: 9s}}]
    hedge: {after: p95, budget: 5%}
    shadow: {target: echo/next, percent: 5}
  - {name: plain, match: {model: ["plain", "plain-*"]}, targets: [echo/echo]}
"""
MINE = """
    from gateway.plugin import Plugin

    class Mine(Plugin):
        options_schema = {"type": "object", "properties": {"db_password": {"type": "string"}, "words": {"type": "array"}}}

        async def handle(self, exchange, call_next):
            return await call_next(exchange)
"""
HOME = {"plugins": {"mine": MINE}}


async def chat(desk: Dashboard, model: str, **headers: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return (await desk.gateway.post("/v1/chat/completions", body, headers=headers)).status


async def test_routes_are_told_in_order_with_their_place_and_their_targets_states() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        told = await desk.get("/api/routes")
        first, second = told["routes"]
        assert (first["name"], first["place"], first["number"]) == ("smart/one", "gateway.yaml:12", 1)
        assert first["match"] == "model smart; header x-env=prod*"
        assert [(each["target"], each["state"], each["weight"]) for each in first["targets"]] == [
            ("up/a", "enabled", 1), ("off/b", "disabled", 3),
        ]  # fmt: skip
        assert [each["target"] for each in first["fallbacks"]["context_length"]] == ["up/long"]
        assert second["chain"] == ["timeouts", "circuit_breaker", "mine"] and second["model"] == "plain"
        page = await desk.page("/routes")
        assert "smart/one" in page and "header x-env=prod*" in page and 'href="/routes/smart/one"' in page


async def test_a_search_and_pages_find_one_of_a_thousand_routes() -> None:
    many = "".join(f"  - {{name: r{n}, match: {{model: m{n}}}, targets: [echo/echo]}}\n" for n in range(1000))
    async with dashboard("version: 1\nroutes:\n" + many) as desk:
        told = await desk.get("/api/routes?page=20")
        assert (told["total"], told["pages"], [each["name"] for each in told["routes"]][-1]) == (1000, 20, "r999")
        told = await desk.get("/api/routes?q=M777")
        assert [each["name"] for each in told["routes"]] == ["r777"]
        page = await desk.page("/routes?q=r9&page=2")
        assert "page 2 of 3" in page and 'href="/routes?q=r9&amp;page=3"' in page
        assert (await desk.ask("GET", "/api/routes?page=x"))[0] == 400
        assert "No route fits" in await desk.page("/routes?q=nothing-like-it")


async def test_one_route_is_told_whole_and_without_secrets() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        told = await desk.get("/api/routes/smart/one")
        assert told["retry"] == {"attempts": 4, "on": ["5xx"], "backoff": "1s..2s"}
        assert (told["timeouts"]["first_token"], told["timeouts"]["idle"]) == ("7s", "9s")
        assert told["hedge"] == {"after": "p95", "budget": "5%"}
        assert told["shadow"] == {"target": "echo/next", "percent": "5%"}
        assert [each["name"] for each in told["plugins"]] == ["timeouts", "circuit_breaker", "mine"]
        assert told["plugins"][2]["options"] == {"db_password": "***", "words": ["a", "b"]}
        assert told["plugins"][2]["hooks"] == ["handle"] and told["own"] == ["timeouts"]
        page = await desk.page("/routes/smart/one")
        assert "gateway.yaml:12" in page and "pass-in-a-plugin" not in page and "fallback: context_length" in page
        assert (await desk.ask("GET", "/api/routes/none"))[0] == 404


async def test_time_per_plugin_and_requests_are_told_once_there_were_some() -> None:
    async with dashboard(CONFIG + "ledger: sqlite:l.db\n", **HOME) as desk:
        assert (await desk.get("/api/routes/plain"))["plugins"][2]["time"] is None
        assert await chat(desk, "plain") == 200
        ledger = desk.gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        told = await desk.get("/api/routes/plain")
        assert (told["requests"], told["failed"]) == (1, 0)
        time = told["plugins"][2]["time"]
        assert time["count"] == 1 and 0 < time["mean_ms"] == pytest.approx(time["max_ms"], abs=0.01)
        assert '<td class="num">1</td>' in await desk.page("/routes/plain")


async def test_without_a_ledger_requests_are_not_known_rather_than_none() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        assert (await desk.get("/api/routes"))["routes"][0]["requests"] is None
        assert "not known: no ledger" in await desk.page("/routes/plain")


async def test_explain_tells_what_the_command_line_tells() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        told = await desk.get("/api/explain?model=smart&header=x-env%3Dproduction&down=up")
        assert (told["route"], told["first"]) == ("smart/one", "echo/echo")
        assert [each["state"] for each in told["targets"]] == ["down", "disabled", "enabled", "down"]
        assert told["why"] == "model smart is smart; header x-env production fits prod*"
        assert told["limits"] == {"max_body": "20MiB", "max_in_flight": 2000}
        page = await desk.page("/explain?model=smart&header=x-env%3Dproduction&down=up")
        assert "taken as down" in page and 'value="smart"' in page and '<option value="up" selected>' in page
        told = await desk.get("/api/explain?model=smart")
        assert told["route"] is None and told["passed_over"][0]["route"] == "smart/one"
        assert "the answer would be 404" in await desk.page("/explain?model=smart")


@pytest.mark.parametrize("query", ["", "?key=a", "?model=m&down=nobody", "?model=m&header=x"])
async def test_explain_refuses_what_describes_no_request(query: str) -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        assert (await desk.ask("GET", "/api/explain" + query))[0] == 400
        assert "Explain" in await desk.page("/explain" + query)


BREAKS = """
version: 1
plugins: [{circuit_breaker: {failures: 1}}]
providers: {up: {dialect: openai, base_url: "URL/v1", api_key: k}}
routes:
- {name: r, match: {model: m}, targets: [up/a, echo/echo], fallbacks: [up/c]}
"""


async def test_explain_knows_of_open_breakers_and_of_what_operators_hold() -> None:
    broken = ScriptedUpstream(reply_json({"error": {"message": "broken"}}, status=500))
    async with broken as upstream, dashboard(BREAKS.replace("URL", upstream.url)) as desk:
        assert await chat(desk, "m") == 200

        async def states() -> list[Any]:
            return [each["state"] for each in (await desk.get("/api/explain?model=m"))["targets"]]

        assert await states() == ["open", "enabled", "enabled"]
        assert (await desk.get("/api/explain?model=m"))["first"] == "echo/echo"
        holds = desk.gateway.core.holds
        holds.drain("echo/echo")
        assert await states() == ["open", "drained", "enabled"]
        assert (await desk.get("/api/explain?model=m"))["first"] == "up/c"
        holds.rest("up/c", 60.0)
        assert await states() == ["open", "drained", "resting"]
        assert (await desk.get("/api/explain?model=m"))["first"] == "up/c", "a rest never takes the last one out"
        holds.drain("up/c")
        assert await chat(desk, "m") == 503 and "the answer would be 503" in await desk.page("/explain?model=m")
        holds.undrain("up/c")
        assert (await desk.get("/api/routes/r"))["targets"][0]["state"] == "open"
        assert "drained by an operator" in await desk.page("/routes/r")


async def test_explain_knows_of_keys_that_rest() -> None:
    busy = ScriptedUpstream(reply_json({"error": {"message": "slower"}}, 429, [("retry-after", "50")]))
    async with busy as upstream, dashboard(BREAKS.replace("URL", upstream.url)) as desk:
        assert await chat(desk, "m") == 200
        told = await desk.get("/api/explain?model=m")
        assert told["targets"][0]["state"] == "resting" and "every key of it rests" in told["targets"][0]["why"]
        assert told["first"] == "echo/echo" and told["targets"][2]["state"] == "enabled", "it rests for one model"
