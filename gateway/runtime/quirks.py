"""Quirks: what an upstream takes otherwise than its dialect says. The dialects and `attempts` look them up."""

from __future__ import annotations

from typing import Final

from gateway.runtime.parts import Schema, flag, mapping, text

QUIRKS: Final[Schema] = mapping(
    "What this upstream takes otherwise than its dialect says; a known provider brings its own.",
    {
        "key_header": text(
            "How the key is sent; authorization is Bearer.", enum=["authorization", "x-api-key", "api-key"]
        ),
        "max_tokens_field": text(
            "OpenAI chat: the name of the token limit.", enum=["max_tokens", "max_completion_tokens"]
        ),
        "developer_role": flag("OpenAI chat: OpenAI proper; models that reason get role developer for system."),
        "reasoning_content": flag("OpenAI chat: earlier reasoning goes back as reasoning_content."),
        "reasoning_effort": flag("OpenAI chat: false when the field is refused."),
        "stream_usage": flag("OpenAI chat: false when stream_options is refused."),
        "top_k": flag("OpenAI chat: top_k is taken."),
        "cache_control": flag("OpenAI chat: Anthropic's cache marks are taken."),
        "anthropic_version": text("Anthropic: the anthropic-version header, a date.", pattern=r"^\d{4}-\d{2}-\d{2}$"),
        "max_output_tokens": {
            "type": "integer",
            "minimum": 1,
            "description": "Anthropic: max_tokens when the client names none.",
        },
        "thinking": text("Anthropic: how the model is made to think.", enum=["adaptive", "budget", "none"]),
        "structured_output": text("Anthropic: how output is tied to a schema.", enum=["native", "tool"]),
        "prefill": flag("Anthropic: the last message may be the assistant's."),
        "system_in_messages": text(
            "Anthropic: what becomes of a later system message.", enum=["keep", "user", "hoist"]
        ),
        "first_user_text": text("Anthropic: the text that stands in when no user begins.", minLength=1),
        "think_tags": flag("The model writes its thinking into the text as <think>…</think>; it is told apart."),
        "think_levels": flag("Ollama: the model takes low, medium, high for think."),
        "tool_call_ids": flag("Ollama: the server knows ids of tool calls."),
    },
)
