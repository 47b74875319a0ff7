"""What the dashboard is made of: files vendored as they were published, and nothing inline or from elsewhere."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

from tests.imports import ROOT

STATIC = ROOT / "gateway" / "admin" / "static"
TEMPLATES = ROOT / "gateway" / "admin" / "templates"
VENDOR = STATIC / "vendor"
OWN = sorted([*TEMPLATES.rglob("*.html"), *STATIC.glob("*.js"), *STATIC.glob("*.css")])
MOST_LINES = 300
NEVER = {
    "an inline style": re.compile(r"<[^>]*\sstyle\s*="),
    "an inline script": re.compile(r"<script(?![^>]*\ssrc=)", re.IGNORECASE),
    "a handler in markup": re.compile(r"<[a-z][^>]*\s(?:on[a-z]+|hx-on[:a-z-]*)\s*=", re.IGNORECASE),
    "a script address": re.compile(r"javascript:", re.IGNORECASE),
    "what is rendered as it is": re.compile(r"\|\s*safe\b|\bMarkup\b|autoescape\s+false"),
    "another origin": re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}"),
    "markup made of data": re.compile(r"\.innerHTML|\.outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function"),
}  # fmt: skip


def listed() -> dict[str, str]:
    rows = re.findall(
        r"^\| (\S+) \| \S+ \| (\S+) \| .*? \| ([0-9a-f]{64}) \|$", (VENDOR / "VENDORED.md").read_text(), re.M
    )
    return {name: digest for name, _, digest in rows}


def test_vendored_files_are_what_was_published() -> None:
    known = listed()
    assert {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")} == set(known)
    for name, digest in known.items():
        assert sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
        assert (VENDOR / f"{name.partition('-')[0]}.LICENSE").stat().st_size > 100, name


@pytest.mark.parametrize("what", NEVER)
def test_no_template_script_or_style_has(what: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:90]}"
        for path in OWN
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if NEVER[what].search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [each for each in OWN if each.suffix == ".js"], ids=lambda path: path.name)
def test_a_script_is_strict_and_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert '"use strict";' in text and text.count("\n") <= MOST_LINES


def test_every_file_that_a_template_names_is_there() -> None:
    named = {
        name
        for path in TEMPLATES.rglob("*.html")
        for name in re.findall(r'static\("([^"]+)"\)', path.read_text("utf-8"))
    }
    assert named and not [name for name in named if not (STATIC / name).is_file()]
