"""Messages streams through neutral events and back: every split, the official package's accumulator, the grammar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as WireMessage
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.chat import (
    ChatReply,
    ChatRequest,
    Event,
    Failure,
    Raw,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Start,
    Stop,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from gateway.dialects.anthropic_messages import AnthropicMessages
from gateway.dialects.anthropic_messages.compose import HIDDEN_TOOL
from gateway.dialects.names import wire_name
from gateway.dialects.protocol import AnswerContext
from tests.wire import grammar_anthropic

DIALECT = AnthropicMessages()
CONTEXT = AnswerContext(id="abc", model="asked", now_s=1_700_000_000.0)
ANY_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def sse(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def start(**message: Any) -> bytes:
    base = {"id": "msg_up", "type": "message", "role": "assistant", "model": "claude-up", "content": []}
    return sse("message_start", message=base | {"usage": {"input_tokens": 7, "output_tokens": 1}} | message)


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    out = sse("content_block_start", index=index, content_block=content)
    out += b"".join(sse("content_block_delta", index=index, delta=delta) for delta in deltas)
    return out + sse("content_block_stop", index=index)


def finish(reason: str = "end_turn", **delta: Any) -> bytes:
    return sse(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None} | delta, usage={"output_tokens": 9}
    )


STOP = sse("message_stop")
TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def tool(id: str, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {}}


def parse(*pieces: bytes) -> list[Event]:
    parser = DIALECT.stream_parser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


def write(events: Sequence[Event], context: AnswerContext = CONTEXT) -> bytes:
    """Return a stream as the relay writes it: a Failure ends it, anything else ends well."""
    writer = DIALECT.stream_renderer(context)
    out = b"".join(writer.render(event) for event in events)
    return out + writer.end()


def accumulate(stream: bytes) -> dict[str, Any]:
    """Return what the anthropic package makes of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in grammar_anthropic.check(stream):
        typed = ANY_EVENT.validate_python(event)
        snapshot = accumulate_event(event=typed, current_snapshot=snapshot, json_bufs=buffers)
    found: dict[str, Any] = json.loads(snapshot.to_json())
    return found


def plain(reply: ChatReply, context: AnswerContext = CONTEXT) -> dict[str, Any]:
    """Return the plain translation, read by the anthropic package."""
    wire = json.loads(DIALECT.render_reply(reply, context))
    WireMessage.model_validate(wire)
    return dict(wire)


def alike(streamed: dict[str, Any], whole: dict[str, Any]) -> None:
    for key in ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence"):
        assert streamed.get(key) == whole.get(key), key
    for key in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert streamed["usage"][key] == whole["usage"][key], key


FULL = b"".join(
    [
        start(),
        sse("ping"),
        block(
            0,
            THINKING,
            {"type": "thinking_delta", "thinking": "let me "},
            {"type": "thinking_delta", "thinking": "see…"},
            {"type": "signature_delta", "signature": "EqQBCg=="},
        ),
        block(1, {"type": "redacted_thinking", "data": "b64=="}),
        block(2, TEXT, {"type": "text_delta", "text": "Zwei "}, {"type": "text_delta", "text": "Hüte 🎩"}),
        block(
            3,
            tool("toolu_1", "a"),
            {"type": "input_json_delta", "partial_json": '{"x":'},
            {"type": "input_json_delta", "partial_json": "1.0}"},
        ),
        block(4, tool("toolu_2", "b")),
        finish("tool_use"),
        STOP,
    ]
)
FULL_EVENTS: list[Event] = [
    Start("msg_up", "claude-up"),
    Usage(prompt_tokens=7, completion_tokens=1),
    ReasoningDelta("let me ", 0, origin="anthropic"),
    ReasoningDelta("see…", 0, origin="anthropic"),
    ReasoningDelta("", 0, "EqQBCg==", origin="anthropic"),
    ReasoningDelta("", 1, None, "b64==", True, None, "anthropic"),
    TextDelta("Zwei "),
    TextDelta("Hüte 🎩"),
    ToolCallDelta(0, "toolu_1", "a"),
    ToolCallDelta(0, arguments='{"x":'),
    ToolCallDelta(0, arguments="1.0}"),
    ToolCallDelta(1, "toolu_2", "b"),
    ToolCallDelta(1, arguments="{}"),
    Usage(prompt_tokens=7, completion_tokens=9),
    Stop("tool_calls"),
]


def test_stream_is_read_into_neutral_events() -> None:
    assert parse(FULL) == FULL_EVENTS


def test_every_split_gives_the_same_events() -> None:
    assert parse(*(FULL[at : at + 1] for at in range(len(FULL)))) == FULL_EVENTS
    assert parse(*(part + b"\n\n" for part in FULL.split(b"\n\n") if part)) == FULL_EVENTS
    assert parse(FULL.replace(b"\n", b"\r\n")) == FULL_EVENTS
    assert parse(FULL.replace(b"data: ", b"data:")) == FULL_EVENTS


