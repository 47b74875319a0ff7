"""The one field of a multipart body that routing needs: its model."""

from __future__ import annotations

import re
from email.message import Message

from gateway.errors import BadRequest

_NAME = re.compile(rb'\bname="?([^";\r\n]*)"?', re.IGNORECASE)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a multipart content type. Raises: BadRequest when it has none."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 200:
        raise BadRequest("the multipart body's content-type names no boundary; send one")
    return boundary.encode("latin-1", "replace")


def find_model(body: bytes, content_type: str) -> str:
    """Return the text of the part named `model`, "" when there is none. Raises: BadRequest when there are two."""
    span = _span(body, boundary_of(content_type))
    return "" if span is None else body[span[0] : span[1]].decode("utf-8", "replace").strip()


def with_model(body: bytes, content_type: str, model: str) -> bytes:
    """Return `body` with the part named `model` saying `model`; every other byte stays."""
    span = _span(body, boundary_of(content_type))
    return body if span is None else body[: span[0]] + model.encode() + body[span[1] :]


def _span(body: bytes, boundary: bytes) -> tuple[int, int] | None:
    """Return where the model part's content starts and ends. The delimiter is looked for at line starts only."""
    delimiter = b"\r\n--" + boundary
    start = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    found = None
    while start >= 0:
        head = body.find(b"\r\n", start + 2)
        end = body.find(delimiter, start + 2)
        if head < 0 or end < 0:
            break
        blank = body.find(b"\r\n\r\n", head, end)
        if blank >= 0:
            names = [
                _NAME.search(line)
                for line in body[head:blank].split(b"\r\n")
                if line.lower().startswith(b"content-disposition")
            ]
            if any(match is not None and match[1] == b"model" for match in names):
                if found is not None:
                    raise BadRequest("the multipart body has more than one model; send one", param="model")
                found = (blank + 4, end)
        start = end
    return found
