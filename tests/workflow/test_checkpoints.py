"""Interrupted runs: what is done again under the same request id, and what is not."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import Answer, Gate, ReceivedRequest, ScriptedUpstream, Stall, reply_json
from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.server.process import process
from tests.state.servers import Server
from tests.workflow.kit import CHAIN, PROMPTS, QUESTION, STORY, TEAM, by_step, config, running, said, text_of
from tests.workflow.test_orchestrator import QUESTION as TEAM_QUESTION
from tests.workflow.test_orchestrator import TEAMWORK, echoing, task_of

KEPT = "checkpoint: true"
ID = {"x-request-id": "tale-1"}
BROKEN = reply_json({"error": {"message": "no"}}, 500)


class Failing:
    """Fails a step until told otherwise."""

    def __init__(self, step: str, **answers: Any) -> None:
        self.step, self.broken, self.answers = step, True, {**STORY, **answers}

    def __call__(self, request: ReceivedRequest) -> Answer:
        return by_step({**self.answers, **({self.step: lambda _: BROKEN} if self.broken else {})})(request)


@pytest.mark.parametrize(
    ("step", "again"),
    [("process", ["process", "synthesize"]), ("synthesize", ["synthesize"]), ("analyze", list(STORY))],
)
async def test_the_same_request_goes_on_at_the_step_that_failed(step: str, again: list[str]) -> None:
    script = Failing(step)
    async with running(script, more=KEPT) as ran:
        failed = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
        done, script.broken = len(ran.steps), False
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
        resumed = ran.gateway.events("workflow_resumed")
    assert (failed.status, got.status, text_of(got)) == (502, 200, "The end.")
    assert ran.steps[done:] == again
    assert len(resumed) == 1
    # The step that is asked sees what the first run found.
    assert STORY["analyze"] in ran.asked[-1]["messages"][1]["content"]


async def test_steps_done_before_are_not_in_the_usage_of_the_second_answer() -> None:
    script = Failing("synthesize")
    async with running(script, more=KEPT) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
        script.broken = False
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
    assert got.json()["usage"]["total_tokens"] == 15


async def test_a_finished_run_is_forgotten() -> None:
    async with running(by_step(STORY), more=KEPT) as ran:
        for _ in range(2):
            await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
        await ran.gateway.settled()
        kept = await ran.gateway.core.snapshot.shared.state.names("workflow:", 100)
    assert ran.steps == [*STORY, *STORY]
    assert kept == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, QUESTION),
        ({"x-request-id": "tale-2"}, QUESTION),
        (ID, {**QUESTION, "messages": [{"role": "user", "content": "Another one."}]}),
    ],
    ids=["no id", "another id", "another question"],
)
async def test_another_request_begins_anew(headers: dict[str, str], body: Any) -> None:
    script = Failing("process")
    async with running(script, more=KEPT) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers=headers and ID)
        script.broken = False
        await ran.gateway.post("/v1/chat/completions", body, headers=headers)
    assert ran.steps == ["analyze", "process", *STORY]


async def test_nothing_is_kept_without_an_id_or_without_checkpoints() -> None:
    for more, headers in ((KEPT, {}), ("", ID)):
        async with running(Failing("process"), more=more) as ran:
            await ran.gateway.post("/v1/chat/completions", QUESTION, headers=headers)
            await ran.gateway.settled()
            assert await ran.gateway.core.snapshot.shared.state.names("workflow:", 100) == []


AUTH = """
  - auth: {keys: [{name: ann, hash: "sha256:ANN"}, {name: bob, hash: "sha256:BOB"}]}"""


async def test_another_caller_begins_anew() -> None:
    plugins = AUTH.replace("ANN", sha256(b"ann-key").hexdigest()).replace("BOB", sha256(b"bob-key").hexdigest())
    script = Failing("process")
    async with running(script, more=KEPT, plugins=plugins) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers={**ID, "x-api-key": "ann-key"})
        script.broken = False
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers={**ID, "x-api-key": "bob-key"})
        assert ran.steps == ["analyze", "process", *STORY]
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers={**ID, "x-api-key": "ann-key"})
    assert ran.steps[5:] == ["process", "synthesize"]


async def test_a_workflow_that_was_changed_begins_anew() -> None:
    script = Failing("process")
    async with running(script, more=KEPT) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
        script.broken = False
        prompt = ran.gateway.home / "prompts" / "analyze.md"
        prompt.write_text("You analyze.\n\nBriefly.")
        await ran.gateway.reloader.reload("test")
        await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
    assert ran.steps == ["analyze", "process", *STORY]


async def test_a_client_that_left_finds_its_run() -> None:
    gate = Gate()
    script = by_step({**STORY, "synthesize": lambda request: [gate, *said(request, "The end.")]})  # type: ignore[list-item]
    async with running(script, more=KEPT) as ran:
        asked = asyncio.create_task(ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID))
        await gate.reached()
        asked.cancel()
        await ran.ended()
        gate.open()
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
    assert text_of(got) == "The end."
    assert ran.steps == [*STORY, "synthesize"]


async def test_two_requests_with_one_id_at_the_same_time_both_answer() -> None:
    async with running(by_step(STORY), more=KEPT) as ran:
        both = [ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID) for _ in range(2)]
        answers = await asyncio.gather(*both)
        await ran.ended()
        later = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
    assert [text_of(got) for got in (*answers, later)] == ["The end."] * 3


async def test_a_graph_of_the_operators_own_goes_on_too() -> None:
    broken = True

    def script(request: ReceivedRequest) -> Answer:
        asked = request.json()["messages"][-1]["content"]
        return BROKEN if broken and asked.startswith("Say that better") else said(request, f"re: {asked}")

    [graphs] = [block.text for block in blocks(ROOT / "docs" / "workflows.md", "python")]
    own = '\n        own: {{use: "graphs.py:graph", {more}}}\n'
    ask = {**QUESTION, "model": "own"}
    async with running(script, own, more=KEPT, files={"graphs.py": graphs.replace("fast", "small")}) as ran:
        assert (await ran.gateway.post("/v1/chat/completions", ask, headers=ID)).status == 502
        broken = False
        got = await ran.gateway.post("/v1/chat/completions", ask, headers=ID)
    assert text_of(got) == "re: Say that better, in one sentence."
    assert [len(body["messages"]) for body in ran.asked] == [1, 3, 3]


async def test_workers_that_are_done_are_not_asked_again() -> None:
    gates = {name: Gate() for name in "ABC"}
    gates["A"].open()
    gates["B"].open()

    def worker(request: ReceivedRequest) -> Answer:
        return [gates[task_of(request)], *echoing(request)]  # type: ignore[misc,list-item]

    async with running(by_step({**TEAMWORK, "worker": worker}), TEAM, more=KEPT) as ran:
        asked = asyncio.create_task(ran.gateway.post("/v1/chat/completions", TEAM_QUESTION, headers=ID))
        await gates["C"].reached()
        state = ran.gateway.core.snapshot.shared.state
        while len(await written(state)) < 2:  # two workers' results are kept
            await asyncio.sleep(0)
        asked.cancel()
        await ran.ended()
        first = len(ran.steps)
        gates["C"].open()
        got = await ran.gateway.post("/v1/chat/completions", TEAM_QUESTION, headers=ID)
    assert got.status == 200
    assert ran.steps[first:] == ["worker", "synthesizer"]
    assert task_of(ran.upstream.requests[first]) == "C"
    assert ran.asked[-1]["messages"][1]["content"].count('status="done"') == 3


async def written(state: Any) -> list[bytes]:
    """Return the workers' results that are kept."""
    names = [name for name in await state.names("workflow:", 100) if "/writes/" in name]
    return [item for name in names for item in await state.items(name) if b"done" in item]


