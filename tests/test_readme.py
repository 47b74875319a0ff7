"""README.md does as it says: each of its blocks is run in order, each of its links leads somewhere."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from gateway.runtime.home import find_home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover
from tests.examples.readme import BLOCK
from tests.imports import ROOT
from tests.serving import run, serving

TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCKS = BLOCK.findall(TEXT)
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "plugins/README.md"}
)
CONFIGURATIONS = [
    (page.relative_to(ROOT).as_posix(), text)
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    for language, text in BLOCK.findall(page.read_text("utf-8"))
    if language == "yaml"
]
FLEET = "http://127.0.0.1:8091"


def code(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the blocks use of a checkout: its home, and commands under .venv/bin."""
    shutil.copy(ROOT / "gateway.yaml", tmp_path)
    shutil.copytree(ROOT / "examples" / "fleet", tmp_path / "fleet", ignore=shutil.ignore_patterns("var"))
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, arguments in (("gateway", "-m gateway"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    return tmp_path


async def test_every_block_runs_as_it_stands_beside_a_gateway_that_serves(checkout: Path) -> None:
    printed = []
    async with serving(checkout) as gateway, serving(checkout / "fleet") as fleet:
        for language, text in BLOCKS:
            text = text.replace("http://127.0.0.1:8080", gateway.url).replace(FLEET, fleet.url)
            if language == "bash":
                printed.append(await run("bash", "-euo", "pipefail", "-c", text, cwd=checkout))
            elif language == "python" and "base_url" in text:
                printed.append(await run(sys.executable, "-c", text, cwd=checkout))
    streamed, by_openai, by_anthropic, failover, key, sums, session = printed
    assert streamed.count("data: ") > 2 and streamed.rstrip().endswith("data: [DONE]")
    assert "Hello" in by_openai and "Hello" in by_anthropic
    assert re.search(r"1 +anthropic/\S+ .*down", failover)
    assert {each["breaker"] for each in json.loads(failover[failover.rindex('{"data"') :])["data"]} == {"closed"}
    assert re.search(r'^gw-\S+\n- \{name: team-a, hash: "sha256:[0-9a-f]{64}", models: .*budget: ', key)
    rows = [line.split() for line in sums.splitlines()]
    assert {row[1] for row in rows} == {"echo/echo"}
    assert sum(int(row[2]) for row in rows) == 3
    kept = json.loads(re.split(r'(?=\{"id": ?"sess_)', session)[-1])
    assert [message["role"] for message in kept["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(("page", "text"), CONFIGURATIONS, ids=[page for page, _ in CONFIGURATIONS])
def test_every_configuration_of_a_page_loads(tmp_path: Path, page: str, text: str) -> None:
    (tmp_path / "gateway.yaml").write_text(text)
    home = find_home(str(tmp_path), {})
    assert load_config(home, {}, discover(home))


def test_what_the_consoles_start_is_there() -> None:
    """`make run` itself is run by tests/test_packaging.py."""
    started = re.findall(r"HOME_DIR=(\S+)", "".join(code("console")))
    assert started
    assert all((ROOT / home / "gateway.yaml").is_file() for home in started)
    [fleet] = [block for block in code("console") if FLEET.rpartition(":")[2] in block]
    assert "HOME_DIR=examples/fleet" in fleet


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_index_names_every_page_of_the_documentation_and_the_readme_every_subject() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md"]
    assert [name for name in pages if f"({name})" not in index] == []
    assert [name for name in pages if f"(docs/{name})" not in TEXT] == []
