"""The playground: an ordinary client's request, told as it goes; and a target that only an operator can choose."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest

from gateway.testing import Gate, ScriptedUpstream, Send, reply_json, reply_sse
from tests.admin.desks import Dashboard, dashboard

KEY = "gw-0123456789012345678901234567890123456789012"


def said(text: str) -> list[Any]:
    return [
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        for choice in (
            {"index": 0, "delta": {"role": "assistant", "content": text}},
            {"index": 0, "delta": {}, "finish_reason": "stop"},
        )
    ]


def config(first: str, second: str, more: str = "") -> str:
    return f"""
    version: 1
    ledger: sqlite:l.db
    {more}
    providers:
      one: {{dialect: openai, base_url: "{first}/v1", api_key: k1, free: true}}
      two: {{dialect: openai, base_url: "{second}/v1", api_key: k2, free: true}}
    routes:
      - {{name: both, match: {{model: "m*"}}, targets: [one/a], fallbacks: [two/b]}}
      - {{name: hidden, match: {{model: "m*", header: {{x-env: secret}}}}, targets: ["two/*"]}}
    """


async def run(desk: Dashboard, **given: Any) -> list[dict[str, Any]]:
    body = {"model": "m", "user": "hello", **given}
    async with desk.session.post(desk.url + "/api/playground", json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/x-ndjson"
        return [json.loads(line) for line in (await answer.text()).splitlines()]


def of(told: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in told if each["type"] == kind]
    return found


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_is_told_with_words_route_target_usage_and_its_row(stream: bool) -> None:
    plain = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
             "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi there"}, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}  # fmt: skip
    answer = reply_sse([*said("hi there"), {**plain, "choices": []}]) if stream else reply_json(plain)
    async with ScriptedUpstream(answer) as up, dashboard(config(up.url, up.url)) as desk:
        told = await run(desk, stream=stream, system="be kind", temperature=0.5, max_tokens=9)
        head, row = of(told, "head"), of(told, "row")
        assert (head["status"], head["route"], head["target"]) == (200, "both", "one/a")
        assert "".join(each["text"] for each in told if each["type"] == "text") == "hi there"
        assert (of(told, "usage")["prompt_tokens"], of(told, "usage")["completion_tokens"]) == (3, 2)
        assert of(told, "end")["duration_ms"] >= of(told, "end")["first_token_ms"] > 0
        assert (row["route"], row["target"], row["outcome"], row["cost_usd"]) == ("both", "one/a", "completed", "0")
        sent = up.requests[0].json()
        assert sent["messages"] == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
        assert (sent["temperature"], sent["max_tokens"]) == (0.5, 9)
        assert (await desk.gateway.core.snapshot.ledger.one(head["request_id"]))[0].target == "one/a"  # type: ignore[union-attr]


async def test_an_operator_chooses_a_target_and_two_are_asked_at_once() -> None:
    gate = Gate()
    first, second = (
        ScriptedUpstream([gate, *reply_sse(said("from one"))]),
        ScriptedUpstream(reply_sse(said("from two"))),
    )
    async with first as one, second as two, dashboard(config(one.url, two.url)) as desk:
        waiting = asyncio.ensure_future(run(desk, target="one/a"))
        told = await run(desk, target="two/b")  # ends while the other still waits
        assert of(told, "head")["target"] == "two/b" and of(told, "text")["text"] == "from two"
        gate.open()
        assert of(await waiting, "text")["text"] == "from one"
        assert "x-gateway-ticket" not in {name.lower() for name, _ in two.requests[0].headers}


async def test_an_operator_chooses_a_route_that_the_request_alone_would_not_meet() -> None:
    async with ScriptedUpstream(reply_sse(said("hidden"))) as up, dashboard(config(up.url, up.url)) as desk:
        told = await run(desk, route="hidden", model="m7")
        assert (of(told, "head")["route"], of(told, "head")["target"]) == ("hidden", "two/m7")
        told = await run(desk, route="hidden", target="two/*", model="m7")
        assert of(told, "head")["target"] == "two/m7"


async def test_a_client_cannot_choose_a_target_and_a_ticket_is_good_for_one_request() -> None:
    async with ScriptedUpstream(reply_sse(said("x"))) as up, dashboard(config(up.url, up.url)) as desk:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}

        async def target(**headers: str) -> str:
            return (await desk.gateway.post("/v1/chat/completions", body, headers=headers)).headers["x-gateway-target"]

        for header in ("x-gateway-target", "x-gateway-ticket", "x-gateway-route"):
            assert await target(**{header: "two/b"}) == "one/a"
        given = {"hash": sha256(b"known").hexdigest(), "route": "", "target": "two/b"}
        await desk.gateway.core.group.gather("ticket", given)
        assert await target(**{"x-gateway-ticket": "guessed"}) == "one/a"
        assert await target(**{"x-gateway-ticket": "known"}) == "two/b"
        assert await target(**{"x-gateway-ticket": "known"}) == "one/a"


AUTH = f"""
    plugins:
      - auth: {{keys: [{{name: team, hash: "sha256:{sha256(KEY.encode()).hexdigest()}", routes: [both]}}]}}
