"""The 4 x 4 matrix of docs/translation.md: what passed for each client's dialect and each target's.

`make matrix` runs tests/wire and tests/clients with this file as a plugin; when all pass, it writes into the page how many
rows of the specification were shown for the pair, by golden cases and with the real packages, and in how many such cases.
`tests/test_matrix.py` counts the same without running and fails when the page says otherwise.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.clients.rows import shown
from tests.imports import ROOT

PAGE = ROOT / "docs" / "translation.md"
BEGIN, END = "<!-- matrix: written by `make matrix` -->", "<!-- end of matrix -->"
LETTERS = {
    "openai_chat": "C",
    "anthropic": "M",
    "openai_responses": "R",
    "ollama": "O",
    "ollama_generate": "O",
}
NAMES = {"C": "OpenAI chat", "M": "Anthropic", "R": "Responses", "O": "Ollama"}
Pair = tuple[str, str]


def pair_of(case: dict[str, Any]) -> Pair:
    """Return (client, target) of a golden case: answers come from the target, requests from the client."""
    source, to = LETTERS[case["from"]], LETTERS[case["to"]]
    return (source, to) if case["kind"] == "request" else (to, source)


def golden() -> Iterable[dict[str, Any]]:
    for path in sorted((ROOT / "tests" / "wire").glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        yield from found if isinstance(found, list) else [found]


def rows() -> dict[Pair, set[str]]:
    """Return the rows that are shown for each pair, by golden cases and by tests of tests/clients."""
    out: dict[Pair, set[str]] = defaultdict(set)
    for case in golden():
        out[pair_of(case)].add(case["row"])
    for name, pair in _acceptance():
        out[pair] |= shown(name, *pair)
    return out


def cases() -> Counter[Pair]:
    """Return the number of cases of each pair, golden ones and those of tests/clients."""
    return Counter([*(pair_of(case) for case in golden()), *(pair for _, pair in _acceptance())])


def _acceptance() -> Iterable[tuple[str, Pair]]:
    """Return every case of tests/clients that has a client and a target, as (test, pair)."""
    for path in sorted((ROOT / "tests" / "clients").glob("test_*.py")):
        module = importlib.import_module(f"tests.clients.{path.stem}")
        if any(mark.name == "real" for mark in getattr(module, "pytestmark", ())):
            continue
        for name, function in vars(module).items():
            if name.startswith("test_"):
                yield from ((name, pair) for pair in _pairs(function))


def _pairs(function: Any) -> Iterable[Pair]:
    names: list[str] = []
    values: list[list[tuple[Any, ...]]] = []
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize":
            given, listed = mark.args
            many = [one.strip() for one in given.split(",")] if isinstance(given, str) else list(given)
            names += many
            values.append([tuple(one) if len(many) > 1 else (one,) for one in listed])
    if {"client", "target"} <= set(names):
        at_client, at_target = names.index("client"), names.index("target")
        for chosen in product(*values):
            flat = [value for group in chosen for value in group]
            yield flat[at_client], flat[at_target]


def table(rows: dict[Pair, set[str]], cases: Counter[Pair]) -> str:
    """Return the matrix as Markdown."""
    head = " | ".join(f"{NAMES[target]} ({target})" for target in NAMES)
    lines = [f"| client ↓ target → | {head} |", "| --- | --- | --- | --- | --- |"]
    for client, name in NAMES.items():
        cells = (f"{len(rows[client, target])} · {cases[client, target]}" for target in NAMES)
        lines.append(f"| {name} ({client}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def written(text: str) -> str:
    """Return what stands in the page."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


class Passed:
    """Collects what passed while tests/wire and tests/clients run."""

    def __init__(self) -> None:
        self.rows: dict[Pair, set[str]] = defaultdict(set)
        self.cases: Counter[Pair] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        params = getattr(getattr(item, "callspec", None), "params", {})
        if report.when == "call" and report.passed:
            if item.path.parent.name == "wire" and "case" in params:
                pair = pair_of(params["case"])
                self.rows[pair].add(params["case"]["row"])
                self.cases[pair] += 1
            elif item.path.parent.name == "clients" and {"client", "target"} <= set(params):
                pair = params["client"], params["target"]
                self.rows[pair] |= shown(getattr(item, "originalname", ""), *pair)
                self.cases[pair] += 1
        return report

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0:
            write(PAGE, table(self.rows, self.cases))


def write(page: Path, matrix: str) -> None:
    text = page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{matrix}\n\n{END}{rest.partition(END)[2]}", "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Passed())
