"""Whose tools are whose: the client's stay the client's, and what it demands holds."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import reply_json
from tests.tools.kit import Model, Turn, asked, call, chat, offered, results, running, streamed, words, work

OWN = {"type": "function", "function": {"name": "own", "parameters": {"type": "object", "properties": {}}}}
OWN_ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
FORCED_OWN = {"type": "function", "function": {"name": "own"}}
FORCED_OURS = {"type": "function", "function": {"name": "add"}}


def calls_of(chunks: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """Return the calls that a stream's chunks come to: index, name, arguments."""
    found: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for delta in choice["delta"].get("tool_calls") or ():
                one = found.setdefault(delta["index"], ["", ""])
                one[0] += delta["function"].get("name") or ""
                one[1] += delta["function"].get("arguments") or ""
    return [(index, name, arguments) for index, (name, arguments) in sorted(found.items())]


async def test_our_tools_stand_beside_the_clients_own() -> None:
    async with running() as (gateway, upstream):
        await chat(gateway, tools=[OWN])
        assert offered(upstream.requests[0]) == ["own", "add", "shout", "fail"]


async def test_a_call_to_the_clients_own_tool_is_the_clients() -> None:
    async with running(Model(Turn("Wait.", [call("own", q=1)]))) as (gateway, upstream):
        choice = (await chat(gateway, tools=[OWN]))["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert [one["function"]["name"] for one in choice["message"]["tool_calls"]] == ["own"]
        chunks = await streamed(gateway, tools=[OWN])
        assert calls_of(chunks) == [(0, "own", '{"q": 1}')]
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
        assert len(upstream.requests) == 2


async def test_of_two_tools_of_one_name_the_clients_wins() -> None:
    async with running(Model(Turn("", [call("add", a=1)]))) as (gateway, upstream):
        choice = (await chat(gateway, tools=[OWN_ADD]))["choices"][0]
        assert [one["function"]["name"] for one in choice["message"]["tool_calls"]] == ["add"]
        assert upstream.requests[0].json()["tools"].count(OWN_ADD) == 1
        assert offered(upstream.requests[0]) == ["add", "shout", "fail"]
        assert work(gateway) == []


async def test_a_round_with_both_returns_the_clients_calls_and_runs_none_of_ours() -> None:
    model = Model(Turn("So.", [call("add", a=1), call("own", q=1), call("shout", text="x"), call("own", q=2)]))
    async with running(model, before="metrics, ") as (gateway, upstream):
        choice = (await chat(gateway, tools=[OWN]))["choices"][0]
        told = [(one["function"]["name"], one["function"]["arguments"]) for one in choice["message"]["tool_calls"]]
        assert told == [("own", '{"q": 1}'), ("own", '{"q": 2}')]
        assert choice["finish_reason"] == "tool_calls"
        assert calls_of(await streamed(gateway, tools=[OWN])) == [(0, "own", '{"q": 1}'), (1, "own", '{"q": 2}')]
        assert work(gateway) == []
        await gateway.settled()
        scraped = (await gateway.get("/metrics")).body.decode()
        assert 'tool_calls_total{outcome="withheld",tool="add"} 2.0' in scraped
        assert len(upstream.requests) == 2


async def test_after_our_rounds_the_clients_call_still_comes_through() -> None:
    turns = (Turn("A", [call("add", a=1)]), Turn("B", [call("own", q=1)]))
    async with running(Model(*turns)) as (gateway, _):
        chunks = await streamed(gateway, tools=[OWN])
        assert words(chunks) == "A\n\nB"
        assert calls_of(chunks) == [(0, "own", '{"q": 1}')]
    async with running(Model(*turns)) as (gateway, _):
        message = (await chat(gateway, tools=[OWN]))["choices"][0]["message"]
        assert (message["content"], len(message["tool_calls"])) == ("A\n\nB", 1)


async def test_at_the_last_round_the_clients_tools_stay() -> None:
    options = '{max_rounds: 1, tools: [{python: "tools.py:add"}]}'
    model = Model(Turn("", [call("add", a=1)]), Turn("", [call("own", q=1)]))
    async with running(model, options) as (gateway, upstream):
        choice = (await chat(gateway, tools=[OWN], tool_choice="required"))["choices"][0]
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "own"
        assert [offered(request) for request in upstream.requests] == [["own", "add"], ["own"]]
        assert [request.json()["tool_choice"] for request in upstream.requests] == ["required", "auto"]


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [OWN], "tool_choice": FORCED_OWN},
        {"tools": [OWN], "tool_choice": "none"},
        {"tool_choice": "none"},
        {"tools": [OWN_ADD], "tool_choice": FORCED_OURS},
        {"n": 2},
        {"logprobs": True},
    ],
)
async def test_what_the_client_ties_to_itself_goes_on_untouched(more: dict[str, Any]) -> None:
    async with running() as (gateway, upstream):
        body = asked(**more)
        assert (await gateway.post("/v1/chat/completions", body)).status == 200
        assert upstream.requests[0].json() == body


