"""A real Chromium walks every page under traffic, wide and narrow, light and dark: nothing is wider than the window, all
has a name, the keyboard reaches everything, and figures move by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from gateway.testing import running_gateway
from tests.admin.browser import Seen, Theme, opened, started
from tests.admin.demo import Demo, dashboard, demo
from tests.admin.test_figures import WRITTEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a person who cannot see the page, or has no mouse, needs of it.
NAMELESS = """() => [...document.querySelectorAll("button, a, summary, input:not([type=hidden]), select, textarea, [role=img]")]
  .filter((each) => each.checkVisibility() && !(each.ariaLabel || each.labels?.length || each.textContent.trim() || each.title))
  .map((each) => each.outerHTML.slice(0, 120))"""
LANDMARKS = """() => ({
  main: document.querySelectorAll("main").length, nav: document.querySelectorAll("nav[aria-label=Main]").length,
  h1: document.querySelectorAll("h1").length, lang: document.documentElement.lang, title: document.title,
  here: document.querySelectorAll("nav[aria-label=Main] [aria-current=page]").length,
  ids: [...document.querySelectorAll("[id]")].map((each) => each.id).filter((id, at, all) => all.indexOf(id) !== at),
  bare: [...document.querySelectorAll("table")].filter((each) => !each.querySelector("th[scope=col]")).length,
})"""
FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  return {name: at.ariaLabel || at.textContent.trim() || at.name || at.tagName, href: at.getAttribute("href"), tag: at.tagName,
          seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2};
}"""


LOOKS: tuple[tuple[int, Theme], ...] = (
    (390, "light"), (390, "dark"), (1440, "light"), (1440, "dark"), (1920, "dark"), (1920, "light"),
)  # fmt: skip
MODELS = ("smart", "fast", "unknown-model")
IS_DARK = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] < 128"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with started() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Demo]:
    async with demo() as made:
        for model in ("smart", "fast", "unknown-model", "gpt-5"):
            await made.ask(model, stream=model != "gpt-5")
        yield made


async def pages(seen: Seen) -> list[str]:
    """Return the address of every page: what the nav names, and what the first rows of their tables lead to."""
    await seen.go("/")
    found: list[str] = await seen.page.eval_on_selector_all(
        "nav[aria-label=Main] a", "links => links.map((each) => each.getAttribute('href'))"
    )
    for path in [each for each in found if each != "/"]:
        await seen.go(path)
        first: str | None = await seen.page.evaluate(
            "document.querySelector('main table a[data-open]')?.getAttribute('href') ?? null"
        )
        if first is not None:
            found.append(first)
    return found


async def told(page: Page, selector: str) -> str:
    return (await page.inner_text(selector)).strip()


