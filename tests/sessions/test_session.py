"""Sessions: made, joined from every dialect, kept apart, and stored before the last byte is let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import ollama
import openai
import pytest

from gateway.errors import ConfigError
from gateway.testing import (
    ManualClock,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)

WHO = """
    from gateway.plugin import Plugin, Principal

    class Who(Plugin):
        async def identify(self, request):
            return Principal(request.headers.get("x-who", "ann"))
"""
CONFIG = """
plugins: [who, session: {options}]
providers: {{up: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""


def said(request: ReceivedRequest) -> list[tuple[str, str]]:
    """Return the messages an upstream was sent, as (role, text)."""
    found = []
    for message in json.loads(request.body)["messages"]:
        content = message.get("content") or ""
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        found.append((message["role"], text + "".join(f"<{call['id']}>" for call in message.get("tool_calls", []))))
    return found


def answer(request: ReceivedRequest) -> Any:
    """Answer with the number of messages that came, streamed when asked."""
    body = json.loads(request.body)
    text = f"saw {len(body['messages'])}"
    if body.get("stream"):
        chunks: list[Any] = [
            {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
            for word in (text[:4], text[4:])
        ]
        chunks.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        return reply_sse([*chunks, "[DONE]"])
    return reply_json(
        {
            "id": "c",
            "object": "chat.completion",
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )


@asynccontextmanager
async def running(
    options: str = "{}", script: Any = answer, clock: Any = None
) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(CONFIG.format(url=upstream.url, options=options), plugins={"who": WHO}, clock=clock) as gateway,
    ):
        yield gateway, upstream


async def made(gateway: RunningGateway, body: Any = None, **headers: str) -> str:
    created = await gateway.post("/v1/sessions", body, headers=headers)
    assert created.status == 201
    id: str = created.json()["id"]
    return id


async def turn(gateway: RunningGateway, id: str, text: str, **more: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "session_id": id, **more}
    return await gateway.post("/v1/chat/completions", body)


async def test_a_session_is_made_shown_and_deleted() -> None:
    async with running(clock=ManualClock()) as (gateway, _):
        created = await gateway.post("/v1/sessions", {"ttl_seconds": 60, "context": {"taxonomy": ["a", 1, None]}})
        assert created.status == 201
        body = created.json()
        id = body.pop("id")
        assert id.startswith("sess_")
        assert body == {
            "messages": [],
            "context": {"taxonomy": ["a", 1, None]},
            "created_at": 1_800_000_000,
            "expires_at": 1_800_000_060,
        }
        shown = await gateway.get(f"/v1/sessions/{id}")
        assert (shown.status, shown.json()) == (200, {"id": id, **body})
        assert (await gateway.request("DELETE", f"/v1/sessions/{id}")).status == 204
        assert (await gateway.get(f"/v1/sessions/{id}")).status == 404
        assert (await gateway.request("DELETE", f"/v1/sessions/{id}")).status == 404


async def test_a_turn_brings_the_turns_before_it_after_the_system_prompt() -> None:
    async with running() as (gateway, upstream):
        id = await made(gateway)
        assert (await turn(gateway, id, "first")).json()["choices"][0]["message"]["content"] == "saw 1"
        system = {"role": "system", "content": "be brief"}
        body = {"model": "m", "session_id": id, "messages": [system, {"role": "user", "content": "second"}]}
        assert (await gateway.post("/v1/chat/completions", body)).status == 200
        assert said(upstream.requests[1]) == [
            ("system", "be brief"),
            ("user", "first"),
            ("assistant", "saw 1"),
            ("user", "second"),
        ]
        assert all("session_id" not in json.loads(request.body) for request in upstream.requests)
        shown = (await gateway.get(f"/v1/sessions/{id}")).json()["messages"]
        assert shown == [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "saw 1"},
            {"role": "user", "content": "second"},
            {"role": "assistant", "content": "saw 4"},
        ]


async def test_one_conversation_goes_on_through_every_dialect_plain_and_streamed() -> None:
    async with running() as (gateway, upstream):
        id = await made(gateway)
        headers = {"x-session-id": id}
        chat = openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="k", default_headers=headers)
        claude = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="k", default_headers=headers)
        llama = ollama.AsyncClient(host=gateway.url, headers=headers)
        first = await chat.chat.completions.create(model="m", messages=[{"role": "user", "content": "one"}])
        assert first.choices[0].message.content == "saw 1"
        async with claude.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "two"}]
        ) as stream:
            assert await stream.get_final_text() == "saw 3"
        third = await llama.chat(model="m", messages=[{"role": "user", "content": "three"}])
        assert third.message.content == "saw 5"
        fourth = await chat.responses.create(model="m", input="four", extra_body={"session_id": id})
        assert fourth.output_text == "saw 7"
        text = ""
        async for piece in await chat.chat.completions.create(
            model="m", stream=True, messages=[{"role": "user", "content": "five"}]
        ):
            text += piece.choices[0].delta.content or ""
        assert text == "saw 9"
        assert [each for each in said(upstream.requests[-1]) if each[0] == "user"] == [
            ("user", word) for word in ("one", "two", "three", "four", "five")
        ]
        await chat.close()
        await claude.close()


