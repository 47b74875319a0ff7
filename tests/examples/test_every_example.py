"""No example is forgotten: each is a home that `gateway check` accepts, with a README and a test of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.examples.readme import BLOCK
from tests.imports import ROOT
from tests.serving import run

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir() and not path.name.startswith("_"))
NAMES = [path.name for path in EXAMPLES]


@pytest.mark.parametrize("home", EXAMPLES, ids=NAMES)
async def test_gateway_check_accepts_it(home: Path) -> None:
    await run(sys.executable, "-m", "gateway", "check", str(home))


@pytest.mark.parametrize("home", EXAMPLES, ids=NAMES)
def test_its_readme_serves_this_home(home: Path) -> None:
    text = (home / "README.md").read_text("utf-8")
    consoles = [block for language, block in BLOCK.findall(text) if language == "console"]
    assert any(f"gateway serve examples/{home.name}" in block for block in consoles)
    assert any("checks:" in line for line in (home / "gateway.yaml").read_text("utf-8").splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_test_of_its_own(name: str) -> None:
    assert (ROOT / "tests" / "examples" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("home", EXAMPLES, ids=NAMES)
def test_every_file_of_it_is_named_by_its_readme(home: Path) -> None:
    text = (home / "README.md").read_text("utf-8")
    files = [p for p in home.rglob("*") if p.is_file() and "__pycache__" not in p.parts and "var" not in p.parts]
    assert [p.name for p in files if p.name not in text and p.name not in {"README.md", "gateway.yaml"}] == []


def test_the_index_names_every_example() -> None:
    index = (ROOT / "examples" / "README.md").read_text("utf-8")
    assert [name for name in NAMES if f"({name}/)" not in index] == []
