"""Ollama's `options`: the few with a neutral name, and the rest, which only Ollama understands."""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest
from gateway.dialects.members import Members

NEUTRAL = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "num_predict": "max_tokens",
    "seed": "seed",
    "stop": "stop",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
# fmt: off
OWN = frozenset((
    "numa", "num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "logits_all", "vocab_only",
    "use_mmap", "use_mlock", "embedding_only", "num_thread", "num_keep", "tfs_z", "typical_p", "min_p",
    "repeat_last_n", "repeat_penalty", "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline",
))
# fmt: on
"""Options without a neutral name (ollama 0.6). In `ChatRequest.extra` they stand by their own names, so that a
notice names them; an option not in this list stays inside `options`."""


def read_options(top: Members) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the neutral fields that `options` gives, and its other members. Raises: BadRequest."""
    options = top.object("options")
    if options is None:
        return {}, {}
    raw_stop = options.peek("stop")
    one_stop = raw_stop is not None and bytes(memoryview(raw_stop)[:1]) == b'"'
    stop = (options.text("stop") or "",) if one_stop else options.texts("stop")
    limit = options.integer("num_predict")
    neutral: dict[str, Any] = {
        "temperature": options.number("temperature"),
        "top_p": options.number("top_p"),
        "top_k": options.integer("top_k"),
        # -1 and -2 mean "no limit" and "fill the context", which is what no limit means elsewhere.
        "max_tokens": limit if limit is not None and limit >= 0 else None,
        "seed": options.integer("seed"),
        "stop": stop,
        "frequency_penalty": options.number("frequency_penalty"),
        "presence_penalty": options.number("presence_penalty"),
    }
    rest = options.whole()
    extra = {name: value for name, value in rest.items() if name in OWN}
    unknown = {name: value for name, value in rest.items() if name not in OWN}
    return neutral, extra | ({"options": unknown} if unknown else {})


def write_options(chat: ChatRequest, own: bool, num_ctx: object) -> dict[str, Any]:
    """Return `options`; `num_ctx` is the provider's, for clients that name none: the server's own default is
    small and cuts a long prompt without a word."""
    options: dict[str, Any] = {}
    for name, field in NEUTRAL.items():
        value = getattr(chat, field)
        if value is not None and value != ():
            options[name] = list(value) if name == "stop" else value
    if num_ctx is not None:
        options["num_ctx"] = num_ctx
    if own:
        options |= {name: value for name, value in chat.extra.items() if name in OWN}
        unknown = chat.extra.get("options")
        options |= unknown if isinstance(unknown, dict) else {}
    return options
