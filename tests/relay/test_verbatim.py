"""Same dialect, same bytes: what goes up and what comes down is what was said, but for model and credentials."""

from __future__ import annotations

import gzip
import json
import zlib

import aiohttp
import pytest

from gateway.testing import (
    Close,
    Gate,
    Reset,
    ScriptedUpstream,
    Send,
    reply_bytes,
    reply_json,
    running_gateway,
)  # fmt: skip

CHAT = "/v1/chat/completions"
ODD_BODY = (
    b'{"model":"m","messages":[{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00 \xc3\xa9","name":null}],'
    b'"temperature":1.0,"big":123456789012345678901234567890,"exp":1E+2,"nested":{"model":"other","b":1,"a":2},'
    b'"unknown":[ 1 , 2 ],"model_x":"keep","empty":{}}'
)
PLAIN = {
    "openai": {"id": "x", "object": "chat.completion", "model": "m-2025", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
    "anthropic": {"id": "msg_1", "type": "message", "role": "assistant", "model": "c-2025", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}},
    "responses": {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [], "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}},
    "ollama": {"model": "m", "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hi"}, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 1},
}  # fmt: skip
STREAMS: dict[str, bytes] = {
    "openai": (
        b': OPENROUTER PROCESSING\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"h\xc3\xa9"},"finish_reason":null}],"x_new":1.0}\n\n'
        b'event: odd\ndata: {"choices":[]}\n\n'
        b'data:{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
        b"data: [DONE]\n\n"
    ),
    "anthropic": (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
        b'event: ping\ndata: {"type": "ping"}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"h\xc3\xa9"}}\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: brand_new\ndata: {"type":"brand_new","x":1.0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    ),
    "responses": (
        b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r","object":"response","status":"in_progress","output":[]}}\n\n'
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,"item_id":"i","output_index":0,"content_index":0,"delta":"h\xc3\xa9"}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,"response":{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9}}}\n\n'
    ),
    "ollama": (
        b'{"model":"m","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"h\xc3\xa9"},"done":false}\n'
        b'{"model":"m","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":2}\n'
    ),
}  # fmt: skip
PATHS = {"openai": CHAT, "anthropic": "/v1/messages", "responses": "/v1/responses", "ollama": "/api/chat"}
UPSTREAM_PATHS = {"openai": "/base/v1/chat/completions", "anthropic": "/base/v1/messages", "responses": "/base/v1/responses", "ollama": "/base/api/chat"}  # fmt: skip
STREAM_TYPES = {"openai": "text/event-stream", "anthropic": "text/event-stream; charset=utf-8", "responses": "text/event-stream", "ollama": "application/x-ndjson"}  # fmt: skip
NAMES = list(PATHS)


def config(upstream: ScriptedUpstream) -> str:
    """One provider of each dialect on the same upstream, and a route for all by the model's first letter."""
    return f"""
version: 1
plugins: [security_headers]
providers:
  openai_up: {{dialect: openai, base_url: "{upstream.url}/base/v1", api_key: sk-upstream-key-0001}}
  anthropic_up: {{dialect: anthropic, base_url: "{upstream.url}/base", api_key: sk-upstream-key-0002}}
  ollama_up: {{dialect: ollama, base_url: "{upstream.url}/base"}}
routes:
  - {{name: openai, match: {{path: ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/audio/*"]}}, targets: ["openai_up/*"]}}
  - {{name: anthropic, match: {{path: ["/v1/messages", "/v1/messages/**"]}}, targets: ["anthropic_up/*"]}}
  - {{name: ollama, match: {{path: "/api/*"}}, targets: ["ollama_up/*"]}}
  - {{name: files, match: {{path: "/openai/**"}}, targets: ["openai_up/*"]}}
"""


def body_for(name: str, stream: bool) -> bytes:
    said = b'"input":"x"' if name == "responses" else b'"messages":[{"role":"user","content":"x"}]'
    return b'{"model":"m",%b,"stream":%b}' % (said, b"true" if stream else b"false")


