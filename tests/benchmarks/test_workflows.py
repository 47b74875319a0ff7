"""The bench of workflows counts what the ledger and the client know, and tells what went wrong beside it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import steps, workflows
from benchmarks.pages import published
from benchmarks.steps import ONE_QUESTION, WHOLE, Answer, Asked
from benchmarks.systems import BenchError
from gateway.ledger.ledger import Row
from gateway.ledger.opened import ledger_at
from gateway.telemetry import Logger

USD = {"small": (1, 5), "large": (3, 15)}
"""What config/prices.yaml of the bench's home makes of them, for a million tokens in and out."""


def test_two_requests_of_each_workflow_are_told_step_by_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw.json"
    assert workflows.main(["--requests", "2", "--model", "echo", "--json", str(raw)]) == 0
    [run] = json.loads(raw.read_text())["runs"]
    found = {(each["workflow"], each["step"]): each for each in run["figures"]}

    chain, team = ["analyze", "process", "synthesize"], ["coordinator", "worker", "synthesizer"]
    assert list(found) == [
        *((model, step) for model in ("small", "large") for step in (WHOLE, ONE_QUESTION)),
        *(("cheap-chain", step) for step in (WHOLE, "analyze", "synthesize")),
        *(("cheap-team", step) for step in (WHOLE, *team)),
        *(("balanced-chain", step) for step in (WHOLE, *chain)),
        *(("balanced-team", step) for step in (WHOLE, *team)),
        *(("accurate-chain", step) for step in (WHOLE, *chain)),
        *(("accurate-team", step) for step in (WHOLE, *team)),
    ]
    workers = {name: found[name, "worker"]["per_request"] for name in ("cheap-team", "balanced-team", "accurate-team")}
    assert workers == {"cheap-team": 2, "balanced-team": 3, "accurate-team": 5}
    assert {step: found["balanced-chain", step]["model"] for step in chain} == {
        "analyze": "small", "process": "large", "synthesize": "small",
    }  # fmt: skip
    for (workflow, step), each in found.items():
        assert (each["answered"], each["asked"]) == (2, 2)
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
        assert 0 < each["own_p50_ms"] <= each["own_p95_ms"]
        if step == WHOLE:
            parts = [other for other in found.values() if other["workflow"] == workflow and other["step"] != WHOLE]
            assert 0 < each["first_p50_ms"] <= each["p99_ms"]
            for kind in ("prompt_tokens", "completion_tokens", "usd"):
                assert each[kind] == pytest.approx(sum(part[kind] for part in parts))
        else:
            into, out = USD[each["model"]]
            assert each["usd"] == pytest.approx((each["prompt_tokens"] * into + each["completion_tokens"] * out) / 1e6)
    said = capsys.readouterr().out
    assert re.search(r"^\| \*\*accurate-team\*\* \|( [\d,.]+ \|){9}$", said, re.MULTILINE)
    assert re.search(r"^\| &emsp;worker × 5, large \|( [\d,.]+ \|){3}  \|( [\d,.]+ \|){5}$", said, re.MULTILINE)
    assert "other work on the machine" in said
    assert "requests of each: 2; p99 is then the slowest" in said


async def test_questions_are_the_rows_of_a_request_and_the_whole_is_its_parent_with_their_sums(tmp_path: Path) -> None:
    ledger = ledger_at(f"sqlite:{tmp_path}/l.db", tmp_path, keep_s=None, time=time.time, log=Logger("error"))
    assert ledger is not None
    await ledger.start()
    ledger.record(
        Row(
            exchange_id="p", ts=1.0, request_id="r", prompt_tokens=0, completion_tokens=0, cost_usd=Decimal(0),
            duration_ms=90.0, overhead_ms=9.0,
        )
    )  # fmt: skip
    for number in (1, 2):
        ledger.record(
            Row(
                exchange_id=f"c{number}", ts=1.0 + number, request_id="r", parent_id="p", model_requested="large",
                prompt_tokens=10 * number, completion_tokens=number, cost_usd=Decimal("0.001") * number,
                duration_ms=40.0, overhead_ms=2.0, tries=[{"kind": "step", "name": f"worker {number}"}],
            )
        )  # fmt: skip
    await ledger.close()
    assert steps.questions(tmp_path / "l.db") == [
        Asked("r", WHOLE, "", 90.0, 9.0, 30, 3, Decimal("0.003")),
        Asked("r", "worker", "large", 40.0, 2.0, 10, 1, Decimal("0.001")),
        Asked("r", "worker", "large", 40.0, 2.0, 20, 2, Decimal("0.002")),
    ]


def answers(count: int, model: str = "team") -> tuple[list[Answer], list[Asked]]:
    """Return as many requests, the n-th of which took n ms; its two workers half of that."""
    told, asked = [], []
    for number in range(count):
        name = f"{model}-{number}"
        told.append(Answer(name, model, float(number), number / 2, 20, 6))
        asked.append(Asked(name, WHOLE, "", 1.0, number / 10, 20, 6, Decimal("0.004")))
        asked += [Asked(name, "worker", "large", number / 2, 0.5, 10, 3, Decimal("0.002"))] * 2
    return told, asked


def test_percentiles_are_of_the_clients_clock_and_a_steps_are_of_its_rows() -> None:
    whole, worker = steps.figures(*answers(100))
    assert (whole.p50_ms, whole.p95_ms, whole.p99_ms, whole.first_p50_ms) == (50, 95, 99, 25)
    assert (whole.own_p50_ms, whole.own_p95_ms) == (5.0, 9.5)
    assert (worker.p50_ms, worker.p95_ms, worker.p99_ms) == (25, 47.5, 49.5)
    assert (worker.per_request, worker.prompt_tokens, worker.completion_tokens, worker.usd) == (2, 20, 6, 0.004)


