"""The words of a stream that passes unread are counted beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.json import encode
from gateway.relay.said import Said


@pytest.mark.parametrize(
    ("dialect", "event", "size"),
    [
        ("openai_chat", b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n', 5),
        ("openai_chat", b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n', 5),
        ("openai_chat", b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n', 0),
        ("openai_chat", b'data: {"choices":[{"delta":{"content":null,"reasoning_content":"hmm"}}]}\n\n', 3),
        ("openai_chat", b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{\\"a\\":"}}]}}]}\n\n', 7),
        ("openai_chat", b'data: {"choices":[{"text":"Once"}]}\n\n', 4),
        ("openai_chat", b'data: {"choices":[{"delta":{"content":"a\\\\"}}]}\n\n', 3),
        ("openai_chat", b"data: [DONE]\n\n", 0),
        ("openai_chat", b'data: {"choices":[{"delta":{"content":"cut', 0),
        ("anthropic", b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n', 2),
        ("anthropic", b'data: {"delta":{"type":"input_json_delta","partial_json":"{\\"x"}}\n\n', 4),
        ("anthropic", b'data: {"delta":{"type":"thinking_delta","thinking":"so"}}\n\n', 2),
        ("openai_responses", b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n', 2),
        ("openai_responses", b'data: {"type":"response.output_text.done","text":"Hi again"}\n\n', 0),
        ("ollama", b'{"message":{"role":"assistant","content":"Hi"},"done":false}\n', 2),
        ("ollama_generate", b'{"response":"Hi","done":false}\n', 2),
        ("nothing known", b'{"content":"Hi"}', 0),
    ],
)  # fmt: skip
def test_words_are_measured_where_the_dialect_has_them(dialect: str, event: bytes, size: int) -> None:
    said = Said(dialect)
    said.see(event)
    assert said.size_bytes == size
    said.see(event)
    assert said.size_bytes == 2 * size  # the mark that fitted is tried first: it must fit again


@given(st.lists(st.text()), st.booleans())
def test_what_is_counted_is_what_was_written(texts: list[str], thinking: bool) -> None:
    said, name = Said("openai_chat"), "reasoning_content" if thinking else "content"
    for text in texts:
        said.see(b"data: " + encode({"choices": [{"index": 0, "delta": {name: text}}]}) + b"\n\n")
    assert said.size_bytes == sum(len(encode(text)) - 2 for text in texts)


@given(st.binary(), st.sampled_from(("openai_chat", "anthropic", "ollama")))
def test_no_bytes_can_make_it_fail(event: bytes, dialect: str) -> None:
    said = Said(dialect)
    said.see(event)
    said.see(b'{"content":"' + event)
    assert said.size_bytes >= 0
