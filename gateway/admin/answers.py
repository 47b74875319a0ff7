"""What every answer of the admin listener has: its headers, and errors as JSON or as a page."""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from gateway.admin.desk import Desk
from gateway.admin.doorman import Refusal, is_api
from gateway.dialects.errors import words_of
from gateway.errors import GatewayError

PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
BARE_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_ALWAYS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TITLES: Final = {
    401: "Log in first", 403: "Not allowed", 404: "Not found", 405: "Not possible here", 429: "Wait a little",
    503: "Not available now",
}  # fmt: skip


async def sealed(request: web.Request, response: web.StreamResponse) -> None:
    """Put on an answer, just before its head goes out, what no browser may do with it."""
    headers = response.headers
    headers.popall(hdrs.SERVER, None)  # tells attackers more than operators
    headers.update(_ALWAYS)
    is_page = response.content_type == "text/html"
    headers["content-security-policy"] = PAGE_POLICY if is_page else BARE_POLICY
    headers.setdefault("cache-control", "no-store")


async def refused(desk: Desk, request: web.Request, why: Refusal) -> web.Response:
    """Return the answer to what may not come in: a page that wants the token shows the form."""
    if why.login and not is_api(request):
        if request.headers.get("hx-request") == "true":
            return web.Response(status=401, headers={"hx-redirect": "/login"})
        if request.method in ("GET", "HEAD"):
            target = "/login" if request.path_qs == "/" else f"/login?next={quote(request.path_qs, safe='')}"
            return web.Response(status=303, headers={hdrs.LOCATION: target})
    return await problem(desk, request, why.status, why.message, retry_after_s=why.retry_after_s)


async def problem(
    desk: Desk,
    request: web.Request,
    status: int,
    message: str,
    *,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> web.Response:
    """Return an error: a page for a browser that shows one, JSON for everybody else."""
    response = web.json_response({"error": {"message": message, "code": code or words_of(status).code}}, status=status)
    if not is_api(request) and request.method in ("GET", "HEAD", "POST") and _wants_page(request):
        response = await desk.page(request, "error.html", {
            "status": status, "title": _TITLES.get(status, "This did not work"), "message": message, "code": code,
            "request_path": request.path,
        })  # fmt: skip
        response.set_status(status)
    if retry_after_s is not None:
        response.headers["retry-after"] = str(math.ceil(retry_after_s))
    return response


async def refusal(desk: Desk, request: web.Request, error: GatewayError) -> web.Response:
    """Return what a handler refused with."""
    return await problem(desk, request, error.status, error.message, code=error.code, retry_after_s=error.retry_after_s)


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get(hdrs.ACCEPT, "") and request.headers.get("hx-request") != "true"
