"""Ollama streams and answers through neutral events and back: every split, the official package, the grammar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama import ChatResponse, Client, GenerateResponse, ResponseError

from gateway.chat import (
    ChatReply,
    Event,
    Failure,
    Image,
    Raw,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Start,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.ollama_generate import OllamaGenerate
from gateway.dialects.protocol import AnswerContext
from gateway.errors import UpstreamError
from tests.wire import grammar_ollama

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
CONTEXT = AnswerContext(id="abc", model="asked", now_s=1_700_000_000.5, duration_ns=5)
AT = "2026-11-01T10:00:00.123456789Z"


def line(**members: Any) -> bytes:
    return json.dumps({"model": "up", "created_at": AT, "done": False} | members, ensure_ascii=False).encode() + b"\n"


def say(content: str = "", **members: Any) -> bytes:
    return line(message={"role": "assistant", "content": content} | members)


def done(reason: str | None = "stop", **members: Any) -> bytes:
    counts = {"prompt_eval_count": 7, "eval_count": 9}
    return line(message={"role": "assistant", "content": ""}, done=True, done_reason=reason, **counts | members)


def parse(*pieces: bytes) -> list[Event]:
    parser = CHAT.stream_parser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


def write(events: Sequence[Event], dialect: OllamaChat = CHAT) -> bytes:
    writer = dialect.stream_renderer(CONTEXT)
    return b"".join(writer.render(event) for event in events) + writer.end()


def by_package(stream: bytes, *, generate: bool = False) -> list[Any]:
    """Return a stream's parts as the ollama package's own client yields them."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=stream))
    client = Client(host="http://gateway", transport=transport)
    if generate:
        return list(client.generate(model="m", prompt="p", stream=True))
    return list(client.chat(model="m", messages=[], stream=True))


CALL = {"function": {"name": "f", "arguments": {"x": 1.0, "big": 12345678901234567890123}}}
FULL = (
    say(thinking="hm ")
    + say(thinking="ja")
    + say("Zwei ")
    + say("Hüte 🎩\u2028")
    + say(tool_calls=[CALL, CALL])
    + done()
)


def test_stream_is_read_into_neutral_events() -> None:
    events = parse(FULL)
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [event for event in events if event not in calls] == [
        Start("", "up", 1793527200),
        ReasoningDelta("hm ", 0, origin="ollama"),
        ReasoningDelta("ja", 0, origin="ollama"),
        TextDelta("Zwei "),
        TextDelta("Hüte 🎩\u2028"),
        Usage(prompt_tokens=7, completion_tokens=9),
        Stop("tool_calls"),
    ]
    assert [(call.index, call.name) for call in calls] == [(0, "f"), (1, "f")]
    assert calls[0].arguments == '{"x":1.0,"big":12345678901234567890123}'
    assert calls[0].id and calls[1].id and calls[0].id != calls[1].id


def test_every_split_gives_the_same_events_and_the_same_ids() -> None:
    whole = parse(FULL)
    assert parse(*(FULL[at : at + 1] for at in range(len(FULL)))) == whole
    assert parse(*FULL.splitlines(keepends=True)) == whole
    assert parse(FULL.rstrip(b"\n")) == whole
    assert parse(FULL.replace(b"\n", b"\r\n")) == whole


def test_written_stream_is_what_the_package_reads() -> None:
    parts = by_package(write(parse(FULL)))
    grammar_ollama.check(write(parse(FULL)))
    assert all(isinstance(part, ChatResponse) for part in parts)
    assert "".join(part.message.content or "" for part in parts) == "Zwei Hüte 🎩\u2028"
    assert "".join(part.message.thinking or "" for part in parts) == "hm ja"
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    assert [dict(call.function.arguments) for call in calls] == [CALL["function"]["arguments"]] * 2
    last = parts[-1]
    assert (last.done, last.done_reason, last.prompt_eval_count, last.eval_count) == (True, "stop", 7, 9)