async def test_the_next_turn_sent_at_the_last_byte_finds_the_one_before() -> None:
    async with running() as (gateway, upstream):
        id = await made(gateway)
        for number in range(50):
            assert (await turn(gateway, id, f"turn {number}", stream=True)).body.endswith(b"data: [DONE]\n\n")
            assert len(said(upstream.requests[-1])) == min(2 * number + 1, 201)


async def test_turns_at_the_same_time_lose_nothing_and_stay_whole() -> None:
    async with running() as (gateway, _):
        id = await made(gateway)
        await asyncio.gather(*(turn(gateway, id, f"turn {number}") for number in range(20)))
        shown = (await gateway.get(f"/v1/sessions/{id}")).json()["messages"]
        assert len(shown) == 40
        assert [message["role"] for message in shown] == ["user", "assistant"] * 20
        assert {message["content"] for message in shown[::2]} == {f"turn {number}" for number in range(20)}


@pytest.mark.parametrize("how", ["body", "header", "path"])
async def test_a_foreign_or_unknown_session_is_not_found(how: str) -> None:
    async with running() as (gateway, upstream):
        id = await made(gateway)
        for who, name in (("bob", id), ("ann", "sess_unknown"), ("ann", "sess_" + "x" * 200)):
            headers = {"x-who": who}
            if how == "path":
                refused = await gateway.get(f"/v1/sessions/{name}", headers=headers)
            else:
                body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
                if how == "body":
                    body["session_id"] = name
                else:
                    headers["x-session-id"] = name
                refused = await gateway.post("/v1/chat/completions", body, headers=headers)
            assert refused.status == 404
            assert refused.json()["error"]["code"] == "not_found"
        assert upstream.requests == []


async def test_a_session_header_of_a_clients_own_is_only_a_hint() -> None:
    async with running() as (gateway, upstream):
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        answered = await gateway.post("/v1/chat/completions", body, headers={"x-session-id": "my-own"})
        assert answered.status == 200
        assert len(said(upstream.requests[0])) == 1


async def test_a_session_ends_after_its_time_and_each_turn_begins_it_anew() -> None:
    clock = ManualClock()
    config = """
    plugins: [session: {ttl: 100s}]
    providers: {echo: {}}
    routes: [{name: all, targets: [echo/echo]}]
    """
    async with running_gateway(config, clock=clock) as gateway:
        id = await made(gateway)
        for _ in range(3):
            clock.advance(90)
            assert (await turn(gateway, id, "x")).status == 200
        assert (await gateway.get(f"/v1/sessions/{id}")).json()["expires_at"] == int(clock.time()) + 100
        clock.advance(101)
        assert (await turn(gateway, id, "x")).status == 404
        assert (await gateway.get(f"/v1/sessions/{id}")).status == 404


