"""Who may use the admin listener: host, origin, kind of request, and the token."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiohttp import hdrs, web

from gateway.admin.desk import CLIENT, OPERATOR
from gateway.admin.patience import Patience
from gateway.admin.seats import LIFETIME_S, Seats
from gateway.plugin import Clock
from gateway.runtime.gateway import Gateway
from gateway.runtime.peers import Peers
from gateway.secret import Secret

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
READS: Final = frozenset({"GET", "HEAD"})
OPEN: Final = ("/login", "/static/")
"""What is there before the token is shown: the form, and files that every gateway has."""
COOKIE: Final = "llm_gateway_admin"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not come in. `login`: a page shows the form instead."""

    status: int
    message: str
    retry_after_s: float | None = None
    login: bool = False


class Doorman:
    """Decides who may come in.

    Without a token whoever reaches the listener may, which then is on loopback. With one, a browser has a session
    (a cookie, see `Seats`) and a program sends it as Bearer to `/api/…`. Pages of other sites can do nothing either
    way: the Host must be ours (so that a rebound name gains nothing), Origin and Sec-Fetch-Site must be this page's,
    and what changes anything comes as JSON or from htmx, which a foreign page cannot send without being allowed to.
    """

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self.seats, self._patience, self._peers = Seats(clock), Patience(clock), Peers()

    @property
    def token(self) -> Secret | None:
        """The token in force, None where none is asked for."""
        return self._gateway.snapshot.config.admin.token

    def refusal(self, request: web.Request) -> Refusal | None:
        """Return why `request` may not come in, None when it may; notes in it who asks."""
        request[CLIENT] = self.origin(request)[0]
        return self._stranger(request) or self._unknown(request)

    def origin(self, request: web.Request) -> tuple[str, bool]:
        """Return the client's address and whether its side is https."""
        return self._peers.origin(request, self._gateway.snapshot.config.server.trusted_proxies)

    def _stranger(self, request: web.Request) -> Refusal | None:
        """Return why a request of this shape may not come in, whoever sends it."""
        config = self._gateway.snapshot.config.admin
        asked = request.headers.get(hdrs.HOST, "").lower()
        host = host_name(asked)
        if host not in LOCAL_HOSTS and host not in config.hosts and host != host_name(config.listen or ""):
            return Refusal(403, "this host name is not served here; add it to admin.hosts")
        foreign = Refusal(403, "a page of another site may not call this")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            scheme, _, site = origin.lower().partition("://")
            if site != asked or scheme not in ("http", "https") or (self.origin(request)[1] and scheme != "https"):
                return foreign
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _is_visit(request):
            return foreign
        if request.method in READS:
            return None
        if request.method not in ("POST", "DELETE"):
            return Refusal(405, "Method Not Allowed")
        if request.path in ("/login", "/logout"):
            if request.content_type != "application/x-www-form-urlencoded":
                return Refusal(415, "send content-type: application/x-www-form-urlencoded")
        elif request.content_type != "application/json" and request.headers.get("hx-request") != "true":
            return Refusal(415, "send content-type: application/json")
        return None

    def _unknown(self, request: web.Request) -> Refusal | None:
        """Return why whoever sends this may not come in."""
        token = self.token
        if token is None:
            return None
        if (id := request.cookies.get(self.cookie(request))) and (seat := self.seats.find(id, token)):
            request[OPERATOR] = f"session {seat.name}"
            return None
        if request.path == OPEN[0] or request.path.startswith(OPEN[1]):
            return None
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if given and scheme.lower() == "bearer" and is_api(request):
            request[OPERATOR] = "token"
            return self.judge(request, given.strip())
        return Refusal(401, "send the admin token as Authorization: Bearer", login=True)

    def judge(self, request: web.Request, given: str) -> Refusal | None:
        """Return why the token `given` does not open the door, None when it does."""
        who, token = self.origin(request)[0], self.token
        if token is None:
            return None
        if wait_s := self._patience.wait_s(who):
            return Refusal(429, "too many wrong tokens; wait", retry_after_s=wait_s)
        # SECURITY: hashes are compared, in constant time: neither length nor beginning of the token shows.
        if hmac.compare_digest(_hash(given), _hash(token.reveal())):
            self._patience.forgive(who)
            return None
        in_a_row = self._patience.wrong(who)
        self._gateway.log.warning("admin_token_refused", remote=who, in_a_row=in_a_row)
        return Refusal(401, "this is not the admin token", login=True)

    def seat(self, request: web.Request, response: web.Response) -> None:
        """Log in: a session of its own for whoever has shown the token, in place of the one it had."""
        token = self.token
        assert token is not None
        name = self.cookie(request)
        self.seats.end(request.cookies.get(name, ""))
        id, seat = self.seats.begin(token)
        request[OPERATOR] = f"session {seat.name}"
        response.set_cookie(
            name, id, path="/", httponly=True, samesite="Strict", secure=self.origin(request)[1],
            max_age=int(LIFETIME_S),
        )  # fmt: skip

    def unseat(self, request: web.Request, response: web.Response) -> None:
        """Log out."""
        name = self.cookie(request)
        self.seats.end(request.cookies.get(name, ""))
        response.del_cookie(name, path="/", httponly=True, samesite="Strict", secure=self.origin(request)[1])

    def cookie(self, request: web.Request) -> str:
        """Return the name of the cookie: under https one that no other host and no http page can set."""
        return f"__Host-{COOKIE}" if self.origin(request)[1] else COOKIE


DOORMAN: Final = web.AppKey("doorman", Doorman)


def is_api(request: web.Request) -> bool:
    """Whether this is for programs: told in JSON, whatever is accepted."""
    return request.path.startswith("/api/")


def host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_visit(request: web.Request) -> bool:
    """Whether a person follows a link of another site to a page: nothing changes, and no frame shows it."""
    headers = request.headers
    return (
        request.method in READS
        and not is_api(request)
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
