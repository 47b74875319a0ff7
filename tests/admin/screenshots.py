"""Take the pictures of docs/images: `python -m tests.admin.screenshots [--seconds 300] [--pages overview requests …]`.

A gateway in this process, upstreams that are slow and fail as real ones do, five minutes of traffic and thirty days of
rows; then each page in both themes, wide and narrow.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.async_api import Browser, Page

from tests.admin.browser import Theme, opened, started
from tests.admin.demo import KEYS, Demo, served
from tests.imports import ROOT

FOLDER = ROOT / "docs" / "images"
MOST_BYTES = 300_000
PAGES = {
    "overview": "/", "requests": "/requests", "request": "", "routes": "/routes", "keys": "/keys/search",
    "usage": "/usage?span=30d", "playground": "/playground",
}  # fmt: skip
MORE = {
    "explain": "/explain?model=smart&down=anthropic", "route": "/routes/smart", "all-keys": "/keys",
    "sessions": "/sessions", "configuration": "/configuration",
}  # fmt: skip
"""Pages of which docs/images has no picture, to be looked at all the same: `--pages configuration --folder …`."""
PROMPT = "Explain in two sentences what a reverse proxy is."
SIZES = (("", 1440), ("-narrow", 390))
THEMES: tuple[Theme, ...] = ("light", "dark")


async def one_to_show(running: Demo) -> str:
    """Return the page of a recent request that needed two attempts, and streamed."""
    async with running.session.get(running.url + "/api/requests?route=smart&status=200&limit=200&since=-10m") as answer:
        rows = (await answer.json())["rows"]
    chosen = next((row for row in rows if row["attempts"] > 1 and row["stream"]), rows[0])
    return f"/requests/{chosen['exchange_id']}"


async def compare(page: Page) -> None:
    """Ask two models the same, side by side."""
    await page.fill("#user", PROMPT)
    await page.fill("#key", KEYS["search"])
    await page.check("#compare")
    for number, model in enumerate(("smart", "fast"), 1):
        await page.fill(f"#model{number}", model)
    await page.click("#run")
    await page.wait_for_selector("#stop:disabled")


async def reload(running: Demo, home: Path) -> None:
    """Change the configuration once, so that there is a difference to show."""
    text = (home / "gateway.yaml").read_text()
    (home / "gateway.yaml").write_text(text.replace("weight: 3}", "weight: 4}"))
    async with running.session.post(running.url + "/api/reload", json={}) as answer:
        assert answer.status == 200, await answer.text()


async def take(browser: Browser, running: Demo, folder: Path, names: Sequence[str], whole: bool) -> None:
    """Write a picture of each page, width and theme."""
    one = await one_to_show(running)
    for suffix, width in SIZES:
        for theme in THEMES:
            async with opened(browser, running.url, width=width, theme=theme) as seen:
                for name in names:
                    status = await seen.go({**PAGES, **MORE}[name] or one)
                    if status != 200:
                        print(f"{name}: {status}, left out")  # noqa: T201
                        seen.wrong.clear()
                        continue
                    if name == "playground":
                        await compare(seen.page)
                    await asyncio.sleep(2.5 if name == "overview" else 0.5)
                    for wide in await seen.overflow():
                        print(f"{name} {width} {theme}: {wide}")  # noqa: T201
                    path = folder / f"{name}{suffix}{'' if theme == 'light' else '-dark'}.png"
                    await seen.page.screenshot(path=path, full_page=whole)
                    size = path.stat().st_size
                    print(f"{path.name}: {size:,} bytes{', too large' if size > MOST_BYTES else ''}")  # noqa: T201


async def main(seconds: float, names: Sequence[str], folder: Path, whole: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        await photograph(seconds, names, folder, whole, Path(home))


async def photograph(seconds: float, names: Sequence[str], folder: Path, whole: bool, home: Path) -> None:
    async with served(home, 30_000) as running, started() as browser:
        await reload(running, home)
        traffic = asyncio.create_task(running.traffic(9.0))
        try:
            await asyncio.gather(
                asyncio.sleep(seconds), *(running.converse(key, turns) for turns, key in enumerate(KEYS, 2))
            )
            await take(browser, running, folder, names, whole)
        finally:
            traffic.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await traffic


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="how long traffic runs first")
    parser.add_argument("--pages", nargs="+", choices=[*PAGES, *MORE], default=list(PAGES))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--whole", action="store_true", help="the whole page rather than a window of it")
    given = parser.parse_args()
    asyncio.run(main(given.seconds, given.pages, given.folder, given.whole))
