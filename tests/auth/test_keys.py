"""Virtual keys of the file: who gets in, as whom, and to what."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from anthropic import AsyncAnthropic
from ollama import AsyncClient
from openai import AsyncOpenAI, AuthenticationError, PermissionDeniedError

from gateway import credentials
from gateway.amounts import MoneyRate, Rate
from gateway.testing import ManualClock, ScriptedUpstream, reply_json, running_gateway
from tests.auth.conftest import NOW, ROUTES, SECRET, ask, bearer, code, entry, hashed, signed, status

KEYS = f"""
      keys:
        - {entry("team-a", "key-one")}
        - {entry("team-a", "key-two", 'tags: {team: blue}, expires: "2027-01-15T08:00:01Z"')}
        - {entry("bound", "key-bound", 'models: ["gpt-*", echo], routes: [echo]')}
        - {entry("routed", "key-routed", "routes: blue")}
"""
HOME = f"""
plugins:
  - access_log
  - auth:{KEYS}
{ROUTES}
"""


async def test_a_key_gets_in_by_either_header_and_authorization_counts_first() -> None:
    async with running_gateway(HOME) as gateway:
        for headers, expected in [
            (bearer("key-one"), 200),
            ({"x-api-key": "key-one"}, 200),
            ({"authorization": "bearer   key-one "}, 200),
            ({**bearer("key-one"), "x-api-key": "wrong"}, 200),
            ({**bearer("wrong"), "x-api-key": "key-one"}, 401),
            ({"authorization": "Bearer ", "x-api-key": "key-one"}, 200),
            ({"authorization": "Basic a2V5LW9uZQ==", "x-api-key": "key-one"}, 200),
            ({"authorization": "key-one"}, 401),
            ({"x-goog-api-key": "key-one"}, 401),
            ({"cookie": "key=key-one"}, 401),
            ({}, 401),
        ]:
            assert (await ask(gateway, headers)).status == expected, headers
        assert (await gateway.get("/v1/models?key=key-one")).status == 401


async def test_several_keys_of_one_name_are_one_principal_and_each_ends_by_itself() -> None:
    clock = ManualClock(time=NOW)
    async with running_gateway(HOME, clock=clock) as gateway:
        assert [await status(gateway, key) for key in ("key-one", "key-two")] == [200, 200]
        clock.advance(1)
        assert code(await ask(gateway, bearer("key-two"))) == (401, "invalid_api_key")
        assert await status(gateway, "key-one") == 200
        gateway.configure(HOME.replace(entry("team-a", "key-one"), entry("team-a", "key-three")))
        await gateway.reloader.reload("test")
        assert [await status(gateway, key) for key in ("key-one", "key-three")] == [401, 200]
        await gateway.settled()
        assert {line["principal"] for line in gateway.events("request") if line["status"] == 200} == {"team-a"}


async def test_models_and_routes_of_a_key_are_403_before_anything_is_sent_and_are_not_listed() -> None:
    async with running_gateway(HOME) as gateway:
        assert await status(gateway, "key-bound", "gpt-5") == 200
        assert code(await ask(gateway, bearer("key-bound"), "smart")) == (403, "permission_denied")
        assert code(await ask(gateway, bearer("key-routed"))) == (403, "permission_denied")
        assert (await gateway.get("/files/x", headers=bearer("key-bound"))).status == 403
        assert code(await ask(gateway, bearer("key-bound"), "nobody-has-it")) == (404, "model_not_found")
        for key, names in (("key-bound", ["echo"]), ("key-one", ["echo", "smart"]), ("key-routed", [])):
            listed = (await gateway.get("/v1/models", headers=bearer(key))).json()["data"]
            assert [each["id"] for each in listed] == names, key
            tags = (await gateway.get("/api/tags", headers=bearer(key))).json()["models"]
            assert [each["name"] for each in tags] == names, key
        assert (await gateway.get("/v1/models/smart", headers=bearer("key-bound"))).status == 404
        assert (await gateway.get("/v1/models/smart", headers=bearer("key-one"))).status == 200
        await gateway.settled()
        refused = [line for line in gateway.events("request") if line["status"] == 403]
        assert [(line["principal"], line["attempts"]) for line in refused] == [
            ("bound", 0), ("routed", 0), ("bound", 0)
        ]  # fmt: skip


async def test_a_route_with_tags_is_listed_for_those_it_takes() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        answer = await gateway.get("/v1/models", headers=bearer("key-two"))
        assert [each["id"] for each in answer.json()["data"]] == ["echo", "smart", "blue"]
        assert await status(gateway, "key-two", "blue") == 200


async def test_401_comes_first_on_every_path_but_the_public_ones() -> None:
    async with running_gateway(HOME.replace("access_log", 'cors: {origins: ["*"]}')) as gateway:
        for method, path in [
            ("GET", "/v1/models"), ("GET", "/v1/models/echo"), ("GET", "/v1/providers"), ("GET", "/nothing"),
            ("POST", "/v1/nothing"), ("DELETE", "/v1/models"), ("GET", "/v1/chat/completions"), ("GET", "/api/tags"),
            ("GET", "/%2e%2e/x"), ("GET", "/a;b"), ("POST", "/health"), ("GET", "/HEALTH"), ("GET", "/files/x"),
            ("GET", "/v1/responses"), ("POST", "/api/show"), ("OPTIONS", "/v1/models"),
        ]:  # fmt: skip
            assert (await gateway.request(method, path)).status == 401, (method, path)
        for method, path in [
            ("GET", "/"), ("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/health"), ("GET", "/ready"),
            ("GET", "/health/ready"), ("GET", "/docs"), ("GET", "/openapi.json"),
        ]:  # fmt: skip
            assert (await gateway.request(method, path)).status == 200, (method, path)
        preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
        assert (await gateway.request("OPTIONS", "/v1/chat/completions", headers=preflight)).status == 204


async def test_only_tokens_are_judged_as_tokens_while_there_are_keys() -> None:
    home = HOME.replace("    keys:", f'    jwt: {{secret: "{SECRET}"}}\n      keys:')
    async with running_gateway(home, clock=ManualClock(time=NOW)) as gateway:
        assert await status(gateway, signed({"sub": "x", "exp": NOW + 60})) == 200
        assert await status(gateway, "a.b.c") == 403
        assert await status(gateway, "not-a-key") == 401
        assert await status(gateway, "key-one") == 200


async def test_the_official_clients_get_in_with_a_key_and_are_told_when_they_may_not() -> None:
    said = [{"role": "user", "content": "hi"}]
    async with running_gateway(HOME) as gateway:
        client = AsyncOpenAI(base_url=gateway.url + "/v1", api_key="key-bound", max_retries=0)
        assert (await client.chat.completions.create(model="echo", messages=said)).choices[0].message.content  # type: ignore[arg-type]
        with pytest.raises(PermissionDeniedError):
            await client.chat.completions.create(model="smart", messages=said)  # type: ignore[arg-type]
        with pytest.raises(AuthenticationError):
            await client.with_options(api_key="wrong").models.list()
        for given in ({"api_key": "key-one"}, {"auth_token": "key-one"}):
            anthropic = AsyncAnthropic(base_url=gateway.url, max_retries=0, **given)
            answer = await anthropic.messages.create(model="echo", max_tokens=9, messages=said)  # type: ignore[arg-type]
            assert answer.content
        ollama = AsyncClient(host=gateway.url, headers=bearer("key-one"))
        assert (await ollama.chat(model="echo", messages=said)).message.content


async def test_a_key_is_in_no_log_line_no_answer_and_no_repr() -> None:
    key = credentials.new_key()
    home = HOME.replace(hashed("key-one"), hashed(key)).replace("- access_log", "- access_log: {bodies: true}")
    spy = """
        from gateway.plugin import Plugin

        class Spy(Plugin):
            async def handle(self, exchange, call_next):
                self.services.log.debug("spy", headers=dict(exchange.request.headers), all=repr(exchange.principal))
                return await call_next(exchange)
    """
    async with running_gateway(
        home.replace("  - auth", "  - spy\n  - auth"), plugins={"spy": spy}, log_level="debug"
    ) as gateway:
        assert await status(gateway, key) == 200
        wrong = credentials.new_key()
        answer = await gateway.post("/v1/chat/completions", {"model": key, "messages": [wrong]}, headers=bearer(key))
        refused = await ask(gateway, {"x-api-key": wrong})
        await gateway.settled()
        log = json.dumps(gateway.log)
        assert key[3:] not in log and wrong[3:] not in log and '"spy"' in log
        assert wrong.encode() not in refused.body + answer.body
        auth = next(plugin for plugin in gateway.core.snapshot.plugins if plugin.name == "auth")
        assert not any(key in repr(value) for value in vars(auth).values())


async def test_a_principal_carries_what_stands_beside_its_key() -> None:
    more = "budget: $5/day, limits: {requests: 60/min, burst: 3, tokens: 1k/min}, tags: {team: a}"
    home = HOME.replace(entry("team-a", "key-one"), entry("team-a", "key-one", more))
    spy = """
        from gateway.plugin import Plugin, Reply

        class Spy(Plugin):
            async def handle(self, exchange, call_next):
                principal = exchange.principal
                return Reply(200, {}, repr((principal.budget, principal.limits, principal.tags)).encode())
    """
    async with running_gateway(home.replace("  - access_log", "  - spy"), plugins={"spy": spy}) as gateway:
        found = (await gateway.get("/nothing", headers=bearer("key-one"))).body.decode()
        assert "MoneyRate(amount_usd=Decimal('5'), period='day')" in found
        assert "'requests': Rate(amount=60, period_s=60.0)" in found and "'burst': 3" in found
        assert "{'team': 'a'}" in found


async def test_the_key_that_let_a_caller_in_never_goes_upstream_and_its_own_for_the_upstream_does() -> None:
    said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    async with ScriptedUpstream(reply_json(said)) as upstream:
        home = f"""
        plugins: [{{auth: {{keys: [{entry("team-a", "key-one")}]}}}}]
        providers: {{up: {{dialect: openai, base_url: "{upstream.url}/v1", auth: passthrough}}}}
        routes: [{{name: all, targets: ["up/*"]}}]
        """
        async with running_gateway(home) as gateway:
            assert (await ask(gateway, {**bearer("key-one"), "x-api-key": "theirs"})).status == 200
            assert (await ask(gateway, {"x-api-key": "key-one"})).status == 200
        for request, sent in zip(upstream.requests, ("theirs", ""), strict=True):
            assert request.header("x-api-key") == sent and not request.header("authorization")


def test_keys_are_random_and_kept_as_their_hash() -> None:
    made = {credentials.new_key() for _ in range(100)}
    assert len(made) == 100 and all(credentials.GENERATED.fullmatch(key) for key in made)
    key = made.pop()
    assert credentials.read_hash(credentials.hash_of(key)) == credentials.digest_of(key)
    with pytest.raises(ValueError, match="64 hex"):
        credentials.read_hash("sha256:12")


def test_facts_of_a_key_survive_the_ledger_and_odd_ones_are_refused() -> None:
    facts = {
        "models": ("a", "b*"), "routes": ("r",), "tags": {"t": "x"}, "budget": MoneyRate(Decimal(5), "day"),
        "limits": {"requests": Rate(6, 60.0), "burst": 2},
    }  # fmt: skip
    assert credentials.read_facts(json.loads(json.dumps(credentials.kept_facts(facts)))) == facts
    for odd in (
        {"models": [7]}, {"models": "all"}, {"model": ["a"]}, {"budget": "$5/day"}, {"budget": {"amount_usd": "NaN", "period": "day"}},
        {"limits": {"requests": "60/min"}}, {"limits": {"speed": 1}}, {"tags": {"a": 1}}, {"tags": ["a"]},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            credentials.read_facts(odd)
