"""What is no chat, at targets of the other dialects: counts are estimated, embeddings translated and packed."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import openai
import pytest
from anthropic import BadRequestError, NotFoundError

from gateway.testing import Answer, ReceivedRequest, reply_bytes, reply_json, running_gateway
from tests.clients.beside import MODELS, beside
from tests.clients.model import DIALECTS, MODEL, Dialect, Said
from tests.clients.sdks import ASKED, SDKS

targets = pytest.mark.parametrize("target", DIALECTS)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PROSE = "The quick brown fox jumps over the lazy dog, and then it sleeps. " * 20
TOOL = {"name": "get_weather", "description": "Say it.", "input_schema": {"type": "object", "properties": {}}}


def never(request: ReceivedRequest) -> Answer:
    raise AssertionError(f"upstream was asked {request.path}")


@pytest.mark.parametrize("target", ["C", "R", "O"])
async def test_count_tokens_is_estimated_where_it_is_not_served(target: Dialect) -> None:
    async with beside(target, never) as run, SDKS["M"].client(run.url) as client:
        count = client.messages.with_raw_response.count_tokens
        message: dict[str, Any] = {"role": "user", "content": PROSE}
        raw = await count(model=ASKED, messages=[message])
        bare = (await raw.parse()).input_tokens
        assert raw.headers["x-gateway-estimated"] == "true"
        assert raw.headers["x-gateway-target"] == f"up/{MODELS[target]}"
        # 14 words and two marks a sentence, 20 sentences: GPT-4o counts 301, Claude a few more.
        assert 301 <= bare <= 2 * 301
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
        with_all = await (
            await count(
                model=ASKED,
                system="Be brief.",
                tools=[TOOL],
                messages=[{"role": "user", "content": [{"type": "text", "text": PROSE}, picture]}],
            )
        ).parse()
        assert with_all.input_tokens >= bare + 1600 + 346
    assert run.upstream.requests == []


async def test_count_tokens_is_asked_of_anthropic_itself_beta_and_query_included() -> None:
    async with beside("M", lambda _: reply_json({"input_tokens": 41})) as run:
        got = await run.gateway.post(
            "/v1/messages/count_tokens?beta=true",
            {"model": ASKED, "messages": [{"role": "user", "content": "x"}]},
            headers={"anthropic-beta": "token-counting-2024-11-01,other-2026"},
        )
    assert got.json() == {"input_tokens": 41}
    assert "x-gateway-estimated" not in got.headers
    assert run.sent().path == "/v1/messages/count_tokens?beta=true"
    assert run.sent().header("anthropic-beta") == "token-counting-2024-11-01,other-2026"


@pytest.mark.parametrize(
    "refusal",
    [
        reply_json({"detail": "Not Found"}, 404),
        reply_bytes(b"<h1>404</h1>", 404, [("content-type", "text/html")]),
        reply_json({"error": {"code": 501, "message": "not supported", "type": "not_supported_error"}}, 501),
        reply_json({"detail": "Method Not Allowed"}, 405),
    ],
)
async def test_a_server_of_the_dialect_that_cannot_count_is_counted_for(refusal: Answer) -> None:
    async with beside("M", lambda _: refusal) as run, SDKS["M"].client(run.url) as client:
        count = await client.messages.count_tokens(model=ASKED, messages=[{"role": "user", "content": "some words"}])
    assert count.input_tokens > 2


async def test_an_unknown_model_is_told_and_not_counted() -> None:
    error = {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}
    async with beside("M", lambda _: reply_json(error, 404)) as run, SDKS["M"].client(run.url) as client:
        with pytest.raises(NotFoundError):
            await client.messages.count_tokens(model=ASKED, messages=[{"role": "user", "content": "x"}])


async def test_a_count_of_nonsense_is_a_bad_request() -> None:
    async with beside("C", never) as run, SDKS["M"].client(run.url) as client:
        with pytest.raises(BadRequestError):
            await client.messages.count_tokens(model=ASKED, messages=[{"role": "robot", "content": "x"}])


@pytest.mark.parametrize("target", ["C", "M", "O"])
async def test_responses_input_tokens_is_estimated_where_it_is_not_served(target: Dialect) -> None:
    async with beside(target, never) as run, SDKS["R"].client(run.url) as client:
        raw = await client.responses.input_tokens.with_raw_response.count(
            model=ASKED, input=PROSE, instructions="Be brief."
        )
    count = raw.parse()
    assert count.object == "response.input_tokens"
    assert count.input_tokens > 301
    assert raw.headers["x-gateway-estimated"] == "true"


async def test_responses_input_tokens_is_asked_of_who_serves_it() -> None:
    answer = {"object": "response.input_tokens", "input_tokens": 12}
    async with beside("R", lambda _: reply_json(answer)) as run, SDKS["R"].client(run.url) as client:
        count = await client.responses.input_tokens.count(model=ASKED, input="x")
    assert count.input_tokens == 12
    assert run.sent().path == "/v1/responses/input_tokens"


# --- embeddings ------------------------------------------------------------------------------------

VECTORS = [[0.25, -1.5, 3.0], [0.0, 1.0, -0.125]]
PACKED = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in VECTORS]
TEXTS = ["one", "two 東京"]


def openai_embeddings(*, obeys: bool) -> Callable[[ReceivedRequest], Answer]:
    """A server of OpenAI's endpoint that obeys `encoding_format`, or answers with floats whatever it says."""

    def script(request: ReceivedRequest) -> Answer:
        packed = obeys and request.json().get("encoding_format") == "base64"
        rows = [{"object": "embedding", "index": n, "embedding": PACKED[n] if packed else VECTORS[n]} for n in (0, 1)]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return reply_json({"object": "list", "data": rows, "model": MODEL, "usage": usage, "vendor": {"kept": 1}})

    return script


