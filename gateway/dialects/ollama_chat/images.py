"""Images as Ollama has them: bare base64, whose kind shows only in its first bytes."""

from __future__ import annotations

from gateway.chat import Image

_BEGINNINGS = (
    ("/9j/", "image/jpeg"),
    ("iVBORw0KGgo", "image/png"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)


def image_of(data: str) -> Image:
    """Return a bare base64 image, or one that a client wrote as a data URL all the same."""
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        return Image(media_type=head[5:].partition(";")[0], data=data)
    kind = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), "image/png")
    return Image(media_type=kind, data=data)


def data_of(image: Image) -> str | None:
    """Return the base64 of an image, None when it is only an address or an id: this dialect cannot fetch."""
    if image.data is not None:
        return image.data
    if image.url is not None and image.url.startswith("data:"):
        return image.url.partition(",")[2]
    return None
