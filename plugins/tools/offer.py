"""Which tools a request is offered, and what is asked of the model in each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from gateway.plugin import ChatRequest, Exchange, Message, ToolChoice
from gateway.plugin import Tool as Offered

from .registry import Tool

LEFT_ALONE: Final = frozenset(
    {"n", "logprobs", "top_logprobs", "modalities", "audio"}
    | {"background", "previous_response_id", "conversation", "prompt"}
)
"""A request with one of these wants more than one answer in words, or has its history where nothing can be added to it:
it is passed on as it is. `/api/generate`, which has no tools, is one of them by its `prompt`."""
_EMPTY: Final = frozenset({b"null", b"false", b"1", b"0", b'""', b"[]", b'["text"]'})
"""Values of them that say nothing."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one request is offered: `tools` are ours, by name; `client` the names that are the client's own, and with
    `is_open` every name that is not ours is."""

    chat: ChatRequest
    tools: Mapping[str, Tool]
    client: frozenset[str]
    is_open: bool

    def is_clients(self, name: str) -> bool:
        """Return whether a call of `name` is the client's to answer."""
        return name in self.client or (self.is_open and name not in self.tools)

    def asked(self, messages: tuple[Message, ...], *, first: bool) -> ChatRequest:
        """Return the request of a round. What the client demanded of the first is free in those after it."""
        chat = self.chat
        ours = tuple(
            Offered(name=tool.name, description=tool.description or None, parameters=tool.schema)
            for tool in self.tools.values()
        )
        choice = chat.tool_choice
        if choice is not None and not first and choice.mode in ("required", "tool"):
            choice = replace(choice, mode="auto", name=None)
        return replace(chat, messages=messages, tools=(*chat.tools, *ours), tool_choice=choice)

    def withdrawn(self, messages: tuple[Message, ...]) -> ChatRequest:
        """Return the request of the last round: the client's own tools alone."""
        chat, choice = self.chat, self.chat.tool_choice
        if not chat.tools:  # OpenAI refuses either without tools (November 2026)
            return replace(chat, messages=messages, tool_choice=None, parallel_tool_calls=None)
        if choice is not None:
            allowed = tuple(name for name in choice.allowed if name in self.client)
            choice = (
                ToolChoice(mode="none") if choice.allowed and not allowed else ToolChoice(mode="auto", allowed=allowed)
            )
        return replace(chat, messages=messages, tool_choice=choice)

    def forbidden(self, messages: tuple[Message, ...]) -> ChatRequest:
        """Return the same for a provider that refuses calls in the history whose tools it is not told."""
        return replace(self.asked(messages, first=False), tool_choice=ToolChoice(mode="none"))


def offer(exchange: Exchange, tools: Mapping[str, Tool]) -> Offer | None:
    """Return what to offer, None for a request to be left as it is. Raises: BadRequest when it cannot be read."""
    fields = exchange.request.fields or {}
    if any(bytes(fields[name]).strip() not in _EMPTY for name in LEFT_ALONE & fields.keys()):
        return None
    chat = exchange.chat
    client = frozenset(tool.name for tool in chat.tools)
    ours = {name: tool for name, tool in tools.items() if name not in client}
    choice = chat.tool_choice
    if choice is not None:
        if choice.mode == "none" or (choice.mode == "tool" and choice.name not in ours):
            return None
        if choice.allowed:
            ours = {name: tool for name, tool in ours.items() if name in choice.allowed}
    if not ours:
        return None
    # A tool of the provider's own, or a name that a wire cannot carry as it is, may come back by another name.
    is_open = any(tool.kind != "function" or not _is_plain(tool.name) for tool in chat.tools)
    return Offer(chat, ours, client, is_open)


def _is_plain(name: str) -> bool:
    return len(name) <= 64 and name.isascii() and all(letter.isalnum() or letter in "_-" for letter in name)
