"""Every page answers whatever the gateway has or lacks, says in words what is missing, and tells of a failed reload."""

from __future__ import annotations

import re

import aiohttp
import pytest

from gateway.errors import ConfigError
from gateway.testing import running_gateway
from tests.admin.demo import dashboard

PAGES = ("/", "/requests", "/usage", "/routes", "/explain", "/keys", "/sessions", "/playground", "/configuration")
BARE = """
ledger: none
plugins: []
providers: {echo: {}}
routes: [{name: all, targets: [echo/echo]}]
"""
EMPTY = """
state: "memory:"
ledger: sqlite:var/ledger.db
plugins: [auth: {anonymous: when_unconfigured}, session, rate_limit: {limits: [{per: key, requests: 60/min}]}, budget: {limits: [{per: key, cost: $1/day}]}]
providers: {echo: {}}
routes: [{name: all, targets: [echo/echo]}]
"""
MANY = """
ledger: none
plugins: []
providers: {echo: {}}
routes:
""" + "\n".join(
    f"  - {{name: route-{number}, match: {{model: m{number}}}, targets: [echo/echo]}}" for number in range(1000)
)
# Words that tell an operator what to do, on the page where something is missing.
MISSING = {"/requests": "set `ledger:`", "/usage": "ledger", "/keys": "auth", "/sessions": "session"}


async def page(url: str, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url + path, headers={"accept": "text/html"}) as answer:
        assert answer.content_type == "text/html", path
        return answer.status, await answer.text()


def words(text: str) -> str:
    main = text.partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", main).replace("&#39;", "'").split())


@pytest.mark.parametrize("config", [BARE, EMPTY, MANY], ids=["bare", "empty", "many"])
async def test_every_page_answers(config: str) -> None:
    async with running_gateway(config) as gateway, dashboard(gateway) as url:
        for path in PAGES:
            status, text = await page(url, path)
            assert status == 200 and "</html>" in text, path
        assert not gateway.events("admin_page_failed")


async def test_a_page_says_what_it_lacks() -> None:
    async with running_gateway(BARE) as gateway, dashboard(gateway) as url:
        for path, said in MISSING.items():
            assert said in words((await page(url, path))[1]), path


async def test_a_failed_reload_is_told_on_every_page_until_one_succeeds() -> None:
    async with running_gateway(BARE) as gateway, dashboard(gateway) as url:
        gateway.configure(BARE.replace("echo/echo", "ecko/echo"))
        with pytest.raises(ConfigError):
            await gateway.reloader.reload("file changed")
        for path in PAGES:
            text = (await page(url, path))[1]
            banner = text.partition('<div class="banner error" role="alert">')[2].partition("<main")[0]
            assert "gateway.yaml:6:" in banner and "ecko" in banner and 'href="/configuration"' in banner, path
        gateway.configure(BARE)
        await gateway.reloader.reload("file changed")
        assert 'class="banner error"' not in (await page(url, "/"))[1]


async def test_what_is_not_there_is_a_page_too() -> None:
    async with running_gateway(EMPTY) as gateway, dashboard(gateway) as url:
        for path in ("/nothing", "/requests/no-such-request", "/routes/no-such-route"):
            status, text = await page(url, path)
            assert status == 404 and "<h1>" in text and 'href="/"' in text, path


async def test_a_request_has_its_row_its_waterfall_and_its_price() -> None:
    async with running_gateway(EMPTY) as gateway, dashboard(gateway) as url:
        answer = await gateway.post(
            "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        )
        await gateway.settled()
        assert gateway.core.snapshot.ledger is not None
        await gateway.core.snapshot.ledger.flush()
        id = answer.headers["x-request-id"]
        assert id in words((await page(url, "/requests"))[1])
        status, text = await page(url, f"/requests/{id}")
        said = words(text)
        assert answer.status == 200, answer.body
        assert status == 200 and 'class="bar attempt"' in text, said
        assert "$0.00" in said
        for wanted in ("200", "completed", "echo/echo", "attempt 1", "curl -sS", "$API_KEY"):
            assert wanted in said, wanted
