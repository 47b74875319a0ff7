"""From rows to the table, and its place in docs/reliability.md."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Sequence

from benchmarks.clocks import machine
from tests.imports import ROOT
from tests.soak import peers
from tests.soak.row import Row, Size

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
LIBRARIES = ("aiohttp", "uvloop", "httptools", "msgspec")


def word(row: Row) -> str:
    """Return a row's verdict."""
    if row.holds is None:
        return "not built yet" if row.measured.startswith("not built yet") else "–"
    return "holds" if row.holds else "**MISSED**"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [["promise", "bar", "measured", "holds"], ["---"] * 4]
    for row in rows:
        measured = row.measured.removeprefix("not built yet: ").replace("|", "\\|").replace("\n", " ")
        lines.append([row.promise, row.bar, measured, word(row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def about(size: Size) -> dict[str, str]:
    """Return what a reader needs to compare: form, machine, versions."""
    found = {"form": size, **machine()}
    found |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    found |= {"nginx": peers.version("nginx"), "haproxy": peers.version("haproxy")}
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found["load before"] = f"{os.getloadavg()[0]:.1f}"
    return {**found, "commit": commit.stdout.strip() or "unknown"}


def text_of(rows: Sequence[Row], size: Size) -> str:
    """Return the table with what it was measured on."""
    facts = " · ".join(f"{key} {value}" for key, value in about(size).items())
    return f"{table(rows)}\n\n{facts}"


def published(page: str, text: str) -> str:
    """Return `page` with what stands between its markers replaced. Raises: ValueError without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/reliability.md: no place for the table; put {BEGIN} and {END} where it goes")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"
