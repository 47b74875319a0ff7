"""Counting a Messages request's tokens where no Anthropic model is there to ask (`count_tokens`, X01).

The estimate is to be rather too high than too low: a client that trims its history by it must not overrun the
model. Text costs a token for every three bytes of UTF-8 (English takes about four, code three, Chinese at most
three), an image what the largest costs, a PDF page as much as text and picture together (Anthropic, November 2026).
"""

from __future__ import annotations

from gateway.chat import ChatRequest, Document, Image, Opaque, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from gateway.dialects.json import encode

BYTES_PER_TOKEN = 3
PER_MESSAGE = 5
PER_TOOL = 30
WITH_TOOLS = 350
"""What Anthropic's own system prompt for tool use takes, once."""
PER_IMAGE = 1600
PER_PAGE = 3000
BASE64_PER_PAGE = 65_536


def estimate(chat: ChatRequest) -> int:
    """Return about how many input tokens a request takes, system, tools and images included; never too few."""
    tokens = sum(PER_MESSAGE + _parts(message.parts) for message in chat.messages)
    if chat.tools:
        tokens += WITH_TOOLS
    for tool in chat.tools:
        words = (tool.name, tool.description or "", tool.parameters or "", encode(tool.value).decode())
        tokens += PER_TOOL + sum(map(_text, words))
    if chat.output is not None:
        tokens += _text(chat.output.schema or "")
    return tokens


def render_count(chat: ChatRequest) -> bytes:
    """Return the body of a count_tokens answer."""
    return encode({"input_tokens": estimate(chat)})


def _text(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def _parts(parts: tuple[Part, ...]) -> int:
    return sum(_part(part) for part in parts)


def _part(part: Part) -> int:
    match part:
        case Text() | Refusal():
            return _text(part.text)
        case Reasoning():
            return _text(part.text) + _text(part.encrypted or "")
        case ToolCall():
            return PER_MESSAGE + _text(part.name) + _text(part.arguments)
        case ToolResult():
            return PER_MESSAGE + _parts(part.parts)
        case Image():
            return PER_IMAGE
        case Document():
            pages = -(-len(part.data or "") // BASE64_PER_PAGE) or int(part.url is not None or part.file_id is not None)
            words = _text(part.text or "") + _text(part.title or "") + _text(part.context or "")
            return words + PER_PAGE * pages + _parts(part.parts)
        case Opaque():
            return _text(encode(part.value).decode())
    return 0