"""


async def test_the_key_that_is_typed_is_the_caller_and_is_never_logged() -> None:
    async with ScriptedUpstream(reply_sse(said("x"))) as up, dashboard(config(up.url, up.url, AUTH.strip())) as desk:
        told = await run(desk)
        assert of(told, "error")["status"] == 401 and up.requests == []
        told = await run(desk, key=KEY, target="two/b")
        assert of(told, "row")["principal"] == "team" and of(told, "head")["target"] == "two/b"
        told = await run(desk, key=KEY, route="hidden")
        assert of(told, "error")["status"] == 403, "a ticket is no permission"
        assert KEY not in str(desk.gateway.log) and "hello" not in str(desk.gateway.log)
        (action,) = [each for each in desk.gateway.events("admin_action") if each["target"] == "two/b"]
        assert action["action"] == "playground" and action["model"] == "m"
        status, body = await desk.ask("POST", "/api/playground/models", {"key": "wrong"})
        assert (status, body) == (200, {"models": []})


@pytest.mark.parametrize(("given", "status", "code"), [
    ({"model": "nobody-serves-it"}, 404, "model_not_found"),
    ({"target": "one/none"}, 503, "provider_disabled"),
    ({"route": "none"}, 404, "not_found"),
])  # fmt: skip
async def test_what_the_gateway_refuses_is_told_in_its_words(given: dict[str, Any], status: int, code: str) -> None:
    async with dashboard(config("http://127.0.0.1:9", "http://127.0.0.1:9")) as desk:
        error = of(await run(desk, **given), "error")
        assert (error["status"], error["code"]) == (status, code) and error["message"]


@pytest.mark.parametrize("given", [
    {"model": ""}, {"user": ""}, {"temperature": 3}, {"temperature": "hot"}, {"max_tokens": 0}, {"stream": "yes"},
    {"url": "http://elsewhere"}, {"key": "a\nb"}, {"user": "x" * 600_000},
])  # fmt: skip
async def test_a_prompt_that_is_none_is_refused_before_anything_is_sent(given: dict[str, Any]) -> None:
    async with dashboard(config("http://127.0.0.1:9", "http://127.0.0.1:9")) as desk:
        status, _ = await desk.ask("POST", "/api/playground", {"model": "m", "user": "hello", **given})
        assert status == 400 and desk.gateway.events("admin_action") == []


async def test_a_page_that_closes_cancels_the_upstream() -> None:
    gate = Gate()
    async with ScriptedUpstream([Send(b"HTTP/1.1 200 OK\r\n"), gate]) as up, dashboard(config(up.url, up.url)) as desk:
        asking = asyncio.ensure_future(run(desk))
        while not up.requests:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        while up.open_connections:
            await asyncio.sleep(0)
        gate.open()
        await desk.gateway.settled()
        assert desk.gateway.core.live == set()


async def test_an_answer_that_breaks_off_ends_with_its_error() -> None:
    cut = reply_sse(said("half")[:1])
    async with ScriptedUpstream(cut) as up, dashboard(config(up.url, up.url)) as desk:
        told = await run(desk)
        assert of(told, "text")["text"] == "half" and of(told, "error")["status"] == 502
        assert (of(told, "row")["outcome"], of(told, "row")["error_code"]) == ("failed", "stream_truncated")


async def test_no_more_than_sixteen_at_once() -> None:
    gate = Gate()
    async with ScriptedUpstream([gate, *reply_sse(said("x"))]) as up, dashboard(config(up.url, up.url)) as desk:
        asking = [asyncio.ensure_future(run(desk)) for _ in range(16)]
        while len(up.requests) < 16:
            await asyncio.sleep(0)
        status, body = await desk.ask("POST", "/api/playground", {"model": "m", "user": "x"})
        assert status == 503 and "16 prompts" in body["error"]["message"]
        gate.open()
        assert all(of(told, "end") for told in await asyncio.gather(*asking))


async def test_the_page_takes_what_the_address_says() -> None:
    async with dashboard(config("http://127.0.0.1:9", "http://127.0.0.1:9")) as desk:
        page = await desk.page("/playground?model=m1&route=both&target=two%2Fb&model2=m2")
        assert 'value="m1"' in page and 'data-wanted="two/b"' in page and 'id="compare" checked' in page
        assert '<option value="hidden">' in page