def ollama_embeddings(request: ReceivedRequest) -> Answer:
    assert request.path == "/api/embed"
    return reply_json(
        {"model": MODEL, "embeddings": VECTORS, "total_duration": 9, "load_duration": 1, "prompt_eval_count": 5}
    )


UPSTREAMS = {
    "obeys": ("C", openai_embeddings(obeys=True)),
    "floats": ("C", openai_embeddings(obeys=False)),
    "ollama": ("O", ollama_embeddings),
}
upstreams = pytest.mark.parametrize("upstream", UPSTREAMS)


@upstreams
@pytest.mark.parametrize("asks", ["default", "float", "base64"])
async def test_openai_clients_get_vectors_as_they_asked(upstream: str, asks: str) -> None:
    target, script = UPSTREAMS[upstream]
    more: dict[str, Any] = {} if asks == "default" else {"encoding_format": asks}
    async with beside(target, script) as run, SDKS["C"].client(run.url) as client:  # type: ignore[arg-type]
        got = await client.embeddings.create(model=ASKED, input=TEXTS, **more)
        await run.gateway.settled()
        [line] = run.gateway.events("request")
    assert [row.embedding for row in got.data] == (PACKED if asks == "base64" else VECTORS)
    assert [row.index for row in got.data] == [0, 1]
    assert (got.usage.prompt_tokens, got.usage.total_tokens) == (5, 5)
    assert line["prompt_tokens"] == 5
    assert run.sent().json()["input"] == TEXTS


@upstreams
async def test_ollama_clients_get_embeddings_of_any_target(upstream: str) -> None:
    target, script = UPSTREAMS[upstream]
    async with beside(target, script) as run:  # type: ignore[arg-type]
        client = SDKS["O"].client(run.url)
        got = await client.embed(model=ASKED, input=TEXTS)
        one = await client.embed(model=ASKED, input="one", dimensions=3, truncate=True)
    assert got.embeddings == VECTORS
    assert got.prompt_eval_count == 5
    assert one.embeddings[0] == VECTORS[0]
    assert run.sent(0).json()["input"] == TEXTS
    assert (run.sent().json()["input"], run.sent().json()["dimensions"]) == ("one", 3)


async def test_ollamas_older_embeddings_endpoint_has_one_prompt_and_one_vector() -> None:
    async with beside("C", openai_embeddings(obeys=True)) as run:
        got = await SDKS["O"].client(run.url).embeddings(model=ASKED, prompt="one")
    assert got.embedding == VECTORS[0]
    assert run.sent().json() == {"model": MODEL, "input": "one", "encoding_format": "float"}


