"""What a run costs, and what it counts against: once."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from gateway.testing import reply_json
from tests.workflow.kit import CHAIN, QUESTION, STORY, by_step, running
from tests.workflow.test_endings import LEDGER, rows_of

LIMITED = """
  - auth: {{keys: [{{name: ann, hash: "sha256:{hash}", models: {models}}}]}}
  - rate_limit: {{limits: [{limit}]}}"""
KEY = {"x-api-key": "ann-key"}


def limited(limit: str = "{per: key, requests: 100/min}", models: str = '["*"]') -> str:
    return LIMITED.format(hash=sha256(b"ann-key").hexdigest(), limit=limit, models=models)


async def test_a_run_leaves_a_row_without_tokens_and_one_for_each_step() -> None:
    async with running(by_step(STORY), top=LEDGER) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers={"x-request-id": "tale-1"})
        rows = await ran.rows()
    assert rows_of(rows) == [
        ("large", "completed", 10, True),
        ("small", "completed", 10, True),
        ("small", "completed", 10, True),
        ("story", "completed", 0, False),
    ]
    assert {row.request_id for row in rows} == {"tale-1"}
    whole = next(row for row in rows if row.parent_id is None)
    assert {row.parent_id for row in rows if row is not whole} == {whole.exchange_id}


async def test_a_run_is_one_request_of_its_callers_limit() -> None:
    plugins = limited("{per: key, requests: 2/min, burst: 2}")
    async with running(by_step(STORY), plugins=plugins) as ran:
        statuses = [(await ran.gateway.post("/v1/chat/completions", QUESTION, headers=KEY)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert len(ran.asked) == 6


async def test_a_place_of_its_callers_concurrency_is_taken_once() -> None:
    async with running(by_step(STORY), plugins=limited("{per: key, concurrency: 1}")) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=KEY)
    assert got.status == 200


@pytest.mark.parametrize("bound", ["models", "routes"])
async def test_who_may_use_the_workflow_needs_no_permission_for_its_steps(bound: str) -> None:
    plugins = limited(models="[story]").replace("models:", f"{bound}:")
    async with running(by_step(STORY), plugins=plugins) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=KEY)
        alone = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "model": "small"}, headers=KEY)
    assert (got.status, alone.status) == (200, 403)
    assert ran.steps == ["analyze", "process", "synthesize"]


async def test_a_caller_without_the_workflow_among_its_models_is_refused_it() -> None:
    async with running(by_step(STORY), plugins=limited(models="[small, large]")) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=KEY)
    assert got.status == 403
    assert ran.asked == []


async def test_the_cost_in_the_head_is_the_sum_and_0_where_all_is_free() -> None:
    async with running(by_step(STORY), top=LEDGER) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.headers["x-gateway-cost-usd"] == "0"
    assert got.headers["x-gateway-route"] == "story"
    assert got.headers["x-gateway-attempts"] == "3"


async def test_a_step_falls_back_as_its_route_says() -> None:
    def script(request: Any) -> Any:
        if request.json()["model"] == "large":
            return reply_json({"error": {"message": "no"}}, 500)
        return by_step(STORY)(request)

    async with running(script, CHAIN) as ran:
        home = ran.gateway.home / "gateway.yaml"
        text = home.read_text()
        home.write_text(text.replace("retry: {attempts: 1}", "retry: {attempts: 2}, fallbacks: [up/spare]"))
        await ran.gateway.reloader.reload("test")
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.status == 200
    assert [body["model"] for body in ran.asked] == ["small", "large", "spare", "small"]


async def test_what_was_left_out_of_the_request_is_told() -> None:
    more = {"logit_bias": {"1": 2}, "store": False, "service_tier": "flex", "metadata": {}}
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, **more})
    assert got.headers["x-gateway-dropped"] == "service_tier, logit_bias"