async def test_a_lost_state_costs_the_checkpoints_and_not_the_answer(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        top = f"state: redis://127.0.0.1:{server.port}"
        async with running(by_step(STORY), more=KEPT, top=top) as ran:
            server.kill()
            got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
            [line] = ran.gateway.events("workflow_not_kept")
            assert (line["request_id"], line["level"]) == ("tale-1", "warning")
    finally:
        server.kill()
    assert text_of(got) == "The end."


async def test_redis_keeps_runs_too(tmp_path: Path) -> None:
    server = Server(tmp_path)
    script = Failing("process")
    try:
        top = f"state: redis://127.0.0.1:{server.port}"
        async with running(script, more=KEPT, top=top) as ran:
            await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
            script.broken = False
            await ran.gateway.post("/v1/chat/completions", QUESTION, headers=ID)
    finally:
        server.kill()
    assert ran.steps == ["analyze", "process", "process", "synthesize"]


async def test_a_killed_gateway_goes_on_where_it_was(tmp_path: Path) -> None:
    stalls = True

    def script(request: ReceivedRequest) -> Answer:
        return by_step({**STORY, "process": lambda one: [Stall()] if stalls else said(one, STORY["process"])})(request)

    for name, text in PROMPTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    async with ScriptedUpstream(script) as upstream:
        text = config(CHAIN, upstream.url, more=KEPT, top="state: sqlite:state.db\nledger: sqlite:ledger.db")
        (tmp_path / "gateway.yaml").write_text(f"version: 1\n{text}")
        async with process(tmp_path) as first:
            asked = asyncio.create_task(first.post("/v1/chat/completions", QUESTION, headers=ID))
            await upstream.wait_for_request(1)
            first.process.kill()
            await asyncio.wait([asked])
            assert asked.exception() is not None
        stalls = False
        async with process(tmp_path) as second:
            status, body = await second.post("/v1/chat/completions", QUESTION, headers=ID)
            assert await second.log_line("workflow_resumed")
    assert (status, body["choices"][0]["message"]["content"]) == (200, "The end.")
    steps = [json.loads(request.body)["messages"][0]["content"].split()[1] for request in upstream.requests]
    assert steps == ["analyze.", "process.", "process.", "synthesize."]
