"""Requests of every client at targets of every dialect, through a gateway: what the upstream saw, and what was told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.testing import ClientAnswer, ReceivedRequest, RunningGateway, ScriptedUpstream, reply_json, running_gateway
from tests.relay.test_translated import ANSWER, DIALECTS
from tests.relay.test_verbatim import PATHS

NAMES = ("openai", "anthropic", "responses", "ollama")
UPSTREAM_DIALECTS = {**DIALECTS, "openai": "openai_chat"}
FULL: dict[str, dict[str, Any]] = {
    "openai": {
        "messages": [{"role": "user", "content": "hi", "name": "bob"}], "logit_bias": {"1": 2}, "logprobs": True,
        "top_logprobs": 3, "seed": 7, "user": "u1", "service_tier": "flex", "store": True, "metadata": {"a": "b"},
        "prompt_cache_key": "k", "verbosity": "low", "prediction": {"type": "content", "content": "x"},
        "web_search_options": {}, "temperature": 1.5, "stop": ["a", "b"], "frequency_penalty": 0.5, "odd_one": 1,
        "safety_identifier": "s1", "modalities": ["text", "audio"], "moderation": {"model": "m"}, "top_k": 4,
    },
    "anthropic": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
        "max_tokens": 50, "metadata": {"user_id": "u1"}, "service_tier": "standard_only", "stop_sequences": list("abcde"),
        "top_k": 5, "container": "c1", "inference_geo": "us", "speed": "fast", "odd_one": 1, "user_profile_id": "p",
        "thinking": {"type": "between_tools"}, "mcp_servers": [{"type": "url", "url": "http://x", "name": "n"}],
    },
    "responses": {
        "input": "hi", "top_logprobs": 3, "store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k",
        "text": {"verbosity": "low"}, "truncation": "auto", "include": ["message.output_text.logprobs"], "odd_one": 1,
        "max_tool_calls": 3, "service_tier": "flex", "user": "u", "safety_identifier": "s",
        "context_management": [{"type": "compaction"}], "moderation": {"model": "x"},
    },
    "ollama": {
        "messages": [{"role": "user", "content": "hi"}], "stream": False, "keep_alive": "5m", "odd_one": 1,
        "logprobs": True, "top_logprobs": 2,
        "options": {"top_k": 5, "seed": 3, "stop": ["a"], "num_ctx": 4096, "presence_penalty": 0.2, "min_p": 0.1, "odd_two": 1},
    },
}  # fmt: skip
OTHER_NAMES = {
    "user": ("user_id", "safety_identifier"), "metadata": ("user", "user_id"), "stop": ("stop_sequences",),
    "stop_sequences": ("stop",), "max_tokens": ("num_predict", "max_output_tokens"), "input": ("messages",),
    "messages": ("input",), "safety_identifier": ("user", "user_id"), "thinking": ("reasoning", "reasoning_effort", "think"),
}  # fmt: skip
OPENED = ("options", "text")
"""What a field may be called on the other side."""


@asynccontextmanager
async def world(policy: str = "drop") -> AsyncIterator[tuple[RunningGateway, dict[str, ScriptedUpstream]]]:
    """Run a gateway before one upstream of each dialect, chosen by the header `x-target`."""
    async with AsyncExitStack() as stack:
        upstreams = {
            name: await stack.enter_async_context(ScriptedUpstream(reply_json(ANSWER[name]))) for name in NAMES
        }
        providers, routes = [], []
        for name, upstream in upstreams.items():
            base = upstream.url + ("/v1" if name in ("openai", "responses") else "")
            providers.append(
                f'  up_{name}: {{dialect: {UPSTREAM_DIALECTS[name]}, base_url: "{base}", api_key: key-of-up-0001}}'
            )
            routes.append(
                f"  - {{name: {name}, match: {{header: {{x-target: {name}}}}}, targets: [up_{name}/real-model], "
                f"on_unsupported: {policy}}}"
            )
        config = "\n".join(["version: 1", "plugins: [access_log]", "providers:", *providers, "routes:", *routes])
        gateway = await stack.enter_async_context(running_gateway(config))
        yield gateway, upstreams


async def ask(gateway: RunningGateway, client: str, target: str, body: dict[str, Any], **headers: str) -> ClientAnswer:
    return await gateway.post(PATHS[client], {"model": "asked", **body}, headers={"x-target": target, **headers})


def names_in(value: Any) -> set[str]:
    """Return every member name in a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*(names_in(member) for member in value.values()))
    return set().union(*(names_in(item) for item in value)) if isinstance(value, list) else set()


