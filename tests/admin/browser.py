"""A real Chromium over the dashboard: pages at a width and in a theme, watched for all they may not do.

    async with opened(chromium, url, width=390, theme="dark") as seen:
        await seen.go("/requests")
        await seen.page.click("text=Older")

What a page may not do, whatever it shows: break its content security policy, write an error to the console, throw,
open a dialog, or ask another origin for anything. `opened` fails at its end when it did.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# What a page tells of itself, before any script of it runs: policies broken, and whether a payload ran.
WATCH = """
window.__broken = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__broken.push(event.violatedDirective + " " + event.blockedURI + " " + event.sample));
"""
OVERFLOW = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  const found = [];
  for (const each of document.querySelectorAll("body *")) {
    const box = each.getBoundingClientRect();
    if (box.right > wide + 1 && !each.closest(".scroll, pre, .tabs, svg")) found.push(each.tagName + "." + each.className);
  }
  return ["page is " + document.documentElement.scrollWidth + " wide in " + wide, ...found.slice(0, 5)];
}"""


Theme = Literal["light", "dark"]


def height_of(width: int) -> int:
    return 844 if width < 900 else 900


def program() -> str:
    """Return where Chromium is. Skips, loudly, where there is none; with CI=true that fails."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip(f"none of {', '.join(NAMES)} is installed: `make system` does")


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """Run a Chromium until the block ends."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


class Seen:
    """A page and what it did wrong so far."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"threw: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(each in message.text for each in self.expected):
            self.wrong.append(f"console: {message.text}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        asked, own = urlsplit(request.url), urlsplit(self.url)
        if asked.scheme not in ("data", "blob") and asked[:2] != own[:2]:
            self.wrong.append(f"asked another origin: {request.url}")

    def expect(self, *texts: str) -> None:
        """Let console errors with one of `texts` pass: an answer of 404 writes one, for example."""
        self.expected = texts

    async def go(self, path: str) -> int:
        """Open a page and return its status."""
        await self.check()
        answer = await self.page.goto(self.url + path, wait_until="load")
        assert answer is not None
        return answer.status

    async def look(self, width: int, theme: Theme) -> None:
        """Make the window so wide, and the system's theme that."""
        await self.page.set_viewport_size({"width": width, "height": height_of(width)})
        await self.page.emulate_media(color_scheme=theme)

    async def overflow(self) -> list[str]:
        """Return what makes the page wider than the window; nothing where all fits."""
        found: list[str] = await self.page.evaluate(OVERFLOW)
        return found

    async def check(self) -> None:
        """Fail with all that this page did wrong."""
        if self.page.url.startswith(self.url):
            broken: list[Any] = await self.page.evaluate("window.__broken || []")
            self.wrong.extend(f"policy: {each}" for each in broken)
        assert not self.wrong, f"{self.page.url}: {self.wrong}"


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, width: int = 1440, theme: Theme = "light", watch: str = ""
) -> AsyncIterator[Seen]:
    """Open a window on the dashboard at `url`; `watch` is a script to run before each page's own."""
    context = await browser.new_context(
        viewport={"width": width, "height": height_of(width)}, color_scheme=theme, timezone_id="UTC", locale="en-US"
    )
    try:
        await context.add_init_script(WATCH + watch)
        seen = Seen(await context.new_page(), url)
        seen.page.set_default_timeout(10_000)
        yield seen
        await seen.check()
    finally:
        await context.close()
