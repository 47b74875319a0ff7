"""Paths: one normalisation, used for routing, for plugins and for what goes upstream."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from gateway.dialects.endpoints import find
from gateway.errors import BadRequest, NotFound

_ODD = re.compile(r"[^!-~]")
_SUSPECT = re.compile(r"//|\\|;|%(?:2e|5c|3b|00|0a|0d|25)|(?:^|/)\.{1,2}(?:/|$)", re.IGNORECASE)
_SEPARATORS = re.compile(r"//|\\|(?:^|/)\.{1,2}(?:/|$)")


def split(target: str, host: str) -> tuple[str, str]:
    """Return path and query of a request target, still percent-encoded.

    Absolute-form (`http://host/path`) must name the same host as the Host header. Raises: BadRequest.
    """
    if not target.startswith("/"):
        if target == "*":
            return "*", ""
        scheme, mark, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if not mark or scheme.lower() not in ("http", "https") or authority.lower() != host.lower():
            raise BadRequest("the request target and the Host header name different servers")
        target = slash + path or "/"
    if _ODD.search(target):
        raise BadRequest("the request target holds characters that must be percent-encoded")
    path, _, query = target.partition("?")
    return path, query.partition("#")[0]


def normalise(path: str) -> str:
    """Return `path` decoded once and without a trailing slash. Raises: NotFound for what could mean two things.

    SECURITY: dot segments, doubled slashes, backslashes, `;` and their encodings are refused rather than resolved:
    servers behind and in front disagree on what they mean.
    """
    if _SUSPECT.search(path):
        raise NotFound(
            "this path is not served: it holds dot segments, doubled slashes or what servers read differently"
        )
    if "%" in path:
        if "%2f" in path.lower() and not path.startswith(("/v1/models/", "/models/")):
            raise NotFound("this path is not served: only a model's id may hold an encoded slash")
        try:
            path = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise NotFound("this path is not served: its percent-encoding is not UTF-8") from None
        if any(not character.isprintable() for character in path):
            raise NotFound("this path is not served: it holds control characters")
        if _SEPARATORS.search(path):
            raise NotFound("this path is not served: decoded, it holds dot segments or doubled slashes")
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


def dialect_of(path: str, *, anthropic: bool) -> str:
    """Return the name of the dialect that errors on `path` are told in; `anthropic`: anthropic-version was sent."""
    endpoint = find(path)
    if endpoint is not None:
        return endpoint.dialect
    if path.startswith("/api/"):
        return "ollama"
    return "anthropic" if anthropic else "openai_chat"


def guess_dialect(head: bytes) -> str:
    """Return the same for a head that could not be parsed, as far as its first bytes tell."""
    parts = head[:8192].split(b"\n", 1)[0].split()
    target = parts[1] if len(parts) > 1 else b""
    path = target.partition(b"?")[0].decode("ascii", "replace")
    if not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return dialect_of(path.rstrip("/"), anthropic=b"\nanthropic-version:" in head.lower())


def upstream_path(matched: str | None, path: str) -> str:
    """Return what a path route appends to its provider's base URL: what `**` matched, else the whole path.

    A base URL that ends in /v1 is the provider's business; the doubled `v1/` is taken out when the request is made.
    """
    tail = path if matched is None else matched
    return "/" + quote(tail.lstrip("/"), safe="/:@!$&'()*+,=~-._")
