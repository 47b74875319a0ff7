"""The admin listener: what operators see of a running gateway and may do to it, as pages and as JSON.

`doorman` says who may come in, `answers` what every answer has, and each module of `ROOMS` has one subject: a page,
and under `/api/…` the same facts.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web

from gateway.admin import (
    configuration,
    explain,
    files,
    keys,
    live,
    login,
    one_request,
    overview,
    playground,
    requests,
    routes,
    sessions,
    status,
    targets,
    usage,
)
from gateway.admin.answers import problem, refusal, refused, sealed
from gateway.admin.desk import TEMPLATES, Desk, Templates
from gateway.admin.doorman import DOORMAN, Doorman
from gateway.admin.parameters import check
from gateway.errors import GatewayError

ROOMS: tuple[Callable[[Desk], Sequence[web.AbstractRouteDef]], ...] = (
    overview.routes,
    live.routes,
    requests.routes,
    one_request.routes,
    targets.routes,
    status.routes,
    configuration.routes,
    keys.routes,
    sessions.routes,
    usage.routes,
    routes.routes,
    explain.routes,
    playground.routes,
)
"""Pages and paths, a module each: its `routes`."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(desk: Desk) -> web.Application:
    """Return the admin application."""
    doorman = Doorman(desk.gateway, desk.clock)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        why = doorman.refusal(request)
        if why is not None:
            return await refused(desk, request, why)
        try:
            check(request)
            return await handler(request)
        except GatewayError as error:
            return await refusal(desk, request, error)
        except ConnectionError:
            raise  # the client left
        except web.HTTPException as error:
            response = await problem(desk, request, error.status, error.reason)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response
        except Exception as error:  # an answer's end: its fault is told in the log, and of it only that there was one
            place = traceback.extract_tb(error.__traceback__)[-1]
            desk.gateway.log.error(
                "admin_page_failed", path=request.path, error=f"{type(error).__name__}: {error}",
                at=f"{place.filename.rpartition('/')[2]}:{place.lineno}",
            )  # fmt: skip
            return await problem(
                desk, request, 500, "this page failed through a fault of the gateway; the log says which"
            )

    async def close(_: web.Application) -> None:
        desk.closing.set()

    app = web.Application(middlewares=[guard])
    app[TEMPLATES], app[DOORMAN] = Templates(), doorman
    app.on_response_prepare.append(sealed)
    app.on_shutdown.append(close)
    app.add_routes(
        [
            *login.routes(desk, doorman),
            *files.routes(),
            *(route for room in ROOMS for route in room(desk)),
        ]
    )
    return app