def test_requests_that_ended_with_an_error_are_counted_apart() -> None:
    told, asked = answers(3)
    told[2] = Answer("team-2", "team", 9_000.0, error="gate_failed")
    found = steps.figures(told, asked)
    assert [(each.answered, each.asked, each.p99_ms) for each in found] == [(2, 3, 1.0), (2, 3, 0.5)]
    text = workflows.told(workflows.Run("echo", 3, found, told, [0.0]), {"cores": "2"})
    assert "| **team** (2 of 3 answered) | 1.0 | 1.0 | 1.0 | 0.5 |" in text
    assert "- team: 1 of 3 ended with `gate_failed`" in text


def test_workflow_that_never_answered_has_no_figures() -> None:
    told = [Answer("x-0", "x", 5.0, error="timeout")]
    table = steps.table(steps.figures(told, [Asked("x-0", WHOLE, "", 5.0, 1.0, 0, 0, Decimal(0))]))
    assert table.splitlines()[2:] == ["| **x** (0 of 1 answered) |  |  |  |  |  |  |  |  |  |"]


def test_cost_of_a_step_with_an_unknown_price_is_not_known() -> None:
    told, asked = answers(1)
    asked[0], asked[1] = replace(asked[0], cost_usd=None), replace(asked[1], cost_usd=None)
    assert [each.usd for each in steps.figures(told, asked)] == [None, None]
    assert steps.table(steps.figures(told, asked)).count("| not known |") == 2


def test_rows_that_are_not_what_the_client_was_told_void_the_run() -> None:
    told, asked = answers(2)
    with pytest.raises(BenchError, match=r"team-1: the client was told \[20, 7\], the ledger \[20, 6\]"):
        steps.figures([told[0], replace(told[1], completion_tokens=7)], asked)
    with pytest.raises(BenchError, match=r"team-1: its rows in the ledger are \[\]"):
        steps.figures(told, asked[:3])
    with pytest.raises(BenchError, match="team-1: its rows in the ledger are"):
        steps.figures(told, asked[:4])


@asynccontextmanager
async def answering(body: str, status: int = 200) -> AsyncIterator[aiohttp.ClientSession]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with TestServer(app) as server, aiohttp.ClientSession(str(server.make_url("/"))) as session:
        yield session


WORD = 'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'
COUNTS = 'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n'
DONE = "data: [DONE]\n\n"


async def test_stream_is_an_answer_with_words_usage_and_end() -> None:
    async with answering(WORD + COUNTS + DONE) as session:
        answer = await workflows.ask(session, "m", 7)
    assert (answer.request_id, answer.prompt_tokens, answer.completion_tokens) == ("bench-m-7", 3, 1)
    assert 0 < answer.first_ms <= answer.whole_ms


@pytest.mark.parametrize("body", [WORD + COUNTS, WORD + DONE, COUNTS + DONE])
async def test_stream_that_lacks_one_of_them_voids_the_run(body: str) -> None:
    async with answering(body) as session:
        with pytest.raises(BenchError, match="bench-m-7: a stream without words, usage or end"):
            await workflows.ask(session, "m", 7)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"error": {"code": "gate_failed"}}', 502, "gate_failed"),
        (WORD + 'data: {"error": {"code": "timeout"}}\n\n', 200, "timeout"),
    ],
)
async def test_error_before_or_within_a_stream_is_kept_by_its_code(body: str, status: int, code: str) -> None:
    async with answering(body, status) as session:
        assert (await workflows.ask(session, "m", 7)).error == code


def served(text: str) -> Mapping[str, Any]:
    """Return the workflows that a gateway.yaml serves, none for a text that is not one."""
    config = yaml.safe_load(text)
    entries = config.get("plugins", []) if isinstance(config, dict) else []
    return next((each["workflow"]["workflows"] for each in entries if "workflow" in each), {})


def test_configurations_measured_are_those_of_the_page() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", workflows.PAGE.read_text(), re.MULTILINE | re.DOTALL)
    on_page = {name: each for block in blocks for name, each in served(block).items()}
    measured = served((workflows.HOME / "gateway.yaml").read_text())
    for name, shape in (("cheap", "chain"), ("balanced", "chain"), ("accurate", "team")):
        assert measured[f"{name}-{shape}"] == on_page[name]


def test_local_model_is_asked_the_same_within_bounds(tmp_path: Path) -> None:
    folder = workflows.home(tmp_path / "home", "local")
    own, measured = (served((at / "gateway.yaml").read_text()) for at in (folder, workflows.HOME))
    assert own.keys() == measured.keys()
    for ours, theirs in zip(own["balanced-chain"]["steps"], measured["balanced-chain"]["steps"], strict=True):
        assert ours == {**theirs, "max_tokens": workflows.MOST_TOKENS, "timeout": "4m"}
    assert own["accurate-team"]["workers"]["max_tokens"] == workflows.MOST_TOKENS
    analysis = json.loads((folder / "config" / "prompts" / "analysis.schema.json").read_text())
    assert analysis["properties"]["intent"]["maxLength"] == workflows.MOST_CHARACTERS
    topics = analysis["properties"]["topics"]
    assert (topics["maxItems"], topics["items"]["maxLength"]) == (workflows.MOST_ITEMS, workflows.MOST_CHARACTERS)


def test_page_has_a_place_for_the_table_of_each_model() -> None:
    page = workflows.PAGE.read_text()
    for model in workflows.REQUESTS:
        assert "new table" in published(page, "new table", f"bench {model}")