def test_accumulated_output_equals_the_plain_translation() -> None:
    calls = [CALL, {"function": {"name": "g", "arguments": {}}}]
    message = {"role": "assistant", "content": "text", "thinking": "hm", "tool_calls": calls}
    body = {"model": "up", "created_at": AT, "message": message, "done": True, "done_reason": "stop"}
    reply = CHAT.parse_reply(json.dumps(body | {"prompt_eval_count": 7, "eval_count": 9}).encode())
    whole = json.loads(CHAT.render_reply(reply, CONTEXT))
    ChatResponse.model_validate(whole)
    stream = say(thinking="hm") + say("te") + say("xt") + say(tool_calls=calls[:1]) + say(tool_calls=calls[1:]) + done()
    lines = grammar_ollama.check(write(parse(stream)))
    assert "".join(part["message"]["content"] for part in lines) == whole["message"]["content"]
    assert "".join(part["message"].get("thinking", "") for part in lines) == whole["message"]["thinking"]
    streamed = [call["function"] for part in lines for call in part["message"].get("tool_calls", ())]
    assert streamed == [call["function"] for call in whole["message"]["tool_calls"]]
    for key in ("done_reason", "prompt_eval_count", "eval_count", "model", "created_at", "total_duration"):
        assert lines[-1][key] == whole[key], key


def test_generate_stream_is_what_the_package_reads() -> None:
    stream = line(response="", thinking="hm") + line(response="a") + line(response="b")
    stream += line(response="", done=True, done_reason="length", prompt_eval_count=1, eval_count=2)
    events = parse(stream)
    assert events[-1] == Stop("length")
    out = write(events, GENERATE)
    grammar_ollama.check(out)
    parts = by_package(out, generate=True)
    assert all(isinstance(part, GenerateResponse) for part in parts)
    assert "".join(part.response or "" for part in parts) == "ab" and parts[0].thinking == "hm"
    assert parts[-1].done_reason == "length"


def test_generate_answer_is_read_and_written() -> None:
    body = {"model": "up", "created_at": AT, "response": "hi", "thinking": "hm", "done": True, "done_reason": "stop"}
    reply = GENERATE.parse_reply(json.dumps(body).encode())
    assert reply.parts == (Reasoning(text="hm", origin="ollama"), Text(text="hi"))
    whole = json.loads(GENERATE.render_reply(reply, CONTEXT))
    assert GenerateResponse.model_validate(whole).response == "hi" and whole["thinking"] == "hm"


def test_line_separators_inside_text_do_not_break_the_lines_of_the_package() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x1ff"
    parts = by_package(write([TextDelta(text), Stop("stop")]))
    assert "".join(part.message.content or "" for part in parts) == text


def test_keep_alive_between_lines_is_ignored_by_the_package() -> None:
    out = write([TextDelta("a"), Stop("stop")])
    first, second = out.splitlines(keepends=True)
    parts = by_package(CHAT.keep_alive * 2 + first + CHAT.keep_alive + second)
    assert "".join(part.message.content or "" for part in parts) == "a"


def test_an_empty_line_would_break_the_package() -> None:
    """The reason why the keep-alive is a space: a newline is not ignored."""
    with pytest.raises(json.JSONDecodeError):
        by_package(b"\n" + write([Stop("stop")]))


def test_error_line_is_raised_by_the_package() -> None:
    events = parse(say("a") + line(error="model runner has unexpectedly stopped"))
    assert events[-1] == Failure("model runner has unexpectedly stopped", "upstream_error", 502)
    out = write(events)
    grammar_ollama.check(out)
    with pytest.raises(ResponseError, match="unexpectedly stopped"):
        by_package(out)


def test_without_a_name_to_show_the_upstreams_own_is_shown() -> None:
    context = AnswerContext(id="abc", model="", now_s=1.0)
    writer = CHAT.stream_renderer(context)
    out = b"".join(writer.render(event) for event in (Start("", "up"), TextDelta("a"), Stop("stop"))) + writer.end()
    assert {part["model"] for part in grammar_ollama.check(out)} == {"up"}
    reply = ChatReply(id="", model="up", created_s=0, parts=())
    assert json.loads(CHAT.render_reply(reply, context))["model"] == "up"


def test_end_before_done_is_a_failure() -> None:
    assert parse(say("a"))[-1] == Failure("the upstream's stream ended before its finish", "stream_truncated")
    assert isinstance(parse(b"")[-1], Failure)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_loading_a_model_is_no_answer(reason: str) -> None:
    assert isinstance(parse(done(reason))[-1], Failure)
    with pytest.raises(UpstreamError, match=reason):
        CHAT.parse_reply(done(reason))


@pytest.mark.parametrize(("reason", "stop"), [("stop", "stop"), ("length", "length"), (None, "stop"), ("new", "stop")])
def test_done_reasons(reason: str | None, stop: Any) -> None:
    assert parse(say("a") + done(reason))[-1] == Stop(stop)
    assert CHAT.parse_reply(done(reason)).stop == stop


def test_nothing_after_done_or_an_error_counts() -> None:
    assert parse(done() + say("late"))[-1] == Stop("stop")
    assert isinstance(parse(line(error="x") + say("late") + done())[-1], Failure)


