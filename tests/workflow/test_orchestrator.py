"""kind: orchestrator: tasks, workers at the same time, and what the synthesizer is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.testing import Answer, Gate, ReceivedRequest, reply_json
from tests.workflow.kit import TEAM, by_step, running, said, streamed_text, text_of

QUESTION: dict[str, Any] = {"model": "team", "messages": [{"role": "user", "content": "Compare A, B and C."}]}


def tasks(*texts: str) -> str:
    return json.dumps({"tasks": texts})


def task_of(request: ReceivedRequest) -> str:
    asked: str = request.json()["messages"][-1]["content"]
    return asked.partition("<task>\n")[2].partition("\n</task>")[0]


def echoing(request: ReceivedRequest) -> Answer:
    return said(request, f"found {task_of(request)}")


TEAMWORK: dict[str, Any] = {"coordinator": tasks("A", "B", "C"), "worker": echoing, "synthesizer": "All of it."}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_synthesizer_is_told_every_task_and_its_result(stream: bool) -> None:
    async with running(by_step(TEAMWORK), TEAM) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": stream})
    assert (streamed_text(got.body) if stream else text_of(got)) == "All of it."
    assert ran.steps == ["coordinator", "worker", "worker", "worker", "synthesizer"]
    told = ran.asked[-1]["messages"][1]["content"]
    assert told.startswith("Compare A, B and C.\n\nWhat the workers found:\n\n")
    for number, name in enumerate("ABC", 1):
        assert f'<task number="{number}">\n{name}\n</task>' in told
        assert f'<result number="{number}" status="done">\nfound {name}\n</result>' in told


async def test_each_role_asks_its_model_with_its_prompt_and_limits() -> None:
    async with running(by_step(TEAMWORK), TEAM) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION)
    coordinator, *workers, synthesizer = ran.asked
    assert (coordinator["model"], coordinator["temperature"]) == ("large", 0.1)
    assert coordinator["response_format"]["json_schema"]["schema"]["required"] == ["tasks"]
    assert [(one["model"], one["max_tokens"]) for one in workers] == [("small", 50)] * 3
    assert synthesizer["model"] == "large"
    assert "response_format" not in synthesizer


async def test_workers_run_at_the_same_time() -> None:
    gates = {name: Gate() for name in "ABC"}

    def held(request: ReceivedRequest) -> Answer:
        return [gates[task_of(request)], *said(request, "done")]  # type: ignore[misc,list-item]

    async with running(by_step({**TEAMWORK, "worker": held}), TEAM) as ran:
        asked = asyncio.create_task(ran.gateway.post("/v1/chat/completions", QUESTION))
        for gate in gates.values():
            await gate.reached()  # all three, before any of them is answered
        for gate in gates.values():
            gate.open()
        got = await asked
    assert got.status == 200


async def test_a_failed_worker_is_told_as_failed_and_the_others_count() -> None:
    def one_fails(request: ReceivedRequest) -> Answer:
        return reply_json({"error": {"message": "no"}}, 500) if task_of(request) == "B" else echoing(request)

    async with running(by_step({**TEAMWORK, "worker": one_fails}), TEAM) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
        [line] = ran.gateway.events("workflow_worker_failed")
    assert got.status == 200
    told = ran.asked[-1]["messages"][1]["content"]
    assert '<result number="2" status="failed">\nstep "worker 2"' in told
    assert told.count('status="done"') == 2
    assert (line["level"], line["step"]) == ("warning", "worker 2")


async def test_all_workers_failed_is_a_502() -> None:
    async with running(
        by_step({**TEAMWORK, "worker": lambda _: reply_json({"error": {"message": "no"}}, 429)}), TEAM
    ) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": True})
    assert (got.status, got.json()["error"]["code"]) == (502, "upstream_error")
    assert "every task failed" in got.json()["error"]["message"]
    assert "synthesizer" not in ran.steps


async def test_surplus_tasks_are_cut_with_a_warning() -> None:
    async with running(by_step({**TEAMWORK, "coordinator": tasks(*"ABCDE")}), TEAM) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
        [line] = ran.gateway.events("workflow_tasks_cut")
    assert got.status == 200
    assert {task_of(request) for request in ran.upstream.requests[1:4]} == {"A", "B", "C"}
    assert (line["level"], line["tasks"], line["at_most"]) == ("warning", 5, 3)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (tasks(), 'field "tasks" does not fit "minItems" of the schema'),
        (tasks("  "), 'field "tasks" has no task in it'),
        ('{"tasks": "A"}', 'field "tasks" must be array'),
        ("Let us begin.", "the model did not answer with JSON"),
    ],
)
async def test_a_coordinator_without_tasks_ends_the_run(answer: str, problem: str) -> None:
    async with running(by_step({**TEAMWORK, "coordinator": answer}), TEAM) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.status, got.json()["error"]["code"]) == (502, "gate_failed")
    assert got.json()["error"]["message"] == f'step "coordinator" was stopped: {problem}'


async def test_the_sum_of_usage_counts_every_worker() -> None:
    async with running(by_step(TEAMWORK), TEAM) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.json()["usage"]["prompt_tokens"], got.json()["usage"]["completion_tokens"]) == (50, 25)
