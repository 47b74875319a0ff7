"""The content of Responses items: strings and part lists, read and written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.chat import Audio, Document, Image, Opaque, Part, Refusal, Text
from gateway.dialects.notice import lost_names
from gateway.dialects.openai_chat.content import media_type_of, split_data_url
from gateway.dialects.openai_chat.fields import Fields, wrong

NAME = "openai_responses"


def parse_content(value: object, at: str, unread: list[str]) -> tuple[Part, ...]:
    """Return the parts of an item's `content` or `output`. Raises: BadRequest."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (Text(text=value),)
    if not isinstance(value, list):
        raise wrong(at, "a string or a list of parts")
    return tuple(_part(item, f"{at}.{number}", unread) for number, item in enumerate(value))


def _part(value: object, at: str, unread: list[str]) -> Part:
    fields = Fields(value, at, unread)
    kind = fields.any("type")
    match kind:
        case "input_text" | "output_text" | "text":
            notes = fields.items("annotations")
            fields.any("logprobs")
            return Text(text=fields.needed("text"), annotations=tuple(notes), extra=fields.rest)
        case "refusal":
            refusal = Refusal(text=fields.needed("refusal"))
            fields.spent()
            return refusal
        case "input_image":
            url, file_id, detail = fields.text("image_url"), fields.text("file_id"), fields.text("detail")
            media_type, data = split_data_url(url or "")
            if url is None and file_id is None:
                raise wrong(f"{at}.image_url", "a string")
            return Image(
                media_type=media_type,
                data=data,
                url=url if data is None else None,
                file_id=file_id,
                detail=detail,
                extra=fields.rest,
            )
        case "input_file":
            return _file(fields)
        case "input_audio":
            audio = fields.object("input_audio")
            if audio is None:
                raise wrong(f"{at}.input_audio", "an object")
            part = Audio(format=audio.needed("format"), data=audio.needed("data"))
            audio.spent()
            fields.spent()
            return part
        case _ if isinstance(kind, str):
            return Opaque(dialect=NAME, kind=kind, value=value)
    raise wrong(f"{at}.type", "a string")


def _file(fields: Fields) -> Document:
    given, title = fields.text("file_data"), fields.text("filename")
    media_type, data = split_data_url(given or "")
    return Document(
        media_type=media_type or (media_type_of(title) if given else ""),
        data=data if data is not None else given,
        url=fields.text("file_url"),
        file_id=fields.text("file_id"),
        title=title,
        extra=fields.rest,
    )


class ContentRenderer:
    """Writes parts for one request and notes what was left out. `own` says the request was this dialect's."""

    __slots__ = ("_own", "dropped")

    def __init__(self, own: bool, dropped: list[str]) -> None:
        self._own = own
        self.dropped = dropped

    def render(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        """Return the parts of an input message or of a tool's output."""
        return [item for part in parts for item in self._part(part)]

    def _part(self, part: Part) -> list[dict[str, Any]]:
        match part:
            case Text():
                return [self._with_extra({"type": "input_text", "text": part.text}, part.extra, part.cache_control)]
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                return [{"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}]
            case Refusal():
                return [{"type": "input_text", "text": part.text}]
            case Opaque():
                if part.dialect == NAME and isinstance(part.value, dict):
                    return [part.value]
                self.dropped.append(part.kind)
        return []

    def _image(self, part: Image) -> list[dict[str, Any]]:
        image: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
        if part.data is not None:
            image["image_url"] = f"data:{part.media_type};base64,{part.data}"
        elif part.url is not None:
            image["image_url"] = part.url
        elif self._own:
            image["file_id"] = part.file_id
        else:
            self.dropped.append("file_id")
            return []
        return [self._with_extra(image, part.extra, part.cache_control)]

    def _document(self, part: Document) -> list[dict[str, Any]]:
        heading = [
            {"type": "input_text", "text": word} for word in (part.title, part.context) if word and not self._own
        ]
        if part.text is not None:
            return [
                *heading,
                self._with_extra({"type": "input_text", "text": part.text}, part.extra, part.cache_control),
            ]
        if part.parts:
            self._with_extra({}, part.extra, part.cache_control)
            return [*heading, *(item for inner in part.parts for item in self._part(inner))]
        file: dict[str, Any] = {"type": "input_file"}
        if part.data is not None:
            file["filename"] = part.title or "document.pdf"
            file["file_data"] = f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
        elif part.url is not None:
            file["file_url"] = part.url
        elif part.file_id is not None and self._own:
            file["file_id"] = part.file_id
        else:
            self.dropped.append("file_id")
            return []
        if part.title is not None:
            file["filename"] = part.title
        context = heading[1:] if part.title else heading
        return [*context, self._with_extra(file, part.extra, part.cache_control)]

    def _with_extra(self, item: dict[str, Any], extra: dict[str, Any], cache_control: Any) -> dict[str, Any]:
        if cache_control is not None:
            self.dropped.append("cache_control")
        if self._own:
            item.update(extra)
        else:
            self.dropped.extend(lost_names(extra))
        return item


def responses_annotations(annotations: Iterable[Any], start: int, end: int) -> list[dict[str, Any]]:
    """Return citations in Responses' flat form; those without an address or a file have no place there."""
    out = []
    for note in annotations:
        if not isinstance(note, dict):
            continue
        inner = note.get("url_citation")
        fields = inner if isinstance(inner, dict) else note
        if note.get("type") in ("file_citation", "container_file_citation", "file_path"):
            out.append(note)
        elif isinstance(fields.get("url"), str):
            first, last = fields.get("start_index"), fields.get("end_index")
            out.append(
                {
                    "type": "url_citation",
                    "url": fields["url"],
                    "title": fields.get("title") or fields["url"],
                    "start_index": first if isinstance(first, int) else start,
                    "end_index": last if isinstance(last, int) else end,
                }
            )
    return out