@pytest.mark.parametrize("name", NAMES)
async def test_plain_answer_bytes_are_the_upstreams(name: str) -> None:
    answer = b'{"z": 1.0, ' + json.dumps(PLAIN[name], ensure_ascii=True).encode()[1:-1] + b', "a":\t"\\u00e9"}\n'
    async with ScriptedUpstream(reply_bytes(answer, 200, [("content-type", "application/json"), ("x-up", "1"), ("set-cookie", "a=b"), ("server", "s")])) as upstream, running_gateway(config(upstream)) as gateway:  # fmt: skip
        got = await gateway.post(PATHS[name], body=body_for(name, False))
        assert got.status == 200
        assert got.body == answer
        assert got.headers["x-up"] == "1"
        assert "set-cookie" not in got.headers
        assert "server" not in got.headers
        assert upstream.requests[0].path == UPSTREAM_PATHS[name]


async def test_request_members_keep_their_bytes() -> None:
    async with ScriptedUpstream(reply_json(PLAIN["openai"])) as upstream, running_gateway(config(upstream)) as gateway:
        assert (await gateway.post(CHAT, body=ODD_BODY)).status == 200
        assert upstream.requests[0].body == ODD_BODY


async def test_model_of_the_target_replaces_the_clients_and_nothing_else() -> None:
    async with ScriptedUpstream(reply_json(PLAIN["openai"])) as upstream:
        text = config(upstream).replace('targets: ["openai_up/*"]', "targets: [openai_up/real-model]", 1)
        async with running_gateway(text) as gateway:
            got = await gateway.post(CHAT, body=ODD_BODY)
            assert got.headers["x-gateway-target"] == "openai_up/real-model"
            assert upstream.requests[0].body == ODD_BODY.replace(b'{"model":"m"', b'{"model":"real-model"', 1)


async def test_params_fill_and_override_replaces_top_level_members() -> None:
    async with ScriptedUpstream(reply_json(PLAIN["openai"])) as upstream:
        text = config(upstream).replace(
            'targets: ["openai_up/*"]',
            "targets: [{target: openai_up/*, params: {temperature: 0.2, seed: 7}, override: {user: gw, top_p: 0.5}}]", 1,
        )  # fmt: skip
        async with running_gateway(text) as gateway:
            await gateway.post(CHAT, {"model": "m", "messages": [], "temperature": 1, "user": "me"})
            sent = upstream.requests[0].json()
            assert sent == {"model": "m", "messages": [], "temperature": 1, "user": "gw", "seed": 7, "top_p": 0.5}


async def test_client_credentials_stay_here_and_the_gateways_go_up() -> None:
    async with ScriptedUpstream(reply_json(PLAIN["anthropic"])) as upstream, running_gateway(config(upstream)) as gateway:  # fmt: skip
        headers = {
            "authorization": "Bearer client", "x-api-key": "client", "cookie": "a=b", "connection": "x-hop", "x-hop": "1",
            "anthropic-beta": "a,b", "anthropic-version": "2026-10-21", "x-custom": "kept", "x-gateway-cache": "no-store",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-request-id": "my-id",
        }  # fmt: skip
        got = await gateway.post("/v1/messages?beta=true", body=body_for("anthropic", False), headers=headers)
        assert got.headers["x-request-id"] == got.headers["request-id"] == "my-id"
        request = upstream.requests[0]
        assert request.path == "/base/v1/messages?beta=true"
        sent = {name.lower(): value for name, value in request.headers}
        assert sent["x-api-key"] == "sk-upstream-key-0002"
        assert sent["anthropic-beta"] == "a,b"
        assert sent["anthropic-version"] == "2026-10-21"
        assert sent["x-custom"] == "kept"
        assert sent["traceparent"].startswith("00-0af7")
        assert sent["x-request-id"] == "my-id"
        assert not {"authorization", "cookie", "x-hop", "x-gateway-cache"} & set(sent)
        assert b"client" not in request.raw


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", ["bytes", "events", "whole"])
async def test_stream_bytes_are_the_upstreams_however_they_come(name: str, cut: str) -> None:
    stream = STREAMS[name]
    if cut == "whole":
        pieces = [stream]
    elif cut == "bytes":
        pieces = [stream[at : at + 1] for at in range(len(stream))]
    else:
        mark = b"\n" if name == "ollama" else b"\n\n"
        pieces = [part + mark for part in stream.split(mark) if part]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % STREAM_TYPES[name].encode()
    answer = [Send(head), *(Send(b"%x\r\n%b\r\n" % (len(piece), piece)) for piece in pieces), Send(b"0\r\n\r\n")]
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream)) as gateway:
        got = await gateway.post(PATHS[name], body=body_for(name, True))
        assert got.status == 200
        assert got.headers["content-type"] == STREAM_TYPES[name]
        assert got.body == stream


