"""What comes again on a connection goes a shorter way, and nobody can tell: not the upstream, not the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.testing import (
    Close,
    RunningGateway,
    ScriptedUpstream,
    reply_bytes,
    reply_json,
    reply_sse,
    running_gateway,
    write_config,
)  # fmt: skip
from tests.server.conftest import OPENAI
from tests.server.raw import RawAnswer, RawClient, raw_client
from tests.server.test_quick import BODY, request

CONFIG = """
plugins: [{plugins}]
providers: {{up: {{dialect: openai, base_url: "{url}/v1", api_key: key-of-the-gateway}}}}
routes: [{{name: all, targets: [up/{model}], retry: {{attempts: 1}}}}]
"""
PLUGINS = {
    "bends": """
        import msgspec
        from gateway.plugin import Plugin, Raw

        class Bends(Plugin):
            def handle(self, exchange, call_next):
                asked = exchange.request.headers.get("x-bend", "")
                if asked == "member":
                    exchange.request.fields["temperature"] = msgspec.Raw(b"0.5")
                if asked == "header":
                    exchange.headers["X-Up"] = "ours"
                if asked == "break":
                    exchange.headers["x-two"] = "a\\r\\nx-smuggled: 1"
                if asked == "name":
                    exchange.headers["x-a: 1\\r\\nx-smuggled"] = "1"
                if asked == "number":
                    exchange.headers["x-number"] = 5
                if b"spoil the id" in exchange.request.body:
                    exchange.id = "a\\r\\nx-smuggled: 1"
                return call_next(exchange)
        """,
    "turns": """
        from gateway.plugin import Plugin

        class Turns(Plugin):
            async def handle(self, exchange, call_next):
                reply = await call_next(exchange)
                bend = exchange.request.headers.get("x-bend")
                if bend in ("reply", "status"):
                    reply.status = 202
                if bend == "reply":
                    reply.headers["x-more"] = "1"
                return reply
        """,
}
ANSWER = reply_json(OPENAI, headers=[("X-Up", "theirs")])
OF_ONE_REQUEST = {"x-request-id", "traceparent"}
GOOD = json.dumps(OPENAI, separators=(",", ":")).encode()
COMPACT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


async def asked(client: RawClient, *requests: bytes) -> list[RawAnswer]:
    """Return the answers, each asked for when the last has come."""
    answers = []
    for each in requests:
        await client.send(each)
        answer = await client.answer()
        assert answer is not None
        answers.append(answer)
    return answers


def config(upstream: ScriptedUpstream, model: str = "real", plugins: str = "bends, turns") -> str:
    return CONFIG.format(url=upstream.url, model=json.dumps(model), plugins=plugins).replace('up/"', '"up/')


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(ANSWER) as upstream:
        yield upstream


@pytest.fixture
async def gateway(up: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with running_gateway(config(up), plugins=PLUGINS) as running:
        yield running


async def test_a_request_goes_upstream_as_it_did_the_first_time(up: ScriptedUpstream, gateway: RunningGateway) -> None:
    async with raw_client(gateway) as client:
        answers = await asked(client, *[request("X-Mine: 100%")] * 5)
    first = [(name, value) for name, value in up.requests[0].headers if name not in OF_ONE_REQUEST]
    assert ("X-Mine", "100%") in first
    for sent, answer in zip(up.requests, answers, strict=True):
        assert [(name, value) for name, value in sent.headers if name not in OF_ONE_REQUEST] == first
        assert [name for name, _ in sent.headers] == [name for name, _ in up.requests[0].headers]
        assert (sent.method, sent.path, sent.body) == ("POST", "/v1/chat/completions", BODY.replace(b'"m"', b'"real"'))
        assert sent.header("x-request-id") == answer.headers["x-request-id"] == answer.headers["request-id"]
        assert sent.header("traceparent")[3:35] == sent.header("x-request-id")
        assert answer.body == GOOD
        assert (answer.status, answer.headers["x-up"], answer.headers.keys()) == (
            200,
            "theirs",
            answers[0].headers.keys(),
        )
    assert len({sent.header("x-request-id") for sent in up.requests}) == 5
    assert len(up.connections) == 1


async def test_an_id_and_a_trace_of_the_clients_own_stay_its_own(up: ScriptedUpstream, gateway: RunningGateway) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with raw_client(gateway) as client:
        answers = await asked(client, *[request("x-request-id: mine", f"traceparent: {trace}")] * 3)
    assert [answer.headers["x-request-id"] for answer in answers] == ["mine"] * 3
    assert {(r.header("x-request-id"), r.header("traceparent")) for r in up.requests} == {("mine", trace)}


@pytest.mark.parametrize("model", ["real", "*"])
@pytest.mark.parametrize(
    "body",
    [
        COMPACT,
        b'{"messages":[{"role":"user","content":"\\"model\\":\\"m\\""}],"model":"m","n":1}',
        b'{"messages":[],"x":{"model":"m"},"model":"m"}',
        b'{ "model" : "m", "messages": [ ] }',
        b'{"messages":[],"\\u006dodel":"m"}',
        '{"grüße":"ü","model":"m","messages":[]}'.encode(),
        b'{"model":"m","messages":[],"x":1,"x":2}',
        b'{"model":"m","messages":[{"role":"user","content":"' + b"long " * 5000 + b'"}]}',
    ],
)
async def test_a_body_keeps_all_but_its_model(up: ScriptedUpstream, model: str, body: bytes) -> None:
    async with running_gateway(config(up, model), plugins=PLUGINS) as gateway, raw_client(gateway) as client:
        answers = await asked(client, request(), request(), request(body=body))
    assert [answer.status for answer in answers] == [200] * 3
    expected = json.loads(body) | {"model": "m" if model == "*" else "real"}
    assert up.requests[2].json() == expected
    assert int(up.requests[2].header("content-length")) == len(up.requests[2].body)


@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize(
    ("bend", "status", "sent", "told"),
    [
        ("member", 200, {"temperature": 0.5}, {"x-up": "theirs"}),
        ("header", 200, {}, {"x-up": "ours"}),
        ("reply", 202, {}, {"x-up": "theirs", "x-more": "1"}),
        ("status", 202, {}, {"x-up": "theirs"}),
        ("number", 200, {}, {"x-number": "5"}),
        ("break", 500, {}, {}),
        ("name", 500, {}, {}),
    ],
)
async def test_what_a_plugin_changes_is_changed_each_time(
    up: ScriptedUpstream,
    gateway: RunningGateway,
    bend: str,
    status: int,
    sent: dict[str, Any],
    told: dict[str, str],
    warm: int,
) -> None:
    async with raw_client(gateway) as client:
        *_, answer = await asked(client, *[request(f"X-Bend: {bend}")] * warm, request(f"X-Bend: {bend}"))
    assert answer.status == status
    assert answer.headers.items() >= told.items()
    assert "x-smuggled" not in answer.headers
    assert up.requests[-1].json() == json.loads(BODY) | {"model": "real"} | sent


async def test_a_header_that_a_plugin_replaces_stands_there_once(gateway: RunningGateway) -> None:
    async with raw_client(gateway) as client:
        for _ in range(4):
            await client.send(request("X-Bend: header"))
            head = await client.until(b"\r\n\r\n")
            await client.exactly(len(GOOD))
            assert head is not None
            assert [line for line in head.lower().split(b"\r\n") if line.startswith(b"x-up")] == [b"x-up: ours"]


async def test_an_id_that_would_be_two_lines_goes_nowhere(up: ScriptedUpstream, gateway: RunningGateway) -> None:
    async with raw_client(gateway) as client:
        await asked(client, *[request()] * 3)
        [answer] = await asked(client, request(body=COMPACT.replace(b"hi", b"spoil the id")))
    assert answer.status == 500
    assert "x-smuggled" not in answer.headers
    assert len(up.requests) == 3


ERROR = b'{"error":{"message":"no","type":"server_error"}}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (GOOD[:-1] + b"]", "bad_response"),
        (GOOD[:-1] + b" ", "bad_response"),
        (b"[" + GOOD[1:-1] + b"]", "bad_response"),
        (b" " * len(GOOD), "bad_response"),
        (ERROR + b" " * (len(GOOD) - len(ERROR)), "server_error"),
    ],
)
async def test_a_known_head_makes_no_answer_true(
    up: ScriptedUpstream, gateway: RunningGateway, body: bytes, code: str
) -> None:
    assert len(body) == len(GOOD)
    async with raw_client(gateway) as client:
        await asked(client, *[request()] * 3)
        up.script = reply_bytes(body, headers=[("Content-Type", "application/json"), ("X-Up", "theirs")])
        [answer] = await asked(client, request())
        up.script = ANSWER
        [after] = await asked(client, request())
    assert (answer.status, after.status) == (502, 200)
    assert answer.headers["x-gateway-error-source"] == "upstream"
    assert after.body == GOOD


async def test_an_answer_under_a_known_head_may_come_byte_by_byte_or_cut(
    up: ScriptedUpstream, gateway: RunningGateway
) -> None:
    headers = [("Content-Type", "application/json"), ("X-Up", "theirs")]
    async with raw_client(gateway) as client:
        await asked(client, *[request()] * 3)
        up.script = reply_bytes(GOOD, headers=headers, each_byte=True)
        [slow] = await asked(client, request())
        up.script = reply_bytes(GOOD[:-5], headers=headers, content_length=len(GOOD), close=True)
        [cut] = await asked(client, request())
        up.script = ANSWER
        [after] = await asked(client, request())
    assert (slow.status, slow.body) == (200, GOOD)
    assert (cut.status, after.status) == (502, 200)


async def test_bytes_behind_an_answer_reach_nobody(up: ScriptedUpstream, gateway: RunningGateway) -> None:
    async with raw_client(gateway) as client:
        await asked(client, *[request()] * 3)
        [whole] = ANSWER
        assert not isinstance(whole, bytes)
        up.script = [whole.data + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"]  # type: ignore[union-attr]
        [answer] = await asked(client, request())
        up.script = ANSWER
        [after] = await asked(client, request())
    assert (answer.body, after.body) == (GOOD, GOOD)
    assert up.requests[-1].connection != up.requests[-2].connection


async def test_a_kept_connection_that_dies_unanswered_is_replaced_once(
    up: ScriptedUpstream, gateway: RunningGateway
) -> None:
    async with raw_client(gateway) as client:
        await asked(client, *[request()] * 3)
        up.script = lambda received: [Close()] if received.connection == 0 else ANSWER
        [answer] = await asked(client, request())
        assert (answer.status, answer.headers["x-gateway-attempts"]) == (200, "1")
        assert [each.connection for each in up.requests] == [0, 0, 0, 0, 1]
        up.script = [Close()]
        [failed] = await asked(client, request())
    assert failed.status == 502
    assert up.requests[-1].body == BODY.replace(b'"m"', b'"real"')


async def test_plain_requests_and_streams_take_turns(up: ScriptedUpstream, gateway: RunningGateway) -> None:
    last = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    streamed = reply_sse([{"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}}]}, last, "[DONE]"])
    up.script = lambda received: streamed if received.json().get("stream") else ANSWER
    stream = COMPACT[:-1] + b',"stream":true}'
    async with raw_client(gateway) as client:
        for _ in range(3):
            plain, events = await asked(client, request(), request(body=stream))
            assert plain.body == GOOD
            assert events.body.endswith(b"data: [DONE]\n\n")


async def test_a_reload_is_in_force_at_once_on_a_connection_that_asks_again(
    up: ScriptedUpstream, gateway: RunningGateway
) -> None:
    async with raw_client(gateway) as client:
        await asked(client, *[request()] * 3)
        text = config(up, "other").replace("key-of-the-gateway", "another-key-of-it")
        write_config(gateway.home, text)
        await gateway.reloader.reload("test")
        await asked(client, request())
    assert [each.json()["model"] for each in up.requests] == ["real"] * 3 + ["other"]
    assert up.requests[-1].header("authorization") == "Bearer another-key-of-it"
