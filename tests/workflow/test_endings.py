"""How a run ends when it does not end well: time runs out, the stream breaks, the client leaves, the file changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.testing import Answer, Close, Gate, ReceivedRequest, Stall, reply_sse
from tests.workflow.kit import (
    CHAIN,
    QUESTION,
    STORY,
    TEAM,
    by_step,
    chunk,
    running,
    said,
    streamed,
    streamed_text,
    text_of,
)
from tests.workflow.test_orchestrator import QUESTION as TEAM_QUESTION
from tests.workflow.test_orchestrator import TEAMWORK

STREAM = {**QUESTION, "stream": True}
SHORT = CHAIN.replace("max_tokens: 200", "max_tokens: 200, timeout: 50ms").replace(
    "max_tokens: 300", "max_tokens: 300, timeout: 300ms"
)
LEDGER = "ledger: sqlite:ledger.db"


def begun(request: ReceivedRequest, *rest: Any) -> Answer:
    """Return a stream with one word, and then `rest`."""
    return reply_sse([chunk(request.json(), {"content": "The"}), *rest])


def rows_of(rows: list[Any]) -> list[tuple[Any, ...]]:
    return sorted((row.model_requested, row.outcome, row.prompt_tokens or 0, row.parent_id is not None) for row in rows)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_step_that_takes_too_long_is_a_504_that_names_it(stream: bool) -> None:
    async with running(by_step({**STORY, "process": lambda _: [Stall()]}), SHORT) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": stream})
    error = got.json()["error"]
    assert (got.status, error["code"], error["type"]) == (504, "timeout", "timeout")
    assert error["message"].startswith('step "process": ')
    assert ran.steps == ["analyze", "process"]


async def test_a_stream_that_has_begun_ends_with_an_error_event_when_its_step_takes_too_long() -> None:
    async with running(by_step({**STORY, "synthesize": lambda one: begun(one, Stall())}), SHORT) as ran:
        got = await ran.gateway.post("/v1/chat/completions", STREAM)
    error = streamed(got.body)[-1]["error"]
    assert (got.status, error["code"], "[DONE]" in got.body.decode()) == (200, "timeout", False)
    assert error["message"].startswith('step "synthesize": ')
    assert streamed_text(got.body[: got.body.index(b'data: {"error"')]) == "The"


async def test_a_worker_that_takes_too_long_is_a_failed_worker() -> None:
    team = TEAM.replace("max_tokens: 50", "max_tokens: 50, timeout: 50ms")
    async with running(by_step({**TEAMWORK, "worker": lambda _: [Stall()]}), team) as ran:
        got = await ran.gateway.post("/v1/chat/completions", TEAM_QUESTION)
    assert (got.status, 'step "worker 1": ' in got.json()["error"]["message"]) == (502, True)


async def test_the_requests_own_deadline_holds_over_all_steps() -> None:
    async with running(by_step({**STORY, "process": lambda _: [Stall()]})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers={"x-gateway-timeout": "0.2"})
    assert (got.status, got.json()["error"]["code"]) == (504, "timeout")


async def test_a_stream_that_breaks_in_the_last_step_ends_with_an_error_event() -> None:
    async with running(by_step({**STORY, "synthesize": lambda one: begun(one, Close())})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", STREAM)
    assert streamed(got.body)[-1]["error"]["message"].startswith('step "synthesize": ')
    assert b"[DONE]" not in got.body


async def test_a_client_that_leaves_ends_the_step_that_runs_and_every_exchange_once() -> None:
    gate = Gate()
    script = by_step({**STORY, "process": lambda one: [gate, *said(one, STORY["process"])]})  # type: ignore[list-item]
    async with running(script, top=LEDGER) as ran:
        asked = asyncio.create_task(ran.gateway.post("/v1/chat/completions", STREAM))
        await gate.reached()
        asked.cancel()
        await ran.upstream.wait_closed(ran.upstream.requests[1].connection)
        rows = rows_of(await ran.rows())
    assert [row[:2] for row in rows] == [("large", "disconnected"), ("small", "completed"), ("story", "disconnected")]
    assert rows[2] == ("story", "disconnected", 0, False)
    assert ran.steps == ["analyze", "process"]


async def test_a_client_that_leaves_a_begun_stream_ends_its_step() -> None:
    gate = Gate()
    async with running(by_step({**STORY, "synthesize": lambda one: begun(one, gate, Stall())})) as ran:
        async with ran.gateway.session.post(ran.gateway.url + "/v1/chat/completions", json=STREAM) as answer:
            assert b"The" in await answer.content.readany()
        await ran.upstream.wait_closed(ran.upstream.requests[2].connection)
        await ran.ended()


async def test_workers_end_with_the_client() -> None:
    gates = [Gate() for _ in range(3)]
    waiting = iter(gates)
    script = by_step({**TEAMWORK, "worker": lambda one: [next(waiting), Stall()]})
    async with running(script, TEAM, top=LEDGER) as ran:
        asked = asyncio.create_task(ran.gateway.post("/v1/chat/completions", TEAM_QUESTION))
        for gate in gates:
            await gate.reached()
            gate.open()
        asked.cancel()
        for request in ran.upstream.requests[1:]:
            await ran.upstream.wait_closed(request.connection)
        rows = rows_of(await ran.rows())
    assert [row[1] for row in rows] == ["completed", *["disconnected"] * 4]


async def test_a_run_goes_on_as_it_began_when_the_file_changes() -> None:
    gate = Gate()
    script = by_step({**STORY, "analyze": lambda one: [gate, *said(one, STORY["analyze"])]})  # type: ignore[list-item]
    async with running(script) as ran:
        asked = asyncio.create_task(ran.gateway.post("/v1/chat/completions", QUESTION))
        await gate.reached()
        home = ran.gateway.home / "gateway.yaml"
        home.write_text(home.read_text().replace("model: large", "model: small").replace("story:", "tale:"))
        await ran.gateway.reloader.reload("test")
        gate.open()
        got = await asked
        gone = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert text_of(got) == "The end."
    assert [body["model"] for body in ran.asked] == ["small", "large", "small"]
    assert gone.status == 404
