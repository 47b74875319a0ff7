"""Configuration, routes and playground in a real Chromium: buttons work, answers stream side by side, nothing runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.testing import Gate, ScriptedUpstream, reply_sse
from tests.admin.browser import opened, started
from tests.admin.desks import dashboard
from tests.admin.test_playground import config, said

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAYLOAD = "<img src=x onerror=alert(1)>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with started() as browser:
        yield browser


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
async def test_two_targets_answer_side_by_side_and_one_can_be_stopped(
    chromium: Browser, width: int, theme: str
) -> None:
    gate = Gate()
    waits, answers = ScriptedUpstream([gate, *reply_sse(said("late"))]), ScriptedUpstream(reply_sse(said(PAYLOAD)))
    async with waits as one, answers as two, dashboard(config(one.url, two.url)) as desk:
        async with opened(chromium, desk.url, width=width, theme=theme) as seen:  # type: ignore[arg-type]
            await seen.go("/playground?model=m&target=one/a&model2=m&target2=two/b")
            left, right = (seen.page.locator("[data-side]").nth(at) for at in (0, 1))
            await seen.page.wait_for_function(
                "[...document.querySelectorAll('[data-field=target]')].every((each) => each.value)"
            )
            await seen.page.fill("#user", "hello")
            await seen.page.click("#run")
            await right.locator("[data-part=state]", has_text="completed").wait_for()
            assert await right.locator("[data-part=output]").inner_text() == PAYLOAD
            assert await right.locator("[data-term=Target]").inner_text() == "two/b"
            assert await right.locator("[data-term=Cost]").inner_text() == "$0.00"
            assert (await right.locator("[data-term=Request] a").get_attribute("href") or "").startswith("/requests/")
            assert await left.locator("[data-part=state]").inner_text() == "running"
            await seen.page.click("#stop")
            await left.locator("[data-part=state]", has_text="stopped").wait_for()
            assert await seen.overflow() == []
        gate.open()
        await desk.gateway.settled()


async def test_what_was_refused_can_be_read(chromium: Browser) -> None:
    async with dashboard(config("http://127.0.0.1:9", "http://127.0.0.1:9")) as desk:
        async with opened(chromium, desk.url) as seen:
            await seen.go("/playground?model=nobody-serves-it")
            await seen.page.fill("#user", "hello")
            await seen.page.press("#user", "Control+Enter")
            error = seen.page.locator("[data-part=error]").first
            await error.wait_for()
            assert "404 model_not_found" in await error.inner_text()
            assert "no route takes the model" in await error.inner_text()


async def test_validate_and_reload_from_the_page(chromium: Browser) -> None:
    async with dashboard(config("http://127.0.0.1:9", "http://127.0.0.1:9")) as desk:
        file = desk.gateway.home / "gateway.yaml"
        text = file.read_text()
        async with opened(chromium, desk.url, width=390) as seen:
            await seen.go("/configuration")
            file.write_text(text.replace("[one/a]", "[nobody/a]"))
            await seen.page.get_by_role("button", name="Validate").click()
            link = seen.page.locator("#checked a.mono").first
            await link.wait_for()
            await link.click()
            assert "nobody/a" in await seen.page.locator(".line:target").inner_text()
            file.write_text(f"{text}# {PAYLOAD}\n")
            await seen.page.get_by_role("button", name="Reload").click()
            await seen.page.click("#ask-yes")
            await seen.page.locator("h3", has_text="gateway.yaml").wait_for()
            assert PAYLOAD in await seen.page.locator(".line.added").first.inner_text()
            assert await seen.overflow() == []
            for path in ("/routes", "/routes/both", "/explain?model=m"):
                await seen.go(path)
                assert await seen.overflow() == []
