"""What a reader needs to compare figures: machine, versions, commit, time. Nothing names a host, a user or a path."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
import time

from benchmarks.clocks import machine
from benchmarks.systems import HERE, BenchError, nginx_program

LIBRARIES = ("aiohttp", "uvloop", "httptools", "msgspec")


def versions() -> dict[str, str]:
    """Return what was measured: the commit, nginx, and the libraries on the hot path."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    with contextlib.suppress(BenchError):
        said = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=False).stderr
        found["nginx"] = said.strip().rpartition("/")[2]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    found["commit"] = commit.stdout.strip() or "unknown"
    return found


def about(**more: str) -> dict[str, str]:
    """Return all of it, with what only the caller knows."""
    return {**machine(), **versions(), **more, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def told(facts: dict[str, str]) -> str:
    """Return it as a line below a table."""
    return " · ".join(f"{key} {value}" for key, value in facts.items())