def sent(request: ReceivedRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


async def test_every_field_of_a_full_request_goes_up_or_is_named() -> None:
    async with world() as (gateway, upstreams):
        for client, body in FULL.items():
            for target in NAMES:
                got = await ask(gateway, client, target, body)
                assert got.status == 200, (client, target, got.body)
                told = set(got.headers.get("x-gateway-dropped", "").split(", "))
                told |= names_in(upstreams[target].requests[-1].json())
                asked = set(body).union(*(body[name] for name in OPENED if name in body)) - {*OPENED, "stream"}
                for name in asked:
                    assert told & {name, *OTHER_NAMES.get(name, ())}, f"{client} to {target}: {name} not in {told}"


@pytest.mark.parametrize("client", NAMES)
async def test_policy_error_refuses_before_anything_is_sent(client: str) -> None:
    async with world("error") as (gateway, upstreams):
        for target in NAMES:
            got = await ask(gateway, client, target, FULL[client])
            if client == target:
                assert got.status == 200
                continue
            assert got.status == 400 and not upstreams[target].requests, (client, target)
            error = got.json()["error"]
            text = error if client == "ollama" else error["message"]
            assert "odd_one" in text
            if client in ("openai", "responses"):
                assert error["param"] and error["param"] in text


async def test_policy_error_lets_ordinary_requests_of_every_client_through() -> None:
    ordinary: dict[str, dict[str, Any]] = {
        "openai": {"messages": [{"role": "user", "content": "hi"}], "n": 1, "logprobs": False, "temperature": 0.5},
        "anthropic": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "temperature": 0.5},
        "responses": {"input": "hi", "store": False, "truncation": "disabled", "include": ["reasoning.encrypted_content"]},
        "ollama": {"messages": [{"role": "user", "content": "hi"}], "stream": False, "options": {"num_predict": 5}},
    }  # fmt: skip
    async with world("error") as (gateway, _):
        for client, body in ordinary.items():
            for target in NAMES:
                got = await ask(gateway, client, target, body)
                assert got.status == 200, (client, target, got.body)
                assert "x-gateway-dropped" not in got.headers


async def test_anthropics_headers_reach_anthropic_alone() -> None:
    marks = {"anthropic-beta": "b1,b2", "anthropic-version": "2026-10-21", "x-api-key": "clients-own"}
    async with world() as (gateway, upstreams):
        for client in NAMES:
            for target in NAMES:
                body = {name: value for name, value in FULL[client].items() if name in ("messages", "input", "stream", "max_tokens")}  # fmt: skip
                got = await ask(gateway, client, target, body, **marks)
                assert got.status == 200
                assert got.headers["x-request-id"] == got.headers["request-id"]
                up = sent(upstreams[target].requests[-1])
                own = client == target == "anthropic"
                assert up.get("anthropic-beta") == ("b1,b2" if own else None), (client, target)
                if target == "anthropic":
                    assert up["anthropic-version"] == ("2026-10-21" if own else "2023-06-01")
                assert "clients-own" not in json.dumps(up)


async def test_what_a_failed_target_could_not_take_is_not_told_of_the_one_that_answered() -> None:
    async with (
        ScriptedUpstream(reply_json({}, 503)) as broken,
        ScriptedUpstream(reply_json(ANSWER["openai"])) as upstream,
    ):
        config = f"""
            version: 1
            providers:
              claude: {{dialect: anthropic, base_url: "{broken.url}", api_key: key-of-up-0001}}
              chat: {{dialect: openai_chat, base_url: "{upstream.url}/v1", api_key: key-of-up-0001}}
            routes: [{{name: r, targets: [claude/m, chat/m]}}]
        """
        async with running_gateway(config) as gateway:
            got = await gateway.post("/v1/chat/completions", {**FULL["openai"], "model": "asked"})
            assert got.status == 200 and len(broken.requests) == 1
            assert "x-gateway-dropped" not in got.headers
