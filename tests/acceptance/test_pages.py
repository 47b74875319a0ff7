"""What the gateway says of itself: fallbacks count, and DEBUG tells each step."""

from __future__ import annotations

from gateway.testing import ScriptedUpstream, reply_json, running_gateway

FALLBACK = """
providers: {off: {dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: ""}, echo: {}}
routes: [{name: one, match: {model: one}, targets: [off/m], fallbacks: [echo/echo]}]
"""


async def test_a_route_that_lives_by_its_fallback_is_ready_listed_and_served() -> None:
    async with running_gateway(FALLBACK) as gateway:
        assert (await gateway.get("/ready")).json()["status"] == "ready"
        assert [model["id"] for model in (await gateway.get("/v1/models")).json()["data"]] == ["one"]
        assert (await gateway.get("/v1/models/one")).status == 200
        body = {"model": "one", "messages": [{"role": "user", "content": "hi"}]}
        assert (await gateway.post("/v1/chat/completions", body)).headers["x-gateway-target"] == "echo/echo"


async def test_a_fallback_that_keeps_the_models_name_lists_its_models() -> None:
    async with ScriptedUpstream(reply_json({"data": [{"id": "gpt-x"}, {"id": "other"}]})) as upstream:
        config = FALLBACK.replace("echo: {}", f'up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: k}}')
        config = config.replace("model: one", 'model: "gpt-*"').replace("echo/echo", '"up/*"')
        async with running_gateway(config) as gateway:
            assert [model["id"] for model in (await gateway.get("/v1/models")).json()["data"]] == ["gpt-x"]


async def test_hello_is_answered_to_get_and_head() -> None:
    async with running_gateway(FALLBACK) as gateway:
        assert (await gateway.get("/api/hello")).json() == {"message": "hello"}
        assert (await gateway.request("HEAD", "/api/hello")).status == 200


async def test_debug_tells_each_step_of_an_attempt() -> None:
    async with ScriptedUpstream(reply_json({"choices": []})) as upstream:
        config = f"""
            providers: {{up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: canary-key}}}}
            routes: [{{name: all, targets: ["up/*"]}}]
        """
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        async with running_gateway(config, log_level="debug") as gateway:
            await gateway.post("/v1/chat/completions", body)
            (sent,), (head,) = gateway.events("attempt"), gateway.events("upstream_head")
            assert (sent["level"], sent["target"], sent["path"]) == ("debug", "up/m", "/v1/chat/completions")
            assert (head["status"], head["request_id"]) == (200, sent["request_id"])
        async with running_gateway(config, log_level="info") as gateway:
            await gateway.post("/v1/chat/completions", body)
            assert not gateway.events("attempt") and not gateway.events("upstream_head")