@pytest.mark.parametrize("name", NAMES)
async def test_cut_stream_ends_with_the_dialects_error_and_no_terminator(name: str) -> None:
    mark = b"\n" if name == "ollama" else b"\n\n"
    events = [part + mark for part in STREAMS[name].split(mark) if part]
    content = next(at for at, event in enumerate(events) if b"h\xc3\xa9" in event)
    whole = b"".join(events[: content + 1])
    half = events[content + 1][:20]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % STREAM_TYPES[name].encode()
    gate = Gate()
    sent = whole + half
    answer = [Send(head + b"%x\r\n%b\r\n" % (len(sent), sent)), gate, Reset()]
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream)) as gateway:
        async with gateway.session.post(gateway.url + PATHS[name], data=body_for(name, True)) as response:
            first = await response.content.readany()
            gate.open()
            got = first + await response.content.read()
        assert got.startswith(whole)
        tail = got[len(whole) :]
        assert half not in tail
        assert b"[DONE]" not in tail and b"message_stop" not in tail and b'"done":true' not in tail
        assert b"response.completed" not in tail
        error = json.loads(tail.split(b"data: ")[-1] if name != "ollama" else tail)
        if name == "anthropic":
            assert error["type"] == "error" and error["error"]["type"] == "api_error"
        elif name == "responses":
            assert error["type"] == "response.failed"
        elif name == "openai":
            assert error["error"]["code"] == "stream_truncated"
        else:
            assert isinstance(error["error"], str)
        await gateway.settled()


async def test_stream_whose_finish_was_seen_gets_the_terminator_it_lacks() -> None:
    stream = STREAMS["openai"].removesuffix(b"data: [DONE]\n\n")
    answer = [Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + stream), Close()]
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream)) as gateway:
        got = await gateway.post(CHAT, body=body_for("openai", True))
        assert got.body == STREAMS["openai"]


async def test_nothing_follows_the_terminator() -> None:
    stream = STREAMS["openai"]
    answer = reply_bytes(stream + b"data: [DONE]\n\ndata: {}\n\n", 200, [("content-type", "text/event-stream")])
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream)) as gateway:
        assert (await gateway.post(CHAT, body=body_for("openai", True))).body == stream


async def test_usage_is_read_beside_the_stream() -> None:
    async with ScriptedUpstream(
        reply_bytes(STREAMS["openai"], 200, [("content-type", "text/event-stream")])
    ) as upstream:
        text = config(upstream).replace("[security_headers]", "[access_log]")
        async with running_gateway(text) as gateway:
            await gateway.post(CHAT, body=body_for("openai", True))
            await gateway.settled()
            line = gateway.events("request")[0]
            assert (line["prompt_tokens"], line["completion_tokens"], line["outcome"]) == (7, 2, "completed")