async def test_every_page_fits_has_its_landmarks_and_does_nothing_wrong(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        for path in await pages(seen):
            status, *_ = await asyncio.gather(seen.go(path), *(running.ask(model, stream=True) for model in MODELS))
            assert status == 200, path
            for width, theme in LOOKS:
                await seen.look(width, theme)
                assert await seen.overflow() == [], (path, width)
                assert await seen.page.evaluate(IS_DARK) == (theme == "dark"), (path, theme)
                if theme == "light":  # what is shown does not hang on the theme
                    assert await seen.page.evaluate(NAMELESS) == [], (path, width)
            marks = await seen.page.evaluate(LANDMARKS)
            assert (marks["main"], marks["nav"], marks["h1"], marks["lang"], marks["here"]) == (1, 1, 1, "en", 1), path
            assert marks["title"].endswith("· LLM Gateway") and marks["ids"] == [] and marks["bare"] == 0, (path, marks)


async def test_a_figure_moves_when_a_request_is_sent(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/")
        await seen.page.wait_for_selector("[data-live-state]:has-text('live')")
        total = "[data-v='five_minutes.requests.total']"
        before = int((await told(seen.page, total)).replace(",", ""))
        for _ in range(3):
            await running.ask("smart")
        await seen.page.wait_for_function(
            "before => Number(document.querySelector(\"[data-v='five_minutes.requests.total']\").textContent.replace(',', '')) >= before + 3",
            arg=before,
        )
        await seen.page.click("[data-live-toggle]")
        assert await told(seen.page, "[data-live-state]") == "paused"
        assert await told(seen.page, "[data-live-toggle]") == "Resume"


async def test_charts_hold_five_minutes_however_long_they_run(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/")
        await seen.page.click("[data-live-toggle]")
        kept = await seen.page.evaluate("""() => {
          const chart = document.querySelector("[data-series]").chart;
          const last = chart.at.at(-1);
          for (let step = 1; step <= 2000; step += 1) chart.push([last + step - 1, last + step], chart.values.map(() => [1, 2]));
          return [chart.at.length, ...chart.values.map((each) => each.length), chart.at.at(-1) - chart.at[0]];
        }""")
        assert kept == [300, 300, 300, 300, 299]


async def test_an_action_is_confirmed_in_the_page_and_changes_the_target(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/")
        row = "tr[data-target='openai/gpt-5']"
        for label, then in (("Rest for a minute", "rests"), ("Drain", "drained"), ("Take back", "")):
            await seen.page.click(f"{row} summary")
            await seen.page.click(f"{row} button:text-is('{label}')")
            await seen.page.wait_for_selector("#ask[open]")
            await seen.page.click("#ask button[value=no]")
            await seen.page.click(f"{row} summary")
            await seen.page.click(f"{row} button:text-is('{label}')")
            await seen.page.click("#ask-yes")
            await seen.page.wait_for_selector(f"{row} [data-operator]{f':has-text({json.dumps(then)})' if then else '[hidden]'}",
                                              state="visible" if then else "attached")  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/requests", "/playground"])
async def test_the_keyboard_reaches_everything_and_its_place_is_seen(
    path: str, chromium: Browser, running: Demo
) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go(path)
        wanted = await seen.page.evaluate("""() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
          .filter((each) => each.checkVisibility() && !each.disabled && each.tabIndex >= 0).length""")
        names: list[str] = []
        for _ in range(min(wanted, 60)):
            await seen.page.keyboard.press("Tab")
            at = await seen.page.evaluate(FOCUSED)
            assert at["seen"], at
            names.append(at["name"])
        assert names[0] == "Skip to content" and "Overview" in names and "Configuration" in names
        assert len(names) >= min(wanted, 60) and "BODY" not in names


async def test_keys_search_walk_the_rows_and_open_one(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/requests")
        press = seen.page.keyboard.press
        await press("/")
        assert await seen.page.evaluate("document.activeElement.name") == "q"
        await press("Escape")
        for key, row in (("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("ArrowUp", 0)):
            await press(key)
            at = "[...document.querySelectorAll('tbody a[data-open]')].indexOf(document.activeElement)"
            assert await seen.page.evaluate(at) == row, key
        first = await seen.page.get_attribute("tbody a[data-open]", "href")
        await press("Enter")
        await seen.page.wait_for_url(f"**{first}")
        await press("g")
        await press("o")
        await seen.page.wait_for_url(running.url + "/")
        await press("?")
        await seen.page.wait_for_selector("#help[open]")


async def test_filters_are_in_the_address_and_come_back_from_it(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/requests")
        await seen.page.click("details summary:has-text('Filters')")
        await seen.page.fill("#principal", "search")
        await seen.page.fill("#status", "2xx")
        await seen.page.select_option("#stream", "true")
        await seen.page.click("button:has-text('Apply')")
        await seen.page.wait_for_url("**/requests?principal=search&status=2xx&stream=true")
        chips = await seen.page.eval_on_selector_all(".chip > span", "all => all.map((each) => each.textContent)")
        assert chips == ["principal: search", "status: 2xx", "stream: true"]
        assert await seen.page.input_value("#principal") == "search"
        assert await seen.page.input_value("#stream") == "true"
        principals = await seen.page.eval_on_selector_all(
            "td[data-label=Principal]", "all => [...new Set(all.map((each) => each.textContent.trim()))]"
        )
        assert principals == ["search"]
        await seen.page.click("a[aria-label='Remove the filter status']")
        await seen.page.wait_for_url("**/requests?principal=search&stream=true")


async def test_older_rows_are_one_click_away_and_the_newest_too(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/requests?limit=20")
        ids = "all => all.map((each) => each.getAttribute('href'))"
        first = await seen.page.eval_on_selector_all("a[data-open]", ids)
        await seen.page.click("a[rel=next]")
        await seen.page.wait_for_selector("a[rel=prev]")
        second = await seen.page.eval_on_selector_all("a[data-open]", ids)
        assert len(first) == len(second) == 20 and not set(first) & set(second)
        await seen.page.click("a[rel=prev]")
        await seen.page.wait_for_selector("a[rel=prev]", state="detached")


async def test_the_live_tail_shows_a_request_that_ends_now(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/requests")
        newest = await seen.page.get_attribute("a[data-open]", "href")
        await seen.page.click("[data-tail]")
        await running.ask("smart")
        await seen.page.wait_for_function(
            "newest => document.querySelector('a[data-open]').getAttribute('href') !== newest", arg=newest
        )


async def test_the_theme_is_kept_and_the_menu_opens_where_it_is_narrow(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url, width=390) as seen:
        await seen.go("/requests")
        nav = "nav[aria-label=Main] a"
        assert not await seen.page.is_visible(nav)
        await seen.page.click("[data-menu]")
        assert (
            await seen.page.is_visible(nav) and await seen.page.get_attribute("[data-menu]", "aria-expanded") == "true"
        )
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await seen.page.evaluate(ground)
        await seen.page.click("[data-theme-toggle]")
        dark = await seen.page.evaluate(ground)
        assert dark != light
        await seen.go("/requests")
        assert await seen.page.evaluate(ground) == dark


async def test_curl_is_copied_as_it_stands(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await seen.go("/requests")
        await seen.page.click("a[data-open]")
        await seen.page.click("[data-copy=curl]")
        await seen.page.wait_for_selector("[data-copy=curl]:has-text('Copied')")
        copied = await seen.page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("curl ") and copied == (await seen.page.text_content("#curl") or "").removesuffix("\n")


async def test_live_figures_are_written_as_the_page_writes_them(chromium: Browser, running: Demo) -> None:
    async with opened(chromium, running.url) as seen:
        await seen.go("/requests")
        given: list[Any] = [[form, value] for form, value, _ in WRITTEN]
        assert await seen.page.evaluate("given => given.map(([form, value]) => format[form](value))", given) == [
            said for *_, said in WRITTEN
        ]


async def test_logging_in_leads_back_to_the_page_that_was_asked_for(chromium: Browser) -> None:
    config = """
        admin: {token: a-token-long-enough-for-anybody}
        providers: {echo: {}}
        routes: [{name: all, targets: [echo/echo]}]
    """
    async with (
        running_gateway(config) as gateway,
        dashboard(gateway) as url,
        opened(chromium, url, width=390, theme="dark") as seen,
    ):
        seen.expect("401")
        await seen.go("/configuration")
        assert "/login" in seen.page.url and await seen.overflow() == []
        await seen.page.fill("#token", "wrong")
        await seen.page.click("button")
        await seen.page.wait_for_selector("[role=alert]")
        await seen.page.fill("#token", "a-token-long-enough-for-anybody")
        await seen.page.click("button")
        await seen.page.wait_for_url(f"{url}/configuration")
        await seen.page.click("[data-menu]")
        await seen.page.click("text=Log out")
        await seen.page.wait_for_url("**/login*")
