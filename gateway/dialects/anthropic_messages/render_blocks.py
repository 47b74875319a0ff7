"""Content blocks, from neutral parts to the wire of a request.

Anthropic gets back its own blocks as they were; of other dialects' parts, what it cannot take is left out with
notice, and what it would refuse by a rule of form (an empty text, an odd id) is mended.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from gateway.chat import Audio, Document, Image, Opaque, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from gateway.dialects.anthropic_messages.blocks import DIALECT, SEARCH_RESULT
from gateway.dialects.anthropic_messages.carrier import ORIGIN
from gateway.dialects.arguments import is_lost, object_of
from gateway.dialects.names import wire_id, wire_name
from gateway.dialects.notice import Dropped, field_name, unvendored
from gateway.errors import BadRequest

IMAGE_TYPES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
Block = dict[str, Any]


class BlockWriter:
    """Writes the blocks of one request, which was written for `dialect`; `signed` says that the target refuses
    thinking without its signature."""

    __slots__ = ("_dialect", "_dropped", "_own", "_signed")

    def __init__(self, dropped: Dropped, dialect: str, *, signed: bool) -> None:
        self._dropped, self._dialect, self._own, self._signed = dropped, dialect, dialect == DIALECT, signed

    def blocks(self, parts: tuple[Part, ...]) -> list[Block]:
        """Return the blocks of a message or a tool result. Raises: BadRequest for an image type nobody takes."""
        return [block for part in parts for block in self._block(part)]

    def _block(self, part: Part) -> list[Block]:
        match part:
            case Text():
                return self._text(part)
            case Refusal():
                return [{"type": "text", "text": part.text}] if part.text.strip() else []
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Reasoning():
                return self._reasoning(part)
            case ToolCall():
                return [self._tool_use(part)]
            case ToolResult():
                return [self.tool_result(part)]
            case Audio():
                self._dropped.add("input_audio")
            case Opaque():
                if part.dialect == DIALECT:
                    return [part.value]
                self._dropped.add(part.kind)
        return []

    def _finish(self, block: Block, part: Text | Image | Document | ToolCall | ToolResult) -> Block:
        """Add what any block may carry."""
        if part.cache_control is not None:
            block["cache_control"] = part.cache_control
        if self._own:
            block |= part.extra
        else:
            self._dropped.add_set(part.extra)
        return block

    def _text(self, part: Text) -> list[Block]:
        # Anthropic refuses a text block of nothing but white space.
        if not self._own and not part.text.strip():
            return []
        block: Block = {"type": "text", "text": part.text}
        if self._own and part.annotations:
            block["citations"] = list(part.annotations)
        return [self._finish(block, part)]

    def _image(self, part: Image) -> list[Block]:
        if part.detail is not None:
            self._dropped.add("detail")
        media_type, data, url = part.media_type, part.data, part.url
        if url is not None and url[:5].lower() == "data:":
            head, _, data = url.partition(",")
            media_type, url = head[5:].partition(";")[0], None
            if not head.lower().endswith(";base64"):
                name = field_name("image", self._dialect)
                raise BadRequest(f"{name}: this data URL holds no base64", param=name)
        if data is not None:
            media_type = "image/jpeg" if media_type == "image/jpg" else media_type
            if not self._own and media_type not in IMAGE_TYPES:
                name = field_name("image", self._dialect)
                problem = f'image type "{media_type[:60]}" is not taken by Anthropic; send JPEG, PNG, GIF or WebP'
                raise BadRequest(f"{name}: {problem}", param=name)
            source: Block = {"type": "base64", "media_type": media_type, "data": data}
        elif url is not None:
            source = {"type": "url", "url": url}
        elif self._takes_file(part.file_id):
            source = {"type": "file", "file_id": part.file_id or ""}
        else:
            self._dropped.add("file_id")
            return []
        return [self._finish({"type": "image", "source": source}, part)]

    def _takes_file(self, file_id: str | None) -> bool:
        """Return whether a file's id is Anthropic's: `file_…`, where OpenAI's begin with `file-`."""
        return self._own or (file_id or "").startswith("file_")

    def _document(self, part: Document) -> list[Block]:
        if part.media_type == SEARCH_RESULT:
            block: Block = {"type": "search_result", "source": part.context or "", "title": part.title or ""}
            block["content"] = self.blocks(part.parts)
            return [self._finish(block, part)]
        source = self._document_source(part)
        if source is None:
            return []
        block = {"type": "document", "source": source}
        if part.title is not None:
            block["title"] = part.title
        if part.context is not None:
            block["context"] = part.context
        return [self._finish(block, part)]

    def _document_source(self, part: Document) -> Block | None:
        if part.text is not None:
            return {"type": "text", "media_type": "text/plain", "data": part.text}
        if part.data is not None:
            if self._own or part.media_type == "application/pdf":
                return {"type": "base64", "media_type": part.media_type, "data": part.data}
            if part.media_type.startswith("text/"):
                try:
                    text = b64decode(part.data).decode()
                except ValueError:
                    raise BadRequest("file_data: not base64 of UTF-8 text", param="file_data") from None
                return {"type": "text", "media_type": "text/plain", "data": text}
            self._dropped.add("file_data")
            return None
        if part.url is not None:
            return {"type": "url", "url": part.url}
        if part.file_id is not None:
            if self._takes_file(part.file_id):
                return {"type": "file", "file_id": part.file_id}
            self._dropped.add("file_id")
            return None
        return {"type": "content", "content": self.blocks(part.parts)}

    def _reasoning(self, part: Reasoning) -> list[Block]:
        # A block without Anthropic's own signature is refused ("invalid signature"): it is left out, with notice.
        if part.origin == ORIGIN and part.redacted and part.encrypted is not None:
            return [{"type": "redacted_thinking", "data": part.encrypted}]
        if part.origin == ORIGIN and part.signature:
            return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
        if self._own and not self._signed and not part.origin:
            return [{"type": "thinking", "thinking": part.text, "signature": ""}]
        self._dropped.add(field_name("thinking", self._dialect))
        return []

    def _tool_use(self, part: ToolCall) -> Block:
        block: Block = {"type": "tool_use", "id": wire_id(part.id), "name": wire_name(part.name)}
        if self._own:
            block["id"], block["name"] = part.id, part.name
        block["input"] = object_of(part)
        if is_lost(part, block["input"]):
            self._dropped.add("arguments")
        if not self._own and part.extra:
            self._dropped.add_set(unvendored(part.extra))
            part = ToolCall(id=part.id, name=part.name, cache_control=part.cache_control)
        return self._finish(block, part)

    def tool_result(self, part: ToolResult) -> Block:
        """Return a result's block; one without content is left so."""
        block: Block = {"type": "tool_result", "tool_use_id": part.call_id if self._own else wire_id(part.call_id)}
        content = self.blocks(part.parts)
        if len(content) == 1 and content[0].keys() == {"type", "text"} and content[0]["type"] == "text":
            block["content"] = content[0]["text"]
        elif content:
            block["content"] = content
        if part.is_error:
            block["is_error"] = True
        return self._finish(block, part)
