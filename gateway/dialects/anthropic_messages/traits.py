"""What a model behind the Messages API takes, judged by its name; a provider's quirks overrule every judgement.

Sources: Anthropic's model and feature pages and the anthropic package 2.12 (November 2026). A model that is not
called Claude sits behind a compatible server; it is treated as the oldest that could still work.

Quirks read here, from config/providers.yaml: `anthropic_version` (default 2023-06-01) · `max_output_tokens` ·
`thinking` (adaptive, budget, none) · `structured_output` (native, tool) · `prefill` (true, false) ·
`system_in_messages` (keep, user, hoist: what becomes of a system message after the first turn) · `first_user_text`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

DEFAULT_VERSION = "2023-06-01"
NO_SAMPLING_SINCE = "2026-10-21"
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)")
_UNNUMBERED = {"claude-mythos-preview": (4, 7)}
_LARGEST = (((4, 5), 64_000), ((4, 0), 32_000), ((3, 7), 64_000), ((3, 5), 8_192))


class Traits(Struct, frozen=True, kw_only=True):
    """The facts a request is rendered by."""

    version: str
    max_output_tokens: int
    thinking: str
    native_output: bool
    prefill: bool
    both_temperature_and_top_p: bool
    system_in_messages: str
    first_user_text: str
    signs_thinking: bool

    @property
    def takes_sampling(self) -> bool:
        """From the version of October 2026 on, temperature, top_p and top_k are refused even at their defaults."""
        return self.version < NO_SAMPLING_SINCE


def traits_of(model: str, quirks: Mapping[str, Any]) -> Traits:
    """Return what `model` takes."""
    match = _VERSION.search(model)
    release = (int(match[1]), int(match[2] or 0)) if match else _UNNUMBERED.get(model.rpartition("/")[2])
    known = release or (0, 0)
    thinking = "adaptive" if known >= (4, 6) else "budget" if release is None or known >= (3, 7) else "none"
    largest = next((tokens for since, tokens in _LARGEST if known >= since), 4096)
    output = quirks.get("structured_output") or ("native" if known >= (4, 1) else "tool")
    return Traits(
        version=str(quirks.get("anthropic_version") or DEFAULT_VERSION),
        max_output_tokens=int(quirks.get("max_output_tokens") or largest),
        thinking=str(quirks.get("thinking") or thinking),
        native_output=output == "native",
        prefill=bool(quirks.get("prefill", known < (4, 6))),
        both_temperature_and_top_p=known < (4, 1),
        system_in_messages=str(quirks.get("system_in_messages") or "user"),
        first_user_text=str(quirks.get("first_user_text") or "."),
        signs_thinking=signs_thinking(model),
    )


def signs_thinking(model: str) -> bool:
    """Return whether the model refuses thinking that it did not sign: Claude does, compatible servers' models
    leave the signature empty and want their own thinking back."""
    return "claude" in model
