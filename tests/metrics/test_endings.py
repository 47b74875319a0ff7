"""The numbers are what was sent, however it ended: the ledger's rows, written by other code, say the same."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.plugin import Row
from gateway.testing import (
    Answer,
    Gate,
    ReceivedRequest,
    ScriptedUpstream,
    Stall,
    reply_json,
    reply_sse,
    running_gateway,
)
from tests.accounting.endings import ENDINGS, PRICES, answer, config, end, rows_of
from tests.metrics.kit import ASKED, CHAT, Numbers, scrape

DIALECTS = ("openai", "anthropic", "responses", "ollama")
ANSWERED = {
    "id": "c", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}  # fmt: skip
ENDPOINTS = {"openai_chat": "chat_completions", "anthropic": "messages", "openai_responses": "responses", "ollama": "ollama_chat"}  # fmt: skip
KINDS = {"cut": "truncated", "event": "error_event", "stall": "timeout", "never": "timeout", "refused": "status", "limited": "status", "begun": "truncated"}  # fmt: skip


def provider(row: Row) -> str:
    return (row.target or "").partition("/")[0]


async def test_every_ending_is_counted_as_its_row_says() -> None:
    asked = [(client, f"{up}-{ending}") for client in DIALECTS for up in DIALECTS for ending in ENDINGS]
    async with ScriptedUpstream(answer) as upstream:
        with_metrics = config(upstream.url).replace("plugins: [", "plugins: [metrics, ")
        async with running_gateway(with_metrics, files=PRICES, log_level="error") as gateway:
            await asyncio.gather(*(end(gateway, *each, f"r{n}") for n, each in enumerate(asked)))
            rows = await rows_of(gateway)
            told = await scrape(gateway)
    assert len(rows) == len(asked)
    for row in rows:
        labels = {"method": "POST", "endpoint": ENDPOINTS[row.dialect], "route": row.route or "other"}
        same = [r for r in rows if (r.dialect, r.route, r.status) == (row.dialect, row.route, row.status)]
        assert told.of("requests_total", **labels, status=str(row.status)) == len(same)
    sent = [row for row in rows if row.attempts]
    for name in DIALECTS:
        mine = [row for row in sent if provider(row) == name]
        assert told.of("provider_requests_total", provider=name) == len(mine)
        assert told.of("provider_latency_seconds_count", provider=name) == len(mine)
        assert told.of("tokens_total", provider=name, direction="input") == sum(row.prompt_tokens or 0 for row in mine)
        assert told.of("tokens_total", provider=name, direction="output") == sum(
            row.completion_tokens or 0 for row in mine
        )
        assert told.of("cost_usd_total", provider=name) == pytest.approx(float(sum(row.cost_usd or 0 for row in mine)))
        streamed = [row for row in mine if row.stream and row.ttft_ms is not None]
        assert told.of("time_to_first_token_seconds_count", provider=name) == len(streamed)
        for outcome, count in Counter(row.outcome for row in mine).items():
            assert told.of("attempts_total", target=f"{name}/*", outcome=outcome) == count
        assert told.of("request_duration_seconds_count", route=name) == len([r for r in rows if r.route == name])
        assert told.of("request_duration_seconds_sum", route=name) == pytest.approx(
            sum(r.duration_ms for r in rows if r.route == name) / 1000, abs=0.01
        )
        assert told.of("overhead_seconds_sum", route=name) == pytest.approx(
            sum(r.overhead_ms or 0 for r in rows if r.route == name) / 1000, abs=0.01
        )
    assert told.of("attempts_total") == told.of("provider_requests_total") == len(sent)
    assert told.of("client_disconnects_total") == len([row for row in rows if row.outcome == "disconnected"])
    assert told.of("stream_errors_total") == len([r for r in rows if r.status == 200 and r.outcome == "failed"])
    kinds = Counter(KINDS[model.partition("-")[2]] for _, model in asked if model.partition("-")[2] in KINDS)
    assert told.by("provider_errors_total", "kind") == kinds
    assert (told.of("ledger_rows_total"), told.of("ledger_dropped_total")) == (len(rows), 0)
    assert told.of("in_flight") == 0


TWO = """
    plugins: [metrics, {circuit_breaker: {failures: 2}}%s]
    providers: {first: {dialect: openai_chat, base_url: "%s/v1", api_key: k}, second: {dialect: openai_chat, base_url: "%s/v1", api_key: k}}
    routes: [{name: two, match: {model: m}, targets: [first/a, second/b], retry: {backoff: 1ms..2ms}%s}]
