"""A reload builds anew and swaps whole, or changes nothing; what runs goes on as it began."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.errors import ConfigError, ConfigErrors
from gateway.testing import Gate, RunningGateway, ScriptedUpstream, reply_json, reply_sse, running_gateway
from tests.server.conftest import OPENAI
from tests.server.raw import chat, post, raw_client

FIRST = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hello"}}]}
LAST = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
LIFE = '''
    """Notes its own start, close and every answer; refuses to start, or breaks, when told to."""
    from gateway.plugin import ConfigError, Plugin

    class Life(Plugin):
        options_schema = {"type": "object", "properties": {"name": {"type": "string"}, "fault": {"type": "string", "default": ""}}}

        def __init__(self, options, services):
            super().__init__(options, services)
            self.notes = services.lasting("notes", list)
            if options["fault"] == "made":
                raise RuntimeError("cannot be made")

        async def start(self):
            if self.options["fault"] == "refuses":
                raise ConfigError("the database is away", cure="start it")
            if self.options["fault"] == "breaks":
                raise OSError("disk full")
            self.notes.append("start " + self.options["name"])

        async def close(self):
            self.notes.append("close " + self.options["name"])

        async def handle(self, exchange, call_next):
            exchange.headers["x-name"] = self.options["name"]
            return await call_next(exchange)

        async def complete(self, exchange):
            self.notes.append("complete " + self.options["name"])
'''


def config(url: str, name: str = "one", fault: str = "", more: str = "") -> str:
    return f"""
        plugins: [access_log, life: {{name: {name}, fault: "{fault}"}}]
        providers: {{up: {{dialect: openai, base_url: "{url}/v1", api_key: secret-of-the-provider}}}}
        routes: [{{name: all, match: {{model: m}}, targets: ["up/*"], retry: {{attempts: 1}}}}]
        {more}
    """


def notes(gateway: RunningGateway) -> list[str]:
    found: list[str] = gateway.core.lasting.get("plugin life: notes", list)
    return found


async def reload(gateway: RunningGateway, text: str) -> None:
    gateway.configure(text)
    await gateway.reloader.reload("test")


async def test_a_request_in_flight_keeps_its_snapshot_whose_plugins_close_after_it() -> None:
    gate = Gate()
    async with ScriptedUpstream(reply_sse([FIRST, gate, LAST, "[DONE]"])) as upstream:
        async with running_gateway(config(upstream.url), plugins={"life": LIFE}) as gateway:
            asked = asyncio.create_task(gateway.post("/v1/chat/completions", body=chat(stream=True)))
            await gate.reached()
            await reload(gateway, config(upstream.url, "two"))
            assert (await gateway.get("/health")).headers["x-name"] == "two"
            assert notes(gateway) == ["start one", "start two"]
            gate.open()
            answer = await asked
            assert answer.headers["x-name"] == "one" and answer.body.endswith(b"data: [DONE]\n\n")
            await gateway.settled()
            assert notes(gateway) == ["start one", "start two", "complete one", "close one"]


@pytest.mark.parametrize(
    ("fault", "says"), [("refuses", "the database is away"), ("breaks", "disk full"), ("made", "cannot be made")]
)
async def test_a_plugin_can_refuse_a_reload(fault: str, says: str, upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url), plugins={"life": LIFE}) as gateway:
        digest = gateway.core.snapshot.digest
        with pytest.raises(ConfigError, match=says):
            await reload(gateway, config(upstream.url, "two", fault))
        assert gateway.core.snapshot.digest == digest and gateway.core.last_reload_failed
        answer = await gateway.get("/ready")
        assert answer.status == 200 and answer.headers["x-name"] == "one" and answer.json()["status"] == "degraded"
        assert notes(gateway) == ["start one"]
        (line,) = gateway.events("reload_failed")
        assert line["level"] == "error" and says in line["errors"][0]
        await reload(gateway, config(upstream.url, "three"))
        assert (await gateway.get("/ready")).json()["status"] == "ready"


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("server: {listen: '127.0.0.1:9999'}", "server.listen"),
        ("admin: {listen: '127.0.0.1:9998'}", "admin.listen"),
    ],
)
async def test_what_needs_a_restart_is_refused_and_named(more: str, names: str, upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url), plugins={"life": LIFE}) as gateway:
        with pytest.raises(ConfigError, match="needs a restart") as refused:
            await reload(gateway, config(upstream.url, "two", more=more))
        assert names in str(refused.value)
        assert (await gateway.get("/health")).headers["x-name"] == "one"


async def test_a_bad_file_says_where_and_shows_no_secret(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url), plugins={"life": LIFE}) as gateway:
        with pytest.raises(ConfigErrors) as refused:
            await reload(gateway, config(upstream.url).replace('"up/*"', '"nobody/*"'))
        (error,) = refused.value.errors
        assert (error.file, error.line) == ("gateway.yaml", 5) and error.column
        assert "secret-of-the-provider" not in json.dumps(gateway.log)


async def test_counters_and_connections_outlive_a_reload(upstream: ScriptedUpstream) -> None:
    async with running_gateway(config(upstream.url), plugins={"life": LIFE}) as gateway:
        for name in ("two", "three", "four"):
            assert (await gateway.post("/v1/chat/completions", body=chat())).status == 200
            await reload(gateway, config(upstream.url, name))
        assert (await gateway.post("/v1/chat/completions", body=chat())).status == 200
        assert len(upstream.connections) == 1


async def test_reloads_under_load_lose_no_request_and_cut_no_stream() -> None:
    gate = Gate()

    def script(request):  # type: ignore[no-untyped-def]
        return reply_sse([FIRST, gate, LAST, "[DONE]"]) if request.json().get("stream") else reply_json(OPENAI)

    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(config(upstream.url), plugins={"life": LIFE}, log_level="error") as gateway:
            streams = [
                asyncio.create_task(gateway.post("/v1/chat/completions", body=chat(stream=True))) for _ in range(50)
            ]
            async with asyncio.timeout(20):
                while len(upstream.requests) < 50:
                    await asyncio.sleep(0.005)
            served = 0
            over = False

            async def client() -> None:
                nonlocal served
                async with raw_client(gateway) as connection:  # one connection for good: a cut would show
                    while not over:
                        await connection.send(post())
                        answer = await connection.answer()
                        assert answer is not None and answer.status == 200, answer
                        served += 1

            clients = [asyncio.create_task(client()) for _ in range(4)]
            bad = 0
            for number in range(200):
                broken = number % 10 == 9
                gateway.configure(config(upstream.url, f"n{number}", "refuses" if broken else ""))
                try:
                    await gateway.reloader.reload("test")
                except ConfigError:
                    bad += 1
                assert broken or gateway.core.snapshot.config.plugins[1].options["name"] == f"n{number}"
            over = True
            await asyncio.gather(*clients)
            gate.open()
            for answer in await asyncio.gather(*streams):
                assert answer.body.endswith(b"data: [DONE]\n\n") and answer.headers["x-name"] == "one"
            assert bad == 20 and served > 200
            await gateway.settled()
            closed = [note for note in notes(gateway) if note.startswith("close")]
            assert len(closed) == len(set(closed)) == 180  # every one but the one in force
