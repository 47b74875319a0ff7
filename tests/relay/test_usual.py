"""An event that differs from the last in its words alone is passed on unread: nothing else may ever be taken for one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.sse import SseFramer
from gateway.dialects.table import DIALECTS
from gateway.relay.said import Said
from gateway.relay.usual import Usual, usual_event
from gateway.testing import Reset, RunningGateway, ScriptedUpstream, Send, Step, running_gateway
from gateway.upstream.chunked import ends_chunk, head_of_whole

CONFIG = """
version: 1
ledger: {ledger}
plugins: [access_log]
providers:
  one: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
  two: {{dialect: anthropic, base_url: "{url}", api_key: k}}
routes:
  - {{name: chat, match: {{path: /v1/chat/completions}}, targets: ["one/*"]}}
  - {{name: messages, match: {{path: /v1/messages}}, targets: ["two/*"]}}
"""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WORDS = (b"a", b"b\\n", b"no end\\", b"", b"\\\\", b'\\"q\\"', b"\xc3\xa9t\xc3\xa9", b"last")


def chat_event(words: bytes, more: bytes = b"") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]%b}\n\n' % (words, more)


def chat(more: bytes = b"") -> list[bytes]:
    return [
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
        *(chat_event(words, more) for words in WORDS),
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]


def padded_event(words: bytes, more: bytes = b"") -> bytes:
    return chat_event(words, more + b',"obfuscation":"%b"' % b"xYz9"[len(words) % 4 :])


def padded(more: bytes = b"") -> list[bytes]:
    words = [each for each in WORDS if each != b"no end\\"]  # an event that is no JSON keeps its usage
    return [chat()[0], *(padded_event(each, more) for each in words), *chat()[-2:]]


def messages_event(words: bytes) -> bytes:
    return (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"%b"}}\n\n' % words
    )


def messages() -> list[bytes]:
    return [
        b'event: message_start\ndata: {"type":"message_start","message":{"content":[]}}\n\n',
        *map(messages_event, WORDS),
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def edges(pieces: list[bytes], more: int) -> tuple[int, ...]:
    """Return where the pieces begin, and one cut more."""
    ends = [sum(map(len, pieces[:at])) for at in range(1, len(pieces))]
    return tuple(sorted({*ends, more}))


async def ask(gateway: RunningGateway, path: str) -> bytes:
    body = b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}'
    answer = await gateway.post(path, body=body)
    assert answer.status == 200
    return answer.body


CASES = {
    "chat": ("/v1/chat/completions", chat(), chat(), "none"),
    "usage asked for here": ("/v1/chat/completions", chat(b',"usage":null'), chat(), "sqlite:ledger.db"),
    "padded": ("/v1/chat/completions", padded(), padded(), "none"),
    "padded, usage": ("/v1/chat/completions", padded(b',"usage":null'), padded(), "sqlite:ledger.db"),
    "messages": ("/v1/messages", messages(), messages(), "none"),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_stream_is_the_same_wherever_its_segments_are_cut(case: str) -> None:
    path, sent, shown, ledger = CASES[case]
    pieces = [HEAD, *map(chunk, sent), b"0\r\n\r\n"]
    wire, expected = b"".join(pieces), b"".join(shown)
    async with ScriptedUpstream() as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger=ledger)) as gateway:
            begun, end = len(b"".join(pieces[:3])), len(b"".join(pieces[:5]))
            for cut in [*range(begun, end), *range(len(wire) - 40, len(wire))]:
                upstream.script = [Send(wire, cuts=edges(pieces, cut))]
                assert await ask(gateway, path) == expected, f"cut at {cut}: {wire[cut - 20 : cut]!r}"
            await gateway.settled()
            lines = gateway.events("request")
    said = {line["completion_tokens"] for line in lines}
    assert len(said) == 1, f"the words were counted differently: {said}"
    assert {line["outcome"] for line in lines} == {"completed"}


async def test_a_connection_whose_usual_stream_ended_well_is_used_again() -> None:
    *first, last = map(chunk, chat())
    pieces = [HEAD, *first, last + b"0\r\n\r\n"]
    async with ScriptedUpstream([Send(b"".join(pieces), cuts=edges(pieces, 0))]) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger="none")) as gateway:
            for _ in range(3):
                assert await ask(gateway, "/v1/chat/completions") == b"".join(chat())
    assert len(upstream.connections) == 1


async def test_several_events_in_a_chunk_and_chunks_in_a_segment_are_the_same_stream() -> None:
    events = chat()
    whole = b"".join(events)
    async with ScriptedUpstream() as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger="none")) as gateway:
            for count in range(1, len(events)):
                groups = [b"".join(events[at : at + count]) for at in range(0, len(events), count)]
                for pieces in (
                    [HEAD, *map(chunk, groups), b"0\r\n\r\n"],
                    [HEAD, *(b"".join(map(chunk, events[at : at + count])) for at in range(0, len(events), count)),
                     b"0\r\n\r\n"],
                ):  # fmt: skip
                    upstream.script = [Send(b"".join(pieces), cuts=edges(pieces, 0))]
                    assert await ask(gateway, "/v1/chat/completions") == whole


async def test_a_usual_event_that_ends_a_longer_one_waits_for_its_beginning() -> None:
    events = chat()
    pieces = [HEAD, *map(chunk, [*events[:3], b"data: {}\n", *events[2:]]), b"0\r\n\r\n"]
    script = [Send(b"".join(pieces), cuts=edges(pieces, 0))]
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger="none")) as gateway:
            got = await ask(gateway, "/v1/chat/completions")
            assert got == b"".join([*events[:3], b"data: {}\n", *events[2:]])


async def test_a_reader_who_pauses_among_usual_events_gets_them_all() -> None:
    first, *_, stop, done = chat()
    events = [first, *([chat_event(b"x" * 3500)] * 3000), stop, done]
    pieces = [HEAD, *map(chunk, events), b"0\r\n\r\n"]
    async with ScriptedUpstream([Send(b"".join(pieces), cuts=edges(pieces, 0))]) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger="none")) as gateway:
            body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
            async with gateway.session.post(gateway.url + "/v1/chat/completions", data=body) as response:
                connection = next(iter(gateway.server._acceptor.open))
                async with asyncio.timeout(20):
                    while not connection.writing_paused:
                        await asyncio.sleep(0)
                    assert await response.read() == b"".join(events)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (chunk(chat_event(b"cut"))[:-20], "stream_truncated"),
        (chunk(chat_event(b"half"))[:-2], None),
        (b"zz\r\n" + chat_event(b"x") + b"\r\n", "stream_truncated"),
        (b"%x\r\n%b\r\n" % (len(chat_event(b"long")) + 9, chat_event(b"long")), None),
        (b"+%x\r\n%b\r\n" % (len(chat_event(b"x")), chat_event(b"x")), "stream_truncated"),
    ],
    ids=("event cut", "its line end cut", "no size", "larger than it is", "a sign"),
)
async def test_a_chunk_that_is_not_whole_after_usual_ones_ends_the_stream_as_failed(
    last: bytes, code: str | None
) -> None:
    begun = chat()[:4]
    pieces = [HEAD, *map(chunk, begun), last]
    script: list[Step] = [Send(b"".join(pieces), cuts=edges(pieces, 0)), Reset()]
    async with ScriptedUpstream(script) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger="none")) as gateway:
            got = await ask(gateway, "/v1/chat/completions")
            assert got.startswith(b"".join(begun))
            assert b"[DONE]" not in got
            assert b"stream_truncated" in got
            assert (b"cut" in got) is False
            assert code is None or got.count(b"data: ") == len(begun) + 1, "what was not whole is not delivered"
            await gateway.settled()
            assert gateway.events("request")[0]["outcome"] == "failed"


async def test_finish_and_error_that_look_like_usual_events_are_seen() -> None:
    error = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"error":{"message":"no more"}}\n\n'
    stops = chat_event(b'x"},"finish_reason":"stop"},{"index":0,"delta":{"content":"y')
    async with ScriptedUpstream() as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, ledger="none")) as gateway:
            for last, outcome in ((error, b"no more"), (stops, b"[DONE]")):
                pieces = [HEAD, *map(chunk, [*chat()[:4], last]), b"0\r\n\r\n"]
                upstream.script = [Send(b"".join(pieces), cuts=edges(pieces, 0))]
                got = await ask(gateway, "/v1/chat/completions")
                assert got.startswith(b"".join(chat()[:4]))
                assert outcome in got and (b"[DONE]" in got) is (outcome == b"[DONE]")


PIECES = st.sampled_from(
    [
        b'","obfuscation":"',
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"a",
        b" ",
        b"{",
        b"}",
        b'"}}]',
        b'","finish_reason":"stop',
        b"\n\ndata: ",
        b"\xff",
    ]
)


@pytest.mark.parametrize(
    ("name", "make"), [("openai_chat", chat_event), ("openai_chat", padded_event), ("anthropic", messages_event)]
)
@given(words=st.lists(PIECES, max_size=6).map(b"".join))
def test_what_is_taken_for_usual_is_one_event_that_changes_nothing(name: str, make: object, words: bytes) -> None:
    assert callable(make)
    scanner, said = DIALECTS[name].scanner(), Said(name)
    for seen in (make(b"first"), make(b"second")):
        scanner.see(seen)
        said.see(seen)
    assert scanner.quiet
    usual = usual_event(seen, said.start, said.end, seen)
    assert usual is not None
    event = make(words)
    size = usual.words_in(event)
    if size < 0:
        return
    assert size == len(words)
    framer = SseFramer()
    assert framer.feed(event) == [event] and framer.is_between
    before = (scanner.content, scanner.finished, scanner.terminated, scanner.usage, scanner.error)
    counted = said.size_bytes
    scanner.see(event)
    said.see(event)
    assert (scanner.content, scanner.finished, scanner.terminated, scanner.usage, scanner.error) == before
    assert said.size_bytes == counted + size


def test_padding_may_change_and_nothing_else() -> None:
    usual = usual_event(event := padded_event(b"four"), at := event.index(b"four"), at + 4, event)
    assert usual is not None and usual.pad is not None
    for padding in (b"", b"a", b"bcdef"):
        assert usual.words_in(event.replace(b"xYz9", padding)) == 4
    for other in (b'a"', b"\\", b"\n", b'a","usage":{"prompt_tokens":1},"b":"'):
        assert usual.words_in(event.replace(b"xYz9", other)) == -1
    assert usual.words_in(chat_event(b"four")) == -1


def test_plain_words_are_taken_for_usual() -> None:
    usual = Usual(b'{"a":"', b'"}\n\n', None)
    for words, size in ((b"", 0), (b"abc", 3), (b"\\n", 2), (b"\\", -1), (b'"', -1), (b"a\nb", -1), (b"a\rb", -1)):
        assert usual.words_in(b'{"a":"' + words + b'"}\n\n') == size
    assert usual.words_in(b'{"a":"}\n\n') == -1, "what stands before and behind may not share a byte"


def test_the_size_line_of_a_whole_chunk_is_known_by_its_length() -> None:
    for size in [*range(1, 600), *range(4080, 4200), *range(65530, 65560)]:
        whole = chunk(b"x" * size)
        assert head_of_whole(len(whole)) == b"%x\r\n" % size
    assert len(head_of_whole(5)) == 6, "a segment of 5 bytes is no whole chunk: nothing begins with a line so long"
    assert len(head_of_whole(21)) == 22, "as a chunk of 15 bytes is one byte shorter, one of 16 one longer"


@pytest.mark.parametrize(
    ("segment", "pieces", "ends"),
    [
        (b"5\r\nabc\n\n\r\n", [b"abc\n\n"], True),
        (b"5\r\nabc\n\n", [b"abc\n\n"], False),
        (b"9\r\nabc\n\n\r\n", [b"abc\n\n\r\n"], False),
        (b"3\r\nabc\r\n", [b"abc"], False),
        (b"\n\n\r\n", [], False),
    ],
)
def test_where_a_segment_ends_is_said_only_when_it_is_certain(segment: bytes, pieces: list[bytes], ends: bool) -> None:
    assert ends_chunk(segment, pieces) is ends
