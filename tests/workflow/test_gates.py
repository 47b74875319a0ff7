"""What stops a step's output, and what the client is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.workflow.kit import QUESTION, STORY, by_step, running, said, text_of

GATED = """
        story:
          kind: chain
          {more}
          steps:
            - {{name: analyze, model: small, prompt: prompts/analyze.md, output: prompts/any.json, gate: {gate}}}
            - {{name: synthesize, model: small, prompt: prompts/synthesize.md}}
"""
ANYTHING = {"prompts/any.json": '{"type": "object"}'}
LONG = "x" * 11


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("no JSON at all", "the model did not answer with JSON"),
        ('{"intent": "a st', "the model did not answer with JSON"),
        ('{"other": 1}', 'field "intent" is missing'),
        ('{"intent": 7}', 'field "intent" must be string'),
        ('{"intent": "  "}', 'field "intent" must be a text of 1 or more characters'),
        ("", "the model did not answer with JSON"),
    ],
)
async def test_output_that_does_not_fit_ends_the_run_with_step_and_field(output: str, problem: str) -> None:
    async with running(by_step({**STORY, "analyze": output})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    error = got.json()["error"]
    assert (got.status, error["code"], error["type"]) == (502, "gate_failed", "server_error")
    assert got.headers["x-should-retry"] == "false"
    assert error["message"] == f'step "analyze" was stopped: {problem}'
    assert ran.steps == ["analyze"]


async def test_a_gate_of_a_later_step_stops_there() -> None:
    unsure = '{"content": "perhaps", "confidence": 0.49}'
    async with running(by_step({**STORY, "process": unsure})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.json()["error"]["message"] == 'step "process" was stopped: field "confidence" must be 0.5 or more'
    assert ran.steps == ["analyze", "process"]


async def test_a_stream_that_a_gate_stops_is_a_plain_error() -> None:
    async with running(by_step({**STORY, "analyze": "{}"})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": True})
    assert (got.status, got.headers["content-type"]) == (502, "application/json")


async def test_what_the_model_said_is_not_in_the_error_or_the_log() -> None:
    async with running(by_step({**STORY, "analyze": '{"intent": ["canary"]}'})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
        assert "canary" not in got.body.decode() + json.dumps(ran.gateway.log)


async def test_lenient_logs_and_goes_on_with_what_was_said() -> None:
    async with running(by_step({**STORY, "analyze": "no JSON"}), more="gate_mode: lenient") as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
        [line] = ran.gateway.events("workflow_gate_failed")
    assert text_of(got) == "The end."
    assert (line["level"], line["workflow"], line["step"]) == ("warning", "story", "analyze")
    assert line["problem"] == "the model did not answer with JSON"
    assert "<analyze>\nno JSON\n</analyze>" in ran.asked[1]["messages"][1]["content"]


async def test_a_fence_around_json_is_taken_off() -> None:
    async with running(by_step({**STORY, "analyze": '```json\n{"intent": "x"}\n```'})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.status == 200
    assert '<analyze>\n{"intent": "x"}\n</analyze>' in ran.asked[1]["messages"][1]["content"]


async def test_output_that_was_cut_says_so() -> None:
    script = by_step({**STORY, "analyze": lambda request: said(request, '{"intent": "a', finish="length")})
    async with running(script) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.json()["error"]["message"].endswith("(its answer was cut at 100 tokens)")


async def test_a_model_that_refuses_in_a_step_ends_the_run() -> None:
    script = by_step({**STORY, "process": lambda request: said(request, "I will not.", finish="content_filter")})
    async with running(script) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.status, got.json()["error"]["code"]) == (502, "gate_failed")
    assert got.json()["error"]["message"] == 'step "process" was stopped: the model refused'


@pytest.mark.parametrize(
    ("gate", "good", "bad", "problem"),
    [
        ("{{a: {{min_length: 3}}}}", "abc", "ab", "must be a text of 3 or more characters"),
        ("{{a: {{min_length: 1}}}}", "a", None, "must be a text of 1 or more characters"),
        ("{{a: {{max_length: 10}}}}", "abc", LONG, "must be a text of 10 or fewer characters"),
        ("{{a: {{min_items: 1}}}}", [1], [], "must be a list of 1 or more entries"),
        ("{{a: {{max_items: 1}}}}", [], [1, 2], "must be a list of 1 or fewer entries"),
        ("{{a: {{minimum: 0.5}}}}", 0.5, 0.4, "must be 0.5 or more"),
        ("{{a: {{minimum: 0}}}}", 0, True, "must be 0 or more"),
        ("{{a: {{minimum: 0}}}}", 1, "1", "must be 0 or more"),
        ("{{a: {{maximum: 5}}}}", 5, 5.1, "must be 5 or less"),
        ('{{a: {{pattern: "^[A-Z]"}}}}', "Abc", "abc", "must match the gate's pattern"),
        ("{{a: {{enum: [yes, no]}}}}", "yes", "maybe", "must be one of the gate's values"),
        ("{{a: {{enum: [1]}}}}", 1, True, "must be one of the gate's values"),
        ("{{a: {{min_length: 1, max_length: 10}}}}", "a", LONG, "must be a text of 10 or fewer characters"),
    ],
)  # fmt: skip
async def test_a_gate_lets_through_what_is_within_its_bounds(gate: str, good: Any, bad: Any, problem: str) -> None:
    values = iter((good, bad))
    script = by_step({**STORY, "analyze": lambda request: said(request, json.dumps({"a": next(values)}))})
    async with running(script, GATED.replace("{gate}", gate), files=ANYTHING) as ran:
        through = await ran.gateway.post("/v1/chat/completions", QUESTION)
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (through.status, got.status) == (200, 502)
    assert got.json()["error"]["message"] == f'step "analyze" was stopped: field "a" {problem}'


async def test_a_gate_sees_fields_inside_fields() -> None:
    values = iter(({"b": {"c": 1}}, {"b": {}}, {"b": "c"}))
    script = by_step({**STORY, "analyze": lambda request: said(request, json.dumps(next(values)))})
    async with running(script, GATED.replace("{gate}", "{{b.c: {{minimum: 1}}}}"), files=ANYTHING) as ran:
        for status in (200, 502, 502):
            got = await ran.gateway.post("/v1/chat/completions", QUESTION)
            assert got.status == status
    assert 'field "b.c" is missing' in got.json()["error"]["message"]


LAST = """
        story:
          kind: chain
          {more}
          steps:
            - {{name: analyze, model: small, prompt: prompts/analyze.md, output: prompts/analysis.json}}
"""


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_last_step_with_an_output_is_checked_before_the_client_sees_a_word(stream: bool) -> None:
    for output, status in (('{"intent": "x"}', 200), ("{}", 502)):
        async with running(by_step({"analyze": output}), LAST) as ran:
            got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": stream})
        assert got.status == status
        assert not ran.asked[0].get("stream")
    assert got.json()["error"]["code"] == "gate_failed"