async def test_what_ollama_cannot_take_is_named() -> None:
    async with beside("O", ollama_embeddings) as run:
        got = await run.gateway.post("/v1/embeddings", {"model": ASKED, "input": "x", "user": "u", "dimensions": 8})
        assert got.headers["x-gateway-dropped"] == "user"
        assert run.sent().json() == {"model": MODEL, "input": "x", "dimensions": 8}
        refused = await run.gateway.post("/v1/embeddings", {"model": ASKED, "input": [[1, 2, 3]]})
    assert refused.status == 400
    assert refused.json()["error"]["param"] == "input"


async def test_token_ids_go_verbatim_where_the_dialect_is_the_same() -> None:
    async with beside("C", openai_embeddings(obeys=True)) as run:
        body = b'{"model": "asked-model", "input": [[1, 2, 3],[4]], "encoding_format": "base64"}'
        got = await run.gateway.post("/v1/embeddings", body=body)
    assert got.json()["vendor"] == {"kept": 1}
    assert run.sent().json()["input"] == [[1, 2, 3], [4]]


async def test_a_target_without_embeddings_is_a_bad_request() -> None:
    async with beside("M", never) as run, SDKS["C"].client(run.url) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.embeddings.create(model=ASKED, input="x")
    assert refused.value.param == "model"


@pytest.mark.parametrize("body", [b"{}", b'{"data":[{"embedding":"!"}]}', b"[]", b'{"data":[{"index":0}]}'])
async def test_embeddings_that_cannot_be_read_are_a_bad_gateway(body: bytes) -> None:
    answer = reply_bytes(body, 200, [("content-type", "application/json")])
    async with beside("C", lambda _: answer) as run:
        got = await run.gateway.post("/api/embed", {"model": ASKED, "input": "x"})
    assert got.status == 502
    assert isinstance(got.json()["error"], str)


# --- the rest of Ollama's and OpenAI's surface -----------------------------------------------------


@targets
@pytest.mark.parametrize("stream", [False, True])
async def test_generate_is_a_chat_of_one_turn_anywhere(target: Dialect, stream: bool) -> None:
    async with beside(target, Said(text="Hello you.", prompt=9, completion=3)) as run:
        client = SDKS["O"].client(run.url)
        if stream:
            lines = [line async for line in await client.generate(model=ASKED, prompt="hi", system="s", stream=True)]
        else:
            lines = [await client.generate(model=ASKED, prompt="hi", system="s")]
    assert "".join(line.response for line in lines) == "Hello you."
    assert (lines[-1].done, lines[-1].done_reason) == (True, "stop")
    assert (lines[-1].prompt_eval_count, lines[-1].eval_count) == (9, 3)
    sent = json.dumps(run.sent().json())
    assert '"hi"' in sent and '"s"' in sent


async def test_each_package_lists_the_models() -> None:
    config = """
    providers: {up: {dialect: echo}}
    routes: [{name: all, match: {model: [first, "team/second:7b"]}, targets: ["up/*"]}]
    """
    async with running_gateway(config) as gateway:
        async with SDKS["C"].client(gateway.url) as client:
            assert {model.id async for model in client.models.list()} == {"first", "team/second:7b"}
            assert (await client.models.retrieve("team/second:7b")).id == "team/second:7b"
        async with SDKS["M"].client(gateway.url) as client:
            page = await client.models.list()
            assert {model.id for model in page.data} == {"first", "team/second:7b"}
            assert (page.has_more, page.first_id, page.last_id) == (False, page.data[0].id, page.data[-1].id)
            assert page.data[0].type == "model"
        ollama = SDKS["O"].client(gateway.url)
        assert {model.model for model in (await ollama.list()).models} == {"first", "team/second:7b"}
        assert (await ollama.ps()).models is not None
        assert (await ollama.show("first")).details is not None


@pytest.mark.parametrize("target", ["C", "M", "R"])
async def test_ollamas_clients_are_told_that_a_foreign_model_is_there(target: Dialect) -> None:
    """litellm asks /api/show before it sends tools."""
    async with beside(target, never) as run:
        got = await SDKS["O"].client(run.url).show(ASKED)
    assert got.capabilities == ["completion", "tools"]
    assert got.details is not None
