"""What a row says, and who leaves none."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.exchange import Attempt
from gateway.server.record import waited_s
from gateway.testing import ScriptedUpstream, Stall, reply_json, running_gateway
from tests.accounting.endings import PRICES, answer, body_of, config, rows_of, whole

CHAT = "/v1/chat/completions"
ANSWERS_ITSELF = """
from gateway.plugin import Plugin, Principal, QuotaSpent, RateLimited, PermissionDenied, Unauthenticated

class Guard(Plugin):
    async def identify(self, request):
        who = request.headers.get("authorization", "").removeprefix("Bearer ")
        if who == "nobody":
            raise Unauthenticated("no such key")
        return Principal(who, {"team": "a"}) if who else None

    async def handle(self, exchange, call_next):
        errors = {"poor": QuotaSpent, "busy": RateLimited, "barred": PermissionDenied}
        if exchange.principal is not None and exchange.principal.name in errors:
            raise errors[exchange.principal.name]("no")
        exchange.notes["session"] = {"id": "sess_1"}
        return await call_next(exchange)
"""


def two(url: str, more: str = "") -> str:
    return f"""
        ledger: sqlite:rows.db
        plugins: [access_log{more}]
        providers: {{a: {{dialect: openai, base_url: {url}/v1, api_key: k}}, b: {{dialect: openai, base_url: {url}/v1, api_key: k}}}}
        routes: [{{name: both, match: {{model: "openai-*"}}, targets: ["a/*", "b/*"]}}]
    """


async def test_a_row_says_all_that_the_contract_names() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = two(upstream.url, ", guard")
        async with running_gateway(text, files=PRICES, plugins={"guard": ANSWERS_ITSELF}) as gateway:
            headers = {"authorization": "Bearer ann", "x-request-id": "mine"}
            got = await gateway.post(CHAT, body_of("openai", "openai-plain", False), headers=headers)
            [row] = await rows_of(gateway)
            [line] = gateway.events("request")
    assert got.headers["x-gateway-cost-usd"] == "0.000018"  # 10 at 1 and 4 at 2 USD a million
    assert (row.request_id, row.parent_id, row.principal, row.tags) == ("mine", None, "ann", {"team": "a"})
    assert row.exchange_id != "mine"  # which others may use too
    assert (row.session, row.route, row.dialect, row.endpoint) == ("sess_1", "both", "openai_chat", "chat_completions")
    assert (row.model_requested, row.target, row.attempts) == ("openai-plain", "a/openai-plain", 1)
    assert (row.status, row.outcome, row.stream, row.error_code) == (200, "completed", False, None)
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens) == (10, 4, 0)
    assert (row.cost_usd, row.estimated) == (Decimal("0.000018"), False)
    assert row.ttft_ms is not None and row.overhead_ms is not None
    assert 0 <= row.overhead_ms <= row.duration_ms and 0 < row.ttft_ms <= row.duration_ms
    [attempt] = row.tries
    assert attempt["target"] == "a/openai-plain" and attempt["status"] == 200 and attempt["error"] is None
    assert attempt["usage"] == {"prompt": 10, "completion": 4}
    assert (line["prompt_tokens"], line["completion_tokens"], line["cost_usd"]) == (10, 4, 0.000018)


async def test_every_try_counts_and_the_row_is_their_sum() -> None:
    script = [reply_json({"error": {"message": "no"}}, 500), reply_json(whole("openai", told=True))]
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(two(upstream.url), files=PRICES) as gateway:
            await gateway.post(CHAT, body_of("openai", "openai-x", False))
            [row] = await rows_of(gateway)
    first, second = row.tries
    assert (first["status"], first["error"], first["usage"]["prompt"]) == (500, "upstream_error", 0)
    assert (second["target"], second["usage"]) == ("b/openai-x", {"prompt": 10, "completion": 4})
    assert (row.attempts, row.target, row.cost_usd) == (2, "b/openai-x", Decimal("0.000018"))


async def test_a_hedge_that_lost_is_paid_for_too() -> None:
    def one_of_two(request: Any) -> Any:
        slow = request.path.startswith("/slow")
        return Stall() if slow else answer(request)

    async with ScriptedUpstream(one_of_two) as upstream:
        text = f"""
            ledger: sqlite:rows.db
            providers:
              a: {{dialect: openai, base_url: {upstream.url}/slow/v1, api_key: k}}
              b: {{dialect: openai, base_url: {upstream.url}/v1, api_key: k}}
            routes: [{{name: both, targets: ["a/*", "b/*"], hedge: {{after: 20ms, budget: 100%}}}}]
        """
        async with running_gateway(text, files=PRICES) as gateway:
            await gateway.post(CHAT, body_of("openai", "openai-whole", True))
            [row] = await rows_of(gateway)
    lost, won = row.tries
    assert (lost["target"], lost["error"], lost["usage"]["completion"]) == ("a/openai-whole", "hedge_lost", 0)
    assert (won["target"], won["usage"]) == ("b/openai-whole", {"prompt": 10, "completion": 4})
    assert lost["usage"]["prompt"] > 0 and row.estimated  # it was at work on the prompt
    assert (row.prompt_tokens, row.completion_tokens) == (lost["usage"]["prompt"] + 10, 4)


@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        ("nobody", 401, "invalid_api_key"),
        ("poor", 402, "insufficient_quota"),
        ("barred", 403, "permission_denied"),
        ("busy", 429, "rate_limit_exceeded"),
    ],
)
async def test_who_is_refused_leaves_a_row_without_tokens_or_cost(who: str, status: int, code: str) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = two(upstream.url, ", guard")
        async with running_gateway(text, files=PRICES, plugins={"guard": ANSWERS_ITSELF}) as gateway:
            headers = {"authorization": f"Bearer {who}"}
            got = await gateway.post(CHAT, body_of("openai", "openai-plain", False), headers=headers)
            [row] = await rows_of(gateway)
    assert (got.status, row.status, row.error_code, row.outcome) == (status, status, code, "failed")
    assert (row.prompt_tokens, row.completion_tokens, row.cost_usd, row.attempts) == (0, 0, Decimal(0), 0)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/health", None),
        ("GET", "/v1/models", None),
        ("OPTIONS", CHAT, None),
        ("GET", CHAT, None),
        ("POST", CHAT, b"{"),
        ("POST", CHAT, b'{"model":"openai-plain"}'),
        ("POST", CHAT, b'{"messages":[]}'),
    ],
)
async def test_pages_and_what_cannot_be_read_leave_no_row(method: str, path: str, body: bytes | None) -> None:
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream.url)) as gateway:
        await gateway.request(method, path, body=body)
        assert await rows_of(gateway) == []


async def test_who_is_turned_away_for_overload_leaves_no_row() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url) + "\n        server: {max_in_flight: 1}"
        async with running_gateway(text, files=PRICES) as gateway:
            held = body_of("openai", "openai-leftmid", True)
            async with gateway.session.post(gateway.url + CHAT, json=held) as response:
                assert response.status == 200
                got = await gateway.post(CHAT, body_of("openai", "openai-plain", False))
                response.close()
            [row] = await rows_of(gateway)
    assert got.status == 503 and row.outcome == "disconnected"


PARENT = """
from gateway.plugin import Plugin, answer

