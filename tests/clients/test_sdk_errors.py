"""What goes wrong upstream is the exception of the client's own package, before a stream and within it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import ollama
import openai
import pytest

from gateway.testing import Answer, Close, ReceivedRequest, Send, reply_bytes, reply_json, reply_sse
from tests.clients.beside import beside
from tests.clients.model import DIALECTS, STREAMED, Dialect, Said
from tests.clients.sdks import ASKED, SDKS, Ask

clients = pytest.mark.parametrize("client", DIALECTS)
targets = pytest.mark.parametrize("target", DIALECTS)
ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])

TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
TOLD = {400: 400, 401: 502, 404: 404, 422: 400, 429: 429, 500: 502, 503: 503}
"""What the client's status is for an upstream's; Anthropic's clients are told 529 for 503."""


def refusal(target: Dialect, status: int, message: str = "no such luck") -> Answer:
    kind = TYPES.get(status, "api_error")
    sent = 529 if target == "M" and status == 503 else status
    headers = [("retry-after", "7")] if status == 429 else []
    if target == "O":
        return reply_json({"error": message}, sent, headers)
    error: dict[str, Any] = {"type": kind, "message": message}
    if target == "M":
        return reply_json({"type": "error", "error": error, "request_id": "req_1"}, sent, headers)
    return reply_json({"error": {**error, "param": None, "code": None}}, sent, headers)


def raised(client: Dialect, error: Exception) -> tuple[int, str, Any]:
    """Return status, message and the package's class of an error."""
    if client == "O":
        assert isinstance(error, ollama.ResponseError), error
        return error.status_code, error.error, type(error)
    assert isinstance(error, openai.APIStatusError | anthropic.APIStatusError), error
    body: Any = error.body
    inner = body.get("error", body)
    return error.status_code, inner["message"], type(error)


CLASSES: dict[Dialect, dict[int, type[Exception]]] = {
    "C": {
        400: openai.BadRequestError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        502: openai.InternalServerError,
        503: openai.InternalServerError,
    },
    "M": {
        400: anthropic.BadRequestError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        502: anthropic.InternalServerError,
        529: anthropic.InternalServerError,
    },
}
CLASSES["R"] = CLASSES["C"]


@clients
@targets
@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
async def test_a_refusal_is_the_packages_own_exception(client: Dialect, target: Dialect, status: int) -> None:
    sdk = SDKS[client]
    stream = status in (400, 429, 503)  # asked for as a stream: still an ordinary refusal
    async with beside(target, lambda _: refusal(target, status)) as run:
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)) as failed:
            await sdk.ask(run.url, sdk.user("x"), Ask(stream=stream))
    told, message, kind = raised(client, failed.value)
    native = client == target or (client, target) == ("C", "R")
    wanted = 422 if status == 422 and client == target else TOLD[status]
    if client == "M" and wanted == 503:
        wanted = 529
    assert told == wanted, (native, message)
    if client != "O" and wanted in CLASSES[client]:
        assert issubclass(kind, CLASSES[client][wanted])
    if status in (400, 404, 429):
        assert "no such luck" in message
    if client != "O" and status == 429:
        assert failed.value.response.headers["retry-after"] == "7"  # type: ignore[attr-defined]


OVERFLOWS: dict[Dialect, str] = {
    "C": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "M": "prompt is too long: 210000 tokens > 200000 maximum",
    "R": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "O": "input length exceeds maximum context length",
}


@pytest.mark.parametrize("client", ["C", "R"])
@targets
async def test_a_prompt_that_is_too_long_has_one_code(client: Dialect, target: Dialect) -> None:
    sdk = SDKS[client]
    async with beside(target, lambda _: refusal(target, 400, OVERFLOWS[target])) as run:
        with pytest.raises(openai.BadRequestError) as failed:
            await sdk.ask(run.url, sdk.user("x"), Ask())
    if client != target:
        assert failed.value.code == "context_length_exceeded"


