"""However it ends: whole, failed before or after the first word, in a later round, or because the client left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from gateway.testing import Answer, Gate, ReceivedRequest, Reset, RunningGateway, ScriptedUpstream, Stall, reply_json
from tests.tools.kit import Model, Turn, asked, call, executed, running, work

FAILED = reply_json({"error": {"message": "boom", "type": "server_error"}}, 500)
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
SERVICE = '{{tools: [{{name: wait, http: {{url: "{url}/wait"}}}}, {{python: "tools.py:add"}}]}}'
ROWS = "ledger: sqlite:rows.db"


def cut(request: ReceivedRequest) -> Answer:
    """Say one word of a stream and break."""
    event = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Half"}, "finish_reason": None}]}
    data = f"data: {json.dumps(event)}\n\n".encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, b"%x\r\n%b\r\n" % (len(data), data), Reset()]


async def rows_of(gateway: RunningGateway) -> tuple[Any, list[Any]]:
    """Return the parent's row and its children's."""
    await gateway.settled()
    ledger = gateway.core.snapshot.ledger
    assert ledger is not None
    await ledger.flush()
    rows = await ledger.rows()
    [parent] = [row for row in rows if row.parent_id is None]
    return parent, [row for row in rows if row.parent_id is not None]


@asynccontextmanager
async def waiting(
    model: Model, service: Any, **more: Any
) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream, Any]]:
    """Run a gateway with a tool whose service answers as scripted."""
    async with ScriptedUpstream(service) as tool:
        async with running(model, SERVICE.format(url=tool.url), top=ROWS, **more) as (gateway, upstream):
            yield gateway, upstream, tool


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failing", [1, 2])
async def test_an_upstream_that_fails_before_a_word_is_a_plain_error(failing: int, stream: bool) -> None:
    turns: list[Any] = [Turn("", [call("add", a=1)])] * (failing - 1) + [FAILED]
    async with running(Model(*turns), top=ROWS) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", asked(stream=stream))
        assert answer.status == 502
        assert answer.json()["error"]["message"]
        parent, children = await rows_of(gateway)
        assert (parent.status, parent.outcome) == (502, "failed")
        assert [child.outcome for child in children].count("failed") == 1
        assert len(children) == failing


@pytest.mark.parametrize("how", [FAILED, cut], ids=["refused", "cut"])
async def test_a_failure_in_round_two_of_a_stream_is_its_error_event(how: Any) -> None:
    second = how if isinstance(how, list) else how(None)
    model = Model(Turn("Let me see.", [call("add", a=1)]), second)
    async with running(model, top=ROWS) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", asked(stream=True))
        assert answer.status == 200
        text = answer.body.decode()
        assert '"Let me see."' in text
        assert "[DONE]" not in text
        last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
        assert last["error"]["type"] == "server_error"
        parent, children = await rows_of(gateway)
        assert parent.outcome == "failed"
        assert [child.outcome for child in children] in (["completed", "failed"], ["failed", "completed"])
        assert sum(child.prompt_tokens or 0 for child in children) >= 10
        assert not parent.prompt_tokens


async def test_a_cut_after_the_first_word_is_the_error_event() -> None:
    async with running(Model(cut(None))) as (gateway, upstream):  # type: ignore[arg-type]
        answer = await gateway.post("/v1/chat/completions", asked(stream=True))
        text = answer.body.decode()
        assert '"Half"' in text
        assert "[DONE]" not in text
        assert '"error"' in text
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_in_the_midst_of_a_call_ends_the_call(stream: bool) -> None:
    model = Model(Turn("Wait." if stream else "", [call("wait")]), Turn("never"))
    async with waiting(model, [Stall()]) as (gateway, upstream, tool):
        async with aiohttp.ClientSession() as session:
            url = f"{gateway.url}/v1/chat/completions"
            asking = asyncio.create_task(session.post(url, json=asked(stream=stream)))
            await tool.wait_for_request()
            if stream:
                response = await asking
                response.close()
            else:
                asking.cancel()
            await tool.wait_closed()
        parent, children = await rows_of(gateway)
        assert parent.outcome == "disconnected"
        assert [child.outcome for child in children] == ["completed"]
        assert [(one["name"], one["ok"]) for one in parent.tries if one.get("kind") == "tool"] == [("wait", False)]
        assert len(upstream.requests) == 1
        assert work(gateway) == [("wait", "cancelled")]


async def test_a_client_that_leaves_in_the_midst_of_round_two_ends_the_upstream() -> None:
    gate = Gate()
    model = Model(Turn("Wait.", [call("add", a=1)]), Turn("More", gate=gate))
    async with running(model, top=ROWS) as (gateway, upstream):
        async with aiohttp.ClientSession() as session:
            response = await session.post(f"{gateway.url}/v1/chat/completions", json=asked(stream=True))
            await gate.reached()
            response.close()
            await upstream.wait_closed(upstream.requests[1].connection)
        parent, children = await rows_of(gateway)
        assert parent.outcome == "disconnected"
        assert sorted(child.outcome for child in children) == ["completed", "disconnected"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_requests_deadline_ends_a_call_too(stream: bool) -> None:
    model = Model(Turn("", [call("wait")]), [Stall()])
    async with waiting(model, [Stall()]) as (gateway, _, tool):
        headers = {"x-gateway-timeout": "0.3"}
        answer = await gateway.post("/v1/chat/completions", asked(stream=stream), headers=headers)
        assert answer.status == 504
        assert answer.json()["error"]["code"] == "timeout"
        await tool.wait_closed()
        parent, _ = await rows_of(gateway)
        assert (parent.status, parent.error_code) == (504, "timeout")


@pytest.mark.parametrize("place", ["before", "after"])
async def test_the_total_holds_for_all_rounds_together_wherever_it_stands(place: str) -> None:
    around = {place: "{timeouts: {total: 300ms}}, " if place == "before" else ", {timeouts: {total: 300ms}}"}
    async with waiting(Model(Turn("", [call("wait")]), Turn("late")), [Stall()], **around) as (gateway, upstream, tool):
        answer = await gateway.post("/v1/chat/completions", asked())
        assert (answer.status, answer.json()["error"]["code"]) == (504, "timeout")
        await tool.wait_closed()
        assert len(upstream.requests) == 1


async def test_a_call_by_hand_ends_with_its_caller() -> None:
    async with waiting(Model(), [Stall()]) as (gateway, _, tool):
        async with aiohttp.ClientSession() as session:
            body = {"name": "wait", "arguments": {}}
            asking = asyncio.create_task(session.post(f"{gateway.url}/v1/tools/execute", json=body))
            await tool.wait_for_request()
            asking.cancel()
            await tool.wait_closed()
        await gateway.settled()
        assert (await executed(gateway, "add", a=1))["success"]


async def test_words_are_streamed_while_tools_run() -> None:
    gate = Gate()
    model = Model(Turn("Let me see.", [call("wait")]), Turn("Done."))
    async with waiting(model, [[gate, *reply_json(1)]]) as (gateway, _, tool):
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{gateway.url}/v1/chat/completions", json=asked(stream=True)) as response:
                before = b""
                while b"Let me see." not in before:
                    before += await response.content.readany()
                await gate.reached()  # the tool runs, and has not answered
                assert b"Done." not in before
                gate.open()
                rest = await response.content.read()
        assert b"Done." in rest
        assert b"[DONE]" in rest
        assert len(tool.requests) == 1
