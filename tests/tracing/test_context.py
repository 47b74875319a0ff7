"""Which trace a request belongs to, what its client brings and what its upstream is told of it."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.testing import Gate, ReceivedRequest, ScriptedUpstream, reply_json, running_gateway
from tests.tracing.kit import CHAT, asked, collector
from tests.tracing.test_spans import GOOD, config

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"
HEADER = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-(0[0-3])")
PLAIN = """
providers: {{up: {{dialect: {dialect}, base_url: "{url}", api_key: key-of-up-0001}}}}
routes: [{{name: all, targets: [up/big]}}]
"""
CLAUDE = {
    "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


def trace_of(request: ReceivedRequest) -> tuple[str, str, str]:
    """Return trace id, parent id and flags that an upstream was sent, once."""
    (header,) = [value for name, value in request.headers if name.lower() == "traceparent"]
    found = HEADER.fullmatch(header)
    assert found, header
    return found[1], found[2], found[3]


def states_of(request: ReceivedRequest) -> list[str]:
    return [value for name, value in request.headers if name.lower() == "tracestate"]


async def test_the_parent_that_an_upstream_sees_is_its_attempts_span() -> None:
    async with (
        collector() as seen,
        ScriptedUpstream(reply_json({"error": {"message": "no"}}, status=500)) as one,
        ScriptedUpstream(reply_json(GOOD)) as two,
        running_gateway(config(seen.url, one.url, two.url)) as gateway,
    ):
        await gateway.post(CHAT, asked(), headers={"traceparent": GIVEN, "tracestate": "a=1,b=2"})
        failed, good = await seen.of("client", 2)
        (whole,) = await seen.of("server")
    assert trace_of(one.requests[0]) == (TRACE, failed.span_id, "01")
    assert trace_of(two.requests[0]) == (TRACE, good.span_id, "01")
    assert states_of(one.requests[0]) == states_of(two.requests[0]) == ["a=1,b=2"]
    assert (whole.trace_id, whole.parent_id, whole.state) == (TRACE, PARENT, "a=1,b=2")
    assert {failed.trace_id, good.trace_id} == {TRACE}


@pytest.mark.parametrize(
    "given",
    [
        "", "00", GIVEN.upper(), GIVEN + "-more", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}x-{PARENT}-01", f"{GIVEN}, {GIVEN}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("traced", [True, False])
async def test_a_malformed_traceparent_is_ignored_and_its_tracestate_too(given: str, traced: bool) -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        url = seen.url if traced else ""
        async with running_gateway(config(url, upstream.url)) as gateway:
            answer = await gateway.post(CHAT, asked(), headers={"traceparent": given, "tracestate": "a=1"})
            assert answer.status == 200
    trace_id, _, flags = trace_of(upstream.requests[0])
    assert (trace_id, flags) == (answer.headers["x-request-id"], "01")
    assert states_of(upstream.requests[0]) == []


async def test_two_traceparents_are_none() -> None:
    async with ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(PLAIN.format(dialect="openai_chat", url=upstream.url)) as gateway:
            other = GIVEN.replace("0af7", "1bf7")
            async with gateway.session.post(
                gateway.url + CHAT, json=asked(), headers=[("traceparent", GIVEN), ("traceparent", other)]
            ) as response:
                assert trace_of(upstream.requests[0])[0] == response.headers["x-request-id"]


async def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(seen.url, upstream.url)) as gateway:
            await gateway.post(CHAT, asked(), headers={"traceparent": f"01-{TRACE}-{PARENT}-ff-more"})
            (attempt,) = await seen.of("client")
    assert trace_of(upstream.requests[0]) == (TRACE, attempt.span_id, "03")


@pytest.mark.parametrize(("dialect", "path"), [("openai_chat", "/v1"), ("anthropic", "")])
async def test_without_tracing_a_clients_trace_passes_as_it_came_in_every_dialect(dialect: str, path: str) -> None:
    reply = reply_json(GOOD if dialect == "openai_chat" else CLAUDE)
    async with ScriptedUpstream(reply) as upstream:
        async with running_gateway(PLAIN.format(dialect=dialect, url=upstream.url + path)) as gateway:
            answer = await gateway.post(CHAT, asked(), headers={"traceparent": GIVEN, "tracestate": "a=1"})
            assert answer.status == 200
    assert trace_of(upstream.requests[0]) == (TRACE, PARENT, "01")
    assert states_of(upstream.requests[0]) == ["a=1"]


async def test_a_trace_that_its_client_does_not_record_is_not_recorded_here() -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(seen.url, upstream.url)) as gateway:
            await gateway.post(CHAT, asked(), headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
            last = await gateway.post(CHAT, asked())
            (whole,) = await seen.of("server")
    assert whole.trace_id == last.headers["x-request-id"]
    assert trace_of(upstream.requests[0])[::2] == (TRACE, "00")


async def test_sampling_is_for_traces_that_begin_here_and_told_to_the_upstream() -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(seen.url, upstream.url, options=", sample: 50%")) as gateway:
            ids = [(await gateway.post(CHAT, asked())).headers["x-request-id"] for _ in range(64)]
            await gateway.post(CHAT, asked(), headers={"traceparent": GIVEN})
            sampled = {each for each in ids if int(each[16:], 16) < 1 << 63}
            await seen.of("server", len(sampled) + 1)
    assert {each.trace_id for each in seen.spans} == {*sampled, TRACE}
    assert 0 < len(sampled) < 64
    told = {trace_of(each)[0]: trace_of(each)[2] for each in upstream.requests}
    assert told == {**{each: "01" if each in sampled else "00" for each in ids}, TRACE: "01"}


async def test_requests_at_the_same_time_never_mix() -> None:
    gate = Gate()
    async with collector() as seen, ScriptedUpstream([gate, *reply_json(GOOD)]) as upstream:
        async with running_gateway(config(seen.url, upstream.url)) as gateway:
            traces = [f"{number:032x}" for number in range(1, 41)]
            asking = [
                asyncio.create_task(
                    gateway.post(CHAT, asked(f"m{trace}"), headers={"traceparent": f"00-{trace}-{trace[16:]}-01"})
                )
                for trace in traces
            ]
            await upstream.wait_for_request(len(traces) - 1)
            gate.open()
            answers = await asyncio.gather(*asking)
            wholes, tries = await seen.of("server", 40), await seen.of("client", 40)
    ids = dict(zip(traces, (each.headers["x-request-id"] for each in answers), strict=True))
    spans = {each.trace_id: each for each in wholes}
    assert {trace: span.attributes["llm_gateway.request_id"] for trace, span in spans.items()} == ids
    assert all(span.parent_id == trace[16:] for trace, span in spans.items())
    assert all(span.attributes["llm_gateway.model"] == f"m{trace}" for trace, span in spans.items())
    sent = {trace_of(each)[0]: trace_of(each)[1] for each in upstream.requests}
    assert sent == {each.trace_id: each.span_id for each in tries}
    assert all(each.parent_id == spans[each.trace_id].span_id for each in tries)
