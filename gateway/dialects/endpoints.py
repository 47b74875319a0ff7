"""Which client path belongs to which dialect, and where a provider of that dialect serves it.

Facts from the official `openai` 3.54, `anthropic` 2.12 and `ollama` 0.6 packages (November 2026).
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct, structs

Kind = Literal[
    "chat",  # needs a model and messages; translated when the target speaks another dialect
    "model",  # routed by its model, otherwise passed through
    "pass",  # passed through; needs a route that matches by path when it names no model
]


class Endpoint(Struct, frozen=True, kw_only=True):
    """One path of the data plane.

    `dialect` owns its errors and streams; `required` are the body fields a chat-like request must have,
    any one of each tuple; `stream_default` is what an absent `stream` means; `speaks` are the provider
    dialects that serve this endpoint natively, each with the path that is appended to its base URL.
    """

    name: str
    path: str
    dialect: str
    kind: Kind = "chat"
    methods: tuple[str, ...] = ("POST",)
    required: tuple[tuple[str, ...], ...] = ()
    stream_default: bool = False
    aliases: tuple[str, ...] = ()
    speaks: dict[str, str] = {}
    is_chat: bool = False
    """Whether its answer is a chat's: translated, watched and rewritten where that is asked for. Set from the rest."""
    is_read: bool = False
    """Whether its answer is read, for its usage and for the end of its stream. Set from the rest."""

    def __post_init__(self) -> None:
        is_chat = self.kind == "chat" and self.name != "count_tokens"
        structs.force_setattr(self, "is_chat", is_chat)
        structs.force_setattr(self, "is_read", is_chat or self.name == "completions")


def _openai(name: str, path: str, kind: Kind = "model") -> Endpoint:
    """An OpenAI endpoint whose base URL holds /v1, which Ollama serves too under its own /v1."""
    served = {"openai": path, "openai_chat": path, "openai_responses": path, "ollama": "/v1" + path}
    return Endpoint(name=name, path="/v1" + path, dialect="openai_chat", kind=kind, aliases=(path,), speaks=served)


def _ollama(name: str, kind: Kind, required: tuple[tuple[str, ...], ...] = (), stream: bool = False) -> Endpoint:
    path = "/api/" + name
    return Endpoint(
        name="ollama_" + name,
        path=path,
        dialect="ollama_generate" if name == "generate" else "ollama",
        kind=kind,
        required=required,
        stream_default=stream,
        speaks={"ollama": path},
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        name="chat_completions",
        path="/v1/chat/completions",
        dialect="openai_chat",
        required=(("messages",),),
        aliases=("/chat/completions",),
        speaks={"openai": "/chat/completions", "openai_chat": "/chat/completions"},
    ),
    Endpoint(
        name="messages",
        path="/v1/messages",
        dialect="anthropic",
        required=(("messages",),),
        aliases=("/messages", "/v1/v1/messages"),
        speaks={"anthropic": "/v1/messages"},
    ),
    Endpoint(
        name="count_tokens",
        path="/v1/messages/count_tokens",
        dialect="anthropic",
        required=(("messages",),),
        aliases=("/messages/count_tokens", "/v1/v1/messages/count_tokens"),
        speaks={"anthropic": "/v1/messages/count_tokens"},
    ),
    Endpoint(
        name="responses",
        path="/v1/responses",
        dialect="openai_responses",
        required=(("input", "prompt", "previous_response_id", "conversation"),),
        aliases=("/responses",),
        speaks={"openai": "/responses", "openai_responses": "/responses"},
    ),
    Endpoint(
        name="response_input_tokens",
        path="/v1/responses/input_tokens",
        dialect="openai_responses",
        kind="model",
        aliases=("/responses/input_tokens",),
        speaks={"openai": "/responses/input_tokens", "openai_responses": "/responses/input_tokens"},
    ),
    _ollama("chat", "chat", (("messages",),), stream=True),
    _ollama("generate", "chat", (), stream=True),
    _ollama("embed", "model"),
    _ollama("embeddings", "model"),
    _ollama("show", "model"),
    Endpoint(
        name="embeddings",
        path="/v1/embeddings",
        dialect="openai_chat",
        kind="model",
        aliases=("/embeddings",),
        # Ollama is asked at /api/embed: its own /v1/embeddings only repeats that, and older ones ignore base64.
        speaks=dict.fromkeys(("openai", "openai_chat", "openai_responses"), "/embeddings"),
    ),
    _openai("completions", "/completions"),
    _openai("moderations", "/moderations"),
    _openai("rerank", "/rerank"),
    _openai("image_generations", "/images/generations"),
    _openai("image_edits", "/images/edits"),
    _openai("image_variations", "/images/variations"),
    _openai("audio_speech", "/audio/speech"),
    _openai("audio_transcriptions", "/audio/transcriptions"),
    _openai("audio_translations", "/audio/translations"),
)
"""Every endpoint with a fixed path. `/v1/images/*` and `/v1/audio/*` take further names; see `find`."""

_BY_PATH: dict[str, Endpoint] = {
    path: endpoint for endpoint in ENDPOINTS for path in (endpoint.path, *endpoint.aliases)
}
_OPEN_ENDED = ("/v1/images/", "/v1/audio/", "/images/", "/audio/")
BATCHES = "/v1/messages/batches"
NAMES = frozenset(endpoint.name for endpoint in ENDPOINTS) | {"batches"}
"""The names of all endpoints but those that clients make up below images and audio."""
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]+")
"""SECURITY: open-ended paths become upstream paths as they are; nothing that ends a path or a line may be in them."""

exact = _BY_PATH.get
"""Return the endpoint whose path, or one of whose aliases, is exactly the given text; None when there is none."""


def find(path: str) -> Endpoint | None:
    """Return the endpoint that `path` (normalised, no trailing slash) belongs to, None when it is no model endpoint.

    Further names under images and audio are endpoints of their own; Anthropic's batches are passed through whole.
    """
    endpoint = _BY_PATH.get(path)
    if endpoint is not None:
        return endpoint
    if not _PLAIN.fullmatch(path):
        return None
    if path.startswith(_OPEN_ENDED):
        tail = path.removeprefix("/v1")
        return _openai(tail.strip("/").replace("/", "_"), tail)
    if path == BATCHES or path.startswith(BATCHES + "/"):
        return Endpoint(
            name="batches",
            path=path,
            dialect="anthropic",
            kind="pass",
            methods=("GET", "POST", "DELETE"),
            speaks={"anthropic": path},
        )
    return None
