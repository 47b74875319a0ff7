"""An upstream that answers what is not its dialect, or not HTTP, is a 502 in the client's dialect; nothing of it passes."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from gateway.testing import (
    Answer,
    Close,
    ReceivedRequest,
    ScriptedUpstream,
    Send,
    reply_bytes,
    reply_json,
    running_gateway,
)
from tests.endure.kit import (
    NAMES,
    PATHS,
    TYPES,
    ask,
    code,
    config,
    error_at_the_end,
    plain_of,
    quiet,
    spoken_by,
    stream_of,
    told,
    until_word,
)  # fmt: skip

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
PAGE = b"<!doctype html><title>Checking your browser</title><script>alert(1)</script>"
NOT_THE_DIALECT: dict[str, Answer] = {
    "a web page": reply_bytes(PAGE, 200, [("content-type", "text/html")]),
    "a web page that says it is JSON": reply_bytes(PAGE, 200, [("content-type", "application/json")]),
    "nothing": reply_bytes(b"", 200, [("content-type", "application/json")]),
    "no content": [Send(b"HTTP/1.1 204 No Content\r\n\r\n")],
    "half of JSON": reply_bytes(b'{"id":', 200, [("content-type", "application/json")]),
    "JSON of another kind": reply_bytes(b"[1]", 200, [("content-type", "application/json")]),
    "an error under 200": reply_json({"error": {"message": "not really", "type": "server_error", "code": 500}}),
    "a bomb": reply_bytes(
        gzip.compress(b"\0" * 2_000_000), 200, [("content-type", "application/json"), ("content-encoding", "gzip")]
    ),
}
NOT_HTTP: dict[str, Answer] = {
    "NUL in a header": [Send(OK + b"x-a: a\0b\r\ncontent-length: 2\r\n\r\n{}"), Close()],
    "CR in a header": [Send(OK + b"x-a: a\rx-b: c\r\ncontent-length: 2\r\n\r\n{}"), Close()],
    "length and chunks": [Send(OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), Close()],
    "two lengths": [Send(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"), Close()],
    "a megabyte of header": [Send(OK + b"x-a: " + b"a" * 1_000_000 + b"\r\ncontent-length: 2\r\n\r\n{}"), Close()],
    "too many interim answers": [Send(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + OK + b"content-length: 2\r\n\r\n{}")],
    "not HTTP at all": [Send(b"SSH-2.0-OpenSSH_9.6\r\n"), Close()],
    "a length it does not keep": [Send(OK + b"content-length: 99\r\n\r\n{}"), Close()],
    "nothing and gone": [Close()],
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("what", NOT_THE_DIALECT)
async def test_what_is_not_the_dialect_is_a_bad_gateway_in_the_clients(what: str, stream: bool) -> None:
    server = "{max_body: 1MiB}"
    async with (
        ScriptedUpstream([NOT_THE_DIALECT[what]]) as upstream,
        running_gateway(config(upstream.url, server)) as gateway,
    ):
        for client in NAMES:
            answer = await gateway.post(PATHS[client], body=ask(client, stream=stream))
            status, name = told(client, answer)
            assert status == 502
            wanted = {"upstream_error", "bad_upstream_response", "stream_truncated", "api_error", ""}
            assert name in (wanted if what == "an error under 200" or stream else {code(client, "bad_upstream_response", "api_error")})  # fmt: skip
            assert b"<" not in answer.body and b"alert" not in answer.body
            assert answer.headers["x-gateway-error-source"] == "upstream"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("what", NOT_HTTP)
async def test_what_is_not_http_is_a_bad_gateway_in_the_clients_dialect(what: str, stream: bool) -> None:
    async with ScriptedUpstream([NOT_HTTP[what]]) as upstream, running_gateway(config(upstream.url)) as gateway:
        for client in NAMES:
            answer = await gateway.post(PATHS[client], body=ask(client, stream=stream))
            assert told(client, answer)[0] == 502
            assert "x-a" not in answer.headers and "x-b" not in answer.headers
        assert gateway.events("request_failed") and len(gateway.events("request_failed")) == 4


@pytest.mark.parametrize("target", NAMES)
async def test_a_page_of_a_content_network_passes_as_an_error_without_its_words(target: str) -> None:
    page = reply_bytes(PAGE + b"origin 10.1.2.3 unreachable", 503, [("content-type", "text/html"), ("cf-ray", "1")])
    async with ScriptedUpstream([page]) as upstream, running_gateway(config(upstream.url)) as gateway:
        for client in NAMES:
            answer = await gateway.post(PATHS[client], body=ask(client, target))
            status, name = told(client, answer)
            assert status in (502, 503, 529) and name != "internal_error"
            assert b"<" not in answer.body and b"10.1.2.3" not in answer.body and "cf-ray" not in answer.headers


def error_of(name: str) -> bytes:
    error: dict[str, Any] = {"type": "overloaded_error", "message": "the model fell over", "code": "server_error", "param": None}  # fmt: skip
    if name == "ollama":
        return b'{"error":"the model fell over"}\n'
    if name == "anthropic":
        return b"event: error\ndata: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n"
    if name == "responses":
        return b"event: error\ndata: " + json.dumps({**error, "type": "error", "sequence_number": 9}).encode() + b"\n\n"
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


@pytest.mark.parametrize("target", NAMES)
async def test_an_error_within_a_stream_is_the_clients_dialects_and_nothing_follows_it(target: str) -> None:
    said = b"".join(until_word(target, 3)) + error_of(target) + b"".join(stream_of(target)[-2:])
    answer = reply_bytes(said, 200, [("content-type", TYPES[target])])
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream.url)) as gateway:
        for client in NAMES:
            got = await gateway.post(PATHS[client], body=ask(client, target))
            assert got.status == 200 and b"the model fell over" in got.body
            last = got.body.rstrip().rpartition(b"\n\n" if client != "ollama" else b"\n")[2]
            assert b"the model fell over" in last
            if client != target:
                error_at_the_end(client, got.body)
        await quiet(gateway)
        assert {line["outcome"] for line in gateway.events("request")} == {"failed"}


@pytest.mark.parametrize("target", NAMES)
async def test_what_comes_after_the_end_is_dropped_in_every_dialect(target: str) -> None:
    events = stream_of(target)
    said = b"".join(events) + events[-1] + b"".join(events[-3:])
    answer = reply_bytes(said, 200, [("content-type", TYPES[target])])
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream.url)) as gateway:
        got = await gateway.post(PATHS[target], body=ask(target))
        assert got.body == b"".join(events)
        for client in NAMES:
            other = await gateway.post(PATHS[client], body=ask(client, target))
            mark = {"openai": b"[DONE]", "anthropic": b"event: message_stop", "responses": b"event: response.completed", "ollama": b'"done":true'}[client]  # fmt: skip
            assert other.body.count(mark) == 1
        await quiet(gateway)
        assert {line["outcome"] for line in gateway.events("request")} == {"completed"}


@pytest.mark.parametrize("target", NAMES)
async def test_an_event_too_large_to_translate_is_an_error_that_says_so(target: str) -> None:
    events = until_word(target, 2)
    big = events[-1].replace("wörd1".encode(), b"x" * 1_500_000)
    said = b"".join([*events, big, *stream_of(target)[-2:]])
    answer = reply_bytes(said, 200, [("content-type", TYPES[target])])
    async with ScriptedUpstream([answer]) as upstream, running_gateway(config(upstream.url)) as gateway:
        whole = await gateway.post(PATHS[target], body=ask(target))
        assert whole.body == said
        for client in set(NAMES) - {target}:
            got = await gateway.post(PATHS[client], body=ask(client, target))
            assert error_at_the_end(client, got.body) == code(client, "event_too_large", "api_error")
            assert len(got.body) < 100_000


@pytest.mark.parametrize("name", NAMES)
async def test_lines_may_end_and_be_cut_as_the_standard_allows(name: str) -> None:
    """CRLF, a lone CR, no space behind `data:`; every one at every kind of cut says the same."""
    whole = b"".join(stream_of(name, 4))
    forms = {"as it is": whole, "CRLF": whole.replace(b"\n", b"\r\n")}
    if name != "ollama":
        forms |= {"CR": whole.replace(b"\n", b"\r"), "no space": whole.replace(b"data: ", b"data:")}
    client = next(other for other in NAMES if other != name)
    said: dict[str, list[str]] = {}

    def script(request: ReceivedRequest) -> Answer:
        assert spoken_by(request) == name
        form, each = next((form, n) for form in forms for n in (False, True) if f"{form}/{n}.".encode() in request.body)
        return reply_bytes(forms[form], 200, [("content-type", TYPES[name])], each_byte=each)

    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url)) as gateway:
        for form in forms:
            for each in (False, True):
                got = await gateway.post(PATHS[client], body=ask(client, name, text=f"{form}/{each}."))
                text = got.body.replace(b"\\u00f6", "ö".encode()).decode()
                said.setdefault("".join(word for word in text.split('"') if "wörd" in word), []).append(form)
    assert len(said) == 1 and sum(map(len, said.values())) == 2 * len(forms)


async def test_plain_answers_are_whole_in_every_pair() -> None:
    """What the refusals above are held against: the same gateway lets a good answer through."""
    async with (
        ScriptedUpstream(lambda request: reply_json(plain_of(spoken_by(request)))) as upstream,
        running_gateway(config(upstream.url)) as gateway,
    ):
        for client in NAMES:
            for target in NAMES:
                answer = await gateway.post(PATHS[client], body=ask(client, target, stream=False))
                assert answer.status == 200 and b'"hi"' in answer.body, answer.body
