"""Anthropic's usage object and the neutral one.

On the wire `input_tokens` leaves out what the cache read and wrote; the neutral `prompt_tokens` holds all three.
Stream usage is cumulative (anthropic 2.12, `MessageDeltaUsage`, read 2026-11): a later count replaces an
earlier one and is never added to it.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import JSON, Usage

_KEPT = ("server_tool_use", "service_tier", "inference_geo", "speed")


def _count(value: object) -> int | None:
    """Return a token count, None for what is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return max(0, int(value))


class UsageReader:
    """The usage of one answer as its parts arrive. `usage` is None until one was seen."""

    __slots__ = ("_creation", "_details", "_extra", "_input", "_output", "_read", "_write", "_write_1h", "seen")

    def __init__(self) -> None:
        self._input = self._output = self._read = self._write = self._write_1h = 0
        self._details = 0
        self._creation: JSON = None
        self._extra: dict[str, JSON] = {}
        self.seen = False

    def add(self, wire: object) -> None:
        """Take in one usage object, of whatever shape.

        The input counts of an object that has any are all taken as they stand; an object whose input counts
        are all zero or absent (some servers send zeros at the end) leaves the earlier ones.
        """
        if not isinstance(wire, dict):
            return
        self.seen = True
        given = [
            _count(wire.get(key)) for key in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        ]
        if any(given):
            self._input, self._read, self._write = (
                new if new is not None else old
                for new, old in zip(given, (self._input, self._read, self._write), strict=True)
            )
        self._output = max(self._output, _count(wire.get("output_tokens")) or 0)
        creation = wire.get("cache_creation")
        if isinstance(creation, dict):
            self._creation = creation
            self._write_1h = _count(creation.get("ephemeral_1h_input_tokens")) or 0
        details = wire.get("output_tokens_details")
        if isinstance(details, dict):
            self._details = _count(details.get("thinking_tokens")) or 0
        for key in _KEPT:
            if wire.get(key) is not None:
                self._extra[key] = wire[key]

    @property
    def usage(self) -> Usage | None:
        """The totals so far in neutral words."""
        if not self.seen:
            return None
        return Usage(
            prompt_tokens=self._input + self._read + self._write,
            completion_tokens=self._output,
            cached_tokens=self._read,
            cache_write_tokens=self._write,
            cache_write_1h_tokens=min(self._write_1h, self._write),
            reasoning_tokens=self._details,
            extra=dict(self._extra),
        )


def parse_usage(wire: object) -> Usage | None:
    """Return one usage object in neutral words, None when it is not an object."""
    reader = UsageReader()
    reader.add(wire)
    return reader.usage


def render_usage(usage: Usage | None) -> dict[str, Any]:
    """Return the usage object of a message; `input_tokens + cache read + cache write` is the prompt."""
    usage = usage or Usage()
    # Parts above the whole would make the rest negative: some servers count cached tokens apart.
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
    wire: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens - cached - written,
        "output_tokens": usage.completion_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
    }
    if usage.cache_write_1h_tokens:
        hour = min(usage.cache_write_1h_tokens, written)
        wire["cache_creation"] = {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour}
    if usage.reasoning_tokens:
        wire["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    wire |= {key: usage.extra[key] for key in _KEPT if key in usage.extra}
    return wire
