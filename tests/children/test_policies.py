"""What stands in the chain does to children what it does to requests, and no policy acts twice on one answer."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import ScriptedUpstream, Stall, reply_json, reply_sse, running_gateway
from tests.accounting.endings import answer, rows_of, whole
from tests.children.flows import ASKED, CHAT, FLOW, ONCE, family

PLUGINS = {
    "once": ONCE,
    "flow": FLOW,
    "signs": """
        from gateway.plugin import Plugin, Stop, TextDelta

        async def sign(events, text):
            async for event in events:
                if isinstance(event, Stop):
                    yield TextDelta(text)
                yield event

        class Signs(Plugin):
            '''Sign every answer of the chain, and those of requests that pass here.'''
            async def handle(self, exchange, call_next):
                if exchange.route is not None:
                    exchange.transform(lambda _, events: sign(events, "[own]"))
                return await call_next(exchange)

            def transform(self, exchange, events):
                return sign(events, "[all]")
    """,
    "caps": """
        from msgspec import Raw
        from gateway.plugin import Plugin

        class Caps(Plugin):
            async def handle(self, exchange, call_next):
                if exchange.request.fields is not None:
                    exchange.request.fields["max_tokens"] = Raw(b"7")
                return await call_next(exchange)
    """,
    "works": """
        from gateway.plugin import Plugin

        class Works(Plugin):
            async def handle(self, exchange, call_next):
                if exchange.route is not None:
                    now = exchange.deadline.now()
                    exchange.note_work(
                        kind="tool", name="search", started_at_s=now, ended_at_s=now, ok=False, facts={"bytes": 3}
                    )
                return await call_next(exchange)
    """,
}
PLAIN, WHOLE = {**ASKED, "model": "openai-plain"}, {**ASKED, "model": "openai-whole", "stream": True}
WAYS = pytest.mark.parametrize("inside", ["false", "true"], ids=["routed", "inside"])


def config(url: str, plugins: str, route: str = "") -> str:
    return f"""
        ledger: sqlite:rows.db
        plugins: [{plugins}]
        providers:
          a: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}
          b: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}
        routes: [{{name: all, match: {{model: "openai-*"}}, targets: ["a/*", "b/*"]{route}}}]
    """


@WAYS
@pytest.mark.parametrize("body", [PLAIN, WHOLE], ids=["plain", "streamed"])
async def test_every_transform_rewrites_an_answer_once(inside: str, body: dict[str, Any]) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, f"signs, once: {{inside: {inside}}}")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, body)
    assert got.status == 200 and b"world!" in got.body
    assert (got.body.count(b"[own]"), got.body.count(b"[all]")) == (1, 1)


@WAYS
async def test_what_a_plugin_edits_of_a_childs_members_is_what_is_sent(inside: str) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, f"once: {{inside: {inside}}}, caps")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            headers = {"idempotency-key": "one-for-one-body", "x-own": "kept"}
            assert (await gateway.post(CHAT, {**PLAIN, "max_tokens": 900}, headers=headers)).status == 200
    [sent] = upstream.requests
    assert sent.json()["max_tokens"] == 7
    assert (sent.header("x-own"), sent.header("idempotency-key")) == ("kept", "")


async def test_a_child_goes_by_its_parents_request_id_also_where_the_gateway_makes_them_up() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "request_id: {accept: false}, flow")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            headers = {"x-ask": "openai-plain,openai-plain", "x-request-id": "mine"}
            got = await gateway.post(CHAT, ASKED, headers=headers)
            rows = await rows_of(gateway)
    ids = {request.header("x-request-id") for request in upstream.requests} | {row.request_id for row in rows}
    assert ids == {got.headers["x-request-id"]} != {"mine"}


@WAYS
async def test_a_child_falls_back_and_says_how_often_it_tried(inside: str) -> None:
    script = [reply_json({"error": {"message": "down"}}, 503), reply_json(whole("openai", told=True))]
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(
            config(upstream.url, f"access_log, once: {{inside: {inside}}}"), plugins=PLUGINS
        ) as gateway:
            got = await gateway.post(CHAT, PLAIN)
            parent, (child,) = await family(gateway)
            [line] = gateway.events("child")
            [asked] = gateway.events("request")
    assert got.status == 200 and got.headers["x-gateway-attempts"] == "2" == str(asked["attempts"])
    assert got.headers.get("x-gateway-target") == ("b/openai-plain" if inside == "true" else None)
    assert (child.attempts, child.target, parent.attempts, parent.target) == (2, "b/openai-plain", 0, None)
    assert child.tries[0] == {"kind": "step", "name": "once"} and len(child.tries) == 3
    assert (line["step"], line["attempts"], line["target"]) == ("once", 2, "b/openai-plain")


async def test_a_breaker_counts_what_children_meet() -> None:
    async with ScriptedUpstream(reply_json({"error": {"message": "down"}}, 500)) as upstream:
        text = config(upstream.url, "circuit_breaker: {failures: 1}, flow", ", retry: {attempts: 1}")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            first = await gateway.post(CHAT, ASKED, headers={"x-ask": "openai-plain"})
            second = await gateway.post(CHAT, ASKED, headers={"x-ask": "openai-plain"})
    assert (first.status, second.status) == (502, 503) and len(upstream.requests) == 2
    assert second.json()["error"]["code"] == "circuit_open" and int(second.headers["retry-after"]) > 0


async def test_a_childs_stream_is_hedged() -> None:
    hello = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    async with ScriptedUpstream([Stall(), reply_sse([hello, "[DONE]"])]) as upstream:
        async with running_gateway(
            config(upstream.url, "flow", ", hedge: {after: 20ms, budget: 100%}"), plugins=PLUGINS
        ) as gateway:
            got = await gateway.post(CHAT, {**ASKED, "stream": True}, headers={"x-ask": "openai-plain"})
            _, (child,) = await family(gateway)
    assert b'"Hi"' in got.body and got.body.endswith(b"data: [DONE]\n\n")
    assert (child.attempts, child.target) == (2, "b/openai-plain")


async def test_shadows_are_cast_of_clients_requests_and_of_no_child() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "flow", ", shadow: {target: b/openai-plain, percent: 100}")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            await gateway.post(CHAT, ASKED, headers={"x-ask": "openai-plain,openai-plain"})
            assert len(await rows_of(gateway)) == 3 == len(upstream.requests) + 1
            await gateway.post(CHAT, PLAIN)
            while len(rows := await rows_of(gateway)) < 5:
                pass
    assert len(rows) == 5 and len(upstream.requests) == 4


async def test_children_of_one_conversation_go_to_one_target() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "session, flow", ", balance: sticky")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            for number in range(8):
                headers = {"x-ask": "openai-plain+openai-plain,openai-plain"}
                if number < 4:
                    await gateway.post(CHAT, ASKED, headers={**headers, "x-session-id": str(number)})
                else:
                    session = (await gateway.post("/v1/sessions", {})).json()["id"]
                    await gateway.post(CHAT, {**ASKED, "session_id": session}, headers=headers)
            rows = [row for row in await rows_of(gateway) if row.parent_id is not None]
    went = {row.session: {each.target for each in rows if each.session == row.session} for row in rows}
    assert len(rows) == 24 and len(went) == 8 and all(len(targets) == 1 for targets in went.values())
    assert len(set.union(*went.values())) == 2


async def test_a_session_gives_its_history_once_and_keeps_each_turn_once() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "session, once")
        async with running_gateway(text, plugins=PLUGINS) as gateway:
            session = (await gateway.post("/v1/sessions", {})).json()["id"]
            for body in (PLAIN, WHOLE):
                assert (await gateway.post(CHAT, {**body, "session_id": session})).status == 200
            kept = (await gateway.get(f"/v1/sessions/{session}")).json()["messages"]
            rows = await rows_of(gateway)
    assert [len(request.json()["messages"]) for request in upstream.requests] == [1, 3]
    assert [each["role"] for each in kept] == ["user", "assistant", "user", "assistant"]
    assert {row.session for row in rows if row.endpoint == "chat_completions"} == {session}


@pytest.mark.parametrize("body", [PLAIN, WHOLE], ids=["plain", "streamed"])
async def test_a_cache_keeps_what_a_client_was_answered_and_no_step(body: dict[str, Any]) -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, "cache, once"), plugins=PLUGINS) as gateway:
            got = []
            for _ in range(2):
                got.append(await gateway.post(CHAT, body))
                await gateway.settled()
            rows = await rows_of(gateway)
    assert [each.headers["x-gateway-cache"] for each in got] == ["miss", "hit"]
    assert len(upstream.requests) == 1 and len(rows) == 3 and b"world!" in got[1].body


async def test_no_step_is_answered_from_a_cache() -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, "once: {inside: true}, cache"), plugins=PLUGINS) as gateway:
            got = [await gateway.post(CHAT, PLAIN) for _ in range(2)]
    assert [each.status for each in got] == [200, 200] and len(upstream.requests) == 2


async def test_work_that_a_plugin_notes_stands_in_the_row_of_whom_it_was_for() -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, "works"), plugins=PLUGINS) as gateway:
            await gateway.post(CHAT, PLAIN)
            [row] = await rows_of(gateway)
    attempt, work = row.tries
    assert attempt["target"] == "a/openai-plain" and "kind" not in attempt
    assert {name: work[name] for name in ("kind", "name", "ok", "facts")} == {
        "kind": "tool", "name": "search", "ok": False, "facts": {"bytes": 3},
    }  # fmt: skip
    assert 0 <= work["started_ms"] <= work["ended_ms"]
