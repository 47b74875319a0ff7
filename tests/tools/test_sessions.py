"""Sessions and tools together: the context reaches the tools, the history holds what the client saw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream, reply_json
from tests.tools.kit import Model, Turn, call, chat, executed, results, running, streamed, words

TOOL = """{{tools: [{{name: search, context: [taxonomy, tenant], http: {{url: "{url}"}}, parameters: {{type: object,
  properties: {{query: {{type: string}}, taxonomy: {{type: string}}}}, required: [query], additionalProperties: false}}}}]}}"""
WHERE = "def where(what: str, place: str) -> str:\n    return f'{what} in {place}'\n"


@asynccontextmanager
async def with_sessions(model: Model) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream, ScriptedUpstream]]:
    async with ScriptedUpstream(reply_json("found")) as service:
        async with running(model, TOOL.format(url=service.url), before="session, ") as (gateway, upstream):
            yield gateway, upstream, service


async def made(gateway: RunningGateway, **context: Any) -> str:
    id: str = (await gateway.post("/v1/sessions", {"context": context})).json()["id"]
    return id


async def test_the_sessions_context_goes_over_what_the_model_wrote() -> None:
    model = Model(Turn("", [call("search", query="q", taxonomy="everything")]), Turn("x"))
    async with with_sessions(model) as (gateway, _, service):
        id = await made(gateway, taxonomy="support", tenant={"id": 7}, other="not asked for")
        await chat(gateway, session_id=id)
        assert service.requests[0].json() == {"query": "q", "taxonomy": "support", "tenant": {"id": 7}}


async def test_a_key_that_the_schema_does_not_name_is_merged_over_the_models_own_too() -> None:
    model = Model(Turn("", [call("search", query="q", taxonomy="everything")]), Turn("x"))
    async with ScriptedUpstream(reply_json("found")) as service:
        options = f'{{tools: [{{name: search, context: [taxonomy], http: {{url: "{service.url}"}}}}]}}'
        async with running(model, options, before="session, ") as (gateway, _):
            await chat(gateway, session_id=await made(gateway, taxonomy="support"))
            assert service.requests[0].json() == {"query": "q", "taxonomy": "support"}


async def test_without_a_session_or_its_key_nothing_is_merged() -> None:
    model = Model(Turn("", [call("search", query="q")]), Turn("x"))
    async with with_sessions(model) as (gateway, _, service):
        await chat(gateway)
        assert service.requests[0].json() == {"query": "q"}


async def test_a_call_by_hand_joins_by_its_body_or_the_header() -> None:
    async with with_sessions(Model()) as (gateway, _, service):
        id = await made(gateway, taxonomy="support")
        body = {"name": "search", "arguments": {"query": "q"}, "session_id": id}
        assert (await gateway.post("/v1/tools/execute", body)).json()["result"] == "found"
        await executed(gateway, "search", headers={"x-session-id": id}, query="q")
        await executed(gateway, "search", headers={"x-session-id": "the client's own"}, query="q")
        assert [request.json().get("taxonomy") for request in service.requests] == ["support", "support", None]
        unknown = await gateway.post("/v1/tools/execute", {**body, "session_id": "sess_unknown"})
        assert unknown.status == 404
        assert len(service.requests) == 3


async def test_context_that_the_schema_forbids_by_its_type_is_an_error() -> None:
    async with with_sessions(Model()) as (gateway, _, service):
        id = await made(gateway, taxonomy=5)
        body = {"name": "search", "arguments": {"query": "q"}, "session_id": id}
        answer = await gateway.post("/v1/tools/execute", body)
        assert answer.status == 400
        assert "taxonomy: 5 is not of type 'string'" in answer.json()["error"]["message"]
        assert service.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_the_history_holds_the_answer_and_no_call_of_ours(stream: bool) -> None:
    turns = (Turn("Let me see.", [call("search", query="q")]), Turn("It is there."), Turn("Again."))
    async with with_sessions(Model(*turns)) as (gateway, upstream, _):
        id = await made(gateway)
        if stream:
            assert words(await streamed(gateway, session_id=id)) == "Let me see.\n\nIt is there."
        else:
            await chat(gateway, session_id=id)
        kept = (await gateway.get(f"/v1/sessions/{id}")).json()["messages"]
        assert kept == [
            {"role": "user", "content": "please"},
            {"role": "assistant", "content": "Let me see.\n\nIt is there."},
        ]
        await chat(gateway, "and now?", session_id=id)
        told = upstream.requests[2].json()["messages"]
        assert [message["role"] for message in told] == ["user", "assistant", "user"]
        assert results(upstream.requests[2]) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_sessions_of_another_context_are_not_answered_from_one_cache(stream: bool) -> None:
    turns = (
        Turn("", [call("search", query="q")]),
        Turn("of support"),
        Turn("", [call("search", query="q")]),
        Turn("of sales"),
    )
    async with ScriptedUpstream(reply_json("found")) as service:
        options = TOOL.format(url=service.url)
        async with running(Model(*turns), options, before="session, cache, ") as (gateway, _):
            said = []
            for taxonomy in ("support", "sales", "support"):
                id = await made(gateway, taxonomy=taxonomy)
                if stream:
                    said.append(words(await streamed(gateway, session_id=id)))
                else:
                    said.append((await chat(gateway, session_id=id))["choices"][0]["message"]["content"])
            assert said == ["of support", "of sales", "of support"]
            assert [request.json()["taxonomy"] for request in service.requests] == ["support", "sales"]


async def test_a_functions_context_is_hidden_from_the_model_and_from_callers() -> None:
    options = '{tools: [{python: "w.py:where", context: [place]}]}'
    async with running(options=options, before="session, ", files={"w.py": WHERE}) as (gateway, _):
        shown = (await gateway.get("/v1/tools/where")).json()["parameters"]
        assert (list(shown["properties"]), shown["required"]) == (["what"], ["what"])
        id = await made(gateway, place="Rome")
        joined = {"x-session-id": id}
        assert (await executed(gateway, "where", headers=joined, what="art"))["result"] == "art in Rome"
        call_with = {"name": "where", "arguments": {"what": "art", "place": "Oslo"}}
        assert (await gateway.post("/v1/tools/execute", call_with, headers=joined)).status == 400
        missing = await executed(gateway, "where", what="art")
        assert "missing required field `place`" in missing["error"]


async def test_the_row_of_a_request_names_its_session() -> None:
    model = Model(Turn("", [call("add", a=1)]), Turn("x"))
    async with running(model, before="session, ", top="ledger: sqlite:rows.db") as (gateway, _):
        id = await made(gateway)
        await chat(gateway, session_id=id)
        await executed(gateway, "add", headers={"x-session-id": id}, a=1)
        await gateway.settled()
        ledger = gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        assert [row.session for row in await ledger.rows() if row.parent_id is None] == [id, id]
