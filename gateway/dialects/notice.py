"""What a request lost on its way into another dialect, for the header `x-gateway-dropped`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.chat import JSON, ChatRequest

_IN_DIALECT = {
    "thinking": {"openai_chat": "reasoning_content", "openai_responses": "reasoning"},
    "effort": {"anthropic": "thinking", "ollama": "think", "ollama_generate": "think"},
    "image": {
        "openai_chat": "image_url",
        "openai_responses": "image_url",
        "anthropic": "image",
        "ollama": "images",
        "ollama_generate": "images",
    },
    "user": {"anthropic": "user_id"},
    "stop": {"anthropic": "stop_sequences"},
    "limit": {"openai_responses": "max_output_tokens", "ollama": "num_predict", "ollama_generate": "num_predict"},
    "document": {"openai_chat": "file_data", "openai_responses": "file_data"},
}
_NAMES = {"effort": "reasoning_effort", "image": "image_url", "limit": "max_tokens"}
VENDOR_EXTRA = ("extra_content", "provider_specific_fields")
_OPENED = frozenset(("function", "options", "output_config", "stream_options", "text"))
"""Members of which a part was carried: what is left of them is named by its own name, not by theirs."""
_ALREADY_SO: tuple[tuple[str, JSON], ...] = (
    ("caller", {"type": "direct"}),  # of a call in Anthropic's own answers
    ("include", ["reasoning.encrypted_content"]),  # encrypted or signed thinking always comes along (K11)
    ("logit_bias", {}),
    ("metadata", {}),
    ("modalities", ["text"]),
    ("top_logprobs", 0),
    ("truncation", "disabled"),
)
"""What every target does anyway."""


def field_name(what: str, dialect: str) -> str:
    """Return what a request of `dialect` calls a thing that every dialect has under a name of its own."""
    return _IN_DIALECT.get(what, {}).get(dialect) or _NAMES.get(what, what)


def foreign_extra(chat: ChatRequest) -> dict[str, JSON]:
    """Return the fields only the request's own dialect knows, without another spelling of one that was carried."""
    if chat.user is None or chat.extra.get("safety_identifier") != chat.user:
        return chat.extra
    return {name: value for name, value in chat.extra.items() if name != "safety_identifier"}


def lost_names(fields: Mapping[str, object] | Iterable[tuple[str, object]]) -> list[str]:
    """Return the names of those fields that ask for something, of nested ones the leaf's.

    Null, false, an empty list and what every target does anyway ask for nothing, and a name that begins with `@`
    is the source dialect's own book-keeping (ids of items, their status).
    """
    if not fields:
        return []  # as nearly always
    names: list[str] = []
    for name, value in fields.items() if isinstance(fields, Mapping) else fields:
        if value is None or value is False or value == [] or name[:1] == "@" or (name, value) in _ALREADY_SO:
            continue
        if name in _OPENED and isinstance(value, dict):
            names += lost_names(value)
        else:
            names.append(name)
    return names


def thinking_losses(chat: ChatRequest, *, shown: bool = True) -> list[str]:
    """Return what a request for thinking said beyond how much of it: another vendor's model is asked for an amount
    alone. `shown` says that the answer's thinking comes as text, which is what Responses' `summary` asks for."""
    thinking = chat.thinking
    if thinking is None:
        return []
    if chat.dialect == "anthropic":
        names = ["thinking"] if thinking.value is not None else []  # a type with no equal, such as between_tools
        return [*names, "display"] if shown and thinking.display == "omitted" else names
    given = thinking.value if isinstance(thinking.value, dict) else {}
    return lost_names((name, value) for name, value in given.items() if name not in ("summary", "generate_summary"))


def unvendored(extra: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what stands beside a call, without what its own vendor wants back with it (Gemini's thought signature):
    that means nothing to another, and no client put it there."""
    return {name: value for name, value in extra.items() if name not in VENDOR_EXTRA}


class Dropped:
    """Names of fields that could not be carried, each once, in order. Nested fields give their leaf name."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, *names: str) -> None:
        """Note fields by name."""
        self._names.update(dict.fromkeys(names))

    def add_set(self, fields: Mapping[str, object] | Iterable[tuple[str, object]]) -> None:
        """Note those fields that ask for something."""
        self.add(*lost_names(fields))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order they were first noted."""
        return tuple(self._names)
