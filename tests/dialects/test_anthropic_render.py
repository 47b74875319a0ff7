"""Messages requests written for other dialects' words: turns, calls and results, tools, images."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from gateway.chat import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)
from gateway.dialects.anthropic_messages.carrier import holds_foreign_thinking
from gateway.dialects.names import wire_name
from gateway.errors import BadRequest
from tests.dialects.messages_requests import (
    MIDDLE,
    NEW,
    assistant,
    body_of,
    chat,
    parse,
    render,
    result,
    user,
)


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


def test_a_compatible_server_gets_its_own_unsigned_thinking_back() -> None:
    content = [{"type": "thinking", "thinking": "x", "signature": ""}, {"type": "text", "text": "a"}]
    request = parse(messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": content}])
    assert json.loads(render(request, "kimi-k2").body)["messages"][1]["content"] == content
    assert json.loads(render(request, MIDDLE).body)["messages"][1]["content"] == "a"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [('""', True), (' ""', True), ('"llmgw1.e30"', True), ('"EqQBCg=="', False), ("null", False)],
)
def test_a_verbatim_request_with_foreign_thinking_is_told_apart(signature: str, expected: bool) -> None:
    body = b'{"messages":[{"content":[{"type":"thinking","thinking":"x","signature":' + signature.encode() + b"}]}]}"
    assert holds_foreign_thinking(body) is expected
    assert not holds_foreign_thinking(json.dumps({"text": body.decode()}).encode())
