"""Ollama requests written for other dialects' words."""

from __future__ import annotations

import json

import pytest

from gateway.chat import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.protocol import Target
from gateway.errors import BadRequest
from tests.dialects.ollama_requests import GENERATE, PNG, body_of, chat, parse, render, user


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
