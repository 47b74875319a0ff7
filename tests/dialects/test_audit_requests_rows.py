"""Rows of the request side that an audit found wrong, each with the body the target now gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects.protocol import Target
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest

C, M, R, O = "openai_chat", "anthropic", "openai_responses", "ollama"  # noqa: E741  # the letters of the rules' page
MODELS = {C: "chat-model", M: "claude-sonnet-4-5", R: "resp-model", O: "llama3.2"}
PNG = "iVBORw0KGgo="
HI = {"role": "user", "content": "hi"}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CLAUDE_TOOL = {"name": "f", "input_schema": {"type": "object"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def render(source: str, target: str, body: dict[str, Any], **quirks: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body `target` gets for a request of `source`, and what was reported as lost."""
    if source == R:
        given = {"model": "m", "input": "hi", **body}
    else:
        given = {"model": "m", "messages": [HI], **({"max_tokens": 50} if source == M else {}), **body}
    model = quirks.pop("model", MODELS[target])
    chat = DIALECTS[source].parse_request(json.dumps(given).encode())
    rendered = DIALECTS[target].render_request(chat, Target(model=model, quirks=quirks))
    return json.loads(rendered.body), rendered.dropped


def call(id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}


# --- G01: what asks for nothing is not reported, what is lost is -----------------------------------------------------


@pytest.mark.parametrize("target", [C, M, O])
def test_what_codex_always_sends_is_no_loss(target: str) -> None:
    asked = {"store": False, "truncation": "disabled", "include": ["reasoning.encrypted_content"], "stream": False}
    _, dropped = render(R, target, {**asked, "parallel_tool_calls": True, "text": {"format": {"type": "text"}}})
    assert dropped == ()


@pytest.mark.parametrize("target", [M, R, O])
def test_values_that_are_the_default_are_no_loss(target: str) -> None:
    asked = {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "store": False, "stop": None}
    answered: dict[str, Any] = {
        "role": "assistant",
        "content": "a",
        "annotations": [],
        "refusal": None,
        "tool_calls": None,
    }
    assert render(C, target, {**asked, "messages": [HI, answered, HI]})[1] == ()


@pytest.mark.parametrize(
    ("source", "target", "body", "lost"),
    [
        (R, M, {"text": {"verbosity": "low"}}, "verbosity"),
        (O, C, {"options": {"penalize_everything": 1}}, "penalize_everything"),
        (C, M, {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}}, "include_obfuscation"),
        (M, C, {"output_config": {"effort": "low", "new": 1}}, "new"),
    ],
)  # fmt: skip
def test_nested_field_is_reported_by_its_own_name(source: str, target: str, body: dict[str, Any], lost: str) -> None:
    assert render(source, target, body)[1] == (lost,)


@pytest.mark.parametrize("target", [C, R, O])
def test_thinking_of_a_type_without_equal_is_noted(target: str) -> None:
    assert "thinking" in render(M, target, {"thinking": {"type": "between_tools"}})[1]


@pytest.mark.parametrize("target", [C, M, O])
def test_safety_identifier_alone_is_reported_under_that_name_alone(target: str) -> None:
    lost = render(C if target != C else R, target, {"safety_identifier": "s"})[1]
    assert "user" not in lost


def test_safety_identifier_goes_to_responses_once() -> None:
    body, _ = render(C, R, {"safety_identifier": "s"})
    assert body["safety_identifier"] == "s" and "user" not in body


@pytest.mark.parametrize(
    ("target", "choice"),
    [(C, "required"), (M, "required"), (O, {"type": "function", "name": "f"})],
)
def test_choice_among_tools_none_of_which_can_be_offered_is_reported(target: str, choice: Any) -> None:
    body, dropped = render(R, target, {"tools": [{"type": "web_search"}], "tool_choice": choice})
    assert "tools" not in body and "tool_choice" not in body
    assert set(dropped) == {"web_search", "tool_choice"}


def test_choice_of_a_server_tool_does_not_hide_the_others_from_ollama() -> None:
    server = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "bash_20250124", "name": "bash"}]
    choice = {"type": "tool", "name": "web_search"}
    body, dropped = render(M, O, {"tools": [*server, CLAUDE_TOOL], "tool_choice": choice})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert set(dropped) == {"web_search_20250305", "bash_20250124", "tool_choice"}


def test_cache_mark_of_a_system_message_made_text_is_reported() -> None:
    late = {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}
    assert render(C, M, {"messages": [HI, {"role": "assistant", "content": "a"}, late, HI]})[1] == ("cache_control",)


@pytest.mark.parametrize(("source", "name"), [(M, "document"), (R, "file_url")])
def test_file_by_address_is_reported_in_the_clients_words(source: str, name: str) -> None:
    claude = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    flat = {"type": "input_file", "file_url": "https://example.org/a.pdf"}
    turn = {"role": "user", "content": [claude if source == M else flat]}
    for target in (C, O):
        assert render(source, target, {"input" if source == R else "messages": [turn, HI]})[1] == (name,)