def test_calls_in_any_line_end_as_tool_calls() -> None:
    assert parse(say(tool_calls=[CALL]) + say("words") + done())[-1] == Stop("tool_calls")


def test_calls_arrive_whole_and_in_order_of_appearance() -> None:
    events: list[Event] = [
        ToolCallDelta(3, "c3", "g", '{"b"'),
        ToolCallDelta(1, "c1", "f", "{}"),
        ToolCallDelta(3, arguments=":2}"),
        Stop("tool_calls"),
    ]
    lines = grammar_ollama.check(write(events))
    calls = [call for part in lines for call in part["message"].get("tool_calls", ())]
    assert [(call["id"], call["function"]["index"], call["function"]["arguments"]) for call in calls] == [
        ("c3", 0, {"b": 2}),
        ("c1", 1, {}),
    ]


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [("", {}), ("null", {}), ("not json", {}), ("[1]", {"value": [1]}), ('"x"', {"value": "x"}), ('{"a":', {})],
)
def test_arguments_that_are_no_object_are_wrapped_or_empty(arguments: str, wire: object) -> None:
    reply = ChatReply(id="", model="", created_s=0, parts=(ToolCall(id="c", name="f", arguments=arguments),))
    found = json.loads(CHAT.render_reply(reply, CONTEXT))["message"]["tool_calls"][0]["function"]["arguments"]
    assert found == wire


def test_arguments_spelled_as_a_string_are_understood() -> None:
    events = parse(say(tool_calls=[{"function": {"name": "f", "arguments": '{"a": 1}'}}]) + done())
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ['{"a": 1}']


def test_answers_with_images_and_refusals() -> None:
    parts = (Text(text="see "), Refusal(text="no"), Image(media_type="image/png", data="AAAA"))
    whole = json.loads(CHAT.render_reply(ChatReply(id="", model="", created_s=0, parts=parts, stop="refusal"), CONTEXT))
    assert (whole["message"]["content"], whole["message"]["images"], whole["done_reason"]) == (
        "see no",
        ["AAAA"],
        "stop",
    )
    assert CHAT.parse_reply(say("", images=["iVBORw0KGgo="])).parts[0] == Image(
        media_type="image/png", data="iVBORw0KGgo="
    )


def test_all_input_is_counted_the_cached_included() -> None:
    reply = ChatReply(id="", model="", created_s=0, parts=(), usage=Usage(prompt_tokens=10, cached_tokens=8))
    assert json.loads(CHAT.render_reply(reply, CONTEXT))["prompt_eval_count"] == 10


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"{}", b'{"message":7}', b'{"message":{"tool_calls":[1]}}'])
def test_answers_that_are_not_ollamas_are_bad_responses(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        CHAT.parse_reply(body)
    assert caught.value.kind == "bad_response"


ODD = [
    b"\n",
    b" ",
    b"{\n",
    b"[]\n",
    b'{"message":7}\n',
    b'{"error":{"message":"m"}}\n',
    b"null\n",
    b"\xff\n",
    FULL,
    say("a"),
    done(),
]


@given(st.lists(st.sampled_from(ODD), max_size=8), st.integers(1, 50))
def test_any_lines_are_read_without_a_crash_and_alike_in_every_split(pieces: list[bytes], size: int) -> None:
    stream = b"".join(pieces)
    whole = parse(stream)
    assert parse(*(stream[at : at + size] for at in range(0, len(stream), size))) == whole
    assert sum(isinstance(event, Stop | Failure) for event in whole) == 1


words = st.text(max_size=6)
deltas = st.one_of(
    st.builds(TextDelta, words, st.booleans()),
    st.builds(ReasoningDelta, words, st.integers(0, 2)),
    st.builds(
        ToolCallDelta, st.integers(0, 3), words, st.sampled_from(["f", "g"]), st.sampled_from(["", "{}", '{"a"', "x"])
    ),
    st.builds(Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9)),
    st.builds(Stop, st.sampled_from(["stop", "length", "tool_calls", "refusal", "pause"])),
    st.builds(Raw, st.just("anthropic"), st.just(b"data: {}\n\n")),
)


@given(st.lists(deltas, max_size=12), st.sampled_from([CHAT, GENERATE]))
def test_whatever_is_written_keeps_the_grammar_and_every_text(events: list[Event], dialect: OllamaChat) -> None:
    lines = grammar_ollama.check(write(events, dialect))
    written = "".join(part.get("response", part.get("message", {}).get("content", "")) for part in lines)
    assert written == "".join(event.text for event in events if isinstance(event, TextDelta))
