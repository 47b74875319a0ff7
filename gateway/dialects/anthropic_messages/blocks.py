"""Content blocks, from the wire to neutral parts: of requests, of answers, of tool results.

A block that only Anthropic knows becomes `Opaque` and is given back as it came; so is a known block whose
source is of an unknown type.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Document, Image, Opaque, Part, Reasoning, Text, ToolCall, ToolResult
from gateway.dialects.anthropic_messages.carrier import ORIGIN, unpack
from gateway.dialects.members import Members

DIALECT = "anthropic"
SEARCH_RESULT = "application/x-search-result"
"""The media type of a search result among neutral documents; `context` is its source."""


def parse_content(members: Members, key: str) -> tuple[Part, ...]:
    """Return the parts of a `content` member: text, or a list of blocks."""
    content = members.text_or_objects(key)
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),)
    return tuple(parse_block(block) for block in content)


def parse_block(block: Members) -> Part:
    """Return one block in neutral words. Raises: BadRequest for a known block with a wrong member."""
    kind = block.text("type")
    match kind:
        case "text":
            return Text(
                text=block.text("text") or "",
                cache_control=block.value("cache_control"),
                annotations=tuple(block.value("citations") or ()) if _is_list(block, "citations") else (),
                extra=block.whole(),
            )
        case "image":
            return _image(block)
        case "document":
            return _document(block)
        case "search_result":
            return Document(
                media_type=SEARCH_RESULT,
                parts=parse_content(block, "content"),
                title=block.text("title"),
                context=block.text("source"),
                cache_control=block.value("cache_control"),
                extra=block.whole(),
            )
        case "thinking":
            thought = unpack(block.text("thinking") or "", block.text("signature") or "")
            block.spent()
            return thought
        case "redacted_thinking":
            redacted = Reasoning(redacted=True, encrypted=block.text("data") or "", origin=ORIGIN)
            block.spent()
            return redacted
        case "tool_use":
            return ToolCall(
                id=block.text("id") or "",
                name=block.text("name") or "",
                arguments=block.json_text("input") or "{}",
                cache_control=block.value("cache_control"),
                extra=block.whole(),
            )
        case "tool_result":
            return ToolResult(
                call_id=block.text("tool_use_id") or "",
                parts=parse_content(block, "content"),
                is_error=block.flag("is_error") or False,
                cache_control=block.value("cache_control"),
                extra=block.whole(),
            )
    if not kind:
        block.fail("type", "missing; every content block has one")
    return opaque(kind, block)


def opaque(kind: str, block: Members) -> Opaque:
    """Return a block whole; its `type` stands first again."""
    return Opaque(dialect=DIALECT, kind=kind, value={"type": kind} | block.whole())


def _is_list(block: Members, key: str) -> bool:
    raw = block.peek(key)
    return raw is not None and bytes(memoryview(raw)[:1]) == b"["


def _image(block: Members) -> Part:
    source = block.object("source")
    if source is None:
        block.fail("source", "missing; an image has one")
    kind = source.text("type")
    given: dict[str, Any] = {}
    if kind == "base64":
        given = {"media_type": source.text("media_type") or "", "data": source.text("data") or ""}
    elif kind == "url":
        given = {"url": source.text("url") or ""}
    elif kind == "file":
        given = {"file_id": source.text("file_id") or ""}
    else:
        rest = {"source": {"type": kind} | source.whole()} | block.whole()
        return Opaque(dialect=DIALECT, kind="image", value={"type": "image"} | rest)
    source.spent()
    return Image(**given, cache_control=block.value("cache_control"), extra=block.whole())


def _document(block: Members) -> Part:
    source = block.object("source")
    if source is None:
        block.fail("source", "missing; a document has one")
    kind = source.text("type")
    given: dict[str, Any] = {}
    if kind == "base64":
        given = {"media_type": source.text("media_type") or "application/pdf", "data": source.text("data") or ""}
    elif kind == "text":
        given = {"media_type": source.text("media_type") or "text/plain", "text": source.text("data") or ""}
    elif kind == "url":
        given = {"url": source.text("url") or ""}
    elif kind == "file":
        given = {"file_id": source.text("file_id") or ""}
    elif kind == "content":
        given = {"parts": parse_content(source, "content")}
    else:
        rest = {"source": {"type": kind} | source.whole()} | block.whole()
        return Opaque(dialect=DIALECT, kind="document", value={"type": "document"} | rest)
    source.spent()
    return Document(
        **given,
        title=block.text("title"),
        context=block.text("context"),
        cache_control=block.value("cache_control"),
        extra=block.whole(),
    )
