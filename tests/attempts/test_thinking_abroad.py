"""Thinking that one provider signed is not handed to another on failover, and goes home byte for byte (K09)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import ScriptedUpstream, reply_json, running_gateway

OVERLOADED = reply_json({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, 529)
SAID = reply_json({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}})  # fmt: skip
THINKS = {"type": "thinking", "thinking": "hm", "signature": "SIG=="}
SEALED = {"type": "redacted_thinking", "data": "RED"}
TEXT = {"type": "text", "text": "Hé", "cache_control": {"type": "ephemeral"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 1.0}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]}
USER = {"role": "user", "content": "x"}
ASKED = {"model": "m", "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}
RAN = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [{"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": []}]}], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}  # fmt: skip


def config(a: ScriptedUpstream, b: ScriptedUpstream, dialect: str = "anthropic", route: str = "") -> str:
    path = "" if dialect == "anthropic" else "/v1"
    return f"""
version: 1
providers:
  a: {{dialect: {dialect}, base_url: "{a.url}{path}", api_key: key-of-a-0001}}
  b: {{dialect: {dialect}, base_url: "{b.url}{path}", api_key: key-of-b-0001}}
routes: [{{name: r, targets: [a/claude-one], fallbacks: [b/claude-two]{route}}}]
"""


def turns(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {**ASKED, "messages": [USER, {"role": "assistant", "content": list(blocks)}, USER]}


async def test_signed_and_sealed_thinking_stays_behind_when_another_provider_takes_over() -> None:
    async with ScriptedUpstream([OVERLOADED]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        got = await gateway.post("/v1/messages", turns(THINKS, SEALED, TEXT))
        assert (got.status, got.headers["x-gateway-target"]) == (200, "b/claude-two")
        assert a.requests[0].json()["messages"][1]["content"] == [THINKS, SEALED, TEXT]
        assert b.requests[0].json() == {**turns(TEXT), "model": "claude-two"}
        assert got.headers["x-gateway-dropped"] == "thinking"


async def test_a_tool_loop_that_lost_its_thinking_is_continued_without_a_budget() -> None:
    loop = {**ASKED, "messages": [USER, {"role": "assistant", "content": [THINKS, CALL]}, RESULT]}
    async with ScriptedUpstream([OVERLOADED]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        assert (await gateway.post("/v1/messages", loop)).status == 200
        sent = b.requests[0].json()
        assert sent["messages"] == [USER, {"role": "assistant", "content": [CALL]}, RESULT]
        assert "thinking" not in sent


async def test_a_turn_of_nothing_but_thinking_is_left_out_whole() -> None:
    async with ScriptedUpstream([OVERLOADED]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config(a, b)) as gateway:  # fmt: skip
        assert (await gateway.post("/v1/messages", turns(THINKS))).status == 200
        assert b.requests[0].json()["messages"] == [USER, USER]


async def test_while_the_home_provider_rests_the_fallback_still_gets_no_foreign_thinking() -> None:
    busy = reply_json({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, 429, [("retry-after", "60")])  # fmt: skip
    async with ScriptedUpstream([busy]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config(a, b)) as gateway:
        for _ in range(2):
            assert (await gateway.post("/v1/messages", turns(THINKS, TEXT))).status == 200
        assert (len(a.requests), len(b.requests)) == (1, 2)
        assert all(request.json()["messages"][1]["content"] == [TEXT] for request in b.requests)


async def test_another_model_of_the_same_provider_gets_the_thinking_back() -> None:
    async with ScriptedUpstream([OVERLOADED, SAID]) as a, ScriptedUpstream([SAID]) as b:
        text = config(a, b).replace("b/claude-two", "a/claude-two")
        async with running_gateway(text) as gateway:
            assert (await gateway.post("/v1/messages", turns(THINKS, TEXT))).status == 200
            assert a.requests[1].json()["messages"][1]["content"] == [THINKS, TEXT]


async def test_on_a_balanced_route_thinking_stays_behind_only_after_a_failure() -> None:
    route = ", balance: round_robin"
    async with ScriptedUpstream([SAID, OVERLOADED]) as a, ScriptedUpstream([SAID]) as b:
        text = config(a, b, route=route).replace("targets: [a/claude-one], fallbacks: [b/claude-two]", "targets: [a/claude-one, b/claude-two]")  # fmt: skip
        async with running_gateway(text) as gateway:
            for _ in range(3):
                assert (await gateway.post("/v1/messages", turns(THINKS, TEXT))).status == 200
            sent = [request.json()["messages"][1]["content"] for request in b.requests]
            assert sent == [[THINKS, TEXT], [TEXT]]


@pytest.mark.parametrize("stored", [{}, {"encrypted_content": "ENC"}])
async def test_sealed_reasoning_of_responses_stays_behind_too(stored: dict[str, str]) -> None:
    reasons = {"type": "reasoning", "id": "rs_1", "summary": [], **stored}
    ask = {"model": "m", "input": [USER, reasons, {"role": "assistant", "content": "hm"}, USER]}
    broken = reply_json({"error": {"message": "boom"}}, 500)
    async with ScriptedUpstream([broken]) as a, ScriptedUpstream([reply_json(RAN)]) as b, running_gateway(config(a, b, "openai")) as gateway:  # fmt: skip
        got = await gateway.post("/v1/responses", ask)
        assert (got.status, got.headers["x-gateway-dropped"]) == (200, "reasoning")
        assert a.requests[0].json()["input"] == ask["input"]
        assert b.requests[0].json()["input"] == [USER, {"role": "assistant", "content": "hm"}, USER]
