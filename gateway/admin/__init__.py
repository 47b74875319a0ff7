"""The admin listener: what operators may do to a running gateway, as JSON.

`GET /api/status`, `POST /api/validate`, `POST /api/reload`. Loopback needs no token unless one is set; any other
address does. A browser on another site can do nothing here: Host and Origin are checked, and writes need a JSON
content type.
"""

from __future__ import annotations

import asyncio
import hmac
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web

from gateway import __version__
from gateway.admin.desk import TEMPLATES, Desk, Templates, refusal
from gateway.admin.status import merged
from gateway.errors import ConfigError, ConfigErrors, GatewayError
from gateway.plugin import Clock
from gateway.runtime.gateway import Gateway
from gateway.secret import Secret

ROOMS: tuple[Callable[[Desk], Sequence[web.AbstractRouteDef]], ...] = ()
"""Pages and paths, a module each: its `routes`."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
FREE_TRIES = 5
WINDOW_S = 60.0
FORGOTTEN_AFTER_S = 3600.0
MOST_REMEMBERED = 10_000


class Doorman:
    """Decides who may come in: host, origin, token, and patience with wrong tokens.

    Five wrong tokens from an address within a minute close the door to it for a minute; each further wrong one doubles
    that, up to an hour. An hour without a wrong one forgets them all.
    """

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway, self._clock = gateway, clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: how many wrong tokens in a row, and until when they count (below five) or bar (from five on)."""

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return why `request` may not come in, None when it may."""
        config = self._gateway.snapshot.config.admin
        asked = request.headers.get(hdrs.HOST, "")
        host = _host_name(asked)
        if host not in LOCAL_HOSTS and host not in config.hosts and host != _host_name(config.listen or ""):
            return problem(403, "this host name is not served here; add it to admin.hosts")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin.partition("://")[2].lower() != asked.lower():
            return problem(403, "a page of another site may not call this")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return problem(403, "a page of another site may not call this")
        if request.method == "POST" and request.content_type != "application/json":
            return problem(415, "send content-type: application/json")
        return None if not config.token else self._judge(request, config.token)

    def _judge(self, request: web.Request, token: Secret) -> web.Response | None:
        """Return why this caller's token does not open the door, None when it does."""
        who = request.remote or ""
        now = self._clock.monotonic()
        count, until = self._wrong.get(who, (0, 0.0))
        if now >= until + (FORGOTTEN_AFTER_S if count >= FREE_TRIES else 0.0):
            count = 0
        elif count >= FREE_TRIES and now < until:
            return problem(429, "too many wrong tokens; wait", retry_after_s=until - now)
        given = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ").strip()
        # SECURITY: compared as bytes in constant time; a str with other than ASCII would raise.
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.reveal().encode()):
            self._wrong.pop(who, None)
            return None
        count += 1
        waits = WINDOW_S if count <= FREE_TRIES else min(FORGOTTEN_AFTER_S, WINDOW_S * 2.0 ** (count - FREE_TRIES))
        self._wrong[who] = (count, until if 1 < count < FREE_TRIES else now + waits)
        self._wrong.move_to_end(who)
        if len(self._wrong) > MOST_REMEMBERED:
            self._wrong.popitem(last=False)
        self._gateway.log.warning("admin_token_refused", remote=who, in_a_row=count)
        return problem(401, "send the admin token as Authorization: Bearer")


class Api:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._gateway, self._reloader, self._source = desk.gateway, desk.reloader, desk.source

    async def status(self, _: web.Request) -> web.Response:
        """Say which configuration runs and how busy it is."""
        gateway = self._gateway
        snapshot = gateway.snapshot
        return web.json_response(
            {
                "version": __version__,
                "digest": snapshot.config.digest,
                "reloads": self._reloader.reloads,
                "last_reload_failed": gateway.last_reload_failed,
                "routes": [running.route.name for running in snapshot.routes],
                "providers": [
                    {"name": p.name, "dialect": p.dialect, "enabled": p.enabled} for p in snapshot.providers.values()
                ],
                **merged(await gateway.group.gather("status"), await gateway.group.gather("lag")),
            }
        )

    async def validate(self, _: web.Request) -> web.Response:
        """Read the files as they are now and say what is wrong with them; nothing changes."""
        try:
            config, _catalog = await asyncio.to_thread(self._source.read)
        except ConfigError as error:
            return invalid(error)
        return web.json_response({"valid": True, "digest": config.digest, "warnings": list(config.warnings)})

    async def reload(self, request: web.Request) -> web.Response:
        """Reload the configuration; a bad one is a 400 with every error, and changes nothing."""
        self._desk.note(request, "reload")
        try:
            snapshot = await self._reloader.reload("admin")
        except ConfigError as error:
            return invalid(error)
        return web.json_response({"reloaded": True, "digest": snapshot.digest})


def application(desk: Desk) -> web.Application:
    """Return the admin application."""
    doorman = Doorman(desk.gateway, desk.clock)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse | None = doorman.refusal(request)
        if response is None:
            try:
                response = await handler(request)
            except GatewayError as error:
                response = refusal(error)
            except web.HTTPException as error:
                response = problem(error.status, error.reason)
                if hdrs.ALLOW in error.headers:
                    response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        response.headers.update(
            {
                "x-content-type-options": "nosniff",
                "x-frame-options": "DENY",
                "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
                "cache-control": "no-store",
            }
        )
        return response

    async def anonymous(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.popall(hdrs.SERVER, None)  # tells attackers more than operators

    api = Api(desk)
    app = web.Application(middlewares=[guard])
    app[TEMPLATES] = Templates()
    app.on_response_prepare.append(anonymous)
    app.add_routes(
        [
            web.get("/api/status", api.status),
            web.post("/api/validate", api.validate),
            web.post("/api/reload", api.reload),
            *(route for room in ROOMS for route in room(desk)),
        ]
    )
    return app


def invalid(error: ConfigError) -> web.Response:
    """Return a configuration's errors as 400, each with its place."""
    errors = error.errors if isinstance(error, ConfigErrors) else [error]
    return web.json_response(
        {
            "error": {"message": str(errors[0]), "code": "invalid_configuration"},
            "errors": [
                {
                    "message": str(each),
                    "file": each.file,
                    "line": each.line,
                    "column": each.column,
                    "path": each.path,
                    "problem": each.problem,
                    "cure": each.cure,
                }
                for each in errors
            ],
        },
        status=400,
    )


def problem(status: int, message: str, retry_after_s: float | None = None) -> web.Response:
    """Return an error as JSON."""
    headers = {"retry-after": str(math.ceil(retry_after_s))} if retry_after_s is not None else None
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


def _host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
