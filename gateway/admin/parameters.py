"""Which parameters each path under `/api/…` takes: a misspelt filter must not answer with everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gateway.errors import BadRequest

PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    "/api/keys": frozenset({"page", "q", "state"}),
    "/api/sessions": frozenset({"after", "principal"}),
    "/api/routes": frozenset({"page", "q"}),
    "/api/explain": frozenset({"down", "header", "key", "model", "path"}),
}
"""Every other path takes none, but those that look for themselves."""
OWN: Final = frozenset({"/api/requests", "/api/usage", "/api/usage.csv"})


def check(request: web.Request) -> None:
    """Raises: BadRequest for a parameter that the path does not take."""
    resource = request.match_info.route.resource
    path = "" if resource is None else resource.canonical
    if not request.query or not path.startswith("/api/") or path in OWN:
        return
    known = PARAMETERS.get(path, frozenset()) if request.method in ("GET", "HEAD") else frozenset()
    if unknown := sorted(set(request.query) - known):
        listing = f"there are {', '.join(sorted(known))}" if known else "this takes none"
        raise BadRequest(f'unknown parameter "{unknown[0][:64]}"; {listing}', param=unknown[0][:64])