async def test_trimming_never_parts_a_call_from_its_result() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    def script(request: ReceivedRequest) -> Any:
        last = json.loads(request.body)["messages"][-1]
        message: dict[str, Any] = {"role": "assistant", "content": "done"}
        if last["role"] == "user" and last["content"] == "call":
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        finish = "tool_calls" if "tool_calls" in message else "stop"
        return reply_json({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]})

    async with running("{max_messages: 4}", script) as (gateway, upstream):
        id = await made(gateway)
        await turn(gateway, id, "before")
        await turn(gateway, id, "call")
        result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
        body = {"model": "m", "session_id": id, "messages": [result]}
        assert (await gateway.post("/v1/chat/completions", body)).status == 200
        assert said(upstream.requests[2])[-3:] == [("user", "call"), ("assistant", "<call_1>"), ("tool", "42")]
        await turn(gateway, id, "after")
        # Of the last four messages a result without its call would be the first but one: the whole turn goes.
        assert said(upstream.requests[3]) == [
            ("user", "call"),
            ("assistant", "<call_1>"),
            ("tool", "42"),
            ("assistant", "done"),
            ("user", "after"),
        ]
        await turn(gateway, id, "last")
        assert said(upstream.requests[4]) == [("user", "after"), ("assistant", "done"), ("user", "last")]


async def test_a_turn_that_failed_or_was_left_is_not_kept() -> None:
    cut = reply_sse(
        [{"id": "c", "choices": [{"index": 0, "delta": {"content": "half"}}]}], terminated=True
    )  # no finish: the answer is cut
    async with running(script=[cut, reply_json({"error": {"message": "no"}}, status=400)]) as (gateway, _):
        id = await made(gateway)
        assert b"stream_truncated" in (await turn(gateway, id, "one", stream=True)).body
        assert (await turn(gateway, id, "two")).status == 400
        assert (await gateway.get(f"/v1/sessions/{id}")).json()["messages"] == []


async def test_a_deleted_session_is_not_brought_back_by_a_turn_under_way() -> None:
    async with running() as (gateway, _):
        id = await made(gateway)
        deleting = asyncio.create_task(gateway.request("DELETE", f"/v1/sessions/{id}"))
        answers = await asyncio.gather(*(turn(gateway, id, "x") for _ in range(10)))
        assert (await deleting).status == 204
        assert {each.status for each in answers} <= {200, 404}
        assert (await gateway.get(f"/v1/sessions/{id}")).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"ttl_seconds": 0}', "ttl_seconds"),
        (b'{"ttl_seconds": "60"}', "ttl_seconds"),
        (b'{"ttl_seconds": true}', "ttl_seconds"),
        (b'{"ttl_seconds": 1e300}', "ttl_seconds"),
        (b'{"context": []}', "context"),
        (b'{"contxt": {}}', "contxt"),
        (b"[]", None),
        (b"{", None),
        (b'{"context": {"x": "' + b"a" * 300_000 + b'"}}', "context"),
    ],
)
async def test_a_wrong_session_is_refused_with_its_field(body: bytes, field: str | None) -> None:
    async with running() as (gateway, _):
        refused = await gateway.post("/v1/sessions", body=body)
        assert refused.status == 400
        assert refused.json()["error"]["param"] == field


async def test_a_session_id_that_is_no_string_is_refused() -> None:
    async with running() as (gateway, _):
        assert (await turn(gateway, 7, "x")).status == 400  # type: ignore[arg-type]
        body = {"model": "m", "session_id": None, "messages": [{"role": "user", "content": "x"}]}
        assert (await gateway.post("/v1/chat/completions", body)).status == 200


async def test_a_ttl_that_no_session_outlives_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="ttl ends a session before its first turn; write 1s") as told:
        async with running_gateway("plugins: [{session: {ttl: 0s}}]\nroutes: [{name: e, targets: [echo/echo]}]"):
            pass
    assert "plugins[0]: ttl" in str(told.value)