def cut(target: Dialect, said: Said) -> Answer:
    """A stream that stops after its first text, connection and all."""
    events: list[Any] = STREAMED[target](said)
    upto = next(n for n, event in enumerate(events) if "Half" in json.dumps(event)) + 1
    if target == "O":
        lines = [json.dumps(line).encode() + b"\n" for line in events[:upto]]
        return reply_sse([*lines, Close()], content_type="application/x-ndjson")
    named = [(event["type"], event) if "type" in event else event for event in events[:upto]]
    return reply_sse([*named, Close()])


@clients
@targets
async def test_a_stream_cut_short_is_never_a_finished_answer(client: Dialect, target: Dialect) -> None:
    sdk = SDKS[client]
    async with beside(target, lambda _: cut(target, Said(text="Half an answer, then nothing"))) as run:
        if client == "R":  # the package hands the failure over as an event
            async with sdk.client(run.url) as opened:
                kinds = [
                    event.type async for event in await opened.responses.create(model=ASKED, input="x", stream=True)
                ]
            assert kinds[-1] == "response.failed"
            assert "response.completed" not in kinds
            assert "response.output_text.delta" in kinds
            return
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)):
            await sdk.ask(run.url, sdk.user("x"), Ask(stream=True))


@clients
@targets
async def test_an_error_within_a_stream_is_raised(client: Dialect, target: Dialect) -> None:
    said = Said(text="Half an answer")
    events: list[Any] = STREAMED[target](said)
    upto = next(n for n, event in enumerate(events) if "Half" in json.dumps(event)) + 1
    error = {"type": "server_error", "message": "the model fell over", "code": "server_error", "param": None}
    told: dict[Dialect, Any] = {
        "C": {"error": error},
        "M": {"type": "error", "error": {"type": "overloaded_error", "message": "the model fell over"}},
        "R": {**error, "type": "error", "sequence_number": 99},
        "O": {"error": "the model fell over"},
    }

    def says(request: ReceivedRequest) -> Answer:
        listed = [*events[:upto], told[target]]
        if target == "O":
            return reply_sse(
                [json.dumps(line).encode() + b"\n" for line in listed], content_type="application/x-ndjson"
            )
        return reply_sse([(event["type"], event) if "type" in event else event for event in listed])

    sdk = SDKS[client]
    async with beside(target, says) as run:
        if client == "R":  # the package hands it over as an event
            async with sdk.client(run.url) as opened:
                got = [event async for event in await opened.responses.create(model=ASKED, input="x", stream=True)]
            assert got[-1].type == ("error" if target == "R" else "response.failed")
            assert "fell over" in got[-1].to_json()
            return
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)) as failed:
            await sdk.ask(run.url, sdk.user("x"), Ask(stream=True))
    assert "fell over" in str(failed.value)


@clients
@targets
@ways
async def test_a_web_page_is_a_bad_gateway(client: Dialect, target: Dialect, stream: bool) -> None:
    page = reply_bytes(b"<html>hello</html>", 200, [("content-type", "text/html")])
    sdk = SDKS[client]
    async with beside(target, lambda _: page) as run:
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)) as failed:
            await sdk.ask(run.url, sdk.user("x"), Ask(stream=stream))
    assert raised(client, failed.value)[0] == 502


@clients
async def test_nobody_listening_is_told_without_the_upstreams_address(client: Dialect) -> None:
    sdk = SDKS[client]
    async with beside("C", lambda _: [Send(b""), Close()]) as run:
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)) as failed:
            await sdk.ask(run.url, sdk.user("x"), Ask())
        host = run.upstream.url.removeprefix("http://")
    assert raised(client, failed.value)[0] == 502
    assert host not in str(failed.value)


@clients
async def test_whose_fault_an_error_was_is_told(client: Dialect) -> None:
    paths = {"C": "/v1/chat/completions", "M": "/v1/messages", "R": "/v1/responses", "O": "/api/chat"}
    body = {"model": ASKED, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    async with beside("C", lambda _: refusal("C", 400)) as run:
        theirs = await run.gateway.post(paths[client], body)
        ours = await run.gateway.post(paths[client], {})
    assert (theirs.status, theirs.headers["x-gateway-error-source"]) == (400, "upstream")
    assert (ours.status, ours.headers["x-gateway-error-source"]) == (400, "gateway")
