"""The loop: tools are offered, run and answered for, and the client gets the model's last words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from ollama import AsyncClient
from openai import AsyncOpenAI

from gateway.testing import RunningGateway, ScriptedUpstream, reply_json, running_gateway
from tests.tools.kit import Model, Turn, asked, call, chat, offered, results, running, streamed, words, work

TWO_ROUNDS = (
    Turn("Let me| see.", [call("add", a=2, b=3)]),
    Turn("", [call("shout", text="done"), call("add", a=5)]),
    Turn("It is| five."),
)
SAID = "Let me see.\n\nIt is five."


def two_rounds() -> Model:
    return Model(*(Turn(turn.text, turn.calls) for turn in TWO_ROUNDS))


async def test_a_plain_request_gets_the_answer_and_sees_no_tool() -> None:
    async with running(Model(Turn("", [call("add", a=2, b=3)]), Turn("five"))) as (gateway, upstream):
        answer = await chat(gateway)
        message = answer["choices"][0]["message"]
        assert message["content"] == "five"
        assert "tool_calls" not in message
        assert answer["choices"][0]["finish_reason"] == "stop"
        first, second = upstream.requests
        assert offered(first) == offered(second) == ["add", "shout", "fail"]
        assert results(second) == ["5"]
        told = second.json()["messages"]
        assert [message["role"] for message in told] == ["user", "assistant", "tool"]
        assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"] == "call_1_0"


async def test_words_of_every_round_reach_the_client_in_order() -> None:
    async with running(two_rounds()) as (gateway, upstream):
        assert (await chat(gateway))["choices"][0]["message"]["content"] == "Let me| see.\n\nIt is| five."
        assert results(upstream.requests[2]) == ["5", "DONE", "6"]
    async with running(two_rounds()) as (gateway, upstream):
        assert words(await streamed(gateway)) == SAID


async def test_usage_is_the_sum_of_all_rounds_and_the_ledger_counts_it_once() -> None:
    async with running(two_rounds(), top="ledger: sqlite:rows.db") as (gateway, _):
        usage = (await chat(gateway))["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (30, 6)
        await gateway.settled()
        ledger = gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        rows = await ledger.rows()
        [parent] = [row for row in rows if row.parent_id is None]
        children = [row for row in rows if row.parent_id is not None]
        assert [row.parent_id for row in children] == [parent.exchange_id] * 3
        assert sum(row.prompt_tokens or 0 for row in rows) == 30
        assert sum(row.completion_tokens or 0 for row in rows) == 6
        tools = [(one["name"], one["ok"]) for one in parent.tries if one.get("kind") == "tool"]
        assert sorted(tools) == [("add", True), ("add", True), ("shout", True)]


async def test_a_streams_usage_is_the_sum_of_all_rounds() -> None:
    async with running(two_rounds()) as (gateway, _):
        chunks = await streamed(gateway, stream_options={"include_usage": True})
        usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        assert (usage[-1]["prompt_tokens"], usage[-1]["completion_tokens"]) == (30, 6)
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1] == "stop"
        assert {chunk["id"] for chunk in chunks} == {"chatcmpl-1"}


async def test_a_model_that_never_stops_is_asked_at_last_without_tools() -> None:
    again = Turn("", [call("add", a=1)])
    options = '{max_rounds: 2, tools: [{python: "tools.py:add"}]}'
    async with running(Model(again, again, Turn("enough"), Turn("never")), options) as (gateway, upstream):
        assert (await chat(gateway, parallel_tool_calls=True))["choices"][0]["message"]["content"] == "enough"
        assert [offered(request) for request in upstream.requests] == [["add"], ["add"], []]
        last = upstream.requests[2].json()
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & last.keys()
        assert len(results(upstream.requests[2])) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_calls_withdrawn_tools_and_says_nothing_is_a_bad_answer(stream: bool) -> None:
    options = '{max_rounds: 1, tools: [{python: "tools.py:add"}]}'
    async with running(Model(Turn("", [call("add", a=1)])), options) as (gateway, upstream):
        answer = await gateway.post("/v1/chat/completions", asked(stream=stream))
        assert answer.status == 502
        assert answer.json()["error"]["code"] == "bad_upstream_response"
        assert len(upstream.requests) == 2


async def test_a_provider_that_wants_the_tools_of_its_history_told_gets_them_forbidden() -> None:
    refusal = b'{"error":{"message":"tools must be defined","type":"invalid_request_error"}}'
    refused = b"HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    options = '{max_rounds: 1, tools: [{python: "tools.py:add"}]}'
    for stream in (False, True):
        model = Model(Turn("", [call("add", a=1)]), [refused % (len(refusal), refusal)], Turn("fine"))
        async with running(model, options) as (gateway, upstream):
            said = (
                words(await streamed(gateway)) if stream else (await chat(gateway))["choices"][0]["message"]["content"]
            )
            assert said == "fine"
            assert [offered(request) for request in upstream.requests] == [["add"], [], ["add"]]
            assert upstream.requests[2].json()["tool_choice"] == "none"


async def test_errors_go_back_to_the_model_as_results() -> None:
    calls = [
        call("fail", why="no luck"),
        call("add", a="x"),
        ("add", '{"a": '),
        ("add", "[1]"),
        call("nothing"),
        ("add", '{"a": NaN}'),
        ("shout", '{"text": "\\ud800"}'),
    ]
    async with running(Model(Turn("", calls), Turn("sorry"))) as (gateway, upstream):
        assert (await chat(gateway))["choices"][0]["message"]["content"] == "sorry"
        errors = [json.loads(text)["error"] for text in results(upstream.requests[1])]
        assert errors == [
            "ValueError: no luck",
            "a: 'x' is not of type 'integer'",
            "the arguments are not valid JSON",
            "the arguments are not a JSON object",
            "no such tool; there are: add, shout, fail",
            "the arguments are not valid JSON",
            "the arguments are not valid JSON",
        ]
        assert sorted(work(gateway)) == [("add", "refused")] * 4 + [("fail", "failed"), ("shout", "refused")]


async def test_empty_arguments_are_no_arguments_and_huge_integers_stay_exact() -> None:
    big = "123456789012345678901234567890"
    async with running(Model(Turn("", [("fail", ""), ("shout", f'{{"text": "{big}"}}')]), Turn("x"))) as (gateway, up):
        await chat(gateway)
        assert results(up.requests[1]) == ['{"error": "ValueError: no reason"}', big]


async def test_calls_beyond_the_cap_of_a_round_are_answered_with_an_error() -> None:
    options = '{max_calls: 2, tools: [{python: "tools.py:add"}]}'
    async with running(Model(Turn("", [call("add", a=each) for each in (1, 2, 3)]), Turn("x")), options) as (g, up):
        await chat(g)
        first, second, third = results(up.requests[1])
        assert (first, second) == ("2", "3")
        assert "at most 2 calls" in json.loads(third)["error"]


async def test_a_call_without_an_id_gets_one_for_its_result() -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}] * 2}
    body = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {**message, "content": ""}, "done": True}
    said = {**body, "message": {"role": "assistant", "content": "two"}, "done_reason": "stop"}

    def answer(value: Any) -> list[bytes]:
        text = json.dumps(value).encode()
        return [
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
        ]

    top = "providers: {o: {dialect: ollama, base_url: '${URL}'}}\nroutes: [{name: all, targets: ['o/*']}]"
    async with ScriptedUpstream([answer({**body, "done_reason": "stop"}), answer(said)]) as upstream:
        config = f'plugins: [{{tools: {{tools: [{{python: "tools.py:add"}}]}}}}]\n{top}'
        files = {"tools.py": "def add(a: int) -> int:\n    return a + 1\n"}
        async with running_gateway(config, files=files, environ={"URL": upstream.url}) as gateway:
            assert (await chat(gateway))["choices"][0]["message"]["content"] == "two"
            told = upstream.requests[1].json()["messages"]
            assert [message["content"] for message in told if message["role"] == "tool"] == ["2", "2"]


async def test_an_id_that_stands_twice_is_given_once() -> None:
    function = {"name": "add", "arguments": '{"a": 1}'}
    asks = {"role": "assistant", "tool_calls": [{"id": "same", "type": "function", "function": function}] * 2}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    again = reply_json({**body, "choices": [{"index": 0, "message": asks, "finish_reason": "tool_calls"}]})
    async with running(Model(again, again, Turn("done"))) as (gateway, upstream):
        await chat(gateway)
        told = upstream.requests[2].json()["messages"]
        called = [call["id"] for message in told for call in message.get("tool_calls", ())]
        assert [message["tool_call_id"] for message in told if message["role"] == "tool"] == called
        assert called[0] == "same"
        assert len(set(called)) == 4


async def by_openai(gateway: RunningGateway, stream: bool) -> str:
    question: Any = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        if not stream:
            plain = await client.chat.completions.create(**question)
            assert plain.choices[0].finish_reason == "stop"
            return plain.choices[0].message.content or ""
        chunks = await client.chat.completions.create(**question, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


async def by_responses(gateway: RunningGateway, stream: bool) -> str:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        if not stream:
            response = await client.responses.create(model="m", input="q")
            assert [item.type for item in response.output] == ["message"]
            return response.output_text
        async with client.responses.stream(model="m", input="q") as events:
            final = await events.get_final_response()
        assert final.status == "completed"
        return final.output_text


async def by_anthropic(gateway: RunningGateway, stream: bool) -> str:
    question: Any = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "q"}]}
    async with AsyncAnthropic(base_url=gateway.url, api_key="k", max_retries=0) as client:
        if not stream:
            message = await client.messages.create(**question)
            assert (message.stop_reason, message.usage.input_tokens) == ("end_turn", 30)
            return "".join(block.text for block in message.content if block.type == "text")
        async with client.messages.stream(**question) as events:
            final = await events.get_final_message()
        assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 6)
        assert {block.type for block in final.content} == {"text"}
        return "".join(block.text for block in final.content if block.type == "text")


async def by_ollama(gateway: RunningGateway, stream: bool) -> str:
    question: Any = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    async with AsyncClient(host=gateway.url) as client:
        if not stream:
            plain = await client.chat(**question)
            assert plain.prompt_eval_count == 30
            return plain.message.content or ""
        parts = [part async for part in await client.chat(**question, stream=True)]
        assert parts[-1].done
        return "".join(part.message.content or "" for part in parts)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("client", [by_openai, by_responses, by_anthropic, by_ollama])
async def test_every_dialects_client_gets_the_same_answer(client: Any, stream: bool) -> None:
    async with running(two_rounds()) as (gateway, upstream):
        said = await client(gateway, stream)
        assert said.replace("|", "") == SAID
        assert [offered(request) for request in upstream.requests] == [["add", "shout", "fail"]] * 3
        assert results(upstream.requests[2]) == ["5", "DONE", "6"]
