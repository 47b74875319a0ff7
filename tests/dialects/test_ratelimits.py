"""Rate-limit headers from one dialect to another (G16)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.ratelimits import duration, seconds, translated

NOW_S = 1_767_225_600.0
OPENAI = {
    "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1m30s",
    "x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "120ms",
}  # fmt: skip
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "60", "anthropic-ratelimit-requests-remaining": "59",
    "anthropic-ratelimit-requests-reset": "2026-01-01T00:01:30Z",
    "anthropic-ratelimit-tokens-limit": "150000", "anthropic-ratelimit-tokens-remaining": "149984",
    "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
}  # fmt: skip


def test_openais_limits_are_told_in_anthropics_words() -> None:
    assert translated(OPENAI, "anthropic", NOW_S) == ANTHROPIC


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "ollama"])
def test_anthropics_limits_are_told_in_openais_words(dialect: str) -> None:
    assert translated(ANTHROPIC, dialect, NOW_S) == {**OPENAI, "x-ratelimit-reset-tokens": "0ms"}


def test_input_tokens_stand_for_tokens_where_these_are_not_told() -> None:
    given_ = {"anthropic-ratelimit-input-tokens-limit": "10", "anthropic-ratelimit-input-tokens-remaining": "9"}
    wanted = {"x-ratelimit-limit-tokens": "10", "x-ratelimit-remaining-tokens": "9"}
    assert translated(given_, "openai_chat", NOW_S) == wanted


def test_what_cannot_be_read_is_left_out() -> None:
    odd = {"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": "soon", "x-ratelimit-limit-tokens": "5"}
    assert translated(odd, "anthropic", NOW_S) == {"anthropic-ratelimit-tokens-limit": "5"}


@given(st.integers(0, 10_000_000))
def test_a_duration_reads_as_it_was_written(wait_ms: int) -> None:
    got = seconds(duration(wait_ms / 1000))
    assert got is not None
    assert abs(got - wait_ms / 1000) <= 0.5


@given(st.text(max_size=30))
def test_any_reset_is_read_or_left_out(text: str) -> None:
    for name in ("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"):
        assert isinstance(translated({name: text}, "anthropic", NOW_S), dict)
