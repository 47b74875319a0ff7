"""What the page docs/api.md says of all paths: unknown parameters are 400, and every error has a code."""

from __future__ import annotations

import pytest

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.runtime.clock import SystemClock
from tests.admin.desks import dashboard
from tests.admin.test_doorman import config, door

CONFIG = """
    plugins: [session]
    providers: {echo: {}}
    routes: [{name: all, match: {model: m}, targets: [echo/echo]}]
"""
ASKED = {"/api/explain": "model=m&path=/v1/x&header=a=b&down=echo", "/api/sessions": "principal=a",
         "/api/keys": "q=a&state=active&page=1", "/api/routes": "q=a&page=1"}  # fmt: skip


async def test_no_path_passes_over_a_parameter_that_it_does_not_know() -> None:
    async with dashboard(CONFIG) as board:
        gateway = board.gateway
        desk = Desk(gateway.core, gateway.reloader, gateway.reloader._source, SystemClock(), gateway.url)
        methods = {
            (route.method, route.resource.canonical.replace("{", "").replace("}", ""))
            for route in application(desk).router.routes()
            if route.resource is not None and route.resource.canonical.startswith("/api/") and route.method != "HEAD"
        }
        assert len(methods) > 20
        for method, path in sorted(methods):
            json = {"content-type": "application/json"} if method != "GET" else {}
            async with board.session.request(method, f"{board.url}{path}?principle=a", headers=json) as answer:
                told = (await answer.json())["error"]
            assert (answer.status, told["code"]) == (400, "invalid_request"), (method, path)
            assert '"principle"' in told["message"]


@pytest.mark.parametrize("path", ASKED)
async def test_a_path_takes_the_parameters_that_it_has(path: str) -> None:
    async with dashboard(CONFIG) as board:
        status, _ = await board.ask("GET", f"{path}?{ASKED[path]}")
        assert status == 200


async def test_every_error_has_a_code() -> None:
    found = {}
    json, bearer = {"content-type": "application/json"}, {"authorization": "Bearer a-token-long-enough-for-anybody"}
    async with door(config()) as asked:
        for path, method, headers in (
            ("/api/status", "GET", {}),
            ("/api/status", "GET", {"host": "elsewhere.example"}),
            ("/api/nothing", "GET", bearer),
            ("/api/reload", "PUT", bearer | json),
            ("/api/status", "POST", bearer | json),
            ("/api/reload", "POST", bearer | {"content-type": "text/plain"}),
            *[("/api/status", "GET", {"authorization": "Bearer wrong"})] * 6,
        ):
            status, _, answer = await asked(path, method, headers=headers)
            found[status] = (await answer.json())["error"]["code"]
    assert found == {401: "invalid_api_key", 403: "permission_denied", 404: "not_found", 405: "method_not_allowed",
                     415: "invalid_request", 429: "rate_limit_exceeded"}  # fmt: skip
