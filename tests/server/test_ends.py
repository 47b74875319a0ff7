"""Every exchange ends once, whoever ends it; what was opened upstream is let go."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.testing import (
    Answer,
    Close,
    Gate,
    ReceivedRequest,
    Reset,
    RunningGateway,
    Script,
    ScriptedUpstream,
    Stall,
    reply_bytes,
    reply_json,
    reply_sse,
    running_gateway,
)
from tests.server.conftest import OPENAI
from tests.server.raw import chat, post, raw_client

COUNTING = '''
    """Counts the ends of exchanges by id."""
    import asyncio
    from gateway.plugin import Plugin

    class Counting(Plugin):
        options_schema = {"type": "object", "additionalProperties": False, "properties": {"waits": {"type": "boolean", "default": False}}}

        async def finish(self, exchange):
            if self.options["waits"]:
                await asyncio.sleep(0.05)
            ends = self.services.lasting("ends", list)
            ends.append((exchange.id, exchange.outcome, exchange.status, exchange.error.code if exchange.error else None))
'''
FAULTY = '''
    """Raises, or waits for ever, where its options say, for requests that ask for it."""
    import asyncio
    from gateway.plugin import InternalError, Plugin, Unavailable

    class Faulty(Plugin):
        async def identify(self, request):
            if request.headers.get("x-fault") == "identify":
                raise RuntimeError("in identify")

        async def handle(self, exchange, call_next):
            fault = exchange.request.headers.get("x-fault")
            if fault == "before":
                raise RuntimeError("before")
            reply = await call_next(exchange)
            if fault == "after":
                raise RuntimeError("after")
            if fault == "hang":
                await asyncio.Event().wait()
            if fault == "header":
                exchange.headers["x-split"] = "a\\r\\nx-injected: b"
            if fault == "instead":
                raise Unavailable("instead")
            return reply

        def observe(self, exchange, event):
            if exchange.request.headers.get("x-fault") == "observe":
                raise RuntimeError("observe")
            if exchange.request.headers.get("x-fault") == "abort":
                exchange.abort(Unavailable("aborted by a plugin"))

        async def complete(self, exchange):
            if exchange.request.headers.get("x-fault") == "complete":
                raise RuntimeError("complete")

        async def finish(self, exchange):
            if exchange.request.headers.get("x-fault") == "finish":
                raise RuntimeError("finish")
'''
FIRST = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hello"}}]}
LAST = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@asynccontextmanager
async def counted(
    script: Script, waits: bool = False, faulty: bool = False, server: str = "{}"
) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    async with ScriptedUpstream(script) as upstream:
        config = f"""
            server: {server}
            plugins: [security_headers, {"faulty, " if faulty else ""}counting: {{waits: {str(waits).lower()}}}]
            providers: {{up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: k}}}}
            routes:
              - {{name: all, match: {{model: m}}, targets: ["up/*"], retry: {{attempts: 1}}}}
        """
        async with running_gateway(config, plugins={"counting": COUNTING, "faulty": FAULTY}) as gateway:
            yield gateway, upstream


def ends(gateway: RunningGateway) -> list[tuple[str, str, int, str | None]]:
    found: list[tuple[str, str, int, str | None]] = gateway.core.lasting.get("plugin counting: ends", list)
    return found


async def until_ended(gateway: RunningGateway, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(ends(gateway)) < count:
            await asyncio.sleep(0.002)
    await gateway.settled()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_client_that_leaves_cancels_a_silent_upstream(stream: bool) -> None:
    async with counted([Stall()]) as (gateway, upstream):
        async with raw_client(gateway) as client:
            await client.send(post("/v1/chat/completions", chat(stream=stream), "x-request-id: me"))
            await upstream.wait_for_request()
            client.reset()
            await upstream.wait_closed()
            await until_ended(gateway)
        assert ends(gateway) == [("me", "disconnected", 499, None)]
        assert not gateway.core.live


async def test_client_that_leaves_mid_stream_closes_upstream() -> None:
    async with counted(reply_sse([FIRST, Stall()])) as (gateway, upstream):
        async with raw_client(gateway) as client:
            await client.send(post("/v1/chat/completions", chat(stream=True), "x-request-id: me"))
            assert await client.until(b"hello") is not None
            client.reset()
            await upstream.wait_closed()
            await until_ended(gateway)
        assert ends(gateway) == [("me", "disconnected", 499, None)]


async def test_client_that_leaves_while_it_sends_its_body_ends_once_and_frees_its_place() -> None:
    async with counted(reply_json(OPENAI), server="{max_in_flight: 1}") as (gateway, upstream):
        async with raw_client(gateway) as client:
            await client.send(
                post("/v1/chat/completions", b'{"model', "x-request-id: me", "Content-Length: 99", length=False)
            )
            async with asyncio.timeout(10):
                while not gateway.core.live:
                    await asyncio.sleep(0)
            client.reset()
            await until_ended(gateway)
        assert ends(gateway) == [("me", "disconnected", 499, None)] and not upstream.requests
        assert (await gateway.post("/v1/chat/completions", body=chat())).status == 200


async def test_client_that_leaves_after_its_answer_does_not_cut_short_the_plugins_finish() -> None:
    async with counted(reply_json(OPENAI), waits=True) as (gateway, _):
        async with raw_client(gateway) as client:
            await client.send(post("/v1/chat/completions", chat(), "x-request-id: me"))
            answer = await client.answer()
            assert answer is not None and answer.status == 200 and not ends(gateway)
            serving = [task for task in asyncio.all_tasks() if "_answer_all" in repr(task)]
            client.reset()
            await until_ended(gateway)
            _, left = await asyncio.wait(serving, timeout=5)
        assert not left, "a task that waits for ever is lost with a complaint that is no line of the log"
        assert ends(gateway) == [("me", "completed", 200, None)] and not gateway.core.live


async def test_many_mixed_endings_each_finish_exactly_once() -> None:
    whole = reply_sse([FIRST, LAST, "[DONE]"])
    cut = reply_sse([FIRST, Close()])
    scripts = {
        "plain": reply_json(OPENAI), "stream": whole, "cut": cut, "reset": reply_sse([FIRST, Reset()]),
        "refused": reply_json({"error": {"message": "no"}}, 400), "broken": [Reset()], "500": reply_bytes(b"oops", 500),
        "leave": [Stall()], "leave-stream": reply_sse([FIRST, Stall()]), "html": reply_bytes(b"<html>", headers=[("Content-Type", "text/html")]),
        "unknown": b"", "bad": b"", "upload": b"", "hostile": b"",
    }  # fmt: skip
    asked: set[str] = set()

    def script(request: ReceivedRequest) -> Answer:
        asked.add(request.header("x-request-id"))
        return scripts[request.header("x-kind")]

    async with counted(script) as (gateway, _):

        async def one(number: int, kind: str) -> None:
            async with raw_client(gateway) as client:
                body = chat("nobody" if kind == "unknown" else "m", stream="stream" in kind or kind in ("cut", "reset"))
                headers = (f"x-request-id: {kind}.{number}", f"x-kind: {kind}")
                if kind == "bad":
                    await client.send(post("/v1/chat/completions", b"{", *headers))
                elif kind == "upload":
                    await client.send(post("/v1/chat/completions", b"{", *headers, "Content-Length: 9", length=False))
                    return client.reset()
                elif kind == "hostile":
                    await client.send(post("/v1/chat/completions", body, *headers, host="Host: a b"))
                else:
                    await client.send(post("/v1/chat/completions", body, *headers))
                if kind == "leave":
                    while f"{kind}.{number}" not in asked:
                        await asyncio.sleep(0.002)
                elif kind == "leave-stream":
                    await client.until(b"hello")
                else:
                    assert await client.answer() is not None
            return None

        kinds = list(scripts) * 25
        await asyncio.gather(*(one(number, kind) for number, kind in enumerate(kinds)))
        began = {f"{kind}.{number}" for number, kind in enumerate(kinds) if kind != "upload"}
        async with asyncio.timeout(10):
            while not began <= {end[0] for end in ends(gateway)} or gateway.core.live:
                await asyncio.sleep(0.005)
        await gateway.settled()
        times = Counter(end[0] for end in ends(gateway))
        assert set(times.values()) == {1}
        outcomes = {end[0].partition(".")[0]: end[1] for end in ends(gateway)}
        assert outcomes == {
            **dict.fromkeys(scripts, "failed"), "plain": "completed", "stream": "completed",
            **dict.fromkeys(("leave", "leave-stream", "upload"), "disconnected"),
        }  # fmt: skip
        assert not gateway.server.pipeline._dispatcher.in_flight


@pytest.mark.parametrize("fault", ["identify", "before", "after", "complete"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
async def test_plugin_that_raises_is_a_500_inside_the_chain_that_the_log_blames_it_for(fault: str, path: str) -> None:
    if fault == "complete" and path == "/v1/models":
        return  # nothing is completed there
    async with counted(reply_json(OPENAI), faulty=True) as (gateway, _):
        answer = await gateway.request("POST" if "chat" in path else "GET", path, body=chat() if "chat" in path else None, headers={"x-fault": fault})  # fmt: skip
        assert answer.status == 500 and answer.json()["error"]["code"] == "internal_error"
        assert answer.headers["x-content-type-options"] == "nosniff" and fault not in answer.body.decode()
        await gateway.settled()
        (line,) = gateway.events("request_failed")
        assert line["plugin"] == "faulty" and fault in line["cause"]
        assert [end[1:3] for end in ends(gateway)] == [("failed", 500)]


@pytest.mark.parametrize("fault", ["after", "instead"])
async def test_plugin_that_raises_behind_a_live_stream_closes_its_upstream(fault: str) -> None:
    async with counted(reply_sse([FIRST, Stall()]), faulty=True) as (gateway, upstream):
        answer = await gateway.post("/v1/chat/completions", body=chat(stream=True), headers={"x-fault": fault})
        assert answer.status == (500 if fault == "after" else 503)
        await upstream.wait_closed()
        await until_ended(gateway)
        assert [end[1] for end in ends(gateway)] == ["failed"]


async def test_client_that_leaves_while_a_plugin_holds_a_live_stream_closes_its_upstream() -> None:
    async with counted(reply_sse([FIRST, Stall()]), faulty=True) as (gateway, upstream):
        async with raw_client(gateway) as client:
            await client.send(post("/v1/chat/completions", chat(stream=True), "x-fault: hang"))
            await upstream.wait_for_request()
            client.reset()
            await upstream.wait_closed()
            await until_ended(gateway)
        assert [end[1] for end in ends(gateway)] == ["disconnected"]


async def test_finish_that_raises_is_logged_and_keeps_no_other_plugin_from_its_own() -> None:
    async with counted(reply_json(OPENAI), faulty=True) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", body=chat(), headers={"x-fault": "finish"})
        assert answer.status == 200
        await until_ended(gateway)
        assert [line["plugin"] for line in gateway.events("plugin_finish_failed")] == ["faulty"]


async def test_observer_that_raises_breaks_nothing() -> None:
    async with counted(reply_sse([FIRST, LAST, "[DONE]"]), faulty=True) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", body=chat(stream=True), headers={"x-fault": "observe"})
        assert answer.status == 200 and answer.body.endswith(b"data: [DONE]\n\n")
        await until_ended(gateway)
        assert [end[1] for end in ends(gateway)] == ["completed"]


async def test_abort_before_anything_went_out_is_an_answer() -> None:
    gate = Gate()
    async with counted([gate, *reply_json(OPENAI)]) as (gateway, upstream):
        asked = asyncio.create_task(gateway.post("/v1/chat/completions", body=chat()))
        await gate.reached()
        for exchange in list(gateway.core.live):
            exchange.abort(Unavailable("stopping"))
            exchange.abort(Unavailable("again"))
        answer = await asked
        assert answer.status == 503 and answer.json()["error"]["message"] == "stopping"
        await upstream.wait_closed()
        await until_ended(gateway)
        assert [end[1:3] for end in ends(gateway)] == [("failed", 503)]


async def test_abort_of_a_running_stream_is_its_dialects_error_event_and_no_terminator() -> None:
    async with counted(reply_sse([FIRST, Stall()])) as (gateway, upstream):
        async with raw_client(gateway) as client:
            await client.send(post("/v1/chat/completions", chat(stream=True)))
            while b"hello" not in client.buffer:
                assert await client._more()
            for exchange in list(gateway.core.live):
                exchange.abort(Unavailable("stopping"))
            answer = await client.answer()
        assert answer is not None and answer.status == 200
        assert b"stopping" in answer.body and b"[DONE]" not in answer.body
        await upstream.wait_closed()


async def test_abort_by_an_observer_ends_the_exchange_once() -> None:
    async with counted(reply_sse([FIRST, LAST, "[DONE]"]), faulty=True) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", body=chat(stream=True), headers={"x-fault": "abort"})
        assert b"aborted by a plugin" in answer.body and b"[DONE]" not in answer.body
        await until_ended(gateway)
        assert [end[1] for end in ends(gateway)] == ["failed"]


async def test_a_plugins_header_with_a_line_break_is_a_500_and_never_two_headers() -> None:
    async with counted(reply_json(OPENAI), faulty=True) as (gateway, _):
        answer = await gateway.post("/v1/chat/completions", body=chat(), headers={"x-fault": "header"})
        assert answer.status == 500 and answer.json()["error"]["code"] == "internal_error"
        assert "x-injected" not in answer.headers and "x-split" not in answer.headers
        assert answer.headers["x-request-id"]
        await until_ended(gateway)
        assert [end[1:3] for end in ends(gateway)] == [("failed", 500)]


async def test_hundreds_of_clients_that_leave_leave_nothing_behind() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())

    async with counted(lambda request: reply_sse([FIRST, Stall()]) if b"true" in request.body else [Stall()]) as (
        gateway,
        upstream,
    ):
        before = held()

        async def one(number: int) -> None:
            async with raw_client(gateway) as client:
                await client.send(post("/v1/chat/completions", chat(stream=bool(number % 2), user=str(number))))
                if number % 2:
                    assert await client.until(b"hello") is not None
                else:
                    async with asyncio.timeout(10):
                        while not any(request.json()["user"] == str(number) for request in upstream.requests[-60:]):
                            await asyncio.sleep(0.002)

        for start in range(0, 400, 40):
            await asyncio.gather(*(one(number) for number in range(start, start + 40)))
        await until_ended(gateway, 400)
        async with asyncio.timeout(10):
            while upstream.open_connections or gateway.core.live or any(map(operator.gt, held(), before)):
                await asyncio.sleep(0.01)
        assert len(ends(gateway)) == 400 and {end[1] for end in ends(gateway)} == {"disconnected"}