async def test_what_says_nothing_keeps_no_tool_away() -> None:
    async with running() as (gateway, upstream):
        await chat(gateway, n=1, logprobs=False, modalities=["text"])
        assert len(offered(upstream.requests[0])) == 3


async def test_one_of_ours_may_be_forced_once() -> None:
    async with running(Model(Turn("", [call("add", a=1)]), Turn("two"))) as (gateway, upstream):
        assert (await chat(gateway, tool_choice=FORCED_OURS))["choices"][0]["message"]["content"] == "two"
        first, second = upstream.requests
        assert first.json()["tool_choice"] == FORCED_OURS
        assert second.json()["tool_choice"] == "auto"
        assert results(second) == ["2"]


async def test_a_client_that_allows_certain_tools_is_offered_no_others() -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FORCED_OURS]}}
    async with running() as (gateway, upstream):
        await chat(gateway, tools=[OWN], tool_choice=allowed)
        assert offered(upstream.requests[0]) == ["own", "add"]
        only_own = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FORCED_OWN]}}
        await chat(gateway, tools=[OWN], tool_choice=only_own)
        assert offered(upstream.requests[1]) == ["own"]


async def test_a_call_cut_by_the_token_limit_is_not_run() -> None:
    async with running(Model(Turn("So", [("add", '{"a": 1')], finish="length"))) as (gateway, _):
        choice = (await chat(gateway))["choices"][0]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "So")
        assert "tool_calls" not in choice["message"]
        chunks = await streamed(gateway)
        assert (chunks[-1]["choices"][0]["finish_reason"], calls_of(chunks)) == ("length", [])
        assert work(gateway) == []


async def test_calls_that_come_with_another_finish_are_run_all_the_same() -> None:
    async with running(Model(Turn("", [call("add", a=1)], finish="stop"), Turn("two"))) as (gateway, _):
        assert (await chat(gateway))["choices"][0]["message"]["content"] == "two"


async def test_words_before_a_call_do_not_break_structured_output() -> None:
    turns = (Turn("Let me look.", [call("add", a=1)]), Turn('{"sum":| 2}'))
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    async with running(Model(*turns)) as (gateway, _):
        assert words(await streamed(gateway, response_format=wanted)) == '{"sum": 2}'
    async with running(Model(*turns)) as (gateway, _):
        message = (await chat(gateway, response_format=wanted))["choices"][0]["message"]
        assert message["content"].replace("|", "") == '{"sum": 2}'


async def test_other_endpoints_know_nothing_of_tools() -> None:
    embedding = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    async with running(reply_json(embedding)) as (gateway, upstream):  # type: ignore[arg-type]
        body = {"model": "m", "input": "x"}
        assert (await gateway.post("/v1/embeddings", body)).status == 200
        assert upstream.requests[0].json() == body


async def test_with_no_tool_a_request_goes_on_verbatim() -> None:
    async with running(options="{}") as (gateway, upstream):
        body = asked(odd={"kept": [1.0]})
        assert (await gateway.post("/v1/chat/completions", body)).status == 200
        assert upstream.requests[0].json() == body
