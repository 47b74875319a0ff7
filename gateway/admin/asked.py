"""What a request asks for: members of a JSON object, fields of a form, parameters of the query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.errors import BadRequest


async def body_of(request: web.Request, known: frozenset[str]) -> dict[str, Any]:
    """Return what a write was sent with: a JSON object, or a form's fields as text, empty ones left out.

    Raises: BadRequest for a member that is not among `known`.
    """
    if request.content_type == "application/json":
        content = await request.read()
        try:
            given = json.loads(content) if content.strip() else {}
        except (ValueError, RecursionError):
            raise BadRequest("the body must be a JSON object") from None
        if not isinstance(given, dict):
            raise BadRequest("the body must be a JSON object")
    else:
        given = {name: value.strip() for name, value in (await form_of(request)).items() if value.strip()}
    if unknown := sorted(set(given) - known):
        listing = ", ".join(sorted(known))
        raise BadRequest(f'unknown field "{unknown[0][:64]}"; there are {listing}', param=unknown[0][:64])
    return given


async def form_of(request: web.Request) -> dict[str, str]:
    """Return a form's texts, the last of each name. Raises: BadRequest when the body is none."""
    try:
        fields = await request.post()
    except (ValueError, LookupError):  # no UTF-8, a charset that nobody knows, a multipart body without its boundary
        raise BadRequest("the body must be a form in UTF-8") from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def text_of(given: Mapping[str, Any], name: str) -> str | None:
    """Return a text, None when it is absent. Raises: BadRequest."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be text", param=name)
    return value or None


def texts_of(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return several texts: a JSON list, or one text with commas, spaces or lines between; none when it is absent.

    SECURITY: what is given and names nothing is refused, as in gateway.yaml: it would be taken for "all".
    Raises: BadRequest.
    """
    value = given.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise BadRequest(f"{name} must be a list of texts; leave it out for all", param=name)
    return tuple(value)


def number_of(text: str, name: str, least: int = 1, most: int = 1_000_000) -> int:
    """Return a whole number of a query. Raises: BadRequest."""
    if not text.isascii() or not text.isdigit() or not least <= int(text[:12]) <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}", param=name)
    return int(text)
