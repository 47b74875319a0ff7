"""The content of chat messages: strings and part lists, read and written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.chat import Audio, Document, Image, Opaque, Part, Refusal, Text
from gateway.dialects.notice import lost_names
from gateway.dialects.openai_chat.fields import Fields, wrong

NAME = "openai_chat"


def parse_content(value: object, at: str, unread: list[str]) -> tuple[Part, ...]:
    """Return the parts of a message's `content`; an empty string and null are no part. Raises: BadRequest."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (Text(text=value),)
    if not isinstance(value, list):
        raise wrong(at, "a string or a list of parts")
    return tuple(_part(item, f"{at}.{number}", unread) for number, item in enumerate(value))


def _part(value: object, at: str, unread: list[str]) -> Part:
    if isinstance(value, str):
        return Text(text=value)
    fields = Fields(value, at, unread)
    kind = fields.any("type")
    cache_control = fields.rest.get("cache_control")
    match kind:
        case "text":
            fields.any("cache_control")
            return Text(text=fields.needed("text"), cache_control=cache_control, extra=fields.rest)
        case "image_url":
            fields.any("cache_control")
            return _image(fields, cache_control)
        case "input_audio":
            audio = fields.object("input_audio")
            if audio is None:
                raise wrong(f"{at}.input_audio", "an object")
            part = Audio(format=audio.needed("format"), data=audio.needed("data"))
            audio.spent()
            fields.spent()
            return part
        case "file":
            fields.any("cache_control")
            return _file(fields, cache_control)
        case "refusal":
            refusal = Refusal(text=fields.needed("refusal"))
            fields.spent()
            return refusal
        case _ if isinstance(kind, str):
            return Opaque(dialect=NAME, kind=kind, value=value)
    raise wrong(f"{at}.type", "a string")


def _image(fields: Fields, cache_control: Any) -> Image:
    given = fields.any("image_url")
    inner = Fields({"url": given} if isinstance(given, str) else given, f"{fields.at}.image_url")
    url, detail = inner.needed("url"), inner.text("detail")
    extra = {**inner.rest, **fields.rest}
    media_type, data = split_data_url(url)
    if data is not None:
        return Image(media_type=media_type, data=data, detail=detail, cache_control=cache_control, extra=extra)
    return Image(url=url, detail=detail, cache_control=cache_control, extra=extra)


def _file(fields: Fields, cache_control: Any) -> Document:
    inner = fields.object("file")
    if inner is None:
        raise wrong(f"{fields.at}.file", "an object")
    given, file_id, title = inner.text("file_data"), inner.text("file_id"), inner.text("filename")
    media_type, data = split_data_url(given or "")
    return Document(
        media_type=media_type or (media_type_of(title) if given else ""),
        data=data if data is not None else given,
        file_id=file_id,
        title=title,
        cache_control=cache_control,
        extra={**inner.rest, **fields.rest},
    )


def split_data_url(url: str) -> tuple[str, str | None]:
    """Return media type and base64 data of a `data:` URL, parameters left out; data is None for anything else."""
    if url[:5].lower() != "data:":
        return "", None
    head, comma, data = url.partition(",")
    media_type, *parameters = head[5:].split(";")
    if not comma or "base64" not in (parameter.strip().lower() for parameter in parameters):
        return "", None
    return media_type.strip().lower() or "text/plain", data


def media_type_of(filename: str | None) -> str:
    """Return the media type a file name implies; OpenAI takes nearly only PDF, thus also the guess without a name."""
    name = (filename or "").lower()
    return next((kind for end, kind in _ENDINGS.items() if name.endswith(end)), "application/pdf")


_ENDINGS = {
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
}


class ContentRenderer:
    """Writes parts for one request and notes what was left out. `dialect` is the request's own."""

    __slots__ = ("_keep_cache", "_own", "_url_name", "dropped")

    def __init__(self, dialect: str, keep_cache: bool, dropped: list[str]) -> None:
        self._own = dialect == NAME
        self._url_name = "file_url" if dialect == "openai_responses" else "document"
        self._keep_cache = keep_cache
        self.dropped = dropped

    def render(self, parts: Iterable[Part]) -> str | list[dict[str, Any]]:
        """Return content: a string for one plain text, "" for nothing, else a list."""
        parts = tuple(parts)
        if len(parts) == 1 and type(part := parts[0]) is Text and not part.extra and part.cache_control is None:
            return part.text  # what nearly every message is
        out = [item for part in parts for item in self._part(part)]
        if not out:
            return ""
        if len(out) == 1 and out[0].keys() == {"type", "text"}:
            return str(out[0]["text"])
        return out

    def _part(self, part: Part) -> list[dict[str, Any]]:
        match part:
            case Text():
                return [self._with_extra({"type": "text", "text": part.text}, part.extra, part.cache_control)]
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                return [{"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}]
            case Refusal():
                return (
                    [{"type": "refusal", "refusal": part.text}] if self._own else [{"type": "text", "text": part.text}]
                )
            case Opaque():
                if part.dialect == NAME and isinstance(part.value, dict):
                    return [part.value]
                self.dropped.append(part.kind)
        return []

    def _image(self, part: Image) -> list[dict[str, Any]]:
        if part.data is not None:
            url = f"data:{part.media_type};base64,{part.data}"
        elif part.url is not None:
            url = part.url
        else:
            self.dropped.append("file_id")
            return []
        image = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
        return [self._with_extra({"type": "image_url", "image_url": image}, part.extra, part.cache_control)]

    def _document(self, part: Document) -> list[dict[str, Any]]:
        heading = [{"type": "text", "text": f"{word}"} for word in (part.title, part.context) if word and not self._own]
        if part.text is not None:
            return [*heading, self._with_extra({"type": "text", "text": part.text}, part.extra, part.cache_control)]
        if part.parts:
            self._with_extra({}, part.extra, part.cache_control)
            return [*heading, *(item for inner in part.parts for item in self._part(inner))]
        file: dict[str, Any] = {}
        if part.data is not None:
            if not self._own:
                file["filename"] = part.title or "document.pdf"
            file["file_data"] = f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
        elif part.file_id is not None and self._own:
            file["file_id"] = part.file_id
        else:  # chat has no part for a file by URL, and another vendor's file ids mean nothing here
            self.dropped.append("file_id" if part.file_id is not None else self._url_name)
            return []
        if self._own and part.title is not None:
            file["filename"] = part.title
        context = heading[1:] if part.title else heading
        return [*context, self._with_extra({"type": "file", "file": file}, part.extra, part.cache_control)]

    def _with_extra(self, item: dict[str, Any], extra: dict[str, Any], cache_control: Any) -> dict[str, Any]:
        if cache_control is not None:
            if self._keep_cache:
                item["cache_control"] = cache_control
            else:
                self.dropped.append("cache_control")
        if self._own:
            item.update(extra)
        else:
            self.dropped.extend(lost_names(extra))
        return item
