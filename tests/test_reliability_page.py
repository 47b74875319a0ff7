"""Every failure that docs/reliability.md promises something about names a test that exists."""

from __future__ import annotations

import re

from tests.imports import ROOT

PAGE = ROOT / "docs" / "reliability.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[str]:
    """Return the tables' rows within the section of failures, headings left out."""
    section = PAGE.read_text("utf-8").partition("\n## Every failure and its test\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| ---", "| when |"))]


def test_every_row_names_its_tests() -> None:
    assert len(rows()) >= 40
    assert [row for row in rows() if not NAMED.search(row)] == []


def test_every_test_named_is_there() -> None:
    named = {match for row in rows() for match in NAMED.findall(row)}
    missing = []
    for file, name in sorted(named):
        path = ROOT / file
        if not path.is_file() or not re.search(rf"^(async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_nothing_else_in_the_tables_looks_like_a_test() -> None:
    assert [row for row in rows() if len(re.findall(r"test_\w+\.py", row)) != len(NAMED.findall(row))] == []
