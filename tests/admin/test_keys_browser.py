"""Keys, sessions and usage in a real Chromium: made, copied, rotated, ended; nothing that was said runs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from playwright.async_api import Browser

from gateway.ledger.ledger import Row
from gateway.runtime.clock import SystemClock
from tests.admin import browser
from tests.admin.opened import Opened, opened

PAYLOADS = (
    "<script>window.ran = 1</script>", "<img src=x onerror=window.ran=1>", "\"'><svg onload=window.ran=1>",
    "{{ 7 * 7 }}", "javascript:window.ran=1", "</script><script>window.ran=1</script>", "' onfocus=window.ran=1 autofocus x='",
)  # fmt: skip
KEYED = """
    ledger: sqlite:var/ledger.db
    plugins: [auth: {anonymous: when_unconfigured}, rate_limit: {limits: [{per: key, requests: 9/min}]}, budget, session]
    providers: {echo: {}}
    routes: [{name: all, targets: [echo/echo]}]
"""


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with browser.started() as running:
        yield running


async def fill(admin: Opened) -> str:
    """Put every payload wherever a caller's words are kept; return a session."""
    now = SystemClock().time()
    for number, text in enumerate(PAYLOADS):
        admin.ledger.record(Row(exchange_id=f"e{number}", request_id=f"r{number}", ts=now - number, principal=text,
                                model_requested=text, target=f"{text}/x", route=text, status=200, outcome="completed",
                                prompt_tokens=10, completion_tokens=5, cost_usd=Decimal("0.25")))  # fmt: skip
    await admin.ledger.flush()
    answer = await admin.gateway.post("/v1/sessions", {"context": {text: text for text in PAYLOADS}})
    id = str(answer.json()["id"])
    for text in PAYLOADS:
        body = {"model": "echo", "session_id": id, "messages": [{"role": "user", "content": text * 100}]}
        assert (await admin.gateway.post("/v1/chat/completions", body)).status == 200
    return id


async def test_a_key_is_made_shown_once_rotated_and_revoked_in_a_browser(chromium: Browser) -> None:
    async with opened(KEYED) as admin, browser.opened(chromium, admin.url, width=1280) as seen:
        page = seen.page
        await seen.go("/keys")
        await page.click("summary:has-text('New key')")
        await page.fill("#name", "team/a")
        await page.fill("#tags", f"team={PAYLOADS[1]}")
        await page.fill("#requests", "60/min")
        await page.click("button:has-text('Make key')")
        key = await page.inner_text("#new-key-value")
        assert re.fullmatch(r"gw-[\w-]{43}", key.strip())
        await page.click("#made a:has-text('Show team/a')")
        await page.wait_for_url("**/keys/team%2Fa")
        assert key.strip() not in await page.content() and "60/min" in await page.inner_text("main")
        await page.select_option("#grace", "15m")
        await page.click("button:has-text('Rotate')")
        await page.click("#ask-yes")
        assert (await page.inner_text("#new-key-value")).strip() != key.strip()
        assert "ends in 15 min" in await page.inner_text("#made")
        await page.click("button:has-text('Revoke')")
        await page.click("#ask button[value=no]")
        assert (await admin.ask("/api/keys/team%2Fa"))[1]["can_revoke"]
        await page.click("button:has-text('Revoke')")
        await page.click("#ask-yes")
        await page.wait_for_selector("#made :text('2 keys of team/a')")
        assert not (await admin.ask("/api/keys/team%2Fa"))[1]["can_revoke"]
        seen.expect("400")
        await seen.go("/keys")
        await page.click("summary:has-text('New key')")
        await page.fill("#name", "b")
        await page.fill("#budget", "plenty")
        await page.click("button:has-text('Make key')")
        await page.wait_for_selector("#toast:has-text('budget')")


async def test_nothing_that_was_said_runs_and_no_page_is_wider_than_its_window(chromium: Browser) -> None:
    async with opened(KEYED) as admin, browser.opened(chromium, admin.url, width=390, theme="dark") as seen:
        id = await fill(admin)

        async def look(path: str) -> None:
            assert await seen.go(path) == 200
            for width in (390, 1280):
                await seen.page.set_viewport_size({"width": width, "height": 900})
                assert await seen.overflow() == [], (path, width)
            assert await seen.page.evaluate("window.ran") is None, path

        for path in ("/keys", "/sessions", "/usage?by=model&measure=tokens", "/usage?by=target&span=24h", "/usage"):
            await look(path)
        links = "all => all.map(each => each.getAttribute('href'))"
        for href in (await seen.page.eval_on_selector_all('table a[href^="/usage?by=day"]', links))[:2]:
            await look(href)
        await look("/keys/%3Cimg%20src%3Dx%20onerror%3Dwindow.ran%3D1%3E")
        await look(f"/sessions/{id}")
        await seen.page.click("details.fold summary >> nth=0")
        await seen.page.click("button:has-text('Delete')")
        await seen.page.click("#ask-yes")
        await seen.page.wait_for_url("**/sessions")
        assert "No session yet" in await seen.page.inner_text("main")