# --- G09, G10, G11: arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [M, O])
@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('{"z":1.0,"a":12345678901234567890123,"é":"\\u00e9"}', '{"z":1.0,"a":12345678901234567890123,"é":"\\u00e9"}'),
        ('{"big":1e400}', '{"big":1e400}'),
        ('{"half":"\\ud83d"}', '{"half":"\ufffd"}'),
        ("", "{}"),
        ("[1]", '{"value":[1]}'),
    ],
)
def test_arguments_arrive_as_written(target: str, written: str, sent: str) -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [call("a", written)]}
    messages = [HI, turn, {"role": "tool", "tool_call_id": "a", "content": "r"}]
    chat = DIALECTS[C].parse_request(json.dumps({"model": "m", "messages": messages}).encode())
    rendered = DIALECTS[target].render_request(chat, Target(model=MODELS[target]))
    assert sent.encode() in rendered.body
    assert rendered.dropped == ()


@pytest.mark.parametrize("target", [M, O])
def test_arguments_that_are_no_json_are_reported(target: str) -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [call("a", "not json")]}
    body, dropped = render(C, target, {"messages": [HI, turn, {"role": "tool", "tool_call_id": "a", "content": "r"}]})
    assert dropped == ("arguments",)
    assert "{}" in json.dumps(body["messages"])


# --- S, I ----------------------------------------------------------------------------------------------------------------


def test_chat_gets_a_user_when_only_the_assistant_spoke() -> None:
    body, _ = render(M, C, {"messages": [{"role": "assistant", "content": "x"}]})
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(("file_id", "sent"), [("file_011CN", True), ("file-abc", False)])
def test_file_ids_of_anthropic_stay_those_of_openai_are_reported(file_id: str, sent: bool) -> None:
    for source, part in ((C, {"type": "file", "file": {"file_id": file_id}}), (R, {"type": "input_file", "file_id": file_id})):  # fmt: skip
        text = {"type": "text" if source == C else "input_text", "text": "q"}
        key = "messages" if source == C else "input"
        body, dropped = render(source, M, {key: [{"role": "user", "content": [part, text]}]})
        content = body["messages"][0]["content"]
        if sent:
            assert content[0] == {"type": "document", "source": {"type": "file", "file_id": file_id}}
        else:
            assert content == "q"
        assert dropped == (() if sent else ("file_id",))


def test_image_in_a_data_url_without_base64_is_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png,%89PNG"}}
    with pytest.raises(BadRequest) as refused:
        render(C, M, {"messages": [{"role": "user", "content": [image]}]})
    assert refused.value.param == "image_url"


def test_title_of_a_file_by_address_is_its_name_for_responses() -> None:
    document = {"type": "document", "title": "t.pdf", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    body, dropped = render(M, R, {"messages": [{"role": "user", "content": [document]}]})
    assert body["input"][0]["content"] == [
        {"type": "input_file", "file_url": "https://example.org/a.pdf", "filename": "t.pdf"}
    ]
    assert dropped == ()


# --- T10: results beside their calls, for every target that needs it -----------------------------------------------------

ITEMS = [
    {"role": "user", "content": "x"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c2", "output": "r2"},
    {"role": "user", "content": "between"},
    {"type": "function_call_output", "call_id": "c1", "output": "r1"},
]


def test_chat_gets_results_right_behind_their_calls() -> None:
    messages = render(R, C, {"input": ITEMS})[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert [message.get("tool_call_id") for message in messages[2:4]] == ["c1", "c2"]


def test_ollama_gets_results_in_the_order_of_their_calls() -> None:
    messages = render(R, O, {"input": ITEMS})[0]["messages"]
    assert [message["content"] for message in messages[2:]] == ["r1", "r2", "between"]


@pytest.mark.parametrize("target", [C, R])
def test_call_without_result_gets_one_that_says_so(target: str) -> None:
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "A", "name": "f", "input": {}}]}
    body, _ = render(M, target, {"messages": [HI, turn, HI]})
    wire = body["messages" if target == C else "input"][2]
    assert (wire.get("tool_call_id") or wire["call_id"]) == "A"
    assert (wire.get("content") or wire["output"]).startswith("[tool error] ")


def test_results_in_another_order_stay_so_where_ids_tell_them_apart() -> None:
    messages = render(R, C, {"input": [*ITEMS[:4], ITEMS[5]]})[0]["messages"]
    assert [message["tool_call_id"] for message in messages[2:]] == ["c2", "c1"]


def test_message_of_which_nothing_is_left_is_not_sent_to_ollama() -> None:
    items = [{"type": "web_search_call", "id": "w", "status": "completed"}, {"role": "user", "content": "n"}]
    body, dropped = render(R, O, {"input": items})
    assert body["messages"] == [{"role": "user", "content": "n"}]
    assert dropped == ("web_search_call",)


