"""Ollama requests: read, given back whole, and written for requests of other dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.ollama_generate import OllamaGenerate
from gateway.dialects.protocol import Rendered, Target
from gateway.errors import BadRequest

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def parse(**members: Any) -> ChatRequest:
    base = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return CHAT.parse_request(json.dumps(base | members).encode())


def render(request: ChatRequest, model: str = "t", **quirks: Any) -> Rendered:
    return CHAT.render_request(request, Target(model=model, quirks=quirks))


def body_of(request: ChatRequest, model: str = "t", **quirks: Any) -> dict[str, Any]:
    wire: dict[str, Any] = json.loads(render(request, model, **quirks).body)
    return wire


def user(*parts: Part | str) -> Message:
    return Message(role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(dialect="openai_chat", model="asked", messages=messages or (user("hi"),), **fields)


EVERYTHING: dict[str, Any] = {
    "model": "t",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "look", "images": [PNG]},
        {
            "role": "assistant",
            "content": "so",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"b": 1.0, "a": 12345678901234567890}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "c1"},
        {"role": "tool", "content": "2", "tool_name": "g", "tool_call_id": "c2"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "$defs": {"x": {"enum": [1.0, None]}}},
                "new": 1,
            },
        }
    ],
    "stream": True,
    "format": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "think": "high",
    "options": {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "num_predict": 9,
        "seed": 3,
        "stop": ["a"],
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "num_ctx": 100,
        "mirostat": 2,
        "unheard_of": {"deep": 1.0},
    },
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 3,
    "unheard_of": [1],
}


def test_a_chat_request_is_given_back_whole() -> None:
    rendered = render(CHAT.parse_request(json.dumps(EVERYTHING).encode()))
    assert json.loads(rendered.body) == EVERYTHING
    assert rendered.dropped == () and b'"b":1.0' in rendered.body and b"12345678901234567890" in rendered.body


def test_a_generate_request_is_given_back_whole() -> None:
    asked = {
        "model": "t",
        "prompt": "why",
        "suffix": "x",
        "system": "s",
        "template": "t",
        "context": [1, 2],
        "raw": True,
        "images": [PNG],
        "stream": False,
        "format": "json",
        "think": False,
        "options": {"num_ctx": 3},
        "keep_alive": 0,
    }
    chat = GENERATE.parse_request(json.dumps(asked).encode())
    rendered = GENERATE.render_request(chat, Target(model="t"))
    assert json.loads(rendered.body) == asked and rendered.dropped == ()
    assert render(chat).dropped == ("suffix", "template", "context", "raw")


def test_an_absent_stream_means_yes() -> None:
    assert parse().stream and parse(stream=None).stream and not parse(stream=False).stream


def test_results_find_their_calls_by_name_and_order_when_there_are_no_ids() -> None:
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g", "f")]
    results = [
        {"role": "tool", "tool_name": name, "content": text} for name, text in (("g", "2"), ("f", "1"), ("f", "3"))
    ]
    messages = parse(messages=[{"role": "assistant", "tool_calls": calls}, *results]).messages
    ids = [part.id for part in messages[0].parts if isinstance(part, ToolCall)]
    assert ids == ["call_0", "call_1", "call_2"]
    found = {
        part.call_id: part.parts for message in messages[1:] for part in message.parts if isinstance(part, ToolResult)
    }
    assert [found[id] for id in ids] == [(Text(text="1"),), (Text(text="2"),), (Text(text="3"),)]


def test_a_result_without_a_name_belongs_to_the_first_open_call() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"a": 1}'}}]
    messages = parse(messages=[{"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": "1"}]).messages
    assert messages[0].parts == (ToolCall(id="call_0", name="f", arguments='{"a": 1}'),)
    assert messages[1].parts == (ToolResult(call_id="call_0", parts=(Text(text="1"),), name="f"),)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        ("/9j/4AAQ", "image/jpeg"),
        ("R0lGODlh", "image/gif"),
        ("UklGRg==", "image/webp"),
        ("data:image/bmp;base64,Qk0=", "image/bmp"),
    ],
)
def test_images_are_known_by_their_first_bytes(data: str, kind: str) -> None:
    image = parse(messages=[{"role": "user", "content": "", "images": [data]}]).messages[0].parts[0]
    assert isinstance(image, Image) and image.media_type == kind and image.data == data.rpartition(",")[2]


@pytest.mark.parametrize(
    ("think", "thinking"),
    [
        (True, Thinking(mode="adaptive")),
        (False, Thinking(mode="disabled")),
        ("low", Thinking(mode="effort", effort="low")),
        (None, None),
    ],
)
def test_every_way_to_think_is_read_and_given_back(think: Any, thinking: Thinking | None) -> None:
    request = parse(think=think)
    assert request.thinking == thinking and body_of(request).get("think") == think


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"messages":[]}', "model"),
        (b'{"model":"m","messages":7}', "messages"),
        (b'{"model":"m","messages":[{"role":"robot"}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":[1]}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"user","images":[1]}]}', "messages[0].images"),
        (b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{}]}]}', "messages[0].tool_calls[0].function"),
        (b'{"model":"m","tools":[{"type":"function","function":{}}]}', "tools[0].function.name"),
        (b'{"model":"m","options":7}', "options"),
        (b'{"model":"m","options":{"num_predict":"x"}}', "options.num_predict"),
        (b'{"model":"m","options":{"stop":[1]}}', "options.stop"),
        (b'{"model":"m","format":"yaml"}', "format"),
        (b'{"model":"m","think":7}', "think"),
        (b'{"model":"m","stream":"no"}', "stream"),
    ],
)
def test_odd_requests_are_refused_by_the_name_of_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.parse_request(body)
    assert caught.value.param == param and (param is None or param in caught.value.message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EVERYTHING, "prompt", "system", "images", "raw"]), JSON, max_size=4))
def test_random_json_in_any_field_is_taken_or_refused(members: dict[str, Any]) -> None:
    body = json.dumps(EVERYTHING | members).encode()
    for dialect in (CHAT, GENERATE):
        try:
            request = dialect.parse_request(body)
        except BadRequest as error:
            assert error.message
            continue
        dialect.render_request(request, Target(model="t"))
        dialect.render_request(replace(request, dialect="openai_chat"), Target(model="t"))


@given(
    st.dictionaries(
        st.sampled_from(["role", "content", "images", "tool_calls", "thinking", "tool_name", "x"]), JSON, max_size=6
    )
)
def test_random_json_in_any_message_is_taken_or_refused(message: dict[str, Any]) -> None:
    try:
        render(parse(messages=[message, {"role": "assistant", **message}, {"role": "tool", **message}]))
    except BadRequest as error:
        assert error.message


# --- from other dialects ---------------------------------------------------------------------------


def test_texts_are_joined_and_images_follow_them_with_notice_when_they_moved() -> None:
    request = chat(
        user("a", Image(data=PNG), "b", Image(url=f"data:image/png;base64,{PNG}", detail="low"), Image(url="https://x"))
    )
    rendered = render(request)
    assert json.loads(rendered.body)["messages"] == [{"role": "user", "content": "a\nb", "images": [PNG, PNG]}]
    assert rendered.dropped == ("image_order", "detail", "image_url")


def test_no_images_no_list() -> None:
    assert "images" not in body_of(chat())["messages"][0]


def test_documents_are_told_as_text_or_left_out_with_notice() -> None:
    parts = (
        Document(text="plain", title="notes"),
        Document(parts=(Text(text="inner"),)),
        Document(media_type="application/pdf", data="JVBE"),
        Document(url="https://x"),
        Document(file_id="f"),
        Audio(format="wav", data="A"),
        Opaque(dialect="x", kind="hologram", value={}),
    )
    rendered = render(chat(user(*parts)))
    assert json.loads(rendered.body)["messages"][0]["content"] == "notes\nplain\ninner"
    assert rendered.dropped == ("file_data", "file_url", "file_id", "input_audio", "hologram")


def test_results_name_their_tool_and_their_images_follow_all_of_them() -> None:
    calls = Message(
        role="assistant", parts=(ToolCall(id="a", name="f", arguments='{"x":1.0}'), ToolCall(id="b", name="g"))
    )
    results = Message(
        role="tool",
        parts=(
            ToolResult(call_id="a", parts=(Text(text="1"), Image(data=PNG))),
            ToolResult(call_id="b", is_error=True),
        ),
    )
    rendered = render(chat(user("q"), calls, results, user("go on")))
    assert json.loads(rendered.body)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "f", "arguments": {"x": 1}}},
                {"function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "1", "tool_name": "f"},
        {"role": "tool", "content": "[tool error] ", "tool_name": "g"},
        {"role": "user", "content": "Images in the result of f:", "images": [PNG]},
        {"role": "user", "content": "go on"},
    ]
    assert b'"x":1.0' in rendered.body


def test_ids_are_sent_to_servers_that_know_them() -> None:
    call = Message(role="assistant", parts=(ToolCall(id="a", name="f"),))
    body = body_of(chat(call, Message(role="tool", parts=(ToolResult(call_id="a"),))), tool_call_ids=True)
    assert body["messages"][0]["tool_calls"][0]["id"] == "a" and body["messages"][1]["tool_call_id"] == "a"


def test_own_reasoning_goes_back_and_what_is_bound_to_a_vendor_does_not() -> None:
    parts = (
        Reasoning(text="mine", origin="ollama"),
        Reasoning(text="plain", origin="openai_chat"),
        Reasoning(text="bound", signature="s", origin="anthropic"),
        Text(text="a"),
    )
    rendered = render(chat(Message(role="assistant", parts=parts)))
    assert json.loads(rendered.body)["messages"][0]["thinking"] == "mineplain"
    assert rendered.dropped == ("reasoning_content",)


@pytest.mark.parametrize(
    ("choice", "names", "dropped"),
    [
        (None, ["f", "g"], ()),
        (ToolChoice(mode="auto"), ["f", "g"], ()),
        (ToolChoice(mode="none"), [], ()),
        (ToolChoice(mode="required"), ["f", "g"], ("tool_choice",)),
        (ToolChoice(mode="tool", name="g"), ["g"], ("tool_choice",)),
        (ToolChoice(mode="auto", allowed=("f",)), ["f"], ()),
    ],
)
def test_tool_choices_are_emulated_as_far_as_they_can_be(
    choice: ToolChoice | None, names: list[str], dropped: tuple[str, ...]
) -> None:
    rendered = render(chat(tools=(Tool(name="f"), Tool(name="g")), tool_choice=choice))
    assert [tool["function"]["name"] for tool in json.loads(rendered.body).get("tools", ())] == names
    assert rendered.dropped == dropped


def test_tools_of_every_kind() -> None:
    tools = (
        Tool(name="f", description="d", strict=True, cache_control={"type": "ephemeral"}),
        Tool(name="p", kind="custom"),
        Tool(name="", kind="web_search", dialect="openai_responses", value={}),
    )
    rendered = render(chat(tools=tools, parallel_tool_calls=False))
    wire = json.loads(rendered.body)["tools"]
    assert wire[0]["function"] == {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    assert wire[1]["function"]["parameters"]["required"] == ["input"]
    assert rendered.dropped == ("parallel_tool_calls", "cache_control", "strict", "web_search")


@pytest.mark.parametrize(
    ("thinking", "model", "expected"),
    [
        (None, "qwen3", None),
        (Thinking(mode="disabled", effort="none"), "qwen3", False),
        (Thinking(mode="effort", effort="low"), "qwen3", True),
        (Thinking(mode="budget", budget_tokens=2000), "qwen3", True),
        (Thinking(mode="effort", effort="minimal"), "gpt-oss:20b", "low"),
        (Thinking(mode="effort", effort="max"), "gpt-oss:20b", "high"),
        (Thinking(mode="adaptive"), "gpt-oss:20b", "medium"),
    ],
)
def test_effort_becomes_on_off_or_a_level(thinking: Thinking | None, model: str, expected: object) -> None:
    assert body_of(chat(thinking=thinking), model).get("think") == expected


def test_levels_are_a_quirk_of_the_provider_too() -> None:
    assert body_of(chat(thinking=Thinking(mode="effort", effort="high")), think_levels=True)["think"] == "high"


def test_options_and_the_providers_own() -> None:
    rendered = render(
        chat(max_tokens=9, temperature=1.9, seed=1, stop=("x",), metadata={"a": 1}, user="u"),
        num_ctx=8192,
        keep_alive="1h",
    )
    body = json.loads(rendered.body)
    assert body["options"] == {"temperature": 1.9, "num_predict": 9, "seed": 1, "stop": ["x"], "num_ctx": 8192}
    assert body["keep_alive"] == "1h" and rendered.dropped == ("user", "metadata")


def test_what_the_client_asked_goes_before_the_providers_own() -> None:
    request = parse(options={"num_ctx": 100}, keep_alive="5m")
    body = body_of(request, num_ctx=8192, keep_alive="1h")
    assert body["options"]["num_ctx"] == 100 and body["keep_alive"] == "5m"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputFormat(kind="json_object"), "json"),
        (OutputFormat(kind="json_schema", name="n", schema='{"type":"object"}', strict=True), {"type": "object"}),
    ],
)
def test_structured_output_is_the_schema_itself(output: OutputFormat, expected: object) -> None:
    assert body_of(chat(output=output))["format"] == expected


def test_more_than_one_answer_is_refused() -> None:
    with pytest.raises(BadRequest):
        render(chat(n=3))


def test_generate_takes_a_conversation_as_one_prompt() -> None:
    messages = (
        Message(role="system", parts=(Text(text="s"),)),
        user("a", Image(data=PNG)),
        Message(role="assistant", parts=(Text(text="b"),)),
        user("c"),
    )
    rendered = GENERATE.render_request(chat(*messages, tools=(Tool(name="f"),)), Target(model="t"))
    body = json.loads(rendered.body)
    assert (body["prompt"], body["system"], body["images"]) == ("a\n\nb\n\nc", "s", [PNG])
    assert rendered.dropped == ("tools",)
