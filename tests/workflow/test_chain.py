"""kind: chain: which models are asked, with which words, and what the client gets."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import Answer, ReceivedRequest, reply_json
from tests.workflow.kit import QUESTION, STORY, by_step, running, said, streamed, streamed_text, text_of


async def test_each_step_asks_its_model_with_its_prompt_and_limits_under_one_request_id() -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers={"x-request-id": "tale-1"})
    assert (got.status, text_of(got)) == (200, "The end.")
    assert [(body["model"], body["temperature"], body["max_tokens"]) for body in ran.asked] == [
        ("small", 0.3, 100), ("large", 0.7, 200), ("small", 0.5, 300),
    ]  # fmt: skip
    assert [body["messages"][0] for body in ran.asked] == [
        {"role": "system", "content": text} for text in ("You analyze.", "You process.", "You synthesize.")
    ]
    assert {request.header("x-request-id") for request in ran.upstream.requests} == {"tale-1"}
    assert got.headers["x-request-id"] == "tale-1"


async def test_a_step_sees_the_conversation_and_what_the_steps_before_said() -> None:
    async with running(by_step(STORY)) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION)
    analyze, process, synthesize = (body["messages"][1:] for body in ran.asked)
    assert analyze == QUESTION["messages"]
    intro = "Tell me a story.\n\nWhat the steps before this one found:\n\n"
    analysis = '<analyze>\n{"intent": "a story"}\n</analyze>'
    assert process == [{"role": "user", "content": intro + analysis}]
    work = '<process>\n{"content": "once upon a time", "confidence": 0.9}\n</process>'
    assert synthesize == [{"role": "user", "content": f"{intro}{analysis}\n\n{work}"}]


async def test_the_clients_system_message_follows_the_prompt_and_its_turns_stay() -> None:
    turns = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Bonjour"},
        {"role": "user", "content": "A story"},
    ]
    async with running(by_step(STORY)) as ran:
        await ran.gateway.post("/v1/chat/completions", {**QUESTION, "messages": turns})
    assert [body["messages"][0]["content"].partition("\n\n")[2] for body in ran.asked] == ["Answer in French."] * 3
    assert all(body["messages"][1:3] == turns[1:3] for body in ran.asked)
    assert ran.asked[0]["messages"][3] == turns[3]


async def test_structured_steps_ask_for_their_schema_and_the_last_for_none() -> None:
    async with running(by_step(STORY)) as ran:
        await ran.gateway.post("/v1/chat/completions", QUESTION)
    formats = [body.get("response_format") for body in ran.asked]
    assert [one and one["json_schema"]["name"] for one in formats] == ["analyze", "process", None]
    assert formats[0]["json_schema"]["schema"]["required"] == ["intent"]


async def test_only_the_last_step_is_streamed_and_only_when_the_client_streams() -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": True})
        await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert streamed_text(got.body) == "The end."
    assert got.body.endswith(b"data: [DONE]\n\n")
    assert [bool(body.get("stream")) for body in ran.asked] == [False, False, True, False, False, False]
    assert {event["model"] for event in streamed(got.body)} == {"story"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_answers_usage_is_the_sum_over_the_steps(stream: bool) -> None:
    body = {**QUESTION, "stream": stream, "stream_options": {"include_usage": True}}
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", body if stream else {**body, "stream_options": None})
    usage = streamed(got.body)[-1]["usage"] if stream else got.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (30, 15, 45)


async def test_what_the_client_sets_reaches_the_last_step_alone_and_only_where_it_is_silent() -> None:
    asked = {**QUESTION, "temperature": 1.9, "max_tokens": 7, "stop": ["END"], "seed": 3}
    async with running(by_step(STORY)) as ran:
        await ran.gateway.post("/v1/chat/completions", asked)
    first, _, last = ran.asked
    assert "stop" not in first and "seed" not in first
    assert (last["stop"], last["seed"], last["temperature"], last["max_tokens"]) == (["END"], 3, 0.5, 300)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        ({"functions": [{"name": "f", "parameters": {}}]}, "functions"),
    ],
)
async def test_what_no_step_takes_is_refused(more: dict[str, Any], param: str) -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, **more})
    assert (got.status, got.json()["error"]["param"]) == (400, param)
    assert ran.asked == []


async def test_an_empty_list_of_tools_is_none() -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "tools": [], "n": 1})
    assert got.status == 200


async def test_a_workflow_answers_no_embeddings() -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/embeddings", {"model": "story", "input": "x"})
    assert (got.status, got.json()["error"]["param"]) == (400, "model")


async def test_workflows_are_listed_among_the_models() -> None:
    async with running(by_step(STORY)) as ran:
        listed = await ran.gateway.get("/v1/models")
    assert [one["id"] for one in listed.json()["data"]] == ["story", "small", "large"]


async def test_other_models_are_left_alone() -> None:
    async with running(lambda request: said(request, "hi")) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "model": "small"})
    assert text_of(got) == "hi"
    assert ran.asked[0]["messages"] == QUESTION["messages"]


@pytest.mark.parametrize(("step", "calls"), [("analyze", 1), ("process", 2), ("synthesize", 3)])
async def test_a_step_that_fails_is_named_in_the_error(step: str, calls: int) -> None:
    refused = {
        "error": {"message": "too long for me", "type": "invalid_request_error", "code": "context_length_exceeded"}
    }
    async with running(by_step({**STORY, step: lambda _: reply_json(refused, 400)})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.status == 400
    assert got.json()["error"]["message"] == f'step "{step}": too long for me'
    assert len(ran.asked) == calls


async def test_an_upstream_that_breaks_in_a_step_is_a_502() -> None:
    async with running(by_step({**STORY, "process": lambda _: reply_json({"error": {"message": "x"}}, 500)})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.status, 'step "process"' in got.json()["error"]["message"]) == (502, True)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_workflow_may_ask_a_workflow(stream: bool) -> None:
    def script(request: ReceivedRequest) -> Answer:
        return said(request, "The end.")

    outer = """
        retold:
          kind: chain
          steps: [{{name: synthesize, model: story, prompt: prompts/synthesize.md}}]
{more}
        story:
          kind: chain
          steps:
            - {{name: analyze, model: small, prompt: prompts/analyze.md}}
            - {{name: synthesize, model: small, prompt: prompts/synthesize.md}}
"""
    async with running(script, outer) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "model": "retold", "stream": stream})
    assert (streamed_text(got.body) if stream else text_of(got)) == "The end."
    assert [bool(body.get("stream")) for body in ran.asked] == [False, stream]
    assert [body["messages"][0]["content"] for body in ran.asked] == [
        "You analyze.\n\nYou synthesize.", "You synthesize.\n\nYou synthesize.",
    ]  # fmt: skip
