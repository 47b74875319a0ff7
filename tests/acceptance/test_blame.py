"""Whose fault the log says it was."""

from __future__ import annotations

import pytest

from gateway.testing import ScriptedUpstream, reply_json, running_gateway

AROUND = """
    from gateway.plugin import Plugin, Unavailable

    class Around(Plugin):
        async def handle(self, exchange, call_next):
            if exchange.request.model == "mine":
                raise Unavailable("closed for lunch")
            return await call_next(exchange)

        async def attempt(self, attempt, call_next):
            if attempt.exchange.request.model == "mine-inside":
                raise RuntimeError("lost")
            return await call_next(attempt)
"""


@pytest.mark.parametrize(
    ("model", "status", "plugin"),
    [("upstreams", 502, None), ("mine", 503, "around"), ("mine-inside", 500, "around"), ("off", 503, None)],
)
async def test_a_failure_that_only_passed_through_a_plugin_is_not_its_fault(
    model: str, status: int, plugin: str | None
) -> None:
    async with ScriptedUpstream(reply_json({"error": {"message": "broken"}}, status=500)) as upstream:
        config = f"""
            plugins: [around, timeouts]
            providers:
              up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: k}}
              off: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: ""}}
            routes:
              - {{name: off, match: {{model: "off"}}, targets: ["off/*"]}}
              - {{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}
        """
        async with running_gateway(config, plugins={"around": AROUND}) as gateway:
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            assert (await gateway.post("/v1/chat/completions", body)).status == status
            await gateway.settled()
            (line,) = gateway.events("request_failed")
            assert line.get("plugin") == plugin
