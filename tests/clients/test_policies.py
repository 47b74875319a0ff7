"""What stands around the translation, seen from outside: notices, names, headers, limits, ids."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from gateway.dialects.table import DIALECTS as TABLE
from gateway.testing import Answer, ReceivedRequest, ScriptedUpstream, Send, reply_json, reply_sse
from tests.clients.beside import beside
from tests.clients.model import DIALECTS, Dialect, Said, answer, chat_plain
from tests.clients.sdks import SDKS, Ask, Tool

clients = pytest.mark.parametrize("client", DIALECTS)
targets = pytest.mark.parametrize("target", DIALECTS)
ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
PATHS: dict[Dialect, str] = {"C": "/v1/chat/completions", "M": "/v1/messages", "R": "/v1/responses", "O": "/api/chat"}


def body_of(client: Dialect, stream: bool = False, **more: Any) -> dict[str, Any]:
    turn: dict[str, Any] = {"input": "x"} if client == "R" else {"messages": [{"role": "user", "content": "x"}]}
    return {"model": "asked-model", **turn, **({"max_tokens": 9} if client == "M" else {}), "stream": stream, **more}


def events_of(client: Dialect, body: bytes) -> list[dict[str, Any]]:
    lines = body.decode().splitlines()
    if client == "O":
        return [json.loads(line) for line in lines if line.strip()]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def models_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["model"]} if isinstance(value.get("model"), str) else set()
        return found.union(*map(models_in, value.values()))
    return set().union(*map(models_in, value)) if isinstance(value, list) else set()


@clients
@targets
@ways
@pytest.mark.parametrize("echo", ["requested", "upstream"])
async def test_the_answer_names_one_model_throughout(client: Dialect, target: Dialect, stream: bool, echo: str) -> None:
    async with beside(target, Said(text="some words"), model_echo=echo) as run:
        got = await run.gateway.post(PATHS[client], body_of(client, stream))
    answers = events_of(client, got.body) if stream else [got.json()]
    assert models_in(answers) == {"asked-model" if echo == "requested" else "real-model"}


@pytest.mark.parametrize("client", ["C", "M", "R"])
@targets
async def test_a_stream_has_one_id_and_one_time(client: Dialect, target: Dialect) -> None:
    async with beside(target, Said(text="some words", thinking="hm")) as run:
        got = await run.gateway.post(PATHS[client], body_of(client, True))
        plain = await run.gateway.post(PATHS[client], body_of(client, False))
    events = events_of(client, got.body)
    if client == "C":
        assert len({event["id"] for event in events}) == 1
        assert len({event["created"] for event in events} - {0}) == 1
    elif client == "R":
        whole = [event["response"] for event in events if "response" in event]
        assert len({one["id"] for one in whole}) == 1
        assert len({one["created_at"] for one in whole} - {0}) == 1
    else:
        assert next(event["message"]["id"] for event in events if event["type"] == "message_start").startswith("msg_")
    assert plain.json()["id"]


ODD: dict[Dialect, tuple[dict[str, Any], Dialect, str]] = {
    "C": ({"logit_bias": {"5": 1}}, "M", "logit_bias"),
    "M": ({"top_k": 4}, "C", "top_k"),
    "R": ({"max_tool_calls": 3}, "M", "max_tool_calls"),
    "O": ({"options": {"mirostat": 1}}, "C", "mirostat"),
}


@pytest.mark.parametrize("client", ODD)
async def test_a_field_the_target_cannot_take_is_dropped_with_notice_or_refused(client: Dialect) -> None:
    more, target, name = ODD[client]
    async with beside(target, Said(text="ok")) as run:
        got = await run.gateway.post(PATHS[client], body_of(client, **more))
        assert got.status == 200
        assert got.headers["x-gateway-dropped"] == name
        assert name not in run.sent().json()
    async with beside(target, Said(text="ok"), on_unsupported="warn") as run:
        await run.gateway.post(PATHS[client], body_of(client, **more))
        assert [line["fields"] for line in run.gateway.events("fields_dropped")] == [[name]]
    async with beside(target, Said(text="ok"), on_unsupported="error") as run:
        got = await run.gateway.post(PATHS[client], body_of(client, **more))
        assert got.status == 400
        assert name in json.dumps(got.json()["error"])
        assert run.upstream.requests == []


@pytest.mark.parametrize("client", ["C", "M", "R", "O"])
async def test_the_same_field_passes_on_its_own_dialect(client: Dialect) -> None:
    more, _, name = ODD[client]
    async with beside(client, Said(text="ok"), on_unsupported="error") as run:
        got = await run.gateway.post(PATHS[client], body_of(client, **more))
    assert got.status == 200
    assert "x-gateway-dropped" not in got.headers
    assert name in json.dumps(run.sent().json())


def limited(request: ReceivedRequest) -> Answer:
    headers = [
        ("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"), ("retry-after-ms", "1500"), ("set-cookie", "a=b"), ("server", "secret"),
        ("cf-ray", "1"), ("x-request-id", "theirs"),
    ]  # fmt: skip
    error = {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    if request.json()["messages"][0]["content"] == "limit":
        return reply_json({"error": error}, 429, headers)
    return reply_json(chat_plain(Said(text="ok")), 200, headers)


@pytest.mark.parametrize("says", ["x", "limit"])
async def test_an_upstreams_limits_are_told_in_the_clients_words(says: str) -> None:
    async with beside("C", limited) as run:
        body = {**body_of("M"), "messages": [{"role": "user", "content": says}]}
        got = await run.gateway.post("/v1/messages", body)
    assert got.status == (429 if says == "limit" else 200)
    assert got.headers["anthropic-ratelimit-requests-limit"] == "60"
    assert got.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert got.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert not {"x-ratelimit-limit-requests", "set-cookie", "cf-ray"} & {name.lower() for name in got.headers}
    assert "secret" not in str(got.headers)
    assert got.headers["request-id"] == got.headers["x-request-id"] != "theirs"
    if says == "limit":
        assert (got.headers["retry-after"], got.headers["retry-after-ms"]) == ("2", "1500")
        assert got.json()["error"]["type"] == "rate_limit_error"


@clients
@targets
async def test_the_clients_key_and_version_stay_here(client: Dialect, target: Dialect) -> None:
    headers = {
        "authorization": "Bearer sk-client-secret", "x-api-key": "sk-client-secret", "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b", "cookie": "sk-client-secret",
    }  # fmt: skip
    async with beside(target, Said(text="ok")) as run:
        got = await run.gateway.post(PATHS[client], body_of(client), headers=headers)
    assert got.status == 200
    sent = run.sent()
    assert "sk-client-secret" not in str(sent.headers)
    credential = sent.header("x-api-key") if target == "M" else sent.header("authorization")
    assert "key-of-upstream-0001" in credential
    if target == "M":
        assert sent.header("anthropic-version") == ("2026-10-21" if client == "M" else "2023-06-01")
    assert sent.header("anthropic-beta") == ("a,b" if client == target == "M" else "")


@clients
@targets
async def test_three_hundred_tools_and_a_large_schema_arrive_whole(client: Dialect, target: Dialect) -> None:
    properties = {f"field_{n}": {"type": "string", "description": "d" * 40, "enum": ["a", "b"]} for n in range(700)}
    tools = tuple(Tool(f"tool_{n}", {"type": "object", "properties": {}}) for n in range(299))
    large = Tool("large", {"type": "object", "properties": properties, "additionalProperties": False})
    sdk = SDKS[client]
    async with beside(target, Said(text="ok")) as run:
        await sdk.ask(run.url, sdk.user("x"), Ask(tools=(*tools, large)))
    sent = run.sent().json()["tools"]
    assert len(sent) == 300
    last = sent[-1].get("function", sent[-1])
    schema = last.get("parameters") or last["input_schema"]
    assert len(schema["properties"]) == 700
    assert schema["properties"]["field_7"] == properties["field_7"]


TAGGED = "<think>\nA thought.</think>\n\nThe answer."


@clients
@pytest.mark.parametrize("target", ["C", "O"])
@ways
async def test_thinking_in_tags_is_told_apart_where_the_provider_says_so(
    client: Dialect, target: Dialect, stream: bool
) -> None:
    """Also on the same dialect, which is then no longer verbatim."""
    sdk = SDKS[client]
    async with beside(target, Said(text=TAGGED), quirks="{think_tags: true}") as run:
        got = await sdk.ask(run.url, sdk.user("x"), Ask(stream=stream))
    assert (got.thinking, got.text) == ("\nA thought.", "The answer.")
    async with beside(target, Said(text=TAGGED)) as run:
        assert (await sdk.ask(run.url, sdk.user("x"), Ask(stream=stream))).text == TAGGED


async def test_an_image_of_four_megabytes_goes_through_any_pair() -> None:
    picture = "QUJD" * (1 << 20)
    for client in DIALECTS:
        for target in DIALECTS:
            async with beside(target, Said(text="seen")) as run:
                sdk = SDKS[client]
                got = await sdk.ask(run.url, sdk.user("look", picture), Ask())
                assert got.text == "seen"
                assert run.sent().body.count(picture[:4096].encode()) >= 1
                assert len(run.sent().body) < len(picture) + 2000


@pytest.mark.parametrize("client", ["C", "M", "R"])
async def test_what_the_model_writes_as_arguments_is_kept_or_becomes_an_empty_object(client: Dialect) -> None:
    """G09: invalid JSON from a model is no fault of the client's: text stays text, an object must be one."""
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}],
    }
    plain = {**chat_plain(Said(text="x")), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    async with beside("C", lambda _: reply_json(plain)) as run:
        got = await run.gateway.post(PATHS[client], body_of(client))
    assert got.status == 200
    said = got.json()
    if client == "M":
        assert said["content"][0]["input"] == {}
    else:
        assert '{\\"a\\": ' in got.body.decode()


async def test_a_stream_that_is_asked_for_plain_answers_is_still_read() -> None:
    """Some servers stream whatever `stream` says; that is no answer to a plain request."""
    async with beside("C", lambda _: reply_sse(["[DONE]"])) as run:
        got = await run.gateway.post(PATHS["M"], body_of("M"))
    assert got.status == 502


@clients
async def test_the_packages_pass_over_keep_alives(client: Dialect) -> None:
    """A21: what the gateway writes while upstream is silent, before the first event and between two."""
    names: dict[Dialect, str] = {"C": "openai_chat", "M": "anthropic", "R": "openai_responses", "O": "ollama"}
    keep_alive = TABLE[names[client]].keep_alive
    assert keep_alive
    if client == "M":
        assert keep_alive.startswith(b"event: ping\n")

    def says(request: ReceivedRequest) -> Answer:
        head, *events = cast("list[Any]", answer(request, Said(text="some words")))
        silence = Send(b"%x\r\n%b\r\n" % (len(keep_alive), keep_alive))
        return [head, *(step for event in events[:-1] for step in (silence, event)), events[-1]]

    sdk = SDKS[client]
    async with ScriptedUpstream(says) as upstream:
        got = await sdk.ask(upstream.url, sdk.user("x"), Ask(stream=True))
    assert got.text == "some words"
