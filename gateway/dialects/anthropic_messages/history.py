"""The messages of a request, from neutral words to Anthropic's rules of form.

Anthropic wants the results of all calls of one assistant turn in the very next user message, first in it; text that
is not blank; thinking first and calls last in an assistant turn. A request written for Anthropic is left as it is
but for tool results, which stand apart in neutral words and are put back into their user message.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from gateway.chat import Message, Part, Reasoning, Text, ToolCall
from gateway.dialects.anthropic_messages.blocks import DIALECT
from gateway.dialects.anthropic_messages.render_blocks import Block, BlockWriter
from gateway.dialects.anthropic_messages.traits import Traits
from gateway.dialects.notice import Dropped
from gateway.dialects.pairing import results_in_place
from gateway.errors import BadRequest

_SYSTEM = ("system", "developer")


class _Turn(Struct):
    """A message being written."""

    role: str
    blocks: list[Block]
    extra: dict[str, object]


class HistoryWriter:
    """Writes the `system` and `messages` of one request."""

    __slots__ = ("_dropped", "_own", "_traits", "_writer")

    def __init__(self, traits: Traits, dropped: Dropped, dialect: str) -> None:
        self._traits, self._dropped, self._own = traits, dropped, dialect == DIALECT
        self._writer = BlockWriter(dropped, dialect, signed=traits.signs_thinking)

    def write(self, messages: tuple[Message, ...]) -> tuple[list[Block], list[Block]]:
        """Return the system blocks and the messages. Raises: BadRequest."""
        leading = self._leading_system(messages)
        system = [block for message in messages[:leading] for block in self._system_blocks(message)]
        rest = messages[leading:]
        if not self._own:
            if self._traits.system_in_messages == "hoist":
                system += [b for message in rest if message.role in _SYSTEM for b in self._system_blocks(message)]
                rest = tuple(message for message in rest if message.role not in _SYSTEM)
            for message in messages:
                self._dropped.add_set((("name", message.name), *message.extra.items()))
        turns = self._turns(rest if self._own else results_in_place(rest))
        if not self._own:
            turns = self._mended(turns)
        return system, [{"role": turn.role, "content": _short(turn.blocks)} | turn.extra for turn in turns]

    def _leading_system(self, messages: tuple[Message, ...]) -> int:
        count = 0
        for message in messages:
            if message.role not in _SYSTEM or (self._own and count == 1):
                break
            count += 1
        return count

    def _system_blocks(self, message: Message) -> list[Block]:
        texts: tuple[Part, ...] = tuple(part for part in message.parts if isinstance(part, Text))
        if len(texts) < len(message.parts):
            self._dropped.add("system")
        return self._writer.blocks(texts)

    def _turns(self, messages: Iterable[Message]) -> list[_Turn]:
        """Return one turn a message, tool results joined with each other and with the user's words after them."""
        turns: list[_Turn] = []
        joinable = False
        for message in messages:
            if message.role in _SYSTEM:
                turns.append(self._system_turn(message))
                joinable = False
                continue
            role = "assistant" if message.role == "assistant" else "user"
            blocks = self._writer.blocks(message.parts if role == "user" or self._own else _in_order(message.parts))
            extra: dict[str, object] = dict(message.extra) if self._own else {}
            if joinable and role == "user":
                turns[-1].blocks += blocks
                turns[-1].extra |= extra
                joinable = message.role == "tool" or not self._own
            else:
                turns.append(_Turn(role=role, blocks=blocks, extra=extra))
                joinable = message.role == "tool"
        return turns

    def _system_turn(self, message: Message) -> _Turn:
        """Return a system message that stands between others, as this target takes it."""
        blocks = self._system_blocks(message)
        if self._own or self._traits.system_in_messages == "keep":
            return _Turn(role="system", blocks=blocks, extra={})
        self._dropped.add(*(name for block in blocks for name in block if name not in ("type", "text")))
        words = "\n\n".join(block["text"] for block in blocks)
        text: list[Block] = [{"type": "text", "text": f"<system>{words}</system>"}] if words else []
        return _Turn(role="user", blocks=text, extra={})

    def _mended(self, turns: list[_Turn]) -> list[_Turn]:
        """Return the turns without empty ones, beginning with the user, an answer's beginning left open rightly."""
        turns = [turn for turn in turns if turn.blocks]
        if not turns or turns[0].role != "user":
            first: Block = {"type": "text", "text": self._traits.first_user_text}
            turns.insert(0, _Turn(role="user", blocks=[first], extra={}))
        last = turns[-1]
        if last.role == "assistant":
            if not self._traits.prefill:
                raise BadRequest(
                    "the last message is the assistant's, which this model does not continue; end with a user message",
                    param="messages",
                )
            final = last.blocks[-1]
            if final["type"] == "text":
                final["text"] = final["text"].rstrip()
        return turns


def _in_order(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return an assistant's parts with thinking first and calls last, each kind in its own order."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    thinking = [part for part in parts if isinstance(part, Reasoning)]
    others = [part for part in parts if not isinstance(part, ToolCall | Reasoning)]
    return (*thinking, *others, *calls)


def _short(blocks: list[Block]) -> str | list[Block]:
    """Return a message's content: a lone plain text as a string, which every compatible server takes."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text":
        return str(blocks[0]["text"])
    return blocks
