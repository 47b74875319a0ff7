"""Keys and targets that rest: passed over for any that is awake, before they refuse, and never the last one."""

from __future__ import annotations

import asyncio

import pytest

from gateway.testing import ManualClock, RunningGateway, ScriptedUpstream, reply_json, running_gateway

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10}
LONG = {**ASK, "messages": [{"role": "user", "content": "x" * 20_000}]}
GOOD = {"id": "x", "object": "chat.completion", "model": "b", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}  # fmt: skip
SAID = reply_json(GOOD)
BUSY = {"error": {"message": "slow down", "type": "rate_limit_error"}}


def config(route: str, plugins: str = "access_log", **providers: str) -> str:
    lines = "".join(
        f'  {name}: {{dialect: openai, base_url: "{url}/v1", api_key: key-of-{name}-0001}}\n'
        for name, url in providers.items()
    )
    return f"version: 1\nplugins: [{plugins}]\nproviders:\n{lines}routes:\n  - {{name: r, {route}}}\n"


def stopped_clock() -> ManualClock:
    """Return a clock that agrees with the event loop's, by which transports measure their deadlines."""
    return ManualClock(monotonic=asyncio.get_running_loop().time())


async def reloaded(gateway: RunningGateway, text: str) -> None:
    (gateway.home / "gateway.yaml").write_text(text)
    await gateway.reloader.reload("test")


async def went_to(gateway: RunningGateway, ask: object = ASK) -> str:
    got = await gateway.post(CHAT, ask)
    assert got.status == 200
    return f"{got.headers['x-gateway-target']} {got.headers['x-gateway-attempts']}"


async def test_a_target_that_refused_is_passed_over_until_the_time_it_asked_for() -> None:
    clock = stopped_clock()
    busy = reply_json(BUSY, 429, [("retry-after", "30")])
    async with ScriptedUpstream([busy, SAID]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config("targets: [a/one], fallbacks: [b/two]", a=a.url, b=b.url), clock=clock) as gateway:  # fmt: skip
        assert [await went_to(gateway) for _ in range(3)] == ["b/two 2", "b/two 1", "b/two 1"]
        assert len(gateway.events("key_rests")) == 1
        clock.advance(30.0)
        assert await went_to(gateway) == "a/one 1"


async def test_the_only_target_is_asked_although_its_key_rests() -> None:
    async with ScriptedUpstream([reply_json(BUSY, 429, [("retry-after", "30")]), SAID]) as a, running_gateway(config("targets: [a/one]", a=a.url)) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.headers["retry-after"]) == (429, "30")
        assert await went_to(gateway) == "a/one 1"


async def test_when_all_rest_the_soonest_awake_is_asked_first_and_the_longest_wait_is_told() -> None:
    a_busy, b_busy = (reply_json(BUSY, 429, [("retry-after", wait)]) for wait in ("60", "20"))
    async with ScriptedUpstream([a_busy]) as a, ScriptedUpstream([b_busy]) as b, running_gateway(config("targets: [a/one, b/two]", a=a.url, b=b.url)) as gateway:  # fmt: skip
        for _ in range(2):
            got = await gateway.post(CHAT, ASK)
            assert (got.status, got.headers["retry-after"], got.headers["x-gateway-attempts"]) == (429, "60", "2")
        assert got.headers["x-gateway-target"] == "a/one"
        assert [line["target"] for line in gateway.events("attempt_failed")] == ["a/one", "b/two", "b/two", "a/one"]


async def test_a_target_without_requests_left_is_passed_over_before_it_refuses() -> None:
    clock = stopped_clock()
    last = reply_json(GOOD, 200, [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "12s")])
    async with ScriptedUpstream([last]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config("targets: [a/one, b/two]", a=a.url, b=b.url), clock=clock) as gateway:  # fmt: skip
        assert [await went_to(gateway) for _ in range(3)] == ["a/one 1", "b/two 1", "b/two 1"]
        clock.advance(12.0)
        assert await went_to(gateway) == "a/one 1"
        assert gateway.events("attempt_failed") == []


async def test_a_target_with_few_tokens_left_is_passed_over_by_long_requests_alone() -> None:
    few = reply_json(GOOD, 200, [("x-ratelimit-remaining-tokens", "4000"), ("x-ratelimit-reset-tokens", "40s")])
    async with ScriptedUpstream([few]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config("targets: [a/one, b/two]", a=a.url, b=b.url), clock=stopped_clock()) as gateway:  # fmt: skip
        asked = [ASK, LONG, ASK, LONG]
        assert [await went_to(gateway, ask) for ask in asked] == ["a/one 1", "b/two 1", "a/one 1", "b/two 1"]


async def test_a_rate_limit_of_one_model_leaves_the_others_of_its_key_awake() -> None:
    def answer(request: object) -> object:
        model = request.json()["model"]  # type: ignore[attr-defined]
        return reply_json(BUSY, 429, [("retry-after", "30")]) if model == "one" else SAID

    async with ScriptedUpstream(answer) as a, running_gateway(config("targets: [a/one, a/two]", a=a.url)) as gateway:  # type: ignore[arg-type]
        assert [await went_to(gateway) for _ in range(2)] == ["a/two 2", "a/two 1"]