def test_accumulated_output_equals_the_plain_translation() -> None:
    body = {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "claude-up",
        "content": [
            {"type": "thinking", "thinking": "let me see…", "signature": "EqQBCg=="},
            {"type": "redacted_thinking", "data": "b64=="},
            {"type": "text", "text": "Zwei Hüte 🎩"},
            {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"x": 1.0}},
            {"type": "tool_use", "id": "toolu_2", "name": "b", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 9},
    }
    reply = DIALECT.parse_reply(json.dumps(body).encode())
    assert plain(reply)["content"] == body["content"]
    alike(accumulate(write(parse(FULL))), plain(reply))


def test_tool_call_without_deltas_has_an_empty_object_as_input() -> None:
    content = accumulate(write(parse(start(), block(0, tool("t", "f")), finish("tool_use"), STOP)))["content"]
    assert content == [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]


def test_input_given_in_the_block_start_is_kept() -> None:
    given = tool("t", "f") | {"input": {"a": [1]}}
    stream = start() + block(0, TEXT | {"text": "at once"}) + block(1, given) + finish("tool_use") + STOP
    content = accumulate(write(parse(stream)))["content"]
    assert content[0]["text"] == "at once" and content[1]["input"] == {"a": [1]}


def test_interleaved_calls_are_written_one_after_another() -> None:
    events: list[Event] = [
        Start(),
        ToolCallDelta(0, "c0", "f"),
        ToolCallDelta(1, "c1", "g"),
        ToolCallDelta(0, arguments='{"a":'),
        ToolCallDelta(1, arguments='{"b":'),
        TextDelta("said in between"),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(1, arguments="2}"),
        Stop("tool_calls"),
    ]
    content = accumulate(write(events))["content"]
    assert [part.get("input") for part in content if part["type"] == "tool_use"] == [{"a": 1}, {"b": 2}]
    assert [part["text"] for part in content if part["type"] == "text"] == ["said in between"]


def test_sequential_calls_are_streamed_as_they_come() -> None:
    writer = DIALECT.stream_renderer(CONTEXT)
    for event in (ToolCallDelta(0, "c0", "f"), ToolCallDelta(0, arguments='{"a":1}')):
        assert writer.render(event)
    out = writer.render(ToolCallDelta(1, "c1", "g"))
    assert b"content_block_stop" in out and b'"c1"' in out


def test_reasoning_text_reasoning_tool_makes_four_blocks() -> None:
    events: list[Event] = [
        ReasoningDelta("one", 0),
        TextDelta("two"),
        ReasoningDelta("three", 1),
        ToolCallDelta(0, "c", "f", "{}"),
        Stop("stop"),
    ]
    message = accumulate(write(events))
    assert [part["type"] for part in message["content"]] == ["thinking", "text", "thinking", "tool_use"]
    assert message["content"][0]["signature"] == "" and message["stop_reason"] == "tool_use"


def test_usage_after_the_stop_is_in_message_delta_and_there_is_one() -> None:
    out = write([TextDelta("a"), Stop("stop"), Usage(prompt_tokens=10, completion_tokens=4, cached_tokens=3)])
    deltas = [event for event in grammar_anthropic.check(out) if event["type"] == "message_delta"]
    assert len(deltas) == 1
    assert deltas[0]["usage"]["input_tokens"] == 7 and deltas[0]["usage"]["cache_read_input_tokens"] == 3


def test_empty_answer_has_no_blocks() -> None:
    assert accumulate(write([Start(), TextDelta(""), Stop("stop")]))["content"] == []


def test_nothing_at_all_is_still_a_whole_message() -> None:
    assert accumulate(write([]))["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("stop", "extra", "wire"),
    [
        ("stop", {}, "end_turn"),
        ("length", {}, "max_tokens"),
        ("length", {"stop_reason": "model_context_window_exceeded"}, "model_context_window_exceeded"),
        ("tool_calls", {}, "tool_use"),
        ("refusal", {}, "refusal"),
        ("pause", {}, "pause_turn"),
        ("stop", {"stop_reason": "nonsense"}, "end_turn"),
    ],
)
def test_stop_reasons(stop: Any, extra: dict[str, Any], wire: str) -> None:
    assert accumulate(write([TextDelta("a"), Stop(stop, None, extra)]))["stop_reason"] == wire
    assert plain(ChatReply(id="", model="", created_s=0, parts=(), stop=stop, extra=extra))["stop_reason"] == wire
    if wire != "end_turn" and wire != "tool_use":
        assert parse(start(), finish(wire), STOP)[-1] == Stop(stop, None, extra)


