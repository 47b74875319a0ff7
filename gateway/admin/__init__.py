"""The admin listener: what operators see of a running gateway and may do to it, as pages and as JSON.

`doorman` says who may come in, `answers` what every answer has, and each module of `ROOMS` has one subject: a page,
and under `/api/…` the same facts.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web

from gateway import __version__
from gateway.admin import files, live, login, overview
from gateway.admin.answers import problem, refusal, refused, sealed
from gateway.admin.desk import TEMPLATES, Desk, Templates
from gateway.admin.doorman import DOORMAN, Doorman
from gateway.admin.status import merged
from gateway.errors import ConfigError, ConfigErrors, GatewayError

ROOMS: tuple[Callable[[Desk], Sequence[web.AbstractRouteDef]], ...] = (overview.routes, live.routes)
"""Pages and paths, a module each: its `routes`."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        why = doorman.refusal(request)
        if why is not None:
            return refused(desk, request, why)
        try:
            return await handler(request)
        except GatewayError as error:
            return refusal(desk, request, error)
        except ConnectionError:
            raise  # the client left
        except web.HTTPException as error:
            response = problem(desk, request, error.status, error.reason)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response
        except Exception as error:  # an answer's end: its fault is told in the log, and of it only that there was one
            place = traceback.extract_tb(error.__traceback__)[-1]
            desk.gateway.log.error(
                "admin_page_failed", path=request.path, error=f"{type(error).__name__}: {error}",
                at=f"{place.filename.rpartition('/')[2]}:{place.lineno}",
            )  # fmt: skip
            return problem(desk, request, 500, "this page failed through a fault of the gateway; the log says which")

    async def close(_: web.Application) -> None:
        desk.closing.set()

    api = Api(desk)
    app = web.Application(middlewares=[guard])
    app[TEMPLATES], app[DOORMAN] = Templates(), doorman
    app.on_response_prepare.append(sealed)
    app.on_shutdown.append(close)
    app.add_routes(
        [
            web.get("/api/status", api.status),
            web.post("/api/validate", api.validate),
            web.post("/api/reload", api.reload),
            *login.routes(desk, doorman),
            *files.routes(),
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
