"""Messages requests written for other dialects' words: limits, sampling, thinking, output, the cache, counting."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter

from gateway.chat import (
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
)
from gateway.dialects.anthropic_messages.compose import HIDDEN_TOOL
from gateway.dialects.anthropic_messages.estimate import estimate, render_count
from gateway.dialects.anthropic_messages.traits import traits_of
from gateway.dialects.protocol import Target
from gateway.errors import BadRequest
from tests.dialects.messages_requests import (
    DIALECT,
    MIDDLE,
    NEW,
    OLD,
    assistant,
    body_of,
    chat,
    render,
    result,
    user,
)


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


def test_the_routes_default_goes_before_the_models_largest() -> None:
    target = Target(model=MIDDLE, params={"max_tokens": 500})
    assert json.loads(DIALECT.render_request(chat(), target).body)["max_tokens"] == 500
    assert json.loads(DIALECT.render_request(chat(max_tokens=7), target).body)["max_tokens"] == 7
    thinking = DIALECT.render_request(chat(thinking=effort("low")), target)
    assert json.loads(thinking.body)["thinking"]["budget_tokens"] < json.loads(thinking.body)["max_tokens"]


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
