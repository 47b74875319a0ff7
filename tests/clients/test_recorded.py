"""What real programs were seen to send, replayed byte for byte at targets of every dialect.

`recorded/claude_code*.json` and `codex.json` are written by `record.py`; `others.json` holds what the clients of the
project's survey send (November 2026), one request each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.testing import Answer, ClientAnswer, ReceivedRequest, RunningGateway, reply_json
from tests.clients.beside import Beside, beside
from tests.clients.model import DIALECTS, Dialect, Said

FOLDER = Path(__file__).parent / "recorded"
PROGRAMS = ("claude_code", "claude_code_adaptive", "codex")
KINDS = {"/v1/chat/completions": "C", "/chat/completions": "C", "/v1/responses": "R", "/api/chat": "O"}
SAID = Said(text="Hello there.", thinking="Hm.", prompt=30, completion=9)


def read(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return found


def client_of(request: dict[str, Any]) -> Dialect | None:
    """Return the dialect of a chat, None for anything else."""
    path = request["path"].partition("?")[0]
    if request["method"] != "POST" or "count_tokens" in path:
        return None
    return "M" if path.endswith("/messages") else KINDS.get(path)  # type: ignore[return-value]


async def replay(gateway: RunningGateway, request: dict[str, Any]) -> ClientAnswer:
    body: Any = None
    if "multipart" in request:
        body = aiohttp.FormData()
        for part in request["multipart"]:
            body.add_field(part["name"], part["value"], filename=part.get("filename"), content_type=part.get("type"))
    elif "body" in request:
        body = json.dumps(request["body"], ensure_ascii=False).encode()
    headers = dict(request["headers"])
    if isinstance(body, bytes):
        headers.setdefault("content-type", "application/json")
    url = gateway.url + request["path"]
    async with gateway.session.request(request["method"], url, data=body, headers=headers) as got:
        return ClientAnswer(got.status, got.headers, await got.read())


def check_chat(client: Dialect, request: dict[str, Any], got: ClientAnswer) -> None:
    """Hold status, content type, the words said, and the end that says success."""
    assert got.status == 200, got.body
    text = got.body.decode()
    streamed = request["body"].get("stream", client == "O")
    kind = got.headers["content-type"].partition(";")[0]
    if not streamed:
        assert kind == "application/json"
        assert "Hello there." in text
        return
    assert kind == ("application/x-ndjson" if client == "O" else "text/event-stream")
    last = [block for block in text.split("\n" if client == "O" else "\n\n") if block.strip()][-1]
    assert {"C": "data: [DONE]", "M": "message_stop", "R": '"response.completed"', "O": '"done":true'}[
        client
    ] in last.replace(" ", "").replace("data:[", "data: [")
    for word in ("Hell", "o th", "ere."):  # as `pieces` cuts it
        assert word in text


CHATS = [
    pytest.param(request, id=f"{name}-{number}")
    for name in PROGRAMS
    for number, request in enumerate(read(name))
    if client_of(request)
] + [pytest.param(request, id=request["who"]) for request in read("others") if client_of(request)]


def same_dialect(client: Dialect, target: Dialect) -> bool:
    return client == target


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("request_", CHATS)
async def test_a_recorded_chat_is_answered(request_: dict[str, Any], target: Dialect) -> None:
    client = client_of(request_)
    assert client is not None
    async with beside(target, SAID) as run:
        got = await replay(run.gateway, request_)
        check_chat(client, request_, got)
        await run.gateway.settled()
        [line] = run.gateway.events("request")
    asked = request_["body"]
    # Nothing in this route needs the usage: where the client did not ask for it, it is not asked for (P14) but counted.
    untold = client == target == "C" and asked.get("stream") and "stream_options" not in asked
    assert line["completion_tokens"] == (4 if untold else 9)
    assert line["prompt_tokens"] == 30 or (untold and line["prompt_tokens"] > 0)
    sent = run.sent()
    assert sent.header("accept-encoding") == "identity"
    assert "KEY" not in (sent.header("authorization") + sent.header("x-api-key")).replace("key-of-upstream", "")
    body = sent.json()
    if same_dialect(client, target):
        given = {**request_["body"], "model": body["model"]}
        body.pop("stream_options", None)  # usage for the ledger
        given.pop("stream_options", None)
        assert body == given, "verbatim"
        assert "x-gateway-dropped" not in got.headers
        if "?" in request_["path"]:
            assert sent.path.endswith("?" + request_["path"].partition("?")[2])
        for name in ("anthropic-beta", "anthropic-version"):
            if name in request_["headers"]:
                assert sent.header(name) == request_["headers"][name]
    else:
        assert "?" not in sent.path
        assert sent.header("anthropic-beta") == ""
        if target == "M":
            assert sent.header("anthropic-version") == "2023-06-01"
            assert body["max_tokens"] >= 1


@pytest.mark.parametrize("target", ["C", "M", "O"])
async def test_codexs_tools_of_other_kinds_are_left_out_with_notice(target: Dialect) -> None:
    request = next(one for one in read("codex") if one["method"] == "POST")
    assert any(tool["type"] == "namespace" for tool in request["body"]["tools"])
    async with beside(target, SAID) as run:
        got = await replay(run.gateway, request)
    dropped = got.headers["x-gateway-dropped"].split(", ")
    assert "namespace" in dropped
    assert "namespace" not in json.dumps(run.sent().json().get("tools"))


@pytest.mark.parametrize("target", ["C", "R", "O"])
async def test_claude_codes_system_among_the_messages_keeps_its_place(target: Dialect) -> None:
    [request] = [one for one in read("others") if one["who"] == "Claude Code with system among the messages"]
    async with beside(target, SAID) as run:
        await replay(run.gateway, request)
    body = run.sent().json()
    told = [json.dumps(one, ensure_ascii=False) for one in body.get("messages") or body["input"]]
    places = [next(n for n, text in enumerate(told) if words in text) for words in ("hello", "Mode: plan.", "go on")]
    assert places == sorted(places)


async def test_a_stream_without_include_usage_has_no_usage_chunk() -> None:
    [request] = [one for one in read("others") if one["who"].startswith("LangChain streams")]
    for target in DIALECTS:
        async with beside(target, SAID) as run:
            got = await replay(run.gateway, request)
        events = [json.loads(line[6:]) for line in got.body.decode().splitlines() if line.startswith("data: {")]
        assert all(event["choices"] for event in events)
        assert not any(event.get("usage") for event in events)


# --- what is no chat -------------------------------------------------------------------------------

ELSE = {request["who"]: request for request in read("others") if not client_of(request)}
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5]}
ANSWERS = {
    "/v1/embeddings": {"object": "list", "data": [VECTOR], "model": "m", "usage": {"prompt_tokens": 1}},
    "/api/embed": {"model": "m", "embeddings": [[0.5]], "prompt_eval_count": 1},
    "/v1/audio/transcriptions": {"text": "hello"},
    "/v1/moderations": {"id": "modr-1", "model": "m", "results": []},
    "/v1/images/generations": {"created": 1, "data": [{"b64_json": "AA=="}]},
    "/v1/completions": {
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": " upon", "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    "/v1/messages/count_tokens": {"input_tokens": 8},
    "/api/show": {"capabilities": ["completion"]},
}  # fmt: skip
ANYWHERE = {
    "Claude Code looks whether the server is there": 200,
    "Claude Code says hello": 200,
    "Claude Code lists models": 200,
    "Claude Code counts": 200,
    "litellm asks what a model can": 200,
    "Open WebUI lists models": 200,
    "Open WebUI lists what runs": 200,
    "ollama's version": 200,
}
ONLY_OPENAI = {
    "LangChain embeds token ids": 400,
    "openai-python transcribes": 400,
    "openai-python moderates": 400,
    "openai-python draws": 400,
    "openai-python completes": 400,
}
"""What a target of another dialect is not asked at all: the client is told so."""
OLLAMA_TOO = {"openai-python embeds": 200}


def upstream(request: ReceivedRequest) -> Answer:
    return reply_json(ANSWERS[request.path.partition("?")[0]])


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("who", ELSE)
async def test_a_recorded_request_that_is_no_chat_is_answered_or_refused(who: str, target: Dialect) -> None:
    request = ELSE[who]
    async with beside(target, upstream) as run:
        got = await replay(run.gateway, request)
    served = target in "CR" or (target == "O" and who in OLLAMA_TOO)
    if who in ANYWHERE:
        assert got.status == 200, got.body
    elif served or (target == "O" and passes_to_ollama(request, run)):
        assert got.status == 200, got.body
        check_answer(who, got, run)
    else:
        assert got.status == 400, got.body
        assert got.json()["error"]["type"] == "invalid_request_error"


def passes_to_ollama(request: dict[str, Any], run: Beside) -> bool:
    """Return whether Ollama was asked under its own /v1, which serves some of OpenAI's paths."""
    return bool(run.upstream.requests) and run.sent().path == request["path"]


def check_answer(who: str, got: ClientAnswer, run: Beside) -> None:
    if "embeds" in who:
        assert got.json()["data"][0]["embedding"] == "AAAAPw=="
    if who == "openai-python transcribes":
        assert got.json() == {"text": "hello"}
        body = run.sent().body
        assert b"RIFF0000WAVE" in body and b"real-model" in body and b"whisper-1" not in body


async def test_codexs_websocket_is_refused_at_once() -> None:
    [request] = [one for one in read("codex") if one["method"] == "GET"]
    assert any(name.lower() == "upgrade" for name in request["headers"])
    async with beside("R", SAID) as run:
        got = await replay(run.gateway, request)
    assert got.status == 426
    assert run.upstream.requests == []


async def test_session_headers_of_clients_are_hints_and_no_sessions() -> None:
    """opencode's and Codex's own ids are not ours: they are neither refused nor looked up."""
    for name, number in (("others", 0), ("codex", 0)):
        chats = [
            one for one in read(name) if client_of(one) and any("session" in key.lower() for key in one["headers"])
        ]
        async with beside("C", SAID) as run:
            got = await replay(run.gateway, chats[number])
        assert got.status == 200
        assert run.sent().header("x-session-id") == ""