"""
BODY = {**ASKED, "model": "m"}


def first_fails(request: ReceivedRequest) -> Answer:
    return reply_json(ANSWERED) if request.json()["model"] == "b" else reply_json({"error": {"message": "no"}}, 500)


async def test_a_fallback_and_an_open_breaker_are_counted() -> None:
    async with ScriptedUpstream(first_fails) as upstream:
        async with running_gateway(TWO % ("", upstream.url, upstream.url, "")) as gateway:
            for _ in range(3):
                assert (await gateway.post(CHAT, BODY)).status == 200
            told = await scrape(gateway)
    assert told.of("requests_total", route="two", status="200") == 3
    assert told.of("attempts_total", target="first/a", outcome="failed") == 2  # then its breaker is open
    assert told.of("attempts_total", target="second/b", outcome="completed") == 3
    assert told.of("provider_errors_total", provider="first", kind="status") == 2
    assert told.by("circuit_state", "target") == {"first/a": 2, "second/b": 0}
    assert told.of("fallbacks_total", route="two") == 2  # the third began at the second: that is balance


async def test_a_target_that_only_a_fallback_names_is_a_fallback_from_the_first_try() -> None:
    async with ScriptedUpstream(first_fails) as upstream:
        text = (TWO % ("", upstream.url, upstream.url, ", fallbacks: [second/b]")).replace(
            "[first/a, second/b]", "[first/a]"
        )
        async with running_gateway(text) as gateway:
            for _ in range(3):
                assert (await gateway.post(CHAT, BODY)).status == 200
            told = await scrape(gateway)
    assert told.of("fallbacks_total", route="two") == 3


async def test_a_retry_is_an_attempt_more_and_no_fallback() -> None:
    answers = iter([reply_json({}, 503), reply_json(ANSWERED)])
    async with ScriptedUpstream(lambda _: next(answers)) as upstream:
        text = (TWO % ("", upstream.url, upstream.url, "")).replace("[first/a, second/b]", "[first/a]")
        async with running_gateway(text) as gateway:
            assert (await gateway.post(CHAT, BODY)).status == 200
            told = await scrape(gateway)
    assert told.by("attempts_total", "outcome") == {"failed": 1, "completed": 1}
    assert (told.of("requests_total", route="two"), told.of("fallbacks_total")) == (1, 0)


async def test_who_is_limited_is_counted_by_the_limit_and_a_kept_answer_makes_no_attempt() -> None:
    policies = ", {rate_limit: {limits: [{per: ip, requests: 2/min}]}}, cache"
    async with ScriptedUpstream(first_fails) as upstream:
        async with running_gateway(TWO % (policies, upstream.url, upstream.url, "")) as gateway:
            assert [(await gateway.post(CHAT, BODY)).status for _ in range(3)] == [200, 200, 429]
            told = await scrape(gateway)
    assert told.by("rate_limited_total", "limit") == {"ip:requests": 1}
    assert told.by("requests_total", "status") == {"200": 2, "429": 1}
    assert told.of("attempts_total", target="second/b") == 1
    assert told.of("tokens_total", direction="input") == 10


HEDGED = """
    plugins: [metrics]
    providers: {a: {dialect: openai, base_url: "%s/v1", api_key: k}, b: {dialect: openai, base_url: "%s/v1", api_key: k}}
    routes: [{name: r, targets: [a/one, b/two], hedge: {after: 5ms, budget: 100%%}}]
"""
STREAM = [
    {"id": "c", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]},
    {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    "[DONE]",
]


async def test_a_hedge_that_lost_was_given_up_and_one_that_won_is_no_fallback() -> None:
    async with ScriptedUpstream(lambda _: Stall()) as slow, ScriptedUpstream(lambda _: reply_sse(STREAM)) as quick:
        async with running_gateway(HEDGED % (slow.url, quick.url)) as gateway:
            assert (await gateway.post(CHAT, {**BODY, "stream": True})).status == 200
            told = await scrape(gateway)
    assert told.of("attempts_total", target="a/one", outcome="disconnected") == 1
    assert told.of("attempts_total", target="b/two", outcome="completed") == 1
    assert told.by("time_to_first_token_seconds_count", "provider") == {"b": 1}
    assert (told.of("fallbacks_total"), told.of("provider_errors_total"), told.of("client_disconnects_total")) == (
        0,
        0,
        0,
    )


async def test_a_state_that_cannot_be_reached_is_counted() -> None:
    text = """
        state: "redis://127.0.0.1:1/0"
        plugins: [metrics, {rate_limit: {limits: [{per: ip, requests: 9/min}]}}]
        providers: {echo: {}}
        routes: [{name: e, targets: [echo/echo]}]
    """
    async with running_gateway(text) as gateway:
        before = await scrape(gateway)
        assert (await gateway.post(CHAT, ASKED)).status == 200
        after = await scrape(gateway)
    assert after.of("state_errors_total") > before.of("state_errors_total")


async def test_what_is_being_answered_is_in_flight_and_a_scrape_is_not() -> None:
    gate = Gate()
    async with ScriptedUpstream(lambda _: [gate, *reply_json(ANSWERED)]) as upstream:
        async with running_gateway(TWO % ("", upstream.url, upstream.url, "")) as gateway:
            asking = asyncio.create_task(gateway.post(CHAT, BODY))
            await gate.reached()
            during = Numbers((await gateway.get("/metrics")).body.decode())
            gate.open()
            assert (await asking).status == 200
            after = await scrape(gateway)
    assert (during.of("in_flight"), during.of("requests_total", route="two")) == (1, 0)
    assert (after.of("in_flight"), after.of("requests_total", route="two")) == (0, 1)


async def test_what_was_not_http_is_counted_without_a_label_of_its_own() -> None:
    async with running_gateway(
        "plugins: [metrics]\nproviders: {echo: {}}\nroutes: [{name: e, targets: [echo/echo]}]"
    ) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(g.url.rpartition(":")[2]))
        writer.write(b"no http at all\r\n\r\n")
        assert await reader.read() != b""
        writer.close()
        told = await scrape(g)
    assert told.of("requests_total", endpoint="other", route="other", status="400") == 1
    assert told.of("ledger_rows_total") == 0
