"""OpenAI's token counts, chat's and Responses' names alike, in neutral words; both dialects read and write here.

Servers that speak OpenAI's format differ (translation.md U07, W04, W05, W12): counts may be absent, null, floats, or
lie outside their total. What is read is never negative and keeps its sums.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Usage

_LARGEST = 1 << 53


def count(value: object) -> int:
    """Return a token count; what is no sensible number is 0."""
    if type(value) is int and 0 <= value <= _LARGEST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST:
        return 0
    return int(value)


def usage_of(value: object) -> Usage | None:
    """Return the usage an OpenAI usage object states, None when there is none."""
    if not isinstance(value, dict) or not value:
        return None
    prompt = count(value.get("prompt_tokens")) or count(value.get("input_tokens"))
    completion = count(value.get("completion_tokens")) or count(value.get("output_tokens"))
    # xAI and Gemini leave reasoning out of the completion but not out of the total.
    completion = max(completion, count(value.get("total_tokens")) - prompt)
    read, made = _details(value, "prompt_tokens_details"), _details(value, "completion_tokens_details")
    read, made = read or _details(value, "input_tokens_details"), made or _details(value, "output_tokens_details")
    # DeepSeek and Moonshot have their own names for what was read from the cache.
    cached = count(read.get("cached_tokens")) or count(value.get("prompt_cache_hit_tokens"))
    cached = min(cached or count(value.get("cached_tokens")), prompt)
    written = min(count(read.get("cache_write_tokens")), prompt - cached)
    extra = {
        side: kept
        for side, details in (("prompt", read), ("completion", made))
        if details and (kept := {key: n for key, v in details.items() if key not in _NEUTRAL and (n := count(v))})
    }
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(count(made.get("reasoning_tokens")), completion),
        extra={"openai_details": extra} if extra else {},
    )


_NEUTRAL = frozenset(("cached_tokens", "cache_write_tokens", "reasoning_tokens"))


def _details(value: dict[str, Any], name: str) -> dict[str, Any]:
    details = value.get(name)
    return details if isinstance(details, dict) else {}


def later(old: Usage | None, new: Usage) -> Usage:
    """Return `new`, with the details of `old` where `new` came without: a last chunk may carry totals alone."""
    if old is None or (new.cached_tokens and new.reasoning_tokens):
        return new
    cached = new.cached_tokens or min(old.cached_tokens, new.prompt_tokens)
    return Usage(
        prompt_tokens=new.prompt_tokens,
        completion_tokens=new.completion_tokens,
        cached_tokens=cached,
        cache_write_tokens=new.cache_write_tokens or min(old.cache_write_tokens, new.prompt_tokens - cached),
        cache_write_1h_tokens=new.cache_write_1h_tokens or old.cache_write_1h_tokens,
        reasoning_tokens=new.reasoning_tokens or min(old.reasoning_tokens, new.completion_tokens),
        estimated=new.estimated,
        extra=new.extra or old.extra,
    )


def _server_tools(usage: Usage) -> dict[str, Any]:
    """Return Anthropic's counts of what its server tools did (U11): money that no token count shows."""
    used = usage.extra.get("server_tool_use")
    return {"server_tool_use": used} if isinstance(used, dict) else {}


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Return chat's usage object (U01)."""
    more = usage.extra.get("openai_details") or {}
    return {
        **_server_tools(usage),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            **more.get("prompt", {}),
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, **more.get("completion", {})},
    }


def responses_usage(usage: Usage) -> dict[str, Any]:
    """Return Responses' usage object; both details are required there (U03)."""
    return {
        **_server_tools(usage),
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
