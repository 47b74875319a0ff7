"""What the client sees of the rounds: all words in order, its own calls, and nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from gateway.plugin import (
    Event,
    Part,
    Reasoning,
    ReasoningDelta,
    Start,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)  # fmt: skip

from .calls import Called
from .offer import Offer

BETWEEN = "\n\n"
"""Parts the words of two rounds, which are two messages of the model."""


class Shown:
    """The answer so far. `has_words` and `has_calls` say what the client got.

    Where an answer must fit a schema (structured output), words of a round that goes on would break it: they are left
    out, and so a stream's words wait for the end of their round. A provider's sealed reasoning is bound to the calls
    that follow it; when those are not shown the seal is worth nothing, so a stream leaves out all seals of that kind.
    """

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._holds = offer.chat.output is not None
        self._no_start_id = offer.chat.dialect == "openai_responses"
        self._held: list[Event] = []
        self._kept: dict[int, int] = {}
        self._calls = self._blocks = self._first_block = 0
        self._ends_with = ""
        self._is_new_round = False
        self.has_words = self.has_calls = False

    # --- whole answers -----------------------------------------------------------------------------

    def parts(self, before: list[Part], said: Iterable[Part]) -> list[Part]:
        """Return the parts of a whole answer with those of the next round behind `before`."""
        parts = [_unsealed(part) for part in before if not (self._holds and isinstance(part, Text))]
        is_first = True
        for part in said:
            if isinstance(part, ToolCall):
                if not self._offer.is_clients(part.name):
                    continue
                self.has_calls = True
            elif isinstance(part, Text):
                last = parts[-1] if parts else None
                if is_first and isinstance(last, Text) and _parts_of(last.text, part.text):
                    parts[-1] = replace(last, text=last.text + BETWEEN)
                is_first = False
            parts.append(part)
        self.has_words = any(not isinstance(part, ToolCall | Reasoning) for part in parts)
        return parts

    # --- streams -----------------------------------------------------------------------------------

    def events(self, event: Event, *, is_first: bool) -> Iterator[Event]:
        """Yield what the client sees of an event; usage is given on, the stop is not."""
        match event:
            case Start():
                if is_first:
                    # A later round has another id, which is the one that Responses could go on from.
                    yield replace(event, id="") if self._no_start_id else event
                self._begin()
            case Stop():
                return
            case ToolCallDelta():
                yield from self._call(event)
            case ReasoningDelta():
                yield from self._thought(event)
            case TextDelta():
                if self._holds:
                    self._held.append(event)
                else:
                    yield from self._words(event)
            case _:
                yield event

    def end(self, goes_on: bool) -> Iterator[Event]:
        """Yield what was held back of a round that has ended."""
        held, self._held = self._held, []
        if not goes_on:
            for event in held:
                if isinstance(event, TextDelta):
                    yield from self._words(event)
        self._begin()

    def _begin(self) -> None:
        self._kept.clear()
        self._first_block, self._is_new_round = self._blocks, True

    def _words(self, event: TextDelta) -> Iterator[Event]:
        if event.text and self._is_new_round:
            if self.has_words and _parts_of(self._ends_with, event.text):
                yield TextDelta(BETWEEN)
            self._is_new_round = False
        self._ends_with = event.text[-1:] or self._ends_with
        self.has_words = self.has_words or bool(event.text)
        yield event

    def _call(self, event: ToolCallDelta) -> Iterator[Event]:
        if event.index not in self._kept:
            if not self._offer.is_clients(event.name):
                self._kept[event.index] = -1
            else:
                self._kept[event.index], self._calls, self.has_calls = self._calls, self._calls + 1, True
        if (index := self._kept[event.index]) >= 0:
            yield replace(event, index=index)

    def _thought(self, event: ReasoningDelta) -> Iterator[Event]:
        block = self._first_block + event.block
        self._blocks = max(self._blocks, block + 1)
        is_bound = event.encrypted is not None and not event.redacted
        event = replace(event, block=block, id=None, encrypted=None if is_bound else event.encrypted)
        if event.text or event.signature or event.encrypted or not is_bound:
            yield event


def _unsealed(part: Part) -> Part:
    """Return a part of a round that went on without the seal that binds it to calls which are not shown."""
    if isinstance(part, Reasoning) and part.encrypted is not None and not part.redacted:
        return replace(part, encrypted=None, id=None, extra={})
    return part


def _parts_of(before: str, after: str) -> bool:
    """Return whether the words of two rounds would run together."""
    return bool(before) and bool(after) and not before[-1:].isspace() and not after[:1].isspace()


def told(called: Called) -> str:
    """Return what the model is told of a call: the result, or the error as JSON."""
    if called.result is not None:
        return called.result.text
    return json.dumps({"error": called.error}, ensure_ascii=False)
