"""Ollama's counts and the neutral usage.

`prompt_eval_count` is left out or 0 when the whole prompt was in the server's cache (ollama 0.6, 2026-11): the
count is then unknown, kept at 0 and marked as estimated.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Usage

_DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return max(0, int(value))


def parse_usage(wire: dict[str, Any]) -> Usage | None:
    """Return the counts of an answer or of a `done` line, None when it has none at all."""
    if wire.get("prompt_eval_count") is None and wire.get("eval_count") is None:
        return None
    prompt = _count(wire.get("prompt_eval_count"))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=_count(wire.get("eval_count")),
        estimated=prompt == 0,
        extra={key: wire[key] for key in _DURATIONS if isinstance(wire.get(key), int)},
    )


def render_usage(usage: Usage | None, duration_ns: int) -> dict[str, Any]:
    """Return counts and durations (nanoseconds) of a finished answer.

    Input cached by the upstream counts too. What the upstream did not time is put down as one evaluation that
    took the whole: clients divide `eval_count` by `eval_duration`, which therefore is never 0.
    """
    usage = usage or Usage()
    whole = max(duration_ns, 1)
    wire: dict[str, Any] = {
        "total_duration": whole,
        "load_duration": 0,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": 0,
        "eval_count": usage.completion_tokens,
        "eval_duration": whole,
    }
    wire |= {key: usage.extra[key] for key in _DURATIONS if isinstance(usage.extra.get(key), int)}
    return wire
