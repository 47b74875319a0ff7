"""The bench counts right: what the generator got is what the mock sent, and a wrong byte ends the run."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace

import pytest

from benchmarks import blocking, hotspots
from benchmarks.load import LoadError, measure
from benchmarks.scenarios import CREDENTIAL, MODEL_ASKED, Scenario, credential, plain_answer, stream_answer, suite
from benchmarks.upstream import listen
from gateway.dialects.protocol import Target
from gateway.dialects.table import DIALECTS

PLAIN = Scenario("plain", "plain request, 1 KB", "plain", 1024, connections=3, exchanges=20)
STREAM = Scenario("stream", "event, 5 streams", "stream", events=7, pace_ms=1, connections=5, exchanges=10)
HOST = "127.0.0.1"


async def counts(port: int) -> dict[str, int]:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET /counts HTTP/1.1\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    writer.close()
    return dict(json.loads(body))


async def test_generator_counts_what_the_mock_sent_and_no_more() -> None:
    async with await listen() as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await measure(PLAIN, HOST, port, [], os.getpid())
        assert (outcome.exchanges, outcome.units) == (20, 20)
        assert (await counts(port))["plain"] == 20 + 3 * 4  # three connections warm up with four exchanges each


async def test_generator_counts_every_event_of_every_stream() -> None:
    async with await listen() as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await measure(STREAM, HOST, port, [], os.getpid())
        seen = await counts(port)
        assert outcome.units == 70
        assert (seen["events"], seen["streams"], seen["cut"]) == (70 + 5 * 4 * 4, 10 + 5 * 4, 0)


async def test_timetable_sends_every_request_even_with_one_connection() -> None:
    async with await listen() as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await measure(replace(PLAIN, connections=1, rate_per_s=2000.0), HOST, port, [], os.getpid())
        assert outcome.exchanges == 20
        assert 0 < outcome.p50_us <= outcome.p99_us
        assert (await counts(port))["plain"] == 24


async def test_stream_says_its_first_words_together_and_the_rest_at_its_pace() -> None:
    async with await listen() as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await measure(replace(STREAM, at_once=3, exchanges=5), HOST, port, [], os.getpid())
        assert (outcome.units, (await counts(port))["events"]) == (35, 35 + 5 * 4 * 4)
        assert stream_answer(7)[:3] == stream_answer(9)[:3]


async def test_varied_requests_are_each_answered_with_their_own_length() -> None:
    async with await listen() as server:
        port = server.sockets[0].getsockname()[1]
        varied = replace(PLAIN, variants=5)
        assert (await measure(varied, HOST, port, [], os.getpid())).exchanges == 20
    turns = varied.turns("h:1")
    assert len({len(request) for request, _ in turns}) == len({answer for _, answer in turns}) == 5
    assert len({request.partition(b"traceparent: ")[2].partition(b"\r\n")[0] for request, _ in turns}) == 5


def test_callers_ask_in_turn_each_with_its_own_credential() -> None:
    turns = replace(PLAIN, keys=3).turns("h:1")
    assert [f"Bearer {credential(n)}\r\n".encode() in request for n, (request, _) in enumerate(turns)] == [True] * 3
    assert credential(0) == CREDENTIAL


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "2 bytes where 1024 were sent: from byte 1"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400\r\n"
            + plain_answer(1024)[:-1]
            + b"!\r\n0\r\n\r\n",
            "from byte 1023",
        ),
        (b"HTTP/1.1 503 No\r\ncontent-length: 1024\r\n\r\n" + plain_answer(1024), "status 503"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{", "the connection was closed"),
        (b"nonsense\r\n\r\n", "not HTTP"),
    ],
)
async def test_any_wrong_answer_ends_the_run_with_its_reason(answer: bytes, complaint: str) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, HOST, 0) as server:
        with pytest.raises(LoadError, match=complaint):
            await measure(replace(PLAIN, connections=1), HOST, server.sockets[0].getsockname()[1], [], os.getpid())


@pytest.mark.parametrize("scenario", suite(short=False), ids=lambda scenario: scenario.name)
def test_request_is_json_of_the_promised_size_that_carries_its_order(scenario: Scenario) -> None:
    head, _, body = scenario.request("h:1").partition(b"\r\n\r\n")
    fields = json.loads(body)
    assert (len(body), fields["model"], fields["user"]) == (scenario.size_bytes, MODEL_ASKED, scenario.order())
    assert f"Content-Length: {scenario.size_bytes}".encode() in head


@pytest.mark.parametrize("scenario", suite(short=False), ids=lambda scenario: scenario.name)
def test_messages_client_sends_as_many_bytes_and_its_order_survives_translation(scenario: Scenario) -> None:
    head, _, body = replace(scenario, client="anthropic").request("h:1").partition(b"\r\n\r\n")
    chat = DIALECTS["anthropic"].parse_request(body)
    rendered = DIALECTS["openai_chat"].render_request(chat, Target(model="other"))
    assert head.startswith(b"POST /v1/messages ")
    assert len(body) == scenario.size_bytes
    assert (json.loads(rendered.body)["user"], rendered.dropped) == (scenario.order(), ())


def test_translated_answers_say_what_the_mock_said() -> None:
    plain = json.loads(replace(PLAIN, client="anthropic").answer())
    said = json.loads(plain_answer(1024))["choices"][0]["message"]["content"]
    assert (plain["content"], plain["model"]) == ([{"type": "text", "text": said}], MODEL_ASKED)
    stream = replace(STREAM, client="anthropic").answer()
    assert stream.count(b"event: content_block_delta\n") == STREAM.events - 3
    assert b"word00003" in stream and stream.endswith(b'data: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize("client", blocking.PATHS)
def test_bodies_that_may_hold_the_loop_are_about_a_megabyte_in_every_dialect(client: str) -> None:
    sizes = [len(blocking.answer_body(client))]
    for messages in blocking.requests().values():
        body = blocking.request_body(client, "openai_chat", messages)
        assert DIALECTS[client].parse_request(body).model == "openai_chat"
        sizes.append(len(body))
    assert min(sizes) > 0.8 * blocking.SIZE_BYTES
    assert max(sizes) < 1.8 * blocking.SIZE_BYTES


def test_worst_case_of_each_way_of_relaying_is_held_against_its_bar() -> None:
    held = [
        blocking.Held("ollama", "ollama", "one text", 3.0),
        blocking.Held("ollama", "anthropic", "one text", 4.0),
        blocking.Held("anthropic", "ollama", "tiny turns", 21.0),
    ]
    assert blocking.verdicts(held) == [
        "body of 1 MiB, verbatim: holds the loop 3.0 ms at most (one text, ollama to ollama); bar 20 ms: holds",
        "body of 1 MiB, translated: holds the loop 21.0 ms at most (tiny turns, anthropic to ollama); bar 20 ms: MISSED",
    ]


def test_stream_answer_is_a_role_words_a_stop_and_the_terminator() -> None:
    events = stream_answer(6)
    chunks = [json.loads(event.removeprefix(b"data: "))["choices"][0] for event in events[:-1]]
    assert len(events) == 6
    assert chunks[0]["delta"]["role"] == "assistant"
    assert [chunk["finish_reason"] for chunk in chunks] == [None, None, None, None, "stop"]
    assert events[-1] == b"data: [DONE]\n\n"


def test_profile_shares_the_microseconds_among_functions_by_samples() -> None:
    spots = hotspots.hotspots("main (a.py:1);work (gateway/b.py:2) 30\nmain (a.py:1) 10\n", 80.0)
    assert [(s.function, s.self_us, s.total_us) for s in spots] == [
        ("work (gateway/b.py:2)", 60.0, 60.0),
        ("main (a.py:1)", 20.0, 80.0),
    ]
