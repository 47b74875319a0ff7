"""The official packages ask for a workflow as for any model, and get its answer in their own shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.testing import Answer, ReceivedRequest, reply_json
from tests.clients.sdks import ASKED, SDKS, Ask
from tests.workflow.kit import CHAIN, QUESTION, STORY, TEAM, by_step, running, text_of
from tests.workflow.test_orchestrator import TEAMWORK

clients = pytest.mark.parametrize("client", sorted(SDKS))
ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ENDED = ("stop", "end_turn", "completed")
NAMED = CHAIN.replace("story:", f"{ASKED}:")


@clients
@ways
async def test_a_chain_answers_every_client(client: Any, stream: bool) -> None:
    sdk = SDKS[client]
    async with running(by_step(STORY), NAMED) as ran:
        got = await sdk.ask(ran.gateway.url, sdk.user("Tell me a story."), Ask(stream=stream, system="In French."))
    assert (got.text, got.stop in ENDED, got.usage[:2]) == ("The end.", True, (30, 15))
    assert ran.steps == list(STORY)
    for body in ran.asked:
        system, user = body["messages"]
        assert (system["role"], system["content"].endswith("\n\nIn French.")) == ("system", True)
        assert user["content"].startswith("Tell me a story.")


@clients
@ways
async def test_an_orchestrator_answers_every_client(client: Any, stream: bool) -> None:
    sdk = SDKS[client]
    async with running(by_step(TEAMWORK), TEAM.replace("team:", f"{ASKED}:")) as ran:
        got = await sdk.ask(ran.gateway.url, sdk.user("Compare A, B and C."), Ask(stream=stream))
    assert (got.text, got.stop in ENDED, got.usage[:2]) == ("All of it.", True, (50, 25))


@clients
async def test_a_long_conversation_reaches_every_step(client: Any) -> None:
    sdk = SDKS[client]
    async with running(by_step(STORY), NAMED) as ran:
        first = await sdk.ask(ran.gateway.url, sdk.user("One."), Ask())
        turns = [*sdk.user("One."), *sdk.echoed(first), *sdk.user("Two.")]
        await sdk.ask(ran.gateway.url, turns, Ask())
    for body in ran.asked[3:]:
        assert [each["role"] for each in body["messages"]] == ["system", "user", "assistant", "user"]
        assert body["messages"][2]["content"] == "The end."


@clients
async def test_the_clients_schema_is_the_last_steps(client: Any) -> None:
    sdk = SDKS[client]
    schema = {
        "type": "object", "properties": {"end": {"type": "string"}}, "required": ["end"], "additionalProperties": False,
    }  # fmt: skip
    answers = {**STORY, "synthesize": '{"end": "The end."}'}
    async with running(by_step(answers), NAMED) as ran:
        got = await sdk.ask(ran.gateway.url, sdk.user("Tell me a story."), Ask(schema=schema))
    assert json.loads(got.text) == {"end": "The end."}
    assert ran.asked[0]["response_format"]["json_schema"]["name"] == "analyze"
    assert ran.asked[2]["response_format"]["json_schema"]["schema"] == schema


PATHS = {"/v1/messages": "anthropic", "/v1/responses": "openai", "/api/chat": "ollama"}


@pytest.mark.parametrize("path", PATHS)
async def test_a_gates_refusal_is_told_in_the_clients_own_words(path: str) -> None:
    question = {"input": "x"} if path == "/v1/responses" else {"messages": QUESTION["messages"], "max_tokens": 9}
    async with running(by_step({**STORY, "analyze": "{}"})) as ran:
        got = await ran.gateway.post(path, {"model": "story", "stream": True, **question})
    error = got.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert (got.status, message) == (502, 'step "analyze" was stopped: field "intent" is missing')
    if PATHS[path] == "anthropic":
        assert error["type"] == "api_error"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    ],
)
async def test_history_that_lies_elsewhere_is_refused(more: dict[str, Any], param: str) -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/v1/responses", {"model": "story", "input": "x", **more})
    assert (got.status, got.json()["error"]["param"]) == (400, param)
    assert ran.asked == []


async def test_generate_of_ollama_works_too() -> None:
    async with running(by_step(STORY)) as ran:
        got = await ran.gateway.post("/api/generate", {"model": "story", "prompt": "Tell me a story.", "stream": False})
    assert (got.status, got.json()["response"]) == (200, "The end.")


async def test_a_session_keeps_the_turns_and_not_the_steps() -> None:
    async with running(by_step(STORY), plugins="\n  - session: {ttl: 1h}") as ran:
        made = await ran.gateway.post("/v1/sessions", {})
        ask = {**QUESTION, "session_id": made.json()["id"]}
        for _ in range(2):
            assert text_of(await ran.gateway.post("/v1/chat/completions", ask)) == "The end."
        kept = await ran.gateway.get(f"/v1/sessions/{made.json()['id']}")
    assert [each["content"] for each in kept.json()["messages"]] == ["Tell me a story.", "The end."] * 2
    assert [len(body["messages"]) for body in ran.asked] == [2, 2, 2, 4, 4, 4]


TOOLS = """
  - tools: {tools: [{name: add, python: "tools.py:add"}]}"""


async def test_tools_of_the_gateway_stand_beside_workflows_and_are_not_offered_to_their_steps() -> None:
    def script(request: ReceivedRequest) -> Answer:
        return by_step(STORY)(request)

    files = {"tools.py": 'def add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n'}
    async with running(script, plugins=TOOLS, files=files) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert text_of(got) == "The end."
    assert not any("tools" in body for body in ran.asked)


async def test_a_models_thinking_in_the_last_step_reaches_the_client() -> None:
    def thinking(request: ReceivedRequest) -> Answer:
        message = {"role": "assistant", "content": "The end.", "reasoning_content": "hm"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return reply_json({"id": "c", "model": "m", "created": 1, "choices": [choice]})

    async with running(by_step({**STORY, "synthesize": thinking})) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.json()["choices"][0]["message"]["reasoning_content"] == "hm"
