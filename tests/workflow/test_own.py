"""use: a LangGraph graph of the operator's own, served as a model."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import Answer, ReceivedRequest, Stall, reply_json, reply_sse
from tests.workflow.kit import chunk, running, said, streamed_text, text_of
from tests.workflow.test_accounting import KEY, limited

OWN = """
        own: {{use: "graphs.py:graph"}}
"""
QUESTION: dict[str, Any] = {"model": "own", "messages": [{"role": "user", "content": "Hello there"}]}
HEAD = """
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph

"""
TAIL = """

builder = StateGraph(MessagesState)
builder.add_node("first", first)
builder.add_edge(START, "first")
builder.add_edge("first", END)
graph = builder.compile()
"""
ASKS = """
async def first(state: MessagesState, config: RunnableConfig):
    ask = config["configurable"]["ask"]
    words = await ask("small", state["messages"], step="first", temperature=0.2, max_tokens=9)
    return {"messages": [AIMessage(words.upper())]}
"""
STREAMS = """
async def first(state: MessagesState, config: RunnableConfig):
    stream = config["configurable"]["stream"]
    return {"messages": [AIMessage(await stream("small", state["messages"]))]}
"""
TYPED = """
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

async def first(state: MessagesState, config: RunnableConfig):
    found = await config["configurable"]["ask"]("small", "Count.", schema=SCHEMA, step="count")
    return {"messages": [{"role": "assistant", "content": f"{found['n'] + 1} for {config['configurable']['principal']}"}]}
"""


def files(node: str, tail: str = TAIL) -> dict[str, str]:
    return {"graphs.py": HEAD + node + tail}


def hi(request: ReceivedRequest) -> Answer:
    return said(request, "hi you")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_last_message_is_the_answer(stream: bool) -> None:
    async with running(hi, OWN, files=files(ASKS)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": stream})
    assert (streamed_text(got.body) if stream else text_of(got)) == "HI YOU"
    [asked] = ran.asked
    assert asked["messages"] == QUESTION["messages"]
    assert (asked["temperature"], asked["max_tokens"]) == (0.2, 9)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_what_a_node_streams_is_the_answer_as_it_comes(stream: bool) -> None:
    async with running(hi, OWN, files=files(STREAMS)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", {**QUESTION, "stream": stream})
    assert (streamed_text(got.body) if stream else text_of(got)) == "hi you"
    assert bool(ran.asked[0].get("stream")) is stream
    if not stream:
        assert got.json()["usage"]["total_tokens"] == 15


async def test_a_client_that_leaves_ends_a_node_that_streams_more_than_it_read() -> None:
    def endless(request: ReceivedRequest) -> Answer:
        word = chunk(request.json(), {"content": " word" * 1000})
        return reply_sse([*[word] * 2000, Stall()])

    async with running(endless, OWN, files=files(STREAMS)) as ran:
        url = ran.gateway.url + "/v1/chat/completions"
        async with ran.gateway.session.post(url, json={**QUESTION, "stream": True}) as answer:
            assert b"word" in await answer.content.readany()
        await ran.upstream.wait_closed()
        await ran.ended()


async def test_a_node_gets_an_object_that_fits_its_schema() -> None:
    async with running(lambda request: said(request, '{"n": 2}'), OWN, files=files(TYPED)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert text_of(got) == "3 for "
    async with running(lambda request: said(request, '{"n": "2"}'), OWN, files=files(TYPED)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.status, got.json()["error"]["code"]) == (502, "gate_failed")
    assert got.json()["error"]["message"] == 'step "count" was stopped: field "n" must be integer'


@pytest.mark.parametrize(
    "tail",
    [TAIL.replace(".compile()", ""), TAIL.replace("graph = builder.compile()", "def graph():\n    return builder")],
)
async def test_a_builder_and_a_function_that_makes_one_serve_too(tail: str) -> None:
    async with running(hi, OWN, files=files(ASKS, tail)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert text_of(got) == "HI YOU"


async def test_a_model_that_fails_is_the_clients_error_unless_the_node_sees_to_it() -> None:
    script = lambda _: reply_json({"error": {"message": "no"}}, 500)  # noqa: E731
    async with running(script, OWN, files=files(ASKS)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.status, got.json()["error"]["message"].startswith('step "first": ')) == (502, True)


async def test_a_node_that_raises_is_a_500_that_names_the_plugin_in_the_log() -> None:
    node = "async def first(state: MessagesState):\n    raise KeyError('canary')\n"
    async with running(hi, OWN, files=files(node)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
        assert "canary" not in got.body.decode()
        [line] = ran.gateway.events("request_failed")
    assert (line["plugin"], line["at"]) == ("workflow", "graphs.py:7")
    assert got.status == 500


async def test_a_graph_that_ends_without_an_answer_is_a_500_that_says_so() -> None:
    node = "async def first(state: MessagesState):\n    return {}\n"
    async with running(hi, OWN, files=files(node)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert (got.status, "ended without an answer" in got.json()["error"]["message"]) == (500, True)


async def test_a_graph_that_asks_for_itself_is_stopped() -> None:
    node = ASKS.replace('"small"', '"own"')
    async with running(hi, OWN, files=files(node)) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION)
    assert got.status == 500
    assert 'the model "own" asks itself' in got.json()["error"]["message"]
    assert ran.asked == []


@pytest.mark.parametrize(("asks", "status"), [("[small]", 200), ("[large]", 403)])
async def test_what_a_graph_says_it_asks_for_needs_no_permission_of_its_callers(asks: str, status: int) -> None:
    own = OWN.replace('graph"', f'graph", asks: {asks}')
    async with running(hi, own, files=files(ASKS), plugins=limited(models="[own]")) as ran:
        got = await ran.gateway.post("/v1/chat/completions", QUESTION, headers=KEY)
    assert (got.status, len(ran.asked)) == (status, status == 200)


async def test_what_the_graph_cannot_be_told_is_refused() -> None:
    content = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
    async with running(hi, OWN, files=files(ASKS)) as ran:
        got = await ran.gateway.post(
            "/v1/chat/completions", {**QUESTION, "messages": [{"role": "user", "content": content}]}
        )
    assert (got.status, got.json()["error"]["param"]) == (400, "messages")


async def test_an_edited_graph_serves_after_a_reload_and_a_broken_one_changes_nothing() -> None:
    async with running(hi, OWN, files=files(ASKS)) as ran:
        graphs = ran.gateway.home / "graphs.py"
        graphs.write_text(graphs.read_text().replace(".upper()", ".title()"))
        await ran.gateway.reloader.reload("test")
        assert text_of(await ran.gateway.post("/v1/chat/completions", QUESTION)) == "Hi You"
        graphs.write_text("graph = 1 / 0\n")
        await ran.gateway.reloader.try_reload("test")
        [failed] = ran.gateway.events("reload_failed")
        problem = (
            'workflows.own.use: "graphs.py:graph" cannot be loaded: graphs.py:1: ZeroDivisionError: division by zero'
        )
        assert failed["errors"] == [f"{problem}; correct it"]
        assert text_of(await ran.gateway.post("/v1/chat/completions", QUESTION)) == "Hi You"
