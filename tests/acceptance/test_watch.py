"""What the watcher takes for a change: every file that the configuration or one of its plugins is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.testing import RunningGateway, running_gateway

HOME = """
include: ["more/*.yaml"]
plugins:
  - request_id
  - named: {}
  - foldered
  - filed: {use: "own/filed.py:Own"}
providers: {echo: {}}
"""
PLUGIN = """
from gateway.plugin import Plugin

class Own(Plugin):
    async def handle(self, exchange, call_next):
        exchange.headers["x-{name}"] = "{value}"
        return await call_next(exchange)
"""
ROUTE = "routes: [{{name: {name}, match: {{model: {name}}}, targets: [echo/echo]}}]\n"
FILES = {
    "more/a.yaml": ROUTE.format(name="a"),
    "plugins/named.py": PLUGIN.format(name="named", value="old"),
    "plugins/foldered/__init__.py": "from .part import Own\n",
    "plugins/foldered/part.py": PLUGIN.format(name="foldered", value="old"),
    "own/filed.py": PLUGIN.format(name="filed", value="old"),
}


@asynccontextmanager
async def watched(home: str = HOME, files: Mapping[str, str] = FILES) -> AsyncIterator[RunningGateway]:
    async with running_gateway(home, files=files) as gateway:
        watcher = asyncio.ensure_future(gateway.reloader.watch())
        try:
            yield gateway
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


async def reloads(gateway: RunningGateway, number: int = 1) -> None:
    """Wait until so many reloads have succeeded."""
    async with asyncio.timeout(20):
        while gateway.reloader.reloads < number:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("named", "plugins/named.py"),
        ("foldered", "plugins/foldered/part.py"),
        ("filed", "own/filed.py"),
    ],
)
async def test_watcher_takes_a_plugins_edited_file(name: str, file: str) -> None:
    async with watched() as gateway:
        assert (await gateway.get("/health")).headers["x-" + name] == "old"
        (gateway.home / file).write_text(PLUGIN.format(name=name, value="new"))
        await reloads(gateway)
        assert (await gateway.get("/health")).headers["x-" + name] == "new"


async def test_watcher_takes_a_package_of_the_home() -> None:
    files = {"pack/__init__.py": "", "pack/part.py": PLUGIN.format(name="packed", value="old")}
    async with watched('plugins: [packed: {use: "pack.part:Own"}]\nproviders: {echo: {}}', files) as gateway:
        (gateway.home / "pack/part.py").write_text(files["pack/part.py"].replace("old", "new"))
        await reloads(gateway)
        assert (await gateway.get("/health")).headers["x-packed"] == "new"


async def test_watcher_takes_a_file_that_an_include_now_matches() -> None:
    async with watched() as gateway:
        (gateway.home / "more/b.yaml").write_text(ROUTE.format(name="b"))
        await reloads(gateway)
        assert (await gateway.get("/v1/models/b")).status == 200
        (gateway.home / "more/b.yaml").unlink()
        await reloads(gateway, 2)
        assert (await gateway.get("/v1/models/b")).status == 404


async def test_watcher_takes_the_homes_own_facts_of_providers() -> None:
    async with watched() as gateway:
        (gateway.home / "config").mkdir()
        (gateway.home / "config/providers.yaml").write_text(
            "mine: {dialect: openai, base_url: 'http://127.0.0.1:1/v1'}\n"
        )
        await reloads(gateway)
        assert gateway.home / "config/providers.yaml" in gateway.core.snapshot.config.files


async def test_watcher_takes_the_mending_of_a_file_that_never_ran(tmp_path: Path) -> None:
    async with watched() as gateway:
        (gateway.home / "far").mkdir()
        (gateway.home / "far/c.yaml").write_text("routes: [{name: c, targets: [nobody/x]}]\n")
        gateway.configure(HOME.replace('"more/*.yaml"', '"more/*.yaml", far/c.yaml'))
        async with asyncio.timeout(20):
            while not gateway.events("reload_failed"):
                await asyncio.sleep(0.02)
        (gateway.home / "far/c.yaml").write_text(ROUTE.format(name="c"))
        await reloads(gateway)
        assert (await gateway.get("/v1/models/c")).status == 200


async def test_watcher_passes_over_files_that_are_nobodys() -> None:
    async with watched() as gateway:
        (gateway.home / "notes.txt").write_text("x")
        (gateway.home / "more/draft.yml").write_text("not: [yaml")
        (gateway.home / "plugins/notes.md").write_text("x")
        (gateway.home / "more/a.yaml").write_text(ROUTE.format(name="new"))
        await reloads(gateway)
        assert len(gateway.events("reloaded")) == 1 and not gateway.events("reload_failed")