def test_stop_sequence_is_named() -> None:
    events = parse(start(), finish("stop_sequence", stop_sequence="END"), STOP)
    assert events[-1] == Stop("stop", "END")
    message = accumulate(write(events))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


def test_refused_words_end_as_a_refusal() -> None:
    message = accumulate(write([TextDelta("I cannot", refusal=True), Stop("stop")]))
    assert message["stop_reason"] == "refusal" and message["content"][0]["text"] == "I cannot"
    reply = ChatReply(id="", model="", created_s=0, parts=(Refusal(text="I cannot"),))
    alike(message, plain(reply) | {"usage": message["usage"]})


def test_refusal_keeps_its_details() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    events = parse(start(), finish("refusal", stop_details=details), STOP)
    assert accumulate(write(events))["stop_details"] == details


def test_length_in_the_middle_of_arguments_leaves_them_partial() -> None:
    out = write([ToolCallDelta(0, "c", "f", '{"a": "b'), Stop("length")])
    events = grammar_anthropic.check(out)
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"
    assert [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"] == [
        '{"a": "b'
    ]


def test_server_tool_blocks_keep_their_form_and_get_their_place() -> None:
    server = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
    stream = b"".join(
        [
            start(),
            block(5, server, {"type": "input_json_delta", "partial_json": '{"query":"x"}'}),
            block(6, result),
            block(7, TEXT, {"type": "text_delta", "text": "found"}, {"type": "citations_delta", "citation": CITATION}),
            block(8, tool("t", "f")),
            finish("tool_use"),
            STOP,
        ]
    )
    events = parse(stream)
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [call.index for call in calls] == [0, 0], "server tools must not shift the calls"
    content = accumulate(write(events))["content"]
    assert [part["type"] for part in content] == ["server_tool_use", "web_search_tool_result", "text", "tool_use"]
    assert content[0]["input"] == {"query": "x"} and content[2]["citations"] == [CITATION]


CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}


def test_foreign_annotations_are_left_out() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "u"}}
    out = write([TextDelta("a", False, (note,)), Stop("stop")])
    assert accumulate(out)["content"][0]["text"] == "a" and b"url_citation" not in out


def test_unknown_events_and_deltas_are_no_harm() -> None:
    stream = b"".join(
        [
            start(),
            sse("content_block_start", index=0, content_block=TEXT),
            sse("content_block_delta", index=0, delta={"type": "hologram_delta", "x": 1}),
            sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}),
            b"data: not json\n\n",
            b"event: content_block_delta\ndata: [1]\n\n",
            sse("hologram", x=1),
            sse("content_block_stop", index=0),
            finish(),
            STOP,
        ]
    )
    events = parse(stream)
    assert [event for event in events if isinstance(event, Raw)] == [Raw("anthropic", sse("hologram", x=1))]
    assert b'"hologram"' in write(events)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a"]


def test_doubled_start_begins_one_message() -> None:
    out = write(parse(start(), start(), block(0, TEXT, {"type": "text_delta", "text": "a"}), finish(), STOP))
    assert out.count(b"event: message_start") == 1


def test_spliced_start_keeps_its_content_and_ends_with_message_stop() -> None:
    content = [{"type": "text", "text": "hi"}, tool("t", "f") | {"input": {"a": 1}}]
    events = parse(start(content=content), STOP)
    assert events[-1] == Stop("tool_calls")
    assert [part["type"] for part in accumulate(write(events))["content"]] == ["text", "tool_use"]


def test_spliced_start_without_message_stop_is_truncated() -> None:
    assert isinstance(parse(start(content=[{"type": "text", "text": "hi"}]))[-1], Failure)


@pytest.mark.parametrize("cut", [start(), start() + block(0, TEXT, {"type": "text_delta", "text": "a"}), b""])
def test_end_before_the_finish_is_a_failure(cut: bytes) -> None:
    assert parse(cut)[-1] == Failure("the upstream's stream ended before its finish", "stream_truncated")


def test_end_after_the_finish_is_complete_without_message_stop() -> None:
    events = parse(start(), finish())
    assert not any(isinstance(event, Failure) for event in events)
    assert write(events).endswith(b'data: {"type":"message_stop"}\n\n')


def test_without_a_name_to_show_the_upstreams_own_is_shown() -> None:
    context = AnswerContext(id="abc", model="", now_s=1.0)
    streamed = accumulate(write([Start("", "up"), TextDelta("a"), Stop("stop")], context))
    whole = plain(ChatReply(id="", model="up", created_s=0, parts=(Text(text="a"),)), context)
    assert streamed["model"] == whole["model"] == "up"


