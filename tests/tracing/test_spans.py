"""What a collector sees of an exchange: its span, those of its tries, and how they hang together."""

from __future__ import annotations

import pytest

from gateway.testing import Gate, Reset, ScriptedUpstream, reply_json, reply_sse, running_gateway
from tests.tracing.kit import CHAT, asked, collector

GOOD = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m-2026",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a secret word"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
              "prompt_tokens_details": {"cached_tokens": 4}},
}  # fmt: skip
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
FIRST = {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}]}
LAST = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
CONFIG = """
plugins: [{{tracing: {{endpoint: "{collector}", interval: 10ms{options}}}}}]
providers:
  first: {{dialect: openai_chat, base_url: "{one}/v1", api_key: key-of-first-01}}
  second: {{dialect: openai_chat, base_url: "{two}/v1", api_key: key-of-second-01}}
routes: [{{name: all, targets: [first/big, second/small]}}]
"""


def config(collector: str, one: str, two: str = "http://127.0.0.1:9", options: str = "") -> str:
    return CONFIG.format(collector=collector, one=one, two=two, options=options)


async def test_an_exchange_is_a_server_span_and_its_attempt_a_client_span_below_it() -> None:
    async with (
        collector() as seen,
        ScriptedUpstream(reply_json(GOOD)) as upstream,
        running_gateway(config(seen.url, upstream.url, options=", service_name: edge")) as gateway,
    ):
        answer = await gateway.post(CHAT, asked("any"))
        assert answer.status == 200
        (whole,), (attempt,) = await seen.of("server"), await seen.of("client")
    assert (whole.name, whole.parent_id, whole.failed) == (f"POST {CHAT}", "", None)
    assert whole.attributes == {
        "http.request.method": "POST", "http.route": CHAT, "url.path": CHAT, "url.scheme": "http",
        "http.response.status_code": 200, "llm_gateway.request_id": answer.headers["x-request-id"],
        "llm_gateway.outcome": "completed", "llm_gateway.attempts": 1, "llm_gateway.route": "all",
        "llm_gateway.target": "first/big", "llm_gateway.model": "any",
    }  # fmt: skip
    assert (attempt.name, attempt.parent_id, attempt.failed) == ("chat big", whole.span_id, None)
    host, port = upstream.url.removeprefix("http://").split(":")
    assert attempt.attributes == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "first", "gen_ai.request.model": "big",
        "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3, "gen_ai.usage.cache_read.input_tokens": 4,
        "server.address": host, "server.port": int(port), "http.request.method": "POST",
        "http.response.status_code": 200, "llm_gateway.target": "first/big", "llm_gateway.attempt": 1,
    }  # fmt: skip
    assert whole.start_s <= attempt.start_s <= attempt.end_s <= whole.end_s
    assert whole.trace_id == attempt.trace_id == answer.headers["x-request-id"]
    assert whole.resource["service.name"] == "edge"


async def test_a_failed_attempt_says_why_and_the_next_one_answers() -> None:
    async with (
        collector() as seen,
        ScriptedUpstream(reply_json({"error": {"message": "one two three is too much"}}, status=503)) as one,
        ScriptedUpstream(reply_json(GOOD)) as two,
        running_gateway(config(seen.url, one.url, two.url)) as gateway,
    ):
        assert (await gateway.post(CHAT, asked())).status == 200
        failed, good = await seen.of("client", 2)
        (whole,) = await seen.of("server")
    assert failed.attributes["error.type"] == "503"
    assert failed.attributes["llm_gateway.error.kind"] == "status"
    assert failed.failed == "the upstream answered 503", "not its words: they may be the prompt's"
    assert (good.failed, "error.type" in good.attributes) == (None, False)
    assert (whole.failed, whole.attributes["llm_gateway.attempts"]) == (None, 2)
    assert {failed.parent_id, good.parent_id} == {whole.span_id}
    assert failed.end_s <= good.start_s
    assert len({whole.span_id, failed.span_id, good.span_id}) == 3


async def test_an_exchange_that_no_target_answers_has_failed() -> None:
    async with collector() as seen, ScriptedUpstream(Reset()) as one, ScriptedUpstream(Reset()) as two:
        async with running_gateway(config(seen.url, one.url, two.url)) as gateway:
            assert (await gateway.post(CHAT, asked())).status == 502
            (whole,), tries = await seen.of("server"), await seen.of("client", 2)
    assert whole.attributes["http.response.status_code"] == 502
    assert (whole.failed, whole.attributes["error.type"]) == ("upstream_error", "upstream_error")
    assert {each.attributes["error.type"] for each in tries} == {"broken"}


async def test_what_the_client_did_wrong_is_no_failure_of_the_server() -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(seen.url, upstream.url)) as gateway:
            assert (await gateway.post(CHAT, {"messages": []})).status == 400
            (whole,) = await seen.of("server")
    assert (whole.failed, whole.attributes["error.type"]) == (None, "invalid_request")
    assert "llm_gateway.route" not in whole.attributes


async def test_a_stream_tells_when_its_first_token_came() -> None:
    async with (
        collector() as seen,
        ScriptedUpstream(reply_sse([FIRST, LAST, "[DONE]"])) as upstream,
        running_gateway(config(seen.url, upstream.url)) as gateway,
    ):
        assert (await gateway.post(CHAT, asked(stream=True))).status == 200
        (attempt,) = await seen.of("client")
    assert attempt.attributes["gen_ai.request.stream"] is True
    assert attempt.start_s <= attempt.events["first_token"] <= attempt.end_s
    assert attempt.attributes["gen_ai.response.time_to_first_chunk"] >= 0


async def test_a_stream_that_breaks_after_its_head_has_failed_under_a_200() -> None:
    async with (
        collector() as seen,
        ScriptedUpstream(reply_sse([FIRST, Reset()])) as upstream,
        running_gateway(config(seen.url, upstream.url)) as gateway,
    ):
        assert (await gateway.post(CHAT, asked(stream=True))).status == 200
        (whole,), (attempt,) = await seen.of("server"), await seen.of("client")
    assert (whole.attributes["http.response.status_code"], whole.failed) == (200, "stream_truncated")
    assert attempt.attributes["error.type"] == "truncated"
    assert "first_token" in attempt.events


async def test_a_client_that_leaves_is_no_failure() -> None:
    gate = Gate()
    async with (
        collector() as seen,
        ScriptedUpstream(reply_sse([FIRST, gate, LAST, "[DONE]"])) as upstream,
        running_gateway(config(seen.url, upstream.url)) as gateway,
    ):
        async with gateway.session.post(gateway.url + CHAT, json=asked(stream=True)) as response:
            await response.content.readany()
        (whole,) = await seen.of("server")
    assert whole.attributes["llm_gateway.outcome"] == "disconnected"
    assert (whole.attributes["error.type"], whole.failed) == ("client_left", None)


@pytest.mark.parametrize("path", ["/health", "/v1/models"])
async def test_pages_and_probes_leave_no_spans(path: str) -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(seen.url, upstream.url)) as gateway:
            assert (await gateway.get(path)).status == 200
            await gateway.post(CHAT, asked())
            await seen.of("server")
    assert [each.name for each in seen.spans if each.kind == "server"] == [f"POST {CHAT}"]