async def test_files_pass_through_a_path_route_with_v1_counted_once() -> None:
    blob = bytes(range(256)) * 64
    async with ScriptedUpstream(reply_bytes(blob, 200, [("content-type", "application/octet-stream")])) as upstream, running_gateway(config(upstream)) as gateway:  # fmt: skip
        got = await gateway.get("/openai/v1/files/file-1/content?x=1")
        assert got.body == blob
        assert upstream.requests[0].path == "/base/v1/files/file-1/content?x=1"
        await gateway.get("/openai/files")
        assert upstream.requests[1].path == "/base/v1/files"


async def test_cut_file_never_looks_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = [Send(head + b"5\r\nhello\r\n"), Close()]
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream)) as gateway:
        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.get("/openai/v1/files/x")


async def test_multipart_model_becomes_the_targets() -> None:
    form = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\x01--B \r\n'
        b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n--B--\r\n'
    )
    async with ScriptedUpstream(reply_json({"text": "hi"})) as upstream:
        text = config(upstream).replace('targets: ["openai_up/*"]', "targets: [openai_up/real]", 1)
        async with running_gateway(text) as gateway:
            got = await gateway.post("/v1/audio/transcriptions", body=form % b"whisper", headers={"content-type": "multipart/form-data; boundary=B"})  # fmt: skip
            assert got.status == 200
            assert upstream.requests[0].body == form % b"real"
            assert upstream.requests[0].path == "/base/v1/audio/transcriptions"


async def test_model_echo_puts_the_asked_name_into_every_event_and_changes_nothing_else() -> None:
    async with ScriptedUpstream(
        [reply_bytes(STREAMS["openai"], 200, [("content-type", "text/event-stream")])]
    ) as upstream:
        text = config(upstream).replace(
            'targets: ["openai_up/*"]', "targets: [openai_up/real], model_echo: requested", 1
        )
        async with running_gateway(text) as gateway:
            got = await gateway.post(CHAT, body=body_for("openai", True).replace(b'"m"', b'"asked"'))
            assert got.body == STREAMS["openai"].replace(b'"model":"m"', b'"model":"asked"')
    async with ScriptedUpstream(reply_json(PLAIN["openai"])) as upstream:
        text = config(upstream).replace(
            'targets: ["openai_up/*"]', "targets: [openai_up/real], model_echo: requested", 1
        )
        async with running_gateway(text) as gateway:
            assert (await gateway.post(CHAT, body=body_for("openai", False))).json() == {
                **PLAIN["openai"],
                "model": "m",
            }


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("stream", [True, False])
async def test_answer_compressed_though_nobody_asked_arrives_whole(coding: str, stream: bool) -> None:
    plain = STREAMS["openai"] if stream else json.dumps(PLAIN["openai"]).encode()
    packed = gzip.compress(plain) if coding == "gzip" else zlib.compress(plain)
    kind = "text/event-stream" if stream else "application/json"
    answer = reply_bytes(packed, 200, [("content-type", kind), ("content-encoding", coding)])
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream)) as gateway:
        got = await gateway.post(CHAT, body=body_for("openai", stream))
        assert (got.status, got.body) == (200, plain)
        assert "content-encoding" not in got.headers
        assert upstream.requests[0].header("accept-encoding") == "identity"


async def test_gzip_bomb_is_a_502_and_not_the_memory() -> None:
    bomb = gzip.compress(b"\0" * 3_000_000)
    answer = reply_bytes(bomb, 200, [("content-type", "application/json"), ("content-encoding", "gzip")])
    async with ScriptedUpstream([answer]) as upstream:
        async with running_gateway(
            config(upstream).replace("plugins:", "server: {max_body: 1MiB}\nplugins:")
        ) as gateway:
            got = await gateway.post(CHAT, body=body_for("openai", False))
            assert (got.status, got.json()["error"]["code"]) == (502, "bad_upstream_response")


async def test_event_too_large_to_keep_passes_unparsed() -> None:
    big = b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % (b"x" * 3_000_000)
    stream = big + STREAMS["openai"]
    answer = reply_bytes(stream, 200, [("content-type", "text/event-stream")])
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream)) as gateway:
        assert (await gateway.post(CHAT, body=body_for("openai", True))).body == stream
