"""Bodies long enough to be read and translated in a thread: the same answers as for short ones, while others are served."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.exchange import LONG_BYTES
from gateway.scripted import Answer, ScriptedUpstream, reply_bytes, reply_json
from gateway.testing import RunningGateway, running_gateway

ANSWER = {"id": "a", "model": "m", "choices": [{"message": {"role": "assistant", "content": "Hi."}}]}


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    async with ScriptedUpstream(answer) as upstream:
        config = f"""
            version: 1
            providers:
              up: {{dialect: openai_chat, base_url: "{upstream.url}/v1", api_key: k}}
            routes:
              - {{name: all, match: {{model: m}}, targets: [up/m]}}
        """
        async with running_gateway(config) as gateway:
            yield gateway, upstream


def said(text: str) -> dict[str, object]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}


async def test_long_request_is_translated_whole_and_its_usage_estimated() -> None:
    text = "größe\n" * LONG_BYTES
    async with serving(reply_json(ANSWER)) as (gateway, upstream):
        answer = await gateway.post("/v1/messages", said(text), headers={"anthropic-version": "2023-06-01"})
        request = await upstream.wait_for_request()
    assert request.json()["messages"] == [{"role": "user", "content": text}]
    assert answer.json()["content"] == [{"type": "text", "text": "Hi."}]
    assert answer.json()["usage"]["input_tokens"] > LONG_BYTES


async def test_long_answer_is_translated_whole() -> None:
    text = "größe\n" * LONG_BYTES
    answer = {**ANSWER, "choices": [{"message": {"role": "assistant", "content": text}}]}
    async with serving(reply_json(answer)) as (gateway, _):
        got = await gateway.post("/v1/messages", said("Go."), headers={"anthropic-version": "2023-06-01"})
    assert got.json()["content"] == [{"type": "text", "text": text}]


async def test_long_request_that_cannot_be_translated_is_the_clients_mistake() -> None:
    body = {**said("x" * LONG_BYTES), "max_tokens": "many"}
    async with serving(reply_json(ANSWER)) as (gateway, _):
        answer = await gateway.post("/v1/messages", body, headers={"anthropic-version": "2023-06-01"})
    assert answer.status == 400
    assert "max_tokens" in answer.json()["error"]["message"]


@pytest.mark.parametrize("second", ['"model"', '"mod\\u0065l"', '"\\u006d\\u006fdel" '])
@pytest.mark.parametrize("length", [10, LONG_BYTES])
async def test_second_model_is_refused_however_it_is_written(second: str, length: int) -> None:
    text = 'x "quoted\\" [{ ' * length
    body = f'{{ "model" : "m", "messages": [{{"role": "user", "content": {json.dumps(text)}}}], {second}: "other"}}'
    async with serving(reply_json(ANSWER)) as (gateway, upstream):
        answer = await gateway.post("/v1/chat/completions", body=body.encode())
        assert (answer.status, upstream.requests) == (400, [])
    assert "`model` twice" in answer.json()["error"]["message"]


async def test_names_inside_values_are_no_second_spelling() -> None:
    inner = json.dumps({"model": "x", "messages": [{"model": "y\\"}], "é": '"model":"z"'})
    body = (
        f'{{"model": "m", "\\u00e9": {inner}, "metadata": {inner}, "messages": [{{"role": "user", "content": "a"}}]}}'
    )
    async with serving(reply_json(ANSWER)) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", body=body.encode())
    assert answer.status == 200


async def test_long_refusal_comes_as_its_message() -> None:
    refusal = json.dumps({"error": {"message": "too much", "type": "invalid_request_error", "echo": "é" * LONG_BYTES}})
    async with serving(reply_bytes(refusal.encode(), 400)) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", said("Go."))
    assert answer.status == 400
    assert answer.json()["error"]["message"] == "too much"
    assert len(answer.body) < 1000
