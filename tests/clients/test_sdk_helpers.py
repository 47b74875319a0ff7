"""What the packages offer beyond a request: parsing into types, running tools, blocking clients, raw headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import httpx2
import ollama
import openai
import pytest
from anthropic import beta_async_tool
from pydantic import BaseModel

from tests.clients.beside import beside
from tests.clients.model import DIALECTS, Call, Dialect, Said
from tests.clients.sdks import ASKED, KEY, NO_TLS, SDKS

targets = pytest.mark.parametrize("target", DIALECTS)
USER: Any = [{"role": "user", "content": "weather?"}]


class Weather(BaseModel):
    city: str
    degrees: int


ANSWER = Said(text='{"city": "Bern", "degrees": 7}')


@targets
async def test_openai_parses_chat_into_a_type(target: Dialect) -> None:
    async with beside(target, ANSWER) as run, SDKS["C"].client(run.url) as client:
        got = await client.chat.completions.parse(model=ASKED, messages=USER, response_format=Weather)
        async with client.chat.completions.stream(model=ASKED, messages=USER, response_format=Weather) as stream:
            streamed = await stream.get_final_completion()
    assert got.choices[0].message.parsed == Weather(city="Bern", degrees=7)
    assert streamed.choices[0].message.parsed == Weather(city="Bern", degrees=7)


@targets
async def test_openai_parses_responses_into_a_type(target: Dialect) -> None:
    async with beside(target, ANSWER) as run, SDKS["R"].client(run.url) as client:
        got = await client.responses.parse(model=ASKED, input="weather?", text_format=Weather)
        async with client.responses.stream(model=ASKED, input="weather?", text_format=Weather) as stream:
            streamed = await stream.get_final_response()
    assert got.output_parsed == Weather(city="Bern", degrees=7)
    assert streamed.output_parsed == Weather(city="Bern", degrees=7)


@targets
async def test_anthropic_parses_messages_into_a_type(target: Dialect) -> None:
    async with beside(target, ANSWER) as run, SDKS["M"].client(run.url) as client:
        got = await client.messages.parse(model=ASKED, max_tokens=99, messages=USER, output_format=Weather)
    assert got.parsed_output == Weather(city="Bern", degrees=7)


@targets
@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_tool_runner_runs_to_its_end(target: Dialect, stream: bool) -> None:
    asked: list[str] = []

    @beta_async_tool
    async def get_weather(city: str) -> str:
        """Say what the weather is like.

        Args:
            city: which one
        """
        asked.append(city)
        return "sunny"

    calls = (Call("call_1", "get_weather", {"city": "Bern"}), Call("call_2", "get_weather", {"city": "Basel"}))
    says = [Said(text="I look.", calls=calls), Said(text="Sunny in both.")]
    async with beside(target, says) as run, SDKS["M"].client(run.url) as client:
        runner = client.beta.messages.tool_runner(
            model=ASKED, max_tokens=999, messages=USER, tools=[get_weather], stream=stream
        )
        if stream:
            async for part in runner:
                final = await part.get_final_message()
        else:
            final = await runner.until_done()
    assert asked == ["Bern", "Basel"]
    assert [block.text for block in final.content] == ["Sunny in both."]
    assert json.dumps(run.sent().json()).count("sunny") == 2


def openai_blocking(url: str) -> tuple[str, str]:
    http = httpx2.Client(verify=NO_TLS)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, http_client=http) as client:
        plain: Any = client.chat.completions.create(model=ASKED, messages=USER)
        chunks: Any = client.chat.completions.create(model=ASKED, messages=USER, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return plain.choices[0].message.content, streamed


def responses_blocking(url: str) -> tuple[str, str]:
    http = httpx2.Client(verify=NO_TLS)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, http_client=http) as client:
        plain = client.responses.create(model=ASKED, input="x").output_text
        with client.responses.stream(model=ASKED, input="x") as stream:
            return plain, stream.get_final_response().output_text


def anthropic_blocking(url: str) -> tuple[str, str]:
    http = httpx2.Client(verify=NO_TLS)
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, http_client=http) as client:
        plain: Any = client.messages.create(model=ASKED, max_tokens=9, messages=USER)
        with client.messages.stream(model=ASKED, max_tokens=9, messages=USER) as stream:
            return plain.content[0].text, "".join(stream.text_stream)


def ollama_blocking(url: str) -> tuple[str, str]:
    client = ollama.Client(host=url, verify=NO_TLS)
    plain = client.chat(model=ASKED, messages=USER).message.content or ""
    lines = client.chat(model=ASKED, messages=USER, stream=True)
    return plain, "".join(line.message.content or "" for line in lines)


BLOCKING = {"C": openai_blocking, "R": responses_blocking, "M": anthropic_blocking, "O": ollama_blocking}


@pytest.mark.parametrize("client", DIALECTS)
@targets
async def test_blocking_clients_get_the_same(client: Dialect, target: Dialect) -> None:
    async with beside(target, Said(text="some words")) as run:
        got = await asyncio.to_thread(BLOCKING[client], run.url)
    assert got == ("some words", "some words")


@pytest.mark.parametrize("client", ["C", "R", "M"])
@targets
async def test_the_packages_find_the_request_id(client: Dialect, target: Dialect) -> None:
    async with beside(target, Said(text="x")) as run, SDKS[client].client(run.url) as opened:
        if client == "C":
            got = await opened.chat.completions.create(model=ASKED, messages=USER)
        elif client == "R":
            got = await opened.responses.create(model=ASKED, input="x")
        else:
            got = await opened.messages.create(model=ASKED, max_tokens=9, messages=USER)
        await run.gateway.settled()
        [line] = run.gateway.events("request")
    assert got._request_id == line["request_id"] == run.sent().header("x-request-id")
