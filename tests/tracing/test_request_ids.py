"""Every log line of a request's life has its id, and no other's, however many run at once."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from gateway.testing import Gate, ReceivedRequest, Reset, ScriptedUpstream, reply_json, reply_sse, running_gateway
from tests.tracing.kit import CHAT, asked
from tests.tracing.test_spans import FIRST, GOOD

COUNT = 50
FATES = ("good", "refused", "failing", "broken", "raising", "cut", "unroutable")
RAISES = """
from gateway.plugin import Plugin
class Raises(Plugin):
    async def handle(self, exchange, call_next):
        self.services.log.warning("seen", request_id=exchange.id, model=exchange.request.model)
        if exchange.request.model.startswith("raising"):
            raise ValueError(exchange.request.model)
        return await call_next(exchange)
    async def finish(self, exchange):
        if exchange.request.model.startswith("raising"):
            raise ValueError(exchange.request.model)
"""
CONFIG = """
plugins: [access_log, raises, {{circuit_breaker: {{failures: 1}}}}]
providers:
  one: {{dialect: openai_chat, base_url: "{url}/v1", api_key: key-of-one-00001}}
routes:
  - name: all
    match: {{model: [{models}]}}
    targets: ["one/*"]
    on_unsupported: warn
    retry: {{attempts: 1, on: [5xx]}}
"""
NAMED = re.compile(r"\b((?:" + "|".join(FATES) + r")-\d+)\b")


def _answer(gate: Gate) -> Any:
    def answer(request: ReceivedRequest) -> Any:
        model = str(json.loads(request.body)["model"])
        fate = model.partition("-")[0]
        refusal = {"error": {"message": f"nothing for {model}", "type": "x"}}
        if fate == "broken":
            return [gate, Reset()]
        if fate == "cut":
            return [gate, *reply_sse([{**FIRST, "model": model}, Reset()])]
        if fate in ("refused", "failing"):
            return [gate, *reply_json(refusal, status=400 if fate == "refused" else 500)]
        return [gate, *reply_json(GOOD)]

    return answer


async def test_lines_of_fifty_requests_at_once_have_their_own_ids() -> None:
    gate = Gate()
    models = [f"{FATES[number % len(FATES)]}-{number}" for number in range(COUNT)]
    at_upstream = sum(model.partition("-")[0] not in ("raising", "unroutable") for model in models)
    globs = ", ".join(f'"{fate}-*"' for fate in FATES if fate != "unroutable")
    async with (
        ScriptedUpstream(_answer(gate)) as upstream,
        running_gateway(
            CONFIG.format(url=upstream.url, models=globs), plugins={"raises": RAISES}, log_level="debug"
        ) as gateway,
    ):

        async def ask(model: str) -> None:
            body = asked(model, stream=model.startswith("cut"))
            answer = await gateway.post(CHAT, body, headers={"x-request-id": f"id-of-{model}"})
            assert answer.headers["x-request-id"] == f"id-of-{model}"

        asking = asyncio.gather(*map(ask, models))
        await upstream.wait_for_request(at_upstream - 1)
        gate.open()
        await asking
        await gateway.settled()
        lines = gateway.log
    sent = {dict(request.headers)["x-request-id"]: json.loads(request.body)["model"] for request in upstream.requests}
    assert all(id == f"id-of-{model}" for id, model in sent.items())
    told: dict[str, set[str]] = {}
    for line in lines:
        named = set(NAMED.findall(json.dumps({**line, "request_id": None})))
        assert len(named) <= 1, line
        if named:
            assert line.get("request_id") == f"id-of-{named.pop()}", line
        if "request_id" in line:
            told.setdefault(line["request_id"].removeprefix("id-of-"), set()).add(line["event"])
        else:
            assert not {"target", "route", "attempt"} & line.keys(), line
    assert set(told) == set(models)
    expected = {
        "good": {"request", "seen", "attempt", "upstream_head"},
        "failing": {"request", "seen", "attempt", "attempt_failed", "request_failed"},
        "broken": {"request", "attempt_failed", "request_failed"},
        "raising": {"request", "seen", "request_failed", "plugin_finish_failed"},
        "cut": {"request", "attempt", "request_failed"},
        "unroutable": {"request"},
    }
    for model in models:
        assert expected.get(model.partition("-")[0], {"request"}) <= told[model], model


async def test_a_breaker_says_which_request_opened_it_and_which_closed_it() -> None:
    config = """
        plugins: [{{circuit_breaker: {{failures: 2, open_for: 1ms}}}}]
        providers: {{up: {{dialect: openai_chat, base_url: "{url}/v1", api_key: key-of-up-00001}}}}
        routes: [{{name: all, targets: [up/m], retry: {{attempts: 1, on: [connect]}}}}]
    """
    refused = reply_json({"error": {"message": "no"}}, status=500)
    async with ScriptedUpstream([refused, refused, reply_json(GOOD)]) as upstream:
        async with running_gateway(config.format(url=upstream.url)) as gateway:
            for id in ("first", "second"):
                await gateway.post(CHAT, asked(), headers={"x-request-id": id})
            status, tries = 0, 0
            while status != 200:
                tries += 1
                answer = await gateway.post(CHAT, asked(), headers={"x-request-id": f"later-{tries}"})
                status = answer.status
            changes = [line for line in gateway.log if line["event"].startswith("breaker_")]
    assert [(line["event"], line["request_id"]) for line in changes] == [
        ("breaker_opened", "second"),
        ("breaker_half_open", f"later-{tries}"),
        ("breaker_closed", f"later-{tries}"),
    ]


async def test_an_unknown_price_names_the_request_that_met_it() -> None:
    config = """
        providers: {{up: {{dialect: openai_chat, base_url: "{url}/v1", api_key: key-of-up-00001}}}}
        routes: [{{name: all, targets: [up/nobody-knows-what-this-costs]}}]
    """
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config.format(url=upstream.url)) as gateway:
            await gateway.post(CHAT, asked(), headers={"x-request-id": "mine"})
            await gateway.settled()
            assert [line["request_id"] for line in gateway.events("price_unknown")] == ["mine"]


async def test_requests_that_share_an_id_in_a_header_of_ones_own_have_a_row_each() -> None:
    config = """
        ledger: sqlite:rows.db
        plugins: [{request_id: {header: x-correlation-id}}]
        providers: {echo: {}}
        routes: [{name: all, targets: ["echo/*"]}]
    """
    async with running_gateway(config) as gateway:
        for _ in range(3):
            await gateway.post(CHAT, asked(), headers={"x-correlation-id": "same"})
        await gateway.settled()
        ledger = gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        rows = await ledger.rows()
    assert [row.request_id for row in rows] == ["same"] * 3
    assert len({row.exchange_id for row in rows}) == 3