async def test_a_key_without_money_rests_and_its_sibling_pays() -> None:
    def answer(request: object) -> object:
        spent = "key-number-1" in request.header("authorization")  # type: ignore[attr-defined]
        return reply_json({"error": {"message": "exceeded your current quota", "code": "insufficient_quota"}}, 429) if spent else SAID  # fmt: skip

    async with ScriptedUpstream(answer) as a:  # type: ignore[arg-type]
        text = config("targets: [a/one]", a=a.url).replace("api_key: key-of-a-0001", 'api_keys: ["key-number-1", "key-number-2"]')  # fmt: skip
        async with running_gateway(text) as gateway:
            assert [await went_to(gateway) for _ in range(4)] == ["a/one 1"] * 4
            assert len(a.requests) == 5
            assert len(gateway.events("key_rests")) == 1


async def test_a_429_for_money_is_not_repeated() -> None:
    async with ScriptedUpstream([reply_json(BUSY, 429), SAID]) as a, running_gateway(config("targets: [a/one]", a=a.url)) as gateway:  # fmt: skip
        assert (await gateway.post(CHAT, ASK)).status == 429
        assert len(a.requests) == 1


async def test_a_target_whose_credential_was_refused_rests_though_it_has_but_one_key() -> None:
    refused = reply_json({"error": {"message": "bad key"}}, 401)
    async with ScriptedUpstream([refused]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config("targets: [a/one, b/two]", a=a.url, b=b.url)) as gateway:  # fmt: skip
        assert [await went_to(gateway) for _ in range(3)] == ["b/two 2", "b/two 1", "b/two 1"]


async def test_the_clients_own_credentials_never_rest() -> None:
    refused = reply_json({"error": {"message": "bad key"}}, 401)
    async with ScriptedUpstream([refused, SAID]) as a, ScriptedUpstream([SAID]) as b:
        text = config("targets: [a/one, b/two]", a=a.url, b=b.url).replace("api_key: key-of-a-0001", "auth: passthrough")  # fmt: skip
        async with running_gateway(text) as gateway:
            assert [await went_to(gateway) for _ in range(2)] == ["b/two 2", "a/one 1"]


async def test_a_rest_survives_a_reload() -> None:
    async with ScriptedUpstream([reply_json(BUSY, 429, [("retry-after", "30")])]) as a, ScriptedUpstream([SAID]) as b:
        text = config("targets: [a/one, b/two]", a=a.url, b=b.url)
        async with running_gateway(text) as gateway:
            assert await went_to(gateway) == "b/two 2"
            await reloaded(gateway, text + "# again\n")
            assert await went_to(gateway) == "b/two 1"


async def test_round_robin_leaves_a_resting_target_out_and_goes_on_after_a_reload() -> None:
    busy = reply_json(BUSY, 429, [("retry-after", "30")])
    async with ScriptedUpstream([busy]) as a, ScriptedUpstream([SAID]) as b, ScriptedUpstream([SAID]) as c:
        text = config("targets: [a/one, b/two, c/three], balance: round_robin", a=a.url, b=b.url, c=c.url)
        async with running_gateway(text) as gateway:
            seen = [await went_to(gateway) for _ in range(4)]
            await reloaded(gateway, text + "# again\n")
            seen += [await went_to(gateway) for _ in range(2)]
        assert seen == ["b/two 2", "b/two 1", "c/three 1", "b/two 1", "c/three 1", "b/two 1"]


@pytest.mark.parametrize("balance", ["weighted", "round_robin", "least_busy", "fastest", "cheapest", "sticky"])
async def test_under_every_balance_a_failing_target_is_followed_by_the_others(balance: str) -> None:
    broken = reply_json({"error": {"message": "boom"}}, 500)
    async with ScriptedUpstream([broken]) as a, ScriptedUpstream([SAID]) as b, running_gateway(config(f"targets: [a/one, b/two], balance: {balance}", a=a.url, b=b.url)) as gateway:  # fmt: skip
        assert {(await went_to(gateway)).partition(" ")[0] for _ in range(12)} == {"b/two"}


async def test_an_open_breaker_leaves_its_share_to_the_others_in_turn() -> None:
    broken = reply_json({"error": {"message": "boom"}}, 500)
    async with ScriptedUpstream([broken]) as a, ScriptedUpstream([SAID]) as b, ScriptedUpstream([SAID]) as c:
        text = config("targets: [a/one, b/two, c/three], balance: round_robin", "circuit_breaker: {failures: 1}", a=a.url, b=b.url, c=c.url)  # fmt: skip
        async with running_gateway(text) as gateway:
            await went_to(gateway)
            seen = [(await went_to(gateway)).partition("/")[0] for _ in range(40)]
        assert (seen.count("b"), seen.count("c"), len(a.requests)) == (20, 20, 1)


async def test_an_overloaded_upstream_is_told_in_each_dialects_own_words() -> None:
    overloaded = reply_json({"error": {"message": "busy"}}, 529)
    async with ScriptedUpstream([overloaded]) as a, running_gateway(config("targets: [a/one], retry: {attempts: 1}", a=a.url)) as gateway:  # fmt: skip
        got = await gateway.post(CHAT, ASK)
        assert (got.status, got.json()["error"]["code"]) == (503, "overloaded")
        got = await gateway.post("/v1/messages", ASK)
        assert (got.status, got.json()["error"]["type"]) == (529, "overloaded_error")
