"""What no line of the log may show: every secret of the configuration, wherever it stands."""

from __future__ import annotations

import json

from gateway.testing import ScriptedUpstream, reply_json, reply_sse, running_gateway

CONFIG = """
plugins: [access_log: {{bodies: true}}]
providers:
  up:
    dialect: openai
    base_url: "{url}/v1"
    api_keys: [canary-first-key, "${{SECOND}}"]
    headers: {{x-team-token: "${{TOKEN}}"}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""


async def test_no_secret_of_the_configuration_is_logged_even_when_the_upstream_repeats_it() -> None:
    said = "you are canary-first-key, canary-second-key and canary-team-token"
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]}
    environ = {"SECOND": "canary-second-key", "TOKEN": "canary-team-token"}
    async with ScriptedUpstream(reply_json(answer)) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url), environ=environ) as gateway:
            body = {"model": "m", "messages": [{"role": "user", "content": said}]}
            assert (await gateway.post("/v1/chat/completions", body)).status == 200
            await gateway.settled()
            assert any("you are ***, *** and ***" in json.dumps(line) for line in gateway.log)
            assert "canary" not in json.dumps(gateway.log)


async def test_an_upstreams_error_within_a_stream_passes_without_keys_and_addresses() -> None:
    first = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "said"}}]}
    failed = {"error": {"message": "sk-abcdefghijklmnopqrstuv is bad, see http://10.1.2.3:8/x", "code": 500, "more": 1}}
    async with ScriptedUpstream(reply_sse([first, failed])) as upstream:
        async with running_gateway(
            CONFIG.format(url=upstream.url), environ={"SECOND": "b" * 9, "TOKEN": "c"}
        ) as gateway:
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
            answer = await gateway.post("/v1/chat/completions", body)
            event = json.loads(answer.body.splitlines()[2].removeprefix(b"data: "))
            assert event == {"error": {"message": "[removed] is bad, see [address]", "code": 500, "more": 1}}
            assert b"[DONE]" not in answer.body


NOSY = """
    from gateway.plugin import Plugin

    class Nosy(Plugin):
        async def handle(self, exchange, call_next):
            url = "https://me:canary-password@host.example/x?api_key=canary-in-a-query&b=1"
            self.services.log.info("nosy", headers=dict(exchange.request.headers), url=url)
            return await call_next(exchange)
"""


async def test_headers_and_addresses_that_a_plugin_logs_are_without_credentials() -> None:
    given = {"X-Api-Key": "canary-1", "Cookie": "session=canary-2; b=c", "x-other": "kept"}
    said = {"role": "assistant", "content": "hi"}
    answer = {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}
    async with ScriptedUpstream(reply_json(answer)) as upstream:
        config = CONFIG.format(url=upstream.url).replace("plugins: [", "plugins: [nosy, ")
        environ = {"SECOND": "b" * 9, "TOKEN": "c"}
        async with running_gateway(config, plugins={"nosy": NOSY}, environ=environ) as gateway:
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            assert (await gateway.post("/v1/chat/completions?key=canary-4", body, headers=given)).status == 200
            (line,) = gateway.events("nosy")
            assert line["url"] == "https://***@host.example/x?api_key=***&b=1"
            assert line["headers"]["x-other"] == "kept" and line["headers"]["Cookie"] == "***"
            assert "canary" not in json.dumps(gateway.log)


async def test_what_the_caller_showed_is_not_in_the_bodies_that_are_logged_whatever_form_it_has() -> None:
    shown = {"authorization": "Bearer my-own-password", "x-api-key": "another-one"}
    async with running_gateway(
        "plugins: [access_log: {bodies: true}]\nroutes: [{targets: [echo/echo], name: e}]"
    ) as gateway:
        said = "why are my-own-password and another-one refused, but not my-own-pass"
        body = {"model": "echo", "messages": [{"role": "user", "content": said}]}
        assert (await gateway.post("/v1/chat/completions", body, headers=shown)).status == 200
        await gateway.settled()
        [line] = gateway.events("request")
        assert "why are *** and *** refused, but not my-own-pass" in line["request_body"]
        assert line["answer"] == "why are *** and *** refused, but not my-own-pass"