class Flow(Plugin):
    async def handle(self, exchange, call_next):
        if exchange.route is None or exchange.parent is not None:
            return await call_next(exchange)
        async with self.services.gateway.child(exchange, exchange.chat, through=call_next) as child:
            reply = await child.reply()
        return answer(exchange, reply, self.services.clock.time())
"""


async def test_a_parent_has_no_tokens_and_no_cost_of_its_own() -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = two(upstream.url, ", flow")
        async with running_gateway(text, files=PRICES, plugins={"flow": PARENT}) as gateway:
            got = await gateway.post(CHAT, body_of("openai", "openai-plain", False))
            child, parent = await rows_of(gateway)
            [line] = gateway.events("request")
    assert child.parent_id == parent.exchange_id and child.request_id == parent.request_id
    assert (parent.prompt_tokens, parent.completion_tokens, parent.cost_usd) == (0, 0, Decimal(0))
    used, said = (child.prompt_tokens, child.completion_tokens), got.json()["usage"]
    assert used == (said["prompt_tokens"], said["completion_tokens"]) != (0, 0)
    assert (line["prompt_tokens"], line["completion_tokens"]) == used  # what its client is told


async def test_who_leaves_before_there_is_a_connection_used_nothing() -> None:
    async with ScriptedUpstream(answer) as upstream:  # which waits for the rest of what is no HTTP: TLS never stands
        text = two(upstream.url).replace("http://", "https://")
        async with running_gateway(text, files=PRICES) as gateway:
            asking = asyncio.create_task(gateway.post(CHAT, body_of("openai", "openai-plain", False)))
            while not upstream.connections:
                await asyncio.sleep(0)
            asking.cancel()
            [row] = await rows_of(gateway)
    assert (row.outcome, row.attempts, row.prompt_tokens, row.cost_usd) == ("disconnected", 1, 0, Decimal(0))


async def test_an_unknown_price_is_null_and_told_once() -> None:
    async with ScriptedUpstream(answer) as upstream, running_gateway(two(upstream.url)) as gateway:
        for _ in range(3):
            got = await gateway.post(CHAT, body_of("openai", "openai-plain", False))
            assert "x-gateway-cost-usd" not in got.headers
        rows = await rows_of(gateway)
        [told] = gateway.events("price_unknown")
    assert [(row.cost_usd, row.prompt_tokens) for row in rows] == [(None, 10)] * 3
    assert (told["level"], told["provider"], told["model"]) == ("warning", "a", "openai-plain")


async def test_debug_tells_the_arithmetic() -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(two(upstream.url), files=PRICES, log_level="debug") as gateway:
            await gateway.post(CHAT, body_of("openai", "openai-plain", False))
            await gateway.settled()
            [told] = gateway.events("token_cost")
    assert told["arithmetic"] == [
        "input: 10 × 1 USD a million = 0.00001 USD",
        "output: 4 × 2 USD a million = 0.000008 USD",
        "total: 0.000018 USD",
    ]


async def test_an_estimate_says_so_in_head_line_and_row() -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(two(upstream.url), files=PRICES) as gateway:
            told = await gateway.post(CHAT, body_of("openai", "openai-plain", False))
            silent = await gateway.post(CHAT, body_of("openai", "openai-plainsilent", False))
            newer, older = await rows_of(gateway)
            lines = gateway.events("request")
    assert (told.headers.get("x-gateway-estimated"), silent.headers["x-gateway-estimated"]) == (None, "true")
    assert (older.estimated, newer.estimated) == (False, True)
    assert ["estimated" in line for line in lines] == [False, True]


async def test_echo_is_free_and_counts_its_tokens() -> None:
    async with running_gateway("ledger: sqlite:r.db\nroutes: [{name: e, targets: [echo/echo]}]") as gateway:
        got = await gateway.post(CHAT, {"model": "x", "messages": [{"role": "user", "content": "Hi"}]})
        [row] = await rows_of(gateway)
    assert got.headers["x-gateway-cost-usd"] == "0"
    assert row.cost_usd == 0 and row.prompt_tokens and row.completion_tokens


async def test_embeddings_are_priced_and_what_is_not_counted_in_tokens_is_unknown() -> None:
    def embeds(request: Any) -> Any:
        usage = {"prompt_tokens": 50, "total_tokens": 50}
        return reply_json({"object": "list", "data": [], "model": "m", "usage": usage})

    async with ScriptedUpstream(embeds) as upstream:
        async with running_gateway(two(upstream.url), files=PRICES) as gateway:
            await gateway.post("/v1/embeddings", {"model": "openai-e", "input": "text"})
            await gateway.post("/v1/images/generations", {"model": "openai-i", "prompt": "a cat"})
            image, embedding = await rows_of(gateway)
    assert (embedding.prompt_tokens, embedding.completion_tokens, embedding.cost_usd) == (50, 0, Decimal("0.00005"))
    assert (image.prompt_tokens, image.cost_usd) == (None, None)


async def test_the_service_tier_that_was_asked_for_is_what_is_priced() -> None:
    async with ScriptedUpstream(reply_json(whole("openai", told=True))) as upstream:
        text = f"providers: {{openai: {{base_url: {upstream.url}/v1, api_key: k}}}}\nroutes: [{{name: a, targets: ['openai/*']}}]"
        async with running_gateway(text) as gateway:
            costs = [
                (await gateway.post(CHAT, {"model": "gpt-5", "messages": [], **more})).headers["x-gateway-cost-usd"]
                for more in ({}, {"service_tier": "priority"}, {"service_tier": 7})
            ]
    assert costs == ["0.0000525", "0.000105", "0.0000525"]  # 10 at 1.25 and 4 at 10; twice that


def spans(*times: tuple[float | None, float | None]) -> list[Attempt]:
    made = []
    for sent, received in times:
        attempt = Attempt.__new__(Attempt)
        attempt.sent_at_s, attempt.received_at_s, attempt.ended_at_s = sent, received, received
        made.append(attempt)
    return made


def test_waiting_for_two_at_once_counts_once() -> None:
    assert waited_s(spans((10.0, 12.0))) == 2.0
    assert waited_s(spans((10.0, 12.0), (11.0, 13.0))) == 3.0
    assert waited_s(spans((10.0, 14.0), (11.0, 12.0), (20.0, 21.0))) == 5.0
    assert waited_s(spans((None, None))) == waited_s(spans((None, None), (None, None))) == 0.0
    assert waited_s([]) == 0.0
