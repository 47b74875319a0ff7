"""Logging in and out: the form that asks for the token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from gateway.admin.asked import form_of
from gateway.admin.desk import OPERATOR, Desk
from gateway.admin.doorman import Doorman


def routes(desk: Desk, doorman: Doorman) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""

    async def show(request: web.Request) -> web.Response:
        wanted = local(request.query.get("next", ""))
        if doorman.token is None or OPERATOR in request:
            return to(wanted)
        return await _form(desk, request, wanted)

    async def enter(request: web.Request) -> web.Response:
        given = await form_of(request)
        wanted = local(given.get("next", ""))
        if doorman.token is None:
            return to(wanted)
        # SECURITY: the form's body alone, never the address, which logs and histories keep.
        why = doorman.judge(request, given.get("token", "").strip())
        if why is not None:
            return await _form(desk, request, wanted, why.message, why.retry_after_s, why.status)
        response = to(wanted)
        doorman.seat(request, response)
        desk.note(request, "log in")
        return response

    async def leave(request: web.Request) -> web.Response:
        response = to("/login" if doorman.token is not None else "/")
        doorman.unseat(request, response)
        desk.note(request, "log out")
        return response

    return (web.get("/login", show), web.post("/login", enter), web.post("/logout", leave))


def local(wanted: str) -> str:
    """Return where to go after the login: `wanted` where that is a page here, else the overview."""
    # SECURITY: `//host`, `/\\host` and what browsers drop (tabs, line ends) lead elsewhere.
    if (
        wanted[:1] != "/"
        or wanted[1:2] == "/"
        or not wanted.isascii()
        or any(each <= " " or each in "\\\x7f" for each in wanted)
    ):
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or parts.path in ("/login", "/logout"):
        return "/"
    return wanted


def to(path: str) -> web.Response:
    """Return an answer that leads to a page here."""
    return web.Response(status=303, headers={hdrs.LOCATION: path})


async def _form(
    desk: Desk,
    request: web.Request,
    wanted: str,
    problem: str | None = None,
    wait_s: float | None = None,
    status: int = 200,
) -> web.Response:
    whole_s = None if wait_s is None else math.ceil(wait_s)
    if whole_s is not None:
        problem = f"too many wrong tokens; wait {whole_s} s"
    response = await desk.page(request, "login.html", {"next": wanted, "problem": problem, "wait_s": whole_s})
    response.set_status(status)
    if whole_s is not None:
        response.headers["retry-after"] = str(whole_s)
    return response