def test_error_event_is_a_failure_and_nothing_follows() -> None:
    stream = start() + sse("error", error={"type": "overloaded_error", "message": "Overloaded"}) + finish() + STOP
    events = parse(stream)
    assert events[-1] == Failure("Overloaded", "overloaded", 503)
    out = grammar_anthropic.check(write(events))
    assert out[-1]["type"] == "error" and out[-1]["error"] == {"type": "overloaded_error", "message": "Overloaded"}


def test_an_event_above_one_mebibyte_is_a_failure() -> None:
    big = block(0, TEXT, {"type": "text_delta", "text": "x" * (1 << 21)})
    events = parse(start(), *(big[at : at + 65536] for at in range(0, len(big), 65536)))
    assert isinstance(events[-1], Failure) and events[-1].code == "event_too_large"


def test_foreign_reasoning_rides_in_the_signature_and_comes_back() -> None:
    events: list[Event] = [
        ReasoningDelta("sum", 0, id="rs_1", origin="openai_responses"),
        ReasoningDelta("", 0, None, "gAAAA", origin="openai_responses"),
        Stop("stop"),
    ]
    content = accumulate(write(events))["content"]
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": content}]}
    chat = DIALECT.parse_request(json.dumps(request).encode())
    expected = Reasoning(text="sum", encrypted="gAAAA", id="rs_1", origin="openai_responses")
    assert chat.messages[0].parts == (expected,)
    whole = plain(ChatReply(id="", model="", created_s=0, parts=(expected,)))
    assert whole["content"] == content


def test_hidden_tool_becomes_text() -> None:
    hidden = block(
        0,
        tool("t", HIDDEN_TOOL),
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": "1}"},
    )
    events = parse(start(), hidden, finish("tool_use"), STOP)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ['{"a":', "1}"]
    assert events[-1] == Stop("stop")
    body = {"type": "message", "content": [tool("t", HIDDEN_TOOL) | {"input": {"a": 1}}], "stop_reason": "tool_use"}
    reply = DIALECT.parse_reply(json.dumps(body).encode())
    assert (reply.parts, reply.stop) == ((Text(text='{"a":1}'),), "stop")


def test_names_and_ids_are_given_back_as_the_client_knows_them() -> None:
    long = "mcp." + "x" * 80
    request = ChatRequest(dialect="anthropic", model="m", messages=(), tools=(Tool(name=long),))
    context = AnswerContext(id="abc", model="m", now_s=1.0, request=request)
    call = ToolCall(id="functions.Bash:0", name=wire_name(long), arguments="{}")
    whole = plain(ChatReply(id="", model="", created_s=0, parts=(call, ToolCall(id="", name="g"))), context)
    streamed = accumulate(write([ToolCallDelta(0, call.id, call.name, "{}"), ToolCallDelta(1, "", "g", "{}")], context))
    assert whole["content"] == streamed["content"]
    assert whole["content"][0]["name"] == long
    ids = [part["id"] for part in whole["content"]]
    assert all(id.replace("_", "").replace("-", "").isalnum() for id in ids) and len(set(ids)) == 2


# --- properties ------------------------------------------------------------------------------------

words = st.text(max_size=6)
deltas = st.one_of(
    st.builds(TextDelta, words, st.booleans()),
    st.builds(ReasoningDelta, words, st.integers(0, 2)),
    st.builds(ReasoningDelta, words, st.integers(0, 2), st.just("sig"), origin=st.just("anthropic")),
    st.builds(
        ToolCallDelta,
        st.integers(0, 3),
        words,
        st.sampled_from(["f", "g"]),
        st.sampled_from(["", "{}", '{"a"', ":1}", "x"]),
    ),
    st.builds(
        Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9), cached_tokens=st.integers(0, 9)
    ),
    st.builds(Stop, st.sampled_from(["stop", "length", "tool_calls", "refusal", "pause"])),
    st.builds(
        Raw, st.sampled_from(["anthropic", "ollama"]), st.sampled_from([b"", b"data: 1\n\n", sse("hologram", x=1)])
    ),
)


@given(st.lists(deltas, max_size=12))
def test_whatever_is_written_keeps_the_grammar_and_every_text(events: list[Event]) -> None:
    out = grammar_anthropic.check(write(events))
    written = "".join(event["delta"].get("text", "") for event in out if event["type"] == "content_block_delta")
    assert written == "".join(event.text for event in events if isinstance(event, TextDelta))


@given(st.lists(st.sampled_from(sorted({*FULL.split(b"\n\n")})), max_size=12), st.integers(1, 40))
def test_any_order_of_events_is_read_without_a_crash_and_alike_in_every_split(frames: list[bytes], size: int) -> None:
    stream = b"".join(frame + b"\n\n" for frame in frames)
    whole = parse(stream)
    assert parse(*(stream[at : at + size] for at in range(0, len(stream), size))) == whole
    assert sum(isinstance(event, Stop | Failure) for event in whole) == 1
