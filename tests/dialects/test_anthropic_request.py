"""Messages requests: read, given back whole, and written for requests of other dialects."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from anthropic.types import MessageParam
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import TypeAdapter

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
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.anthropic_messages import AnthropicMessages
from gateway.dialects.anthropic_messages.compose import HIDDEN_TOOL
from gateway.dialects.anthropic_messages.estimate import estimate, render_count
from gateway.dialects.anthropic_messages.traits import traits_of
from gateway.dialects.names import wire_name
from gateway.dialects.protocol import Rendered, Target
from gateway.errors import BadRequest

DIALECT = AnthropicMessages()
OLD, MIDDLE, NEW = "claude-sonnet-4-20250514", "claude-sonnet-4-5", "claude-opus-4-8"
MESSAGE: TypeAdapter[Any] = TypeAdapter(MessageParam)


def user(*parts: Part | str) -> Message:
    return Message(role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: Part | str) -> Message:
    return replace(user(*parts), role="assistant")


def result(id: str, *parts: Part | str, is_error: bool = False) -> Message:
    return Message(role="tool", parts=(ToolResult(call_id=id, parts=user(*parts).parts, is_error=is_error),))


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(dialect="openai_chat", model="asked", messages=messages or (user("hi"),), **fields)


def render(request: ChatRequest, model: str = MIDDLE, **quirks: Any) -> Rendered:
    return DIALECT.render_request(request, Target(model=model, quirks=quirks))


def body_of(request: ChatRequest, model: str = MIDDLE, **quirks: Any) -> dict[str, Any]:
    wire: dict[str, Any] = json.loads(render(request, model, **quirks).body)
    for message in wire["messages"]:
        MESSAGE.validate_python(message)
    return wire


def parse(**members: Any) -> ChatRequest:
    base = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    return DIALECT.parse_request(json.dumps(base | members).encode())


# --- given back whole ------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "image", "source": {"type": "hologram", "x": 1}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                    "title": "t",
                    "context": "c",
                    "citations": {"enabled": True},
                },
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
                {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
                {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
                {
                    "type": "search_result",
                    "source": "https://x",
                    "title": "found",
                    "content": [{"type": "text", "text": "body"}],
                    "citations": {"enabled": False},
                },
                {"type": "container_upload", "file_id": "f"},
            ],
        },
        {"role": "system", "content": "from now on in French"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "  hm\n", "signature": "EqQ+/=="},
                {"type": "redacted_thinking", "data": "b64+/=="},
                {"type": "text", "text": "so", "citations": [{"type": "char_location", "cited_text": "x"}]},
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1.0, "a": 12345678901234567890}},
                {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}, "caller": {"type": "direct"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1", "is_error": True},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        {"type": "tool_reference", "tool_name": "h"},
                    ],
                    "cache_control": {"type": "ephemeral"},
                },
                {"type": "text", "text": "go on"},
            ],
        },
    ],
    "stream": True,
    "tools": [
        {
            "name": "f",
            "description": "d",
            "input_schema": {"type": "object", "$defs": {"x": {"enum": [1.0, None]}}, "additionalProperties": False},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
            "defer_loading": True,
            "input_examples": [{"a": 1}],
            "eager_input_streaming": False,
        },
        {"name": "g", "input_schema": {"type": "object"}, "strict": False},
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 3},
        {"type": "bash_20250124", "name": "bash"},
    ],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "stop_sequences": ["END", " "],
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}, "new": 1},
    "metadata": {"user_id": "someone@example.com", "new": 2},
    "service_tier": "standard_only",
    "cache_control": {"type": "ephemeral"},
    "container": {"id": "c"},
    "context_management": {"edits": []},
    "inference_geo": "eu",
    "speed": "fast",
    "mcp_servers": [{"type": "url"}],
    "unheard_of": {"deep": [1.0, 2e30]},
}


def test_a_messages_request_is_given_back_whole() -> None:
    rendered = render(DIALECT.parse_request(json.dumps(EVERYTHING).encode()), "claude-x")
    assert json.loads(rendered.body) == EVERYTHING
    assert rendered.dropped == () and rendered.headers == {}, "the client's own version goes upstream"
    assert b'"b":1.0' in rendered.body and b"12345678901234567890" in rendered.body


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "adaptive"},
        {"type": "adaptive", "display": "summarized"},
        {"type": "disabled"},
        {"type": "between_tools"},
        {"type": "hologram", "x": 1},
        None,
    ],
)
@pytest.mark.parametrize("config", [None, {"effort": "low"}])
def test_every_way_to_think_is_given_back(thinking: Any, config: Any) -> None:
    members = {"thinking": thinking, "output_config": config}
    wire = json.loads(render(parse(**members), "m").body)
    assert (wire.get("thinking"), wire.get("output_config")) == (thinking, config)


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "f"}])
@pytest.mark.parametrize("serial", [{}, {"disable_parallel_tool_use": True}])
def test_every_tool_choice_is_given_back(choice: dict[str, Any], serial: dict[str, Any]) -> None:
    serial = serial if choice["type"] != "none" else {}
    wire = json.loads(render(parse(tools=[{"name": "f", "input_schema": {}}], tool_choice=choice | serial), "m").body)
    assert wire["tool_choice"] == choice | serial


def test_results_come_before_other_parts_and_apart_in_neutral_words() -> None:
    content = [
        {"type": "text", "text": "first"},
        {"type": "tool_result", "tool_use_id": "a"},
        {"type": "tool_result", "tool_use_id": "b", "content": "x", "is_error": True},
    ]
    messages = parse(messages=[{"role": "user", "content": content}]).messages
    assert messages == (result("a"), result("b", "x", is_error=True), user("first"))


def test_legacy_output_format_is_understood() -> None:
    chat = parse(output_format={"type": "json_schema", "schema": {"type": "object"}})
    assert chat.output == OutputFormat(kind="json_schema", schema='{"type":"object"}')
    assert json.loads(render(chat, "m").body)["output_config"]["format"]["schema"] == {"type": "object"}


def test_leading_assistant_and_consecutive_turns_stay_as_they_are() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b "}]
    assert json.loads(render(parse(messages=messages), "m").body)["messages"] == messages


# --- odd requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 3000, None),
        (b'{"messages":[]}', "model"),
        (b'{"model":7,"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":{}}', "messages"),
        (b'{"model":"m","messages":[1]}', "messages"),
        (b'{"model":"m","messages":[{"role":"user"}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"robot","content":""}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":7}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}', "messages[0].content[0].type"),
        (
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":7}]}]}',
            "messages[0].content[0].text",
        ),
        (b'{"model":"m","messages":[{"role":"user","content":[{"type":"image"}]}]}', "messages[0].content[0].source"),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', None),
        (b'{"model":"m","messages":[],"max_tokens":"x"}', "max_tokens"),
        (b'{"model":"m","messages":[],"max_tokens":1.5}', "max_tokens"),
        (b'{"model":"m","messages":[],"temperature":1e999}', "temperature"),
        (b'{"model":"m","messages":[],"stop_sequences":[1]}', "stop_sequences"),
        (b'{"model":"m","messages":[],"tools":[{"type":"custom"}]}', "tools[0].name"),
        (b'{"model":"m","messages":[],"tool_choice":"auto"}', "tool_choice"),
        (b'{"model":"m","messages":[],"tool_choice":{"type":"x"}}', "tool_choice.type"),
        (b'{"model":"m","messages":[],"system":7}', "system"),
        (b'{"model":"m","messages":[],"thinking":1}', "thinking"),
        (b'{"model":"m","messages":[],"stream":"yes"}', "stream"),
    ],
)
def test_odd_requests_are_refused_by_the_name_of_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        DIALECT.parse_request(body)
    assert caught.value.param == param
    assert param is None or param in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("depth", [100, 400, 700, 800, 850, 900, 920, 940, 960, 980, 1000, 5000])
def test_json_of_any_depth_is_taken_or_refused(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    body = b'{"model":"m","messages":[{"role":"user","content":[{"type":"new","x":' + deep + b'}]}],"y":' + deep + b"}"
    try:
        render(DIALECT.parse_request(body))
    except BadRequest as error:
        assert error.message


@given(st.dictionaries(st.sampled_from(sorted(EVERYTHING)), JSON, max_size=4))
def test_random_json_in_any_field_is_taken_or_refused(members: dict[str, Any]) -> None:
    try:
        render(DIALECT.parse_request(json.dumps(EVERYTHING | members).encode()))
    except BadRequest as error:
        assert error.message


@given(
    st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result", "new"]),
    st.data(),
)
def test_random_json_in_any_block_is_taken_or_refused(kind: str, data: st.DataObject) -> None:
    keys = (
        "text",
        "source",
        "input",
        "id",
        "name",
        "content",
        "citations",
        "signature",
        "thinking",
        "is_error",
        "title",
    )
    block = data.draw(st.dictionaries(st.sampled_from(keys), JSON, max_size=5)) | {"type": kind}
    try:
        parsed = parse(messages=[{"role": "user", "content": [block]}])
    except BadRequest as error:
        assert error.message
    else:
        render(parsed)
        render(replace(parsed, dialect="openai_chat"))


# --- from other dialects ---------------------------------------------------------------------------


def test_leading_system_and_developer_texts_become_blocks() -> None:
    messages = (
        Message(role="system", parts=(Text(text="one", cache_control={"type": "ephemeral"}), Text(text=" "))),
        Message(role="developer", parts=(Text(text="two"),)),
        user("hi"),
    )
    assert body_of(chat(*messages))["system"] == [
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "two"},
    ]


def test_empty_system_is_left_out() -> None:
    assert "system" not in body_of(chat(Message(role="system", parts=(Text(text=""),)), user("hi")))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("user", (None, ["user", "user", "assistant", "user"], "<system>now</system>")),
        ("keep", (None, ["user", "system", "assistant", "user"], "now")),
        ("hoist", ([{"type": "text", "text": "now"}], ["user", "assistant", "user"], "b")),
    ],
)
def test_system_between_turns_goes_where_the_provider_wants_it(policy: str, expected: Any) -> None:
    messages = (user("a"), Message(role="developer", parts=(Text(text="now"),)), assistant("b"), user("c"))
    body = body_of(chat(*messages), system_in_messages=policy)
    assert (body.get("system"), [m["role"] for m in body["messages"]], body["messages"][1]["content"]) == expected


def test_history_that_begins_with_the_assistant_gets_a_user_turn() -> None:
    assert body_of(chat(assistant("a"), user("b")))["messages"][0] == {"role": "user", "content": "."}
    assert body_of(chat(Message(role="system", parts=(Text(text="s"),))))["messages"] == [
        {"role": "user", "content": "."}
    ]


def test_prefill_loses_its_trailing_white_space_and_is_refused_where_it_must_be() -> None:
    assert body_of(chat(user("a"), assistant("The answer: \n")))["messages"][-1]["content"] == "The answer:"
    with pytest.raises(BadRequest, match="assistant"):
        render(chat(user("a"), assistant("The")), NEW)


def test_results_stand_in_one_user_message_in_the_order_of_their_calls() -> None:
    calls = (ToolCall(id="c1", name="f", arguments='{"a":1}'), ToolCall(id="c2", name="g", arguments=""))
    messages = (
        user("go"),
        assistant(calls[0], "text", calls[1]),
        user("and"),
        result("c2", "two"),
        result("c1", "one"),
    )
    assert body_of(chat(*messages))["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "text"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
                {"type": "text", "text": "and"},
            ],
        },
    ]


def test_missing_result_is_an_error_result_and_a_stray_one_becomes_text() -> None:
    body = body_of(chat(user("a"), assistant(ToolCall(id="c1", name="f")), user("b"), result("zz", "late")))
    content = body["messages"][2]["content"]
    assert content[0] == {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": "No result was given for this call.",
        "is_error": True,
    }
    rest = [body["messages"][2]["content"][1:], *[message["content"] for message in body["messages"][3:]]]
    assert "late" in json.dumps(rest) and "tool_result" not in json.dumps(rest)


def test_two_assistant_messages_with_calls_are_one_turn() -> None:
    messages = (
        assistant(ToolCall(id="a", name="f")),
        assistant(ToolCall(id="b", name="f")),
        result("a", "1"),
        result("b", "2"),
    )
    body = body_of(chat(user("x"), *messages))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [part["tool_use_id"] for part in body["messages"][2]["content"]] == ["a", "b"]


def test_foreign_ids_change_alike_in_call_and_result_and_stay_apart() -> None:
    ids = ["functions.Bash:0", "functions_Bash_0", "c 1!", "c 1?"]
    calls = tuple(ToolCall(id=id, name="f") for id in ids)
    body = body_of(chat(user("x"), assistant(*calls), *(result(id, id) for id in ids)))
    used = [part["id"] for part in body["messages"][1]["content"]]
    given = {part["tool_use_id"]: part["content"] for part in body["messages"][2]["content"]}
    assert len(set(used)) == 4 and [given[id] for id in used] == ids
    assert all(id.replace("_", "").replace("-", "").isalnum() for id in used)


def test_long_names_change_alike_in_tools_choice_and_history() -> None:
    name = "mcp.server/" + "x" * 90
    request = chat(
        user("x"),
        assistant(ToolCall(id="c", name=name)),
        result("c", "y"),
        tools=(Tool(name=name, parameters="{}"),),
        tool_choice=ToolChoice(mode="tool", name=name),
    )
    body = body_of(request)
    found = {body["tools"][0]["name"], body["tool_choice"]["name"], body["messages"][1]["content"][0]["name"]}
    assert found == {wire_name(name)} and len(wire_name(name)) <= 64


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", b'"input":{}'),
        ("{}", b'"input":{}'),
        ("null", b'"input":{}'),
        ("not json", b'"input":{}'),
        ('{"a":', b'"input":{}'),
        ("[1]", b'"input":{"value":[1]}'),
        ('"x"', b'"input":{"value":"x"}'),
        (
            '{"z":1.0,"a":123456789012345678901234567890,"e":1e5,"u":"\\u00e9"}',
            b'{"z":1.0,"a":123456789012345678901234567890,"e":1e5,"u":"\\u00e9"}',
        ),
    ],
)
def test_arguments_are_an_object_written_as_the_model_wrote_it(arguments: str, expected: bytes) -> None:
    request = chat(user("x"), assistant(ToolCall(id="c", name="f", arguments=arguments)), result("c", "y"))
    assert expected in render(request).body


def test_custom_tools_become_functions_of_one_text() -> None:
    call = ToolCall(id="c", name="apply", arguments='*** "patch"', custom=True)
    body = body_of(chat(user("x"), assistant(call), result("c", "y"), tools=(Tool(name="apply", kind="custom"),)))
    assert body["messages"][1]["content"][0]["input"] == {"input": '*** "patch"'}
    assert body["tools"][0]["input_schema"]["required"] == ["input"]


def test_server_tools_of_others_are_left_out_with_notice() -> None:
    rendered = render(chat(tools=(Tool(name="", kind="web_search", dialect="openai_responses", value={}),)))
    assert rendered.dropped == ("web_search",) and b"tools" not in rendered.body


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, {"type": "object", "properties": {}}),
        ("{}", {"type": "object", "properties": {}}),
        (
            '{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{}}}',
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}},
        ),
        ('{"type":"object","anyOf":[]}', {"type": "object", "anyOf": []}),
    ],
)
def test_schemas_stay_whole_and_say_object(parameters: str | None, schema: dict[str, Any]) -> None:
    assert body_of(chat(tools=(Tool(name="f", parameters=parameters),)))["tools"] == [
        {"name": "f", "input_schema": schema}
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="tool", name="f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choices(choice: ToolChoice | None, parallel: bool | None, expected: Any) -> None:
    tools = (Tool(name="f"), Tool(name="g"))
    body = body_of(chat(tools=tools, tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == expected


def test_allowed_tools_are_the_only_ones_offered() -> None:
    choice = ToolChoice(mode="required", allowed=("g",))
    body = body_of(chat(tools=(Tool(name="f"), Tool(name="g")), tool_choice=choice))
    assert [tool["name"] for tool in body["tools"]] == ["g"] and body["tool_choice"] == {"type": "any"}


def test_tool_choice_without_tools_is_left_out() -> None:
    assert "tool_choice" not in body_of(chat(tool_choice=ToolChoice(mode="required")))


def test_images_and_files() -> None:
    text = b64encode("grüß".encode()).decode()
    parts = (
        Image(media_type="image/png", data="AAAA"),
        Image(url="https://x/y.png", detail="high"),
        Image(url="data:image/webp;name=a;base64,BBBB"),
        Document(media_type="application/pdf", data="JVBE", title="a.pdf"),
        Document(media_type="text/plain", data=text, title="a.txt"),
    )
    rendered = render(chat(user(*parts)))
    assert rendered.dropped == ("detail",)
    assert json.loads(rendered.body)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "BBBB"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "grüß"}, "title": "a.txt"},
    ]


def test_image_types_nobody_takes_are_refused_before_upstream() -> None:
    with pytest.raises(BadRequest, match="image/bmp"):
        render(chat(user(Image(media_type="image/bmp", data="AAAA"))))


def test_what_cannot_be_shown_is_left_out_with_notice() -> None:
    parts = (Audio(format="wav", data="A"), Image(file_id="file-1"), Opaque(dialect="x", kind="hologram", value={}))
    rendered = render(chat(user("a", *parts)))
    assert rendered.dropped == ("input_audio", "file_id", "hologram")


def test_empty_texts_and_messages_are_removed() -> None:
    body = body_of(chat(user("a", " "), assistant(""), user(""), user("b")))
    assert body["messages"] == [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]


def test_refusals_in_the_history_are_text() -> None:
    assert body_of(chat(user("a"), assistant(Refusal(text="no")), user("b")))["messages"][1]["content"] == "no"


def test_signed_thinking_goes_first_byte_for_byte_and_foreign_thinking_stays_out() -> None:
    parts: tuple[Part, ...] = (
        Text(text="so"),
        Reasoning(text=" hm\n", signature="EqQ+/==", origin="anthropic"),
        Reasoning(redacted=True, encrypted="b64+/==", origin="anthropic"),
        Reasoning(text="unsigned", origin="openai_chat"),
        Reasoning(text="", encrypted="gAAA", id="rs_1", origin="openai_responses"),
        ToolCall(id="c", name="f"),
    )
    rendered = render(chat(user("a"), assistant(*parts), result("c", "1")))
    content = json.loads(rendered.body)["messages"][1]["content"]
    assert content[:2] == [
        {"type": "thinking", "thinking": " hm\n", "signature": "EqQ+/=="},
        {"type": "redacted_thinking", "data": "b64+/=="},
    ]
    assert [part["type"] for part in content[2:]] == ["text", "tool_use"] and rendered.dropped == ("reasoning_content",)


def test_unsigned_blocks_of_a_messages_client_are_not_sent_to_anthropic() -> None:
    content = [{"type": "thinking", "thinking": "x", "signature": ""}, {"type": "text", "text": "a"}]
    request = parse(
        messages=[
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": content},
            {"role": "user", "content": "r"},
        ]
    )
    assert request.messages[1].parts[0] == Reasoning(text="x")
    assert json.loads(render(request, MIDDLE).body)["messages"][1]["content"] == "a"


# --- limits, sampling, thinking --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "quirks", "expected"),
    [
        ("claude-3-haiku-20240307", {}, 4096),
        ("claude-3-5-sonnet-latest", {}, 8192),
        ("claude-sonnet-4-5", {}, 64_000),
        ("deepseek-chat", {}, 4096),
        ("deepseek-chat", {"max_output_tokens": 100}, 100),
    ],
)
def test_absent_max_tokens_is_the_models_largest_or_4096(model: str, quirks: dict[str, Any], expected: int) -> None:
    assert body_of(chat(), model, **quirks)["max_tokens"] == expected
    assert body_of(chat(max_tokens=7), model, **quirks)["max_tokens"] == 7


def test_temperature_is_cut_to_one_with_notice() -> None:
    rendered = render(chat(temperature=1.7))
    assert json.loads(rendered.body)["temperature"] == 1 and rendered.dropped == ("temperature",)


def test_top_p_yields_to_temperature_on_models_that_refuse_both() -> None:
    assert "top_p" not in body_of(chat(temperature=0.5, top_p=0.9), MIDDLE)
    assert body_of(chat(temperature=0.5, top_p=0.9), OLD)["top_p"] == 0.9


def test_a_translated_request_names_the_api_version_that_takes_sampling() -> None:
    assert render(chat(temperature=1)).headers == {"anthropic-version": "2023-06-01"}


def test_the_newer_api_version_takes_no_sampling() -> None:
    rendered = render(chat(temperature=1, top_p=1, top_k=5), anthropic_version="2026-10-21")
    assert rendered.headers == {"anthropic-version": "2026-10-21"}
    assert rendered.dropped == ("temperature", "top_p", "top_k") and b"temperature" not in rendered.body


def test_blank_stop_sequences_are_removed_with_notice() -> None:
    rendered = render(chat(stop=("a", " \n", "b", "c", "d", "e")))
    assert json.loads(rendered.body)["stop_sequences"] == ["a", "b", "c", "d", "e"] and rendered.dropped == ("stop",)


def test_fields_nobody_here_knows_are_named_once_and_what_asks_for_nothing_is_not() -> None:
    extra = {"logprobs": False, "logit_bias": {"1": 2}, "store": True, "prediction": None}
    rendered = render(chat(extra=extra, seed=1, frequency_penalty=0.0, presence_penalty=0.5, metadata={"a": "b"}))
    assert rendered.dropped == ("logit_bias", "store", "metadata", "seed", "presence_penalty")


def test_more_than_one_answer_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        render(chat(n=2))
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    ("user_id", "kept"),
    [("u-123", True), ("someone@example.com", False), ("+49 30 1234567", False), ("x" * 257, False)],
)
def test_end_users_are_opaque(user_id: str, kept: bool) -> None:
    found = body_of(chat(user=user_id))["metadata"]["user_id"]
    assert (found == user_id) is kept and len(found) <= 256


@pytest.mark.parametrize(("tier", "expected"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)])
def test_service_tiers(tier: str, expected: str | None) -> None:
    rendered = render(chat(service_tier=tier))
    assert json.loads(rendered.body).get("service_tier") == expected
    assert rendered.dropped == (() if expected else ("service_tier",))


def effort(word: str) -> Thinking:
    return Thinking(mode="disabled" if word == "none" else "effort", effort=word)


@pytest.mark.parametrize(
    ("word", "wire"), [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("xhigh", "xhigh"), ("max", "max")]
)
def test_new_models_think_adaptively(word: str, wire: str) -> None:
    body = body_of(chat(thinking=effort(word)), NEW)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"} and body["output_config"] == {
        "effort": wire
    }


@pytest.mark.parametrize("word", ["minimal", "low", "medium", "high", "xhigh", "max"])
@pytest.mark.parametrize("limit", [None, 1, 1024, 1025, 5000, 100_000])
def test_older_models_get_a_budget_below_max_tokens(word: str, limit: int | None) -> None:
    body = body_of(chat(thinking=effort(word), max_tokens=limit), MIDDLE)
    assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]
    assert limit is None or limit <= 1024 or body["max_tokens"] == limit


def test_thinking_not_asked_for_is_not_spoken_of() -> None:
    assert "thinking" not in body_of(chat(), NEW) and "thinking" not in body_of(chat(), OLD)
    assert body_of(chat(thinking=effort("none")), NEW)["thinking"] == {"type": "disabled"}


def test_models_that_cannot_think_drop_the_effort_with_notice() -> None:
    rendered = render(chat(thinking=effort("high")), "claude-3-5-sonnet-latest")
    assert rendered.dropped == ("reasoning_effort",) and b"thinking" not in rendered.body


def test_thinking_excludes_a_forced_tool_and_other_temperatures() -> None:
    request = chat(
        thinking=effort("low"),
        tools=(Tool(name="f"),),
        tool_choice=ToolChoice(mode="tool", name="f"),
        temperature=0.2,
        top_k=3,
    )
    rendered = render(request)
    body = json.loads(rendered.body)
    assert body["tool_choice"] == {"type": "auto"} and "temperature" not in body and "top_k" not in body
    assert rendered.dropped == ("tool_choice", "temperature", "top_k")


def test_tool_loop_without_its_thinking_is_not_sent_with_a_budget() -> None:
    """Anthropic would answer: Expected `thinking` or `redacted_thinking`, but found `tool_use`."""
    loop = (user("q"), assistant(ToolCall(id="c", name="f")), result("c", "1"))
    rendered = render(chat(*loop, thinking=effort("low")))
    assert b"thinking" not in rendered.body and rendered.dropped == ("reasoning_effort",)
    assert b'"thinking"' in render(chat(*loop, assistant("done"), user("next"), thinking=effort("low"))).body
    assert b"adaptive" in render(chat(*loop, thinking=effort("low")), NEW).body


# --- structured output and the cache ---------------------------------------------------------------

SCHEMA = OutputFormat(kind="json_schema", name="n", schema='{"type":"object","properties":{"a":{"type":"integer"}}}')


def test_schema_goes_to_models_that_know_it() -> None:
    body = body_of(chat(output=SCHEMA))
    assert body["output_config"]["format"]["schema"]["properties"] == {"a": {"type": "integer"}}


def test_schema_is_a_forced_hidden_tool_elsewhere() -> None:
    body = body_of(chat(output=SCHEMA), OLD)
    assert body["tools"][0]["name"] == HIDDEN_TOOL and body["tool_choice"] == {"type": "tool", "name": HIDDEN_TOOL}
    body = body_of(chat(output=SCHEMA, tools=(Tool(name="f"),)), OLD)
    assert [tool["name"] for tool in body["tools"]] == ["f", HIDDEN_TOOL] and body["tool_choice"] == {"type": "any"}
    rendered = render(chat(output=SCHEMA, thinking=effort("low")), OLD)
    assert json.loads(rendered.body)["tool_choice"] == {"type": "auto"} and rendered.dropped == ()


def test_json_object_is_an_instruction() -> None:
    body = body_of(
        chat(Message(role="system", parts=(Text(text="s"),)), user("a"), output=OutputFormat(kind="json_object"))
    )
    assert body["system"][0]["text"] == "s" and "JSON" in body["system"][1]["text"]


def test_at_most_four_cache_breakpoints_and_the_last_ones() -> None:
    mark = {"type": "ephemeral"}
    parts = [Text(text=str(number), cache_control=mark) for number in range(5)]
    rendered = render(chat(user(*parts), tools=(Tool(name="f", cache_control=mark),)))
    body = json.loads(rendered.body)
    assert ["cache_control" in block for block in body["messages"][0]["content"]] == [False, True, True, True, True]
    assert "cache_control" not in body["tools"][0] and rendered.dropped == ("cache_control",)


@pytest.mark.parametrize(
    ("model", "thinking", "native", "prefill"),
    [
        ("claude-3-haiku-20240307", "none", False, True),
        ("claude-3-7-sonnet-20250219", "budget", False, True),
        ("claude-sonnet-4-20250514", "budget", False, True),
        ("anthropic.claude-opus-4-1-20250805-v1:0", "budget", True, True),
        ("claude-haiku-4-5@20251001", "budget", True, True),
        ("claude-opus-4-6", "adaptive", True, False),
        ("claude-sonnet-5", "adaptive", True, False),
        ("claude-fable-5-2", "adaptive", True, False),
        ("kimi-k2", "budget", False, True),
    ],
)
def test_models_are_judged_by_their_names(model: str, thinking: str, native: bool, prefill: bool) -> None:
    traits = traits_of(model, {})
    assert (traits.thinking, traits.native_output, traits.prefill) == (thinking, native, prefill)


def test_the_request_is_one_the_package_accepts() -> None:
    request = chat(
        user("a"),
        tools=(Tool(name="f", description="d"),),
        thinking=effort("high"),
        output=SCHEMA,
        user="u",
        stop=("x",),
    )
    TypeAdapter(MessageCreateParamsNonStreaming).validate_python(body_of(request, NEW))


# --- counting tokens without a model ---------------------------------------------------------------


def test_an_estimate_is_never_below_a_token_for_four_characters() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 100
    assert estimate(chat(user(text))) >= len(text) / 4
    assert estimate(chat(user("汉" * 100))) >= 100


def test_an_estimate_counts_system_tools_calls_results_and_images() -> None:
    base = estimate(chat(user("hi")))
    more = (
        chat(Message(role="system", parts=(Text(text="be brief"),)), user("hi")),
        chat(user("hi"), tools=(Tool(name="f", parameters='{"type":"object"}'),)),
        chat(user("hi"), assistant(ToolCall(id="c", name="f", arguments='{"a":1}'))),
        chat(user("hi"), result("c", "a result")),
        chat(user("hi", Image(url="https://x"))),
        chat(user("hi", Document(media_type="application/pdf", data="A" * 100_000))),
        chat(user("hi", Opaque(dialect="anthropic", kind="x", value={"a": "b"}))),
    )
    counts = [estimate(request) for request in more]
    assert all(count > base for count in counts) and counts[4] >= base + 1600 and counts[5] >= base + 6000
    assert json.loads(render_count(more[0])) == {"input_tokens": counts[0]}
