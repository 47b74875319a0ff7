"""An upstream that refuses: what the client is told, how often it was tried, and when somebody tries again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

from gateway.testing import Answer, RunningGateway, ScriptedUpstream, reply_json, running_gateway
from tests.clients.sdks import NO_TLS
from tests.endure.kit import NAMES, PATHS, ask, code, config, plain_of, spoken_by, told

QUICK = "{attempts: 3, backoff: 1ms..2ms}"


def refusal(name: str, status: int, *headers: tuple[str, str]) -> Answer:
    kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(status, "api_error")
    error: dict[str, Any] = {"type": kind, "message": "no such luck", "param": None, "code": None}
    body: dict[str, Any] = {"error": error}
    if name == "anthropic":
        body = {"type": "error", "error": error, "request_id": "req_1"}
    elif name == "ollama":
        body = {"error": "no such luck"}
    return reply_json(body, status, headers)


def two_targets(first: ScriptedUpstream, second: ScriptedUpstream, name: str = "openai") -> str:
    text = config(first.url)
    line = next(line for line in text.splitlines() if line.startswith(f"  {name}_up:"))
    other = line.replace(f"{name}_up", "other").replace(first.url, second.url)
    text = text.replace("routes:", f"{other}\nroutes:")
    return text.replace(f"targets: [{name}_up/real]", f"targets: [{name}_up/real, other/real]")


@pytest.mark.parametrize("target", NAMES)
async def test_overload_is_529_for_anthropics_clients_and_503_for_the_others(target: str) -> None:
    async with (
        ScriptedUpstream(lambda request: refusal(spoken_by(request), 529)) as upstream,
        running_gateway(config(upstream.url, retry=QUICK)) as gateway,
    ):
        for client in NAMES:
            before = len(upstream.requests)
            status, name = told(client, answer := await gateway.post(PATHS[client], body=ask(client, target)))
            assert status == (529 if client == "anthropic" else 503)
            if client == "anthropic":
                assert name == "overloaded_error"
            assert 1 <= len(upstream.requests) - before <= 3
            assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_everywhere_is_the_last_ones(status: int) -> None:
    async with (
        ScriptedUpstream(lambda request: refusal(spoken_by(request), status)) as upstream,
        running_gateway(config(upstream.url, retry=QUICK)) as gateway,
    ):
        for client in NAMES:
            seen, _ = told(client, answer := await gateway.post(PATHS[client], body=ask(client)))
            assert seen in ((529, 503) if status == 503 else (502, 503, 504))
            assert answer.headers["x-should-retry"] == "false"
            assert answer.headers["x-gateway-error-source"] == "upstream"


async def test_the_longest_retry_after_of_all_targets_reaches_the_client() -> None:
    async with (
        ScriptedUpstream([refusal("openai", 429, ("retry-after", "77"))]) as first,
        ScriptedUpstream([refusal("openai", 429, ("retry-after", "20"))]) as second,
        running_gateway(two_targets(first, second)) as gateway,
    ):
        answer = await gateway.post(PATHS["openai"], body=ask("openai"))
        assert answer.status == 429 and answer.headers["retry-after"] == "77"
        assert len(first.requests) == len(second.requests) == 1


async def test_a_rate_limit_falls_back_at_once() -> None:
    async with (
        ScriptedUpstream([refusal("openai", 429, ("retry-after", "77"))]) as first,
        ScriptedUpstream(lambda request: reply_json(plain_of("openai"))) as second,
        running_gateway(two_targets(first, second)) as gateway,
    ):
        answer = await gateway.post(PATHS["openai"], body=ask("openai", stream=False))
        assert answer.status == 200 and len(first.requests) == len(second.requests) == 1


@pytest.mark.parametrize("client", NAMES)
async def test_a_rate_limit_for_money_is_not_tried_again(client: str) -> None:
    async with (
        ScriptedUpstream(lambda request: refusal(spoken_by(request), 429)) as upstream,
        running_gateway(config(upstream.url, retry=QUICK)) as gateway,
    ):
        answer = await gateway.post(PATHS[client], body=ask(client))
        assert answer.status == 429 and len(upstream.requests) == 1
        assert "retry-after" not in answer.headers


async def test_an_outage_is_no_storm() -> None:
    async with (
        ScriptedUpstream(lambda request: refusal(spoken_by(request), 500)) as upstream,
        running_gateway(
            config(upstream.url, plugins="circuit_breaker", retry="{attempts: 5, backoff: 1ms..2ms}")
        ) as gateway,
    ):
        requests = 0
        for _ in range(15):
            answers = await asyncio.gather(
                *(gateway.post(PATHS[client], body=ask(client)) for client in NAMES for _ in range(4))
            )
            requests += len(answers)
            assert all(answer.status >= 500 for answer in answers)
        assert requests == 240 and len(upstream.requests) <= 1.2 * requests


Raises = Callable[[RunningGateway], Awaitable[Exception]]


async def by_openai(gateway: RunningGateway) -> Exception:
    transport = openai.DefaultAsyncHttpxClient(verify=NO_TLS)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k", http_client=transport) as client:
        with pytest.raises(openai.APIStatusError) as failed:
            await client.chat.completions.create(model="to-openai", messages=[{"role": "user", "content": "x"}])
        return failed.value


async def by_anthropic(gateway: RunningGateway) -> Exception:
    transport = anthropic.DefaultAsyncHttpxClient(verify=NO_TLS)
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="k", http_client=transport) as client:
        with pytest.raises(anthropic.APIStatusError) as failed:
            await client.messages.create(
                model="to-anthropic", max_tokens=9, messages=[{"role": "user", "content": "x"}]
            )
        return failed.value


@pytest.mark.parametrize("status", [500, 503, 529, 429])
@pytest.mark.parametrize("ask_by", [by_openai, by_anthropic])
async def test_a_package_does_not_multiply_what_the_gateway_has_tried(ask_by: Raises, status: int) -> None:
    """Both packages try twice more by default, and believe `x-should-retry`."""
    headers = [("retry-after", "50")] if status == 429 else []
    async with (
        ScriptedUpstream(lambda request: refusal(spoken_by(request), status, *headers)) as upstream,
        running_gateway(config(upstream.url, retry="{attempts: 2, backoff: 1ms..2ms}")) as gateway,
    ):
        error = await ask_by(gateway)
        await gateway.settled()
        assert len(gateway.events("request")) == 1
        assert len(upstream.requests) == (1 if status == 429 else 2)
        assert "no such luck" in json.dumps(getattr(error, "body", ""))


@pytest.mark.parametrize(
    "base", ["http://nobody.invalid", "http://127.0.0.1:9", "https://127.0.0.1:9"], ids=["no such name", "refused", "refused TLS"]
)  # fmt: skip
async def test_an_upstream_that_cannot_be_reached_is_a_502_without_its_name(base: str) -> None:
    async with running_gateway(config(base)) as gateway:
        for client in NAMES:
            answer = await gateway.post(PATHS[client], body=ask(client, stream=False))
            assert told(client, answer) == (502, code(client, "upstream_error", "api_error"))
            assert b"nobody" not in answer.body


async def test_every_target_disabled_says_when_to_ask_again() -> None:
    text = config("http://127.0.0.1:9").replace("key-of-the-upstream-0001", '"${NONE:-}"')
    async with running_gateway(text) as gateway:
        for client in set(NAMES) - {"ollama"}:
            answer = await gateway.post(PATHS[client], body=ask(client))
            assert told(client, answer) == ((529, "overloaded_error") if client == "anthropic" else (503, "provider_disabled"))  # fmt: skip
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refusal_of_no_dialect_is_told_in_the_clients(status: int) -> None:
    async with (
        ScriptedUpstream(reply_json({"detail": "no such luck"}, status)) as upstream,
        running_gateway(config(upstream.url)) as gateway,
    ):
        for client in NAMES:
            for target in NAMES:
                answer = await gateway.post(PATHS[client], body=ask(client, target))
                assert told(client, answer)[0] == (400 if status == 422 and client != target else status)
                if target in ("openai", "responses"):  # whose relatives are many, and their words known
                    assert b"no such luck" in answer.body
