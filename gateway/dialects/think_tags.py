"""Thinking that a model writes into its text as `<think>…</think>`, told apart (K15). Opt-in: quirk `think_tags`.

Only a tag that opens the answer counts, white space before it apart: one that comes later, in prose or in a code
fence, is text. Inside, tags nest; thinking that is never closed is thinking to the end. A tag may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.chat import (
    ChatReply,
    Event,
    Failure,
    Part,
    Reasoning,
    ReasoningDelta,
    Stop,
    Text,
    TextDelta,
    ToolCallDelta,
)
from gateway.dialects.protocol import StreamParser

OPEN, CLOSE = "<think>", "</think>"


class Tags:
    """Cuts the text of one answer. `take` returns (is thinking, text) runs; `rest` what was held back at its end."""

    def __init__(self) -> None:
        self._held = ""
        self._depth = 0
        self._state = "before"  # the first tag; then "inside", "after" it, and "text" once text has come

    @property
    def is_text(self) -> bool:
        """Whether everything that follows is text."""
        return self._state == "text"

    def take(self, text: str) -> list[tuple[bool, str]]:
        """Return the runs now known."""
        out: list[tuple[bool, str]] = []
        text, self._held = self._held + text, ""
        while text:
            if self._state == "text":
                out.append((False, text))
                break
            if self._state == "inside":
                text = self._inside(text, out)
                continue
            bare = text.lstrip()
            if self._state == "after":
                if bare:
                    self._state = "text"
                text = bare
                continue
            if bare.startswith(OPEN):
                self._state, self._depth, text = "inside", 1, bare[len(OPEN) :]
            elif OPEN.startswith(bare):
                self._held = text
                break
            else:
                self._state = "text"
        return out

    def _inside(self, text: str, out: list[tuple[bool, str]]) -> str:
        """Take thinking up to a tag, and return what comes after it."""
        opened, closed = text.find(OPEN), text.find(CLOSE)
        if closed >= 0 and (opened < 0 or closed < opened):
            self._depth -= 1
            if self._depth == 0:
                self._state = "after"
                thought, rest = text[:closed], text[closed + len(CLOSE) :]
            else:
                thought, rest = text[: closed + len(CLOSE)], text[closed + len(CLOSE) :]
        elif opened >= 0:
            self._depth += 1
            thought, rest = text[: opened + len(OPEN)], text[opened + len(OPEN) :]
        else:
            kept = _partial(text)
            thought, rest = text[: len(text) - kept], ""
            self._held = text[len(text) - kept :]
        if thought:
            out.append((True, thought))
        return rest

    def rest(self) -> list[tuple[bool, str]]:
        """Return what was held back: the beginning of a tag that never became one."""
        held, self._held = self._held, ""
        return [(self._state == "inside", held)] if held else []


def _partial(text: str) -> int:
    """Return how many characters at the end may be the beginning of a tag."""
    at = text.rfind("<", max(0, len(text) - len(CLOSE) + 1))
    tail = text[at:] if at >= 0 else ""
    return len(tail) if tail and (OPEN.startswith(tail) or CLOSE.startswith(tail)) else 0


def untagged(reply: ChatReply) -> ChatReply:
    """Return a plain answer with the thinking of its first text as a part of its own."""
    parts: list[Part] = []
    tags = Tags()
    for part in reply.parts:
        if isinstance(part, Text) and not tags.is_text:
            runs = [*tags.take(part.text), *tags.rest()]
            thought = "".join(text for thinks, text in runs if thinks)
            said = "".join(text for thinks, text in runs if not thinks)
            if thought:
                parts.append(Reasoning(text=thought))
            if said:
                parts.append(replace(part, text=said))
        else:
            parts.append(part)
    return replace(reply, parts=tuple(parts))


class UntaggedParser:
    """A stream parser around another's."""

    def __init__(self, parser: StreamParser) -> None:
        self._parser = parser
        self._tags = Tags()

    def feed(self, data: bytes) -> list[Event]:
        return self._cut(self._parser.feed(data))

    def end(self) -> list[Event]:
        return [*self._cut(self._parser.end()), *_events(self._tags.rest())]

    def _cut(self, events: Sequence[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta) and not event.refusal and not self._tags.is_text:
                out += _events(self._tags.take(event.text))
                continue
            if isinstance(event, Stop | ToolCallDelta | Failure):
                out += _events(self._tags.rest())
            out.append(event)
        return out


def _events(runs: list[tuple[bool, str]]) -> list[Event]:
    return [ReasoningDelta(text) if thinks else TextDelta(text) for thinks, text in runs]
