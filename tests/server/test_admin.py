"""Who may use the admin listener, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.testing import ManualClock, RunningGateway, ScriptedUpstream, running_gateway

TOKEN = "a-token-long-enough-for-anybody"


def config(url: str, admin: str, targets: str = "up/*") -> str:
    return f"""
        admin: {admin}
        providers: {{up: {{dialect: openai, base_url: "{url}/v1", api_key: secret-of-the-provider}}}}
        routes: [{{name: all, match: {{model: m}}, targets: ["{targets}"]}}]
    """


class Admin:
    def __init__(self, gateway: RunningGateway, url: str, clock: ManualClock, session: aiohttp.ClientSession) -> None:
        self.gateway, self.url, self.clock, self._session = gateway, url, clock, session

    async def __call__(
        self, path: str, method: str = "GET", token: str | None = None, **headers: str
    ) -> tuple[int, Any, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        body = {} if method == "POST" and "content_type" not in headers else None
        async with self._session.request(method, self.url + path, json=body, headers=sent) as answer:
            assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
            return answer.status, await answer.json(), answer.headers


@asynccontextmanager
async def admin(url: str, text: str = "{}") -> AsyncIterator[Admin]:
    clock = ManualClock()
    async with running_gateway(config(url, text)) as gateway:
        app = application(Desk(gateway.core, gateway.reloader, gateway.reloader._source, clock, "http://127.0.0.1:1"))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession() as session:
                yield Admin(gateway, f"http://127.0.0.1:{port}", clock, session)
        finally:
            await runner.cleanup()


async def test_status_says_what_runs(upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url) as ask:
        status, body, headers = await ask("/api/status")
        assert status == 200 and headers["cache-control"] == "no-store"
        assert body["digest"] == ask.gateway.core.snapshot.digest and body["routes"] == ["all"]
        assert body["phase"] == "serving" and body["last_reload_failed"] is False
        assert set(body["loop_lag_ms"]) == {"p50", "p99", "max"}
        assert "secret-of-the-provider" not in str(body)


async def test_reload_takes_the_file_and_a_bad_one_is_400_with_every_place(upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url) as ask:
        before = ask.gateway.core.snapshot.digest
        ask.gateway.configure(config(upstream.url, "{}") + "\n        # changed\n")
        status, body, _ = await ask("/api/reload", "POST")
        assert status == 200 and body["digest"] != before == body.get("digest_before", before)
        after = body["digest"]
        ask.gateway.configure(config(upstream.url, "{}", "nobody/*"))
        for path in ("/api/validate", "/api/reload"):
            status, body, _ = await ask(path, "POST")
            assert status == 400
            (error,) = body["errors"]
            assert (error["file"], error["line"]) == ("gateway.yaml", 5) and error["column"] > 1
            assert "nobody" in error["problem"] and error["path"] == "routes[0].targets[0]"
            assert body["error"]["message"].startswith("gateway.yaml:5:")
            assert "secret-of-the-provider" not in str(body)
        assert ask.gateway.core.snapshot.digest == after


async def test_validate_changes_nothing(upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url) as ask:
        before = ask.gateway.core.snapshot.digest
        ask.gateway.configure(config(upstream.url, "{}") + "\n        # changed\n")
        status, body, _ = await ask("/api/validate", "POST")
        assert status == 200 and body["valid"] is True and body["digest"] != before
        assert ask.gateway.core.snapshot.digest == before


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil", "", "[::2]", "127.0.0.1@evil"])  # fmt: skip
async def test_a_host_that_is_not_ours_is_refused_so_that_rebinding_gains_nothing(
    host: str, upstream: ScriptedUpstream
) -> None:
    async with admin(upstream.url, "{hosts: [admin.example]}") as ask:
        assert (await ask("/api/status", host=host))[0] == 403
        assert (await ask("/api/status", host="admin.example"))[0] == 200
        assert (await ask("/api/status", host="LOCALHOST:1"))[0] == 200
        assert (await ask("/api/status", host="[::1]:8081"))[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "https://127.0.0.1:1", "file://"])
async def test_a_page_of_another_site_can_do_nothing(origin: str, upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url) as ask:
        assert (await ask("/api/reload", "POST", origin=origin))[0] == 403
        assert (await ask("/api/status", sec_fetch_site="cross-site"))[0] == 403
        assert (await ask("/api/status", origin=ask.url))[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_only_json_may_change_anything(kind: str, upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url) as ask:
        assert (await ask("/api/reload", "POST", content_type=kind))[0] == 415
        assert ask.gateway.reloader.reloads == 0


async def test_a_token_when_set_is_asked_for_on_loopback_too(upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url, f"{{token: {TOKEN}}}") as ask:
        assert (await ask("/api/status"))[0] == 401
        assert (await ask("/api/status", token="wrong"))[0] == 401
        assert (await ask("/api/nothing"))[0] == 401
        assert (await ask("/api/status", token=TOKEN))[0] == 200
        assert TOKEN not in str(ask.gateway.log)


async def test_wrong_tokens_close_the_door_ever_longer_and_the_right_one_opens_it(upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url, f"{{token: {TOKEN}}}") as ask:
        for _ in range(4):
            assert (await ask("/api/status", token="wrong"))[0] == 401
        ask.clock.advance(61)  # a minute later they are forgotten
        for _ in range(5):
            assert (await ask("/api/status", token="wrong"))[0] == 401
        for wait in (60, 120, 240):
            status, _, headers = await ask("/api/status", token=TOKEN)
            assert status == 429 and int(headers["retry-after"]) == wait
            ask.clock.advance(wait)
            assert (await ask("/api/status", token="wrong"))[0] == 401
        ask.clock.advance(480)
        assert (await ask("/api/status", token=TOKEN))[0] == 200
        assert (await ask("/api/status", token="wrong"))[0] == 401
        assert (await ask("/api/status", token=TOKEN))[0] == 200


async def test_unknown_paths_and_methods_are_json(upstream: ScriptedUpstream) -> None:
    async with admin(upstream.url) as ask:
        assert (await ask("/api/nothing"))[0] == 404
        status, body, headers = await ask("/api/reload")
        assert status == 405 and headers["allow"] == "POST" and body["error"]["message"]
