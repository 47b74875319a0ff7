"""How many input tokens a request is at most, for targets that have no way to count (X01, X06).

Every vendor cuts text in its own way and publishes no more than examples, so this is a bound from above and no count:
English prose comes out at about one and a half times what Claude, GPT or Llama count, code and JSON at up to twice.
What is rare in training text costs more per character, and is counted so: digits and punctuation one token each,
letters of other scripts two for three bytes, emoji one a byte, words of more than fourteen letters (base64, hashes) two
for three. Held against SmolLM2's vocabulary of 49,000, the smallest in common use, over sixteen kinds of text.
Pictures count as the largest that Anthropic's page gives for standard resolution (November 2026).

A megabyte takes about ten milliseconds: characters are classed by `bytes.translate`, never one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.json import encode

IMAGE_TOKENS = 1600
PAGE_TOKENS = 3000
BASE64_PER_TOKEN = 8
"""Of a PDF: a page of 3,000 tokens is rarely under 18 KB."""
PER_MESSAGE, PER_TOOL, WITH_TOOLS, PER_REQUEST = 6, 14, 550, 10
"""What roles, tool headings and the vendors' own prompt about tools cost; Anthropic's page gives up to 530 for that."""
LONG_WORD = 14


def _class_of(byte: int) -> int:
    """Return what stands for a byte: a letter, A capital, 0 digit, ~ beyond ASCII, ^ first of four, space, or mark."""
    if byte >= 0xF0:
        return ord("^")
    if byte >= 128:
        return ord("~")
    character = chr(byte)
    if character.isalpha():
        return ord("A" if character.isupper() else "a")
    return ord("0" if character.isdigit() else " " if character.isspace() else ".")


_CLASSES = bytes(map(_class_of, range(256)))
_LETTER_OR_NOT = bytes(97 if byte in b"aA" else 32 for byte in range(256))
_LONG = re.compile(rb"a{%d,}" % (LONG_WORD + 1))


def tokens_in(text: str) -> int:
    """Return how many tokens `text` is at most."""
    if not text:
        return 0
    raw = text.encode("utf-8", "surrogatepass")
    classes = raw.translate(_CLASSES)
    upper, digits, spaces, four = (classes.count(kind) for kind in (b"A", b"0", b" ", b"^"))
    high = classes.count(b"~") + four
    shape = classes.translate(_LETTER_OR_NOT)
    letters = shape.count(b"a")
    words = shape.count(b" a") + shape.startswith(b"a")
    long = sum(map(len, _LONG.findall(shape))) if b"a" * (LONG_WORD + 1) in shape else 0
    marks = len(raw) - letters - digits - high - spaces
    lines = raw.count(b"\n")
    runs = max(0, spaces - lines - words)
    sixths = 2 * letters + 4 * words + 2 * long + 3 * upper + 4 * high + 8 * four + 3 * runs
    return -(-sixths // 6) + digits + marks + lines


def input_tokens(chat: ChatRequest) -> int:
    """Return how many tokens the request's system prompt, messages, tools, schema and pictures are at most."""
    total = PER_REQUEST + sum(PER_MESSAGE + _of_message(message) for message in chat.messages)
    if chat.tools:
        total += WITH_TOOLS + sum(PER_TOOL + _of_tool(tool) for tool in chat.tools)
    if chat.output is not None:
        total += PER_TOOL + tokens_in(chat.output.schema or "") + tokens_in(chat.output.description or "")
    return total


def _of_message(message: Message) -> int:
    return tokens_in(message.name or "") + _of_parts(message.parts)


def _of_parts(parts: Iterable[Part]) -> int:
    return sum(map(_of_part, parts))


def _of_part(part: Part) -> int:
    match part:
        case Text() | Refusal():
            return tokens_in(part.text)
        case Reasoning():
            return tokens_in(part.text) + (len(part.encrypted) // 2 if part.encrypted else 0)
        case ToolCall():
            return PER_TOOL + tokens_in(part.name) + tokens_in(part.arguments)
        case ToolResult():
            return PER_TOOL + _of_parts(part.parts)
        case Image():
            return IMAGE_TOKENS
        case Document():
            titles = tokens_in(part.title or "") + tokens_in(part.context or "")
            if part.text is not None:
                return titles + tokens_in(part.text)
            if part.parts:
                return titles + _of_parts(part.parts)
            return titles + max(PAGE_TOKENS, len(part.data or "") // BASE64_PER_TOKEN)
        case Audio():
            return max(100, len(part.data) // BASE64_PER_TOKEN)
        case Opaque():
            return tokens_in(encode(part.value).decode("utf-8", "replace"))


def _of_tool(tool: Tool) -> int:
    held = encode(tool.value).decode("utf-8", "replace") if tool.value is not None else ""
    return sum(map(tokens_in, (tool.name, tool.description or "", tool.parameters or "", held)))
