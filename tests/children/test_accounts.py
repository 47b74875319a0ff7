"""What children use is counted once: in their rows, in limits, in budgets, in metrics."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from gateway.testing import ScriptedUpstream, running_gateway
from tests.accounting.endings import ENDINGS, IN, OUT, PRICES, answer, config, end, rows_of, wrong
from tests.children.flows import ASKED, CHAT, FLOW, ONCE, family, steps_of

DIALECTS = ("openai", "anthropic", "responses", "ollama")


async def test_a_child_ends_as_a_request_would_and_its_parent_used_nothing() -> None:
    async with ScriptedUpstream(answer) as upstream:
        await asyncio.gather(all_end(upstream.url, "false", 1), all_end(upstream.url, "true", 2))


async def all_end(url: str, inside: str, turn: int) -> None:
    """Let clients of every dialect ask for upstreams of their own and of the dialect that comes `turn` later."""
    names = [name for name in ENDINGS if name != "unknown"]  # which ends before any plugin is asked
    pairs = [(client, (DIALECTS * 2)[at + to]) for at, client in enumerate(DIALECTS) for to in (0, turn)]
    asked = [(client, f"{up}-{name}") for client, up in pairs for name in names]
    text = config(url).replace("plugins: [", f"plugins: [once: {{inside: {inside}}}, ")
    async with running_gateway(text, files=PRICES, plugins={"once": ONCE}, log_level="error") as gateway:
        ids = [f"r{inside}{number}" for number in range(len(asked))]
        await asyncio.gather(*(end(gateway, *each, id) for each, id in zip(asked, ids, strict=True)))
        rows = await rows_of(gateway)
    parents = {row.request_id: row for row in rows if row.parent_id is None}
    children = {row.request_id: row for row in rows if row.parent_id is not None}
    assert len(rows) == 2 * len(asked) and len(parents) == len(children) == len(asked)
    told = []
    for (client, model), id in zip(asked, ids, strict=True):
        child, parent = children[id], parents[id]
        told.append(wrong(child, client, model))
        assert child.parent_id == parent.exchange_id
        assert (parent.prompt_tokens, parent.completion_tokens, parent.attempts) == (0, 0, 0)
        assert parent.cost_usd == Decimal(0)
        ends = [(row.status, row.outcome, row.error_code) for row in (child, parent)]
        assert ends[0] == ends[1], (client, model, ends)
    assert [each for each in told if each] == []


@pytest.mark.parametrize("stream", [False, True])
async def test_the_rows_of_several_children_add_up_to_what_the_client_is_told(stream: bool) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url).replace("plugins: [", "plugins: [flow, ")
        async with running_gateway(text, files=PRICES, plugins={"flow": FLOW}) as gateway:
            last = "openai-whole" if stream else "openai-plain"
            headers = {"x-ask": f"openai-plain+anthropic-plain,responses-plain,{last}", "x-request-id": "mine"}
            body = {**ASKED, "stream": stream, "stream_options": {"include_usage": True}}
            got = await gateway.post(CHAT, body if stream else ASKED, headers=headers)
            parent, children = await family(gateway)
            requests = upstream.requests
    assert got.status == 200 and b"world!" in got.body
    assert [(row.prompt_tokens, row.completion_tokens) for row in children] == [(IN, OUT)] * 4
    assert (parent.prompt_tokens, parent.completion_tokens, parent.cost_usd) == (0, 0, Decimal(0))
    assert (parent.route, parent.target, parent.attempts) == ("flow", None, 0)
    assert {row.cost_usd for row in children} == {Decimal("0.000018")}
    assert got.headers["x-gateway-route"] == "flow" and "x-gateway-target" not in got.headers
    assert got.headers["x-gateway-attempts"] == "4"
    assert b'"prompt_tokens":40' in got.body and b'"completion_tokens":16' in got.body
    assert stream or got.headers["x-gateway-cost-usd"] == "0.000072"
    assert {row.request_id for row in (parent, *children)} == {"mine"}
    assert {request.header("x-request-id") for request in requests} == {"mine"}
    assert len({request.header("traceparent")[:35] for request in requests}) == 1
    assert [steps_of(row) for row in children][2:] == [
        [{"kind": "step", "name": "asks responses-plain"}],
        [{"kind": "step", "name": f"asks {last}"}],
    ]
    assert steps_of(parent) == []
