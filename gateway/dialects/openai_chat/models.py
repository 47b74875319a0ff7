"""What OpenAI's models differ in, by their names; a name behind a slash is a router's (openai/gpt-5)."""

from __future__ import annotations

_REASONING = ("o1", "o3", "o4", "gpt-5")
_OLDER = ("gpt-4", "gpt-3.5", "chatgpt-")


def needs_newer_limit(model: str) -> bool:
    """Return whether OpenAI's reasoning models, which refuse `max_tokens`, are meant (P02)."""
    return model.rpartition("/")[2].startswith(_REASONING)


def cannot_reason(model: str) -> bool:
    """Return whether it is a model of OpenAI's that refuses `reasoning_effort` and wants `system` (S07)."""
    return model.rpartition("/")[2].startswith(_OLDER)
