"""The dashboard's own files: styles, scripts, pictures. Nothing is ever fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

FOLDER: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".LICENSE": "text/plain; charset=utf-8",
}
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served. `version` is of its content."""

    body: bytes
    kind: str
    version: str


@cache
def files() -> Mapping[str, File]:
    """Return every file by its path below the folder: what is not here is not served, however it is asked for."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in _KINDS:
            body = path.read_bytes()
            found[path.relative_to(FOLDER).as_posix()] = File(body, _KINDS[path.suffix], sha256(body).hexdigest()[:16])
    return found


def address(name: str) -> str:
    """Return where a page finds a file: with the version, so that it may be kept for ever. Raises: KeyError."""
    return f"/static/{name}?v={files()[name].version}"


def routes() -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""

    async def show(request: web.Request) -> web.Response:
        file = files().get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound()
        etag = f'"{file.version}"'
        headers = {
            "cache-control": _FOREVER if request.query.get("v") == file.version else "no-cache",
            "etag": etag,
            hdrs.CONTENT_TYPE: file.kind,
        }
        if request.headers.get(hdrs.IF_NONE_MATCH) == etag:
            del headers[hdrs.CONTENT_TYPE]
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, headers=headers)

    return (web.get("/static/{name:.+}", show),)
