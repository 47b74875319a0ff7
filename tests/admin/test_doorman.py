"""Who may use the dashboard: the form, the cookie, the token, and pages of other sites."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.admin.login import local
from gateway.admin.patience import Patience
from gateway.testing import ManualClock, RunningGateway, running_gateway
from tests.imports import ROOT

TOKEN = "a-token-long-enough-for-anybody"
PAGE = {"accept": "text/html"}


def config(admin: str = f"{{token: {TOKEN}}}", more: str = "") -> str:
    return f"""
        admin: {admin}
        {more}
        providers: {{echo: {{}}}}
        routes: [{{name: all, match: {{model: m}}, targets: [echo/echo]}}]
    """


class Door:
    """The admin listener, asked without a cookie jar: cookies go only where a test sends them."""

    def __init__(self, gateway: RunningGateway, url: str, clock: ManualClock, session: aiohttp.ClientSession) -> None:
        self.gateway, self.url, self.clock, self.session = gateway, url, clock, session

    async def __call__(
        self, path: str, method: str = "GET", data: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, aiohttp.ClientResponse]:
        async with self.session.request(
            method, URL(self.url + path, encoded=True), data=data, headers=headers, allow_redirects=False
        ) as answer:
            assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
            policy = answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
            assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
            return answer.status, await answer.text(), answer

    async def log_in(self, token: str = TOKEN, wanted: str = "", **headers: str) -> tuple[int, aiohttp.ClientResponse]:
        status, _, answer = await self("/login", "POST", {"token": token, "next": wanted}, headers)
        return status, answer

    async def cookie(self, **headers: str) -> dict[str, str]:
        status, answer = await self.log_in(**headers)
        assert status == 303
        return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


@asynccontextmanager
async def door(text: str = config()) -> AsyncIterator[Door]:
    clock = ManualClock()
    async with running_gateway(text) as gateway:
        desk = Desk(gateway.core, gateway.reloader, gateway.reloader._source, clock, gateway.url)
        runner = web.AppRunner(application(desk), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
                yield Door(gateway, f"http://127.0.0.1:{runner.addresses[0][1]}", clock, session)
        finally:
            await runner.cleanup()


async def test_a_page_leads_to_the_form_and_the_form_back_to_the_page() -> None:
    async with door() as ask:
        status, _, answer = await ask("/requests?model=a%26b", headers=PAGE)
        assert status == 303 and answer.headers["location"] == "/login?next=%2Frequests%3Fmodel%3Da%2526b"
        status, text, answer = await ask(answer.headers["location"], headers=PAGE)
        assert (
            status == 200 and 'value="/requests?model=a%26b"' in text and answer.headers["cache-control"] == "no-store"
        )
        status, answer = await ask.log_in(wanted="/requests?model=a%26b")
        assert status == 303 and answer.headers["location"] == "/requests?model=a%26b"
        assert (await ask("/", headers=PAGE))[2].headers["location"] == "/login"
        assert (await ask("/", "HEAD", headers=PAGE))[0] == 303
        [line] = [each for each in ask.gateway.events("admin_action") if each["action"] == "log in"]
        assert line["by"].startswith("session ") and TOKEN not in str(ask.gateway.log)


async def test_the_cookie_opens_pages_and_api_and_is_a_random_id_that_no_script_reads() -> None:
    async with door() as ask:
        _, answer = await ask.log_in()
        flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= flags and "secure" not in flags
        cookie, again = await ask.cookie(), await ask.cookie()
        assert cookie != again and len(cookie["cookie"].partition("=")[2]) >= 43 and TOKEN not in cookie["cookie"]
        for sent in (cookie, again):
            assert (await ask("/api/status", headers=sent))[0] == 200
            assert (await ask("/usage", headers={**sent, **PAGE}))[0] == 200
        assert (await ask("/api/status", headers={"cookie": cookie["cookie"][:-1]}))[0] == 401
        assert (await ask("/login", headers=cookie))[2].headers["location"] == "/"


async def test_under_https_the_cookie_is_secure_and_of_this_host_alone() -> None:
    async with door(config(more="server: {trusted_proxies: [127.0.0.1]}")) as ask:
        https = {"x-forwarded-proto": "https"}
        _, answer = await ask.log_in(**https)
        set_cookie = answer.headers["set-cookie"]
        assert set_cookie.startswith("__Host-") and "secure" in set_cookie.lower()
        cookie = {"cookie": set_cookie.partition(";")[0]}
        assert (await ask("/api/status", headers={**cookie, **https}))[0] == 200
        plain = {"cookie": cookie["cookie"].removeprefix("__Host-")}  # set by another host of the site, or over http
        assert (await ask("/api/status", headers={**plain, **https}))[0] == 401
        host = {"host": "localhost", "origin": "http://localhost"}
        assert (await ask("/api/status", headers={**cookie, **https, **host}))[0] == 403
    async with door() as ask:  # nobody trusted says that it is https
        assert "secure" not in (await ask.log_in(**https))[1].headers["set-cookie"].lower()


async def test_a_session_ends_with_time_with_the_log_out_and_with_its_token() -> None:
    async with door() as ask:
        cookie = await ask.cookie()
        ask.clock.advance(12 * 3600 - 1)
        assert (await ask("/api/status", headers=cookie))[0] == 200
        ask.clock.advance(1)
        assert (await ask("/api/status", headers=cookie))[0] == 401
        left, kept = await ask.cookie(), await ask.cookie()
        status, _, answer = await ask("/logout", "POST", {}, left)
        assert (
            status == 303
            and answer.headers["location"] == "/login"
            and "max-age=0" in answer.headers["set-cookie"].lower()
        )
        assert (await ask("/api/status", headers=left))[0] == 401
        assert (await ask("/api/status", headers=kept))[0] == 200
        ask.gateway.configure(config("{token: another-token-of-the-operator}"))
        await ask.gateway.reloader.reload("test")
        assert (await ask("/api/status", headers=kept))[0] == 401


async def test_an_id_brought_along_is_never_taken_over_and_a_login_replaces_the_session_before() -> None:
    async with door() as ask:
        brought = {"cookie": "llm_gateway_admin=" + "x" * 43}
        _, answer = await ask.log_in(**brought)
        assert "x" * 43 not in answer.headers["set-cookie"]
        assert (await ask("/api/status", headers=brought))[0] == 401
        first = await ask.cookie()
        second = await ask.cookie(**first)
        assert (await ask("/api/status", headers=first))[0] == 401
        assert (await ask("/api/status", headers=second))[0] == 200


async def test_a_program_sends_the_token_as_bearer_to_the_api_and_nowhere_in_an_address() -> None:
    async with door() as ask:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await ask("/api/status", headers=bearer))[0] == 200
        assert (await ask("/api/status", headers={"authorization": f"bearer {TOKEN}"}))[0] == 200
        assert (await ask("/usage", headers={**bearer, **PAGE}))[0] == 303
        for path in (f"/api/status?token={TOKEN}", f"/api/status?access_token={TOKEN}", f"/login?token={TOKEN}"):
            assert (await ask(path, headers=PAGE))[0] != 303 and "set-cookie" not in (await ask(path))[2].headers
        assert (await ask(f"/login?token={TOKEN}", "POST", {"next": "/"}))[0] == 401
        assert (await ask("/api/status", headers={"authorization": f"Basic {TOKEN}"}))[0] == 401
        assert (await ask("/api/status", headers={"x-api-key": TOKEN}))[0] == 401


async def test_the_form_closes_after_five_wrong_tokens_and_a_session_stays_open() -> None:
    async with door() as ask:
        cookie = await ask.cookie()
        for _ in range(5):
            status, text, _ = await ask("/login", "POST", {"token": "wrong"}, PAGE)
            assert status == 401 and "not the admin token" in text
        status, text, answer = await ask("/login", "POST", {"token": TOKEN}, PAGE)
        assert status == 429 and answer.headers["retry-after"] == "60" and "wait 60 s" in text
        assert (await ask("/api/status", headers={"authorization": f"Bearer {TOKEN}"}))[0] == 429
        assert (await ask("/api/status", headers=cookie))[0] == 200
        assert (await ask("/api/status"))[0] == 401  # nothing was shown: no wrong token
        ask.clock.advance(60)
        assert (await ask.log_in())[0] == 303


async def test_a_proxy_that_is_trusted_says_whose_wrong_tokens_they_are() -> None:
    async with door(config(more="server: {trusted_proxies: [127.0.0.1]}")) as ask:
        for _ in range(6):
            await ask("/login", "POST", {"token": "wrong"}, {"x-forwarded-for": "203.0.113.7"})
        assert (await ask("/login", "POST", {"token": TOKEN}, {"x-forwarded-for": "203.0.113.7"}))[0] == 429
        assert (await ask("/login", "POST", {"token": TOKEN}, {"x-forwarded-for": "203.0.113.8"}))[0] == 303
        assert [line["remote"] for line in ask.gateway.events("admin_action")] == ["203.0.113.8"]


def test_a_network_of_ipv6_is_one_address() -> None:
    patience = Patience(ManualClock())
    for number in range(5):
        patience.wrong(f"2001:db8:1:2::{number:x}")
    assert patience.wait_s("2001:db8:1:2:ffff::1") == 60.0 and patience.wait_s("2001:db8:1:3::1") == 0.0


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "evil", "",
               "/\t/evil.example", "/a\r\nlocation: https://evil.example", "/login", "/logout", "///evil.example",
               "/.\\evil", "/é", "\\\\evil.example", " /requests"],
)  # fmt: skip
def test_after_the_login_nothing_leads_elsewhere(wanted: str) -> None:
    assert local(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/requests?model=m&status=5xx", "/routes/a%2Fb", "/requests?q=https://x"])
def test_after_the_login_a_page_of_this_gateway_is_shown(wanted: str) -> None:
    assert local(wanted) == wanted


async def test_htmx_without_a_session_is_sent_to_the_form_and_a_form_of_a_page_is_refused() -> None:
    async with door() as ask:
        htmx = {"hx-request": "true"}
        status, _, answer = await ask("/targets", "POST", {"target": "echo/echo", "action": "drain"}, htmx)
        assert status == 401 and answer.headers["hx-redirect"] == "/login"
        cookie = await ask.cookie()
        fields = {"target": "echo/echo", "action": "drain"}
        assert (await ask("/targets", "POST", fields, cookie))[0] == 415
        assert (await ask("/targets", "POST", fields, {**cookie, **htmx}))[0] == 200
        assert ask.gateway.core.holds.of("echo/echo") == "drained"


HOSTILE: list[dict[str, str]] = [
    *({"origin": each} for each in ("https://evil.example", "null", "http://127.0.0.1", "http://localhost:1", "file://",
                                    "http://127.0.0.1.evil.example", "chrome-extension://x")),
    *({"sec-fetch-site": each} for each in ("cross-site", "same-site", "cross-site, none", "")),
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    *({"content-type": each} for each in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                                          "text/json", "application/jsonp", "", "text/plain; application/json")),
    {"host": "evil.example"},
]  # fmt: skip


async def test_twenty_posts_of_other_sites_change_nothing() -> None:
    assert len(HOSTILE) == 20
    async with door() as ask:
        cookie, body = await ask.cookie(), '{"target": "echo/echo", "action": "drain"}'
        for hostile in HOSTILE:
            for path in ("/api/targets", "/targets", "/api/reload"):
                status, _, _ = await ask(path, "POST", body, {"content-type": "application/json", **hostile, **cookie})
                assert status in (403, 415), (hostile, path, status)
        assert ask.gateway.core.holds.of("echo/echo") is None and ask.gateway.reloader.reloads == 0


async def test_a_link_of_another_site_may_lead_to_a_page_and_nothing_else() -> None:
    async with door(config("{}")) as ask:
        visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document", **PAGE}
        assert (await ask("/usage", headers=visit))[0] == 200
        assert (await ask("/api/status", headers=visit))[0] == 403
        assert (await ask("/usage", headers={**visit, "sec-fetch-dest": "iframe"}))[0] == 403
        assert (await ask("/usage", headers={**visit, "sec-fetch-mode": "cors"}))[0] == 403


async def test_pages_run_only_their_own_scripts_and_data_is_no_page() -> None:
    async with door(config("{}")) as ask:
        policy = (await ask("/usage", headers=PAGE))[2].headers["content-security-policy"]
        for each in ("default-src 'self'", "script-src 'self'", "base-uri 'none'", "form-action 'self'"):
            assert each in policy
        for path in ("/api/status", "/api/nothing", "/static/app.css"):
            assert (await ask(path))[2].headers["content-security-policy"].startswith("default-src 'none'")


async def test_files_are_kept_for_ever_by_their_content_and_nothing_else_is_served() -> None:
    async with door() as ask:  # before the token: the form needs them
        _, page, _ = await ask("/login", headers=PAGE)
        address = page.partition('href="/static/app.css')[2].partition('"')[0]
        status, _, answer = await ask(f"/static/app.css{address}")
        assert status == 200 and "immutable" in answer.headers["cache-control"] and answer.content_type == "text/css"
        _, _, answer = await ask("/static/app.css?v=old")
        assert answer.headers["cache-control"] == "no-cache"
        assert (await ask("/static/app.css", headers={"if-none-match": answer.headers["etag"]}))[0] == 304
        for path in ("/static/", "/static/../desk.py", "/static/..%2fdesk.py", "/static/%2e%2e/desk.py", "/static/vendor",
                     "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/app.css%00", "/static/..%5cdesk.py"):  # fmt: skip
            assert (await ask(path))[0] in (303, 401, 404), path


async def test_errors_are_pages_for_people_and_json_for_programs() -> None:
    async with door(config("{}")) as ask:
        status, text, answer = await ask("/nothing/<b>", headers=PAGE)
        assert (
            status == 404
            and answer.content_type == "text/html"
            and "<b>" not in text.split("</head>")[1].split("main")[0]
        )
        assert (await ask("/nothing"))[2].content_type == "application/json"
        assert (await ask("/api/nothing", headers=PAGE))[2].content_type == "application/json"
        status, text, answer = await ask("/requests/none-such", headers=PAGE)
        assert status == 404 and answer.content_type == "text/html" and "ledger" in text
        for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
            assert (await ask("/api/status", method))[0] == 405
        assert (await ask("/usage", "HEAD", headers=PAGE))[0] == 200


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [("/login", FORM, b"token=\xff"), ("/login", FORM + "; charset=none", b"token=x"), ("/api/keys", "multipart/form-data", b"x"),
     ("/targets", "multipart/form-data; boundary=b", b"x"), ("/api/targets", "application/json", b"\xff\xfe"),
     ("/api/reload", "application/json", b'{"dry_run": true}'), ("/api/validate", "application/json", b"[1]")],
)  # fmt: skip
async def test_a_body_that_is_none_is_400_and_does_nothing(path: str, kind: str, body: bytes) -> None:
    async with door(config("{}")) if path != "/login" else door() as ask:
        status, _, _ = await ask(path, "POST", body, {"content-type": kind, "hx-request": "true"})
        assert status == 400 and not ask.gateway.events("admin_page_failed") and not ask.gateway.events("admin_action")


@pytest.mark.parametrize("how", ["file", "flag", "environment"])
async def test_beyond_this_machine_a_token_is_required_at_the_start(how: str, tmp_path: Any) -> None:
    listen = "admin: {listen: 0.0.0.0:0}" if how == "file" else ""
    (tmp_path / "gateway.yaml").write_text(
        f"version: 1\n{listen}\nproviders: {{echo: {{}}}}\nroutes: [{{name: all, targets: [echo/echo]}}]\n"
    )
    arguments = ["--admin", "0.0.0.0:0"] if how == "flag" else []
    environ = {"GATEWAY_ADMIN_LISTEN": "0.0.0.0:0"} if how == "environment" else {}
    refused = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", str(tmp_path), "--listen", "127.0.0.1:0", *arguments,
        cwd=ROOT, env={**os.environ, **environ}, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await asyncio.wait_for(refused.communicate(), 20)
    assert refused.returncode == 2 and b"without a token" in told