def test_call_with_a_member_of_its_own_adds_no_empty_message() -> None:
    turn = {"role": "assistant", "content": None, "odd": 1, "tool_calls": [call("a")]}
    body, dropped = render(C, R, {"messages": [HI, turn, {"role": "tool", "tool_call_id": "a", "content": "r"}]})
    assert [item["type"] for item in body["input"]] == ["message", "function_call", "function_call_output"]
    assert dropped == ("odd",)


# --- P, K, J -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "field"),
    [(M, C, "max_tokens"), (M, R, "max_tokens"), (M, O, "max_tokens"), (C, M, "max_tokens"), (C, R, "max_completion_tokens"), (R, M, "max_output_tokens")],
)  # fmt: skip
def test_limit_of_nothing_is_refused_by_its_name(source: str, target: str, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        render(source, target, {field: 0})
    assert refused.value.param == field


@pytest.mark.parametrize("target", [M, R, O])
def test_several_answers_are_refused_by_those_who_give_one(target: str) -> None:
    with pytest.raises(BadRequest) as refused:
        render(C, target, {"n": 2})
    assert refused.value.param == "n"


@pytest.mark.parametrize("source", [M, O, R])
def test_stream_usage_false_holds_for_every_client(source: str) -> None:
    assert "stream_options" not in render(source, C, {"stream": True}, stream_usage=False)[0]
    assert render(source, C, {"stream": True})[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("target", [C, M, O])
def test_asking_for_a_summary_alone_does_not_turn_thinking_on(target: str) -> None:
    body, dropped = render(R, target, {"reasoning": {"summary": "auto"}})
    assert not body.keys() & {"thinking", "think", "reasoning_effort", "output_config"}
    assert dropped == ()


def test_reasoning_in_the_history_asks_for_more_of_it() -> None:
    block = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"}
    turn = {"role": "assistant", "content": "a", "thinking_blocks": [block]}
    assert render(C, R, {"messages": [HI, turn, HI]})[0]["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize("effort", [None, "low"])
def test_answer_tool_of_older_models_leaves_serial_calls_serial(effort: str | None) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    asked = {"response_format": wanted, "tools": [CHAT_TOOL], "parallel_tool_calls": False, "reasoning_effort": effort}
    body, _ = render(C, M, asked, model="claude-3-7-sonnet")
    assert body["tool_choice"] == {"type": "auto" if effort else "any", "disable_parallel_tool_use": True}


def test_format_of_responses_without_strict_stays_without_it() -> None:
    strict = {**SCHEMA, "required": ["a"], "additionalProperties": False}
    wanted = {"format": {"type": "json_schema", "name": "n", "schema": strict}}
    assert render(R, C, {"text": wanted})[0]["response_format"]["json_schema"] == {"name": "n", "schema": strict}


@pytest.mark.parametrize(("model", "role"), [("gpt-4o", "system"), ("o3-mini", "developer"), ("gpt-5", "developer")])
def test_openai_proper_gets_developer_only_for_models_that_reason(model: str, role: str) -> None:
    body, _ = render(M, C, {"system": "s"}, model=model, developer_role=True)
    assert body["messages"][0]["role"] == role


def test_openais_older_models_are_not_asked_to_reason() -> None:
    asked = {"thinking": {"type": "adaptive"}}
    body, dropped = render(M, C, asked, model="gpt-4o", developer_role=True)
    assert "reasoning_effort" not in body and dropped == ("thinking",)
    assert render(M, C, asked, model="gpt-4o")[0]["reasoning_effort"] == "medium"


def test_unsigned_reasoning_of_a_responses_client_reaches_ollama() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
    items = [{"role": "user", "content": "x"}, thought, {"role": "assistant", "content": "a"}, HI]
    body, dropped = render(R, O, {"input": items})
    assert body["messages"][1] == {"role": "assistant", "content": "a", "thinking": "hm"}
    assert dropped == ()
    bound = {**thought, "encrypted_content": "E"}
    assert render(R, O, {"input": [items[0], bound, *items[2:]]})[1] == ("reasoning",)


@pytest.mark.parametrize(("source", "name"), [(C, "reasoning_content"), (M, "thinking"), (O, "thinking")])
def test_reasoning_responses_cannot_take_is_named_in_the_clients_word(source: str, name: str) -> None:
    said: dict[str, Any] = {"role": "assistant", "content": "a", name: "hm"}
    if source == M:
        said["content"] = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}]
        del said[name]
    assert render(source, R, {"messages": [HI, said, HI]})[1] == (name,)


def test_the_caller_that_anthropic_puts_beside_its_calls_is_no_loss() -> None:
    use = {"type": "tool_use", "id": "A", "name": "f", "input": {}, "caller": {"type": "direct"}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "A", "content": "r"}]}
    for target in (C, R, O):
        assert render(M, target, {"messages": [HI, {"role": "assistant", "content": [use]}, result]})[1] == ()
